"""Material that users bring: GetParametersForImport, ImportKeyMaterial, DeleteImportedKeyMaterial, and its expiry.

A key of origin EXTERNAL has the materials that were imported, one version each. A symmetric key can get a further one,
which waits as the version after the current until `activate` makes it current. A version that was deleted or has
expired keeps its row, so that only the same material can take its place; while one is missing, the key waits for it.
Replicas of a multi-region key have a row for each version of the primary, and take no other material.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from pilothouse.call import Call, House, Shape, job, operation
from pilothouse.capabilities.keys import asymmetric, finding, imports, materials
from pilothouse.capabilities.keys.errors import (
    IncorrectKeyMaterialException,
    InvalidImportTokenException,
    KMSInvalidStateException,
    NotFoundException,
    UnsupportedOperationException,
)
from pilothouse.capabilities.keys.imports import ImportToken
from pilothouse.capabilities.keys.metadata import moment
from pilothouse.capabilities.keys.model import SYMMETRIC, Key, KeyState, Material, Origin, material_id
from pilothouse.capabilities.keys.store import KeyStore, due_for_expiry
from pilothouse.crypto.vault import SealBroken
from pilothouse.errors import ValidationException
from pilothouse.storage import Transaction

_EXPIRES, _LASTS = "KEY_MATERIAL_EXPIRES", "KEY_MATERIAL_DOES_NOT_EXPIRE"
_NEW, _EXISTING = "NEW_KEY_MATERIAL", "EXISTING_KEY_MATERIAL"
_HERE, _MISSING = "IMPORTED", "PENDING_IMPORT"
_LONGEST_MILLIS = 365 * 86_400_000
_BATCH = 100


@operation("kms", "GetParametersForImport", asks_itself=True, audited=True)
async def get_parameters_for_import(call: Call, request: Shape) -> Shape:
    """A wrapping key of its own, and the token that brings material wrapped with it home."""
    algorithm, wrapping_spec = request["WrappingAlgorithm"], request["WrappingKeySpec"]
    async with call.reading() as tx:
        key = await finding.asked(call, tx, request["KeyId"], "kms:GetParametersForImport", request)
    _check_importable(key)
    imports.check_wrapping(key.key_spec, algorithm, wrapping_spec)
    private = await asyncio.to_thread(asymmetric.generate, wrapping_spec)
    valid_to = call.clock.millis() + imports.TOKEN_MILLIS
    token = ImportToken(key.arn, algorithm, valid_to, private)
    return {
        "KeyId": key.arn,
        "ImportToken": call.house.vault.seal(imports.pack(token), imports.token_place(key.arn)),
        "PublicKey": asymmetric.public_bytes(asymmetric.load(private)),
        "ParametersValidTo": moment(valid_to),
    }


async def _delivered(call: Call, request: Shape) -> tuple[str, bytes]:
    """The key's ARN and the material in the clear, unwrapped and checked beside the event loop."""
    async with call.reading() as tx:
        key = await finding.asked(call, tx, request["KeyId"], "kms:ImportKeyMaterial", request)
    _check_importable(key)
    _expiration(call, request)
    try:
        opened = await call.house.vault.opened(request["ImportToken"], imports.token_place(key.arn))
    except SealBroken as error:
        raise InvalidImportTokenException("The import token is not valid for this key.") from error
    token = imports.unpack(opened, call.clock.millis())
    return key.arn, await asyncio.to_thread(_unwrapped, token, key.key_spec, request["EncryptedKeyMaterial"])


def _unwrapped(token: ImportToken, spec: str, wrapped: bytes) -> bytes:
    return imports.fitting(spec, imports.unwrap(token.private_key, token.algorithm, wrapped))


@operation("kms", "ImportKeyMaterial", asks_itself=True, writes=True, prepare=_delivered)
async def import_key_material(call: Call, request: Shape) -> Shape:
    """The key's first material, one that it had before, or the one to which it will rotate."""
    arn, plaintext = call.prepared
    model, valid_to = _expiration(call, request)
    async with call.transaction() as tx:
        key = await finding.locked(call, tx, request["KeyId"], "kms:ImportKeyMaterial", request)
        if key.arn != arn:
            raise InvalidImportTokenException("The import token is not valid for this key.")
        _check_importable(key)
        known = await KeyStore(tx, key.account_id, key.region).materials(key.key_id)
        name = material_id(key.key_id, plaintext)
        if request.get("KeyMaterialId", name) != name:
            raise IncorrectKeyMaterialException("The key material is not the one that KeyMaterialId names.")
        kind = request.get("ImportType") or (_EXISTING if known else _NEW)
        at = call.clock.millis()
        replica = key.multi_region and not key.is_primary
        fresh = kind == _NEW and not replica and (key.key_spec == SYMMETRIC or not known)
        place = Material(version=_next(key, known, name), created_at=at) if fresh else _before(known, name)
        description = request.get("KeyMaterialDescription", place.description)
        kept = replace(place, import_state=_HERE, expiration_model=model, valid_to=valid_to, description=description)
        kept = await materials.put(call.house, tx, key, plaintext, kept)
        if fresh:
            for each in await _replicas(tx, key):
                await expect(call.house, tx, each, kept)
        await _settle(tx, key)
    answer: Shape = {"KeyId": key.arn}
    if key.key_spec == SYMMETRIC:
        answer["KeyMaterialId"] = name
    return answer


@operation("kms", "DeleteImportedKeyMaterial", asks_itself=True, writes=True)
async def delete_imported_key_material(call: Call, request: Shape) -> Shape:
    """The material goes at once; the same can be imported again."""
    async with call.transaction() as tx:
        key = await finding.locked(call, tx, request["KeyId"], "kms:DeleteImportedKeyMaterial", request)
        _check_importable(key)
        known = await KeyStore(tx, key.account_id, key.region).materials(key.key_id)
        wanted = request.get("KeyMaterialId")
        found = [each for each in known if each.material_id == wanted or (not wanted and _is_current(key, each))]
        if wanted and not found:
            raise NotFoundException(f"Key material {wanted} is not found.")
        for each in found:
            await _forget(call.house, tx, key, each)
        await _settle(tx, key)
    answer: Shape = {"KeyId": key.arn}
    if found and key.key_spec == SYMMETRIC:
        answer["KeyMaterialId"] = found[0].material_id
    return answer


async def activate(tx: Transaction, key: Key, at: int) -> Key:
    """Rotate a key and its replicas to the material that waits; the key as it is kept. Take its lock before.

    Raises KMSInvalidStateException where none waits, or not in every region.
    """
    known = await KeyStore(tx, key.account_id, key.region).materials(key.key_id)
    if not await _ready_everywhere(tx, key, known):
        raise KMSInvalidStateException(f"No available key material pending rotation for the key: {key.arn}.")
    for each in await _replicas(tx, key):
        await _activated(tx, each, at)
    return await _activated(tx, key, at)


async def _activated(tx: Transaction, key: Key, at: int) -> Key:
    store = KeyStore(tx, key.account_id, key.region)
    waiting = _waiting(key, await store.materials(key.key_id))
    if waiting is None:
        return key
    await store.put_material(key.key_id, replace(waiting, rotation_type="ON_DEMAND", rotated_at=at))
    return await _settle(tx, replace(key, material_version=waiting.version, rotated_at=at))


async def expect(house: House, tx: Transaction, replica: Key, material: Material) -> None:
    """Let a replica wait for a material of its primary."""
    waits = replace(material, import_state=_MISSING, expiration_model=None, valid_to=None, wrapped=b"")
    await materials.put(house, tx, replica, b"", waits)


async def waits_for_regions(tx: Transaction, key: Key, known: Sequence[Material]) -> bool:
    """Whether the material to which a multi-region key will rotate is not in every region yet."""
    return key.multi_region and _waiting(key, known) is not None and not await _ready_everywhere(tx, key, known)


async def _ready_everywhere(tx: Transaction, key: Key, known: Sequence[Material]) -> bool:
    """Whether the next material is here, and with every relative that does not wait to be deleted."""
    waiting = _waiting(key, known)
    if waiting is None or waiting.import_state != _HERE:
        return False
    for each in await _relatives(tx, key):
        if each.state is KeyState.PENDING_DELETION:
            continue
        theirs = await KeyStore(tx, each.account_id, each.region).materials(each.key_id)
        if not any(one.version == waiting.version and one.import_state == _HERE for one in theirs):
            return False
    return True


async def _replicas(tx: Transaction, key: Key) -> list[Key]:
    return [each for each in await _relatives(tx, key) if not each.is_primary]


async def _relatives(tx: Transaction, key: Key) -> list[Key]:
    if not key.multi_region:
        return []
    return finding.relatives(await KeyStore(tx, key.account_id, key.region).in_all_regions(key.key_id), key)


async def lacks_material(tx: Transaction, key: Key) -> bool:
    """Whether the key is one that waits for material to be imported before it can be used."""
    if key.origin is not Origin.EXTERNAL:
        return False
    known = await KeyStore(tx, key.account_id, key.region).materials(key.key_id)
    needed = [each for each in known if each.version <= max(key.material_version, 1)]
    return not needed or any(each.import_state == _MISSING for each in needed)


@job("keys.expire_material", every=timedelta(minutes=1))
async def expire_material(house: House) -> None:
    """Imported material whose time is over goes, and its key waits for it."""
    now = house.clock.millis()
    async with house.database.reading() as tx:
        due = await due_for_expiry(tx, now, _BATCH)
    for account_id, region, key_id in due:
        async with house.database.transaction() as tx:
            store = KeyStore(tx, account_id, region)
            await store.lock(key_id)
            key = await store.key(key_id)
            if key is None:
                continue
            for each in await store.materials(key_id):
                if each.valid_to is not None and each.valid_to <= now:
                    await _forget(house, tx, key, each)
            await _settle(tx, key)


def _check_importable(key: Key) -> None:
    if key.origin is not Origin.EXTERNAL:
        raise UnsupportedOperationException(f"{key.arn} origin is {key.origin} which is not valid for this operation.")
    if key.state in (KeyState.PENDING_DELETION, KeyState.PENDING_REPLICA_DELETION):
        key.check_state()


def _expiration(call: Call, request: Shape) -> tuple[str, int | None]:
    """The expiration model and the end of the material's time, in epoch milliseconds."""
    model, valid_to = request.get("ExpirationModel", _EXPIRES), request.get("ValidTo")
    if model == _LASTS:
        if valid_to is not None:
            raise ValidationException(f"A validTo date must not be set if the ExpirationModel is {_LASTS}")
        return model, None
    if valid_to is None:
        raise ValidationException(f"A validTo date must be set if the ExpirationModel is {_EXPIRES}")
    end = int(valid_to.timestamp() * 1000)
    now = call.clock.millis()
    if not now < end <= now + _LONGEST_MILLIS:
        raise ValidationException("The validTo date must be in the future and at most 365 days away")
    return model, end


def _is_current(key: Key, material: Material) -> bool:
    return material.version == key.material_version


def _waiting(key: Key, known: Sequence[Material]) -> Material | None:
    """The material to which the key would rotate."""
    return next((each for each in known if each.version > key.material_version), None)


def _next(key: Key, known: Sequence[Material], name: str) -> int:
    """The version of new material. Raises KMSInvalidStateException, IncorrectKeyMaterialException."""
    waiting = _waiting(key, known)
    if waiting is not None and waiting.import_state == _HERE:
        raise KMSInvalidStateException(
            f"New key material (id: {name}) cannot be imported into KMS key {key.arn}, because another key material "
            f"(id: {waiting.material_id}) is pending rotation."
        )
    if any(each.material_id == name and each is not waiting for each in known):
        raise IncorrectKeyMaterialException("The key material is already associated with the key.")
    return key.material_version + 1


def _before(known: Sequence[Material], name: str) -> Material:
    """The place of material that was there before. Raises IncorrectKeyMaterialException."""
    found = next((each for each in known if each.material_id == name), None)
    if found is None:
        raise IncorrectKeyMaterialException("The key material is not the same that was imported before.")
    return found


async def _forget(house: House, tx: Transaction, key: Key, material: Material) -> None:
    gone = replace(material, import_state=_MISSING, expiration_model=None, valid_to=None)
    await materials.put(house, tx, key, b"", gone)


async def _settle(tx: Transaction, key: Key) -> Key:
    """Bring state, version and expiration of the key in line with its materials; the key as it is kept."""
    store = KeyStore(tx, key.account_id, key.region)
    version = max(key.material_version, 1)
    needed = [each for each in await store.materials(key.key_id) if each.version <= version]
    state = key.state
    if not needed:
        return key
    if any(each.import_state == _MISSING for each in needed):
        if state not in (KeyState.PENDING_DELETION, KeyState.PENDING_REPLICA_DELETION):
            state = KeyState.PENDING_IMPORT
        settled = replace(key, state=state, material_version=version, expiration_model=None, valid_to=None)
    else:
        if state is KeyState.PENDING_IMPORT:
            state = KeyState.ENABLED
        ends = [each.valid_to for each in needed if each.valid_to is not None]
        settled = replace(
            key,
            state=state,
            material_version=version,
            expiration_model=_EXPIRES if ends else _LASTS,
            valid_to=min(ends, default=None),
        )
    await store.save(settled)
    return settled
