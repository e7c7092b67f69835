"""References: `{{ name }}` in the inputs of steps, and what takes their place.

A value that is one reference takes on what it names, with its type; within a text it becomes text. What is put in is
never looked at again, so a value cannot refer to something by itself.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from pilothouse.capabilities.automation.selecting import as_text

REFERENCE: Final = re.compile(r"\{\{\s*([^{}]*?)\s*\}\}")
_LOOSE: Final = re.compile(r"\{\{[^{}]*\}\}")
_WAY: Final = re.compile(r"\.([^.\[\]]+)|\[([0-9]{1,6}|\*)\]")
MOST_BYTES: Final = 256 * 1024
"""Of one input once it is filled."""
GLOBALS: Final = frozenset({"ACCOUNT_ID", "REGION", "DATE", "DATE_TIME", "AWS_PARTITION"})
AUTOMATIONS: Final = frozenset({"EXECUTION_ID"})
LOOPS: Final = frozenset({"CurrentIteration", "CurrentIteratorValue"})


class ReferenceInvalid(ValueError):
    """What the reference names is not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What references of one step may name."""

    account_id: str
    region: str
    execution_id: str
    now: datetime
    parameters: Mapping[str, Any] = field(default_factory=dict)
    variables: Mapping[str, Any] = field(default_factory=dict)
    outputs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Of steps that were done, by step and name; a later run of a step is in the place of the one before."""
    loop: Mapping[str, Any] | None = None
    """Of the innermost loop around the step."""

    def value(self, reference: str) -> Any:
        """What it names. Raises ReferenceInvalid."""
        space, colon, name = reference.partition(":")
        if colon:
            return self._of_space(space.strip(), name.strip())
        if reference in self.parameters:
            return self.parameters[reference]
        head, dot, rest = reference.partition(".")
        if head == "loop" and dot and self.loop is not None:
            return _walk(self.loop, rest, reference)
        if head in self.outputs and dot:
            return _walk(self.outputs[head], rest, reference)
        for name in sorted(self.parameters, key=len, reverse=True):
            if reference.startswith((f"{name}.", f"{name}[")):
                return _along(self.parameters[name], reference[len(name) :], reference)
        if dot:
            raise ReferenceInvalid(f"{reference} is not there: the step {head} has not given it")
        raise ReferenceInvalid(f"there is no parameter named {reference}")

    def _of_space(self, space: str, name: str) -> Any:
        if space == "variable":
            head = next((each for each in _heads(name) if each in self.variables), None)
            if head is None:
                raise ReferenceInvalid(f"there is no variable named {name}")
            return _along(self.variables[head], name[len(head) :], f"variable:{name}")
        found = {
            ("automation", "EXECUTION_ID"): self.execution_id,
            ("global", "ACCOUNT_ID"): self.account_id,
            ("global", "REGION"): self.region,
            ("global", "AWS_PARTITION"): "aws",
            ("global", "DATE"): self.now.strftime("%Y-%m-%d"),
            ("global", "DATE_TIME"): self.now.strftime("%Y-%m-%d_%H.%M.%S"),
        }.get((space, name))
        if found is None:
            raise ReferenceInvalid(f"{space}:{name} is not known")
        return found


def _heads(name: str) -> Iterator[str]:
    """What the first part of a name may be, the longest first."""
    yield name
    for number in range(len(name) - 1, 0, -1):
        if name[number] in ".[":
            yield name[:number]


def _walk(outputs: Mapping[str, Any], rest: str, reference: str) -> Any:
    for head in _heads(rest):
        if head in outputs:
            return _along(outputs[head], rest[len(head) :], reference)
    raise ReferenceInvalid(f"{reference} is not there: the step has no such output")


def _along(value: Any, way: str, reference: str) -> Any:
    """What lies further on: `.key`, `[0]`, `[*]`."""
    at = 0
    while at < len(way):
        found = _WAY.match(way, at)
        if found is None:
            raise ReferenceInvalid(f"{reference} is not a reference")
        at = found.end()
        try:
            if found[1] is not None:
                value = value[found[1]] if isinstance(value, Mapping) else None
            elif found[2] != "*":
                value = value[int(found[2])] if isinstance(value, list) else None
            elif not isinstance(value, list):
                value = None
        except (KeyError, IndexError):
            value = None
        if value is None:
            raise ReferenceInvalid(f"{reference} is not there: nothing lies at {way[:at]}")
    return value


def fill(value: Any, look: Callable[[str], Any]) -> Any:
    """The value with its references filled. Raises ReferenceInvalid; also for what grows beyond all bounds."""
    filled = _fill(value, look)
    if size_of(filled) > MOST_BYTES:
        raise ReferenceInvalid(f"it is larger than {MOST_BYTES // 1024} KiB")
    return filled


def size_of(value: Any) -> int:
    """About how many bytes a value has."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return sum(len(key) + size_of(each) for key, each in value.items())
    return sum(map(size_of, value)) + len(value) if isinstance(value, list) else 8


def _fill(value: Any, look: Callable[[str], Any]) -> Any:
    if isinstance(value, str):
        if "{{" not in value:
            return value
        whole = REFERENCE.fullmatch(value.strip())
        if whole is not None:
            return look(whole[1])
        return REFERENCE.sub(lambda found: as_text(look(found[1])), value)
    if isinstance(value, Mapping):
        return {key: _fill(each, look) for key, each in value.items()}
    if isinstance(value, list):
        return [_fill(each, look) for each in value]
    return value


def references(value: Any) -> Iterator[tuple[str, str]]:
    """Every reference in a value, with its place within it; those in keys come with a place that ends in `{}`."""
    waiting: list[tuple[str, Any]] = [("", value)]
    while waiting:
        place, found = waiting.pop()
        if isinstance(found, str):
            for name in REFERENCE.findall(found):
                yield place, name
        elif isinstance(found, Mapping):
            for key, each in found.items():
                if _LOOSE.search(str(key)):
                    yield f"{place}.{key}{{}}", str(key)
                waiting.append((f"{place}.{key}" if place else str(key), each))
        elif isinstance(found, list):
            waiting += [(f"{place}[{number}]", each) for number, each in enumerate(found)]
