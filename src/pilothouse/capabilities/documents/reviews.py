"""Reviews of versions: UpdateDocumentMetadata, ListDocumentMetadataHistory.

A version is NOT_REVIEWED until somebody sends it for review. It is then PENDING until it is approved or rejected, and
can be sent again. Who may do which of this is for policies.
"""

from dataclasses import replace
from typing import Final

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities.documents.library import number_of
from pilothouse.capabilities.documents.model import (
    Document,
    InvalidDocument,
    InvalidDocumentOperation,
    InvalidDocumentVersion,
    InvalidNextToken,
)
from pilothouse.capabilities.documents.operations import of_type, resource
from pilothouse.capabilities.documents.review_store import Review, ReviewStore
from pilothouse.capabilities.documents.store import DocumentStore
from pilothouse.runtime.clock import from_millis
from pilothouse.storage.pages import InvalidPageToken

PAGE: Final = 50
PENDING: Final = "PENDING"
_ENDS: Final = {"Approve": "APPROVED", "Reject": "REJECTED"}


@operation("ssm", "UpdateDocumentMetadata", writes=True, resources=resource, conditions=of_type)
async def update_document_metadata(call: Call, request: Shape) -> Shape:
    """Send a version (the latest one unless it is named) for review, or say something in its review."""
    asked = request["DocumentReviews"]
    action, comments = asked["Action"], asked.get("Comment") or []
    async with call.transaction() as tx:
        store = DocumentStore(tx, call.account_id, call.region)
        await store.lock(request["Name"])
        version = await _version(store, request)
        reviews = ReviewStore(tx, call.account_id, call.region, version.name)
        number, now = int(version.version), call.clock.millis()
        if (action == "SendForReview") is (version.review_status == PENDING):
            raise InvalidDocumentOperation(
                f"The version {number} of the document is {version.review_status}: {action} is not possible."
            )
        earlier = await reviews.of(number)
        said = Review(
            position=len(earlier) + 1, status=_ENDS.get(action, PENDING), comments=comments,
            reviewer=call.principal.arn, created_at=now, updated_at=now,
        )  # fmt: skip
        if action == "UpdateReview":
            said = replace(earlier[-1], comments=comments, reviewer=call.principal.arn, updated_at=now)
        await reviews.put(number, said)
        await reviews.set_status(number, said.status)
    return {}


@operation("ssm", "ListDocumentMetadataHistory", resources=resource, conditions=of_type)
async def list_document_metadata_history(call: Call, request: Shape) -> Shape:
    """What was said in the reviews of a version (the latest one unless it is named), the oldest first."""
    limit = request.get("MaxResults") or PAGE
    query = ["ListDocumentMetadataHistory", call.account_id, call.region, request["Name"],
             request.get("DocumentVersion")]  # fmt: skip
    after = 0
    if token := request.get("NextToken"):
        try:
            (after,) = call.house.pages.position(query, token)
        except InvalidPageToken as error:
            raise InvalidNextToken("The specified token is not valid.") from error
    async with call.reading() as tx:
        version = await _version(DocumentStore(tx, call.account_id, call.region), request)
        reviews = ReviewStore(tx, call.account_id, call.region, version.name)
        found = await reviews.of(int(version.version), after=after, count=limit + 1)
    page = found[:limit]
    return {
        "Name": version.name,
        "DocumentVersion": version.version,
        "Author": version.author,
        "Metadata": {"ReviewerResponse": [_response(each) for each in page]},
        "NextToken": call.house.pages.token(query, [page[-1].position]) if len(found) > limit else None,
    }


def _response(review: Review) -> Shape:
    return {
        "CreateTime": from_millis(review.created_at),
        "UpdatedTime": from_millis(review.updated_at),
        "ReviewStatus": review.status,
        "Comment": list(review.comments),
        "Reviewer": review.reviewer,
    }


async def _version(store: DocumentStore, request: Shape) -> Document:
    """Raises InvalidDocument, InvalidDocumentVersion."""
    place = await store.place(request["Name"])
    if place is None:
        raise InvalidDocument
    found = await store.version(request["Name"], number_of(request.get("DocumentVersion") or "$LATEST", place))
    if found is None:
        raise InvalidDocumentVersion
    return found
