"""What is at paths of capabilities, for whoever has the path: files, and pages with a form.

Nobody's identity was asked for: the path, or what stands in its query, must prove by itself that it may be read.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pilothouse.inside import Origin

if TYPE_CHECKING:
    from pilothouse.call import House

GiveFile = Callable[["House", str], Awaitable[bytes | None]]
"""What follows a prefix in a path to the content of a file, None if there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """Somebody opened a page, or sent its form."""

    sent: bool
    """The form was sent. Only then may anything change: programs open links before people do."""
    fields: Mapping[str, str] = field(repr=False)
    """Of the form, else of the query."""
    origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What a page says, all of it plain text. How it looks, and what guards it, is the edge's business."""

    title: str
    text: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    """Shown below one another, each with its name."""
    buttons: Mapping[str, str] = field(default_factory=dict)
    """Value of the field `decision` to what stands on the button; none: there is no form."""
    asks: str = ""
    """What is asked for in the field `comment`; empty: nothing."""
    hidden: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Fields that the form sends along."""
    status: int = 200


AnswerVisit = Callable[["House", Visit], Awaitable[Page]]
