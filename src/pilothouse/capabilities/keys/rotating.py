"""EnableKeyRotation, DisableKeyRotation, GetKeyRotationStatus, ListKeyRotations, RotateKeyOnDemand.

A rotation adds material that encrypts from then on; the older ones stay for what they encrypted.
"""

from dataclasses import replace

from pilothouse.call import Call, House, Shape, operation
from pilothouse.capabilities.keys import finding, importing, materials
from pilothouse.capabilities.keys.errors import (
    LimitExceededException,
    UnsupportedOperationException,
)
from pilothouse.capabilities.keys.metadata import moment
from pilothouse.capabilities.keys.model import SYMMETRIC, Key, KeyState, Material, Origin
from pilothouse.capabilities.keys.paging import page, position
from pilothouse.capabilities.keys.store import KeyStore
from pilothouse.errors import ValidationException
from pilothouse.storage import Transaction

DAY_MS = 86_400_000
ON_DEMAND_LIMIT = 25
_DEFAULT_DAYS = 365


@operation("kms", "EnableKeyRotation", asks_itself=True, writes=True)
async def enable_key_rotation(call: Call, request: Shape) -> Shape:
    """The key rotates by itself every so many days, first that many days from now."""
    days = request.get("RotationPeriodInDays")
    if days is not None and not 90 <= days <= 2560:
        raise ValidationException("RotationPeriodInDays must be between 90 and 2560.")
    async with call.transaction() as tx:
        key = await finding.locked(call, tx, request["KeyId"], "kms:EnableKeyRotation", request)
        _check_rotates(key)
        key.check_state()
        period = days or key.rotation_days or _DEFAULT_DAYS
        if key.rotation_days == period:
            return {}
        store = KeyStore(tx, key.account_id, key.region)
        await store.save(replace(key, rotation_days=period, next_rotation_at=call.clock.millis() + period * DAY_MS))
        return {}


@operation("kms", "DisableKeyRotation", asks_itself=True, writes=True)
async def disable_key_rotation(call: Call, request: Shape) -> Shape:
    """The key rotates no more by itself."""
    async with call.transaction() as tx:
        key = await finding.locked(call, tx, request["KeyId"], "kms:DisableKeyRotation", request)
        _check_rotates(key)
        key.check_state()
        await KeyStore(tx, key.account_id, key.region).save(replace(key, rotation_days=None, next_rotation_at=None))
    return {}


@operation("kms", "GetKeyRotationStatus", asks_itself=True)
async def get_key_rotation_status(call: Call, request: Shape) -> Shape:
    """Whether and when the key rotates by itself, a replica with its primary; not while it waits to be deleted."""
    async with call.reading() as tx:
        key = leading = await finding.asked(call, tx, request["KeyId"], "kms:GetKeyRotationStatus", request)
        if key.multi_region and not key.is_primary:
            relatives = await KeyStore(tx, key.account_id, key.region).in_all_regions(key.key_id)
            leading = next((each for each in relatives if each.is_primary), key)
    pending = key.state in (KeyState.PENDING_DELETION, KeyState.PENDING_REPLICA_DELETION)
    rotates = leading.rotation_days is not None and not pending
    status: Shape = {"KeyId": key.arn, "KeyRotationEnabled": rotates}
    if rotates and leading.next_rotation_at is not None:
        status["RotationPeriodInDays"] = leading.rotation_days
        status["NextRotationDate"] = moment(leading.next_rotation_at)
    return status


@operation("kms", "ListKeyRotations", asks_itself=True)
async def list_key_rotations(call: Call, request: Shape) -> Shape:
    """The rotations that were completed, or every material, the oldest first."""
    query = f"ListKeyRotations {request['KeyId']} {request.get('IncludeKeyMaterial', '')}"
    limit = request.get("Limit", 100)
    after = int(position(call, query, request) or 0)
    async with call.reading() as tx:
        key = await finding.asked(call, tx, request["KeyId"], "kms:ListKeyRotations", request)
        if key.key_spec != SYMMETRIC:
            raise UnsupportedOperationException
        found = await KeyStore(tx, key.account_id, key.region).materials(key.key_id)
        everything = request.get("IncludeKeyMaterial") == "ALL_KEY_MATERIAL"
        listed = [each for each in found if each.version > after and (everything or each.rotated_at is not None)]
        waits = await importing.waits_for_regions(tx, key, found)
        shown = [await _told(call.house, tx, key, each, waits=waits) for each in listed[:limit]]
    return page(call, query, {"Rotations": shown}, str(listed[limit - 1].version) if len(listed) > limit else None)


@operation("kms", "RotateKeyOnDemand", asks_itself=True, writes=True)
async def rotate_key_on_demand(call: Call, request: Shape) -> Shape:
    """Other material from now on, a limited number of times; the rotations by themselves keep their dates."""
    async with call.transaction() as tx:
        key = await finding.locked(call, tx, request["KeyId"], "kms:RotateKeyOnDemand", request)
        key.check_state()
        if key.key_spec != SYMMETRIC:
            raise UnsupportedOperationException
        if key.multi_region and not key.is_primary:
            raise UnsupportedOperationException(f"{key.arn} is not a multi-region primary key.")
        if key.on_demand_rotations >= ON_DEMAND_LIMIT:
            raise LimitExceededException(
                "The on-demand rotations limit has been reached for the given keyId. "
                f"No more on-demand rotations can be performed for this key: {key.arn}"
            )
        counted = replace(key, on_demand_rotations=key.on_demand_rotations + 1)
        if key.origin is Origin.EXTERNAL:
            await importing.activate(tx, counted, call.clock.millis())
        else:
            await rotate(call.house, tx, counted, "ON_DEMAND")
    return {"KeyId": key.arn}


async def rotate(house: House, tx: Transaction, key: Key, kind: str) -> Key:
    """Give a locked key and its replicas new material; `kind` is AUTOMATIC or ON_DEMAND. The key as it is kept."""
    now = house.clock.millis()
    plaintext = await materials.generate(house, key.key_spec, key.key_usage)
    material = Material(version=key.material_version + 1, created_at=now, rotation_type=kind, rotated_at=now)
    replicas = []
    if key.multi_region:
        relatives = await KeyStore(tx, key.account_id, key.region).in_all_regions(key.key_id)
        replicas = finding.relatives(relatives, key)
    for each in [key, *replicas]:
        await materials.put(house, tx, each, plaintext, material)
        rotated = replace(each, material_version=material.version, rotated_at=now)
        await KeyStore(tx, each.account_id, each.region).save(rotated)
    return replace(key, material_version=material.version, rotated_at=now)


def _check_rotates(key: Key) -> None:
    if key.key_spec != SYMMETRIC:
        raise UnsupportedOperationException
    if key.origin is not Origin.AWS_KMS:
        raise UnsupportedOperationException(f"{key.arn} origin is {key.origin} which is not valid for this operation.")
    if key.multi_region and not key.is_primary:
        raise UnsupportedOperationException(f"{key.arn} is not a multi-region primary key.")
    if key.state in (KeyState.PENDING_DELETION, KeyState.PENDING_REPLICA_DELETION):
        key.check_state()


async def _told(house: House, tx: Transaction, key: Key, material: Material, *, waits: bool) -> Shape:
    """One entry of the list; `waits`: the next material is not in every region yet."""
    name = material.material_id or (await materials.cipher(house, tx, key, material.version))[1]
    state = "CURRENT" if material.version == key.material_version else "NON_CURRENT"
    if material.version > key.material_version:
        state = "PENDING_MULTI_REGION_IMPORT_AND_ROTATION" if waits else "PENDING_ROTATION"
    told: Shape = {
        "KeyId": key.arn,
        "KeyMaterialId": name,
        "KeyMaterialState": state,
    }
    optional = {
        "KeyMaterialDescription": material.description or None,
        "ImportState": material.import_state,
        "ExpirationModel": material.expiration_model,
        "ValidTo": None if material.valid_to is None else moment(material.valid_to),
        "RotationDate": None if material.rotated_at is None else moment(material.rotated_at),
        "RotationType": material.rotation_type,
    }
    return told | {name: value for name, value in optional.items() if value is not None}
