"""What the operations of IAM have in common: pages, and documents that are checked when they are put."""

from typing import Final

from pilothouse.call import Call, Shape
from pilothouse.capabilities.access.model import MalformedPolicyDocumentException
from pilothouse.errors import ValidationException
from pilothouse.identity.policy import MalformedPolicy, PolicyKind, parse
from pilothouse.storage.pages import InvalidPageToken

PAGE: Final = 100
"""How many are listed at once if the request does not say."""


def checked_policy(document: str, kind: PolicyKind) -> str:
    """The document, if it is one. Raises MalformedPolicyDocumentException."""
    try:
        parse(document, kind=kind)
    except MalformedPolicy as error:
        raise MalformedPolicyDocumentException(str(error)) from error
    return document


def position(call: Call, query: str, request: Shape) -> str:
    """The key after which the page starts. Raises ValidationException for a Marker that is not ours."""
    if "Marker" not in request:
        return ""
    try:
        return str(call.house.pages.position([call.account_id, query], request["Marker"])[0])
    except InvalidPageToken as error:
        raise ValidationException("Invalid Marker.") from error


def page(call: Call, query: str, answer: Shape, last: str, more: bool) -> Shape:
    """The answer with the marker of the page that follows, if there is more."""
    if not more:
        return answer | {"IsTruncated": False}
    return answer | {"IsTruncated": True, "Marker": call.house.pages.token([call.account_id, query], [last])}


def paged(call: Call, query: str, request: Shape, member: str, found: list[tuple[str, Shape]]) -> Shape:
    """One page of what was found, in the order of the keys beside it."""
    most = request.get("MaxItems", PAGE)
    shown = found[:most]
    last = shown[-1][0] if shown else ""
    return page(call, query, {member: [told for _, told in shown]}, last, len(found) > most)
