"""`aws-chunked` bodies, in whatever pieces they come; and bodies that are not what they say."""

import hmac
from base64 import b64encode
from contextlib import suppress
from hashlib import sha256
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilothouse.errors import ApiError, InvalidSignatureException
from pilothouse.rest_errors import IncompleteBody, InvalidChunkSizeError, MalformedTrailerError
from pilothouse.wire.aws_chunked import ChunkedDecoder, Seed

KEY = b"a signing key"
DATE, SCOPE = "20261123T170259Z", "20261123/eu-west-1/s3/aws4_request"
EMPTY = sha256(b"").hexdigest()


class Signer:
    """The signatures of chunks as the documentation of S3 has them, made by itself."""

    def sign(self, text: bytes) -> str:
        return hmac.digest(KEY, text, "sha256").hex()

    def seed(self) -> Seed:
        return Seed(self, "0" * 64, DATE, SCOPE)

    def chunk(self, former: str, content: bytes) -> str:
        hashes = f"{EMPTY}\n{sha256(content).hexdigest()}"
        return self.sign(f"AWS4-HMAC-SHA256-PAYLOAD\n{DATE}\n{SCOPE}\n{former}\n{hashes}".encode())

    def trailer(self, former: str, lines: bytes) -> str:
        return self.sign(f"AWS4-HMAC-SHA256-TRAILER\n{DATE}\n{SCOPE}\n{former}\n{sha256(lines).hexdigest()}".encode())


SIGNER = Signer()


def body_of(chunks: list[bytes], *, signed: bool, trailer: str = "") -> bytes:
    """A body as SDKs write it."""
    written = b""
    former = "0" * 64
    for chunk in [*[each for each in chunks if each], b""]:
        former = SIGNER.chunk(former, chunk)
        extension = f";chunk-signature={former}" if signed else ""
        written += f"{len(chunk):x}{extension}\r\n".encode() + chunk + (b"\r\n" if chunk else b"")
    if trailer:
        written += f"{trailer}\r\n".encode()
        if signed:
            signature = SIGNER.trailer(former, f"{trailer}\n".encode())
            written += f"x-amz-trailer-signature:{signature}\r\n".encode()
    return written + b"\r\n"


def decoded(body: bytes, size: int, *, signed: bool, trailers: bool, cuts: list[int]) -> tuple[bytes, dict[str, str]]:
    decoder = ChunkedDecoder(size, SIGNER.seed() if signed else None, trailers=trailers)
    places = sorted({cut % (len(body) + 1) for cut in cuts})
    pieces = [body[start:end] for start, end in zip([0, *places], [*places, len(body)], strict=True)]
    content = b"".join(part for piece in pieces for part in decoder.feed(piece))
    decoder.end()
    return content, decoder.trailers


CHUNKS = st.lists(st.binary(max_size=200), max_size=6)
CUTS = st.lists(st.integers(0, 3000), max_size=12)


@given(chunks=CHUNKS, cuts=CUTS, signed=st.booleans(), trailing=st.booleans())
def test_the_content_comes_out_in_whatever_pieces_it_came(
    chunks: list[bytes], cuts: list[int], signed: bool, trailing: bool
):
    content = b"".join(chunks)
    checksum = b64encode(crc32(content).to_bytes(4, "big")).decode()
    trailer = f"x-amz-checksum-crc32:{checksum}" if trailing else ""
    body = body_of(chunks, signed=signed, trailer=trailer)
    found = decoded(body, len(content), signed=signed, trailers=trailing or not signed, cuts=cuts)
    assert found == (content, {"x-amz-checksum-crc32": checksum} if trailing else {})


@settings(max_examples=300)
@given(chunks=CHUNKS, cuts=CUTS, place=st.integers(0, 10_000), byte=st.integers(0, 255), trailing=st.booleans())
def test_no_changed_byte_passes_for_the_signed_content(
    chunks: list[bytes], cuts: list[int], place: int, byte: int, trailing: bool
):
    content = b"".join(chunks)
    trailer = "x-amz-checksum-crc32:AAAAAA==" if trailing else ""
    body = bytearray(body_of(chunks, signed=True, trailer=trailer))
    body[place % len(body)] = byte
    try:
        found, trailers = decoded(bytes(body), len(content), signed=True, trailers=trailing, cuts=cuts)
    except ApiError:
        return
    assert found == content
    assert trailers == ({"x-amz-checksum-crc32": "AAAAAA=="} if trailing else {})


@given(body=st.binary(max_size=300), signed=st.booleans(), trailers=st.booleans(), cuts=CUTS)
def test_rubbish_is_refused_or_is_a_body(body: bytes, signed: bool, trailers: bool, cuts: list[int]):
    with suppress(IncompleteBody, InvalidChunkSizeError, MalformedTrailerError, InvalidSignatureException):
        decoded(body, 10, signed=signed, trailers=trailers, cuts=cuts)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"5\r\nhello\r\n0\r\n\r\nmore", MalformedTrailerError),
        (b"5\r\nhello\r\n0\r\n", IncompleteBody),
        (b"4\r\nhell\r\n0\r\n\r\n", IncompleteBody),
        (b"6\r\nhello!\r\n0\r\n\r\n", IncompleteBody),
        (b"5\r\nhello!\r\n0\r\n\r\n", InvalidChunkSizeError),
        (b"-5\r\nhello\r\n0\r\n\r\n", InvalidChunkSizeError),
        (b"5;a=b\r\nhello\r\n0\r\n\r\n", InvalidChunkSizeError),
        (b"0" * 2000, InvalidChunkSizeError),
        (b"5\r\nhello\r\n0\r\nx-amz-a:1\r\nx-amz-a:2\r\n\r\n", MalformedTrailerError),
        (b"5\r\nhello\r\n0\r\nnonsense\r\n\r\n", MalformedTrailerError),
        (b"5\r\nhello\r\n0\r\nx-amz-trailer-signature:0\r\n\r\n", MalformedTrailerError),
    ],
)
def test_what_is_wrong_is_said(body: bytes, error: type[Exception]):
    with pytest.raises(error):
        decoded(body, 5, signed=False, trailers=True, cuts=[])
