"""What a capability does when something of it is due."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pilothouse.storage import Transaction

if TYPE_CHECKING:
    from pilothouse.call import House


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """Something that was to happen at a time, which has come."""

    kind: str
    key: str
    account_id: str
    region: str
    at: int
    """The moment at which it was due, epoch milliseconds."""
    late_ms: int
    """How much later it is now."""


Fire = Callable[["House", Transaction, Due], Awaitable[int | None]]
"""Does what is due, in the transaction that takes it off the list; when it is due again, after `at`, None for never."""
