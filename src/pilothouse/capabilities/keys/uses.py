"""When keys were last used: GetKeyLastUsage.

Uses are gathered in memory, so that they cost their requests no write, and written every minute and when the server
stops. A process that is killed forgets those of the last minute, and other processes hear of them that late.
"""

import asyncio
from typing import Final
from weakref import WeakKeyDictionary

import structlog

from pilothouse.call import Call, House, Shape, operation
from pilothouse.capabilities.keys import finding
from pilothouse.capabilities.keys.metadata import moment
from pilothouse.capabilities.keys.model import Key
from pilothouse.capabilities.keys.store import LastUse, UseStore
from pilothouse.crypto.vault import Vault

log = structlog.get_logger()

_WRITTEN_EVERY_SECONDS: Final = 60.0


_Place = tuple[str, str, str]
"""Account, region and key id; a plain tuple, as one is made for each use."""

_gathered: Final[WeakKeyDictionary[Vault, dict[_Place, LastUse]]] = WeakKeyDictionary()
"""Of each vault's house the uses that are not written yet."""


def note(house: House, key: Key, operation_name: str, request_id: str) -> None:
    """A cryptographic operation (its wire name) succeeded with the key."""
    gathered = _gathered.get(house.vault)
    if gathered is None:
        gathered = _gathered[house.vault] = {}
    gathered[key.account_id, key.region, key.key_id] = LastUse(operation_name, house.clock.millis(), request_id)


@operation("kms", "GetKeyLastUsage", asks_itself=True)
async def get_key_last_usage(call: Call, request: Shape) -> Shape:
    """The last use of a key, as far back as uses were kept. There is no CloudTrail whose event could be named."""
    async with call.reading() as tx:
        key = await finding.asked(call, tx, request["KeyId"], "kms:GetKeyLastUsage", request)
        store = UseStore(tx)
        written = await store.last(key.account_id, key.region, key.key_id)
        since = await store.since()
    unwritten = _gathered.get(call.house.vault, {}).get((key.account_id, key.region, key.key_id))
    known = [each for each in (written, unwritten) if each is not None]
    told: Shape = {}
    if known:
        last = max(known, key=lambda use: use.used_at)
        told = {"Operation": last.operation, "Timestamp": moment(last.used_at)}
        if last.request_id:
            told["KmsRequestId"] = last.request_id
    return {
        "KeyId": key.key_id,
        "KeyLastUsage": told,
        "TrackingStartDate": moment(max(since or 0, key.created_at)),
        "KeyCreationDate": moment(key.created_at),
    }


async def keep(house: House) -> None:
    """Write what is gathered every minute, and once more when the server stops."""
    began = house.clock.millis()  # before the first request: uses are gathered from here on, whenever this is written
    async with house.database.reading() as tx:
        since = await UseStore(tx).since()
    if since is None:
        async with house.database.transaction() as tx:
            await UseStore(tx).begin(began)
    try:
        while True:
            await house.clock.sleep(_WRITTEN_EVERY_SECONDS)
            await write(house)
    except asyncio.CancelledError:
        try:
            await write(house)
        except Exception:
            log.exception("keys.uses_lost")  # of the last minute; the stop goes on
        raise


async def write(house: House) -> None:
    """Write what was gathered. What cannot be written is kept for the next time."""
    gathered = _gathered.get(house.vault)
    if not gathered:
        return
    taken = dict(sorted(gathered.items()))  # in one order, as other processes write theirs
    gathered.clear()
    try:
        async with house.database.transaction() as tx:
            for place, use in taken.items():
                await UseStore(tx).put(*place, use)
    except BaseException:
        gathered |= {place: use for place, use in taken.items() if place not in gathered}
        raise
