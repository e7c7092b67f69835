"""Filters of ListSecrets and BatchGetSecretValue: which secrets match. No I/O.

Values inside a filter are ORed, filters ANDed. A `!` in front negates a value: it matches what the value does not.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from pilothouse.capabilities.secrets.model import InvalidParameterException, Secret

_SEPARATORS: Final = re.compile(r"[\s/_+=.@:-]+")
_WORDS: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[^A-Z]+")
"""A capital begins a word together with the small letters after it; a run of capitals before it is one by itself."""
_WITH_TAGS: Final = frozenset({"tag-key", "tag-value", "all"})


@dataclass(frozen=True, slots=True)
class Filter:
    """One filter."""

    key: str
    values: tuple[str, ...]


def checked(asked: Iterable[tuple[str | None, Sequence[str] | None]]) -> tuple[Filter, ...]:
    """The filters of a request. Raises InvalidParameterException."""
    found = []
    for key, values in asked:
        if not key:
            raise InvalidParameterException("Invalid filter key")
        if not values:
            raise InvalidParameterException(f"Invalid filter values for key: {key}")
        found.append(Filter(key, tuple(values)))
    return tuple(found)


def need_tags(filters: Sequence[Filter]) -> bool:
    """Whether the tags of a secret decide."""
    return any(each.key in _WITH_TAGS for each in filters)


def matches(filters: Sequence[Filter], secret: Secret, tags: Mapping[str, str]) -> bool:
    """Whether the secret fits all of them."""
    return all(any(_fits(each.key, value, secret, tags) for value in each.values) for each in filters)


def _fits(key: str, value: str, secret: Secret, tags: Mapping[str, str]) -> bool:
    if value.startswith("!"):
        return not _is_in(key, value[1:], secret, tags)
    return _is_in(key, value, secret, tags)


def _is_in(key: str, value: str, secret: Secret, tags: Mapping[str, str]) -> bool:
    if key == "all":
        return any(_has_words(text, value) for text in (secret.name, secret.description, *tags, *tags.values()))
    if key == "description":
        return _has_words(secret.description, value)
    texts: Iterable[str | None] = {
        "name": (secret.name,),
        "tag-key": tags,
        "tag-value": tags.values(),
        "primary-region": (secret.primary_region,),
        "owning-service": (secret.owning_service,),
    }[key]
    return any(text is not None and text.startswith(value) for text in texts)


def _has_words(text: str, value: str) -> bool:
    """Whether each word of the value begins a word of the text, in any case."""
    wanted = words(value)
    return bool(wanted) and all(any(word.startswith(each) for word in words(text)) for each in wanted)


@lru_cache(maxsize=4096)
def words(text: str) -> tuple[str, ...]:
    """The words of a text, in small letters."""
    return tuple(word.lower() for part in _SEPARATORS.split(text) for word in _WORDS.findall(part))
