"""CreateSecret, DescribeSecret, DeleteSecret, RestoreSecret, TagResource, UntagResource."""

import string
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from pilothouse.call import Call, Caller, Shape, operation
from pilothouse.capabilities.secrets.changes import changed, happened
from pilothouse.capabilities.secrets.conditions import of_request, of_value
from pilothouse.capabilities.secrets.describing import described
from pilothouse.capabilities.secrets.finding import MARKED_ALREADY, found, locked
from pilothouse.capabilities.secrets.model import (
    DAY_MS,
    DEFAULT_KEY,
    TAGS,
    InvalidParameterException,
    InvalidRequestException,
    LimitExceededException,
    ResourceExistsException,
    ResourceNotFoundException,
    Secret,
    arn,
    check_name,
    references,
)
from pilothouse.capabilities.secrets.naming import named
from pilothouse.capabilities.secrets.replicas import check_regions, replicate, told
from pilothouse.capabilities.secrets.store import SecretStore
from pilothouse.capabilities.secrets.versions import given_value, put_version, same_value
from pilothouse.runtime.clock import from_millis
from pilothouse.storage import Transaction

_WINDOW_DAYS: Final = range(7, 31)
_USUAL_WINDOW: Final = 30
_TOO_MANY_TAGS: Final = f"A secret can have at most {TAGS} tags."
_SUFFIX: Final = string.ascii_letters + string.digits


@operation("secretsmanager", "CreateSecret", writes=True, resources=named, conditions=of_value)
async def create_secret(call: Call, request: Shape) -> Shape:
    """A new secret, with a first value if one is given. Repeated with its token and value it answers the same."""
    name = request["Name"]
    check_name(name)
    value = given_value(request)
    replicas = check_regions(call.region, request.get("AddReplicaRegions") or [])
    if "CrossAccountPrimaryARN" in request:
        raise InvalidRequestException("Secrets are not replicated between the accounts of this installation.")
    async with call.transaction() as tx:
        store = SecretStore(tx, call.account_id, call.region)
        await store.lock(name)
        secret = await store.secret(name)
        if secret is not None:
            return await _created_before(call, tx, store, secret, request)
        now = call.clock.millis()
        tags = _by_key(request.get("Tags") or [])
        if len(tags) > TAGS:
            raise LimitExceededException(_TOO_MANY_TAGS)
        secret = Secret(
            account_id=call.account_id,
            region=call.region,
            name=name,
            suffix=new_suffix(call),
            description=request.get("Description") or "",
            key_ref=_own_key(request.get("KmsKeyId")),
            created_at=now,
            changed_at=now,
            accessed_on=None,
            purge_at=None,
            ever_tagged=bool(tags),
            versions_made=0,
            kind=request.get("Type") or None,
        )
        await store.add(secret)
        await store.set_tags(name, tags)
        answer: Shape = {"ARN": secret.arn, "Name": name}
        if value is not None:
            secret, _ = await put_version(call, tx, secret, request, value, None)
            answer["VersionId"] = request["ClientRequestToken"]
        if replicas:
            force = request.get("ForceOverwriteReplicaSecret") or False
            secret = await replicate(call.house, tx, secret, replicas, force=force)
            answer["ReplicationStatus"] = told(await store.replicas(name))
        await changed(call.house, tx, secret, "Create", version=answer.get("VersionId"))
    return answer


async def _created_before(call: Call, tx: Transaction, store: SecretStore, secret: Secret, request: Shape) -> Shape:
    """The first answer again, or the reason why the name can't be had."""
    if secret.purge_at is not None:
        raise InvalidRequestException(
            "You can't create this secret because a secret with this name is already scheduled for deletion."
        )
    token = request.get("ClientRequestToken") or ""
    version = await store.version(secret.name, token)
    value = given_value(request)
    if version is None or value is None:
        raise ResourceExistsException(f"The operation failed because the secret {secret.name} already exists.")
    await same_value(call, tx, secret, version, value)
    return {"ARN": secret.arn, "Name": secret.name, "VersionId": token}


def new_suffix(call: Call) -> str:
    """The six characters behind the name in an ARN."""
    drawn = call.ids.random_bytes(64)
    fair = [each for each in drawn if each < 248]  # 248 is a multiple of 62: each character is equally likely
    return "".join(_SUFFIX[each % 62] for each in fair[:6])


def _own_key(key_ref: str | None) -> str | None:
    return None if key_ref in (None, "", DEFAULT_KEY) else key_ref


@operation(
    "secretsmanager", "DescribeSecret", callers=Caller.ACCOUNT | Caller.NODE, resources=named, conditions=of_request
)
async def describe_secret(call: Call, request: Shape) -> Shape:
    """What is known about a secret, but for its values. Members without a value are left out."""
    async with call.reading() as tx:
        store, secret = await found(call, tx, request["SecretId"], "DescribeSecret")
        stages = await store.stages(secret.name)
        tags = await store.tags(secret.name)
        answer = described(secret, stages, tags, "VersionIdsToStages")
        if secret.primary_region == secret.region:
            replicas = await store.replicas(secret.name)
            read = {}
            for each in replicas:
                there = await SecretStore(tx, secret.account_id, each.region).secret(secret.name)
                if there is not None and there.is_replica and there.accessed_on is not None:
                    read[each.region] = from_millis(there.accessed_on)
            answer["ReplicationStatus"] = told(replicas, read) or None
    return answer


@operation("secretsmanager", "DeleteSecret", writes=True, resources=named, conditions=of_request)
async def delete_secret(call: Call, request: Shape) -> Shape:
    """Mark a secret for deletion after its recovery window, or remove it at once."""
    secret_id = request["SecretId"]
    force = request.get("ForceDeleteWithoutRecovery") or False
    window = request.get("RecoveryWindowInDays")
    if not secret_id.startswith("arn:"):
        check_name(secret_id)
    if window is not None and window not in _WINDOW_DAYS:
        raise InvalidParameterException("The RecoveryWindowInDays value must be between 7 and 30 days (inclusive).")
    if force and window is not None:
        raise InvalidParameterException(
            "You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays."
        )
    now = call.clock.millis()
    async with call.transaction() as tx:
        try:
            store, secret = await locked(call, tx, secret_id, "DeleteSecret", marked_too=True)
        except ResourceNotFoundException:
            if not force:
                raise
            name = references(secret_id, call.account_id, call.region)[0].name
            made_up = arn(call.account_id, call.region, name, new_suffix(call))
            return {"ARN": made_up, "Name": name, "DeletionDate": from_millis(now)}
        regions = [each.region for each in await store.replicas(secret.name)]
        if regions:
            raise InvalidParameterException(
                f"You can't delete secret {secret_id} that still has replica regions [{', '.join(regions)}]"
            )
        if force:
            await store.remove(secret.name)
            await changed(call.house, tx, secret, "Delete")
            due = now
        elif secret.purge_at is not None:
            raise InvalidRequestException(MARKED_ALREADY)
        else:
            due = now + (window or _USUAL_WINDOW) * DAY_MS
            secret = replace(secret, purge_at=due)
            await store.save(secret)
            await changed(call.house, tx, secret, "ScheduleDeletion")
            await happened(call.house, tx, secret, "StartSecretVersionDelete")
    return {"ARN": secret.arn, "Name": secret.name, "DeletionDate": from_millis(due)}


@operation("secretsmanager", "RestoreSecret", writes=True, resources=named, conditions=of_request)
async def restore_secret(call: Call, request: Shape) -> Shape:
    """Take a secret's mark for deletion off; on an active secret nothing changes."""
    async with call.transaction() as tx:
        store, secret = await locked(call, tx, request["SecretId"], "RestoreSecret", marked_too=True)
        if secret.purge_at is not None:
            secret = replace(secret, purge_at=None)
            await store.save(secret)
            await changed(call.house, tx, secret, "Restore")
            await happened(call.house, tx, secret, "CancelSecretVersionDelete")
    return {"ARN": secret.arn, "Name": secret.name}


@operation("secretsmanager", "TagResource", writes=True, resources=named, conditions=of_request)
async def tag_resource(call: Call, request: Shape) -> Shape:
    """Add tags; one with the same key gets the new value and keeps its place."""
    async with call.transaction() as tx:
        store, secret = await locked(call, tx, request["SecretId"], "TagResource")
        await store.set_tags(secret.name, await _with(store, secret, request["Tags"]))
        secret = replace(secret, ever_tagged=secret.ever_tagged or bool(request["Tags"]))
        await store.save(secret)
        await changed(call.house, tx, secret, "Tag")
    return {}


async def _with(store: SecretStore, secret: Secret, added: Sequence[Mapping[str, str]]) -> dict[str, str]:
    tags = (await store.tags(secret.name)) | _by_key(added)
    if len(tags) > TAGS:  # a limit that TagResource has no error of its own for
        raise InvalidParameterException(_TOO_MANY_TAGS)
    return tags


@operation("secretsmanager", "UntagResource", writes=True, resources=named, conditions=of_request)
async def untag_resource(call: Call, request: Shape) -> Shape:
    """Remove tags by key; a key that is not there is no error."""
    async with call.transaction() as tx:
        store, secret = await locked(call, tx, request["SecretId"], "UntagResource")
        gone = set(request["TagKeys"])
        tags = await store.tags(secret.name)
        await store.set_tags(secret.name, {key: value for key, value in tags.items() if key not in gone})
        await changed(call.house, tx, secret, "Untag")
    return {}


def _by_key(tags: Sequence[Mapping[str, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for tag in tags:
        key = tag.get("Key")
        if not key:
            raise InvalidParameterException("You must provide a Key for each tag.")
        if key.lower().startswith("aws:"):
            raise InvalidParameterException("Tag keys that begin with aws: are reserved.")
        if key in found:
            raise InvalidParameterException(f"The tag key {key} is given twice.")
        found[key] = tag.get("Value") or ""
    return found
