"""`aws-chunked` bodies: contents in chunks, each signed or not, with a checksum behind them or not.

    SIZE[;chunk-signature=SIGNATURE] CRLF  bytes CRLF  …  0[;chunk-signature=SIGNATURE] CRLF  [name:value CRLF …]  CRLF

SDKs send them when the signature has to be made before the content was seen, or the checksum after it. The decoder
does no input or output: bytes in, bytes of the content out. A content counts only once `end` has returned.
"""

import hmac
import re
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final, Protocol

from pilothouse.errors import InvalidSignatureException
from pilothouse.rest_errors import IncompleteBody, InvalidChunkSizeError, MalformedTrailerError

SIGNED: Final = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
SIGNED_TRAILER: Final = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
UNSIGNED_TRAILER: Final = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
MODES: Final = frozenset({SIGNED, SIGNED_TRAILER, UNSIGNED_TRAILER})
"""Values of `x-amz-content-sha256` that announce such a body."""

_LINE_BYTES: Final = 1024
_TRAILERS: Final = 8
_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,12})(?:;chunk-signature=([0-9a-f]{64}))?")
_TRAILER: Final = re.compile(rb"([A-Za-z0-9-]{1,64}):[ \t]*([!-~]{1,512})[ \t]*")
_EMPTY: Final = sha256(b"").hexdigest()


class SigningKey(Protocol):
    def sign(self, message: bytes, /) -> str:
        """HMAC-SHA256 in hexadecimal."""


@dataclass(slots=True)
class Seed:
    """What the signatures of chunks go on from: the request's own signature."""

    key: SigningKey = field(repr=False)
    signature: str
    date: str
    scope: str

    def check(self, kind: str, hashes: str, signature: str) -> None:
        """The signature of the next piece. Raises InvalidSignatureException."""
        text = f"{kind}\n{self.date}\n{self.scope}\n{self.signature}\n{hashes}"
        expected = self.key.sign(text.encode())
        if not hmac.compare_digest(expected, signature):
            raise InvalidSignatureException
        self.signature = expected


class ChunkedDecoder:
    """Takes a body piece by piece, in whatever pieces it comes."""

    def __init__(self, size: int, seed: Seed | None, *, trailers: bool) -> None:
        """`size`: bytes of the content, as announced; `seed`: of signed chunks; `trailers`: whether some may follow."""
        self._size = size
        self._seed = seed
        self._may_trail = trailers
        self._taken = 0
        self._line = bytearray()
        self._left = 0
        """Bytes of the chunk that have not come."""
        self._hash: Any = None
        self._signature = ""
        self._expects = "size"
        self._signed_trailers = b""
        self.trailers: dict[str, str] = {}
        """Lower-case names."""

    def feed(self, data: bytes) -> list[bytes]:
        """The pieces of the content in it. Raises IncompleteBody, InvalidChunkSizeError, InvalidSignatureException,
        MalformedTrailerError."""
        found = []
        position = 0
        while position < len(data):
            if self._expects == "bytes":
                piece = data[position : position + self._left]
                position += len(piece)
                self._left -= len(piece)
                if self._hash is not None:
                    self._hash.update(piece)
                found.append(piece)
                if not self._left:
                    self._end_chunk()
                    self._expects = "end of chunk"
                continue
            if self._expects == "nothing":
                raise MalformedTrailerError
            end = data.find(b"\n", position)
            self._line += data[position : len(data) if end < 0 else end]
            if len(self._line) > _LINE_BYTES:
                raise self._malformed()
            if end < 0:
                break
            position = end + 1
            line = bytes(self._line).removesuffix(b"\r")
            self._line.clear()
            self._take(line)
        return found

    def end(self) -> None:
        """Return if the body is whole. Raises IncompleteBody."""
        if self._expects != "nothing" or self._taken != self._size:
            raise IncompleteBody

    def _malformed(self) -> Exception:
        return MalformedTrailerError() if self._expects == "trailers" else InvalidChunkSizeError()

    def _take(self, line: bytes) -> None:
        if self._expects == "size":
            self._begin_chunk(line)
        elif self._expects == "end of chunk":
            if line:
                raise InvalidChunkSizeError
            self._expects = "size"
        elif line:
            self._trailer(line)
        else:
            self._end_trailers()

    def _begin_chunk(self, line: bytes) -> None:
        match = _SIZE.fullmatch(line)
        if match is None or (match[2] is None) != (self._seed is None):
            raise InvalidChunkSizeError
        self._left = int(match[1], 16)
        self._taken += self._left
        if self._taken > self._size:
            raise IncompleteBody
        if self._seed is not None:
            self._hash = sha256()
            self._signature = match[2].decode()
        if self._left:
            self._expects = "bytes"
        else:
            self._end_chunk()
            self._expects = "trailers"

    def _end_chunk(self) -> None:
        if self._seed is not None:
            hashes = f"{_EMPTY}\n{self._hash.hexdigest()}"
            self._seed.check("AWS4-HMAC-SHA256-PAYLOAD", hashes, self._signature)

    def _trailer(self, line: bytes) -> None:
        match = _TRAILER.fullmatch(line)
        if match is None or not self._may_trail or len(self.trailers) >= _TRAILERS:
            raise MalformedTrailerError
        name, value = match[1].decode().lower(), match[2].decode()
        if name in self.trailers:
            raise MalformedTrailerError
        self.trailers[name] = value
        if name != "x-amz-trailer-signature":
            self._signed_trailers += f"{name}:{value}\n".encode()

    def _end_trailers(self) -> None:
        signature = self.trailers.pop("x-amz-trailer-signature", None)
        if self._seed is not None and self._may_trail:
            if signature is None:
                raise MalformedTrailerError
            hashed = sha256(self._signed_trailers).hexdigest()
            self._seed.check("AWS4-HMAC-SHA256-TRAILER", hashed, signature)
        elif signature is not None:
            raise MalformedTrailerError
        self._expects = "nothing"
