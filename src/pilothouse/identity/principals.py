"""Principals: the outcome of authentication, and the only thing the rest of the house knows about a caller."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Principal:
    """Someone whose signature was verified. Node identity comes from here, never from a payload."""

    kind: Literal["root", "user", "session", "node", "anonymous"]
    account_id: str
    arn: str
    user_id: str
    access_key_id: str
    node_id: str | None = None
    """Set for nodes only."""
    region: str | None = None
    """Where a node is registered, for nodes only. It rules over the region that the node signs with: agents sign with
    several, as their configuration says, and a node has one home."""


ANONYMOUS = Principal(kind="anonymous", account_id="", arn="", user_id="", access_key_id="")
"""The caller of the few operations that are not signed (RegisterManagedInstance proves itself by its code)."""
