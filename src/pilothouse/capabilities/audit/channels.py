"""Records of channels: who opened and closed a control channel or an end of a session, and who was refused."""

from collections.abc import Mapping
from typing import Any

from pilothouse.call import House
from pilothouse.capabilities.audit.recording import record_of_channel
from pilothouse.capabilities.audit.sealing import trail_of
from pilothouse.storage import Transaction


async def told(house: House, tx: Transaction, facts: Mapping[str, Any]) -> None:
    """The event `channel.told`, in whose transaction the record is laid down.

    Facts: account_id, region, name, by (arn, principal id), username, access_key_id, resources (ARNs), said, and
    optionally error (code and text).
    """
    if house.audit is None:
        return
    trail = trail_of(house)
    at = house.clock.millis()
    trail.lay(tx, record_of_channel(at, trail.event_id(at), facts).sealed(trail.key))
