"""Reading events in the order of their places, from any place on, in either direction.

Chunks lie within one minute, so whoever knows every chunk of a minute can merge them. Chunks are opened late: a chunk
is opened when the events before it are taken.
"""

import heapq
from collections.abc import AsyncGenerator, Sequence
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pilothouse.call import House
from pilothouse.capabilities.logs.chunks import opened
from pilothouse.capabilities.logs.model import LAST, MINUTE_MS, Chunk, Kept, Place
from pilothouse.capabilities.logs.store import ChunkStore, Reach

_CHUNKS: Final = 200
"""Looked up at once; their bodies come in smaller parts."""
_BODIES: Final = 16
_BODY_BYTES: Final = 1 << 20
_BREATH_BYTES: Final = 64 << 10


class Scan:
    """One reading of a reach."""

    def __init__(self, house: House, reach: Reach, cipher: AESGCM, *, backward: bool) -> None:
        self._house, self._reach, self._cipher, self._backward = house, reach, cipher, backward
        self._without_break = 0

    async def events(self, gap: Place) -> AsyncGenerator[Kept, None]:
        """The events behind the gap, which lies just before a place: forward with that place, backward without."""
        at = gap.at
        while True:
            chunks, at_end = await self._next(at)
            async for event in self._merged([each for each in chunks if self._reaches(each, gap)]):
                if self._wanted(event, gap):
                    yield event
            if at_end:
                return
            if self._backward:
                at = chunks[-1].first_at - chunks[-1].first_at % MINUTE_MS - 1
            else:
                at = chunks[-1].first_at - chunks[-1].first_at % MINUTE_MS + MINUTE_MS

    def _wanted(self, event: Kept, gap: Place) -> bool:
        at = event.place.at
        behind = event.place < gap if self._backward else event.place >= gap
        return behind and self._reach.start <= at < self._reach.end

    def _reaches(self, chunk: Chunk, gap: Place) -> bool:
        """Whether the chunk may hold an event that is wanted."""
        behind = chunk.first_at <= gap.at if self._backward else chunk.last_at >= gap.at
        return behind and chunk.first_at < self._reach.end and chunk.last_at >= self._reach.start

    async def _next(self, at: int) -> tuple[list[Chunk], bool]:
        """Every chunk of the next minutes that have some, in order; and whether there are no more."""
        at = min(at, LAST - MINUTE_MS)
        async with self._house.database.reading() as tx:
            store = ChunkStore(tx)
            found = await store.near(self._reach, at, _CHUNKS + 1, backward=self._backward)
            if len(found) <= _CHUNKS:
                return found, True
            last = _minute(found[-1])
            whole = [each for each in found if _minute(each) != last]
            if whole:  # the last minute may be there in part only
                return whole, False
            return await store.minute(self._reach, found[0].first_at), False

    async def _merged(self, chunks: Sequence[Chunk]) -> AsyncGenerator[Kept, None]:
        """The events of the chunks, in the order of places or against it."""
        waiting = sorted(chunks, key=lambda each: each.first_at, reverse=True)
        if self._backward:
            waiting.sort(key=lambda each: each.last_at)
        heap: list[tuple[tuple[int, ...], Kept]] = []
        bodies: dict[str, bytes] = {}
        while waiting or heap:
            while waiting and (not heap or self._may_come_before(waiting[-1], heap[0][1])):
                chunk = waiting.pop()
                if chunk.chunk_id not in bodies:
                    bodies |= await self._bodies([chunk, *reversed(waiting[-_BODIES:])])
                body = bodies.pop(chunk.chunk_id, None)
                if body is None:  # removed meanwhile
                    continue
                await self._breathe(chunk.stored)
                for event in opened(chunk, body, self._cipher):
                    heapq.heappush(heap, (self._key(event.place), event))
            if heap:
                yield heapq.heappop(heap)[1]

    async def _breathe(self, size: int) -> None:
        """Let others have a turn now and then: opening is work of the processor."""
        self._without_break += size
        if self._without_break >= _BREATH_BYTES:
            self._without_break = 0
            await self._house.clock.sleep(0)

    def _may_come_before(self, chunk: Chunk, event: Kept) -> bool:
        if self._backward:
            return chunk.last_at >= event.place.at
        return chunk.first_at <= event.place.at

    def _key(self, place: Place) -> tuple[int, ...]:
        key = (place.at, place.ingested_at, int(place.put, 16), place.number)
        return tuple(-each for each in key) if self._backward else key

    async def _bodies(self, chunks: Sequence[Chunk]) -> dict[str, bytes]:
        wanted: list[str] = []
        size = 0
        for chunk in chunks:
            if wanted and size + chunk.stored > _BODY_BYTES:
                break
            wanted.append(chunk.chunk_id)
            size += chunk.stored
        async with self._house.database.reading() as tx:
            return await ChunkStore(tx).bodies(wanted)


def _minute(chunk: Chunk) -> int:
    return chunk.first_at // MINUTE_MS
