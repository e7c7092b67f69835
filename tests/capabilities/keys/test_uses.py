"""When keys were last used: told at once, kept over a restart, and never of what did not succeed."""

from pathlib import Path
from typing import Any

import boto3
import botocore.auth
import pytest

from pilothouse.capabilities.keys import uses
from pilothouse.capabilities.keys.store import LastUse, UseStore
from pilothouse.runtime.clock import TestClock
from pilothouse.runtime.settings import Settings
from tests.capabilities.keys.refusals import refused
from tests.conftest import Server


@pytest.fixture
def kms(aws: Any, clock: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *_: clock.now().replace(tzinfo=None))
    return aws("kms")


def last(kms: Any, key: str) -> dict[str, Any]:
    told: dict[str, Any] = kms.get_key_last_usage(KeyId=key)["KeyLastUsage"]
    return told


def test_a_key_that_was_never_used(kms: Any) -> None:
    made = kms.create_key()["KeyMetadata"]
    told = kms.get_key_last_usage(KeyId=made["Arn"])
    told.pop("ResponseMetadata")
    assert told == {
        "KeyId": made["KeyId"],
        "KeyLastUsage": {},
        "TrackingStartDate": made["CreationDate"],
        "KeyCreationDate": made["CreationDate"],
    }
    assert refused(kms.get_key_last_usage, KeyId="alias/x") == ("NotFoundException", "Invalid keyId alias/x")


def test_each_use_is_told_with_its_request(kms: Any) -> None:
    key, other = (kms.create_key()["KeyMetadata"]["KeyId"] for _ in range(2))
    answer = kms.encrypt(KeyId=key, Plaintext=b"x")
    told = last(kms, key)
    assert (told["Operation"], told["KmsRequestId"]) == ("Encrypt", answer["ResponseMetadata"]["RequestId"])
    kms.decrypt(CiphertextBlob=answer["CiphertextBlob"])
    assert last(kms, key)["Operation"] == "Decrypt"
    kms.re_encrypt(CiphertextBlob=answer["CiphertextBlob"], DestinationKeyId=other)
    assert last(kms, key)["Operation"] == last(kms, other)["Operation"] == "ReEncrypt"
    kms.generate_data_key_without_plaintext(KeyId=key, KeySpec="AES_256")
    assert last(kms, key)["Operation"] == "GenerateDataKeyWithoutPlaintext"
    kms.generate_data_key_pair(KeyId=key, KeyPairSpec="ECC_NIST_P256")
    assert last(kms, key)["Operation"] == "GenerateDataKeyPair"
    assert "Plaintext" not in str(last(kms, key))


def test_what_does_not_succeed_is_no_use(kms: Any) -> None:
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    blob = kms.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
    before = last(kms, key)
    refused(kms.encrypt, KeyId=key, Plaintext=b"x", DryRun=True)
    refused(kms.decrypt, CiphertextBlob=blob, EncryptionContext={"a": "b"})
    refused(kms.sign, KeyId=key, Message=b"m", SigningAlgorithm="ECDSA_SHA_256")
    kms.describe_key(KeyId=key)
    kms.rotate_key_on_demand(KeyId=key)
    assert last(kms, key) == before


def test_pairs_and_macs_are_used_too(kms: Any) -> None:
    pair = kms.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"]
    asked = {"KeyId": pair, "Message": b"m", "SigningAlgorithm": "ECDSA_SHA_256"}
    signature = kms.sign(**asked)["Signature"]
    assert last(kms, pair)["Operation"] == "Sign"
    kms.verify(**asked, Signature=signature)
    assert last(kms, pair)["Operation"] == "Verify"
    mac_key = kms.create_key(KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")["KeyMetadata"]["KeyId"]
    kms.generate_mac(KeyId=mac_key, Message=b"m", MacAlgorithm="HMAC_SHA_256")
    assert last(kms, mac_key)["Operation"] == "GenerateMac"


@pytest.mark.parametrize(("tier", "puts"), [("Standard", "Encrypt"), ("Advanced", "GenerateDataKey")])
def test_a_parameters_key_is_used_when_it_is_put_and_read(kms: Any, aws: Any, tier: str, puts: str) -> None:
    ssm, key = aws("ssm"), kms.create_key()["KeyMetadata"]["KeyId"]
    ssm.put_parameter(Name="a", Value="v", Type="SecureString", KeyId=key, Tier=tier)
    assert last(kms, key)["Operation"] == puts
    ssm.get_parameter(Name="a")
    assert last(kms, key)["Operation"] == puts
    answer = ssm.get_parameter(Name="a", WithDecryption=True)
    told = last(kms, key)
    assert (told["Operation"], told["KmsRequestId"]) == ("Decrypt", answer["ResponseMetadata"]["RequestId"])


def client_of(server: Server) -> Any:
    root = server.application.root
    client = boto3.client(
        "kms",
        region_name="eu-west-1",
        endpoint_url="http://pilothouse.test",
        aws_access_key_id=root.access_key_id,
        aws_secret_access_key=root.secret,
    )
    client.meta.events.register("before-send.kms", server.answer)
    return client


def test_uses_are_kept_over_a_stop(database_url: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    settings = Settings(data=data, database=database_url)
    server = Server(settings, TestClock())
    try:
        kms = client_of(server)
        key = kms.create_key()["KeyMetadata"]["KeyId"]
        kms.encrypt(KeyId=key, Plaintext=b"x")
        first = last(kms, key)
        server.run(uses.write(server.application.house))
        assert last(kms, key) == first
        kms.generate_data_key(KeyId=key, KeySpec="AES_256")
        second = last(kms, key)
        assert second["Operation"] == "GenerateDataKey"
    finally:
        server.close()
    server = Server(settings, TestClock())
    try:
        assert last(client_of(server), key) == second
    finally:
        server.close()


def test_an_earlier_use_does_not_take_the_place_of_a_later_one(server: Any, kms: Any) -> None:
    """Several processes write what each of them heard of."""
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    account = server.application.root.account_id
    house = server.application.house

    async def put(*written: LastUse) -> None:
        async with house.database.transaction() as tx:
            for use in written:
                await UseStore(tx).put(account, "eu-west-1", key, use)
                await UseStore(tx).put(account, "eu-west-1", "no-such-key", use)

    server.run(put(LastUse("Encrypt", 2000, "b"), LastUse("Decrypt", 1000, "a")))
    told = last(kms, key)
    assert (told["Operation"], told["KmsRequestId"]) == ("Encrypt", "b")
