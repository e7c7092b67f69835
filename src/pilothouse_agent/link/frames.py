"""AgentMessage frames, the binary messages of control and data channels (agent-protocol 5.3, session-protocol 3).

Big-endian. The header is 116 bytes, then payload length and payload. A message id is a UUID whose
halves are swapped on the wire.
"""

import hashlib
import struct
import uuid
from dataclasses import dataclass

HEADER_LENGTH = 116
_HEADER = struct.Struct(">I32sIQqQ16s32sI")
_LENGTH = struct.Struct(">I")
_DIGITS = frozenset(b"0123456789abcdef")
_TYPE_LENGTH = 32
_KIND_END = 4 + _TYPE_LENGTH
_DIGEST = 80
_USUAL_HEADER = _LENGTH.pack(HEADER_LENGTH)


class MalformedFrame(Exception):
    """Bytes that are no AgentMessage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One message. created_at is epoch milliseconds."""

    kind: str
    message_id: uuid.UUID
    created_at: int
    payload: bytes
    schema_version: int = 1
    sequence: int = 0
    flags: int = 0
    payload_type: int = 0


def encode(frame: Frame) -> bytes:
    """Raises ValueError for a kind that does not fit in 32 ASCII bytes."""
    kind = frame.kind.encode("ascii")
    if len(kind) > _TYPE_LENGTH:
        raise ValueError(f"message type {frame.kind!r} is longer than {_TYPE_LENGTH} bytes")
    swapped = frame.message_id.bytes[8:] + frame.message_id.bytes[:8]
    header = _HEADER.pack(
        HEADER_LENGTH,
        kind.ljust(_TYPE_LENGTH),
        frame.schema_version,
        frame.created_at,
        frame.sequence,
        frame.flags,
        swapped,
        hashlib.sha256(frame.payload).digest(),
        frame.payload_type,
    )
    return header + _LENGTH.pack(len(frame.payload)) + frame.payload


def payload_if(kind: bytes, data: bytes) -> bytes | None:
    """The payload of a whole message of that type; None if it is another one, or none. For types that come often."""
    if data[4:_KIND_END] != kind.ljust(_TYPE_LENGTH) or data[:4] != _USUAL_HEADER:
        return None
    payload = data[HEADER_LENGTH + _LENGTH.size :]
    good = _is_digest(data[_DIGEST : _DIGEST + 32], payload)
    return payload if good and data[HEADER_LENGTH : HEADER_LENGTH + 4] == _LENGTH.pack(len(payload)) else None


def _is_digest(digest: bytes, payload: bytes) -> bool:
    """Written in hexadecimal digits, as a client in JavaScript does, it has lost half of itself, and is of other bytes
    than the payload: then it counts as none."""
    return digest == hashlib.sha256(payload).digest() or _DIGITS.issuperset(digest)


def decode(data: bytes) -> Frame:
    """Raises MalformedFrame. The digest must fit the payload unless it is all zero (not every sender fills it)."""
    if len(data) < HEADER_LENGTH + _LENGTH.size:
        raise MalformedFrame(f"{len(data)} bytes are too few for a header")
    header_length, kind, version, created, sequence, flags, swapped, digest, payload_type = _HEADER.unpack_from(data)
    if not HEADER_LENGTH <= header_length <= len(data) - _LENGTH.size:
        raise MalformedFrame(f"header length {header_length} does not fit {len(data)} bytes")
    (length,) = _LENGTH.unpack_from(data, header_length)
    payload = data[header_length + _LENGTH.size :]
    if length != len(payload):
        raise MalformedFrame(f"payload length {length} but {len(payload)} bytes follow")
    if any(digest) and not _is_digest(digest, payload):
        raise MalformedFrame("payload digest does not fit the payload")
    try:
        name = kind.decode("ascii").strip(" \0")
    except UnicodeDecodeError as error:
        raise MalformedFrame("message type is not ASCII") from error
    return Frame(
        kind=name,
        message_id=uuid.UUID(bytes=swapped[8:] + swapped[:8]),
        created_at=created,
        payload=payload,
        schema_version=version,
        sequence=sequence,
        flags=flags,
        payload_type=payload_type,
    )
