"""ReplicateKey, UpdatePrimaryRegion: multi-region keys, which have one id and one material in several regions."""

import re
from dataclasses import replace
from typing import Final

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities.keys import conditions, finding, importing, materials, policies, tagging
from pilothouse.capabilities.keys.errors import AlreadyExistsException, UnsupportedOperationException
from pilothouse.capabilities.keys.metadata import metadata
from pilothouse.capabilities.keys.model import Key, KeyState, Origin, key_arn
from pilothouse.capabilities.keys.store import KeyStore
from pilothouse.errors import ValidationException
from pilothouse.identity.authorise import ask_each
from pilothouse.storage import Transaction

_REGION: Final = re.compile(r"[a-z]{2}(?:-[a-z]+)+-\d")


@operation("kms", "ReplicateKey", asks_itself=True, writes=True)
async def replicate_key(call: Call, request: Shape) -> Shape:
    """The key in one more region."""
    region = request["ReplicaRegion"]
    async with call.transaction() as tx:
        primary = await finding.locked(call, tx, request["KeyId"], "kms:ReplicateKey", request)
        if not primary.multi_region or not primary.is_primary:
            raise UnsupportedOperationException(f"{primary.arn} is not a multi-region primary key.")
        if not _REGION.fullmatch(region) or region == primary.region:
            raise ValidationException(f"The region {region} cannot hold a replica of {primary.arn}.")
        primary.check_state()
        await _ask_there(call, tx, request)
        store = KeyStore(tx, primary.account_id, region)
        if await store.key(primary.key_id) is not None:
            raise AlreadyExistsException(f"Key {key_arn(primary.account_id, region, primary.key_id)} already exists")
        external = primary.origin is Origin.EXTERNAL
        replica = replace(
            primary,
            region=region,
            state=KeyState.PENDING_IMPORT if external else KeyState.ENABLED,
            description=request.get("Description", ""),
            created_at=call.clock.millis(),
            deletion_at=None,
            pending_days=None,
            rotation_days=None,
            next_rotation_at=None,
            on_demand_rotations=0,
            policy="",
            expiration_model=None,
            valid_to=None,
        )
        if policy := request.get("Policy"):
            bypass = request.get("BypassPolicyLockoutSafetyCheck", False)
            replica = replace(replica, policy=policies.checked(call, replica, policy, bypass=bypass))
        await store.add(replica)
        for material in await KeyStore(tx, primary.account_id, primary.region).materials(primary.key_id):
            if external:
                await importing.expect(call.house, tx, replica, material)
                continue
            plaintext = await materials.opened(call.house, tx, primary, material.version)
            await materials.put(call.house, tx, replica, plaintext, material)
        await tagging.put(tx, replica, request.get("Tags", []))
        told = await metadata(call.house, tx, replica)
        tags = request.get("Tags", [])
    if not external:  # the answer tells of the moment before the replica is ready, as the service does
        told |= {"Enabled": False, "KeyState": KeyState.CREATING.value}
        told.pop("CurrentKeyMaterialId", None)
    answer: Shape = {"ReplicaKeyMetadata": told, "ReplicaPolicy": policies.text_of(replica)}
    return answer | ({"ReplicaTags": tags} if tags else {})


async def _ask_there(call: Call, tx: Transaction, request: Shape) -> None:
    """In the replica's region a key is made, and gets tags. Raises AccessDeniedException."""
    region = request["ReplicaRegion"]
    context = {**conditions.of_request(call, request), "aws:RequestedRegion": region}
    await ask_each(call, tx, "kms:CreateKey", ["*"], context)
    if request.get("Tags"):
        await tagging.ask_for_new(call, tx, region, request)


@operation("kms", "UpdatePrimaryRegion", asks_itself=True, writes=True)
async def update_primary_region(call: Call, request: Shape) -> Shape:
    """A replica becomes the primary, which becomes a replica. What rotates the key goes with it."""
    region = request["PrimaryRegion"]
    async with call.transaction() as tx:
        primary = await finding.locked(call, tx, request["KeyId"], "kms:UpdatePrimaryRegion", request)
        if not primary.multi_region or not primary.is_primary:
            raise UnsupportedOperationException(f"{primary.arn} is not a multi-region primary key.")
        if region == primary.region:
            raise ValidationException(f"{primary.arn} is the primary key already.")
        relatives = await KeyStore(tx, primary.account_id, primary.region).in_all_regions(primary.key_id)
        chosen = next((each for each in relatives if each.region == region), None)
        if chosen is None:
            raise UnsupportedOperationException(f"{primary.arn} has no replica in {region}.")
        for each in relatives:
            if each.region in (primary.region, region):
                each.check_state()
            await _save_moved(KeyStore(tx, each.account_id, each.region), each, primary, region)
    return {}


async def _save_moved(store: KeyStore, key: Key, primary: Key, region: str) -> None:
    leads = key.region == region
    await store.save(
        replace(
            key,
            primary_region=region,
            rotation_days=primary.rotation_days if leads else None,
            next_rotation_at=primary.next_rotation_at if leads else None,
            on_demand_rotations=primary.on_demand_rotations if leads else key.on_demand_rotations,
        )
    )
