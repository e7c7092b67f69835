"""Grants: permission for one principal to do some things with one key. The record and its rules."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_WITHOUT_CONTEXT: Final = frozenset({"CreateGrant", "RetireGrant", "DescribeKey", "GetPublicKey"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """One grant. `context_equals` and `context_subset` bind the encryption context of what it lets be done."""

    account_id: str
    region: str
    key_id: str
    grant_id: str
    name: str
    grantee: str
    retiring: str
    issuing_account: str
    operations: tuple[str, ...]
    context_equals: Mapping[str, str] | None
    context_subset: Mapping[str, str] | None
    source_arn: str | None
    created_at: int

    def fits(self, operation: str, context: Mapping[str, str]) -> bool:
        """Whether the encryption context of a use is one that the grant is for."""
        if self.source_arn is not None:
            return False  # nobody asks on behalf of a resource of another service here
        if operation in _WITHOUT_CONTEXT:
            return True
        if self.context_equals is not None and dict(self.context_equals) != dict(context):
            return False
        return self.context_subset is None or self.context_subset.items() <= context.items()

    def fits_retiring(self) -> bool:
        """Whether the grantee may retire it."""
        return "RetireGrant" in self.operations and self.source_arn is None

    def covers(self, other: "Grant") -> bool:
        """Whether who was let make grants by this one may make the other: with no more operations or freer context."""
        if not set(other.operations) <= set(self.operations):
            return False
        if self.context_equals is not None:
            return other.context_equals == self.context_equals
        if self.context_subset is not None:
            bound = other.context_equals or other.context_subset or {}
            return self.context_subset.items() <= bound.items()
        return True

    def same_as(self, other: "Grant") -> bool:
        """Whether both say the same, so that one of them is enough."""
        return all(
            getattr(self, name) == getattr(other, name)
            for name in ("name", "grantee", "retiring", "operations", "context_equals", "context_subset", "source_arn")
        )
