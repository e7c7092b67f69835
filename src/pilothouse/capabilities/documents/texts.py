"""Texts of documents: from JSON and YAML to their content, and back, with the order of keys.

Reading is strict where programs differ: a key twice, numbers that not everybody can hold, unpaired surrogates. YAML has
no tags of its own here, dates and octal numbers stay texts, and an alias counts as often as it is used.
"""

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import msgspec
import re2
import yaml

from pilothouse.capabilities.documents.model import InvalidDocumentContent

DEPTH: Final = 32
"""Most levels of lists and objects."""
VALUES: Final = 20_000
"""Most values, aliases spread out."""
_LARGEST: Final = 2**63


class _Malformed(Exception):
    """Why a text is not well-formed, and where if that is known."""


def parse(text: str, format_: str) -> Any:
    """The content of a JSON or YAML text. Raises InvalidDocumentContent with the place and the reason."""
    try:
        content = _from_yaml(text) if format_ == "YAML" else _from_json(text)
        _check_values(content)
    except _Malformed as error:
        raise InvalidDocumentContent(f"{format_} not well-formed. {error}") from error
    except RecursionError as error:
        raise InvalidDocumentContent(f"{format_} not well-formed. It is nested too deeply.") from error
    return content


def to_json(content: Any) -> str:
    """For people: with indentation."""
    return msgspec.json.format(msgspec.json.encode(content), indent=2).decode()


def to_yaml(content: Any) -> str:
    """Lines of scripts stay lines."""
    text: str = yaml.dump(content, Dumper=_Lines, sort_keys=False, allow_unicode=True, width=math.inf)
    return text


class _Lines(yaml.SafeDumper):
    """Texts of several lines in block style, where YAML can write them so."""

    def ignore_aliases(self, data: Any) -> bool:
        """What is there twice is written twice."""
        return True


_BREAKS: Final = re.compile("[\r\x85\u2028\u2029\ufeff]")
"""What YAML takes for an end of line, or leaves out, where it is not escaped."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    style = "|" if "\n" in text and not text.startswith((" ", "\n", "\t")) else None
    if _BREAKS.search(text):
        style = '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Lines.add_representer(str, _represent_text)


def _from_json(text: str) -> Any:
    def unknown(name: str) -> None:
        raise _Malformed(f"{name} is not a number of JSON.")

    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=unknown)
    except json.JSONDecodeError as error:
        raise _Malformed(f"{error.msg} at Line: {error.lineno}, Column: {error.colno}") from error
    except ValueError as error:
        raise _Malformed("A number is too long.") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        twice = next(key for at, (key, _) in enumerate(pairs) if any(key == other for other, _ in pairs[:at]))
        raise _Malformed(f"The key {twice[:100]} is there twice.")
    return made


def _check_values(content: Any) -> None:
    """Numbers and texts that every program can hold, and no more than the depth allows."""
    waiting = [(content, 1)]
    count = 0
    while waiting:
        value, depth = waiting.pop()
        count += 1
        if depth > DEPTH or count > VALUES:
            raise _Malformed(f"It has more than {DEPTH} levels or {VALUES} values.")
        if isinstance(value, dict):
            waiting += [(key, depth) for key in value]
            waiting += [(part, depth + 1) for part in value.values()]
        elif isinstance(value, list):
            waiting += [(part, depth + 1) for part in value]
        elif isinstance(value, str):
            if "\0" in value or not _is_unicode(value):
                raise _Malformed("A text holds a character that is not one: NUL, or half of a pair.")
        elif isinstance(value, int | float) and not -_LARGEST <= value < _LARGEST:
            raise _Malformed(f"The number {value:.6g} is too large.")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


_Loader: Final = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
_STRINGS: Final = frozenset({None, "!", "tag:yaml.org,2002:str"})
_CONTAINERS: Final = frozenset({None, "!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"})
_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS: Final[Mapping[str, bool]] = {
    form: value
    for word, value in {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}.items()
    for form in (word, word.capitalize(), word.upper())
}
_INTEGER: Final = re2.compile(r"[-+]?(0|[1-9][0-9]{0,18})")
_FLOAT: Final = re2.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")


@dataclass(slots=True)
class _Open:
    """A list or an object whose end has not come."""

    value: Any
    anchor: str | None
    key: str | None = None
    size: int = 1
    height: int = 1


class _Builder:
    """Puts the events of a YAML text together, without recursion."""

    def __init__(self) -> None:
        self._open: list[_Open] = []
        self._anchored: dict[str, tuple[Any, int, int]] = {}
        self._values = 0
        self.whole: Any = None
        self.documents = 0

    def scalar(self, event: yaml.ScalarEvent) -> None:
        """A text, number, truth value or null; also as a key."""
        if event.tag not in _STRINGS:
            raise _at(event, f"The tag {event.tag} is not supported.")
        plain = event.implicit[0] and event.tag is None
        above = self._open[-1] if self._open else None
        if above is not None and isinstance(above.value, dict) and above.key is None:
            self._key(above, event, plain=plain)
            return
        value = _resolved(event.value) if plain else event.value
        self._keep(event.anchor, value, 1, 0)
        self._put(event, value, 1, 0)

    def _key(self, above: _Open, event: yaml.ScalarEvent, *, plain: bool) -> None:
        if event.value in above.value:
            raise _at(event, f"The key {event.value[:100]} is there twice.")
        if plain and event.value == "<<":
            raise _at(event, "Merge keys are not supported.")
        above.key = event.value
        self._keep(event.anchor, event.value, 1, 0)

    def start(self, event: yaml.CollectionStartEvent, value: Any) -> None:
        """The begin of a list or an object."""
        if event.tag not in _CONTAINERS:
            raise _at(event, f"The tag {event.tag} is not supported.")
        above = self._open[-1] if self._open else None
        if above is not None and isinstance(above.value, dict) and above.key is None:
            raise _at(event, "A key must be a text.")
        if len(self._open) >= DEPTH:
            raise _at(event, f"It has more than {DEPTH} levels.")
        self._open.append(_Open(value, event.anchor))

    def end(self, event: yaml.Event) -> None:
        """The end of the list or object that was begun last."""
        ended = self._open.pop()
        self._keep(ended.anchor, ended.value, ended.size, ended.height)
        self._put(event, ended.value, ended.size, ended.height)

    def alias(self, event: yaml.AliasEvent) -> None:
        """What stands at the anchor, once more."""
        if event.anchor not in self._anchored:
            raise _at(event, f"There is nothing named {event.anchor} before this place.")
        value, size, height = self._anchored[event.anchor]
        above = self._open[-1] if self._open else None
        if above is not None and isinstance(above.value, dict) and above.key is None:
            raise _at(event, "A key must be a text.")
        self._put(event, value, size, height)

    def _keep(self, anchor: str | None, value: Any, size: int, height: int) -> None:
        if anchor is not None:
            self._anchored[anchor] = value, size, height

    def _put(self, event: yaml.Event, value: Any, size: int, height: int) -> None:
        if not self._open:
            self.whole = value
            return
        above = self._open[-1]
        above.size += size
        above.height = max(above.height, height + 1)
        if above.size > VALUES or len(self._open) + height > DEPTH:
            raise _at(event, f"It has more than {DEPTH} levels or {VALUES} values.")
        if isinstance(above.value, list):
            above.value.append(value)
        else:
            above.value[above.key] = value
            above.key = None


def _from_yaml(text: str) -> Any:
    builder = _Builder()
    for event in _events(text):
        if isinstance(event, yaml.ScalarEvent):
            builder.scalar(event)
        elif isinstance(event, yaml.MappingStartEvent):
            builder.start(event, {})
        elif isinstance(event, yaml.SequenceStartEvent):
            builder.start(event, [])
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            builder.end(event)
        elif isinstance(event, yaml.AliasEvent):
            builder.alias(event)
        elif isinstance(event, yaml.DocumentStartEvent):
            builder.documents += 1
            if builder.documents > 1:
                raise _at(event, "It holds more than one document.")
    return builder.whole


def _events(text: str) -> Iterator[yaml.Event]:
    read: Callable[[], Iterator[yaml.Event]] = partial(yaml.parse, text, Loader=_Loader)
    try:
        yield from read()
    except yaml.MarkedYAMLError as error:
        raise _Malformed(f"{error.problem or 'It cannot be read'}{_where(error.problem_mark)}") from error
    except yaml.YAMLError as error:
        raise _Malformed("It holds a character that YAML does not allow.") from error


def _at(event: yaml.Event, reason: str) -> _Malformed:
    return _Malformed(f"{reason}{_where(event.start_mark)}")


def _where(mark: Any) -> str:
    return "" if mark is None else f" at Line: {mark.line + 1}, Column: {mark.column + 1}"


def _resolved(text: str) -> Any:
    """What a plain scalar means."""
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text
