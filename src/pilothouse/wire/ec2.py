"""The protocol of EC2: forms like those of the query protocol, answered by XML of its own kind.

Lists have no word between their name and their numbers (`InstanceId.1`), members go by the locationName or queryName
that the model gives them, answers have no wrapper, and errors look otherwise.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from pilothouse.errors import (
    AccessDeniedException,
    ApiError,
    ExpiredTokenException,
    IncompleteSignatureException,
    InternalServerError,
    InvalidParameterValue,
    InvalidSignatureException,
    MissingAuthenticationTokenException,
    SerializationException,
    ServiceUnavailable,
    ThrottlingException,
    UnknownOperationException,
    UnrecognizedClientException,
    ValidationException,
)
from pilothouse.wire.http import Request, Response
from pilothouse.wire.models import OperationModel
from pilothouse.wire.query import CONTENT_TYPE, FormReader, form_of, numbered, tree_of, xml_scalar, xml_text
from pilothouse.wire.shapes import Reference, ShapeModel

_NOT_VALID: Final = ("AuthFailure", 401, "AWS was not able to validate the provided access credentials")
_CALLED: Final[Mapping[type[ApiError], tuple[str, int, str]]] = {
    AccessDeniedException: ("UnauthorizedOperation", 403, "You are not authorized to perform this operation. {}"),
    ExpiredTokenException: ("RequestExpired", 400, "Request has expired."),
    IncompleteSignatureException: ("IncompleteSignature", 400, "{}"),
    InternalServerError: ("InternalError", 500, "{}"),
    InvalidSignatureException: _NOT_VALID,
    MissingAuthenticationTokenException: ("MissingAuthenticationToken", 403, "{}"),
    SerializationException: (InvalidParameterValue.__name__, 400, "{}"),
    ServiceUnavailable: ("Unavailable", 503, "{}"),
    ThrottlingException: ("RequestLimitExceeded", 503, "Request limit exceeded."),
    UnknownOperationException: ("InvalidAction", 400, "{}"),
    UnrecognizedClientException: _NOT_VALID,
    ValidationException: (InvalidParameterValue.__name__, 400, "{}"),
}
"""Errors of the front door as EC2 has them: code, status, text."""


class _Reader(FormReader):
    def called(self, member: str, reference: Reference) -> str:
        if reference.queryName is not None:
            return reference.queryName
        name = reference.locationName or member
        return name[:1].upper() + name[1:]

    def parts(self, shape: ShapeModel, node: Any) -> list[Any]:
        return numbered(node, "", True)


def _xml(shapes: Mapping[str, ShapeModel], name: str, value: Any) -> str:
    shape = shapes[name]
    if shape.type == "structure":
        parts: list[str] = []
        for member, part in value.items():
            if part is not None:
                reference = shape.members[member]
                tag = reference.locationName or member
                parts.append(f"<{tag}>{_xml(shapes, reference.shape, part)}</{tag}>")
        return "".join(parts)
    if shape.type == "list" and shape.member is not None:
        tag = shape.member.locationName or "item"
        return "".join(f"<{tag}>{_xml(shapes, shape.member.shape, part)}</{tag}>" for part in value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return xml_scalar(value)


class Ec2:
    """The protocol as dispatch uses it; see `protocol.Protocol`."""

    service: Final = "ec2"

    def members(self, operation: OperationModel, request: Request) -> dict[str, Any]:
        if operation.input is None:
            return {}
        read: dict[str, Any] = _Reader(operation.service.shapes).read(operation.input, tree_of(form_of(request)))
        return read

    def body(self, operation: OperationModel, shape: dict[str, Any]) -> bytes:
        if operation.output is None:
            return b"<return>true</return>"
        return _xml(operation.service.shapes, operation.output, shape).encode()

    def answer(self, operation: OperationModel, body: bytes, request_id: str) -> Response:
        name, namespace = operation.name, operation.service.namespace
        text = (
            f'<?xml version="1.0" encoding="UTF-8"?>\n<{name}Response xmlns="{namespace}/">'
            f"<requestId>{request_id}</requestId>{body.decode()}</{name}Response>\n"
        )
        return Response(200, {"content-type": CONTENT_TYPE, "x-amzn-requestid": request_id}, text.encode())

    def error(self, error: ApiError, request_id: str, operation: OperationModel | None) -> Response:
        code, status, message = _told(error)
        text = (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            f"<Response><Errors><Error><Code>{code}</Code><Message>{xml_text(message)}</Message></Error></Errors>"
            f"<RequestID>{request_id}</RequestID></Response>\n"
        )
        return Response(status, {"content-type": CONTENT_TYPE, "x-amzn-requestid": request_id}, text.encode())


def _told(error: ApiError) -> tuple[str, int, str]:
    for kind in type(error).__mro__:
        if kind in _CALLED:
            code, status, text = _CALLED[kind]
            return code, status, text.replace("{}", error.message)
    return error.code, error.http_status, error.message
