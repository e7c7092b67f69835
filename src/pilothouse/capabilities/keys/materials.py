"""A key's material between the clear and its table: made, wrapped by the master key, opened."""

import asyncio
from dataclasses import replace
from typing import Final
from weakref import WeakKeyDictionary

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pilothouse.call import House
from pilothouse.capabilities.keys import asymmetric, mac
from pilothouse.capabilities.keys.errors import InvalidCiphertextException, KMSInvalidStateException
from pilothouse.capabilities.keys.model import SYMMETRIC, Key, KeyUsage, Material, material_id
from pilothouse.capabilities.keys.store import KeyStore
from pilothouse.crypto.sealed import Sealed
from pilothouse.crypto.vault import Vault
from pilothouse.storage import Transaction

_AES_BYTES: Final = 32
_REMEMBERED: Final = 4096

Opened = tuple[AESGCM, str]
"""The cipher of a material, and the material's id."""

_ciphers: Final[WeakKeyDictionary[Vault, dict[tuple[str, str, str, int, bytes], Opened]]] = WeakKeyDictionary()
"""Of each vault, by account, region, key id, version and wrapped form; emptied when it is full."""

SEALED: Final = Sealed(
    table="kms_material",
    keys=("account_id", "region", "key_id", "version"),
    column="wrapped",
    context=lambda row: _wrapping(row["account_id"], row["region"], row["key_id"], row["version"]),
)


async def generate(house: House, key_spec: str, usage: KeyUsage) -> bytes:
    """New material for a key: 32 random bytes, an HMAC key, or a private key as PKCS#8 DER.

    RSA keys take their time; they are made beside the event loop. Raises UnsupportedOperationException.
    """
    if key_spec == SYMMETRIC:
        return house.ids.random_bytes(_AES_BYTES)
    if usage is KeyUsage.GENERATE_VERIFY_MAC:
        return house.ids.random_bytes(mac.KEY_BYTES[key_spec])
    return await asyncio.to_thread(asymmetric.generate, key_spec)


async def put(house: House, tx: Transaction, key: Key, plaintext: bytes, material: Material) -> Material:
    """Keep material in the clear under `material.version`; the record as it is kept.

    An empty plaintext takes the place of an imported one that was deleted; it keeps the material's id.
    """
    name = material_id(key.key_id, plaintext) if plaintext else material.material_id
    wrapped = house.vault.seal(plaintext, _wrapping(key.account_id, key.region, key.key_id, material.version))
    kept = replace(material, wrapped=wrapped, material_id=name)
    await KeyStore(tx, key.account_id, key.region).put_material(key.key_id, kept)
    return kept


async def opened(house: House, tx: Transaction, key: Key, version: int | None = None) -> bytes:
    """One version of the key's material in the clear, the current one if none is asked for.

    Raises KMSInvalidStateException where it was deleted, InvalidCiphertextException where it never was.
    """
    number = key.material_version if version is None else version
    wrapped = await KeyStore(tx, key.account_id, key.region).wrapped(key.key_id, number)
    return await _unwrapped(house, key, number, wrapped)


async def cipher(house: House, tx: Transaction, key: Key, version: int | None = None) -> Opened:
    """The cipher of one version of a symmetric key's material, and the material's id. Remembered."""
    number = key.material_version if version is None else version
    return await cipher_of(
        house, key, number, await KeyStore(tx, key.account_id, key.region).wrapped(key.key_id, number)
    )


async def cipher_of(house: House, key: Key, number: int, wrapped: bytes | None) -> Opened:
    """As `cipher`, of a version that was just read."""
    known = _ciphers.setdefault(house.vault, {})
    place = (key.account_id, key.region, key.key_id, number, wrapped or b"")
    found = known.get(place)
    if found is None:
        plaintext = await _unwrapped(house, key, number, wrapped)
        if len(known) >= _REMEMBERED:
            known.clear()
        found = known[place] = (AESGCM(plaintext), material_id(key.key_id, plaintext))
    return found


async def _unwrapped(house: House, key: Key, number: int, wrapped: bytes | None) -> bytes:
    if wrapped is None:
        raise InvalidCiphertextException
    plaintext = await house.vault.opened(wrapped, _wrapping(key.account_id, key.region, key.key_id, number))
    if not plaintext:
        raise KMSInvalidStateException(f"{key.arn} is pending import.")
    return plaintext


def _wrapping(account_id: str, region: str, key_id: str, version: int) -> str:
    return f"kms material|{account_id}|{region}|{key_id}|{version}"
