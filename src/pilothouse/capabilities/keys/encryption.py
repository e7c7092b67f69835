"""Encrypting and decrypting under an account's keys.

A key's row is read on each use, or known to be unchanged, so a disabled or deleted key counts at once. Opened material
is remembered: one version of a key's material never changes.
"""

from collections.abc import Mapping
from typing import Final
from weakref import WeakKeyDictionary

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pilothouse.call import House
from pilothouse.capabilities.keys.model import (
    SERVICE_ALIASES,
    InvalidCiphertextException,
    NotFoundException,
    alias_arn,
    associated_data,
    check_usable,
    digest,
    header,
    key_arn,
    parse_reference,
    take_apart,
)
from pilothouse.capabilities.keys.store import KeyStore
from pilothouse.crypto.vault import Vault
from pilothouse.storage import Transaction
from pilothouse.storage.remembered import Remembered

_MATERIAL_BYTES: Final = 32
_NONCE: Final = 12
_REMEMBERED: Final = 4096
_opened: Final[dict[tuple[Vault, str, int], AESGCM]] = {}
"""Ciphers by vault, key id and version of the material; emptied when it is full."""
_usable: Final[WeakKeyDictionary[Vault, Remembered[tuple[str, str, str, int], AESGCM]]] = WeakKeyDictionary()
"""Of each vault the ciphers of enabled keys, by account, region, key id and version of the material."""


async def encrypt(
    house: House,
    tx: Transaction,
    account_id: str,
    region: str,
    key_ref: str,
    plaintext: bytes,
    context: Mapping[str, str],
    *,
    place: str = "",
) -> tuple[bytes, str]:
    """A ciphertext blob, and the id of the key that made it.

    `key_ref` is a key id, key ARN, alias or alias ARN; the key behind `alias/aws/ssm` and `alias/aws/secretsmanager`
    is made at first use, so `tx` must be one that writes. `context` is the encryption context that decryption must
    repeat. `place` names the row and version that the blob is for; `Decryption.open` refuses it elsewhere.
    Raises NotFoundException, DisabledException, KMSInvalidStateException.
    """
    store = KeyStore(tx, account_id, region)
    key_id = await _key_id(house, store, account_id, region, key_ref)
    key = await store.newest(key_id)
    if key is None:
        raise NotFoundException(f"Key '{key_arn(account_id, region, key_id)}' does not exist")
    check_usable(key.state, key_arn(account_id, region, key_id))
    cipher = await _cipher(house.vault, store, account_id, region, key_id, key.material_version)
    front = header(key_id, key.material_version, digest(place))
    nonce = house.ids.random_bytes(_NONCE)
    return front + nonce + cipher.encrypt(nonce, plaintext, associated_data(front, context)), key_id


async def decrypt(
    house: House,
    tx: Transaction,
    account_id: str,
    region: str,
    blob: bytes,
    context: Mapping[str, str],
    *,
    place: str | None = None,
) -> bytes:
    """The plaintext of one blob; see `Decryption.open`."""
    return await Decryption(house, tx, account_id, region).open(blob, context, place=place)


class Decryption:
    """Decrypts the blobs of one call; a key that several of them need is read once."""

    def __init__(self, house: House, tx: Transaction, account_id: str, region: str) -> None:
        self._vault = house.vault
        self._tx = tx
        self._store = KeyStore(tx, account_id, region)
        self._account_id = account_id
        self._region = region
        self._ciphers: dict[tuple[str, int], AESGCM] = {}

    async def open(self, blob: bytes, context: Mapping[str, str], *, place: str | None = None) -> bytes:
        """The plaintext.

        `context` and `place` must be those of `encrypt`; without `place` the blob opens wherever it lies.
        Raises InvalidCiphertextException, NotFoundException, DisabledException, KMSInvalidStateException.
        """
        parts = take_apart(blob)
        if place is not None and parts.place != digest(place):
            raise InvalidCiphertextException("The ciphertext was made for another place.")
        used = (parts.key_id, parts.material_version)
        cipher = self._ciphers.get(used) or await self._usable(*used)
        try:
            return cipher.decrypt(parts.nonce, parts.ciphertext, associated_data(parts.header, context))
        except InvalidTag as error:
            raise InvalidCiphertextException("The ciphertext or its encryption context is not valid.") from error

    async def _usable(self, key_id: str, version: int) -> AESGCM:
        usable = _usable.get(self._vault)
        if usable is None:
            usable = _usable[self._vault] = Remembered(_REMEMBERED)
        stamp = self._tx.stamp()
        place = (self._account_id, self._region, key_id, version)
        cipher = usable.get(stamp, place)
        if cipher is None:
            cipher = await self._read(key_id, version)
            usable.put(stamp, place, cipher)
        self._ciphers[key_id, version] = cipher
        return cipher

    async def _read(self, key_id: str, version: int) -> AESGCM:
        state = await self._store.state(key_id)
        if state is None:
            raise NotFoundException(f"Key '{key_arn(self._account_id, self._region, key_id)}' does not exist")
        check_usable(state, key_arn(self._account_id, self._region, key_id))
        return await _cipher(self._vault, self._store, self._account_id, self._region, key_id, version)


async def _key_id(house: House, store: KeyStore, account_id: str, region: str, key_ref: str) -> str:
    reference = parse_reference(key_ref, account_id, region)
    if reference.key_id is not None:
        return reference.key_id
    alias = reference.alias or ""
    key_id = await store.key_of(alias)
    if key_id is None and alias in SERVICE_ALIASES:
        key_id = await _make_service_key(house, store, account_id, region, alias)
    if key_id is None:
        raise NotFoundException(f"Alias {alias_arn(account_id, region, alias)} is not found.")
    return key_id


async def _make_service_key(house: House, store: KeyStore, account_id: str, region: str, alias: str) -> str:
    await store.lock_alias(alias)
    if made_meanwhile := await store.key_of(alias):
        return made_meanwhile
    key_id = house.ids.uuid()
    wrapped = house.vault.seal(house.ids.random_bytes(_MATERIAL_BYTES), _wrapping(account_id, region, key_id, 1))
    now = house.clock.millis()
    await store.add_key(key_id, manager="AWS", description=SERVICE_ALIASES[alias], wrapped=wrapped, at=now)
    await store.add_alias(alias, key_id, at=now)
    return key_id


def _wrapping(account_id: str, region: str, key_id: str, version: int) -> str:
    return f"kms material|{account_id}|{region}|{key_id}|{version}"


async def _cipher(vault: Vault, store: KeyStore, account_id: str, region: str, key_id: str, version: int) -> AESGCM:
    cipher = _opened.get((vault, key_id, version))
    if cipher is None:
        wrapped = await store.wrapped(key_id, version)
        if wrapped is None:
            raise InvalidCiphertextException("The ciphertext names key material that does not exist.")
        cipher = AESGCM(vault.open(wrapped, _wrapping(account_id, region, key_id, version)))
        if len(_opened) >= _REMEMBERED:
            _opened.clear()
        _opened[vault, key_id, version] = cipher
    return cipher
