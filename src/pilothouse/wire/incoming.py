"""Contents that come as a stream: unpacked, counted, and compared with all that the request says of them.

What has passed counts only once the last piece came without an error: the hash that was signed, Content-MD5, the
checksum in a header or behind the content, and the length are all compared by then.
"""

import re
from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import AsyncIterator, Mapping
from hashlib import sha256
from typing import Final

from pilothouse.crypto.checksums import ALGORITHMS, Digests, is_checksum
from pilothouse.rest_errors import (
    BadDigest,
    IncompleteBody,
    InvalidDigest,
    InvalidRequest,
    MalformedTrailerError,
    MaxMessageLengthExceeded,
    MissingContentLength,
    XAmzContentSHA256Mismatch,
)
from pilothouse.wire.aws_chunked import MODES, SIGNED, UNSIGNED_TRAILER, ChunkedDecoder
from pilothouse.wire.http import Request

_HASH: Final = re.compile("[0-9a-f]{64}")
_LENGTH: Final = re.compile("[0-9]{1,15}")
_CHECKSUM: Final = "x-amz-checksum-"
_ABOUT: Final = frozenset({"x-amz-checksum-type", "x-amz-checksum-algorithm", "x-amz-checksum-mode"})
"""Headers that begin as a checksum does and are none."""


class StreamedBody:
    """The content of one request; see `call.Body`."""

    def __init__(self, request: Request) -> None:
        """Raises MissingContentLength, InvalidDigest, InvalidRequest, MalformedTrailerError."""
        headers = request.headers
        self._request = request
        self._mode = headers.get("x-amz-content-sha256", "")
        self._decoder: ChunkedDecoder | None = None
        if self._mode in MODES:
            self.size = _length(headers.get("x-amz-decoded-content-length"))
            seed = None if self._mode == UNSIGNED_TRAILER else request.seed
            if self._mode != UNSIGNED_TRAILER and seed is None:
                raise InvalidRequest("A body of signed chunks needs a signed header.")
            self._decoder = ChunkedDecoder(self.size, seed, trailers=self._mode != SIGNED)
        else:
            self.size = _length(headers.get("content-length"))
        self._md5 = _md5_of(headers)
        self._trailing = ""
        self.stated = self._stated(headers)
        self.digests = Digests()
        if self.stated is not None:
            self.digests.want(self.stated[0])
        self._hash = sha256() if _HASH.fullmatch(self._mode) else None
        self._begun = False

    def want(self, algorithm: str) -> None:
        self.digests.want(algorithm)

    async def pieces(self) -> AsyncIterator[bytes]:
        if self._begun:
            raise RuntimeError("a content passes once")
        self._begun = True
        decoder = self._decoder
        while raw := await self._request.next_piece():
            for piece in (raw,) if decoder is None else decoder.feed(raw):
                self.digests.update(piece)
                if self._hash is not None:
                    self._hash.update(piece)
                if self.digests.size > self.size:
                    raise IncompleteBody
                yield piece
        self._check()

    def _check(self) -> None:
        if self._decoder is not None:
            self._decoder.end()
        if self.digests.size != self.size:
            raise IncompleteBody
        if self._hash is not None and (found := self._hash.hexdigest()) != self._mode:
            raise XAmzContentSHA256Mismatch(self._mode, found)
        if self._md5 is not None and self._md5 != self.digests.md5():
            raise BadDigest("The Content-MD5 you specified did not match what we received.")
        if self._trailing:
            value = "" if self._decoder is None else self._decoder.trailers.get(f"{_CHECKSUM}{self._trailing.lower()}")
            if not value or not is_checksum(self._trailing, value):
                raise MalformedTrailerError
            self.stated = (self._trailing, value)
        if self.stated is not None and self.digests.value(self.stated[0]) != self.stated[1]:
            raise BadDigest(f"The {self.stated[0]} you specified did not match the calculated checksum.")

    def _stated(self, headers: Mapping[str, str]) -> tuple[str, str] | None:
        found = [
            (name.removeprefix(_CHECKSUM).upper(), value)
            for name, value in headers.items()
            if name.startswith(_CHECKSUM) and name not in _ABOUT
        ]
        named = [each.strip().lower() for each in headers.get("x-amz-trailer", "").split(",") if each.strip()]
        for name in named:
            if not name.startswith(_CHECKSUM) or self._decoder is None or self._mode == SIGNED:
                raise InvalidRequest("The value specified in the x-amz-trailer header is not supported")
            self._trailing = name.removeprefix(_CHECKSUM).upper()
            found.append((self._trailing, ""))
        if len(found) > 1:
            raise InvalidRequest("Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
        for algorithm, value in found:
            if algorithm not in ALGORITHMS:
                raise InvalidRequest(f"The checksum algorithm {algorithm} is not supported here.")
            if algorithm != self._trailing and not is_checksum(algorithm, value):
                raise InvalidRequest(f"Value for {_CHECKSUM}{algorithm.lower()} header is invalid.")
        return found[0] if found else None


async def whole_body(request: Request, limit: int) -> bytes:
    """A body that is no content: all of it, compared as one. Raises MaxMessageLengthExceeded, and as StreamedBody."""
    headers = request.headers
    if "content-length" not in headers and "transfer-encoding" not in headers:
        if _HASH.fullmatch(mode := headers.get("x-amz-content-sha256", "")) and mode != sha256(b"").hexdigest():
            raise XAmzContentSHA256Mismatch(mode, sha256(b"").hexdigest())
        return b""
    body = StreamedBody(request)
    if body.size > limit:
        raise MaxMessageLengthExceeded(limit)
    return b"".join([piece async for piece in body.pieces()])


def _length(text: str | None) -> int:
    if text is None or not _LENGTH.fullmatch(text):
        raise MissingContentLength
    return int(text)


def _md5_of(headers: Mapping[str, str]) -> bytes | None:
    text = headers.get("content-md5")
    if text is None:
        return None
    try:
        found = b64decode(text, validate=True)
    except (NotBase64, ValueError) as error:
        raise InvalidDigest from error
    if len(found) != 16:
        raise InvalidDigest
    return found
