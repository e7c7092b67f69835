"""The query protocol of STS, IAM and SNS: form-encoded requests, XML answers."""

import re
from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from pilothouse.errors import ApiError, SerializationException
from pilothouse.wire.http import Request, Response
from pilothouse.wire.limits import MAX_DEPTH, MEMBER_LIMIT
from pilothouse.wire.models import OperationModel
from pilothouse.wire.shapes import Reference, ShapeModel

CONTENT_TYPE = "text/xml"
FORM = "application/x-www-form-urlencoded"

_NOT_IN_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NUMBER = re.compile(r"[1-9][0-9]{0,5}")
_TRUE_OR_FALSE = {"true": True, "false": False}

_CALLED = {("sns", "AccessDeniedException"): "AuthorizationErrorException"}
"""Errors of the front door for which a service has an exception of its own."""

Tree = dict[str, Any]


def form_of(request: Request) -> dict[str, str]:
    """The fields of a form, from the body of a POST and the query of a GET.

    Raises SerializationException: not UTF-8, a field twice, too many fields.
    """
    text = request.query if request.method == "GET" else request.body.decode("latin-1")
    try:
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MEMBER_LIMIT)
    except ValueError as error:
        raise SerializationException("The form is not valid.") from error
    form = dict(pairs)
    if len(form) != len(pairs):
        raise SerializationException("The form holds a field twice.")
    return form


def tree_of(form: Mapping[str, str]) -> Tree:
    """`Tags.member.1.Key=a` as nested dictionaries."""
    tree: Tree = {}
    for name, value in form.items():
        *parents, leaf = name.split(".")
        if len(parents) >= MAX_DEPTH:
            raise SerializationException(f"The request is nested deeper than {MAX_DEPTH} levels.")
        place = tree
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise SerializationException(f"The field {parent} is both a value and a structure.")
        if leaf in place:
            raise SerializationException(f"The field {leaf} is both a value and a structure.")
        place[leaf] = value
    return tree


class FormReader:
    """Turns the tree into members with JSON's types, led by the model."""

    def __init__(self, shapes: Mapping[str, ShapeModel]) -> None:
        self._shapes = shapes

    def called(self, member: str, reference: Reference) -> str:
        """The field of a member."""
        return member

    def parts(self, shape: ShapeModel, node: Any) -> list[Any]:
        """The fields of a list's elements."""
        return numbered(node, "member", shape.flattened)

    def read(self, name: str, node: Any) -> Any:
        shape = self._shapes[name]
        if shape.type == "structure":
            tree = _subtree(node)
            return {
                member: self.read(reference.shape, tree[field])
                for member, reference in shape.members.items()
                if (field := self.called(member, reference)) in tree
            }
        if shape.type == "list" and shape.member is not None:
            return [self.read(shape.member.shape, part) for part in self.parts(shape, node)]
        if shape.type == "map" and shape.key is not None and shape.value is not None:
            words = (shape.key.locationName or "key", shape.value.locationName or "value")
            return self._map(shape.value.shape, words, numbered(node, "entry", shape.flattened))
        if not isinstance(node, str):
            raise SerializationException("Start of structure or map found where not expected.")
        return _scalar(shape.type, node)

    def _map(self, value_shape: str, words: tuple[str, str], entries: list[Any]) -> dict[str, Any]:
        """`words`: what the key and the value of an entry are called."""
        got = {}
        for entry in entries:
            tree = _subtree(entry)
            key = tree.get(words[0])
            if not isinstance(key, str) or words[1] not in tree or key in got:
                raise SerializationException("A map entry needs a key of its own and a value.")
            got[key] = self.read(value_shape, tree[words[1]])
        return got


def _subtree(node: Any) -> Tree:
    if node == "":
        return {}
    if not isinstance(node, dict):
        raise SerializationException("Expected structure or null")
    return node


def numbered(node: Any, word: str, flattened: bool) -> list[Any]:
    """The parts of `Name.member.1`, `Name.member.2` (or `Name.1` where flattened) in the order of their numbers."""
    tree = _subtree(node)
    if not flattened:
        tree = _subtree(tree.get(word, ""))
    if not all(_NUMBER.fullmatch(number) for number in tree):
        raise SerializationException("List elements must be numbered from 1.")
    return [tree[number] for number in sorted(tree, key=int)]


def _scalar(kind: str, text: str) -> Any:
    try:
        if kind == "boolean":
            return _TRUE_OR_FALSE[text.lower()]
        if kind in ("integer", "long"):
            return int(text) if len(text) <= 20 else 1 << 64
        if kind in ("double", "float"):
            return float(text)
        if kind == "timestamp":
            moment = datetime.fromisoformat(text)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (KeyError, ValueError, OverflowError) as error:
        raise SerializationException(f"A value can not be converted to {kind}") from error
    return text


def xml_text(value: str) -> str:
    """Text for an element; characters that XML cannot hold become U+FFFD."""
    return escape(_NOT_IN_XML.sub("\ufffd", value))


def _xml(shapes: Mapping[str, ShapeModel], name: str, value: Any) -> str:
    shape = shapes[name]
    if shape.type == "structure":
        parts: list[str] = []
        for member, part in value.items():
            reference = shape.members[member]
            if part is None:
                continue
            inner = shapes[reference.shape]
            if inner.type == "list" and inner.flattened and inner.member is not None:
                parts.extend(f"<{member}>{_xml(shapes, inner.member.shape, one)}</{member}>" for one in part)
            else:
                parts.append(f"<{member}>{_xml(shapes, reference.shape, part)}</{member}>")
        return "".join(parts)
    if shape.type == "list" and shape.member is not None:
        return "".join(f"<member>{_xml(shapes, shape.member.shape, part)}</member>" for part in value)
    if shape.type == "map" and shape.value is not None:
        entries = ((key, _xml(shapes, shape.value.shape, part)) for key, part in value.items())
        return "".join(f"<entry><key>{xml_text(key)}</key><value>{part}</value></entry>" for key, part in entries)
    return xml_scalar(value)


def xml_scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return b64encode(value).decode()
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return xml_text(str(value))


class Query:
    """The protocol as dispatch uses it; see `protocol.Protocol`."""

    def members(self, operation: OperationModel, request: Request) -> dict[str, Any]:
        if operation.input is None:
            return {}
        tree = tree_of(form_of(request))
        read: dict[str, Any] = FormReader(operation.service.shapes).read(operation.input, tree)
        return read

    def body(self, operation: OperationModel, shape: dict[str, Any]) -> bytes:
        if operation.output is None:
            return b""
        inner = _xml(operation.service.shapes, operation.output, shape)
        wrapper = operation.result_wrapper or f"{operation.name}Result"
        return f"<{wrapper}>{inner}</{wrapper}>".encode()

    def answer(self, operation: OperationModel, body: bytes, request_id: str) -> Response:
        name, namespace = operation.name, operation.service.namespace
        text = (
            f'<{name}Response xmlns="{namespace}">{body.decode()}'
            f"<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{name}Response>\n"
        )
        return Response(200, {"content-type": CONTENT_TYPE, "x-amzn-requestid": request_id}, text.encode())

    def error(self, error: ApiError, request_id: str, operation: OperationModel | None) -> Response:
        code, status = error.query_code or error.code, error.query_status
        if operation is not None:
            shape = operation.service.error_shape(_CALLED.get((operation.service.name, error.code), error.code))
            if shape is not None and shape.error is not None:
                code, status = shape.error.code or code, shape.error.httpStatusCode
        if error.http_status >= 500:
            status = error.http_status
        namespace = f' xmlns="{operation.service.namespace}"' if operation is not None else ""
        kind = "Receiver" if status >= 500 else "Sender"
        text = (
            f"<ErrorResponse{namespace}><Error><Type>{kind}</Type><Code>{code}</Code>"
            f"<Message>{xml_text(error.message)}</Message></Error><RequestId>{request_id}</RequestId></ErrorResponse>\n"
        )
        return Response(status, {"content-type": CONTENT_TYPE, "x-amzn-requestid": request_id}, text.encode())
