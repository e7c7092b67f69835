"""Reading documents: GetDocument, DescribeDocument, ListDocumentVersions."""

from collections.abc import Mapping

from pilothouse.call import Call, Caller, Shape, operation
from pilothouse.capabilities import tags
from pilothouse.capabilities.documents import attachments, library, naming, shapes
from pilothouse.capabilities.documents.attachment_store import AttachmentStore
from pilothouse.capabilities.documents.model import Document, InvalidDocument, InvalidDocumentVersion, InvalidNextToken
from pilothouse.capabilities.documents.review_store import ReviewStore
from pilothouse.capabilities.documents.shapes import Around
from pilothouse.capabilities.documents.store import DocumentStore
from pilothouse.runtime.clock import from_millis
from pilothouse.storage import Transaction
from pilothouse.storage.pages import InvalidPageToken

PAGE = 50
TAGGED_AS = "Document"


def resource(call: Call, request: Shape) -> list[str]:
    """The ARN of the document that a request names."""
    return [naming.arn_of(request["Name"], call.account_id, call.region)]


async def of_type(call: Call, request: Shape) -> Mapping[str, str]:
    """The condition keys that follow from the document."""
    async with call.reading() as tx:
        kind = await library.kind_of(tx, call.account_id, call.region, request["Name"])
    return {} if kind is None else {"ssm:DocumentType": kind}


@operation("ssm", "GetDocument", callers=Caller.ACCOUNT | Caller.NODE, resources=resource, conditions=of_type)
async def get_document(call: Call, request: Shape) -> Shape:
    """The content of one version; JSON unless YAML is asked for, to nodes and clients alike."""
    async with call.reading() as tx:
        document = await _asked(call, tx, request)
        files = await attachments.shown(call, tx, document)
    format_ = request.get("DocumentFormat") or "JSON"
    text_only = document.content is None
    return {
        "Name": document.called(call.account_id, request["Name"]),
        "CreatedDate": from_millis(document.created_at),
        "DisplayName": document.display_name,
        "VersionName": document.version_name,
        "DocumentVersion": document.version,
        "Status": "Active",
        "Content": shapes.content(document, format_, to_node=call.principal.kind == "node"),
        "DocumentType": document.kind,
        "DocumentFormat": document.format if text_only or format_ == "TEXT" else format_,
        "Requires": list(document.requires) or None,
        "AttachmentsContent": files,
        "ReviewStatus": document.review_status,
    }


@operation("ssm", "DescribeDocument", callers=Caller.ACCOUNT | Caller.NODE, resources=resource, conditions=of_type)
async def describe_document(call: Call, request: Shape) -> Shape:
    """Everything but the content."""
    async with call.reading() as tx:
        document = await _asked(call, tx, request)
        around = await around_of(call, tx, document)
    return {"Document": shapes.description(document, around, document.called(call.account_id, request["Name"]))}


@operation("ssm", "ListDocumentVersions", resources=resource, conditions=of_type)
async def list_document_versions(call: Call, request: Shape) -> Shape:
    """The versions of a document, the newest first."""
    name = request["Name"]
    query = ["ListDocumentVersions", call.account_id, call.region, name]
    before, limit = 2**62, request.get("MaxResults") or PAGE
    if token := request.get("NextToken"):
        try:
            (before,) = call.house.pages.position(query, token)
        except InvalidPageToken as error:
            raise InvalidNextToken("The specified token is not valid.") from error
    async with call.reading() as tx:
        document = await _asked(call, tx, {"Name": name})
        if document.account_id != call.account_id and not await library.shares_all(
            tx, call.account_id, call.region, name
        ):  # it comes with the installation, or only this version is shared
            return {"DocumentVersions": [shapes.version(shapes.listed(document))]}
        found = await DocumentStore(tx, document.account_id, call.region).versions(
            document.name, before=before, count=limit + 1
        )
    page = found[:limit]
    more = len(found) > limit
    return {
        "DocumentVersions": [shapes.version(each) for each in page],
        "NextToken": call.house.pages.token(query, [page[-1].number]) if more else None,
    }


async def _asked(call: Call, tx: Transaction, request: Shape) -> Document:
    """The document of a read. A version that does not exist is a document that does not exist here."""
    try:
        return await library.find(
            tx, call.account_id, call.region, request["Name"], request.get("DocumentVersion"),
            request.get("VersionName"),
        )  # fmt: skip
    except InvalidDocumentVersion as error:
        raise InvalidDocument from error


async def around_of(call: Call, tx: Transaction, document: Document, *, status: str = "Active") -> Around:
    """What is shown of the document besides its content."""
    files = await AttachmentStore(tx, document.account_id, call.region).of(document.name, int(document.version))
    names = [each.name for each in files]
    if document.account_id != call.account_id:
        return Around(status=status, attachments=names)
    reviews = ReviewStore(tx, call.account_id, call.region, document.name)
    approved, pending = await reviews.newest_with("APPROVED"), await reviews.newest_with("PENDING")
    return Around(
        status=status,
        tags=await tags.of(tx, call.account_id, call.region, TAGGED_AS, document.name),
        attachments=names,
        approved=None if approved is None else str(approved),
        pending=None if pending is None else str(pending),
        reviews=[
            {"ReviewedTime": from_millis(each.updated_at), "Status": each.status, "Reviewer": each.reviewer}
            for each in await reviews.of(int(document.version))
        ],
    )
