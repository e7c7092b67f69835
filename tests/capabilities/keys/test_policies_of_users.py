"""A user whose policy names one key may use that key and no other, with every operation on keys."""

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.conftest import Aws

SIXTEEN = b"0123456789abcdef"
OPERATIONS: dict[str, dict[str, Any]] = {
    "CancelKeyDeletion": {},
    "CreateGrant": {"GranteePrincipal": "arn:aws:iam::111122223333:root", "Operations": ["Decrypt"]},
    "Decapsulate": {"EncapsulationAlgorithm": "ML_KEM", "SharedSecretCiphertextBlob": SIXTEEN},
    "DeleteImportedKeyMaterial": {},
    "DeriveSharedSecret": {"KeyAgreementAlgorithm": "ECDH", "PublicKey": SIXTEEN},
    "DescribeKey": {},
    "DisableKey": {},
    "DisableKeyRotation": {},
    "EnableKey": {},
    "EnableKeyRotation": {},
    "Encapsulate": {"EncapsulationAlgorithm": "ML_KEM"},
    "Encrypt": {"Plaintext": b"x"},
    "GenerateDataKey": {"KeySpec": "AES_256"},
    "GenerateDataKeyPair": {"KeyPairSpec": "ECC_NIST_P256"},
    "GenerateDataKeyPairWithoutPlaintext": {"KeyPairSpec": "ECC_NIST_P256"},
    "GenerateDataKeyWithoutPlaintext": {"KeySpec": "AES_256"},
    "GenerateMac": {"MacAlgorithm": "HMAC_SHA_256", "Message": b"x"},
    "GetKeyLastUsage": {},
    "GetKeyPolicy": {},
    "GetKeyRotationStatus": {},
    "GetParametersForImport": {"WrappingAlgorithm": "RSAES_OAEP_SHA_256", "WrappingKeySpec": "RSA_2048"},
    "GetPublicKey": {},
    "ImportKeyMaterial": {"ImportToken": SIXTEEN, "EncryptedKeyMaterial": SIXTEEN},
    "ListGrants": {},
    "ListKeyPolicies": {},
    "ListKeyRotations": {},
    "ListResourceTags": {},
    "PutKeyPolicy": {"Policy": '{"Version": "2012-10-17", "Statement": []}'},
    "ReplicateKey": {"ReplicaRegion": "us-west-2"},
    "RevokeGrant": {"GrantId": "0" * 64},
    "RotateKeyOnDemand": {},
    "ScheduleKeyDeletion": {},
    "Sign": {"Message": b"x", "SigningAlgorithm": "RSASSA_PSS_SHA_256"},
    "TagResource": {"Tags": [{"TagKey": "a", "TagValue": "b"}]},
    "UntagResource": {"TagKeys": ["a"]},
    "UpdateKeyDescription": {"Description": "d"},
    "UpdatePrimaryRegion": {"PrimaryRegion": "us-west-2"},
    "Verify": {"Message": b"x", "Signature": b"x", "SigningAlgorithm": "RSASSA_PSS_SHA_256"},
    "VerifyMac": {"MacAlgorithm": "HMAC_SHA_256", "Message": b"x", "Mac": b"x"},
}


def outcome(kms: Any, operation: str, key_id: str) -> str:
    """The code of the answer, `OK`, or `denied` for a refusal by policies."""
    method = {"GenerateMac": "generate_mac", "VerifyMac": "verify_mac"}.get(operation)
    name = method or "".join(f"_{each.lower()}" if each.isupper() else each for each in operation).lstrip("_")
    try:
        getattr(kms, name)(KeyId=key_id, **OPERATIONS[operation])
    except ClientError as error:
        code: str = error.response["Error"]["Code"]
        return "denied" if code == "AccessDeniedException" else code
    return "OK"


def document(action: str, resource: str) -> str:
    return json.dumps(
        {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": action, "Resource": resource}}
    )


def test_a_policy_for_one_key_reaches_that_key_with_every_operation(aws: Aws) -> None:
    root, iam = aws("kms"), aws("iam")
    iam.create_user(UserName="ada")
    key = iam.create_access_key(UserName="ada")["AccessKey"]
    kms = aws("kms", access_key=key["AccessKeyId"], secret=key["SecretAccessKey"])
    mine, other = (root.create_key()["KeyMetadata"] for _ in range(2))
    for operation in sorted(OPERATIONS):
        assert outcome(kms, operation, mine["KeyId"]) == "denied", operation
    for operation in sorted(OPERATIONS):
        iam.put_user_policy(UserName="ada", PolicyName="p", PolicyDocument=document(f"kms:{operation}", mine["Arn"]))
        assert outcome(kms, operation, other["KeyId"]) == "denied", operation
        assert outcome(kms, operation, other["Arn"]) == "denied", operation
        if operation not in ("DeleteImportedKeyMaterial", "ReplicateKey"):
            assert outcome(kms, operation, mine["KeyId"]) != "denied", operation
    assert root.describe_key(KeyId=other["KeyId"])["KeyMetadata"]["KeyState"] == "Enabled"


def test_an_alias_wants_both_itself_and_its_key(aws: Aws) -> None:
    root, iam = aws("kms"), aws("iam")
    iam.create_user(UserName="ada")
    key = iam.create_access_key(UserName="ada")["AccessKey"]
    kms = aws("kms", access_key=key["AccessKeyId"], secret=key["SecretAccessKey"])
    found = root.create_key()["KeyMetadata"]
    alias = found["Arn"].rpartition(":")[0] + ":alias/app"

    def make() -> str:
        try:
            kms.create_alias(AliasName="alias/app", TargetKeyId=found["KeyId"])
        except ClientError as error:
            return str(error.response["Error"]["Message"])
        return "made"

    assert f"on resource: {alias}" in make()
    iam.put_user_policy(UserName="ada", PolicyName="alias", PolicyDocument=document("kms:CreateAlias", alias))
    assert f"on resource: {found['Arn']}" in make()
    iam.put_user_policy(UserName="ada", PolicyName="key", PolicyDocument=document("kms:CreateAlias", found["Arn"]))
    assert make() == "made"


@pytest.mark.parametrize("name", ["ListKeys", "CreateKey"])
def test_what_is_about_no_key_is_asked_of_every_resource(aws: Aws, name: str) -> None:
    iam = aws("iam")
    iam.create_user(UserName="ada")
    key = iam.create_access_key(UserName="ada")["AccessKey"]
    kms = aws("kms", access_key=key["AccessKeyId"], secret=key["SecretAccessKey"])
    call = {"ListKeys": kms.list_keys, "CreateKey": kms.create_key}[name]
    with pytest.raises(ClientError, match=r"on resource: \*"):
        call()
    iam.put_user_policy(UserName="ada", PolicyName="p", PolicyDocument=document(f"kms:{name}", "*"))
    call()
