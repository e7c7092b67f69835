"""Writing answers by the model for JSON: timestamps become epoch seconds, absent members are left out."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from pilothouse.wire.shapes import ShapeModel

Writer = Callable[[Any], Any]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def epoch_seconds(moment: datetime) -> int | float:
    """Epoch seconds with up to milliseconds, rounded down; whole seconds as an integer."""
    delta = moment - _EPOCH
    seconds = delta.days * 86_400 + delta.seconds
    millis = delta.microseconds // 1000
    return seconds + millis / 1000 if millis else seconds


def _as_it_is(value: Any) -> Any:
    return value


class AnswerCompiler:
    """Compiles output shapes, each once. Bytes stay bytes: the JSON encoder writes them as base64."""

    def __init__(self, shapes: Mapping[str, ShapeModel]) -> None:
        self._shapes = shapes
        self._writers: dict[str, Writer] = {}

    def writer(self, name: str) -> Writer:
        """The writer of a shape."""
        known = self._writers.get(name)
        if known is not None:
            return known
        self._writers[name] = lambda value: self._writers[name](value)  # a shape may hold itself
        made = self._writers[name] = self._compile(self._shapes[name])
        return made

    def _compile(self, shape: ShapeModel) -> Writer:
        if shape.type == "structure":
            return self._structure(shape)
        if shape.type == "list" and shape.member is not None:
            return _list(self.writer(shape.member.shape))
        if shape.type == "map" and shape.value is not None:
            return _map(self.writer(shape.value.shape))
        return epoch_seconds if shape.type == "timestamp" else _as_it_is

    def _structure(self, shape: ShapeModel) -> Writer:
        writers = {
            member: None if (writer := self.writer(reference.shape)) is _as_it_is else writer
            for member, reference in shape.members.items()
        }

        def write(value: Mapping[str, Any]) -> dict[str, Any]:
            written = {}
            for member, part in value.items():
                writer = writers[member]
                if part is not None:
                    written[member] = part if writer is None else writer(part)
            return written

        return write


def _list(element: Writer) -> Writer:
    if element is _as_it_is:
        return list
    return lambda value: [element(part) for part in value]


def _map(element: Writer) -> Writer:
    if element is _as_it_is:
        return dict
    return lambda value: {key: element(part) for key, part in value.items()}
