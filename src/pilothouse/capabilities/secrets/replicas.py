"""Secrets in several regions: what a replica has, it has from its primary, in the same transaction."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from pilothouse.call import House
from pilothouse.capabilities.secrets.model import (
    DAY_MS,
    DEFAULT_KEY,
    DecryptionFailure,
    EncryptionFailure,
    InvalidParameterException,
    Replica,
    Secret,
)
from pilothouse.capabilities.secrets.sealing import seal_for, unseal_for
from pilothouse.capabilities.secrets.store import SecretStore
from pilothouse.errors import AccessDeniedException
from pilothouse.storage import Transaction

IN_SYNC: Final = "InSync"
FAILED: Final = "Failed"
_NO_REGION: Final = "Invalid replica region."
_REGION: Final = re.compile(r"[a-z]{2}(?:-[a-z]+)+-\d")


def check_region(region: str) -> None:
    """Raises InvalidParameterException for what names no region."""
    if not _REGION.fullmatch(region):
        raise InvalidParameterException(_NO_REGION)


def check_regions(secret_region: str, asked: Sequence[Mapping[str, str]]) -> list[Replica]:
    """Where a secret is to be replicated to. Raises InvalidParameterException."""
    found: dict[str, Replica] = {}
    for each in asked:
        region = each.get("Region") or ""
        if not _REGION.fullmatch(region) or region == secret_region or region in found:
            raise InvalidParameterException(_NO_REGION)
        key_ref = each.get("KmsKeyId")
        found[region] = Replica(
            region=region, key_ref=None if key_ref in (None, "", DEFAULT_KEY) else key_ref, status=IN_SYNC
        )
    return list(found.values())


async def replicate(house: House, tx: Transaction, secret: Secret, wanted: Sequence[Replica], *, force: bool) -> Secret:
    """Make the replicas; the secret as the primary that it is now. What cannot be made is noted as failed."""
    store = SecretStore(tx, secret.account_id, secret.region)
    if secret.primary_region is None:
        secret = replace(secret, primary_region=secret.region)
        await store.save(secret)
    for each in wanted:
        there = SecretStore(tx, secret.account_id, each.region)
        await there.lock(secret.name)
        taken = await there.secret(secret.name)
        if taken is not None and not force:
            why = f"Replication failed: Secret name {secret.name} already exists in region {each.region}."
            await store.put_replica(secret.name, replace(each, status=FAILED, message=why))
            continue
        if taken is not None:
            await there.remove(secret.name)
        await there.add(replace(_alike(secret, each), accessed_on=None))
        await store.put_replica(secret.name, each)
    await keep_alike(house, tx, secret)
    return secret


def _alike(secret: Secret, replica: Replica) -> Secret:
    return replace(secret, region=replica.region, key_ref=replica.key_ref, rotates_at=None)


async def keep_alike(house: House, tx: Transaction, secret: Secret) -> None:
    """Give every replica of a primary what the primary has. One whose key cannot be used is noted as failed."""
    store = SecretStore(tx, secret.account_id, secret.region)
    for replica in await store.replicas(secret.name):
        there = SecretStore(tx, secret.account_id, replica.region)
        kept = await there.secret(secret.name)
        if kept is None or kept.suffix != secret.suffix or not kept.is_replica:
            continue  # another secret has the name there
        await tx.execute("savepoint replica")
        try:
            await _copy(house, tx, secret, _alike(secret, replica))
        except (DecryptionFailure, EncryptionFailure, AccessDeniedException) as error:
            await tx.execute("rollback to savepoint replica")
            await store.put_replica(secret.name, replace(replica, status=FAILED, message=error.message))
            continue
        await tx.execute("release savepoint replica")
        if replica.status != IN_SYNC:
            await store.put_replica(secret.name, replace(replica, status=IN_SYNC, message=""))


async def _copy(house: House, tx: Transaction, secret: Secret, replica: Secret) -> None:
    """Labels, the versions that have any, tags, policy, and what describes the secret."""
    here = SecretStore(tx, secret.account_id, secret.region)
    there = SecretStore(tx, replica.account_id, replica.region)
    stages = await here.stages(secret.name)
    for version_id in dict.fromkeys(stages.values()):
        version = await here.version(secret.name, version_id)
        known = await there.version(replica.name, version_id)
        if version is None or (known is not None and known.has_value is version.has_value):
            continue
        sealed = b""
        if version.has_value:
            value = await unseal_for(house, tx, secret, version)
            sealed = await seal_for(house, tx, replica, version_id, value)
        copied = replace(version, sealed=sealed, key_ref=replica.key_ref, accessed_on=None)
        await (there.add_version if known is None else there.give_value)(replica.name, copied)
    await there.set_stages(replica.name, stages, await there.stages(replica.name))
    upto = secret.versions_made - house.settings.secrets.unlabelled_versions
    await there.forget_unlabelled(replica.name, upto=upto, before=house.clock.millis() - DAY_MS)
    await there.set_tags(replica.name, await here.tags(secret.name))
    await there.set_policy(replica, await here.policy(secret.name))
    await there.save(replica)


async def remove_replica(tx: Transaction, secret: Secret, region: str) -> None:
    """Take a region from a primary; what is there under the name goes if it is the primary's."""
    await SecretStore(tx, secret.account_id, secret.region).remove_replica(secret.name, region)
    there = SecretStore(tx, secret.account_id, region)
    await there.lock(secret.name)
    kept = await there.secret(secret.name)
    if kept is not None and kept.suffix == secret.suffix and kept.is_replica:
        await there.remove(secret.name)


def told(replicas: Sequence[Replica], accessed: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """The ReplicationStatus of an answer. `accessed`: when the replica of a region was last read."""
    return [
        {
            "Region": each.region,
            "KmsKeyId": each.key_ref or DEFAULT_KEY,
            "Status": each.status,
            "StatusMessage": each.message or None,
            "LastAccessedDate": (accessed or {}).get(each.region),
        }
        for each in replicas
    ]
