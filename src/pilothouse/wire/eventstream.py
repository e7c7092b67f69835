"""`application/vnd.amazon.eventstream`: the messages of an answer whose events come one after another.

A message is a prelude (whole length, length of the headers, checksum), headers, the payload, and a checksum over all.
"""

import struct
from collections.abc import Mapping
from typing import Any
from zlib import crc32

import msgspec

from pilothouse.errors import ApiError

MEDIA_TYPE = "application/vnd.amazon.eventstream"
_STRING = 7
_PRELUDE = struct.Struct(">II")
_SUM = struct.Struct(">I")
_VALUE = struct.Struct(">BH")

_encode = msgspec.json.Encoder().encode


def message(headers: Mapping[str, str], payload: bytes) -> bytes:
    """One message."""
    packed = b"".join(
        bytes([len(name)]) + name.encode() + _VALUE.pack(_STRING, len(value.encode())) + value.encode()
        for name, value in headers.items()
    )
    prelude = _PRELUDE.pack(16 + len(packed) + len(payload), len(packed))
    whole = prelude + _SUM.pack(crc32(prelude)) + packed + payload
    return whole + _SUM.pack(crc32(whole))


def event(name: str, members: Mapping[str, Any]) -> bytes:
    """An event with its members, ready for JSON."""
    headers = {":event-type": name, ":content-type": "application/json", ":message-type": "event"}
    return message(headers, _encode(members))


def failure(error: ApiError) -> bytes:
    """An error after the answer began; nothing follows it."""
    headers = {":exception-type": error.code, ":content-type": "application/json", ":message-type": "exception"}
    return message(headers, _encode({"message": error.message}))


BEGINNING = event("initial-response", {})
"""What clients of JSON services want before the first event."""
