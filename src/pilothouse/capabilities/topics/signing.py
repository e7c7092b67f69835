"""The installation's key for notifications: made when first needed, sealed, and another one each year.

Receivers fetch its certificate from this server, at the path that each message names.
"""

import asyncio
from base64 import b64encode
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

from pilothouse.call import House
from pilothouse.capabilities.topics import store
from pilothouse.capabilities.topics.store import SigningKey
from pilothouse.crypto.sealed import Sealed
from pilothouse.runtime.clock import from_millis, to_millis

CERTIFICATE_PATH: Final = "/SimpleNotificationService-"
"""The path of a certificate begins with it, and goes on with the fingerprint and `.pem`."""
_BITS: Final = 2048
_LIFE: Final = timedelta(days=400)
_RENEW_BEFORE_MS: Final = 35 * 86_400_000
_FINGERPRINT: Final = 32


def seal_context(fingerprint: str) -> str:
    """What a sealed key is bound to."""
    return f"topic-signing-key/{fingerprint}"


SEALED: Final = Sealed(
    table="topic_signing_key",
    keys=("fingerprint",),
    column="sealed_key",
    context=lambda row: seal_context(row["fingerprint"]),
)


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs what goes to subscribers."""

    fingerprint: str
    until: int
    """When the next key is to be used, epoch milliseconds."""
    _key: rsa.RSAPrivateKey = field(repr=False)

    @property
    def certificate_path(self) -> str:
        """Where on the server the certificate is."""
        return f"{CERTIFICATE_PATH}{self.fingerprint}.pem"

    def signature(self, text: str, version: str) -> str:
        """In base64; by version `1` with SHA-1, as SNS has it from its beginnings, by `2` with SHA-256."""
        digest = hashes.SHA256() if version == "2" else hashes.SHA1()  # noqa: S303 - the form demands it
        return b64encode(self._key.sign(text.encode(), padding.PKCS1v15(), digest)).decode()


async def signer_of(house: House) -> Signer:
    """The signer of now. Raises SealBroken, StorageUnavailable."""
    async with house.database.reading() as tx:
        kept = await store.signing_key(tx)
    if kept is None or kept.expires_at - _RENEW_BEFORE_MS <= house.clock.millis():
        kept = await _renewed(house)
    pem = await house.vault.opened(bytes(kept.sealed_key), seal_context(kept.fingerprint))
    key = serialization.load_pem_private_key(pem, None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return Signer(kept.fingerprint, kept.expires_at - _RENEW_BEFORE_MS, key)


async def certificate(house: House, file: str) -> bytes | None:
    """The certificate in PEM that a path names, or None where there is no such key."""
    async with house.database.reading() as tx:
        found = await store.certificate(tx, file.removesuffix(".pem"))
    return None if found is None else found.encode()


async def _renewed(house: House) -> SigningKey:
    """A new key; the one that another process made meanwhile, where one did."""
    now = house.clock.millis()
    key = await asyncio.to_thread(rsa.generate_private_key, 65537, _BITS)
    made = _kept(house, key, now)
    async with house.database.transaction() as tx:
        await store.lock_signing_keys(tx)
        newest = await store.signing_key(tx)
        if newest is not None and newest.expires_at - _RENEW_BEFORE_MS > now:
            return newest
        await store.add_signing_key(tx, made)
    return made


def _kept(house: House, key: rsa.RSAPrivateKey, now: int) -> SigningKey:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Pilothouse notifications")])
    expires = from_millis(now) + _LIFE
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(from_millis(now) - timedelta(days=1))
        .not_valid_after(expires)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    fingerprint = certificate.fingerprint(hashes.SHA256()).hex()[:_FINGERPRINT]
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return SigningKey(
        fingerprint=fingerprint,
        certificate=certificate.public_bytes(pem).decode(),
        sealed_key=house.vault.seal(private, seal_context(fingerprint)),
        created_at=now,
        expires_at=to_millis(expires),
    )
