"""How the owner of a table announces what it keeps sealed by the vault, so that it can be sealed anew."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """One column (type blob) whose values come from `Vault.seal`; null where a row has none."""

    table: str
    keys: tuple[str, ...]
    """The columns of the primary key."""
    column: str
    context: Callable[[Mapping[str, Any]], str]
    """From a row (key columns and `reads`) to the context that its value was sealed with."""
    reads: tuple[str, ...] = ()
    """Further columns that `context` needs."""

    @property
    def name(self) -> str:
        """`table.column`"""
        return f"{self.table}.{self.column}"

    @property
    def columns(self) -> tuple[str, ...]:
        """What is read to seal a value anew."""
        return (*self.keys, *self.reads, self.column)
