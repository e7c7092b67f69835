"""The REST-JSON protocol: members in path, query, headers and a JSON body; errors named in a header.

Members of bodies go by their own names, as in the models of all services here.
"""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import msgspec

from pilothouse.errors import ApiError, SerializationException
from pilothouse.wire.http import Request, Response
from pilothouse.wire.json11 import decode
from pilothouse.wire.models import OperationModel
from pilothouse.wire.rest_members import head, identity, located, packed, unpacked
from pilothouse.wire.rest_paths import paths_of

CONTENT_TYPE: Final = "application/json"

_STATUS: Final[Mapping[str, int]] = {
    "AccessDeniedException": 403,
    "ExpiredTokenException": 403,
    "IncompleteSignatureException": 403,
    "InvalidSignatureException": 403,
    "MissingAuthenticationTokenException": 403,
    "ThrottlingException": 429,
    "UnknownOperationException": 404,
    "UnrecognizedClientException": 403,
}
"""Errors of the front door; JSON 1.1 answers 400 to them."""

_encode = msgspec.json.Encoder().encode


class RestJson:
    """The protocol of one service, as dispatch uses it; see `protocol.RestProtocol`."""

    def __init__(self, service: str) -> None:
        self.service = service

    def name(self, request: Request) -> str:
        name, _ = paths_of(self.service).named(request.method, request.path, _parameters(request.query))
        return name

    def members(self, operation: OperationModel, request: Request) -> dict[str, Any]:
        if operation.input is None:
            return {}
        shapes = operation.service.shapes
        shape = shapes[operation.input]
        query = _parameters(request.query)
        _, labels = paths_of(self.service).named(request.method, request.path, query)
        found = located(shapes, shape, labels, query, request.headers)
        if shape.payload is not None:
            found[shape.payload] = decode(request.body) if request.body else None
            return found
        body = decode(request.body)
        return {
            **{name: value for name, value in body.items() if name not in shape.members or _in_body(shape, name)},
            **found,
        }

    def body(self, operation: OperationModel, shape: dict[str, Any]) -> bytes:
        """Status, headers and body, packed."""
        first = head(operation, shape, operation.http.responseCode)
        if operation.output is None:
            return packed(first, "")
        output = operation.service.shapes[operation.output]
        written = operation.answer(shape)
        if output.payload is not None:
            return packed(first, _encode(written.get(output.payload)).decode())
        return packed(first, _encode({name: each for name, each in written.items() if _in_body(output, name)}).decode())

    def answer(self, operation: OperationModel, body: bytes, request_id: str) -> Response:
        status, headers, text = unpacked(body)
        return Response(status, {**headers, "content-type": CONTENT_TYPE, **_ids(request_id)}, text.encode())

    def error(self, error: ApiError, request_id: str, operation: OperationModel | None) -> Response:
        status = _STATUS.get(error.code, error.http_status)
        if operation is not None:
            shape = operation.service.error_shape(error.code)
            if shape is not None and shape.error is not None:
                status = shape.error.httpStatusCode
        member = "message" if operation is None else operation.message_member(error)
        members = {**({member: error.message} if error.message else {}), **error.members}
        headers = {"content-type": CONTENT_TYPE, "x-amzn-errortype": error.code, **_ids(request_id)}
        return Response(status, headers, _encode(members))

    def identity(self, request: Request) -> bytes:
        return identity(request)


def _in_body(shape: Any, member: str) -> bool:
    return shape.members[member].location is None


def _ids(request_id: str) -> dict[str, str]:
    return {"x-amzn-requestid": request_id}


def _parameters(query: str) -> dict[str, list[str]]:
    """The query's parameters, each with all of its values. Raises SerializationException."""
    found: dict[str, list[str]] = {}
    try:
        for pair in query.split("&") if query else ():
            name, _, value = pair.partition("=")
            found.setdefault(_plain(name), []).append(_plain(value))
    except UnicodeDecodeError as error:
        raise SerializationException("The query is not UTF-8.") from error
    return found


def _plain(text: str) -> str:
    return unquote_to_bytes(text.replace("+", " ")).decode()
