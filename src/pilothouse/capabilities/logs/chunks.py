"""The bodies of chunks: messages packed, compressed and encrypted in their place, and the way back."""

import zlib
from collections.abc import Sequence
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pilothouse.capabilities.logs.model import Chunk, Event, Kept, Place
from pilothouse.crypto.vault import SealBroken

NONCE: Final = 12
_PLAIN, _PACKED = b"\x00", b"\x01"
_WORTH_PACKING: Final = 128

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[list[int], list[str]]).decode


def closed(chunk: Chunk, events: Sequence[Event], cipher: AESGCM, nonce: bytes) -> bytes:
    """The body of a chunk; `nonce` is fresh."""
    raw = _encode(([event.at for event in events], [event.message for event in events]))
    body = _PACKED + zlib.compress(raw, 1) if len(raw) > _WORTH_PACKING else _PLAIN + raw
    return nonce + cipher.encrypt(nonce, body, chunk.context.encode())


def opened(chunk: Chunk, body: bytes, cipher: AESGCM) -> list[Kept]:
    """The events of a chunk. Raises SealBroken."""
    try:
        plain = cipher.decrypt(body[:NONCE], body[NONCE:], chunk.context.encode())
    except (InvalidTag, ValueError) as error:
        raise SealBroken("the chunk does not open in this place") from error
    raw = zlib.decompress(plain[1:]) if plain[:1] == _PACKED else plain[1:]
    times, messages = _decode(raw)
    return [
        Kept(Place(at, chunk.ingested_at, chunk.put, chunk.start + number), chunk.stream_id, message)
        for number, (at, message) in enumerate(zip(times, messages, strict=True))
    ]
