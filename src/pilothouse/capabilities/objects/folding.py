"""Lists of keys with a prefix and a delimiter: keys that go on behind the delimiter are folded into one common prefix.

Pure: it says which keys to look at, and takes them in order; a folded prefix is stepped over without looking at the
keys under it.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

_LAST = 0x10FFFF
_SURROGATES = (0xD800, 0xDFFF)


class Keyed(Protocol):
    @property
    def key(self) -> str: ...


T = TypeVar("T", bound=Keyed)
Fetch = Callable[[str, bool, str | None, int], Awaitable[Sequence[T]]]
"""(from this key, this key itself as well, before this key or None, how many) to entries in the order of their keys."""


@dataclass(slots=True)
class Page(Generic[T]):
    """One page of a list."""

    entries: list[T] = field(default_factory=list)
    prefixes: list[str] = field(default_factory=list)
    last: str = ""
    """The key, or common prefix, that the page ends with."""
    more: bool = False

    def __len__(self) -> int:
        return len(self.entries) + len(self.prefixes)


def after_all(prefix: str) -> str | None:
    """The first text, in the order of code points, beyond all that begin with the prefix; None if there is none."""
    while prefix:
        last = ord(prefix[-1])
        if last < _LAST:
            following = last + 1
            if _SURROGATES[0] <= following <= _SURROGATES[1]:
                following = _SURROGATES[1] + 1
            return prefix[:-1] + chr(following)
        prefix = prefix[:-1]
    return None


def folded(key: str, prefix: str, delimiter: str) -> str | None:
    """The common prefix that a key is folded into."""
    if not delimiter:
        return None
    at = key.find(delimiter, len(prefix))
    return None if at < 0 else key[: at + len(delimiter)]


async def page_of(fetch: Fetch[T], *, prefix: str, delimiter: str, after: str, most: int) -> Page[T]:
    """The page of at most `most` keys and common prefixes beyond `after`.

    A common prefix that `after` names, or lies in, has been told before and is not told again if it is named itself.
    """
    page: Page[T] = Page()
    end = after_all(prefix) if prefix else None
    start, inclusive = (prefix, True) if after < prefix else (after, False)
    if delimiter and after >= prefix and folded(after, prefix, delimiter) == after:
        beyond = after_all(after)
        if beyond is None:
            return page
        start, inclusive = beyond, True
    while True:
        wanted = most - len(page) + 1
        entries = await fetch(start, inclusive, end, wanted)
        jumped = False
        for entry in entries:
            common = folded(entry.key, prefix, delimiter)
            if len(page) >= most:
                page.more = True
                return page
            if common is None:
                page.entries.append(entry)
                page.last = start = entry.key
                inclusive = False
                continue
            page.prefixes.append(common)
            page.last = common
            beyond = after_all(common)
            if beyond is None:
                return page
            start, inclusive, jumped = beyond, True, True
            break
        if not jumped and len(entries) < wanted:
            return page
