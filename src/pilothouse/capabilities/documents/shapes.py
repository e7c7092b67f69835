"""Documents as answers show them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pilothouse.call import Shape
from pilothouse.capabilities.documents import texts
from pilothouse.capabilities.documents.model import Document
from pilothouse.capabilities.documents.node_form import for_node
from pilothouse.capabilities.documents.store import Listed
from pilothouse.capabilities.documents.values import shown_default
from pilothouse.runtime.clock import from_millis


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """What is shown of a document besides its versions."""

    status: str = "Active"
    tags: Mapping[str, str] | None = None
    attachments: Sequence[str] = ()
    approved: str | None = None
    pending: str | None = None
    reviews: Sequence[Shape] = ()


def description(shown: Document, around: Around, name: str | None = None) -> Shape:
    """`DocumentDescription`; `name`: as it was asked for, where that is an ARN."""
    return {
        "Hash": shown.hash,
        "HashType": "Sha256",
        "Name": name or shown.name,
        "DisplayName": shown.display_name,
        "VersionName": shown.version_name,
        "Owner": shown.owner,
        "CreatedDate": from_millis(shown.created_at),
        "Status": around.status,
        "DocumentVersion": shown.version,
        "Description": shown.description or None,
        "Parameters": [_parameter(each, definition) for each, definition in shown.parameters.items()],
        "PlatformTypes": list(shown.platform_types),
        "DocumentType": shown.kind,
        "SchemaVersion": shown.schema_version or None,
        "LatestVersion": shown.latest_version,
        "DefaultVersion": shown.default_version,
        "DocumentFormat": shown.format,
        "TargetType": shown.target_type,
        "Tags": tag_list(around.tags),
        "AttachmentsInformation": [{"Name": each} for each in around.attachments] or None,
        "Requires": list(shown.requires) or None,
        "Author": shown.author,
        "ReviewInformation": list(around.reviews) or None,
        "ApprovedVersion": around.approved,
        "PendingReviewVersion": around.pending,
        "ReviewStatus": shown.review_status,
    }


def identifier(shown: Listed, name: str, tags: Mapping[str, str] | None) -> Shape:
    """`DocumentIdentifier`."""
    return {
        "Name": name,
        "CreatedDate": from_millis(shown.created_at),
        "DisplayName": shown.display_name,
        "Owner": shown.account_id or "Amazon",
        "VersionName": shown.version_name,
        "PlatformTypes": list(shown.platforms),
        "DocumentVersion": str(shown.number),
        "DocumentType": shown.kind,
        "SchemaVersion": shown.schema_version or None,
        "DocumentFormat": shown.format,
        "TargetType": shown.target_type,
        "Tags": tag_list(tags),
        "Requires": list(shown.requires) or None,
        "ReviewStatus": shown.review_status or None,
        "Author": shown.author or None,
    }


def version(shown: Listed) -> Shape:
    """`DocumentVersionInfo`."""
    return {
        "Name": shown.name,
        "DisplayName": shown.display_name,
        "DocumentVersion": str(shown.number),
        "VersionName": shown.version_name,
        "CreatedDate": from_millis(shown.created_at),
        "IsDefaultVersion": shown.is_default,
        "DocumentFormat": shown.format,
        "Status": "Active",
        "ReviewStatus": shown.review_status or None,
    }


def listed(document: Document) -> Listed:
    """A document as lists hold it."""
    return Listed(
        name=document.name,
        account_id=document.account_id,
        kind=document.kind,
        number=int(document.version),
        version_name=document.version_name,
        display_name=document.display_name,
        format=document.format,
        target_type=document.target_type,
        requires=document.requires,
        author=document.author or "",
        created_at=document.created_at,
        review_status=document.review_status or "",
        schema_version=document.schema_version,
        description=document.description,
        platforms=document.platform_types,
        is_default=document.version == document.default_version,
    )


def content(shown: Document, format_: str, *, to_node: bool) -> str:
    """The text in the format, JSON or YAML; what is only text stays as it is. `to_node`: as agents parse it."""
    if shown.content is None:
        return shown.text
    if to_node:
        form = for_node(shown)
        if form is not shown.content:
            return texts.to_yaml(form) if format_ == "YAML" else texts.to_json(form)
    if format_ in (shown.format, "TEXT"):
        return shown.text
    return texts.to_yaml(shown.content) if format_ == "YAML" else texts.to_json(shown.content)


def tag_list(tags: Mapping[str, str] | None) -> list[Shape]:
    """`Tags` of an answer."""
    return [{"Key": key, "Value": value} for key, value in (tags or {}).items()]


def _parameter(name: str, definition: Mapping[str, Any]) -> Shape:
    return {
        "Name": name,
        "Type": "StringList" if definition.get("type") == "StringList" else str(definition.get("type") or "String"),
        "Description": definition.get("description"),
        "DefaultValue": shown_default(definition),
    }
