"""Condition keys: what policies may ask of a kms request beyond who, which operation and which key.

Names, and the operations they belong to, are those of the AWS KMS developer guide ("Condition keys for AWS KMS").
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from pilothouse.call import Call
from pilothouse.capabilities.keys.model import SYMMETRIC
from pilothouse.identity.policy_patterns import Value

_OF_MEMBERS: Final = {
    "EncryptionAlgorithm": "kms:EncryptionAlgorithm",
    "KeyPairSpec": "kms:DataKeyPairSpec",
    "SigningAlgorithm": "kms:SigningAlgorithm",
    "MessageType": "kms:MessageType",
    "MacAlgorithm": "kms:MacAlgorithm",
    "KeyAgreementAlgorithm": "kms:KeyAgreementAlgorithm",
    "GranteePrincipal": "kms:GranteePrincipal",
    "GranteeServicePrincipal": "kms:GranteePrincipal",
    "RetiringPrincipal": "kms:RetiringPrincipal",
    "RetiringServicePrincipal": "kms:RetiringPrincipal",
    "Operations": "kms:GrantOperations",
    "PendingWindowInDays": "kms:ScheduleKeyDeletionPendingWindowInDays",
    "RotationPeriodInDays": "kms:RotationPeriodInDays",
    "PrimaryRegion": "kms:PrimaryRegion",
    "ReplicaRegion": "kms:ReplicaRegion",
    "WrappingAlgorithm": "kms:WrappingAlgorithm",
    "WrappingKeySpec": "kms:WrappingKeySpec",
    "ExpirationModel": "kms:ExpirationModel",
    "ValidTo": "kms:ValidTo",
    "BypassPolicyLockoutSafetyCheck": "kms:BypassPolicyLockoutSafetyCheck",
    "TagKeys": "aws:TagKeys",
}
_DEFAULTS: Final = {
    "kms:Sign": {"kms:MessageType": "RAW"},
    "kms:Verify": {"kms:MessageType": "RAW"},
    "kms:PutKeyPolicy": {"kms:BypassPolicyLockoutSafetyCheck": "false"},
    "kms:ReplicateKey": {"kms:BypassPolicyLockoutSafetyCheck": "false"},
    "kms:ImportKeyMaterial": {"kms:ExpirationModel": "KEY_MATERIAL_EXPIRES"},
    "kms:ScheduleKeyDeletion": {"kms:ScheduleKeyDeletionPendingWindowInDays": "30"},
    "kms:CreateGrant": {"kms:GrantIsForAWSResource": "false"},
    "kms:ListGrants": {"kms:GrantIsForAWSResource": "false"},
    "kms:RevokeGrant": {"kms:GrantIsForAWSResource": "false"},
}
"""What holds of a request that does not say otherwise. No service makes grants for users here."""
_SYMMETRIC_UNLESS_TOLD: Final = ("kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt", "kms:GenerateDataKey")


def of_action(action: str) -> dict[str, Value]:
    """What holds of an action (`kms:Name`) without a word of the request."""
    found: dict[str, Value] = dict(_DEFAULTS.get(action, {}))
    if action.startswith(_SYMMETRIC_UNLESS_TOLD):
        found["kms:EncryptionAlgorithm"] = SYMMETRIC
    return found


def of_caller(call: Call, request: Mapping[str, Any]) -> dict[str, Value]:
    """Of the operations that are about no key, or about an alias, where the identity policies alone are asked."""
    return {"kms:CallerAccount": call.principal.account_id}


def of_new_key(call: Call, request: Mapping[str, Any]) -> dict[str, Value]:
    """Of CreateKey: what the key will be. Tags of KMS have names of their own, as have their members."""
    multi_region = bool(request.get("MultiRegion"))
    spec = request.get("KeySpec") or request.get("CustomerMasterKeySpec") or SYMMETRIC
    found = of_caller(call, request) | of_request(call, request)
    found |= {
        "kms:BypassPolicyLockoutSafetyCheck": _value(bool(request.get("BypassPolicyLockoutSafetyCheck"))),
        "kms:KeySpec": spec,
        "kms:KeyUsage": request.get("KeyUsage", "ENCRYPT_DECRYPT"),
        "kms:KeyOrigin": request.get("Origin", "AWS_KMS"),
        "kms:MultiRegion": _value(multi_region),
    }
    if multi_region:
        found["kms:MultiRegionKeyType"] = "PRIMARY"
    return found


def of_request(call: Call, request: Mapping[str, Any]) -> dict[str, Value]:
    """The condition keys of a request's members and of its sender."""
    found: dict[str, Value] = {"aws:SourceIp": call.source_ip, "aws:UserAgent": call.user_agent}
    for member, name in _OF_MEMBERS.items():
        if member in request:
            found[name] = _value(request[member])
    if constraints := request.get("Constraints"):
        found["kms:GrantConstraintType"] = next(iter(constraints))
    if given := request.get("Tags"):
        found["aws:TagKeys"] = tuple(tag["TagKey"] for tag in given)
        found |= {f"aws:RequestTag/{tag['TagKey']}": tag["TagValue"] for tag in given}
    return found


def _value(member: object) -> Value:
    if isinstance(member, bool):
        return str(member).lower()
    if isinstance(member, datetime):
        return member.isoformat()
    return tuple(map(str, member)) if isinstance(member, list) else str(member)
