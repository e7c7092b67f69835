"""Requests for any operation of a service model, filled with what belongs to somebody else."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from botocore.model import Shape

DEPTH = 6


def filled(shape: Shape | None, theirs: Mapping[str, Any], *, depth: int = 0) -> dict[str, Any]:
    """Members of a request: all that must be there, and all that can name something of theirs."""
    members: dict[str, Any] = {}
    if shape is None:
        return members
    given = dict(shape.members)  # type: ignore[attr-defined]
    if shape.is_tagged_union and not given.keys() & theirs.keys():  # type: ignore[attr-defined]
        name, member = next(iter(given.items()))
        return {name: _any(name, member, theirs, depth + 1)}
    for name, member in given.items():
        if name in theirs:
            members[name] = _of_theirs(member, theirs[name])
        elif name in shape.required_members:  # type: ignore[attr-defined]
            members[name] = _any(name, member, theirs, depth + 1)
    return members


def _of_theirs(shape: Shape, value: Any) -> Any:
    return [value] if shape.type_name == "list" and not isinstance(value, list) else value


def _any(name: str, shape: Shape, theirs: Mapping[str, Any], depth: int) -> Any:
    """Something that the model takes."""
    kind = shape.type_name
    if depth > DEPTH:
        return None
    if kind == "structure":
        return filled(shape, theirs, depth=depth)
    if kind == "list":
        return [_any(name, shape.member, theirs, depth + 1)]  # type: ignore[attr-defined]
    if kind == "map":
        return {"same": _any(name, shape.value, theirs, depth + 1)}  # type: ignore[attr-defined]
    if kind == "string":
        return _text(shape)
    if kind in ("integer", "long"):
        return max(1, int(shape.metadata.get("min", 1)))
    if kind == "blob":
        return b"0123456789abcdef"
    return {"boolean": False, "timestamp": datetime(2027, 1, 1, tzinfo=UTC), "float": 1.0, "double": 1.0}[kind]


def _text(shape: Shape) -> str:
    choices = shape.metadata.get("enum")
    if choices:
        return str(choices[0])
    return "same".ljust(int(shape.metadata.get("min", 0)), "0")
