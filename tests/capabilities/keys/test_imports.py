"""Imported material: what a client wraps comes out whole, and nothing else comes out at all."""

import os

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.keywrap import aes_key_wrap_with_padding
from cryptography.hazmat.primitives.serialization import load_der_public_key
from hypothesis import given, settings
from hypothesis import strategies as st

from pilothouse.capabilities.keys import asymmetric, imports
from pilothouse.capabilities.keys.errors import (
    ExpiredImportTokenException,
    IncorrectKeyMaterialException,
    InvalidCiphertextException,
    InvalidImportTokenException,
    UnsupportedOperationException,
)
from pilothouse.capabilities.keys.imports import ImportToken

WRAPPING = asymmetric.generate("RSA_2048")
ALGORITHMS = ["RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256", "RSA_AES_KEY_WRAP_SHA_1", "RSA_AES_KEY_WRAP_SHA_256"]


def wrap(public: bytes, algorithm: str, material: bytes) -> bytes:
    """As a client does it, with the public key it was given."""
    chosen = hashes.SHA1() if algorithm.endswith("SHA_1") else hashes.SHA256()
    key = load_der_public_key(public)
    oaep = padding.OAEP(padding.MGF1(chosen), chosen, None)
    if algorithm.startswith("RSAES"):
        return key.encrypt(material, oaep)
    aes = os.urandom(32)
    return key.encrypt(aes, oaep) + aes_key_wrap_with_padding(aes, material)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_what_is_wrapped_is_unwrapped(algorithm, data):
    most = 180 if algorithm.startswith("RSAES") else 3000
    material = data.draw(st.binary(min_size=1, max_size=most))
    wrapped = wrap(asymmetric.public_bytes(asymmetric.load(WRAPPING)), algorithm, material)
    assert imports.unwrap(WRAPPING, algorithm, wrapped) == material
    at = data.draw(st.integers(min_value=0, max_value=len(wrapped) - 1))
    altered = wrapped[:at] + bytes([wrapped[at] ^ 1]) + wrapped[at + 1 :]
    with pytest.raises(InvalidCiphertextException):
        imports.unwrap(WRAPPING, algorithm, altered)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@settings(max_examples=20, deadline=None)
@given(junk=st.binary(max_size=600))
def test_junk_is_refused_whole(algorithm, junk):
    with pytest.raises(InvalidCiphertextException):
        imports.unwrap(WRAPPING, algorithm, junk)


@pytest.mark.parametrize(
    ("spec", "size"),
    [("SYMMETRIC_DEFAULT", 32), ("HMAC_224", 28), ("HMAC_256", 32), ("HMAC_384", 48), ("HMAC_512", 64)],
)
def test_raw_material_has_one_length(spec, size):
    assert imports.fitting(spec, b"k" * size) == b"k" * size
    for wrong in (size - 1, size + 1):
        with pytest.raises(IncorrectKeyMaterialException):
            imports.fitting(spec, b"k" * wrong)


def test_a_pair_must_be_of_the_key_spec():
    der = asymmetric.generate("ECC_NIST_P256")
    assert imports.fitting("ECC_NIST_P256", der) == der
    for spec in ("ECC_NIST_P384", "ECC_SECG_P256K1", "RSA_2048"):
        with pytest.raises(IncorrectKeyMaterialException):
            imports.fitting(spec, der)
    with pytest.raises(IncorrectKeyMaterialException):
        imports.fitting("ECC_NIST_P256", b"no key at all")


def test_a_token_lasts_a_day_and_shows_no_key():
    token = ImportToken("arn:key", "RSAES_OAEP_SHA_256", 1000, WRAPPING)
    assert imports.unpack(imports.pack(token), 999) == token
    assert "private" not in repr(token)
    with pytest.raises(ExpiredImportTokenException):
        imports.unpack(imports.pack(token), 1000)
    with pytest.raises(InvalidImportTokenException):
        imports.unpack(b"junk", 0)


@pytest.mark.parametrize(
    ("spec", "algorithm", "wrapping"),
    [
        ("SYMMETRIC_DEFAULT", "RSAES_PKCS1_V1_5", "RSA_2048"),
        ("SYMMETRIC_DEFAULT", "SM2PKE", "SM2"),
        ("SYMMETRIC_DEFAULT", "RSAES_OAEP_SHA_256", "SM2"),
        ("RSA_2048", "RSAES_OAEP_SHA_256", "RSA_4096"),
    ],
)
def test_a_wrapping_that_cannot_work_is_refused(spec, algorithm, wrapping):
    with pytest.raises(UnsupportedOperationException):
        imports.check_wrapping(spec, algorithm, wrapping)
    imports.check_wrapping(spec, "RSA_AES_KEY_WRAP_SHA_256", "RSA_4096")
