"""The line of updates that wait for one parameter: it is short, and who finds it full is told at once.

Without it, updates of one name could occupy every connection to the database.
"""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from weakref import WeakKeyDictionary

from pilothouse.call import Call, Shape
from pilothouse.capabilities.parameters.model import TooManyUpdates
from pilothouse.crypto.vault import Vault
from pilothouse.storage import LockHeld

LENGTH: Final = 8
"""Updates of one parameter that a process has under way at once, the first of them included."""

_BUSY: Final = "There are concurrent updates for a parameter that is updated one at a time. Try again."
_lines: Final[WeakKeyDictionary[Vault, Counter[tuple[str, str, str]]]] = WeakKeyDictionary()


@asynccontextmanager
async def in_line(call: Call, request: Shape) -> AsyncIterator[None]:
    """Hold a place in the line of the parameter that the request names. Raises TooManyUpdates."""
    line = _lines.setdefault(call.house.vault, Counter())
    place = (call.account_id, call.region, request["Name"].strip().removeprefix("/"))
    if line[place] >= LENGTH:
        raise TooManyUpdates(_BUSY)
    line[place] += 1
    try:
        yield
    except LockHeld as error:  # another process's updates take so long
        raise TooManyUpdates(_BUSY) from error
    finally:
        line[place] -= 1
        if not line[place]:
            del line[place]
