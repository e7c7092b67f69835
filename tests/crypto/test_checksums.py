"""Checksums of contents, and of parts put together."""

import hashlib
from base64 import b64encode
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.crypto.checksums import WHOLE, Digests, combined, composite, is_checksum


def of(algorithm: str, content: bytes) -> str:
    digests = Digests(algorithm)
    digests.update(content)
    return digests.value(algorithm)


@pytest.mark.parametrize(
    ("algorithm", "check"),
    [
        ("CRC32", 0xCBF43926.to_bytes(4, "big")),
        ("CRC32C", 0xE3069283.to_bytes(4, "big")),
        ("CRC64NVME", 0xAE8B14860A799888.to_bytes(8, "big")),
        ("SHA1", hashlib.sha1(b"123456789").digest()),
        ("SHA256", hashlib.sha256(b"123456789").digest()),
        ("MD5", hashlib.md5(b"123456789").digest()),
    ],
)
def test_they_are_what_the_catalogues_say(algorithm: str, check: bytes):
    assert of(algorithm, b"123456789") == b64encode(check).decode()


@given(parts=st.lists(st.binary(max_size=300), min_size=1, max_size=5), algorithm=st.sampled_from(sorted(WHOLE)))
def test_those_of_parts_put_together_are_that_of_the_whole(parts: list[bytes], algorithm: str):
    assert combined(algorithm, [(of(algorithm, part), len(part)) for part in parts]) == of(algorithm, b"".join(parts))


def test_a_checksum_of_checksums_tells_their_number():
    parts = [crc32(each).to_bytes(4, "big") for each in (b"a", b"b")]
    whole = b64encode(crc32(b"".join(parts)).to_bytes(4, "big")).decode()
    assert composite("CRC32", [b64encode(part).decode() for part in parts]) == f"{whole}-2"
    assert is_checksum("CRC32", whole)
    assert not is_checksum("CRC32", "AAAA")
    assert not is_checksum("CRC32", "no base64")
