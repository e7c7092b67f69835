"""Keys through the front door: made, described, listed, named, tagged, switched, deleted, replicated."""

import sqlite3
from typing import Any

import botocore.auth
import pytest
from botocore.exceptions import ClientError

from pilothouse.capabilities.keys.jobs import delete

REFUSED: dict[str, set[str]] = {
    "Disabled": {"Encrypt", "Decrypt", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext", "ReEncrypt",
                 "EnableKeyRotation", "DisableKeyRotation", "RotateKeyOnDemand", "CreateGrant", "ReplicateKey"},
    "PendingDeletion": {"Encrypt", "Decrypt", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext", "ReEncrypt",
                        "EnableKeyRotation", "DisableKeyRotation", "RotateKeyOnDemand", "CreateGrant", "ReplicateKey",
                        "EnableKey", "DisableKey", "UpdateKeyDescription", "TagResource", "UntagResource",
                        "CreateAlias", "ScheduleKeyDeletion", "UpdateAlias"},
    "PendingImport": {"Encrypt", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext", "RotateKeyOnDemand",
                      "CreateGrant", "EnableKey", "DisableKey", "EnableKeyRotation", "DisableKeyRotation",
                      "CancelKeyDeletion", "ReplicateKey"},
}  # fmt: skip
"""Of each state but Enabled the operations that it does not allow; every other one must succeed."""


@pytest.fixture
def kms(aws: Any, clock: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *_: clock.now().replace(tzinfo=None))
    return aws("kms")


def refused(code: str, text: str | None = None) -> Any:
    return pytest.raises(ClientError, check=lambda error: _is(error, code, text))


def _is(error: ClientError, code: str, text: str | None) -> bool:
    told = error.response["Error"]
    return told["Code"] == code and (text is None or told.get("Message", "") == text)


def made(kms: Any, **more: Any) -> str:
    return str(kms.create_key(**more)["KeyMetadata"]["KeyId"])


def test_a_key_is_described_as_it_was_made(kms: Any) -> None:
    told = kms.create_key(Description="mine", Tags=[{"TagKey": "a", "TagValue": "b"}])["KeyMetadata"]
    assert kms.describe_key(KeyId=told["Arn"])["KeyMetadata"] == told
    told.pop("CreationDate")
    assert len(told.pop("CurrentKeyMaterialId")) == 64
    key_id, arn = told.pop("KeyId"), told.pop("Arn")
    assert arn == f"arn:aws:kms:eu-west-1:{told.pop('AWSAccountId')}:key/{key_id}"
    assert told == {
        "Enabled": True, "Description": "mine", "KeyUsage": "ENCRYPT_DECRYPT", "KeyState": "Enabled",
        "Origin": "AWS_KMS", "KeyManager": "CUSTOMER", "CustomerMasterKeySpec": "SYMMETRIC_DEFAULT",
        "KeySpec": "SYMMETRIC_DEFAULT", "EncryptionAlgorithms": ["SYMMETRIC_DEFAULT"], "MultiRegion": False,
    }  # fmt: skip
    assert kms.list_resource_tags(KeyId=key_id)["Tags"] == [{"TagKey": "a", "TagValue": "b"}]


def test_a_key_that_cannot_be_is_refused(kms: Any) -> None:
    with refused(
        "ValidationException",
        "You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys.",
    ):
        kms.create_key(KeySpec="HMAC_256")
    with refused("ValidationException", "KeyUsage KEY_AGREEMENT is not compatible with KeySpec RSA_2048"):
        kms.create_key(KeySpec="RSA_2048", KeyUsage="KEY_AGREEMENT")
    with refused("TagException", "Too many tags"):
        kms.create_key(Tags=[{"TagKey": f"k{number}", "TagValue": ""} for number in range(51)])
    with refused("TagException", "Tags beginning with aws: are reserved"):
        kms.create_key(Tags=[{"TagKey": "AWS:x", "TagValue": ""}])
    with refused("MalformedPolicyDocumentException"):
        kms.create_key(Policy="no policy")
    with refused("CustomKeyStoreNotFoundException"):
        kms.create_key(CustomKeyStoreId="cks-1")
    assert kms.list_keys()["Keys"] == []


def test_a_key_is_found_by_every_form_and_missed_with_the_known_texts(kms: Any, aws: Any) -> None:
    told = kms.create_key()["KeyMetadata"]
    kms.create_alias(AliasName="alias/mine", TargetKeyId=told["KeyId"])
    alias_arn = told["Arn"].replace(f"key/{told['KeyId']}", "alias/mine")
    for reference in (told["KeyId"], told["Arn"], "alias/mine", alias_arn):
        assert kms.describe_key(KeyId=reference)["KeyMetadata"]["KeyId"] == told["KeyId"]
    for wrong, text in (
        ("fake-key-id", "Invalid keyId 'fake-key-id'"),
        ("mrk-fake-key-id", "Invalid keyId 'mrk-fake-key-id'"),
        ("134f2428cec14b25a1ae9048164dba47", "Invalid keyId '134f2428cec14b25a1ae9048164dba47'"),
        ("alias/none", f"Alias {alias_arn[:-4]}none is not found."),
        (told["Arn"].replace("eu-west-1", "us-west-2"), "Invalid arn us-west-2"),
    ):
        with refused("NotFoundException", text):
            kms.describe_key(KeyId=wrong)
    elsewhere = aws("kms", region="us-west-2")
    with refused("NotFoundException", f"Key '{told['Arn'].replace('eu-west-1', 'us-west-2')}' does not exist"):
        elsewhere.describe_key(KeyId=told["KeyId"])
    with refused("NotFoundException", "Invalid keyId alias/mine"):
        kms.enable_key_rotation(KeyId="alias/mine")


def test_keys_of_services_are_made_when_they_are_named(kms: Any) -> None:
    told = kms.describe_key(KeyId="alias/aws/ssm")["KeyMetadata"]
    assert told["KeyManager"] == "AWS"
    assert kms.encrypt(KeyId="alias/aws/secretsmanager", Plaintext=b"x")["KeyId"] != told["Arn"]
    assert [each["AliasName"] for each in kms.list_aliases()["Aliases"]] == [
        "alias/aws/secretsmanager",
        "alias/aws/ssm",
    ]
    for change in (kms.disable_key, kms.schedule_key_deletion):
        with refused("AccessDeniedException"):
            change(KeyId=told["KeyId"])
    assert kms.get_key_rotation_status(KeyId=told["KeyId"])["RotationPeriodInDays"] == 365


def test_lists_come_in_pages(kms: Any) -> None:
    keys = {made(kms) for _ in range(5)}
    found: list[str] = []
    answer = kms.list_keys(Limit=2)
    while True:
        found += [each["KeyId"] for each in answer["Keys"]]
        if not answer["Truncated"]:
            break
        answer = kms.list_keys(Limit=2, Marker=answer["NextMarker"])
    assert sorted(found) == sorted(keys)
    with refused("InvalidMarkerException"):
        kms.list_keys(Marker="nonsense")


def test_aliases_are_made_moved_and_removed(kms: Any) -> None:
    one, two = made(kms), made(kms)
    kms.create_alias(AliasName="alias/a", TargetKeyId=one)
    with refused("AlreadyExistsException"):
        kms.create_alias(AliasName="alias/a", TargetKeyId=two)
    kms.update_alias(AliasName="alias/a", TargetKeyId=two)
    assert kms.list_aliases(KeyId=one)["Aliases"] == []
    assert [each["TargetKeyId"] for each in kms.list_aliases(KeyId=two)["Aliases"]] == [two]
    with refused("ValidationException"):
        kms.update_alias(AliasName="alias/a", TargetKeyId=made(kms, KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC"))
    kms.delete_alias(AliasName="alias/a")
    with refused("NotFoundException"):
        kms.delete_alias(AliasName="alias/a")
    with refused("ValidationException"):
        kms.create_alias(AliasName="plain", TargetKeyId=one)
    with refused("NotAuthorizedException"):
        kms.create_alias(AliasName="alias/aws/mine", TargetKeyId=one)


def test_tags_change_and_are_refused_as_known(kms: Any) -> None:
    key = made(kms)
    kms.tag_resource(KeyId=key, Tags=[{"TagKey": "a", "TagValue": "1"}, {"TagKey": "b", "TagValue": "2"}])
    kms.tag_resource(KeyId=key, Tags=[{"TagKey": "a", "TagValue": "3"}])
    kms.untag_resource(KeyId=key, TagKeys=["b", "none"])
    assert kms.list_resource_tags(KeyId=key)["Tags"] == [{"TagKey": "a", "TagValue": "3"}]
    with refused("TagException", "Duplicate tag keys"):
        kms.tag_resource(KeyId=key, Tags=[{"TagKey": "c", "TagValue": "1"}, {"TagKey": "c", "TagValue": "2"}])


@pytest.mark.parametrize("state", ["Enabled", *REFUSED])
def test_a_state_allows_what_it_allows(kms: Any, state: str) -> None:
    names = [
        "Encrypt", "Decrypt", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext", "ReEncrypt", "DescribeKey",
        "EnableKeyRotation", "DisableKeyRotation", "GetKeyRotationStatus", "RotateKeyOnDemand", "CreateGrant",
        "ListGrants", "EnableKey", "DisableKey", "UpdateKeyDescription", "TagResource", "UntagResource", "CreateAlias",
        "UpdateAlias", "GetKeyPolicy", "PutKeyPolicy", "ScheduleKeyDeletion", "CancelKeyDeletion", "ReplicateKey",
    ]  # fmt: skip
    for name in names:
        if state == "PendingImport" and name in ("Decrypt", "ReEncrypt"):
            continue  # there is no ciphertext of such a key
        key = made(kms, MultiRegion=True, **({"Origin": "EXTERNAL"} if state == "PendingImport" else {}))
        other = made(kms, MultiRegion=True)
        blob = kms.encrypt(KeyId=other if state == "PendingImport" else key, Plaintext=b"x")["CiphertextBlob"]
        alias = f"alias/{name}"
        if name == "UpdateAlias":
            kms.create_alias(AliasName=alias, TargetKeyId=other)
        if state == "Disabled":
            kms.disable_key(KeyId=key)
        elif state == "PendingDeletion":
            kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
        members: dict[str, Any] = {
            "Encrypt": {"Plaintext": b"x"},
            "Decrypt": {"CiphertextBlob": blob},
            "ReEncrypt": {"CiphertextBlob": blob, "DestinationKeyId": other},
            "GenerateDataKey": {"KeySpec": "AES_256"},
            "GenerateDataKeyWithoutPlaintext": {"NumberOfBytes": 9},
            "CreateGrant": {"GranteePrincipal": "arn:aws:iam::123456789012:root", "Operations": ["DescribeKey"]},
            "UpdateKeyDescription": {"Description": "d"},
            "TagResource": {"Tags": [{"TagKey": "a", "TagValue": "b"}]},
            "UntagResource": {"TagKeys": ["a"]},
            "CreateAlias": {"AliasName": alias, "TargetKeyId": key},
            "UpdateAlias": {"AliasName": alias, "TargetKeyId": key},
            "PutKeyPolicy": {"Policy": kms.get_key_policy(KeyId=other)["Policy"]},
            "ReplicateKey": {"ReplicaRegion": "us-east-1"},
        }
        if name not in ("ReEncrypt", "CreateAlias", "UpdateAlias"):
            members.setdefault(name, {})["KeyId"] = key
        if name == "CancelKeyDeletion" and state != "PendingDeletion":
            with refused("KMSInvalidStateException", f"{_arn(kms, key)} is not pending deletion."):
                kms.cancel_key_deletion(KeyId=key)
            continue
        method = getattr(kms, _snake(name))
        if name in REFUSED.get(state, set()):
            with pytest.raises(ClientError) as raised:
                method(**members[name])
            code = raised.value.response["Error"]["Code"]
            external = state == "PendingImport" and "KeyRotation" in name  # its origin is told first
            wanted = "DisabledException" if state == "Disabled" else "KMSInvalidStateException"
            assert code == ("UnsupportedOperationException" if external else wanted), (name, code)
        else:
            method(**members[name])


def _arn(kms: Any, key: str) -> str:
    return str(kms.describe_key(KeyId=key)["KeyMetadata"]["Arn"])


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)[1:]


def test_deletion_waits_can_be_cancelled_and_destroys(kms: Any, server: Any) -> None:
    kept, lost = made(kms), made(kms)
    blob = kms.encrypt(KeyId=lost, Plaintext=b"gone")["CiphertextBlob"]
    kms.create_alias(AliasName="alias/lost", TargetKeyId=lost)
    with refused("ValidationException", "PendingWindowInDays must be between 7 and 30"):
        kms.schedule_key_deletion(KeyId=lost, PendingWindowInDays=6)
    for key in (kept, lost):
        assert kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)["KeyState"] == "PendingDeletion"
    assert kms.describe_key(KeyId=lost)["KeyMetadata"]["DeletionDate"]
    kms.cancel_key_deletion(KeyId=kept)
    assert kms.describe_key(KeyId=kept)["KeyMetadata"]["KeyState"] == "Disabled"
    server.run(delete.run(server.application.house))
    assert kms.describe_key(KeyId=lost)["KeyMetadata"]["KeyState"] == "PendingDeletion"
    server.advance(days=7, seconds=1)
    server.run(delete.run(server.application.house))
    with refused("NotFoundException"):
        kms.describe_key(KeyId=lost)
    with refused(
        "AccessDeniedException",
        "The ciphertext refers to a customer master key that does not exist, does not exist in this region, "
        "or you are not allowed to access.",
    ):
        kms.decrypt(CiphertextBlob=blob)
    assert [each["AliasName"] for each in kms.list_aliases()["Aliases"] if "TargetKeyId" in each] == []
    assert [each["KeyId"] for each in kms.list_keys()["Keys"]] == [kept]


def test_a_key_that_waits_to_be_deleted_does_not_rotate(kms: Any) -> None:
    key = made(kms)
    kms.enable_key_rotation(KeyId=key, RotationPeriodInDays=90)
    kms.schedule_key_deletion(KeyId=key)
    status = kms.get_key_rotation_status(KeyId=key)
    status.pop("ResponseMetadata")
    assert status == {"KeyId": _arn(kms, key), "KeyRotationEnabled": False}
    kms.cancel_key_deletion(KeyId=key)
    assert kms.get_key_rotation_status(KeyId=key)["RotationPeriodInDays"] == 90


def test_a_key_without_its_material_waits_for_it_again_after_a_cancelled_deletion(kms: Any) -> None:
    key = made(kms, Origin="EXTERNAL")
    kms.schedule_key_deletion(KeyId=key)
    kms.cancel_key_deletion(KeyId=key)
    assert kms.describe_key(KeyId=key)["KeyMetadata"]["KeyState"] == "PendingImport"
    with refused("KMSInvalidStateException", f"{_arn(kms, key)} is pending import."):
        kms.enable_key(KeyId=key)


def test_a_key_is_the_same_in_several_regions(kms: Any, aws: Any, server: Any) -> None:
    key = made(kms, MultiRegion=True)
    assert key.startswith("mrk-")
    elsewhere = aws("kms", region="us-east-1")
    told = kms.replicate_key(KeyId=key, ReplicaRegion="us-east-1")["ReplicaKeyMetadata"]
    assert told["KeyState"] == "Creating"
    assert told["MultiRegionConfiguration"]["MultiRegionKeyType"] == "REPLICA"
    kms.rotate_key_on_demand(KeyId=key)
    blob = kms.encrypt(KeyId=key, Plaintext=b"everywhere")["CiphertextBlob"]
    assert elsewhere.decrypt(CiphertextBlob=blob)["Plaintext"] == b"everywhere"
    kms.enable_key_rotation(KeyId=key, RotationPeriodInDays=90)
    statuses = [each.get_key_rotation_status(KeyId=key) for each in (kms, elsewhere)]
    assert [each["RotationPeriodInDays"] for each in statuses] == [90, 90]
    assert statuses[0]["NextRotationDate"] == statuses[1]["NextRotationDate"]
    with refused("UnsupportedOperationException"):
        elsewhere.replicate_key(KeyId=key, ReplicaRegion="us-west-2")
    with refused("AlreadyExistsException"):
        kms.replicate_key(KeyId=key, ReplicaRegion="us-east-1")
    assert kms.schedule_key_deletion(KeyId=key)["KeyState"] == "PendingReplicaDeletion"
    kms.cancel_key_deletion(KeyId=key)
    kms.enable_key(KeyId=key)
    kms.update_primary_region(KeyId=key, PrimaryRegion="us-east-1")
    regions = kms.describe_key(KeyId=key)["KeyMetadata"]["MultiRegionConfiguration"]
    assert regions["MultiRegionKeyType"] == "REPLICA"
    assert regions["PrimaryKey"]["Region"] == "us-east-1"
    elsewhere.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
    kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
    server.advance(days=7, seconds=1)
    server.run(delete.run(server.application.house))
    left = elsewhere.describe_key(KeyId=key)["KeyMetadata"]
    assert left["KeyState"] == "PendingDeletion"
    server.advance(days=7, seconds=1)
    server.run(delete.run(server.application.house))
    assert elsewhere.list_keys()["Keys"] == []


def test_no_plaintext_lies_in_the_database(kms: Any, server: Any, database_url: str) -> None:
    key = made(kms)
    canary = b"canary-of-the-plaintext"
    data_key = kms.generate_data_key(KeyId=key, KeySpec="AES_256")["Plaintext"]
    kms.encrypt(KeyId=key, Plaintext=canary)
    kms.rotate_key_on_demand(KeyId=key)
    if not database_url.startswith("sqlite"):
        assert database_url.startswith("postgresql")
        return
    path = database_url.removeprefix("sqlite:///")
    with sqlite3.connect(path) as connection:
        materials = connection.execute("select wrapped, material_id from kms_material").fetchall()
        dumped = "\n".join(connection.iterdump()).encode()
    assert len(materials) == 2
    for plain in (canary, data_key):
        assert plain not in dumped
        assert plain.hex().upper().encode() not in dumped
