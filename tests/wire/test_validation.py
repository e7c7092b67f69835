"""Violation texts that are known from recordings, and the values that handlers get."""

import contextlib
from datetime import UTC, datetime
from typing import Any

import pytest

from pilothouse.errors import SerializationException, ValidationException
from pilothouse.wire.models import INTERNAL, service_model
from pilothouse.wire.patterns import printed_enum


def parse(service: str, operation: str, **members: Any) -> dict[str, Any]:
    return service_model(service).operations[operation].parse(members)


def violation(service: str, operation: str, **members: Any) -> str:
    with pytest.raises(ValidationException) as refused:
        parse(service, operation, **members)
    return refused.value.message


@pytest.mark.parametrize(
    ("operation", "members", "text"),
    [
        (
            "PutParameter",
            {"Name": "a", "Value": "v", "Type": "X"},
            "1 validation error detected: Value 'X' at 'type' failed to satisfy constraint: "
            "Member must satisfy enum value set: [SecureString, StringList, String]",
        ),
        (
            "PutParameter",
            {"Name": "a b", "Value": "", "Type": "String"},
            "1 validation error detected: Value '' at 'value' failed to satisfy constraint: "
            "Member must have length greater than or equal to 1.",
        ),
        (
            "PutParameter",
            {"Name": "a", "Value": "", "Type": "X"},
            "2 validation errors detected: Value '' at 'value' failed to satisfy constraint: "
            "Member must have length greater than or equal to 1; Value 'X' at 'type' failed to satisfy constraint: "
            "Member must satisfy enum value set: [SecureString, StringList, String]",
        ),
        (
            "LabelParameterVersion",
            {"Name": "a", "Labels": ["x" * 101]},
            f"1 validation error detected: Value '[{'x' * 101}]' at 'labels' failed to satisfy constraint: "
            "Member must satisfy constraint: [Member must have length less than or equal to 100, "
            "Member must have length greater than or equal to 1]",
        ),
        (
            "UnlabelParameterVersion",
            {"Name": "a", "Labels": ["x"]},
            "1 validation error detected: Value 'null' at 'parameterVersion' failed to satisfy constraint: "
            "Member must not be null",
        ),
        (
            "DeleteParameters",
            {"Names": list("abcdefghijk")},
            "1 validation error detected: Value '[a, b, c, d, e, f, g, h, i, j, k]' at 'names' failed to satisfy "
            "constraint: Member must have length less than or equal to 10.",
        ),
        (
            "GetParameters",
            {"Names": list("abcdefghijk")},
            "1 validation error detected: Value '[a, b, c, d, e, f, g, h, i, j, k]' at 'names' failed to satisfy "
            "constraint: Member must have length less than or equal to 10.",
        ),
        (
            "GetParameterHistory",
            {"Name": "a", "MaxResults": 51},
            "1 validation error detected: Value '51' at 'maxResults' failed to satisfy constraint: "
            "Member must have value less than or equal to 50.",
        ),
        (
            "DescribeParameters",
            {"ParameterFilters": [{"Key": "key"}]},
            "1 validation error detected: Value 'key' at 'parameterFilters.1.member.key' failed to satisfy constraint: "
            "Member must satisfy regular expression pattern: tag:.+|Name|Type|KeyId|Path|Label|Tier|DataType",
        ),
    ],
)
def test_texts_of_the_parameter_store(operation: str, members: dict[str, Any], text: str) -> None:
    assert violation("ssm", operation, **members) == text


def test_an_unknown_filter_key_of_secrets() -> None:
    text = violation("secretsmanager", "ListSecrets", Filters=[{"Key": "x", "Values": ["y"]}])

    assert text.startswith(
        "1 validation error detected: Value 'x' at 'filters.1.member.key' failed to satisfy constraint: "
        "Member must satisfy enum value set: ["
    )
    assert printed_enum(["description", "name", "tag-key", "tag-value", "all"]) == [
        "all", "name", "tag-key", "description", "tag-value",
    ]  # fmt: skip


def test_several_violations_are_counted_and_joined() -> None:
    text = violation("ssm", "PutParameter", Name="", Type="X")

    assert text.startswith("3 validation errors detected: Value '' at 'name' failed to satisfy constraint: ")
    assert text.count("; Value ") == 2


def test_only_so_many_are_written_out() -> None:
    text = violation("ssm", "AddTagsToResource", ResourceType="Parameter", ResourceId="a", Tags=[{}] * 600)

    assert text.startswith("1200 validation errors detected: ")
    assert len(text) < 20_000


def test_a_long_value_is_cut_in_the_text() -> None:
    assert len(violation("ssm", "GetParameter", Name="x" * 100_000)) < 2_000


@pytest.mark.parametrize(
    ("service", "operation", "members", "path"),
    [
        ("secretsmanager", "CreateSecret", {"Name": "a", "SecretString": ""}, "secretString"),
        ("ssm", "RegisterManagedInstance", {"ActivationCode": "short-secret"}, "activationCode"),
        ("kms", "Encrypt", {"KeyId": "k", "Plaintext": "c2VjcmV0" * 1_000}, "plaintext"),
    ],
)
def test_sensitive_values_are_never_repeated(service: str, operation: str, members: dict[str, Any], path: str) -> None:
    text = violation(service, operation, **members)

    assert f"Value at '{path}' failed to satisfy constraint: " in text
    assert "short-secret" not in text
    assert "secretsecret" not in text


def test_handlers_get_aware_times_bytes_and_known_members_only() -> None:
    put = parse("ssm", "PutComplianceItems", ResourceId="a", ResourceType="ManagedInstance",
                ComplianceType="Custom:Mine", Items=[], Extra=1, ItemContentHash=None,
                ExecutionSummary={"ExecutionTime": 1795453707.128})  # fmt: skip
    secret = parse("secretsmanager", "PutSecretValue", SecretId="a", SecretBinary="AAEC")

    assert put["ExecutionSummary"]["ExecutionTime"] == datetime(2026, 11, 23, 17, 8, 27, 128_000, tzinfo=UTC)
    assert set(put) == {"ResourceId", "ResourceType", "ComplianceType", "Items", "ExecutionSummary"}
    assert secret["SecretBinary"] == b"\x00\x01\x02"


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ({"Name": 7}, "NUMBER_VALUE can not be converted to a String"),
        ({"Name": True}, "TRUE_VALUE can not be converted to a String"),
        ({"Name": ["a"]}, "Start of list found where not expected"),
        ({"Name": {"a": 1}}, "Start of structure or map found where not expected."),
        ({"WithDecryption": "yes"}, "STRING_VALUE can not be converted to a Boolean"),
        ({"MaxResults": "7"}, "STRING_VALUE can not be converted to an Integer"),
        ({"MaxResults": 1 << 31}, "NUMBER_VALUE can not be converted to an Integer"),
    ],
)
def test_wrong_json_types(members: dict[str, Any], text: str) -> None:
    with pytest.raises(SerializationException) as refused:
        parse("ssm", "GetParameterHistory", **{"Name": "a", **members})
    assert refused.value.message == text


def test_a_fraction_is_cut_off_an_integer() -> None:
    assert parse("ssm", "GetParameterHistory", Name="a", MaxResults=7.9)["MaxResults"] == 7


@pytest.mark.parametrize("text", ["\u0020tag", "Straße", "名前", "a_b.c:d/e=f+g-h@i"])
def test_unicode_classes_of_patterns(text: str) -> None:
    assert parse(
        "ssm", "AddTagsToResource", ResourceType="Parameter", ResourceId="a", Tags=[{"Key": text, "Value": text}]
    )


def test_patterns_match_the_whole_value() -> None:
    wanted = "Member must satisfy regular expression pattern"

    assert wanted in violation("ssm", "GetDocument", Name="good\nbad")
    assert wanted in violation("ssm", "GetDocument", Name="good\n")


EXAMPLES: dict[tuple[str, str], dict[str, Any]] = {
    ("ssm", "RegisterManagedInstance"): {
        "ActivationCode": "ABCDEFGHIJKLMNOPQRST",
        "ActivationId": "11111111-2222-3333-4444-555555555555",
        "Fingerprint": "f8fda139-417f-43e1-886d-bd79daff37ac",
        "PublicKey": "M" * 392,
        "PublicKeyType": "Rsa",
    },
    ("ssm", "RequestManagedInstanceRoleToken"): {"Fingerprint": "f8fda139-417f-43e1-886d-bd79daff37ac"},
    ("ssm", "UpdateInstanceInformation"): {
        "AgentName": "amazon-ssm-agent",
        "AgentStatus": "Active",
        "AgentVersion": "3.3.0.0",
        "AvailabilityZone": "",
        "AvailabilityZoneId": "",
        "ComputerName": "n1",
        "IPAddress": "192.0.2.2",
        "InstanceId": "mi-1892c08ad8e6f2c01",
        "PlatformName": "Debian GNU/Linux",
        "PlatformType": "Linux",
        "PlatformVersion": "12",
        "SSMConnectionChannel": "",
    },
    ("ssm", "UpdateManagedInstancePublicKey"): {"NewPublicKey": "M" * 392, "NewPublicKeyType": "Rsa"},
    ("ssm", "ListInstanceAssociations"): {"InstanceId": "mi-1892c08ad8e6f2c01", "MaxResults": 20},
    ("ssm", "UpdateInstanceAssociationStatus"): {
        "AssociationId": "11111111-1111-1111-1111-111111111111",
        "InstanceId": "mi-1892c08ad8e6f2c01",
        "ExecutionResult": {
            "Status": "Success",
            "ErrorCode": "",
            "ExecutionDate": 1795453707.128,
            "ExecutionSummary": "1 out of 1 plugin processed, 1 success, 0 failed, 0 timedout, 0 skipped. ",
            "OutputUrl": {"S3OutputUrl": {"OutputUrl": "bucket/prefix"}},
        },
    },
    ("ssm", "GetManifest"): {"PackageName": "MyPkg", "PackageVersion": "latest"},
    ("ssm", "PutConfigurePackageResult"): {
        "PackageName": "MyPkg",
        "PackageVersion": "1",
        "Operation": "Install",
        "OverallTiming": 12,
        "Result": 0,
        "Attributes": {"platformName": "debian"},
        "Steps": [{"Action": "a", "Result": 0, "Timing": 1}],
    },
    ("ec2messages", "GetMessages"): {
        "Destination": "mi-1892c08ad8e6f2c01",
        "MessagesRequestId": "dd906db2-cdb4-45e3-991d-02d730f6d6ae",
        "VisibilityTimeoutInSeconds": 10,
    },
    ("ec2messages", "AcknowledgeMessage"): {"MessageId": "aws.ssm.1ed4d477.mi-1892c08ad8e6f2c01"},
    ("ec2messages", "SendReply"): {
        "MessageId": "aws.ssm.1ed4d477.mi-1892c08ad8e6f2c01",
        "Payload": "{}",
        "ReplyId": "dd906db2-cdb4-45e3-991d-02d730f6d6ae",
    },
    ("ec2messages", "FailMessage"): {
        "MessageId": "aws.ssm.1ed4d477.mi-1892c08ad8e6f2c01",
        "FailureType": "InternalHandlerException",
    },
    ("ec2messages", "DeleteMessage"): {"MessageId": "aws.ssm.1ed4d477.mi-1892c08ad8e6f2c01"},
    ("ec2messages", "GetEndpoint"): {"Destination": "mi-1892c08ad8e6f2c01"},
}
"""What the official agent sends, as captured."""


@pytest.mark.parametrize("operation", EXAMPLES, ids="-".join)
def test_requests_of_the_official_agent_are_valid(operation: tuple[str, str]) -> None:
    example = EXAMPLES[operation]

    parsed = service_model(operation[0]).operations[operation[1]].parse(example)

    assert set(parsed) == set(example)


def test_every_operation_of_our_own_models_has_an_example_and_sound_shapes() -> None:
    ours = set()
    for service in INTERNAL:
        model = service_model(service)
        for name in set(model.operations) - model.public:
            ours.add((service, name))
            operation = model.operations[name]
            with pytest.raises(KeyError):
                operation.answer({"NoSuchMember": 1})
            assert not {error for error in operation.errors if model.error_shape(error) is None}

    assert ours == set(EXAMPLES)


def test_every_shape_of_every_service_compiles() -> None:
    for service in ("ssm", "secretsmanager", "kms", "sts", "iam", "ec2messages"):
        for operation in service_model(service).operations.values():
            with contextlib.suppress(ValidationException):
                operation.parse({})
            assert operation.answer({}) == {}


def test_the_character_that_no_database_holds_is_refused_everywhere() -> None:
    with pytest.raises(ValidationException, match=r"U\+0000"):
        parse("ssm", "DescribeParameters", ParameterFilters=[{"Key": "Name", "Values": ["a\x00b"]}])
    with pytest.raises(ValidationException, match=r"U\+0000"):
        parse("ssm", "CreateActivation", IamRole="r", Description="\x00")
