"""Contents at rest: sealed as they come, opened as they are read, never whole in memory.

A small content is sealed by the vault in its row. A larger one is a blob of chunks, each sealed with AES-256-GCM under
a key made for this piece alone, which the vault seals in the row: so a range needs only the chunks it touches, and
moving a blob, a chunk or a row to another place gives an error. A chunk is bound to its blob, its number, and whether
it is the last: a blob cannot be cut short at a chunk's end.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Final

import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pilothouse.call import House
from pilothouse.capabilities.objects.model import Piece, context_of
from pilothouse.crypto.checksums import Digests
from pilothouse.crypto.sealed import Sealed
from pilothouse.crypto.vault import SealBroken
from pilothouse.storage.blobs import BlobWriter

log = structlog.get_logger()

INLINE: Final = 16 << 10
"""Bytes of a content that stands in its row."""
CHUNK: Final = 64 << 10
"""Bytes of content in a sealed chunk."""
_TAG: Final = 16
_AT_ONCE: Final = 16
"""Chunks that are written, or read, together."""
_KEY, _CONTENT = "key", "content"


class _Sealer:
    """Makes sealed chunks of what comes; the last one only when it is known to be the last."""

    def __init__(self, key: bytes, blob: str) -> None:
        self._cipher = AESGCM(key)
        self._blob = blob
        self._held = bytearray()
        self._number = 0

    def seal(self, piece: bytes) -> bytes:
        """The sealed chunks that are full by now, in one piece."""
        self._held += piece
        sealed = []
        while len(self._held) > CHUNK:
            sealed.append(self._chunk(bytes(self._held[:CHUNK]), last=False))
            del self._held[:CHUNK]
        return b"".join(sealed)

    def end(self) -> bytes:
        """The last chunk."""
        return self._chunk(bytes(self._held), last=True)

    def _chunk(self, plaintext: bytes, *, last: bool) -> bytes:
        nonce, bound = _bound(self._blob, self._number, last)
        self._number += 1
        return self._cipher.encrypt(nonce, plaintext, bound)


def _bound(blob: str, number: int, last: bool) -> tuple[bytes, bytes]:
    """Nonce and associated data of a chunk. The key is of this blob alone, so a number is used once under it."""
    return number.to_bytes(12, "big"), f"objects:chunk:{blob}:{number}:{int(last)}".encode()


async def keep(
    house: House, place: str, version: str, number: int, pieces: AsyncIterator[bytes], digests: Digests
) -> Piece:
    """Keep a content, or a part of one; `digests` are those that see what passes. Whatever `pieces` raises is raised.

    It is durable when this returns, but belongs to nobody until its row is written.
    """
    first = bytearray()
    async for piece in pieces:
        first += piece
        if len(first) > INLINE:
            break
    else:
        sealed = house.vault.seal(bytes(first), context_of(place, version, number, _CONTENT))
        return _piece(version, number, digests, sealed_content=sealed)
    blob = house.ids.uuid().replace("-", "")
    key = house.ids.random_bytes(32)
    sealer = _Sealer(key, blob)
    async with house.blobs.writer(blob) as writer:
        await _write(writer, sealer, bytes(first), pieces)
    sealed = house.vault.seal(key, context_of(place, version, number, _KEY))
    return _piece(version, number, digests, blob=blob, sealed_key=sealed)


async def _write(writer: BlobWriter, sealer: _Sealer, first: bytes, pieces: AsyncIterator[bytes]) -> None:
    waiting = [sealer.seal(first)]
    size = len(waiting[0])
    async for piece in pieces:
        sealed = sealer.seal(piece)
        waiting.append(sealed)
        size += len(sealed)
        if size >= _AT_ONCE * CHUNK:
            await writer.write(b"".join(waiting))
            waiting, size = [], 0
    waiting.append(sealer.end())
    await writer.write(b"".join(waiting))
    await writer.finish()


def _piece(version: str, number: int, digests: Digests, **kept: str | bytes | None) -> Piece:
    blob, key, content = kept.get("blob"), kept.get("sealed_key"), kept.get("sealed_content")
    return Piece(
        version=version,
        number=number,
        size=digests.size,
        md5=digests.md5().hex(),
        checksums=digests.values(),
        blob=blob if isinstance(blob, str) else None,
        sealed_key=key if isinstance(key, bytes) else None,
        sealed_content=content if isinstance(content, bytes) else None,
    )


async def read(house: House, place: str, pieces: Sequence[Piece], start: int, end: int) -> AsyncIterator[bytes]:
    """The content's bytes from `start` to before `end`. Raises SealBroken, BlobMissing, StorageUnavailable."""
    at = 0
    for piece in pieces:
        low, high = max(start, at), min(end, at + piece.size)
        if low < high:
            if piece.blob is None:
                yield (await _inline(house, place, piece))[low - at : high - at]
            else:
                async for part in _chunks(house, place, piece, low - at, high - at):
                    yield part
        at += piece.size
        if at >= end:
            return


async def _inline(house: House, place: str, piece: Piece) -> bytes:
    if piece.sealed_content is None:
        raise SealBroken("a piece of the content is gone")
    context = context_of(place, piece.version, piece.number, _CONTENT)
    content = await house.vault.opened(piece.sealed_content, context)
    if len(content) != piece.size:
        raise SealBroken("a piece of the content has not the size that its row says")
    return content


async def begun(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same pieces; the first has been read, so that what is broken is known before an answer begins."""
    first = await anext(pieces, b"")

    async def all_of_them() -> AsyncIterator[bytes]:
        if first:
            yield first
            async for piece in pieces:
                yield piece

    return all_of_them()


async def _chunks(house: House, place: str, piece: Piece, start: int, end: int) -> AsyncIterator[bytes]:
    assert piece.blob is not None
    if piece.sealed_key is None:
        raise SealBroken("a piece of the content has no key")
    key = await house.vault.opened(piece.sealed_key, context_of(place, piece.version, piece.number, _KEY))
    cipher = AESGCM(key)
    last = (piece.size - 1) // CHUNK
    number = start // CHUNK
    while number * CHUNK < end:
        count = min(_AT_ONCE, last - number + 1, -(-end // CHUNK) - number)
        low = number * (CHUNK + _TAG)
        size = min(piece.size + (last + 1) * _TAG, (number + count) * (CHUNK + _TAG)) - low
        sealed = await house.blobs.read(piece.blob, low, size)
        opened = b"".join(_opened(cipher, piece.blob, sealed, number, last))
        base = number * CHUNK
        yield opened[max(0, start - base) : max(0, min(len(opened), end - base))]
        number += count


def _opened(cipher: AESGCM, blob: str, sealed: bytes, number: int, last: int) -> list[bytes]:
    opened = []
    for offset in range(0, len(sealed), CHUNK + _TAG):
        nonce, bound = _bound(blob, number, number == last)
        try:
            opened.append(cipher.decrypt(nonce, sealed[offset : offset + CHUNK + _TAG], bound))
        except InvalidTag as error:
            log.error("objects.seal_broken", blob=blob, chunk=number)
            raise SealBroken("a chunk of the content does not open in its place") from error
        number += 1
    return opened


SEALED = tuple(
    Sealed(
        table="object_piece",
        keys=("version", "number"),
        column=column,
        reads=("place",),
        context=lambda row, what=what: context_of(row["place"], row["version"], row["number"], what),  # type: ignore[misc]
    )
    for column, what in (("sealed_key", _KEY), ("sealed_content", _CONTENT))
)
