"""PutLogEvents, and the writer that makes the events of many callers durable with one commit.

While one batch commits the next one gathers. Events are prepared (compressed and sealed) before they wait. A put that
is sent again by an SDK, as the answer to it was lost, is recognised by its invocation id: its chunks are there already.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, Final
from weakref import WeakKeyDictionary

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pilothouse.call import Call, Caller, House, Shape, operation
from pilothouse.capabilities.logs.chunks import NONCE, closed
from pilothouse.capabilities.logs.model import (
    OVERHEAD,
    Chunk,
    Event,
    Group,
    Place,
    Stream,
    accepted,
    divided,
    no_group,
    no_stream,
    put_id,
)
from pilothouse.capabilities.logs.naming import found_group, found_stream, identifier, of_stream
from pilothouse.capabilities.logs.sealing import cipher_of
from pilothouse.capabilities.logs.store import ChunkStore
from pilothouse.crypto.vault import Vault

_INVOCATION: Final = "amz-sdk-invocation-id"
_ATTEMPT: Final = "amz-sdk-request"
"""`attempt=1; max=3`: an SDK says when it asks again."""
_BATCH_BYTES: Final = 8 << 20
_BATCH_PUTS: Final = 500
_IN_A_THREAD: Final = 64 << 10
"""Bytes from which it is worth a thread to compress them."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Put:
    """Events of one call, ready to be written."""

    group: Group
    stream: Stream
    chunks: Sequence[tuple[Chunk, bytes]]
    again: bool
    """Whether it may have been written before."""

    @property
    def size(self) -> int:
        """Bytes of the bodies."""
        return sum(len(body) for _, body in self.chunks)


class Writer:
    """Writes the events of one process."""

    def __init__(self, house: House) -> None:
        self._database = house.database
        self._waiting: list[tuple[Put, asyncio.Future[None]]] = []
        self._turn = asyncio.Lock()

    async def write(self, put: Put) -> None:
        """Durable on return. Raises ResourceNotFoundException, StorageUnavailable."""
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((put, written))
        async with self._turn:
            while not written.done():
                await self._write_waiting(written)
        await written

    async def _write_waiting(self, own: asyncio.Future[None]) -> None:
        """One for all: who comes first writes what waits. If its caller leaves meanwhile, the next one does."""
        batch = self._next()
        try:
            refused = await self._written([put for put, _ in batch])
        except asyncio.CancelledError:
            self._waiting[:0] = [(replace(put, again=True), each) for put, each in batch if each is not own]
            raise
        except Exception as error:
            for _, written in batch:
                if not written.done():
                    written.set_exception(error)
            return
        for put, written in batch:
            if written.done():
                continue
            if put in refused:
                written.set_exception(refused[put])
            else:
                written.set_result(None)

    def _next(self) -> list[tuple[Put, asyncio.Future[None]]]:
        size, count = 0, 0
        for put, _ in self._waiting[:_BATCH_PUTS]:
            size += put.size
            count += 1
            if size >= _BATCH_BYTES:
                break
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        return batch

    async def _written(self, puts: Sequence[Put]) -> dict[Put, Exception]:
        """Write them in one transaction; those whose group or stream is gone, with why."""
        refused: dict[Put, Exception] = {}
        async with self._database.transaction() as tx:
            store = ChunkStore(tx)
            asked = [chunk.chunk_id for put in puts if put.again for chunk, _ in put.chunks]
            there = await store.have(asked) if asked else set[str]()
            fresh = {put: [each for each in put.chunks if each[0].chunk_id not in there] for put in puts}
            streams = await store.grow_streams(_grown(fresh))
            alive = [put for put in puts if put.stream.stream_id in streams]
            stored: dict[str, int] = {}
            for put in alive:
                group_id = put.group.group_id
                stored[group_id] = stored.get(group_id, 0) + sum(chunk.stored for chunk, _ in fresh[put])
            groups = await store.grow_groups(stored)
            for put in puts:
                if put.stream.stream_id not in streams:
                    refused[put] = no_stream()
                elif put.group.group_id not in groups:
                    refused[put] = no_group()
            await store.add([each for put in alive if put not in refused for each in fresh[put]])
        return refused


def _grown(fresh: dict[Put, list[tuple[Chunk, bytes]]]) -> list[dict[str, Any]]:
    """What comes to each stream, by stream id."""
    grown: dict[str, dict[str, Any]] = {}
    for put, chunks in fresh.items():
        for chunk, _ in chunks:
            of = grown.setdefault(
                put.stream.stream_id,
                {"stream_id": put.stream.stream_id, "first_at": chunk.first_at, "last_at": 0, "ingested_at": 0,
                 "stored": 0},
            )  # fmt: skip
            of["first_at"] = min(of["first_at"], chunk.first_at)
            of["last_at"] = max(of["last_at"], chunk.last_at)
            of["ingested_at"] = max(of["ingested_at"], chunk.ingested_at)
            of["stored"] += chunk.stored
        if not chunks:  # all of it is there; the stream is looked for nevertheless
            grown.setdefault(
                put.stream.stream_id,
                {"stream_id": put.stream.stream_id, "first_at": 1 << 62, "last_at": 0, "ingested_at": 0, "stored": 0},
            )
    return [grown[stream_id] for stream_id in sorted(grown)]


_writers: Final[WeakKeyDictionary[Vault, Writer]] = WeakKeyDictionary()


def writer_of(house: House) -> Writer:
    """The one of this process."""
    writer = _writers.get(house.vault)
    if writer is None:
        writer = _writers[house.vault] = Writer(house)
    return writer


async def put_events(
    house: House,
    group: Group,
    stream: Stream,
    events: Sequence[Event],
    put: str,
    *,
    start: int = 0,
    again: bool = True,
) -> None:
    """Write events that were found acceptable, durably.

    `start`: the number of the first of them in the put. `again`: it may have been written before.

    Raises ResourceNotFoundException, StorageUnavailable.
    """
    cipher = await cipher_of(house, group)
    ingested_at = house.clock.millis()

    def prepared() -> list[tuple[Chunk, bytes]]:
        return [
            _prepared(house, group, stream, events[first:end], put, start + first, ingested_at, cipher)
            for first, end in divided(events)
        ]

    large = sum(len(event.message) for event in events) > _IN_A_THREAD
    chunks = await asyncio.to_thread(prepared) if large else prepared()
    await writer_of(house).write(Put(group=group, stream=stream, chunks=chunks, again=again))


def _prepared(
    house: House, group: Group, stream: Stream, events: Sequence[Event], put: str, start: int, ingested_at: int,
    cipher: AESGCM,
) -> tuple[Chunk, bytes]:  # fmt: skip
    chunk = Chunk(
        account_id=group.account_id, region=group.region, group_id=group.group_id, stream_id=stream.stream_id,
        put=put, start=start, ingested_at=ingested_at, first_at=events[0].at, last_at=events[-1].at,
        stored=sum(len(event.message.encode()) + OVERHEAD for event in events),
    )  # fmt: skip
    return chunk, closed(chunk, events, cipher, house.ids.random_bytes(NONCE))


@operation("logs", "PutLogEvents", appends=True, callers=Caller.ACCOUNT | Caller.NODE, resources=of_stream)
async def put_log_events(call: Call, request: Shape) -> Shape:
    """Add a batch of events to a stream; those too old or too new are left out, and the answer says which."""
    async with call.reading() as tx:
        group = await found_group(call, tx, identifier(request))
        stream = await found_stream(call, tx, group, request["logStreamName"])
    events = [Event(each["timestamp"], each["message"]) for each in request["logEvents"]]
    now = call.clock.millis()
    kept = accepted(events, group, now)
    if kept.first < kept.end:
        put = _put_id(call, stream, events)
        again = call.headers.get(_ATTEMPT, "").partition(";")[0] != "attempt=1"
        await put_events(call.house, group, stream, events[kept.first : kept.end], put, start=kept.first, again=again)
    rejected = {
        "tooOldLogEventEndIndex": kept.too_old,
        "expiredLogEventEndIndex": kept.expired,
        "tooNewLogEventStartIndex": kept.too_new,
    }
    told = {name: index for name, index in rejected.items() if index is not None}
    return {"nextSequenceToken": sequence_token(now), "rejectedLogEventsInfo": told or None}


def sequence_token(ingested_at: int) -> str:
    """What the service gave to be sent back with the next batch, when it still looked at it."""
    return Place(ingested_at, put="0", number=0).event_id()


def _put_id(call: Call, stream: Stream, events: Sequence[Event]) -> str:
    """The same for the same call sent again."""
    invocation = call.headers.get(_INVOCATION, "")
    if not invocation:
        return put_id(call.ids.random_bytes(11))
    digest = sha256("\0".join((call.principal.arn, stream.stream_id, invocation)).encode())
    for event in events:
        digest.update(f"{event.at}:{len(event.message)}:".encode())
        digest.update(event.message.encode())
    return put_id(digest.digest())
