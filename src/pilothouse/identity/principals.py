"""Principals: the outcome of authentication, and the only thing the rest of the house knows about a caller."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal

from pilothouse.identity.permissions import Permissions


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
    name: str = ""
    """Of a user."""
    role_arn: str = ""
    """Of a session the ARN of its role, with its path."""
    permissions: Permissions | None = field(default=None, compare=False, repr=False)
    """What the policies of a user or session allow, as they were when the signature was verified; None: not held by
    policies."""
    guarded: Collection[str] | None = field(default=(), compare=False, repr=False)
    """The ARNs of its account's resources that have policies of their own, as they were then; None: any may have."""
    tags: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    temporary: bool = False
    """A user or root with credentials of GetSessionToken: they reach less far than the key that they were made by."""
    issued_at: int = 0
    """When temporary credentials were made, in epoch milliseconds; 0 for keys and nodes."""
    source_identity: str = ""
    """Who it was that took on the first of a chain of roles, as it was said then."""
    transitive: frozenset[str] = frozenset()
    """Keys of the tags that go on to sessions taken on from this one."""
    mfa_at: int = 0
    """When the second factor was proved that the credentials were made with, in epoch milliseconds; 0: none was."""
    access_request: str = ""
    """Of credentials for access to a node that was asked for: the request's id. They allow that and no more."""
    access_ends_at: int = 0
    """When that access ends, in epoch milliseconds."""
    provider: str = ""
    """Of a session that was taken on with a token of an identity provider, the ARN of that."""


ANONYMOUS = Principal(kind="anonymous", account_id="", arn="", user_id="", access_key_id="")
"""The caller of the few operations that are not signed (RegisterManagedInstance proves itself by its code)."""
