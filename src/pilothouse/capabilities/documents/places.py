"""Places in a document, the errors about them, and the forms of values that many members share.

Agents read member names whatever their case, so a name that differs from a known one by case alone is refused: it would
take the other one's place there.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from pilothouse.capabilities.documents.model import InvalidDocumentContent

STEP_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,128}")
LONE: Final = re.compile(r"\{\{\s*([a-zA-Z0-9]+)\s*\}\}")
"""A text that is one placeholder, whose value takes its place and keeps its type."""
PLACEHOLDER: Final = re.compile(r"\{\{\s*([^\s{}]+)\s*\}\}")
STORED: Final = re.compile(r"\{\{\s*ssm(?:-secure)?:")

_MOST: Final = 300
"""Characters of an error's parts: names in a document may be long."""


def at(place: str, reason: str) -> InvalidDocumentContent:
    """The error about a place of the content."""
    return InvalidDocumentContent(f"{place[:_MOST] or 'the document'}: {reason[:_MOST]}.")


def mapping(place: str, value: Any) -> Mapping[str, Any]:
    """An object. Raises InvalidDocumentContent."""
    if not isinstance(value, Mapping):
        raise at(place, "it must be an object")
    return value


def optional_mapping(place: str, value: Any) -> Mapping[str, Any]:
    """An object; empty if it is not there."""
    return {} if value is None else mapping(place, value)


def text(place: str, value: Any, *, empty: bool = True) -> str:
    """A text. Raises InvalidDocumentContent."""
    if not isinstance(value, str) or (not empty and not value.strip()):
        raise at(place, "it must be a text" if empty else "it must be a text that is not empty")
    return value


def optional_text(place: str, value: Any) -> None:
    """Raises InvalidDocumentContent for what is there and no text."""
    if value is not None:
        text(place, value)


def scalar_text(value: Any) -> str | None:
    """A text, number or truth value as agents are told it; None for everything else."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"{value}"
    return value if isinstance(value, str) else None


def whole_number(value: Any) -> int | None:
    """A whole number, also one that is written as a text or with a point; None for everything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,10}", value):
        return int(value)
    return value if isinstance(value, int) else None


def known_names(place: str, value: Mapping[str, Any], known: Collection[str], *, others: bool) -> None:
    """Raises InvalidDocumentContent for a name that is not known (`others`: only if it is one in another case)."""
    for name in value:
        if name in known:
            continue
        within = f"{place}.{name}" if place else name
        folded = name.casefold()
        meant = next((each for each in known if each.casefold() == folded), None)
        if meant is not None:
            raise at(within, f"it must be written {meant}")
        if not others:
            raise at(within, f"it is not known here; known are {', '.join(sorted(known))}")


def strings(value: Any) -> Iterator[str]:
    """Every text in a value, those that are keys left out."""
    waiting = [value]
    while waiting:
        found = waiting.pop()
        if isinstance(found, str):
            yield found
        elif isinstance(found, Mapping):
            waiting += found.values()
        elif isinstance(found, list):
            waiting += found
