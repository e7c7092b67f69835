"""What REST protocols have in common: members in path, query and headers, led by the model; what a call is known by."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from pilothouse.errors import SerializationException
from pilothouse.wire.http import Request
from pilothouse.wire.models import OperationModel
from pilothouse.wire.shapes import Reference, ShapeModel
from pilothouse.wire.xml import http_date, iso_date, scalar, text_of

_OF_CONTENT: Final = frozenset({"content-length", "content-md5", "x-amz-content-sha256", "x-amz-copy-source"})

Shapes = Mapping[str, ShapeModel]
Head = tuple[int, dict[str, str]]
"""Status and headers of an answer."""


def located(
    shapes: Shapes,
    shape: ShapeModel,
    labels: Mapping[str, str],
    query: Mapping[str, Sequence[str]],
    headers: Mapping[str, str],
) -> dict[str, Any]:
    """The members of a request that stand outside of its body, with JSON's types.

    `labels` are the parts of the path by their names. Raises SerializationException.
    """
    found: dict[str, Any] = {}
    for member, reference in shape.members.items():
        name = reference.locationName or member
        if reference.location == "uri":
            found[member] = _scalar(shapes[reference.shape], name, labels[name])
        elif reference.location == "querystring":
            if name in query:
                found[member] = _of_query(shapes, reference, name, query[name])
        elif reference.location == "header":
            value = headers.get(name.lower())
            if value is not None:
                found[member] = _of_header(shapes, reference, name, value)
        elif reference.location == "headers":
            prefix = name.lower()
            found[member] = {
                header.removeprefix(prefix): value for header, value in headers.items() if header.startswith(prefix)
            }
    return found


def head(operation: OperationModel, shape: Mapping[str, Any], usual: int) -> Head:
    """Status and headers that an answer's members say; `usual` is the status where none of them says one."""
    headers: dict[str, str] = {}
    if operation.output is None:
        return usual, headers
    shapes = operation.service.shapes
    for member, value in shape.items():
        reference = shapes[operation.output].members[member]
        name = (reference.locationName or member).lower()
        if value is None:
            continue
        if reference.location == "header":
            headers[name] = _header(shapes[reference.shape], value)
        elif reference.location == "headers":
            headers |= {f"{name}{key}": text for key, text in value.items()}
        elif reference.location == "statusCode":
            usual = value
    return usual, headers


def packed(head: Head, text: str) -> bytes:
    """Status, headers and body in one: all three are kept for retries."""
    return msgspec.msgpack.encode((*head, text))


def unpacked(body: bytes) -> tuple[int, dict[str, str], str]:
    return msgspec.msgpack.decode(body, type=tuple[int, dict[str, str], str])


def identity(request: Request) -> bytes:
    """What two requests have in common that are the same call; of a content what its headers say of it."""
    said = [request.method, request.headers.get("host", ""), request.path, request.query]
    said += [f"{name}:{value}" for name, value in sorted(request.headers.items()) if name in _OF_CONTENT]
    return "\n".join(said).encode("latin-1") + b"\n" + request.body


def _of_query(shapes: Shapes, reference: Reference, name: str, texts: Sequence[str]) -> Any:
    shape = shapes[reference.shape]
    if shape.type == "list" and shape.member is not None:
        return [_scalar(shapes[shape.member.shape], name, text) for text in texts]
    return _scalar(shape, name, texts[0])


def _of_header(shapes: Shapes, reference: Reference, name: str, text: str) -> Any:
    shape = shapes[reference.shape]
    if shape.type == "list":
        return [each.strip() for each in text.split(",") if each.strip()]
    return _scalar(shape, name, text)


def _scalar(shape: ShapeModel, name: str, text: str) -> Any:
    try:
        return scalar(shape, text)
    except ValueError as error:
        if shape.type == "timestamp":  # a date that is none is no condition, as HTTP has it
            return None
        raise SerializationException(f"Provided {name} not an {shape.type} or within {shape.type} range") from error


def _header(shape: ShapeModel, value: Any) -> str:
    if isinstance(value, datetime):
        return iso_date(value) if shape.timestampFormat == "iso8601" else http_date(value.astimezone(UTC))
    if isinstance(value, list):
        return ",".join(text_of(each) for each in value)
    return text_of(value)
