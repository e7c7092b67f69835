"""What the signature check needs to know about an access key, and who can tell."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pilothouse.identity.principals import Principal


@dataclass(frozen=True, slots=True)
class Credential:
    """A usable access key: whose it is, and the secret to verify with."""

    principal: Principal
    secret: str = field(repr=False)
    session: "Session | None" = None
    """Of a role's session what its token says; the role itself is still to be asked."""
    parent: str = ""
    """The key, or the sign-in, that temporary credentials of a user or root were made by; it is still to be asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What a session was made with."""

    role_id: str
    policy: str = ""
    """The policy that narrows it; empty: none."""
    policy_arns: Sequence[str] = ()
    """Managed policies that narrow it as well."""
    tags: Mapping[str, str] = field(default_factory=dict)
    transitive: frozenset[str] = frozenset()
    source_identity: str = ""
    provider: str = ""
    mfa_at: int = 0
    """When the second factor was proved that it was made with, in epoch milliseconds; 0: none was."""


class Credentials(Protocol):
    """Finds access keys. Validity (disabled, expired, node gone) is checked on each call, never cached away."""

    async def find(self, access_key_id: str, session_token: str | None) -> Credential:
        """The credential of the key.

        Raises UnrecognizedClientException (unknown, disabled, session token missing or not the key's),
        ExpiredTokenException (temporary credentials past their expiry), AccessDeniedException (the node is
        deregistered).
        """
