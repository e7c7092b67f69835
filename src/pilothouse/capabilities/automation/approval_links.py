"""Links by which approvers decide without an AWS client: made of the step, the approver and a time, stored nowhere.

A link is for one user, one attempt of one step, until the step's time is over. It is signed, also over who the user is,
so that it is worth nothing once the user is gone and another has the name. A decision uses it up, as it uses up the
user's vote.
"""

import hmac
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode
from uuid import UUID

from pilothouse.call import House
from pilothouse.runtime.settings import Settings

PATH: Final = "/ph/v1/approvals"
_PURPOSE: Final = "approval links"
_SAID: Final = struct.Struct(">16sHBQ")
_MAC: Final = 32
_MOST: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a link says; it is true only if `proves`."""

    step_id: str
    attempt: int
    number: int
    """Of the approver among those of the step."""
    ends_at: int
    """Epoch milliseconds."""

    def said(self) -> bytes:
        return _SAID.pack(UUID(self.step_id).bytes, self.attempt, self.number, self.ends_at)


def link(house: House, claim: Claim, user_id: str) -> str:
    """The URL for the user; empty where no setting says how this server is reached."""
    server = _server(house.settings)
    if not server:
        return ""
    said = claim.said()
    token = urlsafe_b64encode(said + _mac(house.vault.subkeys(_PURPOSE)[0], said, user_id)).decode().rstrip("=")
    return f"{server}{PATH}?{urlencode({'token': token})}"


def _server(settings: Settings) -> str:
    if settings.automation.url or settings.topics.url:
        return settings.automation.url or settings.topics.url
    return f"https://{settings.names[0]}:{settings.https.rpartition(':')[2]}" if settings.names else ""


def claimed(token: str) -> Claim | None:
    """What a token says, whoever made it; None where it is none."""
    try:
        content = _decoded(token)
        step, attempt, number, ends_at = _SAID.unpack(content[:-_MAC])
    except (ValueError, Error, struct.error):
        return None
    return Claim(step_id=str(UUID(bytes=step)), attempt=attempt, number=number, ends_at=ends_at)


def proves(house: House, token: str, user_id: str) -> bool:
    """Whether this installation made it, for that user."""
    content = _decoded(token)
    said, mac = content[:-_MAC], content[-_MAC:]
    return any(hmac.compare_digest(_mac(key, said, user_id), mac) for key in house.vault.subkeys(_PURPOSE))


def _decoded(token: str) -> bytes:
    """Raises ValueError."""
    if len(token) > _MOST:
        raise ValueError("too long")
    return urlsafe_b64decode(token + "=" * (-len(token) % 4))


def _mac(key: bytes, said: bytes, user_id: str) -> bytes:
    return hmac.digest(key, said + user_id.encode(), "sha256")
