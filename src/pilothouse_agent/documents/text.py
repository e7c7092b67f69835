"""Documents and parameters as text: JSON, or YAML where it is no JSON.

YAML is read as data alone: no tags, no dates, and aliases only as far as the whole stays small.
"""

import json
from typing import Any

MOST_BYTES = 256 * 1024
_MOST_VALUES = 50_000
_MOST_DEPTH = 60


class Unreadable(Exception):
    """The text is neither JSON nor YAML, or is too large; the text says why and shows no content."""


def read(text: bytes) -> Any:
    """The value of the text. Raises Unreadable."""
    if len(text) > MOST_BYTES:
        raise Unreadable(f"it is longer than {MOST_BYTES} bytes")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return _read_yaml(text)


def _read_yaml(text: bytes) -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        """Values as JSON knows them."""

    Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    try:
        value = yaml.load(text, Loader)  # noqa: S506 -- a kind of SafeLoader
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, TypeError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f" in line {mark.line + 1}" if mark is not None else ""
        raise Unreadable(f"it is neither JSON nor YAML{place}") from error
    return _Plain().of(value, 0)


class _Plain:
    """The value as JSON has it, counted: an alias to an alias to an alias is small text and a huge value."""

    def __init__(self) -> None:
        self._left = _MOST_VALUES

    def of(self, value: Any, depth: int) -> Any:
        self._left -= 1
        if self._left < 0 or depth > _MOST_DEPTH:
            raise Unreadable("it holds too many values, or values too deep inside one another")
        if isinstance(value, dict):
            return {self._key(key): self.of(inner, depth + 1) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.of(inner, depth + 1) for inner in value]
        if value is None or isinstance(value, str | bool | int | float):
            return value
        raise Unreadable(f"it holds a {type(value).__name__}, which JSON does not know")

    @staticmethod
    def _key(key: Any) -> str:
        if isinstance(key, bool | str):
            return str(key).lower() if isinstance(key, bool) else key
        return json.dumps(key) if isinstance(key, int | float) else str(key)
