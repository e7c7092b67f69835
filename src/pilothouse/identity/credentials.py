"""What the signature check needs to know about an access key, and who can tell."""

from dataclasses import dataclass, field
from typing import Protocol

from pilothouse.identity.principals import Principal


@dataclass(frozen=True, slots=True)
class Credential:
    """A usable access key: whose it is, and the secret to verify with."""

    principal: Principal
    secret: str = field(repr=False)


class Credentials(Protocol):
    """Finds access keys. Validity (disabled, expired, node gone) is checked on each call, never cached away."""

    async def find(self, access_key_id: str, session_token: str | None) -> Credential:
        """The credential of the key.

        Raises UnrecognizedClientException (unknown, disabled, session token missing or not the key's),
        ExpiredTokenException (temporary credentials past their expiry), AccessDeniedException (the node is
        deregistered).
        """
