"""The bodies of chunks: messages packed, compressed and sealed in their place, and the way back."""

import zlib
from collections.abc import Sequence
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pilothouse.capabilities.logs.model import Chunk, Event, Kept, Place
from pilothouse.crypto.vault import SealBroken, Vault

_PLAIN, _PACKED = b"\x00", b"\x01"
_WORTH_PACKING: Final = 128
_NONCE: Final = 12

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[list[int], list[str]]).decode


def closed(vault: Vault, chunk: Chunk, events: Sequence[Event], cipher: AESGCM | None, nonce: bytes) -> bytes:
    """The body of a chunk. `cipher` and `nonce` are those of the group's own key, where it has one."""
    raw = _encode(([event.at for event in events], [event.message for event in events]))
    body = _PACKED + zlib.compress(raw, 1) if len(raw) > _WORTH_PACKING else _PLAIN + raw
    if cipher is not None:
        body = nonce + cipher.encrypt(nonce, body, chunk.context.encode())
    return vault.seal(body, chunk.context)


async def opened(vault: Vault, chunk: Chunk, body: bytes, cipher: AESGCM | None) -> list[Kept]:
    """The events of a chunk. Raises SealBroken."""
    plain = await vault.opened(body, chunk.context)
    if cipher is not None:
        try:
            plain = cipher.decrypt(plain[:_NONCE], plain[_NONCE:], chunk.context.encode())
        except (InvalidTag, ValueError) as error:
            raise SealBroken("the chunk does not open under the group's key") from error
    raw = zlib.decompress(plain[1:]) if plain[:1] == _PACKED else plain[1:]
    times, messages = _decode(raw)
    return [
        Kept(Place(at, chunk.ingested_at, chunk.put, chunk.start + number), chunk.stream_id, message)
        for number, (at, message) in enumerate(zip(times, messages, strict=True))
    ]
