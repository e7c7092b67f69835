"""The key of a put, looked up before its transaction begins, as that of a put of a parameter is.

Between transactions it is remembered for as long as nothing is committed, so puts that come together ask once. A change
that was acknowledged before the put was sent counts; one that comes while the put is under way may not.
"""

from typing import Final, NamedTuple
from weakref import WeakKeyDictionary

from pilothouse.call import Call, Shape
from pilothouse.capabilities import keys
from pilothouse.capabilities.secrets.model import DEFAULT_KEY, ResourceNotFoundException, references
from pilothouse.capabilities.secrets.store import SecretStore
from pilothouse.crypto.vault import Vault
from pilothouse.errors import ValidationException
from pilothouse.storage.remembered import Remembered

_REMEMBERED: Final = 1024


class Ahead(NamedTuple):
    """A key as a secret names it."""

    key_ref: str
    sealer: keys.Sealer | None
    """None if it can't be used as it is."""


_known: Final[WeakKeyDictionary[Vault, Remembered[tuple[str, str, str], Ahead]]] = WeakKeyDictionary()


async def look_ahead(call: Call, request: Shape) -> Ahead | None:
    """The key of the secret that the request names; None for what is not there, or another account's."""
    known = _known.get(call.house.vault)
    if known is None:
        known = _known[call.house.vault] = Remembered(_REMEMBERED)
    try:
        reference = references(request["SecretId"], call.account_id, call.region)[0]
    except (ResourceNotFoundException, ValidationException):
        return None
    if reference.account_id != call.account_id:
        return None
    async with call.reading() as tx:
        stamp = await tx.stamp()
        secret = await SecretStore(tx, call.account_id, call.region).secret(reference.name)
        if secret is None:
            return None
        key_ref = secret.key_ref or DEFAULT_KEY
        place = (call.account_id, call.region, key_ref)
        found = known.get(stamp, place)
        if found is None:
            sealer = await keys.sealer_of(call.house, tx, call.account_id, call.region, key_ref)
            found = Ahead(key_ref, sealer)
            known.put(stamp, place, found)
    return found


def sealer_for(call: Call, key_ref: str | None) -> keys.Sealer | None:
    """The key that a secret names, if the call looked for it before."""
    ahead = call.prepared
    return ahead.sealer if isinstance(ahead, Ahead) and ahead.key_ref == (key_ref or DEFAULT_KEY) else None
