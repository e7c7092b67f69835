"""What a put needs to know beyond its parameter, looked up before its transaction begins.

Between transactions it is remembered for as long as nothing is committed, so puts that come together ask once. A change
that was acknowledged before the put was sent counts; one that comes while the put is under way may not.
"""

from typing import Final, NamedTuple
from weakref import WeakKeyDictionary

from pilothouse.call import Call, Shape
from pilothouse.capabilities import keys
from pilothouse.capabilities.parameters import settings
from pilothouse.capabilities.parameters.model import SECURE
from pilothouse.capabilities.parameters.puts import DEFAULT_KEY
from pilothouse.crypto.vault import Vault
from pilothouse.storage.remembered import Remembered

_REMEMBERED: Final = 1024


class Ahead(NamedTuple):
    """Of one account, region and key."""

    default_tier: str | None
    key_ref: str
    sealer: keys.Sealer | None
    """The key of `key_ref`; None if it can't be used as it is, or nothing is to be sealed."""


NOTHING: Final = Ahead(None, "", None)
"""Everything is still to be found."""

_known: Final[WeakKeyDictionary[Vault, Remembered[tuple[str, str, str], Ahead]]] = WeakKeyDictionary()


async def look_ahead(call: Call, request: Shape) -> Ahead:
    """What PutParameter's request is likely to need. A version that inherits another key finds it by itself."""
    secure = request.get("Type", SECURE) == SECURE
    key_ref = (request.get("KeyId") or DEFAULT_KEY) if secure else ""
    known = _known.get(call.house.vault)
    if known is None:
        known = _known[call.house.vault] = Remembered(_REMEMBERED)
    place = (call.account_id, call.region, key_ref)
    async with call.reading() as tx:
        stamp = await tx.stamp()
        found = known.get(stamp, place)
        if found is None:
            found = Ahead(
                await settings.text(tx, call.account_id, call.region, settings.DEFAULT_TIER),
                key_ref,
                await keys.sealer_of(call.house, tx, call.account_id, call.region, key_ref) if key_ref else None,
            )
            known.put(stamp, place, found)
    return found
