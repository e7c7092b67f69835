"""ReplicateSecretToRegions, RemoveRegionsFromReplication, StopReplicationToReplica, and what is not done between
accounts."""

from dataclasses import replace

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities.secrets.changes import changed
from pilothouse.capabilities.secrets.conditions import of_request
from pilothouse.capabilities.secrets.finding import locked
from pilothouse.capabilities.secrets.model import InvalidParameterException, InvalidRequestException
from pilothouse.capabilities.secrets.naming import named
from pilothouse.capabilities.secrets.replicas import check_region, check_regions, remove_replica, replicate, told
from pilothouse.capabilities.secrets.scheduling import reschedule
from pilothouse.capabilities.secrets.store import SecretStore

_WITHIN: str = "Secrets are not replicated between the accounts of this installation."


@operation("secretsmanager", "ReplicateSecretToRegions", writes=True, resources=named, conditions=of_request)
async def replicate_secret_to_regions(call: Call, request: Shape) -> Shape:
    """The secret in more regions."""
    async with call.transaction() as tx:
        store, secret = await locked(call, tx, request["SecretId"], "ReplicateSecretToRegions")
        wanted = check_regions(secret.region, request["AddReplicaRegions"])
        known = {each.region for each in await store.replicas(secret.name) if each.status == "InSync"}
        for each in wanted:
            if each.region in known:
                raise InvalidParameterException(f"The secret is already replicated to the region {each.region}.")
        force = request.get("ForceOverwriteReplicaSecret") or False
        secret = await replicate(call.house, tx, secret, wanted, force=force)
        await changed(call.house, tx, secret, "Replicate", regions=[each.region for each in wanted])
        status = told(await store.replicas(secret.name))
    return {"ARN": secret.arn, "ReplicationStatus": status}


@operation("secretsmanager", "RemoveRegionsFromReplication", writes=True, resources=named, conditions=of_request)
async def remove_regions_from_replication(call: Call, request: Shape) -> Shape:
    """Remove the secret from other regions; one where it is not is no error."""
    for region in request["RemoveReplicaRegions"]:
        check_region(region)
    async with call.transaction() as tx:
        store, secret = await locked(call, tx, request["SecretId"], "RemoveRegionsFromReplication", marked_too=True)
        known = {each.region for each in await store.replicas(secret.name)}
        for region in known & set(request["RemoveReplicaRegions"]):
            await remove_replica(tx, secret, region)
        left = await store.replicas(secret.name)
        if not left:
            secret = replace(secret, primary_region=None)
            await store.save(secret)
        await changed(call.house, tx, secret, "Replicate", removed=list(request["RemoveReplicaRegions"]))
    return {"ARN": secret.arn, "ReplicationStatus": told(left)}


@operation("secretsmanager", "StopReplicationToReplica", writes=True, resources=named, conditions=of_request)
async def stop_replication_to_replica(call: Call, request: Shape) -> Shape:
    """Make a replica a secret by itself. Asked in the replica's region."""
    async with call.transaction() as tx:
        store, secret = await locked(call, tx, request["SecretId"], "StopReplicationToReplica", replica_too=True)
        if not secret.is_replica or secret.primary_region is None:
            raise InvalidParameterException("The secret is not a replica. Call must be made in a replica's region.")
        primary = SecretStore(tx, secret.account_id, secret.primary_region)
        await primary.remove_replica(secret.name, secret.region)
        kept = await primary.secret(secret.name)
        if kept is not None and not await primary.replicas(secret.name):
            await primary.save(replace(kept, primary_region=None))
        secret = replace(secret, primary_region=None, changed_at=call.clock.millis())
        await store.save(secret)
        await reschedule(call.house, tx, secret)
        await changed(call.house, tx, secret, "Promote")
    return {"ARN": secret.arn}


@operation("secretsmanager", "AssociateCrossAccountReplica", writes=True, resources=named, conditions=of_request)
async def associate_cross_account_replica(call: Call, request: Shape) -> Shape:
    """Another account shares a secret by its resource policy instead."""
    async with call.transaction() as tx:
        await locked(call, tx, request["SecretId"], "AssociateCrossAccountReplica")
    raise InvalidRequestException(_WITHIN)


@operation("secretsmanager", "DisassociateCrossAccountReplica", writes=True, resources=named, conditions=of_request)
async def disassociate_cross_account_replica(call: Call, request: Shape) -> Shape:
    """As AssociateCrossAccountReplica."""
    async with call.transaction() as tx:
        await locked(call, tx, request["SecretId"], "DisassociateCrossAccountReplica")
    raise InvalidRequestException(_WITHIN)
