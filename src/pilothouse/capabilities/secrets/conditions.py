"""The condition keys of Secrets Manager: what of a request policies can be held to."""

from collections.abc import Mapping
from typing import Final

from pilothouse.call import Call, Shape
from pilothouse.capabilities import keys

_MEMBERS: Final = (
    "Name",
    "Description",
    "KmsKeyId",
    "SecretId",
    "VersionId",
    "VersionStage",
    "RecoveryWindowInDays",
    "ForceDeleteWithoutRecovery",
)
"""Each is a key of the same name, where a request has it."""


def of_request(call: Call, request: Shape) -> Mapping[str, str]:
    """The values of the keys that the request says."""
    return {f"secretsmanager:{name}": _text(request[name]) for name in _MEMBERS if request.get(name) is not None}


async def of_value(call: Call, request: Shape) -> Mapping[str, str]:
    """The same, with the ARN of the key that the request names in any way."""
    found = dict(of_request(call, request))
    if key_ref := request.get("KmsKeyId"):
        async with call.reading() as tx:
            arn = await keys.arn_of(tx, call.account_id, call.region, key_ref)
        if arn is not None:
            found["secretsmanager:KmsKeyArn"] = arn
    return found


def of_read(call: Call, request: Shape) -> Mapping[str, str]:
    """The same, where a request that names no version means the current one."""
    found = dict(of_request(call, request))
    if "VersionId" not in request:
        found.setdefault("secretsmanager:VersionStage", "AWSCURRENT")
    return found


def of_rotation(call: Call, request: Shape) -> Mapping[str, str]:
    """The same, with what RotateSecret may be held to."""
    found = dict(of_request(call, request))
    found["secretsmanager:ModifyRotationRules"] = _text("RotationRules" in request)
    found["secretsmanager:RotateImmediately"] = _text(request.get("RotateImmediately") is not False)
    if function := request.get("RotationLambdaARN"):
        found["secretsmanager:RotationLambdaARN"] = function
    return found


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
