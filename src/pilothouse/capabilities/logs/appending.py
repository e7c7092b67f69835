"""Events that the server itself puts: into a group and a stream that are made where they are not there."""

from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from typing import Final

from pilothouse.call import House
from pilothouse.capabilities.logs.groups import new_id
from pilothouse.capabilities.logs.model import (
    BATCH_BYTES,
    OVERHEAD,
    PAGE_EVENTS,
    Event,
    Group,
    ResourceNotFoundException,
    Stream,
    put_id,
)
from pilothouse.capabilities.logs.sealing import with_own_key
from pilothouse.capabilities.logs.store import LogStore
from pilothouse.capabilities.logs.writing import put_events
from pilothouse.storage import Transaction

_PIECE: Final = 256 << 10
"""Characters of a message; a longer one becomes several events. Each has four bytes at most."""


async def has_group(tx: Transaction, account_id: str, region: str, group: str) -> bool:
    """Whether the account has the group."""
    return await LogStore(tx, account_id, region).group(group) is not None


async def append(
    house: House, account_id: str, region: str, group: str, stream: str, events: Sequence[Event], *, once: str = ""
) -> None:
    """Put events durably; group and stream are made if need be.

    `once` names what is put: where the same was put under this name before, nothing happens, so that work may be
    repeated. Not to be called inside a transaction: the writer has one of its own.
    Raises StorageUnavailable, InvalidParameterException (the KMS key of the group cannot be used).
    """
    if not events:
        return
    for attempt in range(2):
        into = await _ensured(house, account_id, region, group, stream)
        try:
            for number, batch in enumerate(_batches(sorted(_pieces(events), key=lambda each: each.at))):
                await put_events(house, *into, batch, _put(house, into[1], once, number))
        except ResourceNotFoundException:  # somebody removed it just then
            if attempt:
                raise
        else:
            return


def _put(house: House, stream: Stream, once: str, number: int) -> str:
    if not once:
        return put_id(house.ids.random_bytes(11))
    return put_id(sha256(f"{stream.stream_id}\0{once}\0{number}".encode()).digest())


async def _ensured(house: House, account_id: str, region: str, group: str, stream: str) -> tuple[Group, Stream]:
    async with house.database.reading() as tx:
        found = await _found(LogStore(tx, account_id, region), group, stream)
    if found is not None:
        return found
    async with house.database.transaction() as tx:
        store = LogStore(tx, account_id, region)
        made, now = new_id(house.ids.uuid()), house.clock.millis()
        fresh = Group(group_id=made, account_id=account_id, region=region, name=group, kind="STANDARD", created_at=now)
        await store.add_group(with_own_key(house, fresh))
        its = await store.group(group)
        assert its is not None
        await store.add_stream(
            Stream(stream_id=new_id(house.ids.uuid()), account_id=account_id, region=region, group_id=its.group_id,
                   name=stream, created_at=now)
        )  # fmt: skip
        found = await _found(store, group, stream)
    assert found is not None
    return found


async def _found(store: LogStore, group: str, stream: str) -> tuple[Group, Stream] | None:
    its = await store.group(group)
    if its is None:
        return None
    found = await store.stream(its.group_id, stream)
    return None if found is None else (its, found)


def _pieces(events: Iterable[Event]) -> Iterator[Event]:
    for event in events:
        for start in range(0, len(event.message), _PIECE):
            yield Event(event.at, event.message[start : start + _PIECE])


def _batches(events: Iterable[Event]) -> Iterator[list[Event]]:
    batch: list[Event] = []
    size = 0
    for event in events:
        length = len(event.message.encode()) + OVERHEAD
        if batch and (size + length > BATCH_BYTES or len(batch) == PAGE_EVENTS):
            yield batch
            batch, size = [], 0
        batch.append(event)
        size += length
    if batch:
        yield batch
