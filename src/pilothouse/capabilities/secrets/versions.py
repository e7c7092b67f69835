"""PutSecretValue, UpdateSecret, UpdateSecretVersionStage, ListSecretVersionIds."""

import hmac
from collections.abc import Mapping
from dataclasses import replace
from typing import Final, NamedTuple

from pilothouse.call import Call, House, Shape, operation
from pilothouse.capabilities.secrets.ahead import look_ahead, sealer_for
from pilothouse.capabilities.secrets.changes import changed, happened
from pilothouse.capabilities.secrets.conditions import of_request, of_value
from pilothouse.capabilities.secrets.finding import check_key, found, locked
from pilothouse.capabilities.secrets.model import (
    CURRENT,
    DAY_MS,
    DEFAULT_KEY,
    PENDING,
    PREVIOUS,
    InvalidNextTokenException,
    InvalidParameterException,
    InvalidRequestException,
    ResourceExistsException,
    Secret,
    Version,
    after_move,
    after_put,
    check_stages,
    labels_of,
)
from pilothouse.capabilities.secrets.naming import named
from pilothouse.capabilities.secrets.scheduling import reschedule, rotated
from pilothouse.capabilities.secrets.sealing import seal, unseal
from pilothouse.capabilities.secrets.store import SecretStore
from pilothouse.runtime.clock import from_millis
from pilothouse.storage import Transaction
from pilothouse.storage.pages import InvalidPageToken

_PAGE: Final = 100
_TOKEN_LENGTHS: Final = range(32, 65)
UNNAMED: Final = "You must provide a ClientRequestToken value. We recommend a UUID-type value."


class GivenValue(NamedTuple):
    """The value of a request."""

    data: bytes
    is_binary: bool

    def __repr__(self) -> str:
        return f"GivenValue({len(self.data)} bytes)"


def check_token(request: Shape) -> None:
    """Raises InvalidParameterException for a ClientRequestToken that is too short or too long."""
    token = request.get("ClientRequestToken")
    if token and len(token) not in _TOKEN_LENGTHS:
        raise InvalidParameterException("ClientRequestToken must be 32-64 characters long.")


def given_value(request: Shape) -> GivenValue | None:
    """The value that a request brings, if any. Raises InvalidParameterException, InvalidRequestException."""
    check_token(request)
    text, data = request.get("SecretString"), request.get("SecretBinary")
    if text is not None and data is not None:
        raise InvalidParameterException(
            "You can't specify both a binary secret value and a string secret value in the same secret."
        )
    if text is None and data is None:
        return None
    if not request.get("ClientRequestToken"):
        raise InvalidRequestException(UNNAMED)
    return GivenValue(text.encode(), False) if text is not None else GivenValue(data or b"", True)


class Put(NamedTuple):
    """A secret and its labels after a put."""

    secret: Secret
    stages: Mapping[str, str]


async def same_value(call: Call, tx: Transaction, secret: Secret, version: Version, value: GivenValue) -> None:
    """Return if the version holds this very value. Raises ResourceExistsException."""
    kept = await unseal(call, tx, secret, version)
    if version.is_binary != value.is_binary or not hmac.compare_digest(kept, value.data):
        raise ResourceExistsException(
            f"You can't use ClientRequestToken {version.version_id} because that value is already in use for a version "
            f"of secret {secret.arn}."
        )


async def put_version(
    call: Call, tx: Transaction, secret: Secret, request: Shape, value: GivenValue, stages: list[str] | None
) -> Put:
    """Make the version that the request's token names, unless it is there already."""
    store = SecretStore(tx, secret.account_id, secret.region)
    version_id: str = request["ClientRequestToken"]
    there = await store.version(secret.name, version_id)
    if there is not None and there.has_value:
        await same_value(call, tx, secret, there, value)
        return Put(secret, await store.stages(secret.name))
    before = await store.stages(secret.name)
    if there is not None and stages is None:
        stages = [PENDING]
    moved = after_put(before, version_id, stages)
    check_stages(moved)
    now = call.clock.millis()
    sealer = sealer_for(call, secret.key_ref)
    secret = replace(secret, versions_made=secret.versions_made + (there is None), changed_at=now)
    if moved[CURRENT] != before.get(CURRENT):
        secret = rotated(secret, now)
    version = Version(
        version_id=version_id,
        number=secret.versions_made if there is None else there.number,
        is_binary=value.is_binary,
        sealed=await seal(call, tx, secret, version_id, value.data, sealer),
        key_ref=secret.key_ref,
        created_at=now,
        accessed_on=None,
    )
    await (store.add_version if there is None else store.give_value)(secret.name, version)
    await keep_version(call.house, tx, secret, moved, before)
    return Put(secret, moved)


async def keep_version(
    house: House, tx: Transaction, secret: Secret, moved: Mapping[str, str], before: Mapping[str, str]
) -> None:
    """The labels and the secret after a version came or labels moved; versions that nobody needs any more go."""
    store = SecretStore(tx, secret.account_id, secret.region)
    if moved != before:
        await store.set_stages(secret.name, moved, before)
    await store.save(secret)
    await reschedule(house, tx, secret)
    upto = secret.versions_made - house.settings.secrets.unlabelled_versions - len(set(moved.values()))
    gone = await store.forget_unlabelled(secret.name, upto=upto, before=secret.changed_at - DAY_MS) if upto > 0 else []
    for version_id in gone:
        await happened(house, tx, secret, "SecretVersionDeletion", SecretVersionId=version_id)


@operation("secretsmanager", "PutSecretValue", writes=True, resources=named, conditions=of_request, prepare=look_ahead)
async def put_secret_value(call: Call, request: Shape) -> Shape:
    """A new version; it becomes AWSCURRENT unless other labels are asked for."""
    value = given_value(request)
    if value is None:
        raise InvalidRequestException("You must provide either SecretString or SecretBinary.")
    version_id = request["ClientRequestToken"]
    async with call.transaction() as tx:
        _, secret = await locked(call, tx, request["SecretId"], "PutSecretValue")
        check_key(call, secret)
        check_owner(secret)
        secret, moved = await put_version(call, tx, secret, request, value, request.get("VersionStages") or None)
        stages = labels_of(moved, version_id)
        await changed(call.house, tx, secret, "PutValue", version=version_id, stages=stages)
    return {"ARN": secret.arn, "Name": secret.name, "VersionId": version_id, "VersionStages": stages}


def check_owner(secret: Secret) -> None:
    """The values of a secret that a service manages are the service's. Raises InvalidRequestException."""
    if secret.owning_service is not None:
        raise InvalidRequestException(
            f"You can't change the value of the secret because it is managed by {secret.owning_service}. Rotate it."
        )


@operation("secretsmanager", "UpdateSecret", writes=True, resources=named, conditions=of_value)
async def update_secret(call: Call, request: Shape) -> Shape:
    """Change what describes a secret, its key, or its value."""
    value = given_value(request)
    async with call.transaction() as tx:
        store, secret = await locked(call, tx, request["SecretId"], "UpdateSecret")
        answer = {"ARN": secret.arn, "Name": secret.name}
        if value is not None:
            check_key(call, secret)
            check_owner(secret)
        new = secret
        if "Description" in request:
            new = replace(new, description=request["Description"])
        if "Type" in request:
            new = replace(new, kind=request["Type"] or None)
        if "KmsKeyId" in request:
            key_ref = request["KmsKeyId"]
            new = replace(new, key_ref=None if key_ref in ("", DEFAULT_KEY) else key_ref)
        if new != secret:
            new = replace(new, changed_at=call.clock.millis())
            await store.save(new)
        if new.key_ref != secret.key_ref:
            await _move_to_key(call, tx, store, new)
        if value is not None:
            new, _ = await put_version(call, tx, new, request, value, None)
            answer["VersionId"] = request["ClientRequestToken"]
        await changed(call.house, tx, new, "Update", version=answer.get("VersionId"))
    return answer


async def _move_to_key(call: Call, tx: Transaction, store: SecretStore, secret: Secret) -> None:
    """Encrypt the versions that are in use under the secret's new key."""
    stages = await store.stages(secret.name)
    for version_id in {stages[stage] for stage in (CURRENT, PENDING, PREVIOUS) if stage in stages}:
        version = await store.version(secret.name, version_id)
        if version is not None and version.has_value:
            value = await unseal(call, tx, secret, version)
            sealed = await seal(call, tx, secret, version_id, value)
            await store.reseal(secret.name, version_id, sealed, secret.key_ref)


@operation("secretsmanager", "UpdateSecretVersionStage", writes=True, resources=named, conditions=of_request)
async def update_secret_version_stage(call: Call, request: Shape) -> Shape:
    """Move a staging label, or take it off."""
    take_from, give_to = request.get("RemoveFromVersionId"), request.get("MoveToVersionId")
    stage = request["VersionStage"]
    async with call.transaction() as tx:
        store, secret = await locked(call, tx, request["SecretId"], "UpdateSecretVersionStage")
        if stage == CURRENT:
            check_owner(secret)
        for version_id in (take_from, give_to):
            if version_id is not None and await store.version(secret.name, version_id) is None:
                raise InvalidParameterException(f"Not a valid version: {version_id}")
        stages = await store.stages(secret.name)
        moved = after_move(stages, stage, take_from=take_from, give_to=give_to)
        check_stages(moved)
        if moved != stages:
            now = call.clock.millis()
            secret = replace(secret, changed_at=now)
            if moved.get(CURRENT) != stages.get(CURRENT):
                secret = rotated(secret, now)
            await keep_version(call.house, tx, secret, moved, stages)
            await changed(
                call.house, tx, secret, "MoveStage", stage=stage, **{"from": take_from, "version": give_to}
            )  # fmt: skip
    return {"ARN": secret.arn, "Name": secret.name}


@operation("secretsmanager", "ListSecretVersionIds", resources=named, conditions=of_request)
async def list_secret_version_ids(call: Call, request: Shape) -> Shape:
    """The versions of a secret, oldest first; those without labels only with IncludeDeprecated."""
    limit = request.get("MaxResults") or _PAGE
    deprecated_too = request.get("IncludeDeprecated") or False
    async with call.reading() as tx:
        store, secret = await found(call, tx, request["SecretId"], "ListSecretVersionIds")
        query = ["ListSecretVersionIds", secret.arn, deprecated_too]
        after = 0
        if token := request.get("NextToken"):
            try:
                (after,) = call.house.pages.position(query, token)
            except InvalidPageToken as error:
                raise InvalidNextTokenException("The NextToken is not valid for this request.") from error
        stages = await store.stages(secret.name)
        labelled = set(stages.values())
        page: list[Version] = []
        while True:
            batch = await store.versions(secret.name, after=after, count=_PAGE)
            page += [each for each in batch if deprecated_too or each.version_id in labelled]
            if len(batch) < _PAGE or len(page) > limit:
                break
            after = batch[-1].number
    more = len(page) > limit
    return {
        "Versions": [_listed(each, labels_of(stages, each.version_id)) for each in page[:limit]],
        "NextToken": call.house.pages.token(query, [page[limit - 1].number]) if more else None,
        "ARN": secret.arn,
        "Name": secret.name,
    }


def _listed(version: Version, stages: list[str]) -> Shape:
    return {
        "VersionId": version.version_id,
        "VersionStages": stages or None,
        "LastAccessedDate": None if version.accessed_on is None else from_millis(version.accessed_on),
        "CreatedDate": from_millis(version.created_at),
        "KmsKeyIds": [version.key_ref or "DefaultEncryptionKey"],
    }
