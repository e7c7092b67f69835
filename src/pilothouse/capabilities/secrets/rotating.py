"""RotateSecret, CancelRotateSecret, and of our own service: what became of rotations, and another try."""

from dataclasses import replace
from typing import Any, Final

import msgspec

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities.secrets.changes import changed
from pilothouse.capabilities.secrets.conditions import of_request, of_rotation
from pilothouse.capabilities.secrets.finding import MARKED_ALREADY, Found, found, locked
from pilothouse.capabilities.secrets.model import (
    CURRENT,
    PENDING,
    InvalidNextTokenException,
    InvalidParameterException,
    InvalidRequestException,
    ResourceNotFoundException,
    Secret,
)
from pilothouse.capabilities.secrets.naming import named
from pilothouse.capabilities.secrets.rotation_model import (
    Rotation,
    Run,
    State,
    asked_rotation,
    check_days,
    rotation_of,
    with_rotation,
)
from pilothouse.capabilities.secrets.rotation_steps import again, begin, cancel
from pilothouse.capabilities.secrets.rotation_store import RotationStore
from pilothouse.capabilities.secrets.rotators import rotator_of
from pilothouse.capabilities.secrets.scheduling import reschedule
from pilothouse.capabilities.secrets.sealing import unseal_for
from pilothouse.capabilities.secrets.store import SecretStore
from pilothouse.capabilities.secrets.versions import UNNAMED, check_token
from pilothouse.errors import AccessDeniedException
from pilothouse.identity.authorise import ask_each
from pilothouse.runtime.clock import from_millis
from pilothouse.storage import Transaction
from pilothouse.storage.pages import InvalidPageToken

_NO_FUNCTION: Final = "No Lambda rotation function ARN is associated with this secret."
_NOT_CALLED: Final = (
    "Secrets Manager cannot invoke the specified Lambda function. Ensure that the function policy grants access to the "
    "principal secretsmanager.amazonaws.com."
)
_OPEN: Final = "A previous rotation isn't complete. That rotation will be reattempted."
_NEVER: Final = (
    "You tried to enable rotation on a secret that doesn't already have a Lambda function ARN configured and you "
    "didn't include such an ARN as a parameter in this call."
)
_PAGE: Final = 20
_LONGEST_FUNCTION: Final = 2048


@operation("secretsmanager", "RotateSecret", writes=True, resources=named, conditions=of_rotation)
async def rotate_secret(call: Call, request: Shape) -> Shape:
    """Set up rotation, and begin one or try its last step only. The steps follow after the answer."""
    token = request.get("ClientRequestToken")
    if not token:
        raise InvalidParameterException(UNNAMED)
    check_token(request)
    if len(request.get("RotationLambdaARN") or "") > _LONGEST_FUNCTION:
        raise InvalidParameterException(f"RotationLambdaARN must <= {_LONGEST_FUNCTION} characters long.")
    rules = request.get("RotationRules")
    check_days((rules or {}).get("AutomaticallyAfterDays"))
    asked = None if rules is None else {
        "days": rules.get("AutomaticallyAfterDays"),
        "schedule": rules.get("ScheduleExpression"),
        "duration": rules.get("Duration"),
    }  # fmt: skip
    async with call.transaction() as tx:
        store, secret = await locked(call, tx, request["SecretId"], "RotateSecret", marked_too=True)
        kept = rotation_of(secret)
        rotation = asked_rotation(kept, asked, call.clock.millis())
        if secret.purge_at is not None:
            raise InvalidRequestException(MARKED_ALREADY)
        function = request.get("RotationLambdaARN") or rotation.function
        if not function:
            raise InvalidRequestException(_NO_FUNCTION)
        if secret.owning_service is not None and function != rotation.function:
            raise InvalidRequestException(f"The secret is managed by {secret.owning_service}, which rotates it.")
        answer: Shape = {"ARN": secret.arn, "Name": secret.name}
        immediately = request.get("RotateImmediately") is not False
        if await _is_begun(tx, store, secret, token):
            return answer | {"VersionId": token}
        rotator = rotator_of(call.house, function)
        if rotator is None:
            raise AccessDeniedException(_NOT_CALLED)
        rotation = _named_there(replace(rotation, function=function), request)
        await rotator.admit(call, tx, with_rotation(secret, rotation))
        rotation = replace(rotation, master=await _master(call, tx, store, secret))
        secret = with_rotation(secret, rotation)
        await store.save(secret)
        await begin(call.house, tx, secret, rotation, token, test_only=not immediately)
        await changed(call.house, tx, secret, "ConfigureRotation", function=function)
    return answer | ({"VersionId": token} if immediately else {})


def _named_there(rotation: Rotation, request: Shape) -> Rotation:
    """The settings with what a request says for the program that rotates."""
    if "ExternalSecretRotationMetadata" in request:
        rotation = replace(rotation, external=[dict(each) for each in request["ExternalSecretRotationMetadata"]])
    if "ExternalSecretRotationRoleArn" in request:
        rotation = replace(rotation, external_role=request["ExternalSecretRotationRoleArn"])
    return rotation


async def _is_begun(tx: Transaction, store: SecretStore, secret: Secret, token: str) -> bool:
    """Whether this very rotation has begun. Raises InvalidRequestException while another one is open."""
    stages = await store.stages(secret.name)
    pending = stages.get(PENDING)
    if pending not in (None, stages.get(CURRENT)):
        latest = await RotationStore(tx).latest(secret)
        if pending == token and latest is not None and latest.version_id == token:
            return True
        raise InvalidRequestException(_OPEN)
    version = await store.version(secret.name, token)
    if version is not None and stages.get(CURRENT) != token:
        raise InvalidRequestException(f"The ClientRequestToken {token} names a version that there is already.")
    return version is not None


async def _master(call: Call, tx: Transaction, store: SecretStore, secret: Secret) -> str:
    """The secret whose user changes others, as the current value names it: whoever sets it up must be able to read it.

    Rotation keeps to this one, whatever later values say.
    """
    current = (await store.stages(secret.name)).get(CURRENT)
    version = None if current is None else await store.version(secret.name, current)
    if version is None or not version.has_value or version.is_binary:
        return ""
    try:
        members: Any = msgspec.json.decode(await unseal_for(call.house, tx, secret, version))
    except msgspec.DecodeError:
        return ""
    named_there = members.get("masterarn") if isinstance(members, dict) else None
    if not isinstance(named_there, str) or not named_there.startswith("arn:"):
        return ""
    try:
        _, master = await found(call, tx, named_there, "GetSecretValue")
    except ResourceNotFoundException:
        return ""
    await ask_each(call, tx, "secretsmanager:GetSecretValue", [master.arn])
    return master.arn if master.account_id == secret.account_id else ""


@operation("secretsmanager", "CancelRotateSecret", writes=True, resources=named, conditions=of_request)
async def cancel_rotate_secret(call: Call, request: Shape) -> Shape:
    """Rotate no more, and give up the rotation that goes on."""
    async with call.transaction() as tx:
        store, secret = await locked(call, tx, request["SecretId"], "CancelRotateSecret", marked_too=True)
        if secret.purge_at is not None:
            raise InvalidRequestException(MARKED_ALREADY)
        rotation = rotation_of(secret)
        if rotation is None:
            raise InvalidRequestException(_NEVER)
        secret = with_rotation(secret, replace(rotation, enabled=False))
        await store.save(secret)
        await reschedule(call.house, tx, secret)
        await cancel(call.house, tx, secret)
        stages = await store.stages(secret.name)
        await changed(call.house, tx, secret, "CancelRotation")
    pending = stages.get(PENDING)
    return {
        "ARN": secret.arn,
        "Name": secret.name,
        "VersionId": pending if pending != stages.get(CURRENT) else None,
    }


@operation("pilothouse", "ListSecretRotations", action="secretsmanager:DescribeSecret", resources=named)
async def list_secret_rotations(call: Call, request: Shape) -> Shape:
    """What became of a secret's rotations, the newest first, with what was seen of their steps."""
    limit = request.get("MaxResults") or _PAGE
    async with call.reading() as tx:
        _, secret = await _found(call, tx, request["SecretId"])
        query = ["ListSecretRotations", secret.arn]
        before = None
        if token := request.get("NextToken"):
            try:
                (before,) = call.house.pages.position(query, token)
            except InvalidPageToken as error:
                raise InvalidNextTokenException("The NextToken is not valid for this request.") from error
        store = RotationStore(tx)
        page = await store.runs(secret, before=before, count=limit + 1)
        told = [await _told(store, each) for each in page[:limit]]
    more = len(page) > limit
    return {
        "Rotations": told,
        "NextToken": call.house.pages.token(query, [page[limit - 1].started_at]) if more else None,
    }


async def _found(call: Call, tx: Transaction, secret_id: str) -> Found:
    return await found(call, tx, secret_id, "DescribeSecret")


async def _told(store: RotationStore, run: Run) -> Shape:
    return {
        "RotationId": run.run_id,
        "VersionId": run.version_id,
        "Function": run.function,
        "TestOnly": run.test_only,
        "State": run.state.value,
        "Step": run.step.value,
        "FailedAttempts": run.attempts,
        "Error": run.error or None,
        "StartedAt": from_millis(run.started_at),
        "EndedAt": None if run.ended_at is None else from_millis(run.ended_at),
        "Log": [
            {"At": from_millis(each.at), "Step": each.step or None, "Text": each.text}
            for each in await store.lines(run.run_id)
        ],
    }


@operation("pilothouse", "RetrySecretRotation", writes=True, action="secretsmanager:RotateSecret", resources=named)
async def retry_secret_rotation(call: Call, request: Shape) -> Shape:
    """Go on with a rotation that failed, at the step that it failed at."""
    async with call.transaction() as tx:
        store, secret = await locked(call, tx, request["SecretId"], "RotateSecret")
        stages = await store.stages(secret.name)
        run = await RotationStore(tx).latest(secret)
        if run is None or run.state is not State.FAILED or stages.get(PENDING) != run.version_id:
            raise InvalidRequestException("The secret has no failed rotation that could go on.")
        await again(call.house, tx, run, "tried again, as somebody asked")
    return {"RotationId": run.run_id, "VersionId": run.version_id}
