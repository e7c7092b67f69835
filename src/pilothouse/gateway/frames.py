"""The AgentMessage frame: the binary websocket message of control and data channels.

Big-endian; 116 bytes of header, the payload's length, the payload. Knows no message type and no payload: those are the
channels' business. Any bytes decode to a `Frame` or raise `FrameInvalid`, nothing else.
"""

import hashlib
import struct
from functools import lru_cache
from typing import NamedTuple

_HEADER = struct.Struct(">I32sIQqQ16s32sI")
_HEADER_AND_LENGTH = struct.Struct(">I32sIQqQ16s32sII")
_LENGTH = struct.Struct(">I")
_DIGITS = frozenset(b"0123456789abcdef")
HEADER_LENGTH = _HEADER.size
"""116: where the payload's length stands."""
MAX_FRAME = 256 * 1024
"""Bytes of one websocket message, in both directions."""


class FrameInvalid(Exception):
    """The bytes are no AgentMessage frame; the text says which field is wrong, never what it held."""


class Frame(NamedTuple):
    """One message. `message_id` is a UUID in its 36-character form, `created_ms` epoch milliseconds, never 0."""

    message_type: str
    message_id: str
    created_ms: int
    payload: bytes
    sequence: int = 0
    flags: int = 0
    payload_type: int = 0
    schema: int = 1

    def __repr__(self) -> str:
        return f"Frame({self.message_type!r}, {self.message_id!r}, {len(self.payload)} bytes)"


def encode(frame: Frame, *, padding: bytes = b" ") -> bytes:
    """The bytes of a frame. Peers accept spaces and NULs as padding of the message type."""
    raw = bytes.fromhex(frame.message_id.replace("-", ""))
    head = _HEADER_AND_LENGTH.pack(
        HEADER_LENGTH,
        _padded(frame.message_type, padding),
        frame.schema,
        frame.created_ms,
        frame.sequence,
        frame.flags,
        raw[8:] + raw[:8],
        hashlib.sha256(frame.payload).digest(),
        frame.payload_type,
        len(frame.payload),
    )
    return head + frame.payload


def encode_plain(message_type: str, raw_id: bytes, created_ms: int, payload: bytes) -> bytes:
    """As `encode`, for a frame of the first schema with neither sequence nor flags, as those of the control channel
    are. `raw_id`: the message's id as the header has it."""
    digest = hashlib.sha256(payload).digest()
    kind = _padded(message_type, b" ")
    return _HEADER_AND_LENGTH.pack(HEADER_LENGTH, kind, 1, created_ms, 0, 0, raw_id, digest, 0, len(payload)) + payload


def decode(message: bytes, *, digested: bool = False) -> Frame:
    """The frame in a websocket message.

    `digested`: the payload must have the digest that the header says, as on data channels; peers do not compare it on
    the control channel.
    """
    if len(message) < HEADER_LENGTH + 4:
        raise FrameInvalid("shorter than a header")
    header, kind, schema, created, sequence, flags, swapped, digest, payload_type = _HEADER.unpack_from(message)
    if not HEADER_LENGTH <= header <= len(message) - 4:
        raise FrameInvalid("HeaderLength does not fit the message")
    if _LENGTH.unpack_from(message, header)[0] != len(message) - header - 4:
        raise FrameInvalid("PayloadLength is not the length of the payload")
    if created == 0:
        raise FrameInvalid("CreatedDate is 0")
    message_type, payload = _message_type(kind), message[header + 4 :]
    if digested and not _is_digest(digest, payload):
        raise FrameInvalid("PayloadDigest is not that of the payload")
    return tuple.__new__(  # a third of the time of the class's own way
        Frame, (message_type, uuid_of(swapped), created, payload, sequence, flags, payload_type, schema)
    )


def _is_digest(digest: bytes, payload: bytes) -> bool:
    """Written in hexadecimal digits, as a client in JavaScript does, it has lost half of itself, and is of other bytes
    than the payload: then it counts as none."""
    return digest == hashlib.sha256(payload).digest() or _DIGITS.issuperset(digest)


@lru_cache(maxsize=64)
def _padded(message_type: str, padding: bytes) -> bytes:
    return message_type.encode("ascii").ljust(32, padding)


@lru_cache(maxsize=64)
def _message_type(padded: bytes) -> str:
    try:
        message_type = padded.decode("ascii").strip(" \0")
    except UnicodeDecodeError as error:
        raise FrameInvalid("MessageType is not ASCII") from error
    if not message_type.isprintable() or not message_type:
        raise FrameInvalid("MessageType is empty or not printable")
    return message_type


def uuid_of(swapped: bytes) -> str:
    """The text of an id that stands in a header: there its halves have changed places."""
    digits = swapped.hex()
    return f"{digits[16:24]}-{digits[24:28]}-{digits[28:]}-{digits[:4]}-{digits[4:16]}"
