"""What accounts may set beyond AWS's limits, and the errors while they have not; messages of the Advanced tier."""

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from aws_encryption_sdk import EncryptionSDKClient
from aws_encryption_sdk.identifiers import AlgorithmSuite
from aws_encryption_sdk.key_providers.kms import KMSMasterKey, KMSMasterKeyConfig
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.capabilities import keys
from pilothouse.capabilities.parameters import envelope

Aws = Callable[..., Any]


@pytest.fixture
def ssm(aws: Aws) -> Any:
    return aws("ssm")


def setting(ssm: Any, name: str, value: int | str) -> None:
    ssm.update_service_setting(SettingId=name, SettingValue=str(value))


def refusal(call: Callable[..., Any], /, **request: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**request)
    return str(caught.value.response["Error"]["Message"])


def test_larger_pages_are_refused_as_by_the_model_until_the_account_allows_them(ssm: Any) -> None:
    for number in range(60):
        ssm.put_parameter(Name=f"/p/{number:03}", Value="v", Type="String")
    by_path = {"Path": "/p", "MaxResults": 55}
    assert refusal(ssm.get_parameters_by_path, **by_path) == (
        "1 validation error detected: Value 55 at 'maxResults' failed to satisfy constraint: "
        "Member must have value less than or equal to 10"
    )
    said = "1 validation error detected: Value '55' at 'maxResults' failed to satisfy constraint: Member must have"
    assert refusal(ssm.describe_parameters, MaxResults=55).startswith(said)
    assert refusal(ssm.get_parameter_history, Name="/p/000", MaxResults=55).startswith(said)
    setting(ssm, "/ph/parameter-store/max-page-size", 55)
    assert len(ssm.get_parameters_by_path(**by_path)["Parameters"]) == 55
    assert len(ssm.describe_parameters(MaxResults=55)["Parameters"]) == 55
    assert len(ssm.get_parameter_history(Name="/p/000", MaxResults=55)["Parameters"]) == 1
    assert "less than or equal to 10" in refusal(ssm.get_parameters_by_path, Path="/p", MaxResults=56)
    assert "less than or equal to 10" in refusal(ssm.get_parameters_by_path, Path="/p", MaxResults=5000)
    two = {"Path": "/p", "MaxResults": 55, "ParameterFilters": [{"Key": "Nothing", "Values": ["x"]}]}
    assert refusal(ssm.get_parameters_by_path, **two).startswith("2 validation errors detected: ")


def test_larger_values_where_the_account_allows_them(ssm: Any) -> None:
    large = "é" * (256 << 10)  # half a MiB
    request = {"Name": "/big", "Value": large, "Type": "SecureString", "Tier": "Advanced"}
    assert "8192" in refusal(ssm.put_parameter, **request)
    setting(ssm, "/ph/parameter-store/max-value-bytes", 1 << 20)
    ssm.put_parameter(**request)
    assert ssm.get_parameter(Name="/big", WithDecryption=True)["Parameter"]["Value"] == large
    assert "1048576" in refusal(ssm.put_parameter, **{**request, "Name": "/more", "Value": large * 3})
    assert "4096" in refusal(ssm.put_parameter, **{**request, "Name": "/std", "Tier": "Standard"})


def test_more_versions_where_the_account_keeps_them(ssm: Any) -> None:
    setting(ssm, "/ph/parameter-store/max-versions", 102)
    for number in range(104):
        ssm.put_parameter(Name="/x", Value=str(number), Type="String", Overwrite=True)
    pages = ssm.get_paginator("get_parameter_history").paginate(Name="/x")
    assert [each["Version"] for page in pages for each in page["Parameters"]] == list(range(3, 105))
    setting(ssm, "/ph/parameter-store/max-versions", 100)
    ssm.label_parameter_version(Name="/x", ParameterVersion=4, Labels=["held"])
    assert "Version 4, the oldest version" in refusal(ssm.put_parameter, Name="/x", Value="v", Overwrite=True)


def test_the_account_s_default_tier(ssm: Any) -> None:
    setting(ssm, "/ssm/parameter-store/default-parameter-tier", "Intelligent-Tiering")
    assert ssm.put_parameter(Name="/x", Value="x" * 5000, Type="String")["Tier"] == "Advanced"
    ssm.reset_service_setting(SettingId="/ssm/parameter-store/default-parameter-tier")
    assert "4096" in refusal(ssm.put_parameter, Name="/y", Value="x" * 5000, Type="String")


def test_an_advanced_value_is_a_message_whose_data_key_the_key_service_opens(ssm: Any, aws: Aws) -> None:
    ssm.put_parameter(Name="/s", Value="canary-5f", Type="SecureString", Tier="Advanced")
    shown = ssm.get_parameter(Name="/s")["Parameter"]
    parts = envelope.take_apart(base64.b64decode(shown["Value"]))
    assert parts.context == {"PARAMETER_ARN": shown["ARN"]}
    opened = aws("kms").decrypt(CiphertextBlob=parts.encrypted_data_key, EncryptionContext=parts.context)
    assert opened["KeyId"] == parts.key_arn
    assert envelope.open_with(opened["Plaintext"], parts) == b"canary-5f"
    assert ssm.get_parameter(Name="/s", WithDecryption=True)["Parameter"]["Value"] == "canary-5f"


def test_an_allowed_pattern_has_1024_characters_at_most(ssm: Any) -> None:
    value = "a" * 1024
    ssm.put_parameter(Name="/p", Value=value, Type="String", AllowedPattern=value)
    assert refusal(ssm.put_parameter, Name="/p", Value="a", Overwrite=True).endswith(f"allowedPattern: {value}")
    too_long = refusal(ssm.put_parameter, Name="/q", Value="a", Type="String", AllowedPattern="a" * 1025)
    assert too_long.startswith("1 validation error detected: Value 'aaaa")
    assert "at 'allowedPattern' failed to satisfy constraint: Member must have length less than or equal to 1024" in (
        too_long
    )


def test_the_encryption_sdk_opens_what_is_stored(ssm: Any, aws: Aws) -> None:
    """By code that is not ours, which holds key commitment, context and every tag to its format."""
    value = "canary-\u00e9" * 700
    ssm.put_parameter(Name="/s", Value=value, Type="SecureString", Tier="Advanced")
    shown = ssm.get_parameter(Name="/s")["Parameter"]
    kms = aws("kms")
    key_arn = kms.describe_key(KeyId="alias/aws/ssm")["KeyMetadata"]["Arn"]
    key = KMSMasterKey(config=KMSMasterKeyConfig(key_id=key_arn, client=kms))
    opened, header = EncryptionSDKClient().decrypt(source=base64.b64decode(shown["Value"]), key_provider=key)
    assert opened.decode() == value
    assert header.algorithm is AlgorithmSuite.AES_256_GCM_HKDF_SHA512_COMMIT_KEY
    assert header.encryption_context == {"PARAMETER_ARN": shown["ARN"]}


def test_a_value_encrypted_under_its_key_itself_stays_readable(ssm: Any, server: Any) -> None:
    """As those of the Advanced tier were before they became messages."""
    ssm.put_parameter(Name="/s", Value="old", Type="SecureString", Tier="Advanced")
    shown = ssm.get_parameter(Name="/s")["Parameter"]

    async def as_before() -> None:
        house, account = server.application.house, server.application.root.account_id
        async with house.database.transaction() as tx:
            at = await tx.value("select modified_at from parameter where path = 's'")
            sealed, _ = await keys.encrypt(
                house, tx, account, "eu-west-1", "alias/aws/ssm", b"as before", {"PARAMETER_ARN": shown["ARN"]},
                place=f"parameter version 1 of {at}",
            )  # fmt: skip
            assert not envelope.is_envelope(sealed)
            await tx.execute("update parameter set sealed = :sealed where path = 's'", sealed=sealed)

    server.run(as_before())

    def read(name: str) -> str:
        value: str = ssm.get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"]
        return value

    assert read("/s") == "as before"
    ssm.put_parameter(Name="/s", Value="new", Overwrite=True)
    assert (read("/s:1"), read("/s:2")) == ("as before", "new")
    assert [each["Value"] for each in ssm.get_parameter_history(Name="/s", WithDecryption=True)["Parameters"]] == [
        "as before",
        "new",
    ]


def test_a_message_opens_in_its_own_version_s_row_only(ssm: Any, server: Any) -> None:
    for value in ("old", "new"):
        ssm.put_parameter(Name="/s", Value=value, Type="SecureString", Tier="Advanced", Overwrite=True)

    async def put_back() -> None:
        async with server.application.house.database.transaction() as tx:
            await tx.execute("update parameter set sealed = (select sealed from parameter_version where path = 's')")

    assert ssm.get_parameter(Name="/s:1", WithDecryption=True)["Parameter"]["Value"] == "old"
    server.run(put_back())
    with pytest.raises(ClientError, match="InternalServerError"):
        ssm.get_parameter(Name="/s", WithDecryption=True)


@given(plaintext=st.binary(max_size=300), context=st.dictionaries(st.text(max_size=20), st.text(max_size=20)))
def test_messages_come_back_and_no_altered_one_opens(plaintext: bytes, context: dict[str, str]) -> None:
    message = envelope.close(plaintext, b"k" * 32, b"blob", "arn:key", context, b"m" * 32)
    assert envelope.is_envelope(message)
    parts = envelope.take_apart(message)
    assert (parts.context, parts.key_arn, parts.encrypted_data_key) == (context, "arn:key", b"blob")
    assert envelope.open_with(b"k" * 32, parts) == plaintext
    with pytest.raises(envelope.BrokenEnvelope):
        envelope.open_with(b"x" * 32, parts)


@given(at=st.integers(min_value=0), bit=st.integers(min_value=0, max_value=7))
def test_no_bit_can_be_turned(at: int, bit: int) -> None:
    message = bytearray(envelope.close(b"value", b"k" * 32, b"blob", "arn:key", {"a": "b"}, b"m" * 32))
    message[at % len(message)] ^= 1 << bit
    with pytest.raises(envelope.BrokenEnvelope):
        envelope.open_with(b"k" * 32, envelope.take_apart(bytes(message)))


def test_a_reference_answers_the_secret(ssm: Any, aws: Aws) -> None:
    made = aws("secretsmanager").create_secret(Name="app", SecretString="s3cret")
    name = "/aws/reference/secretsmanager/app"
    found = ssm.get_parameter(Name=name, WithDecryption=True)["Parameter"]
    assert (found["Name"], found["Type"], found["Value"], found["Version"]) == (name, "SecureString", "s3cret", 0)
    source = json.loads(found["SourceResult"])
    assert (source["ARN"], source["name"]) == (made["ARN"], "app")
    both = ssm.get_parameters(Names=[name, f"{name}x"], WithDecryption=True)
    assert [each["Value"] for each in both["Parameters"]] == ["s3cret"]
    assert both["InvalidParameters"] == [f"{name}x"]
