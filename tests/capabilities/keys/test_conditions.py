"""Condition keys of kms requests in key policies: each lets one request and refuses the other."""

import json
from datetime import timedelta
from typing import Any

import botocore.auth
import pytest

from tests.capabilities.keys.refusals import refused


@pytest.fixture
def kms(aws: Any, clock: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *_: clock.now().replace(tzinfo=None))
    return aws("kms")


def key_under(kms: Any, account: str, action: str, condition: dict[str, Any], **more: Any) -> str:
    """A key with which everything may be done but `action`, which `condition` must hold for."""
    root = {"AWS": f"arn:aws:iam::{account}:root"}
    statements = [
        {"Effect": "Allow", "Principal": root, "NotAction": action, "Resource": "*"},
        {"Effect": "Allow", "Principal": root, "Action": action, "Resource": "*", "Condition": condition},
    ]
    made = kms.create_key(Policy=json.dumps({"Version": "2012-10-17", "Statement": statements}), **more)
    return str(made["KeyMetadata"]["Arn"])


def equals(name: str, value: str) -> dict[str, Any]:
    return {"StringEquals": {name: value}}


SIGNS = {"KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY"}
MACS = {"KeySpec": "HMAC_256", "KeyUsage": "GENERATE_VERIFY_MAC"}
ENCRYPTS = {"KeySpec": "RSA_2048", "KeyUsage": "ENCRYPT_DECRYPT"}
GRANT = {"GranteePrincipal": "arn:aws:iam::123456789012:root", "Operations": ["Decrypt"]}
CASES: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any] | None, dict[str, Any]]] = [
    (
        "Encrypt",
        equals("kms:EncryptionAlgorithm", "RSAES_OAEP_SHA_256"),
        {"Plaintext": b"x", "EncryptionAlgorithm": "RSAES_OAEP_SHA_256"},
        {"Plaintext": b"x", "EncryptionAlgorithm": "RSAES_OAEP_SHA_1"},
        ENCRYPTS,
    ),
    ("Encrypt", equals("kms:EncryptionAlgorithm", "SYMMETRIC_DEFAULT"), {"Plaintext": b"x"}, None, {}),
    (
        "GenerateDataKey",
        equals("kms:EncryptionContext:app", "a"),
        {"KeySpec": "AES_256", "EncryptionContext": {"app": "a", "more": "b"}},
        {"KeySpec": "AES_256", "EncryptionContext": {"app": "b"}},
        {},
    ),
    (
        "GenerateDataKeyPair",
        equals("kms:DataKeyPairSpec", "ECC_NIST_P256"),
        {"KeyPairSpec": "ECC_NIST_P256"},
        {"KeyPairSpec": "ECC_NIST_P384"},
        {},
    ),
    (
        "Sign",
        equals("kms:MessageType", "RAW"),
        {"Message": b"m", "SigningAlgorithm": "ECDSA_SHA_256"},
        {"Message": b"m" * 32, "SigningAlgorithm": "ECDSA_SHA_256", "MessageType": "DIGEST"},
        SIGNS,
    ),
    (
        "GenerateMac",
        equals("kms:MacAlgorithm", "HMAC_SHA_256"),
        {"Message": b"m", "MacAlgorithm": "HMAC_SHA_256"},
        None,
        MACS,
    ),
    (
        "CreateGrant",
        {"ForAllValues:StringEquals": {"kms:GrantOperations": ["Decrypt", "DescribeKey"]}},
        GRANT,
        GRANT | {"Operations": ["Decrypt", "Encrypt"]},
        {},
    ),
    ("CreateGrant", {"Bool": {"kms:GrantIsForAWSResource": "false"}}, GRANT, None, {}),
    (
        "CreateGrant",
        equals("kms:GrantConstraintType", "EncryptionContextEquals"),
        GRANT | {"Constraints": {"EncryptionContextEquals": {"a": "b"}}},
        GRANT,
        {},
    ),
    (
        "CreateGrant",
        equals("kms:GranteePrincipal", "arn:aws:iam::123456789012:root"),
        GRANT,
        GRANT | {"GranteePrincipal": "arn:aws:iam::210987654321:root"},
        {},
    ),
    (
        "ScheduleKeyDeletion",
        {"NumericGreaterThanEquals": {"kms:ScheduleKeyDeletionPendingWindowInDays": "30"}},
        {},
        {"PendingWindowInDays": 7},
        {},
    ),
    (
        "EnableKeyRotation",
        {"NumericLessThanEquals": {"kms:RotationPeriodInDays": "365"}},
        {"RotationPeriodInDays": 180},
        {"RotationPeriodInDays": 366},
        {},
    ),
    (
        "ReplicateKey",
        equals("kms:ReplicaRegion", "us-east-1"),
        {"ReplicaRegion": "us-east-1"},
        {"ReplicaRegion": "us-west-2"},
        {"MultiRegion": True},
    ),
    (
        "DescribeKey",
        equals("kms:MultiRegionKeyType", "PRIMARY"),
        {},
        None,
        {"MultiRegion": True},
    ),
    (
        "GetParametersForImport",
        equals("kms:WrappingKeySpec", "RSA_2048"),
        {"WrappingKeySpec": "RSA_2048", "WrappingAlgorithm": "RSAES_OAEP_SHA_256"},
        {"WrappingKeySpec": "RSA_3072", "WrappingAlgorithm": "RSAES_OAEP_SHA_256"},
        {"Origin": "EXTERNAL"},
    ),
    (
        "TagResource",
        {"ForAllValues:StringEquals": {"aws:TagKeys": ["team"]}, **equals("aws:RequestTag/team", "a")},
        {"Tags": [{"TagKey": "team", "TagValue": "a"}]},
        {"Tags": [{"TagKey": "team", "TagValue": "a"}, {"TagKey": "b", "TagValue": "c"}]},
        {},
    ),
    ("DescribeKey", {"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}, {}, None, {}),
    ("DescribeKey", {"StringLike": {"aws:UserAgent": "Boto3/*"}}, {}, None, {}),
]


@pytest.mark.parametrize(("action", "condition", "fits", "does_not", "made"), CASES)
def test_a_request_is_let_as_its_condition_says(
    kms: Any,
    server: Any,
    action: str,
    condition: dict[str, Any],
    fits: dict[str, Any],
    does_not: dict[str, Any] | None,
    made: dict[str, Any],
) -> None:
    name = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in action)[1:]
    key = key_under(kms, server.application.root.account_id, f"kms:{action}", condition, **made)
    if does_not is not None:
        assert refused(getattr(kms, name), KeyId=key, **does_not)[0] == "AccessDeniedException"
    getattr(kms, name)(KeyId=key, **fits)


def test_a_user_is_held_to_the_lockout_check(kms: Any, aws: Any, server: Any) -> None:
    """Root is not: it may always put a key policy."""
    aws("iam").create_user(UserName="ada")
    everything = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "kms:*", "Resource": "*"}}
    aws("iam").put_user_policy(UserName="ada", PolicyName="all", PolicyDocument=json.dumps(everything))
    made = aws("iam").create_access_key(UserName="ada")["AccessKey"]
    hers = aws("kms", access_key=made["AccessKeyId"], secret=made["SecretAccessKey"])
    condition = {"Bool": {"kms:BypassPolicyLockoutSafetyCheck": "false"}}
    key = key_under(kms, server.application.root.account_id, "kms:PutKeyPolicy", condition)
    asked = {"KeyId": key, "Policy": kms.get_key_policy(KeyId=key)["Policy"]}
    assert refused(hers.put_key_policy, **asked, BypassPolicyLockoutSafetyCheck=True)[0] == "AccessDeniedException"
    hers.put_key_policy(**asked)


def test_conditions_on_aliases_and_tags_follow_the_key(kms: Any, server: Any) -> None:
    condition = {
        "ForAnyValue:StringLike": {"kms:ResourceAliases": "alias/app/*"},
        "StringEquals": {"aws:ResourceTag/team": "a"},
    }
    key = key_under(kms, server.application.root.account_id, "kms:Encrypt", condition)
    asked = {"KeyId": key, "Plaintext": b"x"}
    assert refused(kms.encrypt, **asked)[0] == "AccessDeniedException"
    kms.create_alias(AliasName="alias/app/x", TargetKeyId=key)
    assert refused(kms.encrypt, **asked)[0] == "AccessDeniedException"
    kms.tag_resource(KeyId=key, Tags=[{"TagKey": "team", "TagValue": "a"}])
    kms.encrypt(**asked)
    kms.tag_resource(KeyId=key, Tags=[{"TagKey": "team", "TagValue": "b"}])
    assert refused(kms.encrypt, **asked)[0] == "AccessDeniedException"


def test_a_condition_on_the_time_ends_with_it(kms: Any, server: Any, clock: Any) -> None:
    until = (clock.now() + timedelta(minutes=1)).replace(microsecond=0).isoformat()
    condition = {"DateLessThanEquals": {"aws:CurrentTime": until}}
    key = key_under(kms, server.application.root.account_id, "kms:Encrypt", condition)
    for _ in range(2):
        kms.encrypt(KeyId=key, Plaintext=b"x")
    server.advance(minutes=2)
    assert refused(kms.encrypt, KeyId=key, Plaintext=b"x")[0] == "AccessDeniedException"


def test_re_encryption_may_be_bound_to_one_key(kms: Any, server: Any) -> None:
    condition = {"Bool": {"kms:ReEncryptOnSameKey": "true"}}
    key = key_under(kms, server.application.root.account_id, "kms:ReEncrypt*", condition)
    other = kms.create_key()["KeyMetadata"]["KeyId"]
    blob = kms.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
    kms.re_encrypt(CiphertextBlob=blob, DestinationKeyId=key, DestinationEncryptionContext={"a": "b"})
    kms.re_encrypt(CiphertextBlob=blob, SourceKeyId=key, DestinationKeyId=key)
    assert refused(kms.re_encrypt, CiphertextBlob=blob, DestinationKeyId=other)[0] == "AccessDeniedException"
