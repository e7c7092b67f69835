"""Key pairs: each spec does what it offers, as anyone with the public half can check, and refuses the rest."""

import hashlib

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, utils
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from hypothesis import given, settings
from hypothesis import strategies as st

from pilothouse.capabilities.keys import asymmetric
from pilothouse.capabilities.keys.errors import (
    InvalidCiphertextException,
    InvalidKeyUsageException,
    KMSInvalidSignatureException,
    UnsupportedOperationException,
)
from pilothouse.capabilities.keys.model import ALGORITHMS, KeyUsage
from pilothouse.errors import ValidationException

PAIRS = ("RSA_2048", *asymmetric.CURVES, asymmetric.EDWARDS, *asymmetric.ML_DSA, *asymmetric.ML_KEM)
KEYS = {spec: asymmetric.load(asymmetric.generate(spec)) for spec in PAIRS}
PREHASHED_EDWARDS = "ED25519_PH_SHA_512"
SIGNERS = [
    (spec, algorithm)
    for spec in KEYS
    for algorithm in ALGORITHMS[spec].get(KeyUsage.SIGN_VERIFY, ())
    if algorithm != PREHASHED_EDWARDS
]
HASHES = {"256": hashes.SHA256, "384": hashes.SHA384, "512": hashes.SHA512}
messages = st.binary(min_size=1, max_size=4096)


def outsider_verifies(spec: str, algorithm: str, signature: bytes, message: bytes) -> None:
    """As a client would, with nothing but the public key. Raises InvalidSignature."""
    public = load_der_public_key(asymmetric.public_bytes(KEYS[spec]))
    if spec.startswith("RSA"):
        chosen = HASHES[algorithm[-3:]]()
        pad = padding.PKCS1v15()
        if "PSS" in algorithm:
            pad = padding.PSS(padding.MGF1(chosen), chosen.digest_size)
        public.verify(signature, message, pad, chosen)
    elif spec in asymmetric.CURVES:
        public.verify(signature, message, ec.ECDSA(HASHES[algorithm[-3:]]()))
    else:
        public.verify(signature, message)


@pytest.mark.parametrize(("spec", "algorithm"), SIGNERS)
@settings(max_examples=10, deadline=None)
@given(message=messages, other=messages)
def test_a_signature_is_that_of_its_message_alone(spec, algorithm, message, other):
    signature = asymmetric.sign(KEYS[spec], algorithm, message, "RAW")
    outsider_verifies(spec, algorithm, signature, message)
    asymmetric.verify(KEYS[spec], algorithm, message, "RAW", signature)
    if other != message:
        with pytest.raises(InvalidSignature):
            outsider_verifies(spec, algorithm, signature, other)
        with pytest.raises(KMSInvalidSignatureException):
            asymmetric.verify(KEYS[spec], algorithm, other, "RAW", signature)


@pytest.mark.parametrize(("spec", "algorithm"), [each for each in SIGNERS if each[1][-7:-3] == "SHA_"])
@settings(max_examples=10, deadline=None)
@given(message=messages)
def test_a_signed_digest_is_a_signed_message(spec, algorithm, message):
    if spec == asymmetric.EDWARDS:
        with pytest.raises(ValidationException):
            asymmetric.sign(KEYS[spec], algorithm, hashlib.sha512(message).digest(), "DIGEST")
        return
    digest = hashlib.new(f"sha{algorithm[-3:]}", message).digest()
    signature = asymmetric.sign(KEYS[spec], algorithm, digest, "DIGEST")
    outsider_verifies(spec, algorithm, signature, message)
    asymmetric.verify(KEYS[spec], algorithm, message, "RAW", signature)
    asymmetric.verify(KEYS[spec], algorithm, digest, "DIGEST", signature)


@pytest.mark.parametrize(("spec", "algorithm"), SIGNERS)
def test_a_digest_of_another_length_is_refused(spec, algorithm):
    kind = "EXTERNAL_MU" if spec in asymmetric.ML_DSA else "DIGEST"
    with pytest.raises(ValidationException) as refused:
        asymmetric.sign(KEYS[spec], algorithm, b"short", kind)
    if spec != asymmetric.EDWARDS:
        assert str(refused.value) == f"Digest is invalid length for algorithm {algorithm}."


@pytest.mark.parametrize("spec", asymmetric.ML_DSA)
def test_an_external_mu_is_the_message_prepared_outside(spec):
    public = KEYS[spec].public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    message = b"a long message, hashed where it lies"
    tr = hashlib.shake_256(public).digest(64)
    mu = hashlib.shake_256(tr + b"\x00\x00" + message).digest(64)
    signature = asymmetric.sign(KEYS[spec], "ML_DSA_SHAKE_256", mu, "EXTERNAL_MU")
    outsider_verifies(spec, "ML_DSA_SHAKE_256", signature, message)
    asymmetric.verify(KEYS[spec], "ML_DSA_SHAKE_256", mu, "EXTERNAL_MU", signature)
    with pytest.raises(ValidationException):
        asymmetric.sign(KEYS[spec], "ML_DSA_SHAKE_256", mu, "DIGEST")


@settings(max_examples=100, deadline=None)
@given(signature=st.binary(min_size=1, max_size=300))
@pytest.mark.parametrize(("spec", "algorithm"), SIGNERS)
def test_any_bytes_are_at_most_a_wrong_signature(spec, algorithm, signature):
    with pytest.raises(KMSInvalidSignatureException):
        asymmetric.verify(KEYS[spec], algorithm, b"message", "RAW", signature)


@pytest.mark.parametrize("algorithm", ["RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"])
@settings(max_examples=20, deadline=None)
@given(plaintext=st.binary(min_size=1, max_size=256), junk=st.binary(max_size=300))
def test_rsa_encrypts_what_fits(algorithm, plaintext, junk):
    room = {"RSAES_OAEP_SHA_1": 214, "RSAES_OAEP_SHA_256": 190}[algorithm]
    key = KEYS["RSA_2048"]
    if len(plaintext) > room:
        with pytest.raises(ValidationException) as refused:
            asymmetric.encrypt(key, "RSA_2048", algorithm, plaintext)
        assert (
            str(refused.value)
            == f"Algorithm {algorithm} and key spec RSA_2048 cannot encrypt data larger than {room} bytes."
        )
        return
    assert asymmetric.decrypt(key, algorithm, asymmetric.encrypt(key, "RSA_2048", algorithm, plaintext)) == plaintext
    with pytest.raises(InvalidCiphertextException):
        asymmetric.decrypt(key, algorithm, junk)


@pytest.mark.parametrize("spec", ["ECC_NIST_P256", "ECC_NIST_P384", "ECC_NIST_P521"])
def test_both_sides_of_an_agreement_have_one_secret(spec):
    ours = KEYS[spec]
    theirs = ec.generate_private_key(asymmetric.CURVES[spec]())
    secret = asymmetric.agree(ours, asymmetric.public_bytes(theirs))
    assert secret == theirs.exchange(ec.ECDH(), load_der_public_key(asymmetric.public_bytes(ours)))


@pytest.mark.parametrize("other", ["ECC_NIST_P384", "RSA_2048", "ML_DSA_44"])
def test_an_agreement_with_another_kind_of_key_is_refused(other):
    with pytest.raises(ValidationException):
        asymmetric.agree(KEYS["ECC_NIST_P256"], asymmetric.public_bytes(KEYS[other]))
    with pytest.raises(ValidationException):
        asymmetric.agree(KEYS["ECC_NIST_P256"], b"no key at all")


@pytest.mark.parametrize(("spec", "size"), [("ML_KEM_768", 1088), ("ML_KEM_1024", 1568)])
def test_what_is_encapsulated_outside_opens_here(spec, size):
    secret, encapsulated = load_der_public_key(asymmetric.public_bytes(KEYS[spec])).encapsulate()
    assert len(encapsulated) == size
    assert asymmetric.decapsulate(KEYS[spec], encapsulated) == secret
    made, form = asymmetric.encapsulate(KEYS[spec])
    assert asymmetric.decapsulate(KEYS[spec], form) == made
    altered = bytes([form[0] ^ 1]) + form[1:]
    assert asymmetric.decapsulate(KEYS[spec], altered) != made
    with pytest.raises(InvalidCiphertextException):
        asymmetric.decapsulate(KEYS[spec], form[:-1])


@pytest.mark.parametrize("spec", PAIRS)
def test_a_key_from_outside_must_be_of_the_spec(spec):
    der = asymmetric.private_bytes(KEYS[spec])
    assert asymmetric.private_bytes(asymmetric.load_foreign(der, spec)) == der
    for other in PAIRS:
        if other != spec:
            with pytest.raises(ValueError):
                asymmetric.load_foreign(der, other)


@settings(max_examples=200, deadline=None)
@given(junk=st.binary(max_size=200))
def test_junk_is_no_key(junk):
    with pytest.raises(ValueError):
        asymmetric.load_foreign(junk, "ECC_NIST_P256")


@pytest.mark.parametrize("spec", sorted(asymmetric.NOT_AVAILABLE))
def test_specs_that_cannot_be_made_are_said_to_be_so(spec):
    with pytest.raises(UnsupportedOperationException):
        asymmetric.generate(spec)


def test_every_spec_is_made_or_said_to_be_missing():
    made = {*asymmetric.RSA, *asymmetric.CURVES, asymmetric.EDWARDS, *asymmetric.ML_DSA, *asymmetric.ML_KEM}
    pairs = {spec for spec in ALGORITHMS if not spec.startswith("HMAC") and spec != "SYMMETRIC_DEFAULT"}
    assert made | asymmetric.NOT_AVAILABLE == pairs
    assert {spec for spec in ALGORITHMS if asymmetric.is_pair(spec)} == made


def test_prehashed_edwards_signatures_are_refused_by_name():
    key = KEYS[asymmetric.EDWARDS]
    with pytest.raises(UnsupportedOperationException):
        asymmetric.sign(key, PREHASHED_EDWARDS, b"d" * 64, "DIGEST")
    with pytest.raises(UnsupportedOperationException):
        asymmetric.verify(key, PREHASHED_EDWARDS, b"d" * 64, "DIGEST", b"s" * 64)


def test_an_algorithm_must_be_among_those_of_the_key():
    asymmetric.check_algorithm("ECDSA_SHA_256", "ECC_NIST_P256", ("ECDSA_SHA_256",))
    with pytest.raises(InvalidKeyUsageException) as refused:
        asymmetric.check_algorithm("ECDSA_SHA_384", "ECC_NIST_P256", ("ECDSA_SHA_256",))
    assert str(refused.value) == "Algorithm ECDSA_SHA_384 is incompatible with key spec ECC_NIST_P256."


def test_prehashed_and_raw_meet_an_independent_signer():
    key = KEYS["ECC_NIST_P384"]
    digest = hashlib.sha384(b"message").digest()
    signature = key.sign(digest, ec.ECDSA(utils.Prehashed(hashes.SHA384())))
    asymmetric.verify(key, "ECDSA_SHA_384", b"message", "RAW", signature)
