"""XML of REST requests and answers, led by the model. Documents with a DTD are refused: no entity is ever expanded."""

import re
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from xml.parsers import expat  # its DTDs, which are what is dangerous in it, are refused below
from xml.sax.saxutils import escape, quoteattr

from pilothouse.rest_errors import MalformedXML
from pilothouse.wire.shapes import Reference, ShapeModel

_DEPTH: Final = 16
_ELEMENTS: Final = 150_000
"""CompleteMultipartUpload may bring 10,000 parts of up to four elements; DeleteObjects 1,000 keys."""
_NOT_IN_XML: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_INSTANCE: Final = "http://www.w3.org/2001/XMLSchema-instance"
Shapes = Mapping[str, ShapeModel]


@dataclass(slots=True)
class Element:
    """An element with its children; names without namespaces."""

    name: str
    attributes: Mapping[str, str]
    children: "list[Element]" = field(default_factory=list)
    text: str = ""


class _Reading:
    def __init__(self) -> None:
        self.root: Element | None = None
        self._open: list[Element] = []
        self._texts: list[list[str]] = []
        self._count = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if len(self._open) >= _DEPTH or self._count > _ELEMENTS:
            raise MalformedXML
        element = Element(_local(name), {_local(each): value for each, value in attributes.items()})
        if self._open:
            self._open[-1].children.append(element)
        else:
            self.root = element
        self._open.append(element)
        self._texts.append([])

    def end(self, name: str) -> None:
        self._open.pop().text = "".join(self._texts.pop())

    def characters(self, text: str) -> None:
        if self._texts:
            self._texts[-1].append(text)

    def refuse(self, *what: Any) -> None:
        raise MalformedXML


def _local(name: str) -> str:
    return name.rpartition(" ")[2].rpartition(":")[2]


def read(body: bytes) -> Element:
    """The document's root. Raises MalformedXML."""
    reading = _Reading()
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler = reading.start
    parser.EndElementHandler = reading.end
    parser.CharacterDataHandler = reading.characters
    parser.StartDoctypeDeclHandler = reading.refuse
    parser.EntityDeclHandler = reading.refuse
    try:
        parser.Parse(body, True)
    except (expat.ExpatError, ValueError) as error:
        raise MalformedXML from error
    if reading.root is None:
        raise MalformedXML
    return reading.root


def members(shapes: Shapes, shape: ShapeModel, element: Element) -> dict[str, Any]:
    """The members of a structure with JSON's types, as the validation takes them. Raises MalformedXML."""
    found: dict[str, Any] = {}
    for member, reference in shape.members.items():
        if reference.location is not None:
            continue
        name = reference.locationName or member
        if reference.xmlAttribute:
            if (value := element.attributes.get(_local(name))) is not None:
                found[member] = value
            continue
        inner = shapes[reference.shape]
        same = [child for child in element.children if child.name == name]
        if not same:
            continue
        if inner.type == "list" and (inner.flattened or reference.flattened):
            found[member] = [_value(shapes, inner.member, child) for child in same]
        elif len(same) > 1:
            raise MalformedXML
        else:
            found[member] = _value(shapes, reference, same[0])
    if any(member not in found and shape.members[member].location is None for member in shape.required):
        raise MalformedXML
    return found


def _value(shapes: Shapes, reference: Reference | None, element: Element) -> Any:
    assert reference is not None
    shape = shapes[reference.shape]
    if shape.type == "structure":
        return members(shapes, shape, element)
    if shape.type == "list":
        return [_value(shapes, shape.member, child) for child in element.children]
    try:
        return scalar(shape, element.text)
    except ValueError as error:
        raise MalformedXML from error


def scalar(shape: ShapeModel, text: str) -> Any:
    """A text as the JSON value of a scalar shape. Raises ValueError."""
    if shape.type == "boolean":
        return {"true": True, "false": False}[text.strip().lower()] if text.strip().lower() in _TRUTHS else _wrong()
    if shape.type in ("integer", "long"):
        return int(text) if re.fullmatch(r"\s*-?[0-9]{1,18}\s*", text) else _wrong()
    if shape.type in ("double", "float"):
        return float(text)
    if shape.type == "timestamp":
        return _moment(text.strip())
    return text


_TRUTHS: Final = frozenset({"true", "false"})


def _wrong() -> Any:
    raise ValueError("not of this type")


def _moment(text: str) -> float:
    """ISO 8601 or HTTP's dates as epoch seconds."""
    if text[:1].isdigit():
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return datetime.strptime(text, "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC).timestamp()


def http_date(moment: datetime) -> str:
    """As HTTP writes dates, whatever the locale."""
    day = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")[moment.weekday()]
    months = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
    return f"{day}, {moment.day:02} {months[moment.month - 1]} {moment:%Y %H:%M:%S} GMT"


def iso_date(moment: datetime) -> str:
    """As S3 writes dates in XML: with milliseconds."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z"


def text_of(value: Any) -> str:
    """A scalar as text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return b64encode(value).decode()
    if isinstance(value, datetime):
        return iso_date(value)
    return str(value)


def escaped(text: str) -> str:
    """Text for an element; what XML cannot hold becomes U+FFFD, and a carriage return stays one."""
    return escape(_NOT_IN_XML.sub("\ufffd", text), {"\r": "&#13;"})


def written(shapes: Shapes, name: str, reference: Reference, value: Any) -> Iterator[str]:
    """An element, or of a flattened list one for each part."""
    shape = shapes[reference.shape]
    if shape.type == "list":
        assert shape.member is not None
        if shape.flattened or reference.flattened:
            for part in value:
                yield from written(shapes, name, shape.member, part)
            return
        inner = shape.member.locationName or "member"
        yield f"<{name}>"
        for part in value:
            yield from written(shapes, inner, shape.member, part)
        yield f"</{name}>"
    elif shape.type == "structure":
        yield f"<{name}{_attributes(shape, value)}>"
        yield from inside(shapes, shape, value)
        yield f"</{name}>"
    else:
        yield f"<{name}>{escaped(text_of(value))}</{name}>"


def inside(shapes: Shapes, shape: ShapeModel, value: Mapping[str, Any]) -> Iterator[str]:
    """The elements of a structure's members that stand in the body."""
    for member, part in value.items():
        reference = shape.members[member]
        if part is None or reference.location is not None or reference.xmlAttribute:
            continue
        yield from written(shapes, reference.locationName or member, reference, part)


def _attributes(shape: ShapeModel, value: Mapping[str, Any]) -> str:
    found = [
        f" {reference.locationName or member}={quoteattr(escaped(str(value[member])))}"
        for member, reference in shape.members.items()
        if reference.xmlAttribute and value.get(member) is not None
    ]
    return f' xmlns:xsi="{_INSTANCE}"{"".join(found)}' if found else ""
