"""What the operations of IAM have in common: pages, and documents that are checked when they are put."""

from pilothouse.call import Call, Shape
from pilothouse.capabilities.access.model import MalformedPolicyDocumentException
from pilothouse.errors import ValidationException
from pilothouse.identity.policy import MalformedPolicy, PolicyKind, parse
from pilothouse.storage.pages import InvalidPageToken


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
