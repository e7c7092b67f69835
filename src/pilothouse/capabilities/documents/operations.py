"""Reading documents: GetDocument, DescribeDocument, ListDocuments."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
import yaml

from pilothouse.call import Call, Caller, Shape, operation
from pilothouse.capabilities.documents import library
from pilothouse.capabilities.documents.model import (
    Document,
    InvalidDocument,
    InvalidDocumentVersion,
    InvalidFilterKey,
    InvalidNextToken,
)
from pilothouse.capabilities.documents.values import shown_default
from pilothouse.errors import ValidationException
from pilothouse.runtime.clock import from_millis
from pilothouse.storage.pages import InvalidPageToken

PAGE = 50
_OWNERS = ("Amazon", "Private", "Public", "Self", "ThirdParty", "All")
_VISIBLE_PROVIDED = frozenset({"Amazon", "Public", "All"})


def _resource(call: Call, request: Shape) -> list[str]:
    return [library.arn_of(request["Name"], call.account_id, call.region)]


@operation("ssm", "GetDocument", callers=Caller.ACCOUNT | Caller.NODE, resources=_resource)
async def get_document(call: Call, request: Shape) -> Shape:
    """The content of one version; JSON unless YAML is asked for, to nodes and clients alike."""
    document = await _asked(call, request)
    format_ = request.get("DocumentFormat") or "JSON"
    return {
        "Name": document.name,
        "CreatedDate": from_millis(document.created_at),
        "DocumentVersion": document.version,
        "Status": "Active",
        "Content": _content(document, format_),
        "DocumentType": document.kind,
        "DocumentFormat": document.format if document.format == "TEXT" else format_,
        "AttachmentsContent": [],
    }


@operation("ssm", "DescribeDocument", callers=Caller.ACCOUNT | Caller.NODE, resources=_resource)
async def describe_document(call: Call, request: Shape) -> Shape:
    """Everything but the content."""
    document = await _asked(call, request)
    return {
        "Document": {
            "Hash": document.hash,
            "HashType": "Sha256",
            "Name": document.name,
            "Owner": document.owner,
            "CreatedDate": from_millis(document.created_at),
            "Status": "Active",
            "DocumentVersion": document.version,
            "Description": document.description,
            "Parameters": [_parameter(name, definition) for name, definition in document.parameters.items()],
            "PlatformTypes": list(document.platform_types),
            "DocumentType": document.kind,
            "SchemaVersion": document.schema_version,
            "LatestVersion": document.latest_version,
            "DefaultVersion": document.default_version,
            "DocumentFormat": document.format,
            "Tags": [],
        }
    }


@operation("ssm", "ListDocuments")
async def list_documents(call: Call, request: Shape) -> Shape:
    """Documents that the account sees, by name."""
    filters = _filters(request)
    query = ["ListDocuments", call.account_id, call.region, sorted((key, values) for key, values in filters)]
    after = ""
    if token := request.get("NextToken"):
        try:
            (after,) = call.house.pages.position(query, token)
        except InvalidPageToken as error:
            raise InvalidNextToken("The specified token is not valid.") from error
    fitting = [each for each in _visible(filters) if each.name > after]
    limit = request.get("MaxResults") or PAGE
    page = fitting[:limit]
    return {
        "DocumentIdentifiers": [_identifier(document) for document in page],
        "NextToken": call.house.pages.token(query, [page[-1].name]) if len(fitting) > limit else None,
    }


async def _asked(call: Call, request: Shape) -> Document:
    """The document of a read. A version that does not exist is a document that does not exist here."""
    async with call.reading() as tx:
        try:
            document = await library.find(
                tx, call.account_id, call.region, request["Name"], request.get("DocumentVersion")
            )  # fmt: skip
        except InvalidDocumentVersion as error:
            raise InvalidDocument("The specified document does not exist.") from error
    if request.get("VersionName"):
        raise InvalidDocument("The specified document does not exist.")  # provided ones have no version names
    return document


def _content(document: Document, format_: str) -> str:
    if document.format == "TEXT" or format_ == document.format:
        return document.text
    if format_ == "YAML":
        text: str = yaml.safe_dump(document.content, sort_keys=False, allow_unicode=True)
        return text
    if format_ == "TEXT":
        return document.text
    return msgspec.json.format(msgspec.json.encode(document.content), indent=2).decode()


def _parameter(name: str, definition: Mapping[str, Any]) -> Shape:
    return {
        "Name": name,
        "Type": definition.get("type", "String"),
        "Description": definition.get("description"),
        "DefaultValue": shown_default(definition),
    }


def _identifier(document: Document) -> Shape:
    return {
        "Name": document.name,
        "CreatedDate": from_millis(document.created_at),
        "Owner": document.owner,
        "PlatformTypes": list(document.platform_types),
        "DocumentVersion": document.version,
        "DocumentType": document.kind,
        "SchemaVersion": document.schema_version,
        "DocumentFormat": document.format,
        "Tags": [],
    }


def _filters(request: Shape) -> list[tuple[str, list[str]]]:
    """Both forms of filters as (key, values). Raises ValidationException, InvalidFilterKey."""
    new, legacy = request.get("Filters") or [], request.get("DocumentFilterList") or []
    if new and legacy:
        raise ValidationException("Filters and DocumentFilterList cannot be given together.")
    filters = [(each["key"], [each["value"]]) for each in legacy]
    filters += [(each.get("Key", ""), list(each.get("Values") or [])) for each in new]
    for key, values in filters:
        if key not in _TESTS and not key.startswith("tag:"):
            raise InvalidFilterKey(f"The filter key {key} is not known." if key else "A filter needs a Key.")
        if key == "Owner":
            if len(values) > 1:
                raise ValidationException("Owner filter can only have one value.")
            if values and values[0] not in _OWNERS:
                raise ValidationException(f"The Owner filter takes one of: {', '.join(_OWNERS)}.")
    return filters


def _visible(filters: Sequence[tuple[str, list[str]]]) -> Iterable[Document]:
    for document in library.provided().values():
        if all(key in _TESTS and _TESTS[key](document, values) for key, values in filters):
            yield document


_TESTS: Mapping[str, Callable[[Document, list[str]], bool]] = {
    "Name": lambda document, values: any(document.name.startswith(value) for value in values),
    "Owner": lambda _, values: not _VISIBLE_PROVIDED.isdisjoint(values),
    "DocumentType": lambda document, values: document.kind in values,
    "PlatformTypes": lambda document, values: not set(document.platform_types).isdisjoint(values),
    "TargetType": lambda _, values: "/" in values,
    "SearchKeyword": lambda document, values: any(
        value.lower() in f"{document.name} {document.description}".lower() for value in values
    ),
}
"""Filter key to its test; tags hang on own documents only, so a tag filter fits no provided one."""
