"""CreateKey, DescribeKey, ListKeys, UpdateKeyDescription, EnableKey, DisableKey, key deletion."""

from dataclasses import replace

from pilothouse.call import Call, Caller, Shape, operation
from pilothouse.capabilities.keys import (
    asymmetric,
    conditions,
    custom_stores,
    finding,
    importing,
    materials,
    policies,
    tagging,
)
from pilothouse.capabilities.keys.errors import KMSInvalidStateException
from pilothouse.capabilities.keys.metadata import metadata, moment
from pilothouse.capabilities.keys.model import (
    SYMMETRIC,
    Key,
    KeyState,
    KeyUsage,
    Origin,
    check_spec_and_usage,
    key_arn,
)
from pilothouse.capabilities.keys.paging import page, position
from pilothouse.capabilities.keys.store import KeyStore
from pilothouse.errors import ValidationException

_DAY_MS = 86_400_000


async def _first_material(call: Call, request: Shape) -> bytes | None:
    """The new key's material, unless it is to be imported. An RSA key takes its time."""
    spec, usage, origin = _kind(request)
    return None if origin is Origin.EXTERNAL else await materials.generate(call.house, spec, usage)


def _kind(request: Shape) -> tuple[str, KeyUsage, Origin]:
    """Spec, usage and origin of the new key. Raises ValidationException and what else refuses them."""
    spec = request.get("KeySpec") or request.get("CustomerMasterKeySpec") or SYMMETRIC
    if "KeySpec" in request and "CustomerMasterKeySpec" in request:
        raise ValidationException(
            "You cannot specify KeySpec and CustomerMasterKeySpec in the same request. "
            "CustomerMasterKeySpec is deprecated."
        )
    usage = check_spec_and_usage(spec, request.get("KeyUsage"))
    origin = Origin(request.get("Origin", Origin.AWS_KMS))
    _check_store(request, origin)
    asymmetric.check_available(spec)
    return spec, usage, origin


@operation("kms", "CreateKey", writes=True, prepare=_first_material, conditions=conditions.of_new_key)
async def create_key(call: Call, request: Shape) -> Shape:
    """A new key; one of origin EXTERNAL waits for its material."""
    spec, usage, origin = _kind(request)
    multi_region = request.get("MultiRegion", False)
    key = Key(
        account_id=call.account_id,
        region=call.region,
        key_id=f"mrk-{call.ids.random_bytes(16).hex()}" if multi_region else call.ids.uuid(),
        state=KeyState.PENDING_IMPORT if origin is Origin.EXTERNAL else KeyState.ENABLED,
        manager="CUSTOMER",
        description=request.get("Description", ""),
        material_version=0,
        created_at=call.clock.millis(),
        key_spec=spec,
        key_usage=usage,
        origin=origin,
        primary_region=call.region if multi_region else None,
    )
    if policy := request.get("Policy"):
        bypass = request.get("BypassPolicyLockoutSafetyCheck", False)
        key = replace(key, policy=policies.checked(call, key, policy, bypass=bypass))
    async with call.transaction() as tx:
        if request.get("Tags"):
            await tagging.ask_for_new(call, tx, call.region, request)
        key = await finding.make(call.house, tx, key, call.prepared)
        await tagging.put(tx, key, request.get("Tags", []))
        return {"KeyMetadata": await metadata(call.house, tx, key)}


def _check_store(request: Shape, origin: Origin) -> None:
    """There are no custom key stores here."""
    store = request.get("CustomKeyStoreId")
    if store is not None:
        raise custom_stores.not_found(store)
    if origin in (Origin.AWS_CLOUDHSM, Origin.EXTERNAL_KEY_STORE):
        raise ValidationException(f"A CustomKeyStoreId is required when the Origin is {origin}.")
    if "XksKeyId" in request:
        raise ValidationException("XksKeyId is only valid when the Origin is EXTERNAL_KEY_STORE.")


@operation("kms", "DescribeKey", callers=Caller.ACCOUNT | Caller.NODE, asks_itself=True)
async def describe_key(call: Call, request: Shape) -> Shape:
    """What is known of a key."""
    await finding.ensure_service_key(call, request["KeyId"])
    async with call.reading() as tx:
        key = await finding.asked(call, tx, request["KeyId"], "kms:DescribeKey", request, aliases=True)
        return {"KeyMetadata": await metadata(call.house, tx, key)}


@operation("kms", "ListKeys")
async def list_keys(call: Call, request: Shape) -> Shape:
    """Every key of the account in the region, by id. Keys are not shared by way of RAM here."""
    owners = request.get("ResourceOwners", ["SELF"])
    query = f"ListKeys {' '.join(sorted(set(owners)))}"
    limit = request.get("Limit", 100)
    after = position(call, query, request)
    if "SELF" not in owners:
        return page(call, query, {"Keys": []}, None)
    async with call.reading() as tx:
        found = await KeyStore(tx, call.account_id, call.region).keys(after, limit + 1)
    keys = [{"KeyId": each, "KeyArn": key_arn(call.account_id, call.region, each)} for each in found[:limit]]
    return page(call, query, {"Keys": keys}, found[limit - 1] if len(found) > limit else None)


@operation("kms", "UpdateKeyDescription", asks_itself=True, writes=True)
async def update_key_description(call: Call, request: Shape) -> Shape:
    """Another description."""
    async with call.transaction() as tx:
        key = await finding.locked(call, tx, request["KeyId"], "kms:UpdateKeyDescription", request)
        _refuse_while_pending_deletion(key)
        await KeyStore(tx, key.account_id, key.region).save(replace(key, description=request["Description"]))
    return {}


@operation("kms", "EnableKey", asks_itself=True, writes=True)
async def enable_key(call: Call, request: Shape) -> Shape:
    """The key may be used again."""
    await _switch(call, request, "kms:EnableKey", KeyState.ENABLED)
    return {}


@operation("kms", "DisableKey", asks_itself=True, writes=True)
async def disable_key(call: Call, request: Shape) -> Shape:
    """The key is kept and may not be used."""
    await _switch(call, request, "kms:DisableKey", KeyState.DISABLED)
    return {}


async def _switch(call: Call, request: Shape, action: str, state: KeyState) -> None:
    async with call.transaction() as tx:
        key = await finding.locked(call, tx, request["KeyId"], action, request)
        if key.state not in (KeyState.ENABLED, KeyState.DISABLED):
            key.check_state()
        await KeyStore(tx, key.account_id, key.region).save(replace(key, state=state))


@operation("kms", "ScheduleKeyDeletion", asks_itself=True, writes=True)
async def schedule_key_deletion(call: Call, request: Shape) -> Shape:
    """The key goes after a waiting time, the primary of a multi-region key not before its replicas."""
    days = request.get("PendingWindowInDays", 30)
    if not 7 <= days <= 30:
        raise ValidationException("PendingWindowInDays must be between 7 and 30")
    async with call.transaction() as tx:
        key = await finding.locked(call, tx, request["KeyId"], "kms:ScheduleKeyDeletion", request)
        _refuse_while_pending_deletion(key)
        store = KeyStore(tx, key.account_id, key.region)
        waits = key.is_primary and len(await store.in_all_regions(key.key_id)) > 1
        state = KeyState.PENDING_REPLICA_DELETION if waits else KeyState.PENDING_DELETION
        deletion_at = None if waits else call.clock.millis() + days * _DAY_MS
        await store.save(replace(key, state=state, deletion_at=deletion_at, pending_days=days))
    answer: Shape = {"KeyId": key.arn, "KeyState": state.value, "PendingWindowInDays": days}
    if deletion_at is not None:
        answer["DeletionDate"] = moment(deletion_at)
    return answer


@operation("kms", "CancelKeyDeletion", asks_itself=True, writes=True)
async def cancel_key_deletion(call: Call, request: Shape) -> Shape:
    """The key stays; it is disabled, or waits again for the material that it has not."""
    async with call.transaction() as tx:
        key = await finding.locked(call, tx, request["KeyId"], "kms:CancelKeyDeletion", request)
        if key.state not in (KeyState.PENDING_DELETION, KeyState.PENDING_REPLICA_DELETION):
            raise KMSInvalidStateException(f"{key.arn} is not pending deletion.")
        waits = await importing.lacks_material(tx, key)
        state = KeyState.PENDING_IMPORT if waits else KeyState.DISABLED
        kept = replace(key, state=state, deletion_at=None, pending_days=None)
        await KeyStore(tx, key.account_id, key.region).save(kept)
    return {"KeyId": key.arn}


def _refuse_while_pending_deletion(key: Key) -> None:
    if key.state in (KeyState.PENDING_DELETION, KeyState.PENDING_REPLICA_DELETION):
        key.check_state()
