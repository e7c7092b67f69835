"""Requests made from the service models: for each operation a smallest valid one, and every way to break it.

Reads botocore's own model objects, not our compiled ones, and words the constraints by itself. Deterministic.
"""

import re
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import botocore.loaders
import botocore.model
from botocore.model import ServiceModel, Shape, StructureShape

Build = Callable[[Any], dict[str, Any]]
"""A value of the member in question to the whole request around it."""

LONGEST = 300_000
"""Lengths above this are not tried: the body would hit the edge's own limit first."""
DEEPEST = 6
"""Structures within structures that are followed."""
NULL_IN_QUOTES = {"UnlabelParameterVersion"}
"""AWS writes `Value 'null'` for what these leave out."""


@dataclass(frozen=True)
class Violation:
    """One broken request: what it breaks, and what the answer must say."""

    operation: str
    kind: str
    path: str
    body: dict[str, Any]
    code: str
    text: str

    def __str__(self) -> str:
        return f"{self.operation} {self.path} {self.kind}"


@cache
def service_model(service: str) -> ServiceModel:
    """botocore's model of a public service."""
    return ServiceModel(botocore.loaders.Loader().load_service_model(service, "service-2"), service)


# ---- valid values ----


@cache
def _readable(pattern: str) -> str:
    """The pattern for Python's parser: Unicode classes become a few characters that are in them."""
    for category, characters in (("L", "a-z"), ("N", "0-9"), ("Z", " "), ("P", "."), ("M", "\u0301"), ("S", "+")):
        pattern = pattern.replace(rf"\p{{{category}}}", characters)
    return pattern.replace(r"\w-", r"\w\-")


def _sample(tree: Any, extra: int) -> str:
    """A string that the parsed pattern matches; repetitions run `extra` times beyond their least."""
    out = []
    for operation, argument in tree:
        name = str(operation)
        if name == "LITERAL":
            out.append(chr(argument))
        elif name == "NOT_LITERAL":
            out.append("a" if argument != ord("a") else "b")
        elif name == "ANY":
            out.append("a")
        elif name == "IN":
            out.append(_sample_class(argument))
        elif name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            least, most, inner = argument
            out.append(_sample(inner, extra) * min(int(most), int(least) + extra))
        elif name == "SUBPATTERN":
            out.append(_sample(argument[3], extra))
        elif name == "BRANCH":
            out.append(_sample(argument[1][0], extra))
    return "".join(out)


def _sample_class(choices: Any) -> str:
    negated = str(choices[0][0]) == "NEGATE"
    if negated:
        taken = {chr(argument) for operation, argument in choices[1:] if str(operation) == "LITERAL"}
        return next(character for character in "aZ5-._ " if character not in taken)
    for operation, argument in choices:
        name = str(operation)
        if name == "LITERAL" and chr(argument).isalnum():
            return chr(argument)
        if name == "RANGE":
            low, high = argument
            return "a" if low <= ord("a") <= high else chr(low)
        if name == "CATEGORY":
            return {"CATEGORY_DIGIT": "1", "CATEGORY_SPACE": " "}.get(str(argument), "a")
    return chr(choices[0][1])


def text_for(shape: Shape) -> str:
    """A valid string of the shape."""
    if shape.enum if hasattr(shape, "enum") else False:
        return str(shape.enum[0])
    least, most = int(shape.metadata.get("min", 0)), int(shape.metadata.get("max", 1 << 30))
    pattern = shape.metadata.get("pattern")
    if pattern is None:
        return "a" * max(least, 1) if most else ""
    tree = re._parser.parse(_readable(pattern))  # type: ignore[attr-defined]
    for extra in (0, 1, 2, 4, 5, 8, 16, 20, 24, 32, 40, max(least - 1, 0), least, 128, 512, 2048):
        sample = _sample(tree, extra)
        if least <= len(sample) <= most and re.compile(_readable(pattern)).fullmatch(sample):
            return sample
    raise AssertionError(f"no valid sample for {shape.name}: {pattern}")


def minimal(shape: Shape, depth: int = 0) -> Any:
    """The smallest valid value of the shape, as it stands in JSON."""
    least = int(shape.metadata.get("min", 0))
    if isinstance(shape, StructureShape):
        return {name: minimal(shape.members[name], depth + 1) for name in shape.required_members}
    if shape.type_name == "list":
        return [minimal(shape.member, depth + 1) for _ in range(max(least, 1 if depth < DEEPEST else 0))]
    if shape.type_name == "map":
        key = text_for(shape.key)
        return {key: minimal(shape.value, depth + 1)} if least or depth < DEEPEST else {}
    if shape.type_name == "boolean":
        return True
    if shape.type_name in ("integer", "long"):
        return max(least, 1) if int(shape.metadata.get("max", 1)) else 0
    if shape.type_name in ("double", "float"):
        return 1.5
    if shape.type_name == "timestamp":
        return 1_795_000_000
    if shape.type_name == "blob":
        return b64encode(b"x" * max(least, 1)).decode()
    return text_for(shape)


def minimal_request(service: str, operation: str) -> dict[str, Any]:
    """The smallest valid request of the operation."""
    shape = service_model(service).operation_model(operation).input_shape
    return {} if shape is None else minimal(shape)


# ---- violations ----

IN_WORDS = {
    *("pathType", "pathPrefixType", "policyPathType", "roleNameType", "userNameType", "existingUserNameType"),
    *("groupNameType", "policyNameType", "instanceProfileNameType"),
}
"""Shapes of IAM, which tells their patterns in words."""


LEFT_TO_OPERATIONS = {
    "ClientRequestTokenType": {"min", "max"},
    "RotationLambdaARNType": {"max"},
    "AutomaticallyRotateAfterDaysType": {"min", "max"},
    "FilterValuesStringList": {"min"},
    "PasswordLengthType": {"min"},
}
"""Shapes of Secrets Manager whose operations refuse some of it in words of their own (tests of its refusals)."""


def _constraint(shape: Shape, name: str) -> Any:
    return None if name in LEFT_TO_OPERATIONS.get(shape.name, ()) else shape.metadata.get(name)


def violations(service: str, operation: str) -> Iterator[Violation]:
    """Every constraint that the operation's input has, broken one at a time."""
    shape = service_model(service).operation_model(operation).input_shape
    if shape is not None:
        yield from _of_structure(operation, shape, "", lambda value: value, 0, ())


def _camel(name: str) -> str:
    return name[:1].lower() + name[1:]


def _of_structure(
    operation: str, shape: StructureShape, path: str, build: Build, depth: int, above: tuple[str, ...]
) -> Iterator[Violation]:
    if depth > DEEPEST or shape.name in above:
        return
    base = minimal(shape)
    prefix = f"{path}." if path else ""
    for name, member in shape.members.items():
        here = prefix + _camel(name)

        def around(value: Any, name: str = name) -> dict[str, Any]:
            return build({**base, name: value})

        if name in shape.required_members:
            without = {other: value for other, value in base.items() if other != name}
            null = "'null'" if operation in NULL_IN_QUOTES else "null"
            text = f"Value {null} at '{here}' failed to satisfy constraint: Member must not be null"
            yield Violation(operation, "required", here, build(without), "ValidationException", text)
            yield Violation(operation, "null", here, around(None), "ValidationException", text)
        yield from _of_member(operation, member, here, around, depth, (*above, shape.name))


def _of_member(
    operation: str, shape: Shape, path: str, build: Build, depth: int, above: tuple[str, ...]
) -> Iterator[Violation]:
    yield from _wrong_types(operation, shape, path, build)
    if isinstance(shape, StructureShape):
        yield from _of_structure(operation, shape, path, build, depth + 1, above)
    elif shape.type_name == "list":
        yield from _of_list(operation, shape, path, build, depth, above)
    elif shape.type_name == "map":
        yield from _of_map(operation, shape, path, build, depth, above)
    else:
        for kind, value, text in broken_scalars(shape):
            wanted = f"at '{path}' failed to satisfy constraint: {text}"
            if kind == "pattern" and shape.name in IN_WORDS and operation != "GetFederationToken":  # which is STS's
                wanted = f"The specified value for {path} is invalid. It must "
            yield Violation(operation, kind, path, build(value), "ValidationException", wanted)


def _of_list(
    operation: str, shape: Any, path: str, build: Build, depth: int, above: tuple[str, ...]
) -> Iterator[Violation]:
    element = shape.member
    yield from _sizes(operation, shape, path, build, lambda count: [minimal(element)] * count)
    if element.type_name in ("structure", "list", "map"):
        yield from _of_member(operation, element, f"{path}.1.member", lambda value: build([value]), depth + 1, above)
        yield Violation(
            operation, "null element", path, build([None]), "ValidationException",
            f"Value null at '{path}.1.member' failed to satisfy constraint: Member must not be null",
        )  # fmt: skip
        return
    count = max(int(shape.metadata.get("min", 0)), 1)
    for kind, value, text in broken_scalars(element):
        body = build([value] + [minimal(element)] * (count - 1))
        yield Violation(
            operation, f"element {kind}", path, body, "ValidationException", _of_parts("Member", path, text)
        )
    nulls = build([None] * count)
    yield Violation(
        operation, "null element", path, nulls, "ValidationException",
        _of_parts("Member", path, "Member must not be null"),
    )  # fmt: skip


def _of_map(
    operation: str, shape: Any, path: str, build: Build, depth: int, above: tuple[str, ...]
) -> Iterator[Violation]:
    key, element = text_for(shape.key), shape.value
    for kind, value, text in broken_scalars(shape.key):
        body = build({value: minimal(element)})
        yield Violation(operation, f"key {kind}", path, body, "ValidationException", _of_parts("Map keys", path, text))
    if element.type_name in ("structure", "list", "map"):
        here = f"{path}.{key}.member"
        yield from _of_member(operation, element, here, lambda value: build({key: value}), depth + 1, above)
        return
    for kind, value, text in broken_scalars(element):
        body = build({key: value})
        yield Violation(
            operation, f"value {kind}", path, body, "ValidationException", _of_parts("Map value", path, text)
        )


def _of_parts(what: str, path: str, text: str) -> str:
    """The pattern that the text for a broken element matches; all constraints of elements stand in one bracket."""
    opening = re.escape(f"at '{path}' failed to satisfy constraint: {what} must satisfy constraint: [")
    return f"re:{opening}.*{re.escape(text)}.*\\]"


def _sizes(operation: str, shape: Shape, path: str, build: Build, make: Callable[[int], Any]) -> Iterator[Violation]:
    for kind, count, text in _lengths(shape):
        wanted = f"at '{path}' failed to satisfy constraint: {text}"
        yield Violation(operation, kind, path, build(make(count)), "ValidationException", wanted)


def _lengths(shape: Shape) -> Iterator[tuple[str, int, str]]:
    most, least = _constraint(shape, "max"), _constraint(shape, "min")
    if most is not None and most <= LONGEST // 10:
        yield "too long", int(most) + 1, f"Member must have length less than or equal to {most}"
    if least:
        yield "too short", int(least) - 1, f"Member must have length greater than or equal to {least}"


def broken_scalars(shape: Shape) -> Iterator[tuple[str, Any, str]]:
    """(kind, JSON value, text of the constraint) for each constraint of a scalar shape."""
    most, least = _constraint(shape, "max"), _constraint(shape, "min")
    if shape.type_name in ("integer", "long"):
        if most is not None:
            yield "too much", int(most) + 1, f"Member must have value less than or equal to {most}"
        if least is not None:
            yield "too little", int(least) - 1, f"Member must have value greater than or equal to {least}"
    elif shape.type_name == "blob":
        for kind, count, text in _lengths(shape):
            yield kind, b64encode(b"x" * count).decode(), text
    elif shape.type_name == "string":
        for kind, count, text in _lengths(shape):
            yield kind, "a" * count, text
        if getattr(shape, "enum", None) and shape.name != "ResourceTypeForTagging":  # that one has an error of its own
            yield "enum", "NoSuchValue", "Member must satisfy enum value set: ["
        pattern = _constraint(shape, "pattern")
        misfit = None if pattern is None else _misfit(pattern)
        if misfit is not None:
            printed = pattern[2:-2] if shape.name == "ParameterStringFilterKey" else pattern
            yield "pattern", misfit, f"Member must satisfy regular expression pattern: {printed}"


def _misfit(pattern: str) -> str | None:
    """A string that the pattern does not match; None for one that matches everything tried."""
    compiled = re.compile(_readable(pattern))
    for candidate in ("\x01\x02", "!", " ", "\u0660{}", "\n"):
        if not compiled.fullmatch(candidate) and ("\\p{" not in pattern or candidate == "\x01\x02"):
            return candidate
    return None


def _wrong_types(operation: str, shape: Shape, path: str, build: Build) -> Iterator[Violation]:
    wrong: dict[str, tuple[Any, ...]] = {
        "structure": ("text", 7, [1]),
        "map": ("text", 7, [1]),
        "list": ("text", 7, {"a": 1}),
        "string": (7, True, {"a": 1}, [1]),
        "blob": (7, "not base64!", [1]),
        "boolean": ("text", 7, {"a": 1}),
        "integer": ("text", True, [1], 1 << 40),
        "long": ("text", True, [1], 1 << 70),
        "timestamp": ("text", True, [1], 1e300),
        "double": ("text", True, [1]),
        "float": ("text", True, [1]),
    }
    for value in wrong[shape.type_name]:
        yield Violation(operation, f"type {type(value).__name__}", path, build(value), "SerializationException", "")
