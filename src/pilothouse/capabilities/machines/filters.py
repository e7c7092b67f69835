"""Filters of what is described: any of the values of each, with `*` and `?` as wildcards."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from pilothouse.call import Shape
from pilothouse.errors import InvalidParameterValue
from pilothouse.identity.policy_patterns import matcher, wildcards

T = TypeVar("T")
Facts = Mapping[str, Callable[[T], Sequence[str]]]
"""By the filter's name what is compared with its values."""
MOST_VALUES = 200


def fitting(
    request: Shape, found: Sequence[T], facts: Facts[T], tags: Callable[[T], Mapping[str, str]] | None = None
) -> list[T]:
    """Those that all filters of a request let through. Raises InvalidParameterValue."""
    left = list(found)
    for each in request.get("Filters") or ():
        name, values = each.get("Name") or "", each.get("Values") or []
        if not name or not values:
            raise InvalidParameterValue("A filter needs a name and values.")
        if len(values) > MOST_VALUES:
            raise InvalidParameterValue(f"A filter has {MOST_VALUES} values at most.")
        told = _told(name, facts, tags)
        matches = [matcher(wildcards(value)) for value in values]
        left = [one for one in left if any(match(text) for text in told(one) for match in matches)]
    return left


def _told(
    name: str, facts: Facts[T], tags: Callable[[T], Mapping[str, str]] | None
) -> Callable[[T], Sequence[str]]:  # fmt: skip
    if name in facts:
        return facts[name]
    if tags is not None:
        given = tags
        if name == "tag-key":
            return lambda one: list(given(one))
        if name == "tag-value":
            return lambda one: list(given(one).values())
        if name.startswith("tag:"):
            key = name.removeprefix("tag:")
            return lambda one: [given(one)[key]] if key in given(one) else []
    raise InvalidParameterValue(f"The filter '{name}' is invalid")
