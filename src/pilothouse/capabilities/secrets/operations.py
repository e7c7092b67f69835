"""CreateSecret, DescribeSecret, DeleteSecret, RestoreSecret, TagResource, UntagResource."""

import string
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from pilothouse.call import Call, Caller, Shape, operation
from pilothouse.capabilities.secrets.conditions import of_request, of_value
from pilothouse.capabilities.secrets.finding import arn_of, found, locked
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
    labels_of,
    references,
)
from pilothouse.capabilities.secrets.naming import named
from pilothouse.capabilities.secrets.store import SecretStore
from pilothouse.capabilities.secrets.versions import given_value, put_version, same_value
from pilothouse.runtime.clock import from_millis
from pilothouse.storage import Transaction

_WINDOW_DAYS: Final = range(7, 31)
_USUAL_WINDOW: Final = 30
_SUFFIX: Final = string.ascii_letters + string.digits


@operation("secretsmanager", "CreateSecret", writes=True, resources=named, conditions=of_value)
async def create_secret(call: Call, request: Shape) -> Shape:
    """A new secret, with a first value if one is given. Repeated with its token and value it answers the same."""
    name = request["Name"]
    check_name(name)
    value = given_value(request)
    async with call.transaction() as tx:
        store = SecretStore(tx, call.account_id, call.region)
        await store.lock(name)
        secret = await store.secret(name)
        if secret is not None:
            return await _created_before(call, tx, store, secret, request)
        now = call.clock.millis()
        tags = _by_key(request.get("Tags") or [])
        secret = Secret(
            name=name,
            suffix=_suffix(call),
            description=request.get("Description") or "",
            key_ref=_own_key(request.get("KmsKeyId")),
            created_at=now,
            changed_at=now,
            accessed_on=None,
            purge_at=None,
            ever_tagged=bool(tags),
            versions_made=0,
        )
        await store.add(secret)
        await store.set_tags(name, tags)
        answer = {"ARN": arn_of(call, secret), "Name": name}
        if value is not None:
            answer["VersionId"] = await put_version(call, tx, secret, request, value, None)
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
    return {"ARN": arn_of(call, secret), "Name": secret.name, "VersionId": token}


def _suffix(call: Call) -> str:
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
        store = SecretStore(tx, call.account_id, call.region)
        secret = await found(call, store, request["SecretId"])
        stages = await store.stages(secret.name)
        tags = await store.tags(secret.name)
    by_version = {version_id: labels_of(stages, version_id) for version_id in stages.values()}
    return {
        "ARN": arn_of(call, secret),
        "Name": secret.name,
        "Description": secret.description or None,
        "KmsKeyId": secret.key_ref,
        "LastChangedDate": from_millis(secret.changed_at),
        "LastAccessedDate": None if secret.accessed_on is None else from_millis(secret.accessed_on),
        "DeletedDate": None if secret.purge_at is None else from_millis(secret.purge_at),
        "Tags": [{"Key": key, "Value": tags[key]} for key in tags] if secret.ever_tagged else None,
        "VersionIdsToStages": by_version or None,
        "CreatedDate": from_millis(secret.created_at),
    }


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
        store = SecretStore(tx, call.account_id, call.region)
        try:
            secret = await locked(call, store, secret_id, marked_too=True)
        except ResourceNotFoundException:
            if not force:
                raise
            name = references(secret_id, call.account_id, call.region)[0].name
            made_up = arn(call.account_id, call.region, name, _suffix(call))
            return {"ARN": made_up, "Name": name, "DeletionDate": from_millis(now)}
        if force:
            await store.remove(secret.name)
            due = now
        elif secret.purge_at is not None:
            raise InvalidRequestException(
                "You tried to perform the operation on a secret that's currently marked deleted."
            )
        else:
            due = now + (window or _USUAL_WINDOW) * DAY_MS
            await store.save(replace(secret, purge_at=due))
    return {"ARN": arn_of(call, secret), "Name": secret.name, "DeletionDate": from_millis(due)}


@operation("secretsmanager", "RestoreSecret", writes=True, resources=named, conditions=of_request)
async def restore_secret(call: Call, request: Shape) -> Shape:
    """Take a secret's mark for deletion off; on an active secret nothing changes."""
    async with call.transaction() as tx:
        store = SecretStore(tx, call.account_id, call.region)
        secret = await locked(call, store, request["SecretId"], marked_too=True)
        await store.save(replace(secret, purge_at=None))
    return {"ARN": arn_of(call, secret), "Name": secret.name}


@operation("secretsmanager", "TagResource", writes=True, resources=named, conditions=of_request)
async def tag_resource(call: Call, request: Shape) -> Shape:
    """Add tags; one with the same key gets the new value and keeps its place."""
    async with call.transaction() as tx:
        store = SecretStore(tx, call.account_id, call.region)
        secret = await locked(call, store, request["SecretId"])
        await store.set_tags(secret.name, await _with(store, secret, request["Tags"]))
        await store.save(replace(secret, ever_tagged=secret.ever_tagged or bool(request["Tags"])))
    return {}


async def _with(store: SecretStore, secret: Secret, added: Sequence[Mapping[str, str]]) -> dict[str, str]:
    tags = (await store.tags(secret.name)) | _by_key(added)
    if len(tags) > TAGS:
        raise LimitExceededException(f"A secret can have at most {TAGS} tags.")
    return tags


@operation("secretsmanager", "UntagResource", writes=True, resources=named, conditions=of_request)
async def untag_resource(call: Call, request: Shape) -> Shape:
    """Remove tags by key; a key that is not there is no error."""
    async with call.transaction() as tx:
        store = SecretStore(tx, call.account_id, call.region)
        secret = await locked(call, store, request["SecretId"])
        gone = set(request["TagKeys"])
        tags = await store.tags(secret.name)
        await store.set_tags(secret.name, {key: value for key, value in tags.items() if key not in gone})
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
    if len(found) > TAGS:
        raise LimitExceededException(f"A secret can have at most {TAGS} tags.")
    return found
