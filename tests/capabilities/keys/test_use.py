"""Encrypting and decrypting through the front door; rotation while it goes on; policies and grants."""

import base64
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import botocore.auth
import pytest
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pilothouse.capabilities import keys
from pilothouse.capabilities.keys.jobs import rotate_due
from pilothouse.identity.principals import Principal

CONTEXT = {"who": "me"}


@pytest.fixture
def kms(aws: Any, clock: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *_: clock.now().replace(tzinfo=None))
    return aws("kms")


@pytest.fixture
def key(kms: Any) -> str:
    return str(kms.create_key()["KeyMetadata"]["KeyId"])


def code_of(function: Any, **members: Any) -> str:
    with pytest.raises(ClientError) as raised:
        function(**members)
    return str(raised.value.response["Error"]["Code"])


def text_of(function: Any, **members: Any) -> str:
    with pytest.raises(ClientError) as raised:
        function(**members)
    return str(raised.value.response["Error"]["Message"])


def test_what_was_encrypted_opens_under_its_context_alone(kms: Any, key: str) -> None:
    answer = kms.encrypt(KeyId=key, Plaintext=b"x" * 4096, EncryptionContext=CONTEXT)
    assert answer["EncryptionAlgorithm"] == "SYMMETRIC_DEFAULT"
    blob = answer["CiphertextBlob"]
    assert len(blob) <= 6144
    opened = kms.decrypt(CiphertextBlob=blob, EncryptionContext=CONTEXT)
    assert opened["Plaintext"] == b"x" * 4096
    assert opened["KeyId"] == answer["KeyId"]
    assert len(opened["KeyMaterialId"]) == 64
    for context in ({}, {"who": "you"}, CONTEXT | {"more": "1"}):
        assert code_of(kms.decrypt, CiphertextBlob=blob, EncryptionContext=context) == "InvalidCiphertextException"
    assert text_of(kms.encrypt, KeyId=key, Plaintext=b"x" * 4097) == (
        "1 validation error detected: Value at 'plaintext' failed to satisfy constraint: "
        "Member must have length less than or equal to 4096"
    )


def test_a_changed_or_foreign_ciphertext_is_refused(kms: Any, aws: Any, key: str) -> None:
    blob = kms.encrypt(KeyId=key, Plaintext=b"secret")["CiphertextBlob"]
    for at in range(0, len(blob), 3):
        flipped = blob[:at] + bytes([blob[at] ^ 1]) + blob[at + 1 :]
        code = code_of(kms.decrypt, CiphertextBlob=flipped)
        assert code in ("InvalidCiphertextException", "AccessDeniedException"), at
    assert code_of(kms.decrypt, CiphertextBlob=b"nonsense") == "InvalidCiphertextException"
    other = kms.create_key()["KeyMetadata"]["KeyId"]
    assert code_of(kms.decrypt, CiphertextBlob=blob, KeyId=other) == "IncorrectKeyException"
    assert code_of(aws("kms", region="us-east-1").decrypt, CiphertextBlob=blob) == "AccessDeniedException"


def test_a_ciphertext_of_another_key_is_told_before_what_is_wrong_with_the_named_one(kms: Any, key: str) -> None:
    blob = kms.encrypt(KeyId=key, Plaintext=b"secret")["CiphertextBlob"]
    mac_key = kms.create_key(KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")["KeyMetadata"]["KeyId"]
    assert code_of(kms.decrypt, CiphertextBlob=blob, KeyId=mac_key) == "IncorrectKeyException"
    assert (
        code_of(kms.re_encrypt, CiphertextBlob=blob, SourceKeyId=mac_key, DestinationKeyId=mac_key)
        == "IncorrectKeyException"
    )
    assert code_of(kms.decrypt, CiphertextBlob=b"nonsense", KeyId=mac_key) == "InvalidKeyUsageException"
    assert code_of(kms.decrypt, CiphertextBlob=b"nonsense", KeyId=key) == "InvalidCiphertextException"


def test_a_disabled_key_is_told_before_that_it_cannot_rotate(kms: Any) -> None:
    mac_key = kms.create_key(KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")["KeyMetadata"]["KeyId"]
    assert code_of(kms.rotate_key_on_demand, KeyId=mac_key) == "UnsupportedOperationException"
    kms.disable_key(KeyId=mac_key)
    assert code_of(kms.rotate_key_on_demand, KeyId=mac_key) == "DisabledException"


def test_an_undecrypted_parameter_opens_with_its_arn(kms: Any, aws: Any) -> None:
    ssm = aws("ssm")
    ssm.put_parameter(Name="/a", Value="secret", Type="SecureString")
    found = ssm.get_parameter(Name="/a")["Parameter"]
    opened = kms.decrypt(
        CiphertextBlob=base64.b64decode(found["Value"]), EncryptionContext={"PARAMETER_ARN": found["ARN"]}
    )
    assert opened["Plaintext"] == b"secret"


def test_data_keys(kms: Any, key: str) -> None:
    answer = kms.generate_data_key(KeyId=key, KeySpec="AES_128", EncryptionContext=CONTEXT)
    assert len(answer["Plaintext"]) == 16
    opened = kms.decrypt(CiphertextBlob=answer["CiphertextBlob"], EncryptionContext=CONTEXT)
    assert opened["Plaintext"] == answer["Plaintext"]
    hidden = kms.generate_data_key_without_plaintext(KeyId=key, NumberOfBytes=7)
    assert "Plaintext" not in hidden
    assert len(kms.decrypt(CiphertextBlob=hidden["CiphertextBlob"])["Plaintext"]) == 7
    for members in ({}, {"KeySpec": "AES_256", "NumberOfBytes": 5}):
        assert code_of(kms.generate_data_key, KeyId=key, **members) == "ValidationException"
    hmac_key = kms.create_key(KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")["KeyMetadata"]
    assert code_of(kms.generate_data_key, KeyId=hmac_key["KeyId"], KeySpec="AES_256") == "InvalidKeyUsageException"
    assert text_of(kms.encrypt, KeyId=hmac_key["KeyId"], Plaintext=b"x") == (
        f"{hmac_key['Arn']} key usage is GENERATE_VERIFY_MAC which is not valid for Encrypt."
    )


def test_re_encryption_changes_key_and_context(kms: Any, key: str) -> None:
    other = kms.create_key()["KeyMetadata"]["Arn"]
    blob = kms.encrypt(KeyId=key, Plaintext=b"x", EncryptionContext=CONTEXT)["CiphertextBlob"]
    answer = kms.re_encrypt(
        CiphertextBlob=blob, SourceEncryptionContext=CONTEXT, DestinationKeyId=other, SourceKeyId=key
    )
    assert answer["KeyId"] == other
    assert kms.decrypt(CiphertextBlob=answer["CiphertextBlob"])["Plaintext"] == b"x"
    wrong = {"CiphertextBlob": blob, "DestinationKeyId": other, "SourceKeyId": other}
    assert code_of(kms.re_encrypt, **wrong, SourceEncryptionContext=CONTEXT) == "IncorrectKeyException"


def test_random_bytes_and_dry_runs(kms: Any, key: str) -> None:
    assert len(kms.generate_random(NumberOfBytes=1024)["Plaintext"]) == 1024
    assert text_of(kms.generate_random) == "NumberOfBytes is required."
    blob = kms.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
    said = "The request would have succeeded, but the DryRun option is set."
    assert text_of(kms.encrypt, KeyId=key, Plaintext=b"x", DryRun=True) == said
    assert code_of(kms.decrypt, CiphertextBlob=blob, DryRun=True) == "DryRunOperationException"
    assert code_of(kms.generate_data_key, KeyId=key, KeySpec="AES_256", DryRun=True) == "DryRunOperationException"
    kms.disable_key(KeyId=key)
    assert code_of(kms.encrypt, KeyId=key, Plaintext=b"x", DryRun=True) == "DisabledException"


def test_permission_is_tried_without_a_ciphertext(kms: Any, key: str) -> None:
    blob = kms.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
    tried = {"DryRun": True, "DryRunModifiers": ["IGNORE_CIPHERTEXT"]}
    for more in ({}, {"CiphertextBlob": b"nonsense"}):
        assert code_of(kms.decrypt, KeyId=key, **tried, **more) == "DryRunOperationException"
        asked = {"SourceKeyId": key, "DestinationKeyId": key, **tried, **more}
        assert code_of(kms.re_encrypt, **asked) == "DryRunOperationException"
    assert code_of(kms.decrypt, CiphertextBlob=blob, **tried) == "ValidationException"  # which key, it must be told
    assert code_of(kms.decrypt, KeyId=key, DryRunModifiers=["IGNORE_CIPHERTEXT"]) == "ValidationException"
    mac_key = kms.create_key(KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")["KeyMetadata"]["KeyId"]
    assert code_of(kms.decrypt, KeyId=mac_key, **tried) == "InvalidKeyUsageException"
    pair = kms.create_key(KeySpec="RSA_2048", KeyUsage="ENCRYPT_DECRYPT")["KeyMetadata"]["KeyId"]
    oaep = {"EncryptionAlgorithm": "RSAES_OAEP_SHA_256"}
    assert code_of(kms.decrypt, KeyId=pair, **oaep, **tried) == "DryRunOperationException"
    kms.disable_key(KeyId=key)
    assert code_of(kms.decrypt, KeyId=key, **tried) == "DisabledException"


def test_there_are_no_custom_key_stores(kms: Any) -> None:
    asked = {"NumberOfBytes": 1, "CustomKeyStoreId": "cks-1"}
    assert code_of(kms.generate_random, **asked) == "CustomKeyStoreNotFoundException"
    told = kms.describe_custom_key_stores()
    assert (told["CustomKeyStores"], told["Truncated"]) == ([], False)
    for name in ("connect", "disconnect", "update", "delete"):
        ask = getattr(kms, f"{name}_custom_key_store")
        assert code_of(ask, CustomKeyStoreId="cks-1") == "CustomKeyStoreNotFoundException"
    for named in ({"CustomKeyStoreId": "cks-1"}, {"CustomKeyStoreName": "mine"}):
        assert code_of(kms.describe_custom_key_stores, **named) == "CustomKeyStoreNotFoundException"
    assert code_of(kms.describe_custom_key_stores, Marker="x") == "InvalidMarkerException"


def test_policies_that_cannot_be_are_refused_with_the_services_words(kms: Any, key: str) -> None:
    code, text = "MalformedPolicyDocumentException", "Policy contains a statement with one or more invalid principals."
    wrong = {"KeyId": key, "Policy": policy(allow("nobody", "kms:*"))}
    assert (code_of(kms.put_key_policy, **wrong), text_of(kms.put_key_policy, **wrong)) == (code, text)
    long = {"KeyId": key, "Policy": policy(allow("123456789012", "kms:*", Sid="x" * 32768))}
    assert code_of(kms.put_key_policy, **long) == "LimitExceededException"


def test_rotation_keeps_what_was_encrypted(kms: Any, server: Any, key: str) -> None:
    blobs = [kms.encrypt(KeyId=key, Plaintext=b"0")["CiphertextBlob"]]
    first = kms.describe_key(KeyId=key)["KeyMetadata"]["CurrentKeyMaterialId"]
    assert kms.get_key_rotation_status(KeyId=key)["KeyRotationEnabled"] is False
    kms.enable_key_rotation(KeyId=key, RotationPeriodInDays=90)
    kms.rotate_key_on_demand(KeyId=key)
    blobs.append(kms.encrypt(KeyId=key, Plaintext=b"1")["CiphertextBlob"])
    server.advance(days=90, seconds=1)
    server.run(rotate_due.run(server.application.house))
    server.run(rotate_due.run(server.application.house))
    blobs.append(kms.encrypt(KeyId=key, Plaintext=b"2")["CiphertextBlob"])
    opened = [kms.decrypt(CiphertextBlob=blob) for blob in blobs]
    assert [each["Plaintext"] for each in opened] == [b"0", b"1", b"2"]
    assert len({each["KeyMaterialId"] for each in opened}) == 3
    assert opened[0]["KeyMaterialId"] == first
    listed = kms.list_key_rotations(KeyId=key)["Rotations"]
    assert [each["RotationType"] for each in listed] == ["ON_DEMAND", "AUTOMATIC"]
    everything = kms.list_key_rotations(KeyId=key, IncludeKeyMaterial="ALL_KEY_MATERIAL")["Rotations"]
    assert [each["KeyMaterialState"] for each in everything] == ["NON_CURRENT", "NON_CURRENT", "CURRENT"]
    kms.disable_key_rotation(KeyId=key)
    assert "NextRotationDate" not in kms.get_key_rotation_status(KeyId=key)


def test_rotations_on_demand_are_numbered(kms: Any, key: str) -> None:
    for _ in range(25):
        kms.rotate_key_on_demand(KeyId=key)
    assert code_of(kms.rotate_key_on_demand, KeyId=key) == "LimitExceededException"


def test_reads_go_on_while_a_key_rotates(kms: Any, aws: Any, key: str) -> None:
    blob = kms.encrypt(KeyId=key, Plaintext=b"steady")["CiphertextBlob"]

    def read(_: int) -> bytes:
        made = kms.encrypt(KeyId=key, Plaintext=b"new")["CiphertextBlob"]
        assert kms.decrypt(CiphertextBlob=made)["Plaintext"] == b"new"
        return bytes(kms.decrypt(CiphertextBlob=blob)["Plaintext"])

    with ThreadPoolExecutor(4) as pool:
        reads = pool.map(read, range(40))
        for _ in range(10):
            kms.rotate_key_on_demand(KeyId=key)
        assert set(reads) == {b"steady"}


def policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(principal: str, *actions: str, **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Principal": {"AWS": principal}, "Action": list(actions), "Resource": "*", **more}


def test_the_key_policy_rules(kms: Any, server: Any, key: str) -> None:
    account = server.application.root.account_id
    root = f"arn:aws:iam::{account}:root"
    assert kms.list_key_policies(KeyId=key)["PolicyNames"] == ["default"]
    default = json.loads(kms.get_key_policy(KeyId=key)["Policy"])
    assert default["Statement"][0] == {
        "Sid": "Enable IAM User Permissions", "Effect": "Allow", "Principal": {"AWS": root}, "Action": "kms:*",
        "Resource": "*",
    }  # fmt: skip
    denying = policy(allow(root, "kms:*"), allow("*", "kms:Encrypt") | {"Effect": "Deny"})
    kms.put_key_policy(KeyId=key, Policy=denying)
    assert kms.get_key_policy(KeyId=key)["Policy"] == denying
    assert code_of(kms.encrypt, KeyId=key, Plaintext=b"x") == "AccessDeniedException"
    kms.generate_data_key(KeyId=key, KeySpec="AES_256")
    lost = policy(allow(root, "kms:Encrypt"))
    assert text_of(kms.put_key_policy, KeyId=key, Policy=lost) == (
        "The new key policy will not allow you to update the key policy in the future."
    )
    kms.put_key_policy(KeyId=key, Policy=lost, BypassPolicyLockoutSafetyCheck=True)
    kms.encrypt(KeyId=key, Plaintext=b"x")
    assert code_of(kms.describe_key, KeyId=key) == "AccessDeniedException"


def stranger(account: str = "210987654321") -> Principal:
    return Principal(
        kind="root", account_id=account, arn=f"arn:aws:iam::{account}:root", user_id=account, access_key_id="AKIA"
    )


def encrypted_by(server: Any, who: Principal, key_arn: str, context: dict[str, str]) -> bytes:
    """What another account's principal gets from the face, or the error's code in its place."""
    house = server.application.house

    async def work() -> bytes:
        async with house.database.transaction() as tx:
            try:
                blob, _ = await keys.encrypt(
                    house, tx, who.account_id, "eu-west-1", key_arn, b"x", context, by=who,
                    via="ssm.eu-west-1.amazonaws.com",
                )  # fmt: skip
            except Exception as error:
                return type(error).__name__.encode()
            return blob

    return bytes(server.run(work()))


def opened_by(server: Any, who: Principal, blob: bytes, context: dict[str, str]) -> bytes:
    house = server.application.house

    async def work() -> bytes:
        async with house.database.reading() as tx:
            try:
                return await keys.Decryption(house, tx, who.account_id, "eu-west-1", by=who).open(blob, context)
            except Exception as error:
                return type(error).__name__.encode()

    return bytes(server.run(work()))


def test_another_account_needs_the_policy_or_a_grant(kms: Any, server: Any, key: str) -> None:
    account = server.application.root.account_id
    arn = kms.describe_key(KeyId=key)["KeyMetadata"]["Arn"]
    who = stranger()
    assert encrypted_by(server, who, arn, {}) == b"AccessDeniedException"
    via = {"StringEquals": {"kms:ViaService": "ssm.eu-west-1.amazonaws.com"}}
    allowing = policy(allow(f"arn:aws:iam::{account}:root", "kms:*"), allow(who.arn, "kms:Encrypt", Condition=via))
    kms.put_key_policy(KeyId=key, Policy=allowing)
    blob = encrypted_by(server, who, arn, CONTEXT)
    assert kms.decrypt(CiphertextBlob=blob, EncryptionContext=CONTEXT)["Plaintext"] == b"x"
    assert opened_by(server, who, blob, CONTEXT) == b"AccessDeniedException"
    grant = kms.create_grant(
        KeyId=key, GranteePrincipal=who.arn, Operations=["Decrypt"],
        Constraints={"EncryptionContextSubset": CONTEXT},
    )  # fmt: skip
    assert opened_by(server, who, blob, CONTEXT) == b"x"
    other = encrypted_by(server, who, arn, {})
    assert opened_by(server, who, other, {}) == b"AccessDeniedException"
    kms.revoke_grant(KeyId=key, GrantId=grant["GrantId"])
    assert opened_by(server, who, blob, CONTEXT) == b"AccessDeniedException"


def test_grants_are_made_once_listed_and_ended(kms: Any, server: Any, key: str) -> None:
    who = f"arn:aws:iam::{server.application.root.account_id}:role/app"
    asked = {"KeyId": key, "GranteePrincipal": who, "Operations": ["Decrypt"], "Name": "n", "RetiringPrincipal": who}
    one, again = kms.create_grant(**asked), kms.create_grant(**asked)
    assert one["GrantId"] == again["GrantId"]
    assert one["GrantToken"] != again["GrantToken"]
    unnamed = kms.create_grant(KeyId=key, GranteePrincipal=who, Operations=["Encrypt"])
    told = kms.list_grants(KeyId=key, GrantId=one["GrantId"])["Grants"][0]
    assert told["Operations"] == ["Decrypt"]
    assert told["GranteePrincipal"] == told["RetiringPrincipal"] == who
    assert [each["GrantId"] for each in kms.list_retirable_grants(RetiringPrincipal=who)["Grants"]] == [one["GrantId"]]
    first = kms.list_grants(KeyId=key, Limit=1)
    assert first["Truncated"]
    assert len(kms.list_grants(KeyId=key, Limit=1, Marker=first["NextMarker"])["Grants"]) == 1
    kms.retire_grant(GrantToken=one["GrantToken"])
    kms.retire_grant(KeyId=kms.describe_key(KeyId=key)["KeyMetadata"]["Arn"], GrantId=unnamed["GrantId"])
    assert kms.list_grants(KeyId=key)["Grants"] == []
    assert code_of(kms.revoke_grant, KeyId=key, GrantId=one["GrantId"]) == "NotFoundException"
    assert code_of(kms.retire_grant, GrantToken="bm9uc2Vuc2U=") == "InvalidGrantTokenException"
    wrong = {"KeyId": key, "GranteePrincipal": who, "Operations": ["Sign"]}
    assert code_of(kms.create_grant, **wrong) == "ValidationException"
    assert code_of(kms.create_grant, **(wrong | {"GranteePrincipal": "arn:aws:nonsense"})) == "InvalidArnException"


@given(context=st.dictionaries(st.text(min_size=1, max_size=20), st.text(max_size=20), max_size=4), text=st.binary())
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_plaintext_and_context_come_back(kms: Any, key: str, context: dict[str, str], text: bytes) -> None:
    context = {name.replace("\x00", "0"): value.replace("\x00", "0") for name, value in context.items()}
    plaintext = (text or b"x")[:4096]
    blob = kms.encrypt(KeyId=key, Plaintext=plaintext, EncryptionContext=context)["CiphertextBlob"]
    assert kms.decrypt(CiphertextBlob=blob, EncryptionContext=context)["Plaintext"] == plaintext
