"""JSON 1.1: decoding request bodies within limits, writing answers and errors."""

import re
from typing import Any

import msgspec

from pilothouse.errors import ApiError, SerializationException
from pilothouse.wire.http import Request, Response
from pilothouse.wire.limits import MAX_DEPTH, MEMBER_LIMIT, member_limit
from pilothouse.wire.models import OperationModel

CONTENT_TYPE = "application/x-amz-json-1.1"
ACCEPTED = frozenset({"application/x-amz-json-1.1", "application/x-amz-json-1.0", "application/json"})

_STRINGS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
"""String literals. The closing quote is optional so that each byte is looked at once, whatever the body holds."""

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


def decode(body: bytes, most: int = MEMBER_LIMIT) -> dict[str, Any]:
    """The members of a request body; an empty body is an empty object.

    Raises SerializationException: not JSON, not an object, a name twice in one object, nested deeper than MAX_DEPTH,
    more than `most` names.
    """
    if not body:
        return {}
    names = body.count(b":")
    if names > most and _names(body) > most:  # or perhaps only within strings
        raise SerializationException(f"The request has more than {most} members.")
    decoded = _decoded(body)
    found, colons = _counted(decoded)
    if found + colons != names or b"\\u" in body:
        names = _names(body)
        if names > most:
            raise SerializationException(f"The request has more than {most} members.")
        if found != names:
            raise SerializationException("The request body holds a member twice.")
    return decoded


def _names(body: bytes) -> int:
    """How many names stand in the objects of a body. In steps, so that a large one leaves room for other threads."""
    return body.count(b":") - sum(string.group().count(b":") for string in _STRINGS.finditer(body))


def _decoded(body: bytes) -> dict[str, Any]:
    try:
        decoded = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SerializationException("The request body is not valid JSON.") from error
    if type(decoded) is not dict:
        raise SerializationException("The request body must be a JSON object.")
    return decoded


def _counted(value: Any, levels: int = MAX_DEPTH) -> tuple[int, int]:
    """Names of all objects, and colons in all strings (an escaped one counts as well), of an object or array.

    Raises SerializationException where it has more than so many levels.
    """
    if not levels:
        raise SerializationException(f"The request is nested deeper than {MAX_DEPTH} levels.")
    names = colons = 0
    parts = value
    if type(value) is dict:
        names = len(value)
        colons = "".join(value).count(":")
        parts = value.values()
    for part in parts:
        if type(part) is str:
            colons += part.count(":")
        elif type(part) is dict or type(part) is list:
            more, others = _counted(part, levels - 1)
            names += more
            colons += others
    return names, colons


class Json11:
    """The protocol as dispatch uses it; see `protocol.Protocol`."""

    def members(self, operation: OperationModel, request: Request) -> dict[str, Any]:
        return decode(request.body, member_limit(operation.name))

    def body(self, operation: OperationModel, shape: dict[str, Any]) -> bytes:
        return _encode(operation.answer(shape))

    def answer(self, operation: OperationModel, body: bytes, request_id: str) -> Response:
        return Response(200, {"content-type": CONTENT_TYPE, "x-amzn-requestid": request_id}, body)

    def error(self, error: ApiError, request_id: str, operation: OperationModel | None) -> Response:
        member = "message" if operation is None else operation.message_member(error)
        members: dict[str, Any] = {"__type": error.code}
        if error.message:
            members[member] = error.message
        members.update(error.members)
        headers = {"content-type": CONTENT_TYPE, "x-amzn-requestid": request_id}
        return Response(error.http_status, headers, _encode(members))
