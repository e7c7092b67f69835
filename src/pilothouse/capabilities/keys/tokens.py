"""Grant tokens: a text that stands for one grant, made by CreateGrant. They are authenticated, and kept nowhere."""

import base64
import binascii
import hmac
from typing import Final, NamedTuple

import msgspec

from pilothouse.call import House
from pilothouse.capabilities.keys.errors import InvalidGrantTokenException
from pilothouse.capabilities.keys.granting import Grant

_MAC: Final = 32


class Named(NamedTuple):
    """The grant that a token names; it may have ended since."""

    account_id: str
    region: str
    key_id: str
    grant_id: str


def make(house: House, grant: Grant) -> str:
    """A token for the grant; another one at each call."""
    nonce = house.ids.random_bytes(12).hex()
    body = msgspec.msgpack.encode([nonce, grant.account_id, grant.region, grant.key_id, grant.grant_id])
    return base64.b64encode(hmac.digest(_secrets(house)[0], body, "sha256") + body).decode()


def read(house: House, token: str) -> Named:
    """What a token names. Raises InvalidGrantTokenException unless it was made here."""
    try:
        raw = base64.b64decode(token, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidGrantTokenException("The grant token is not valid.") from error
    macs = (hmac.digest(secret, raw[_MAC:], "sha256") for secret in _secrets(house))
    if not any(hmac.compare_digest(raw[:_MAC], mac) for mac in macs):
        raise InvalidGrantTokenException("The grant token is not valid.")
    _, *names = msgspec.msgpack.decode(raw[_MAC:], type=list[str])
    return Named(*names)


def _secrets(house: House) -> tuple[bytes, ...]:
    """First the one that signs, then those of other root keys that count."""
    return house.vault.subkeys("kms grant tokens")
