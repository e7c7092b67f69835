"""Background work of commands: expiry, lost wake-ups, history."""

from datetime import timedelta

from pilothouse.call import House, job
from pilothouse.capabilities.commands import uploads
from pilothouse.capabilities.commands.model import Details
from pilothouse.capabilities.commands.output_store import OutputStore
from pilothouse.capabilities.commands.progress import ended_together, settle
from pilothouse.capabilities.commands.store import CommandStore
from pilothouse.gateway import outbox

_DAY_MS = 24 * 3_600_000
_FORGET_BATCH = 1000
_FORGET_BATCHES = 50


@job("commands.expire", every=timedelta(seconds=2))
async def expire(house: House) -> None:
    """What has not ended by the command's expiry becomes DeliveryTimedOut."""
    async with house.database.reading() as tx:
        due = await CommandStore(tx).due(house.clock.millis())
    for command_id in due:
        async with house.database.transaction() as tx:
            await outbox.hold(tx, [command_id])
            store = CommandStore(tx)
            command = (await store.commands([command_id])).get(command_id)
            if command is None or command.current().final:
                continue
            await ended_together(house, tx, command, Details.DELIVERY_TIMED_OUT, waiting_only=False)
            await store.end_all(command, Details.DELIVERY_TIMED_OUT, house.clock.millis())
            await settle(house, tx, command, freed=0)


@job("commands.release", every=timedelta(seconds=5))
async def release(house: House) -> None:
    """Offer free slots to nodes that wait: a wake-up may have been lost, or a released node has gone away."""
    async with house.database.reading() as tx:
        waiting = [each for each in await CommandStore(tx).with_room() if await outbox.releasable(house, tx, each)]
    for command_id in waiting:
        async with house.database.transaction() as tx:
            await outbox.hold(tx, [command_id])
            command = (await CommandStore(tx).commands([command_id])).get(command_id)
            if command is not None:
                await outbox.release(house, tx, command_id, command.room)


@job("commands.forget", every=timedelta(minutes=10))
async def forget(house: House) -> None:
    """Remove ended commands after the time that history is kept."""
    before = house.clock.millis() - house.settings.commands.history_days * _DAY_MS
    for _ in range(_FORGET_BATCHES):
        async with house.database.reading() as tx:
            oldest = await CommandStore(tx).older_than(before)
            account_id = None if oldest is None else (await CommandStore(tx).commands([oldest]))[oldest].account_id
        if oldest is None or account_id is None:
            return
        await uploads.forget(house, account_id, oldest)
        async with house.database.transaction() as tx:
            store = CommandStore(tx)
            nodes = await store.some_nodes(oldest, _FORGET_BATCH)
            await OutputStore(tx, house.vault).forget(oldest, nodes)
            await store.forget(oldest, nodes, whole=len(nodes) < _FORGET_BATCH)
