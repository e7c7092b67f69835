"""Reading requests by the model: types, and every constraint with the text that AWS gives.

Each input shape is compiled once into closures. A reader takes the decoded JSON value, the path in AWS's spelling
(`tags.1.member.key`) and the collector of violations; it returns the value for handlers (timestamps as aware datetimes,
blobs as bytes, unknown members and nulls dropped). Violations are collected, wrong types end the reading at once.
"""

import binascii
from base64 import b64decode
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from pilothouse.errors import ApiError, SerializationException, ValidationException
from pilothouse.wire.patterns import full_match, printed_enum, printed_pattern
from pilothouse.wire.shapes import ShapeModel

MAX_LISTED = 100
"""Violations that are written out; the count in front tells them all."""
MAX_ECHO = 1024
"""Characters of a value that are repeated in an error text."""

_NOT_NULL = "Member must not be null"

LEFT_TO_OPERATIONS = frozenset({"ResourceTypeForTagging", "BucketLocationConstraint", "InstanceType"})
"""Enumerations that are not checked here: their operations declare an error of their own (InvalidResourceType,
InvalidLocationConstraint), or know more values (sizes of machines)."""

BOUNDS_LEFT_TO_OPERATIONS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "secretsmanager": {
        "ClientRequestTokenType": ("min", "max"),
        "RotationLambdaARNType": ("max",),
        "AutomaticallyRotateAfterDaysType": ("min", "max"),
        "RegionType": ("pattern",),
        "FilterValuesStringList": ("min",),
        "PasswordLengthType": ("min",),
    }
}
"""By service, which constraints of shapes are not checked here: the operations refuse what breaks them with codes and
texts of their own, as the real service does."""

WITH_FULL_STOP = frozenset(
    {
        ("PutParameter", "value"),
        ("GetParameters", "names"),
        ("DeleteParameters", "names"),
        ("GetParameterHistory", "maxResults"),
    }
)
"""(operation, path) whose single violation ends in a full stop in what is known of the real service."""
_NAME = "It must contain only alphanumeric characters and/or the following: +=,.@_-"
IN_WORDS = {
    "pathType": "It must begin and end with / and contain only alphanumeric characters and/or / characters.",
    "policyPathType": "It must begin and end with / and contain only alphanumeric characters and/or / characters.",
    "pathPrefixType": "It must begin with the / character and contain only alphanumeric characters and/or /"
    " characters.",
    "roleNameType": _NAME,
    "userNameType": _NAME,
    "existingUserNameType": _NAME,
    "groupNameType": _NAME,
    "policyNameType": _NAME,
    "instanceProfileNameType": _NAME,
}
"""Shapes of IAM whose patterns it tells in words, and alone, after all that it tells as others do."""
WITH_NUL = frozenset({"EventMessage"})
"""Shapes that may hold U+0000: what a program wrote is kept as bytes, not as a text of the database."""
_UNSAID = frozenset({"LogGroupIdentifier"})
"""Shapes whose values the real service does not repeat, though their models do not mark them as sensitive."""
_LEAST_LENGTHS = {"PSParameterValue": 1}
"""Shapes that the real service does not take empty, though their model allows it."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Violations:
    """What a request breaks, in AWS's words."""

    __slots__ = ("count", "texts", "words")

    def __init__(self) -> None:
        self.count = 0
        self.texts: list[str] = []
        self.words: list[str] = []
        """Sentences of IAM; the first is the whole answer where there are no texts."""

    def add(self, path: str, shown: str, constraint: str) -> None:
        """One more violation; `shown` is `Value 'x'`, `Value null` or, for what must not be repeated, `Value`."""
        self.count += 1
        if constraint in IN_WORDS.values():
            constraint = IN_WORDS["pathPrefixType"] if path == "pathPrefix" else constraint
            self.words.append(f"The specified value for {path} is invalid. {constraint}")
        elif self.count <= MAX_LISTED:
            self.texts.append(f"{shown} at '{path}' failed to satisfy constraint: {constraint}")

    def error(self, operation: str = "", kind: type[ApiError] = ValidationException) -> ApiError:
        """All of them in one text, counted in front."""
        if self.words and not self.texts:
            return ValidationException(self.words[0])
        count = self.count - len(self.words)
        errors = "error" if count == 1 else "errors"
        text = f"{count} validation {errors} detected: {'; '.join(self.texts)}"
        if (
            self.count == 1
            and " Member must have " in text
            and any(operation == name and f" at '{path}' failed " in text for name, path in WITH_FULL_STOP)
        ):
            text += "."
        if self.count == 1 and operation == "GetParametersByPath" and " at 'maxResults' failed " in text:
            text = text.replace("'", "", 2)  # this one is known with its number unquoted
        if operation == "PutParameter":
            text = text.replace("Value at 'value' failed", "Value '' at 'value' failed")  # it is sensitive, and empty
        if self.count == 1 and operation == "UnlabelParameterVersion":
            text = text.replace("Value null at", "Value 'null' at")  # and this one with its null quoted
        if self.count == 1 and operation == "CreateLogGroup" and text.endswith(" less than or equal to 512"):
            text = "Invalid LogGroup or LogStream, both must have length less than or equal to 512."
        return kind(text)


Reader = Callable[[Any, str, Violations], Any]
Converter = Callable[[Any], Any]


class Check(NamedTuple):
    """One constraint of a scalar: whether a value keeps it, and how AWS names it."""

    kept: Callable[[Any], Any]
    text: str


def lower_camel(name: str) -> str:
    """A member's name as it stands in violation texts."""
    return name[:1].lower() + name[1:]


def shown(value: Any, echo: bool) -> str:
    """How a violation text shows the value; nothing of it where the shape is sensitive."""
    if value is None:
        return "Value null"
    if not echo:
        return "Value"
    text = _java_text(value)
    return f"Value '{text if len(text) <= MAX_ECHO else text[:MAX_ECHO] + '...'}'"


def _java_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return f"[{', '.join('null' if part is None else _java_text(part) for part in value)}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}={_java_text(part)}' for key, part in value.items())}}}"
    return str(value)


def wrong_type(value: Any, wanted: str) -> SerializationException:
    """The error for a scalar of another JSON type, a list or an object where a scalar belongs."""
    if isinstance(value, dict):
        return SerializationException("Start of structure or map found where not expected.")
    if isinstance(value, list):
        return SerializationException("Start of list found where not expected")
    if isinstance(value, bool):
        token = "TRUE_VALUE" if value else "FALSE_VALUE"
    else:
        token = "STRING_VALUE" if isinstance(value, str) else "NUMBER_VALUE"
    article = "an" if wanted[0] in "AEIOU" else "a"
    return SerializationException(f"{token} can not be converted to {article} {wanted}")


def _to_string(value: Any) -> str:
    if type(value) is not str:
        raise wrong_type(value, "String")
    if "\x00" in value:
        raise ValidationException("A text of the request holds the character U+0000, which cannot be stored.")
    return value


def _to_any_string(value: Any) -> str:
    if type(value) is not str:
        raise wrong_type(value, "String")
    return value


def _to_boolean(value: Any) -> bool:
    if type(value) is not bool:
        raise wrong_type(value, "Boolean")
    return value


def _whole_number(bits: int, wanted: str) -> Converter:
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1

    def convert(value: Any) -> int:
        if type(value) is float:
            value = int(value)  # a fraction is cut off, as AWS does
        if type(value) is not int or not low <= value <= high:
            raise wrong_type(value, wanted)
        return value

    return convert


def _to_double(value: Any) -> float:
    if type(value) not in (int, float):
        raise wrong_type(value, "Double")
    return float(value)


def _to_moment(value: Any) -> datetime:
    if type(value) not in (int, float):
        raise wrong_type(value, "Timestamp")
    try:
        return _EPOCH + timedelta(milliseconds=round(value * 1000))
    except OverflowError as error:
        raise SerializationException("A timestamp lies outside the years 1 to 9999") from error


def _to_bytes(value: Any) -> bytes:
    if type(value) is not str:
        raise wrong_type(value, "Blob")
    try:
        return b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise SerializationException("A blob must be base64") from error


_CONVERTERS: Mapping[str, Converter] = {
    "string": _to_string,
    "boolean": _to_boolean,
    "integer": _whole_number(32, "Integer"),
    "long": _whole_number(64, "Long"),
    "double": _to_double,
    "float": _to_double,
    "timestamp": _to_moment,
    "blob": _to_bytes,
}


def length_checks(shape: ShapeModel) -> list[Check]:
    """`min` and `max` as lengths: characters, elements, entries or bytes."""
    checks = []
    if shape.max is not None:
        most = int(shape.max)
        text = f"Member must have length less than or equal to {most}"
        checks.append(Check(lambda value: len(value) <= most, text))
    if shape.min is not None:
        least = int(shape.min)
        text = f"Member must have length greater than or equal to {least}"
        checks.append(Check(lambda value: len(value) >= least, text))
    return checks


def range_checks(shape: ShapeModel) -> list[Check]:
    """`min` and `max` of a number."""
    checks = []
    if shape.max is not None:
        most = shape.max
        text = f"Member must have value less than or equal to {most:g}" if most % 1 else _at_most(int(most))
        checks.append(Check(lambda value: value <= most, text))
    if shape.min is not None:
        least = shape.min
        text = f"Member must have value greater than or equal to {least:g}" if least % 1 else _at_least(int(least))
        checks.append(Check(lambda value: value >= least, text))
    return checks


def _at_most(number: int) -> str:
    return f"Member must have value less than or equal to {number}"


def _at_least(number: int) -> str:
    return f"Member must have value greater than or equal to {number}"


def scalar_checks(name: str, shape: ShapeModel) -> list[Check]:
    """Every constraint of a scalar shape, in the order in which AWS lists them."""
    if shape.type in ("integer", "long", "double", "float"):
        return range_checks(shape)
    if shape.type not in ("string", "blob"):
        return []
    checks = length_checks(shape)
    if name in _LEAST_LENGTHS:
        least = _LEAST_LENGTHS[name]
        text = f"Member must have length greater than or equal to {least}"
        checks.append(Check(lambda value: len(value) >= least, text))
    if shape.pattern is not None:
        text = f"Member must satisfy regular expression pattern: {printed_pattern(name, shape.pattern)}"
        checks.append(Check(full_match(shape.pattern), text))
    if shape.enum is not None and name not in LEFT_TO_OPERATIONS:
        values = frozenset(shape.enum)
        text = f"Member must satisfy enum value set: [{', '.join(printed_enum(shape.enum))}]"
        checks.append(Check(values.__contains__, text))
    return checks


class InputCompiler:
    """Compiles the input shapes of one service, each once. `in_words`: shapes with the words for their patterns."""

    def __init__(self, shapes: Mapping[str, ShapeModel], in_words: Mapping[str, str]) -> None:
        self._shapes = shapes
        self._in_words = in_words
        self._readers: dict[str, Reader] = {}

    def reader(self, name: str) -> Reader:
        """The reader of a shape."""
        known = self._readers.get(name)
        if known is not None:
            return known
        self._readers[name] = lambda value, path, bad: self._readers[name](value, path, bad)  # it may hold itself
        shape = self._shapes[name]
        if shape.type == "structure":
            made = self._structure(shape)
        elif shape.type == "list":
            made = self._list(name, shape)
        elif shape.type == "map":
            made = self._map(name, shape)
        else:
            checks = scalar_checks(name, shape)
            if name in self._in_words:
                checks[-1] = checks[-1]._replace(text=self._in_words[name])
            convert = _to_any_string if name in WITH_NUL else _CONVERTERS[shape.type]
            made = _scalar(convert, checks, self.echoes(name))
        self._readers[name] = made
        return made

    def echoes(self, name: str) -> bool:
        """Whether texts may repeat a value of the shape: scalars and collections of scalars, nothing sensitive."""
        shape = self._shapes[name]
        if shape.sensitive or name in _UNSAID or shape.type in ("structure", "blob"):
            return False
        parts = (shape.member, shape.key, shape.value)
        return all(self.echoes(part.shape) for part in parts if part is not None and part.shape != name)

    def _structure(self, shape: ShapeModel) -> Reader:
        members = {
            member: (lower_camel(member), self.reader(reference.shape)) for member, reference in shape.members.items()
        }
        required = [(member, lower_camel(member)) for member in shape.required]

        def read(value: Any, path: str, bad: Violations) -> dict[str, Any]:
            if type(value) is not dict:
                raise _not_a(value, "structure")
            prefix = f"{path}." if path else ""
            got = {}
            for member, part in value.items():
                known = members.get(member)
                if known is not None and part is not None:
                    got[member] = known[1](part, prefix + known[0], bad)
            for member, text in required:
                if member not in got:
                    bad.add(prefix + text, "Value null", _NOT_NULL)
            return got

        return read

    def _list(self, name: str, shape: ShapeModel) -> Reader:
        if shape.member is None:
            raise ValueError(f"the list shape {name} has no element")
        element = self._shapes[shape.member.shape]
        lengths = length_checks(shape)
        echo = self.echoes(name)
        if element.type in _CONVERTERS:
            return _scalar_list(_Scalars.of(shape.member.shape, element), lengths, echo)
        return _nested_list(self.reader(shape.member.shape), lengths, echo)

    def _map(self, name: str, shape: ShapeModel) -> Reader:
        if shape.key is None or shape.value is None:
            raise ValueError(f"the map shape {name} has no key or value")
        keys = _Scalars.of(shape.key.shape, self._shapes[shape.key.shape])
        element = self._shapes[shape.value.shape]
        values = _Scalars.of(shape.value.shape, element) if element.type in _CONVERTERS else None
        nested = None if values else self.reader(shape.value.shape)
        lengths = length_checks(shape)
        echo = self.echoes(name)

        def read(value: Any, path: str, bad: Violations) -> dict[str, Any]:
            if type(value) is not dict:
                raise _not_a(value, "map")
            present = {key: part for key, part in value.items() if part is not None}
            _check(present, lengths, path, echo, bad)
            if not all(keys.keeps(key) for key in present):
                bad.add(path, shown(present, echo), f"Map keys must satisfy constraint: [{keys.text}]")
            if nested is not None:
                return {key: nested(part, f"{path}.{_path_part(key)}.member", bad) for key, part in present.items()}
            assert values is not None
            got = {key: values.convert(part) for key, part in present.items()}
            if not all(values.keeps(part) for part in got.values()):
                bad.add(path, shown(present, echo), f"Map value must satisfy constraint: [{values.text}]")
            return got

        return read


class _Scalars(NamedTuple):
    """What elements of a list, or keys or values of a map, must keep; AWS names all of it in one text."""

    convert: Converter
    checks: tuple[Check, ...]
    text: str

    @classmethod
    def of(cls, name: str, shape: ShapeModel) -> "_Scalars":
        checks = scalar_checks(name, shape)
        return cls(_CONVERTERS[shape.type], tuple(checks), ", ".join(check.text for check in checks))

    def keeps(self, value: Any) -> bool:
        return all(check.kept(value) for check in self.checks)


def _scalar(convert: Converter, checks: list[Check], echo: bool) -> Reader:
    if not checks:
        return lambda value, path, bad: convert(value)

    def read(value: Any, path: str, bad: Violations) -> Any:
        got = convert(value)
        for kept, text in checks:
            if not kept(got):
                bad.add(path, shown(got, echo), text)
        return got

    return read


def _scalar_list(elements: _Scalars, lengths: list[Check], echo: bool) -> Reader:
    convert, checks = elements.convert, elements.checks

    def read(value: Any, path: str, bad: Violations) -> list[Any]:
        if type(value) is not list:
            raise _not_a(value, "list")
        _check(value, lengths, path, echo, bad)
        got = [convert(part) for part in value if part is not None]
        if len(got) != len(value):
            text = ", ".join(filter(None, (elements.text, _NOT_NULL)))
            bad.add(path, shown(value, echo), f"Member must satisfy constraint: [{text}]")
        elif checks and not all(elements.keeps(part) for part in got):
            bad.add(path, shown(value, echo), f"Member must satisfy constraint: [{elements.text}]")
        return got

    return read


def _nested_list(element: Reader, lengths: list[Check], echo: bool) -> Reader:
    def read(value: Any, path: str, bad: Violations) -> list[Any]:
        if type(value) is not list:
            raise _not_a(value, "list")
        _check(value, lengths, path, echo or not value, bad)
        got = []
        for number, part in enumerate(value, 1):
            here = f"{path}.{number}.member"
            if part is None:
                bad.add(here, "Value null", _NOT_NULL)
            else:
                got.append(element(part, here, bad))
        return got

    return read


def _check(value: Any, checks: list[Check], path: str, echo: bool, bad: Violations) -> None:
    for kept, text in checks:
        if not kept(value):
            bad.add(path, shown(value, echo), text)


def _not_a(value: Any, wanted: str) -> SerializationException:
    if isinstance(value, dict):
        return SerializationException("Start of structure or map found where not expected.")
    if isinstance(value, list):
        return SerializationException("Start of list found where not expected")
    return SerializationException(f"Expected {wanted} or null")


def _path_part(key: str) -> str:
    """A map's key as a part of a path; cut, as it is the caller's text."""
    return key if len(key) <= MAX_ECHO else key[:MAX_ECHO] + "..."
