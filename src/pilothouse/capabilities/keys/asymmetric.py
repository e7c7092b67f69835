"""Key pairs: what each key spec can do, and doing it. No I/O.

Private keys travel as PKCS#8 DER, public keys as SubjectPublicKeyInfo DER. Names of specs, usages, algorithms and
message types are those of KMS. Making an RSA key takes up to seconds of one core: `generate` belongs on a thread, which
it leaves free for others to run Python meanwhile.
"""

from collections.abc import Callable
from typing import Final, TypeAlias

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, mlkem, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
    load_der_public_key,
)

from pilothouse.capabilities.keys.errors import (
    InvalidCiphertextException,
    InvalidKeyUsageException,
    KMSInvalidSignatureException,
    UnsupportedOperationException,
)
from pilothouse.errors import ValidationException

Private: TypeAlias = PrivateKeyTypes

RSA: Final = {"RSA_2048": 2048, "RSA_3072": 3072, "RSA_4096": 4096}
"""Bits of the modulus by key spec."""
CURVES: Final[dict[str, type[ec.EllipticCurve]]] = {
    "ECC_NIST_P256": ec.SECP256R1,
    "ECC_NIST_P384": ec.SECP384R1,
    "ECC_NIST_P521": ec.SECP521R1,
    "ECC_SECG_P256K1": ec.SECP256K1,
}
EDWARDS: Final = "ECC_NIST_EDWARDS25519"
ML_DSA: Final[dict[str, Callable[[], Private]]] = {
    "ML_DSA_44": mldsa.MLDSA44PrivateKey.generate,
    "ML_DSA_65": mldsa.MLDSA65PrivateKey.generate,
    "ML_DSA_87": mldsa.MLDSA87PrivateKey.generate,
}
ML_KEM: Final[dict[str, Callable[[], Private]]] = {
    "ML_KEM_768": mlkem.MLKEM768PrivateKey.generate,
    "ML_KEM_1024": mlkem.MLKEM1024PrivateKey.generate,
}
_CLASSES: Final[dict[str, type]] = {
    "ML_DSA_44": mldsa.MLDSA44PrivateKey,
    "ML_DSA_65": mldsa.MLDSA65PrivateKey,
    "ML_DSA_87": mldsa.MLDSA87PrivateKey,
    "ML_KEM_768": mlkem.MLKEM768PrivateKey,
    "ML_KEM_1024": mlkem.MLKEM1024PrivateKey,
}
NOT_AVAILABLE: Final = frozenset({"SM2", "ML_KEM_512"})
"""Key specs of the service model that the cryptography library cannot make."""

_EXPONENT: Final = 65537
_MU_BYTES: Final = 64
_HASHES: Final[dict[str, type[hashes.HashAlgorithm]]] = {
    "SHA_1": hashes.SHA1,
    "SHA_256": hashes.SHA256,
    "SHA_384": hashes.SHA384,
    "SHA_512": hashes.SHA512,
}


def check_algorithm(algorithm: str, spec: str, offered: tuple[str, ...]) -> None:
    """Raises InvalidKeyUsageException unless the algorithm is among those offered by a key of the spec."""
    if algorithm not in offered:
        raise InvalidKeyUsageException(f"Algorithm {algorithm} is incompatible with key spec {spec}.")


def is_pair(spec: str) -> bool:
    """Whether keys of the spec have a public half."""
    return spec in RSA or spec in CURVES or spec == EDWARDS or spec in ML_DSA or spec in ML_KEM


def takes_long(spec: str) -> bool:
    """Whether making such a key would hold up an event loop."""
    return spec in RSA


def check_available(spec: str) -> None:
    """Raises UnsupportedOperationException for a spec that cannot be made here."""
    if spec in NOT_AVAILABLE:
        raise UnsupportedOperationException(f"KeySpec {spec} is not supported.")


def generate(spec: str) -> bytes:
    """A new private key as PKCS#8 DER. Raises UnsupportedOperationException."""
    made: Private
    if spec in RSA:
        made = rsa.generate_private_key(public_exponent=_EXPONENT, key_size=RSA[spec])
    elif spec in CURVES:
        made = ec.generate_private_key(CURVES[spec]())
    elif spec == EDWARDS:
        made = ed25519.Ed25519PrivateKey.generate()
    elif spec in ML_DSA:
        made = ML_DSA[spec]()
    elif spec in ML_KEM:
        made = ML_KEM[spec]()
    else:
        raise UnsupportedOperationException(f"KeySpec {spec} is not supported.")
    return made.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def load(private: bytes) -> Private:
    """A private key of our own, which was checked when it was made or imported: checking RSA again takes long."""
    return load_der_private_key(private, None, unsafe_skip_rsa_key_validation=True)


def load_foreign(private: bytes, spec: str) -> Private:
    """A private key from outside, checked whole. Raises ValueError unless it is a sound key of the spec."""
    try:
        loaded = load_der_private_key(private, None)
    except (TypeError, UnsupportedAlgorithm) as error:
        raise ValueError("not a private key in PKCS#8") from error
    if spec in RSA:
        fits = isinstance(loaded, rsa.RSAPrivateKey) and loaded.key_size == RSA[spec]
    elif spec in CURVES:
        fits = isinstance(loaded, ec.EllipticCurvePrivateKey) and isinstance(loaded.curve, CURVES[spec])
    elif spec == EDWARDS:
        fits = isinstance(loaded, ed25519.Ed25519PrivateKey)
    elif spec in ML_DSA:
        fits = isinstance(loaded, _CLASSES[spec])
    else:
        fits = spec in ML_KEM and isinstance(loaded, _CLASSES[spec])
    if not fits:
        raise ValueError("a key of another spec")
    return loaded


def private_bytes(private: Private) -> bytes:
    """PKCS#8 DER."""
    return private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def public_bytes(private: Private) -> bytes:
    """The public half as SubjectPublicKeyInfo DER."""
    return private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def sign(private: Private, algorithm: str, message: bytes, message_type: str) -> bytes:
    """The signature; ECDSA's as DER. The algorithm is one the key offers.

    Raises ValidationException, and UnsupportedOperationException for Ed25519ph, which the cryptography library lacks.
    """
    check_message(algorithm, message, message_type)
    if isinstance(private, rsa.RSAPrivateKey):
        return private.sign(message, _rsa_padding(algorithm), _hash(algorithm, message_type))
    if isinstance(private, ec.EllipticCurvePrivateKey):
        return private.sign(message, ec.ECDSA(_hash(algorithm, message_type)))
    if isinstance(private, mldsa.MLDSA44PrivateKey | mldsa.MLDSA65PrivateKey | mldsa.MLDSA87PrivateKey):
        return private.sign_mu(message) if message_type == "EXTERNAL_MU" else private.sign(message)
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return private.sign(message)
    raise AssertionError("a key that does not sign was let through")


def verify(private: Private, algorithm: str, message: bytes, message_type: str, signature: bytes) -> None:
    """Raises KMSInvalidSignatureException, ValidationException, UnsupportedOperationException."""
    check_message(algorithm, message, message_type)
    public = private.public_key()
    try:
        if isinstance(public, rsa.RSAPublicKey):
            public.verify(signature, message, _rsa_padding(algorithm), _hash(algorithm, message_type))
        elif isinstance(public, ec.EllipticCurvePublicKey):
            public.verify(signature, message, ec.ECDSA(_hash(algorithm, message_type)))
        elif isinstance(public, mldsa.MLDSA44PublicKey | mldsa.MLDSA65PublicKey | mldsa.MLDSA87PublicKey):
            if message_type == "EXTERNAL_MU":
                public.verify_mu(signature, message)
            else:
                public.verify(signature, message)
        elif isinstance(public, ed25519.Ed25519PublicKey):
            public.verify(signature, message)
        else:
            raise AssertionError("a key that does not sign was let through")
    except (InvalidSignature, ValueError) as error:
        raise KMSInvalidSignatureException("") from error


def check_message(algorithm: str, message: bytes, message_type: str) -> None:
    """Raises ValidationException for a message that is not what its type says, UnsupportedOperationException."""
    known: tuple[str, ...] = ("RAW", "DIGEST")
    length = _MU_BYTES
    if algorithm == "ED25519_PH_SHA_512":
        raise UnsupportedOperationException(f"Algorithm {algorithm} is not supported.")
    if algorithm == "ML_DSA_SHAKE_256":
        known = ("RAW", "EXTERNAL_MU")
    elif algorithm == "ED25519_SHA_512":
        known = ("RAW",)
    else:
        length = _HASHES[algorithm[-7:]]().digest_size
    if message_type not in known:
        raise ValidationException(f"Algorithm {algorithm} needs the MessageType {' or '.join(known)}.")
    if message_type != "RAW" and len(message) != length:
        raise ValidationException(f"Digest is invalid length for algorithm {algorithm}.")


def _hash(algorithm: str, message_type: str) -> hashes.HashAlgorithm | Prehashed:
    made = _HASHES[algorithm[-7:]]()
    return Prehashed(made) if message_type == "DIGEST" else made


def _rsa_padding(algorithm: str) -> padding.PKCS1v15 | padding.PSS:
    if algorithm.startswith("RSASSA_PSS"):
        return padding.PSS(padding.MGF1(_HASHES[algorithm[-7:]]()), padding.PSS.DIGEST_LENGTH)
    return padding.PKCS1v15()


def oaep(algorithm: str) -> padding.OAEP:
    """The padding of `RSAES_OAEP_SHA_1` and `RSAES_OAEP_SHA_256`."""
    chosen = _HASHES[algorithm.removeprefix("RSAES_OAEP_")]
    return padding.OAEP(padding.MGF1(chosen()), chosen(), None)


def encrypt(private: Private, spec: str, algorithm: str, plaintext: bytes) -> bytes:
    """Encrypted to the public half. Raises ValidationException for a plaintext too long for the key."""
    if not isinstance(private, rsa.RSAPrivateKey):
        raise AssertionError("a key that does not encrypt was let through")
    room = private.key_size // 8 - 2 - 2 * _HASHES[algorithm.removeprefix("RSAES_OAEP_")]().digest_size
    if len(plaintext) > room:
        raise ValidationException(
            f"Algorithm {algorithm} and key spec {spec} cannot encrypt data larger than {room} bytes."
        )
    return private.public_key().encrypt(plaintext, oaep(algorithm))


def decrypt(private: Private, algorithm: str, ciphertext: bytes) -> bytes:
    """Raises InvalidCiphertextException, without a word on why: that would help who guesses."""
    if not isinstance(private, rsa.RSAPrivateKey):
        raise AssertionError("a key that does not decrypt was let through")
    try:
        return private.decrypt(ciphertext, oaep(algorithm))
    except ValueError as error:
        raise InvalidCiphertextException("") from error


def agree(private: Private, public: bytes) -> bytes:
    """ECDH: the x-coordinate of the shared point. Raises ValidationException for a key not of the same curve."""
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise AssertionError("a key that does not agree was let through")
    try:
        other = load_der_public_key(public)
        if not isinstance(other, ec.EllipticCurvePublicKey):
            raise ValueError("not a key on a curve")
        return private.exchange(ec.ECDH(), other)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValidationException("") from error


def encapsulate(private: Private) -> tuple[bytes, bytes]:
    """A fresh shared secret of 32 bytes, and its encapsulated form."""
    if not isinstance(private, mlkem.MLKEM768PrivateKey | mlkem.MLKEM1024PrivateKey):
        raise AssertionError("a key that does not encapsulate was let through")
    return private.public_key().encapsulate()


def decapsulate(private: Private, encapsulated: bytes) -> bytes:
    """The shared secret; a well-formed stranger gives noise. Raises InvalidCiphertextException for a wrong length."""
    if not isinstance(private, mlkem.MLKEM768PrivateKey | mlkem.MLKEM1024PrivateKey):
        raise AssertionError("a key that does not decapsulate was let through")
    try:
        return private.decapsulate(encapsulated)
    except ValueError as error:
        raise InvalidCiphertextException("") from error
