"""Encrypting and decrypting under an account's keys.

A key's row is read on each use, or known to be unchanged, so a disabled or deleted key counts at once. Opened material
is remembered: one version of a key's material never changes.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple
from weakref import WeakKeyDictionary

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pilothouse.call import House
from pilothouse.capabilities.keys import materials, permissions, uses
from pilothouse.capabilities.keys.errors import (
    DisabledException,
    InvalidCiphertextException,
    KMSInvalidStateException,
    NotFoundException,
)
from pilothouse.capabilities.keys.finding import named
from pilothouse.capabilities.keys.model import (
    Blob,
    Key,
    KeyUsage,
    associated_data,
    digest,
    header,
    key_arn,
    parse_reference,
    take_apart,
)
from pilothouse.capabilities.keys.permissions import Use
from pilothouse.capabilities.keys.store import KeyStore
from pilothouse.crypto.vault import Vault
from pilothouse.errors import AccessDeniedException, ApiError
from pilothouse.identity.policy_patterns import Value
from pilothouse.identity.principals import Principal
from pilothouse.storage import Transaction
from pilothouse.storage.remembered import Remembered

NO_SUCH_KEY: Final = (
    "The ciphertext refers to a customer master key that does not exist, does not exist in this region, "
    "or you are not allowed to access."
)
"""What is said of the key of a ciphertext where nobody named it."""

_NONCE: Final = 12
_REMEMBERED: Final = 4096


class Ready(NamedTuple):
    """A key that may be used now, and the cipher and id of one version of its material."""

    key: Key
    cipher: AESGCM
    material_id: str


class Sealer(NamedTuple):
    """An enabled key as it was named, and the cipher of its newest material. Who may use it is asked at each use."""

    key: Key
    alias: str | None
    cipher: AESGCM


_usable: Final[WeakKeyDictionary[Vault, Remembered[tuple[str, str, str, int], Ready]]] = WeakKeyDictionary()
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
    by: Principal | None = None,
    via: str | None = None,
    action: str = "Encrypt",
    sealer: Sealer | None = None,
    request_id: str = "",
) -> tuple[bytes, str]:
    """A ciphertext blob, and the id of the key that made it.

    `key_ref` is a key id, key ARN, alias or alias ARN; the key behind `alias/aws/...` is made at first use, so `tx`
    must be one that writes. `context` is the encryption context that decryption must repeat. `place` names the row and
    version that the blob is for; `Decryption.open` refuses it elsewhere. `by` is for whom it is done, asked for
    kms:Encrypt or another `action`; without it nobody's permission is asked. `via` is the service that does it.
    `sealer` is the key of `key_ref` where it was looked up since the request came (`sealer_of`). `request_id` names
    that request.
    Raises NotFoundException, DisabledException, KMSInvalidStateException, InvalidKeyUsageException,
    AccessDeniedException.
    """
    if sealer is not None:
        key, alias = sealer.key, sealer.alias
    else:
        key, alias = await named(house, tx, account_id, region, key_ref, by=by, action=f"kms:{action}", writes=True)
    if by is not None:
        use = Use(by=by, action=f"kms:{action}", context=context, via=via, alias=alias, at=house.clock.millis())
        await permissions.check(house.vault, tx, key, use)
    if sealer is not None:
        blob = _blob(house, key, sealer.cipher, plaintext, context, place)
    else:
        key.check_usage(KeyUsage.ENCRYPT_DECRYPT, action)
        key.check_state()
        blob = await sealed(house, tx, key, plaintext, context, place=place)
    if by is not None:
        house.note_use(request_id, by.account_id, key.account_id, key.arn)
    uses.note(house, key, action, request_id)
    return blob, key.key_id


async def sealer_of(house: House, tx: Transaction, account_id: str, region: str, key_ref: str) -> Sealer | None:
    """The key that `encrypt` would use if it were asked now; None unless it is there and can be used as it is."""
    try:
        reference = parse_reference(key_ref, account_id, region)
        store = KeyStore(tx, reference.account_id, region)
        found = await store.with_material(reference.key_id or "", reference.alias)
        if found is None:
            return None
        key, wrapped = found
        key.check_usage(KeyUsage.ENCRYPT_DECRYPT, "Encrypt")
        key.check_state()
    except ApiError:
        return None  # `encrypt` says what is wrong with it, after asking who asks
    cipher, _ = await materials.cipher_of(house, key, key.material_version, wrapped)
    return Sealer(key, reference.alias, cipher)


async def data_key(
    house: House,
    tx: Transaction,
    account_id: str,
    region: str,
    key_ref: str,
    context: Mapping[str, str],
    *,
    place: str = "",
    by: Principal | None = None,
    via: str | None = None,
    size: int = 32,
    sealer: Sealer | None = None,
    request_id: str = "",
) -> tuple[bytes, bytes, str]:
    """A new data key of `size` bytes in the clear, the same as a ciphertext blob, and the id of the key that made it.

    As `encrypt`, but `by` is asked for kms:GenerateDataKey.
    """
    plaintext = house.ids.random_bytes(size)
    blob, key_id = await encrypt(
        house, tx, account_id, region, key_ref, plaintext, context,
        place=place, by=by, via=via, action="GenerateDataKey", sealer=sealer, request_id=request_id,
    )  # fmt: skip
    return plaintext, blob, key_id


async def decrypt(
    house: House,
    tx: Transaction,
    account_id: str,
    region: str,
    blob: bytes,
    context: Mapping[str, str],
    *,
    place: str | None = None,
    by: Principal | None = None,
    via: str | None = None,
    request_id: str = "",
) -> bytes:
    """The plaintext of one blob; see `Decryption.open`."""
    decryption = Decryption(house, tx, account_id, region, by=by, via=via, request_id=request_id)
    return await decryption.open(blob, context, place=place)


async def sealed(
    house: House, tx: Transaction, key: Key, plaintext: bytes, context: Mapping[str, str], *, place: str = ""
) -> bytes:
    """A ciphertext blob under the newest material of a symmetric key that was checked before."""
    cipher, _ = await materials.cipher(house, tx, key)
    return _blob(house, key, cipher, plaintext, context, place)


def _blob(house: House, key: Key, cipher: AESGCM, plaintext: bytes, context: Mapping[str, str], place: str) -> bytes:
    front = header(key.account_id, key.key_id, key.material_version, digest(place))
    nonce = house.ids.random_bytes(_NONCE)
    return front + nonce + cipher.encrypt(nonce, plaintext, associated_data(front, context))


class Decryption:
    """Decrypts the blobs of one call; a key that several of them need is read once."""

    def __init__(
        self,
        house: House,
        tx: Transaction,
        account_id: str,
        region: str,
        *,
        by: Principal | None = None,
        via: str | None = None,
        action: str = "kms:Decrypt",
        conditions: Mapping[str, Value] | None = None,
        request_id: str = "",
    ) -> None:
        """`by` is for whom it is done, asked for `action`; without it nobody's permission is asked.

        `conditions` are condition keys of the request; `request_id` names it.
        """
        self._house = house
        self._tx = tx
        self._account_id = account_id
        self._region = region
        self._by = by
        self._via = via
        self._action = action
        self._conditions = conditions or {}
        self._request_id = request_id
        self._ready: dict[tuple[str, str, int], Ready] = {}

    async def open(self, blob: bytes, context: Mapping[str, str], *, place: str | None = None) -> bytes:
        """The plaintext.

        `context` and `place` must be those of `encrypt`; without `place` the blob opens wherever it lies.
        Raises InvalidCiphertextException, NotFoundException, DisabledException, KMSInvalidStateException,
        AccessDeniedException.
        """
        parts = take_apart(blob)
        if place is not None and parts.place != digest(place):
            raise InvalidCiphertextException
        ready = await self.ready(parts, context)
        plaintext = self.unsealed(parts, ready, context)
        if self._by is not None:
            self._house.note_use(self._request_id, self._by.account_id, ready.key.account_id, ready.key.arn)
        uses.note(self._house, ready.key, "Decrypt", self._request_id)
        return plaintext

    async def ready(self, parts: Blob, context: Mapping[str, str], key_ref: str | None = None) -> Ready:
        """The key of a blob, allowed and enabled, with its cipher. Raises as `open` does.

        `key_ref` is how it was named. Who may not use the key hears that, and nothing of its state.
        """
        used = (parts.account_id or self._account_id, parts.key_id, parts.material_version)
        if self._by is None and used[0] != self._account_id:  # nobody whom the other account's key could let
            raise NotFoundException(f"Key '{key_arn(used[0], self._region, parts.key_id)}' does not exist")
        ready = self._ready.get(used)
        if ready is None:
            try:
                ready = self._ready[used] = await self._found(*used)
            except (DisabledException, KMSInvalidStateException):
                key = await KeyStore(self._tx, used[0], self._region).key(used[1])
                if key is not None:
                    await self._check(key, context, key_ref)
                raise
        if self._by is not None and not permissions.is_open(ready.key, self._by, self._action):
            await self._check(ready.key, context, key_ref)
        return ready

    async def _check(self, key: Key, context: Mapping[str, str], key_ref: str | None) -> None:
        if self._by is None:
            return
        alias = key_ref.rpartition(":")[2] if key_ref is not None and "alias/" in key_ref else None
        use = Use(
            by=self._by, action=self._action, context=context, via=self._via, alias=alias,
            conditions=self._conditions, at=self._house.clock.millis(),
        )  # fmt: skip
        try:
            await permissions.check(self._house.vault, self._tx, key, use)
        except AccessDeniedException as error:
            if key.account_id == self._by.account_id or key_ref is not None:
                raise
            raise AccessDeniedException(NO_SUCH_KEY) from error

    def unsealed(self, parts: Blob, ready: Ready, context: Mapping[str, str]) -> bytes:
        """The plaintext of a blob whose key is known. Raises InvalidCiphertextException."""
        try:
            return ready.cipher.decrypt(parts.nonce, parts.ciphertext, associated_data(parts.header, context))
        except InvalidTag as error:
            raise InvalidCiphertextException from error

    async def _found(self, account_id: str, key_id: str, version: int) -> Ready:
        usable = _usable.get(self._house.vault)
        if usable is None:
            usable = _usable[self._house.vault] = Remembered(_REMEMBERED)
        stamp = await self._tx.stamp()
        place = (account_id, self._region, key_id, version)
        ready = usable.get(stamp, place)
        if ready is None:
            ready = await self._read(account_id, key_id, version)
            usable.put(stamp, place, ready)
        return ready

    async def _read(self, account_id: str, key_id: str, version: int) -> Ready:
        key = await KeyStore(self._tx, account_id, self._region).key(key_id)
        if key is None:
            raise NotFoundException(f"Key '{key_arn(account_id, self._region, key_id)}' does not exist")
        key.check_state()
        return Ready(key, *await materials.cipher(self._house, self._tx, key, version))
