"""GetSecretValue, PutSecretValue, UpdateSecret, UpdateSecretVersionStage, ListSecretVersionIds."""

import hmac
from dataclasses import replace
from typing import Final, NamedTuple

from pilothouse.call import Call, Caller, Shape, operation
from pilothouse.capabilities.secrets.conditions import of_read, of_request, of_value
from pilothouse.capabilities.secrets.finding import arn_of, found, locked, usable
from pilothouse.capabilities.secrets.model import (
    CURRENT,
    DAY_MS,
    DEFAULT_KEY,
    PENDING,
    PREVIOUS,
    UNLABELLED_KEPT,
    InvalidParameterException,
    InvalidRequestException,
    ResourceExistsException,
    ResourceNotFoundException,
    Secret,
    Version,
    after_move,
    after_put,
    check_stages,
    labels_of,
)
from pilothouse.capabilities.secrets.naming import named
from pilothouse.capabilities.secrets.sealing import seal, unseal
from pilothouse.capabilities.secrets.store import SecretStore
from pilothouse.errors import ApiError
from pilothouse.runtime.clock import from_millis
from pilothouse.storage import Transaction
from pilothouse.storage.pages import InvalidPageToken

_PAGE: Final = 100
_UNNAMED: Final = "You must provide a ClientRequestToken value. We recommend a UUID-type value."


class InvalidNextTokenException(ApiError):
    """The token is not ours or belongs to another query."""


class GivenValue(NamedTuple):
    """The value of a request."""

    data: bytes
    is_binary: bool

    def __repr__(self) -> str:
        return f"GivenValue({len(self.data)} bytes)"


def given_value(request: Shape) -> GivenValue | None:
    """The value that a request brings, if any. Raises InvalidParameterException, InvalidRequestException."""
    text, data = request.get("SecretString"), request.get("SecretBinary")
    if text is not None and data is not None:
        raise InvalidParameterException(
            "You can't specify both a binary secret value and a string secret value in the same secret."
        )
    if text is None and data is None:
        return None
    if not request.get("ClientRequestToken"):
        raise InvalidRequestException(_UNNAMED)
    return GivenValue(text.encode(), False) if text is not None else GivenValue(data or b"", True)


async def same_value(call: Call, tx: Transaction, secret: Secret, version: Version, value: GivenValue) -> None:
    """Return if the version holds this very value. Raises ResourceExistsException."""
    kept = await unseal(call, tx, arn_of(call, secret), version)
    if version.is_binary != value.is_binary or not hmac.compare_digest(kept, value.data):
        raise ResourceExistsException(
            f"You can't use ClientRequestToken {version.version_id} because that value is already in use for a version "
            f"of secret {arn_of(call, secret)}."
        )


async def put_version(
    call: Call, tx: Transaction, secret: Secret, request: Shape, value: GivenValue, stages: list[str] | None
) -> str:
    """Make the version that the request's token names, unless it is there already; its id."""
    store = SecretStore(tx, call.account_id, call.region)
    version_id: str = request["ClientRequestToken"]
    there = await store.version(secret.name, version_id)
    if there is not None:
        await same_value(call, tx, secret, there, value)
        return version_id
    moved = after_put(await store.stages(secret.name), version_id, stages)
    check_stages(moved)
    now = call.clock.millis()
    secret = replace(secret, versions_made=secret.versions_made + 1, changed_at=now)
    await store.add_version(
        secret.name,
        Version(
            version_id=version_id,
            number=secret.versions_made,
            is_binary=value.is_binary,
            sealed=await seal(call, tx, arn_of(call, secret), version_id, secret.key_ref, value.data),
            key_ref=secret.key_ref,
            created_at=now,
            accessed_on=None,
        ),
    )
    await store.set_stages(secret.name, moved)
    await store.save(secret)
    await store.forget_unlabelled(secret.name, keep=UNLABELLED_KEPT, before=now - DAY_MS)
    return version_id


class Chosen(NamedTuple):
    """A version with the labels on it."""

    version: Version
    stages: list[str]


async def choose(store: SecretStore, secret: Secret, version_id: str | None, stage: str | None) -> Chosen:
    """The version asked for; AWSCURRENT if none is. Raises ResourceNotFoundException, InvalidRequestException."""
    stages = await store.stages(secret.name)
    wanted = version_id or stages.get(stage or CURRENT)
    if wanted is None:
        raise ResourceNotFoundException(
            f"Secrets Manager can't find the specified secret value for staging label: {stage or CURRENT}"
        )
    version = await store.version(secret.name, wanted)
    if version is None:
        raise ResourceNotFoundException(
            f"Secrets Manager can't find the specified secret value for VersionId: {wanted}"
        )
    if version_id is not None and stage is not None and stages.get(stage) != version_id:
        raise InvalidRequestException("You provided a VersionStage that is not associated to the provided VersionId.")
    return Chosen(version, labels_of(stages, version.version_id))


async def note_read(call: Call, secret: Secret, version: Version) -> None:
    """Remember the day of the read, in a transaction of its own: at most once a day for a version."""
    today = call.clock.millis() // DAY_MS * DAY_MS
    if version.accessed_on is not None and version.accessed_on >= today:
        return
    async with call.house.database.transaction() as tx:
        store = SecretStore(tx, call.account_id, call.region)
        await store.lock(secret.name)
        await store.mark_read(secret.name, version.version_id, today)


@operation(
    "secretsmanager",
    "GetSecretValue",
    callers=Caller.ACCOUNT | Caller.NODE,
    resources=named,
    conditions=of_read,
    audited=True,
)
async def get_secret_value(call: Call, request: Shape) -> Shape:
    """The value of one version."""
    async with call.reading() as tx:
        store = SecretStore(tx, call.account_id, call.region)
        secret = await usable(call, store, request["SecretId"])
        version, stages = await choose(store, secret, request.get("VersionId"), request.get("VersionStage"))
        value = await unseal(call, tx, arn_of(call, secret), version)
    await note_read(call, secret, version)
    return {
        "ARN": arn_of(call, secret),
        "Name": secret.name,
        "VersionId": version.version_id,
        "SecretBinary": value if version.is_binary else None,
        "SecretString": None if version.is_binary else value.decode(),
        "VersionStages": stages,
        "CreatedDate": from_millis(version.created_at),
    }


@operation("secretsmanager", "PutSecretValue", writes=True, resources=named, conditions=of_request)
async def put_secret_value(call: Call, request: Shape) -> Shape:
    """A new version; it becomes AWSCURRENT unless other labels are asked for."""
    value = given_value(request)
    if value is None:
        raise InvalidRequestException("You must provide either SecretString or SecretBinary.")
    async with call.transaction() as tx:
        store = SecretStore(tx, call.account_id, call.region)
        secret = await locked(call, store, request["SecretId"])
        version_id = await put_version(call, tx, secret, request, value, request.get("VersionStages") or None)
        stages = labels_of(await store.stages(secret.name), version_id)
    return {"ARN": arn_of(call, secret), "Name": secret.name, "VersionId": version_id, "VersionStages": stages}


@operation("secretsmanager", "UpdateSecret", writes=True, resources=named, conditions=of_value)
async def update_secret(call: Call, request: Shape) -> Shape:
    """Change what describes a secret, its key, or its value."""
    value = given_value(request)
    async with call.transaction() as tx:
        store = SecretStore(tx, call.account_id, call.region)
        secret = await locked(call, store, request["SecretId"])
        answer = {"ARN": arn_of(call, secret), "Name": secret.name}
        changed = secret
        if "Description" in request:
            changed = replace(changed, description=request["Description"])
        if "KmsKeyId" in request:
            key_ref = request["KmsKeyId"]
            changed = replace(changed, key_ref=None if key_ref in ("", DEFAULT_KEY) else key_ref)
        if changed != secret:
            changed = replace(changed, changed_at=call.clock.millis())
            await store.save(changed)
        if changed.key_ref != secret.key_ref:
            await _move_to_key(call, tx, store, changed)
        if value is not None:
            answer["VersionId"] = await put_version(call, tx, changed, request, value, None)
    return answer


async def _move_to_key(call: Call, tx: Transaction, store: SecretStore, secret: Secret) -> None:
    """Encrypt the versions that are in use under the secret's new key."""
    stages = await store.stages(secret.name)
    for version_id in {stages[stage] for stage in (CURRENT, PENDING, PREVIOUS) if stage in stages}:
        version = await store.version(secret.name, version_id)
        if version is not None:
            value = await unseal(call, tx, arn_of(call, secret), version)
            sealed = await seal(call, tx, arn_of(call, secret), version_id, secret.key_ref, value)
            await store.reseal(secret.name, version_id, sealed, secret.key_ref)


@operation("secretsmanager", "UpdateSecretVersionStage", writes=True, resources=named, conditions=of_request)
async def update_secret_version_stage(call: Call, request: Shape) -> Shape:
    """Move a staging label, or take it off."""
    take_from, give_to = request.get("RemoveFromVersionId"), request.get("MoveToVersionId")
    async with call.transaction() as tx:
        store = SecretStore(tx, call.account_id, call.region)
        secret = await locked(call, store, request["SecretId"])
        for version_id in (take_from, give_to):
            if version_id is not None and await store.version(secret.name, version_id) is None:
                raise InvalidParameterException(f"Not a valid version: {version_id}")
        stages = await store.stages(secret.name)
        moved = after_move(stages, request["VersionStage"], take_from=take_from, give_to=give_to)
        check_stages(moved)
        if moved != stages:
            await store.set_stages(secret.name, moved)
            await store.save(replace(secret, changed_at=call.clock.millis()))
    return {"ARN": arn_of(call, secret), "Name": secret.name}


@operation("secretsmanager", "ListSecretVersionIds", resources=named, conditions=of_request)
async def list_secret_version_ids(call: Call, request: Shape) -> Shape:
    """The versions of a secret, oldest first; those without labels only with IncludeDeprecated."""
    limit = request.get("MaxResults") or _PAGE
    deprecated_too = request.get("IncludeDeprecated") or False
    async with call.reading() as tx:
        store = SecretStore(tx, call.account_id, call.region)
        secret = await found(call, store, request["SecretId"])
        query = ["ListSecretVersionIds", arn_of(call, secret), deprecated_too]
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
        "ARN": arn_of(call, secret),
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
