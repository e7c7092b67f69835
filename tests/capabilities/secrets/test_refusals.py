"""Everything that operations of Secrets Manager refuse, through boto3 without its own checks: codes and texts."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.conftest import Aws

PARAMETER, REQUEST, NOT_FOUND = "InvalidParameterException", "InvalidRequestException", "ResourceNotFoundException"
INVALID, TAKEN, TOKEN = "ValidationException", "ResourceExistsException", "InvalidNextTokenException"
MALFORMED, PUBLIC, LIMIT = "MalformedPolicyDocumentException", "PublicPolicyException", "LimitExceededException"
NONE_SUCH = "Secrets Manager can't find the specified secret."
NAME = "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!"
MARKED = "You can't perform this operation on the secret because it was marked for deletion."
MARKED_ALREADY = "You tried to perform the operation on a secret that's currently marked deleted."
UNNAMED = "You must provide a ClientRequestToken value. We recommend a UUID-type value."
LENGTH = "ClientRequestToken must be 32-64 characters long."
REPLICA = "Operation not permitted on a replica secret. Call must be made in primary secret's region."
WINDOW = "The RecoveryWindowInDays value must be between 7 and 30 days (inclusive)."
NO_REGION = "Invalid replica region."
NO_VALUE = "Secrets Manager can't find the specified secret value for"
SHORT = "Password length is too short based on the required types."
EITHER = "Either 'SecretIdList' or 'Filters' must be provided, but not both."
RANDOM = "pilothouse:random"
ID = "v" * 32
OPEN_TO_ALL = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": "*", "Action": "secretsmanager:GetSecretValue", "Resource": "*"}
        ],
    }
)
ONE_TAG = {"Tags": [{"Key": "k", "Value": "v"}]}
SMALLEST: dict[str, dict[str, Any]] = {
    "CancelRotateSecret": {},
    "DeleteResourcePolicy": {},
    "DeleteSecret": {},
    "DescribeSecret": {},
    "GetResourcePolicy": {},
    "GetSecretValue": {},
    "ListResourcePolicies": {},
    "ListSecretVersionIds": {},
    "PutResourcePolicy": {"ResourcePolicy": OPEN_TO_ALL},
    "PutSecretValue": {"SecretString": "s"},
    "RemoveRegionsFromReplication": {"RemoveReplicaRegions": ["eu-west-3"]},
    "ReplicateSecretToRegions": {"AddReplicaRegions": [{"Region": "eu-west-3"}]},
    "RestoreSecret": {},
    "RotateSecret": {"RotationLambdaARN": RANDOM},
    "StopReplicationToReplica": {},
    "TagResource": ONE_TAG,
    "UntagResource": {"TagKeys": ["k"]},
    "UpdateSecret": {"Description": "d"},
    "UpdateSecretVersionStage": {"VersionStage": "X", "MoveToVersionId": ID},
    "ValidateResourcePolicy": {"ResourcePolicy": OPEN_TO_ALL},
}
"""What operations need beside a SecretId."""

Row = tuple[str, dict[str, Any], str, str | None]
"""Operation, members, code, text; None where only the code is known. A member of None is left out altogether."""


@dataclass(frozen=True)
class Made:
    """The secret `x`, and its two versions, the newer one current."""

    arn: str
    old: str
    current: str


def other_names(made: Made) -> Iterator[Row]:
    """Names that no secret can have, and those that none has."""
    for name in (" ", "a*", "a?", "a]", "a\\b", "Inv Name"):
        yield "CreateSecret", {"Name": name, "SecretString": "s"}, INVALID, NAME
        yield "DeleteSecret", {"SecretId": name, "ForceDeleteWithoutRecovery": True}, INVALID, NAME
        for operation in (
            "DeleteSecret", "DescribeSecret", "GetSecretValue", "ListSecretVersionIds", "PutSecretValue", "TagResource",
            "UntagResource", "UpdateSecret", "ValidateResourcePolicy",
        ):  # fmt: skip
            yield operation, {"SecretId": name, **SMALLEST[operation]}, INVALID, NAME
        for operation in ("PutResourcePolicy", "GetResourcePolicy", "DeleteResourcePolicy"):
            yield operation, {"SecretId": name, **SMALLEST[operation]}, NOT_FOUND, NONE_SUCH
    ends_otherwise = made.arn[:-1] + ("A" if made.arn[-1] != "A" else "B")
    elsewhere = made.arn.replace("eu-west-1", "us-east-1")
    for operation, members in SMALLEST.items():
        for secret_id in ("none", made.arn.replace(":x-", ":none-"), ends_otherwise, elsewhere):
            yield operation, {"SecretId": secret_id, **members}, NOT_FOUND, NONE_SUCH


def states(made: Made) -> Iterator[Row]:
    """Secrets that are marked for deletion."""
    for operation in (
        "GetSecretValue", "PutSecretValue", "UpdateSecret", "TagResource", "UntagResource", "UpdateSecretVersionStage",
    ):  # fmt: skip
        yield operation, {"SecretId": "gone", **SMALLEST[operation]}, REQUEST, MARKED
    for operation in ("RotateSecret", "CancelRotateSecret", "DeleteSecret"):
        yield operation, {"SecretId": "gone", **SMALLEST[operation]}, REQUEST, MARKED_ALREADY
    yield (
        "CreateSecret",
        {"Name": "gone", "SecretString": "q"},
        REQUEST,
        ("You can't create this secret because a secret with this name is already scheduled for deletion."),
    )
    yield (
        "CreateSecret",
        {"Name": "x", "SecretString": "q"},
        TAKEN,
        ("The operation failed because the secret x already exists."),
    )
    yield (
        "DeleteSecret",
        {"SecretId": "rep"},
        PARAMETER,
        ("You can't delete secret rep that still has replica regions [eu-west-2]"),
    )
    for days in (-1, 0, 6, 31):
        for force in ({}, {"ForceDeleteWithoutRecovery": True}):
            yield "DeleteSecret", {"SecretId": "none", "RecoveryWindowInDays": days, **force}, PARAMETER, WINDOW
    both = {"RecoveryWindowInDays": 7, "ForceDeleteWithoutRecovery": True}
    yield (
        "DeleteSecret",
        {"SecretId": "none", **both},
        PARAMETER,
        ("You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays."),
    )


def values(made: Made) -> Iterator[Row]:
    """Tokens, values and labels."""
    for operation, member in (("CreateSecret", "Name"), ("PutSecretValue", "SecretId"), ("UpdateSecret", "SecretId")):
        for token, code, text in (
            (None, REQUEST, UNNAMED),
            ("t" * 31, PARAMETER, LENGTH),
            ("t" * 65, PARAMETER, LENGTH),
        ):
            asked = {member: "none", "SecretString": "s", "ClientRequestToken": token}
            yield operation, asked, code, text
        yield (
            operation,
            {member: "x", "SecretString": "other", "ClientRequestToken": made.current},
            TAKEN,
            (
                f"You can't use ClientRequestToken {made.current} because that value is already in use for a version "
                f"of secret {made.arn}."
            ),
        )
        yield operation, {member: "y", "SecretString": "s", "SecretBinary": b"s"}, PARAMETER, None
        for wrong in ("", "s" * 65_537):
            yield operation, {member: "y", "SecretString": wrong}, INVALID, None
    yield "CreateSecret", {"Name": "z", "SecretString": "s", "KmsKeyId": "alias/none"}, "EncryptionFailure", None
    neither = "You must provide either SecretString or SecretBinary."
    yield "PutSecretValue", {"SecretId": "none"}, REQUEST, neither
    for labels in ([], ["s" * 257], [f"s{number}" for number in range(21)]):
        yield "PutSecretValue", {"SecretId": "x", "SecretString": "s", "VersionStages": labels}, INVALID, None
    yield (
        "GetSecretValue",
        {"SecretId": "x", "VersionId": made.old, "VersionStage": "AWSCURRENT"},
        REQUEST,
        ("You provided a VersionStage that is not associated to the provided VersionId."),
    )
    for name in ("x", "empty"):
        yield "GetSecretValue", {"SecretId": name, "VersionId": ID}, NOT_FOUND, f"{NO_VALUE} VersionId: {ID}"
        yield "GetSecretValue", {"SecretId": name, "VersionStage": "no"}, NOT_FOUND, f"{NO_VALUE} staging label: no"
    yield "GetSecretValue", {"SecretId": "empty"}, NOT_FOUND, f"{NO_VALUE} staging label: AWSCURRENT"
    for members, text in (
        (
            {"VersionStage": "AWSCURRENT", "MoveToVersionId": made.old},
            "The parameter RemoveFromVersionId can't be empty. Staging label AWSCURRENT is currently attached to "
            f"version {made.current}, so you must explicitly reference that version in RemoveFromVersionId.",
        ),
        ({"VersionStage": "AWSCURRENT", "MoveToVersionId": ID}, f"Not a valid version: {ID}"),
        (
            {"VersionStage": "AWSCURRENT", "RemoveFromVersionId": made.old},
            f"Version stage AWSCURRENT not found in version {made.old}",
        ),
        ({"VersionStage": "AWSCURRENT", "RemoveFromVersionId": made.current}, None),
        ({"VersionStage": "no", "RemoveFromVersionId": made.old}, f"Version stage no not found in version {made.old}"),
    ):
        yield "UpdateSecretVersionStage", {"SecretId": "x", **members}, PARAMETER, text


def rotations(made: Made) -> Iterator[Row]:
    """The order of checks: token, function, days, existence, the rest."""
    none = {"SecretId": "none", "RotationLambdaARN": RANDOM}
    yield "RotateSecret", {**none, "ClientRequestToken": None}, PARAMETER, UNNAMED
    long = "RotationLambdaARN must <= 2048 characters long."
    yield "RotateSecret", {"SecretId": "none", "RotationLambdaARN": "a" * 2049}, PARAMETER, long
    yield "RotateSecret", {**none, "RotationLambdaARN": "a" * 2049, "ClientRequestToken": "t"}, PARAMETER, LENGTH
    days = "RotationRules.AutomaticallyAfterDays must be within 1-1000."
    for number in (-1, 0, 1001):
        yield "RotateSecret", {**none, "RotationRules": {"AutomaticallyAfterDays": number}}, PARAMETER, days
    yield (
        "RotateSecret",
        {"SecretId": "x"},
        REQUEST,
        ("No Lambda rotation function ARN is associated with this secret."),
    )
    for rules in (
        {"AutomaticallyAfterDays": 1, "ScheduleExpression": "rate(1 day)"},
        *({"ScheduleExpression": each} for each in ("rate(1 hour)", "cron(5 0 * * ? *)", "rate(30 minutes)", "nope")),
        {"AutomaticallyAfterDays": 1, "Duration": "30h"},
        {"Duration": "3h"},
    ):
        yield "RotateSecret", {"SecretId": "x", "RotationLambdaARN": RANDOM, "RotationRules": rules}, PARAMETER, None
    yield (
        "RotateSecret",
        {"SecretId": "pending", "RotationLambdaARN": RANDOM},
        REQUEST,
        ("A previous rotation isn't complete. That rotation will be reattempted."),
    )
    yield (
        "CancelRotateSecret",
        {"SecretId": "x"},
        REQUEST,
        (
            "You tried to enable rotation on a secret that doesn't already have a Lambda function ARN configured and "
            "you didn't include such an ARN as a parameter in this call."
        ),
    )
    none_left = {f"Exclude{each}": True for each in ("Numbers", "Punctuation", "Uppercase", "Lowercase")}
    yield "GetRandomPassword", none_left, PARAMETER, None
    for length in (-1, 0, 3):
        yield "GetRandomPassword", {"PasswordLength": length}, PARAMETER, SHORT
    yield (
        "GetRandomPassword",
        {"PasswordLength": 5000},
        INVALID,
        (
            "1 validation error detected: Value '5000' at 'passwordLength' failed to satisfy constraint: Member must "
            "have value less than or equal to 4096"
        ),
    )


def lists(made: Made) -> Iterator[Row]:
    """Batches, lists and their filters."""
    by_name = [{"Key": "name", "Values": ["x"]}]
    yield "BatchGetSecretValue", {}, PARAMETER, EITHER
    yield "BatchGetSecretValue", {"SecretIdList": ["x"], "Filters": by_name}, PARAMETER, EITHER
    yield (
        "BatchGetSecretValue",
        {"SecretIdList": ["x"], "MaxResults": 3},
        PARAMETER,
        ("'Filters' not specified. 'Filters' must also be specified when 'MaxResults' is provided."),
    )
    yield "BatchGetSecretValue", {"SecretIdList": ["x"] * 21}, INVALID, None
    yield "BatchGetSecretValue", {"Filters": by_name, "MaxResults": 21}, INVALID, None
    yield "BatchGetSecretValue", {"Filters": [{"Key": "name", "Values": ["empty"]}]}, NOT_FOUND, None
    yield "BatchGetSecretValue", {"Filters": by_name, "NextToken": "no"}, TOKEN, None
    for operation in ("ListSecrets", "BatchGetSecretValue"):
        yield operation, {"Filters": [{"Values": ["x"]}]}, PARAMETER, "Invalid filter key"
        yield operation, {"Filters": [{"Key": "x", "Values": ["x"]}]}, INVALID, None
        for empty in ({}, {"Values": []}):
            text = "Invalid filter values for key: tag-key"
            yield operation, {"Filters": [{"Key": "tag-key", **empty}]}, PARAMETER, text
        for wrong in (by_name * 11, [{"Key": "name", "Values": ["x"] * 11}], [{"Key": "name", "Values": ["x*"]}]):
            yield operation, {"Filters": wrong}, INVALID, None
    for operation in ("ListSecrets", "ListSecretVersionIds", "ListResourcePolicies"):
        whose = {} if operation == "ListSecrets" else {"SecretId": "x"}
        yield operation, {**whose, "NextToken": "no"}, TOKEN, None
        for number in (0, 101):
            yield operation, {**whose, "MaxResults": number}, INVALID, None


def policies_and_replicas(made: Made) -> Iterator[Row]:
    """Resource policies, and regions."""
    for document in ("{", json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Maybe"}]})):
        yield "PutResourcePolicy", {"SecretId": "x", "ResourcePolicy": document}, MALFORMED, None
    for document in ("", "x" * 20_481):
        yield "PutResourcePolicy", {"SecretId": "x", "ResourcePolicy": document}, INVALID, None
    public = {"ResourcePolicy": OPEN_TO_ALL, "BlockPublicPolicy": True}
    yield "PutResourcePolicy", {"SecretId": "x", **public}, PUBLIC, None
    for operation in ("PutResourcePolicy", "GetResourcePolicy", "DeleteResourcePolicy"):
        yield operation, {"SecretId": "x", "PolicyName": "other", **SMALLEST[operation]}, PARAMETER, None
    for region in ("nowhere", "eu-west-1", "eu-west-1; drop"):
        regions = {"AddReplicaRegions": [{"Region": region}]}
        yield "CreateSecret", {"Name": "z", **regions}, PARAMETER, NO_REGION
        yield "ReplicateSecretToRegions", {"SecretId": "x", **regions}, PARAMETER, NO_REGION
    yield "RemoveRegionsFromReplication", {"SecretId": "x", "RemoveReplicaRegions": ["nowhere"]}, PARAMETER, NO_REGION
    yield "StopReplicationToReplica", {"SecretId": "x"}, PARAMETER, None
    across = {"SecretId": "x", "CrossAccountReplicaARN": made.arn.replace(":x-", ":y-")}
    for operation in ("AssociateCrossAccountReplica", "DisassociateCrossAccountReplica"):
        yield operation, across, REQUEST, None


def tags(made: Made) -> Iterator[Row]:
    """Tags: 50, each key once, none of the cloud's own."""
    many = [{"Key": f"k{number}", "Value": "v"} for number in range(51)]
    yield "TagResource", {"SecretId": "x", "Tags": many}, PARAMETER, None  # it has no error for limits
    yield "CreateSecret", {"Name": "z", "Tags": many}, LIMIT, None
    for operation, named in (("TagResource", {"SecretId": "x"}), ("CreateSecret", {"Name": "z"})):
        twice = [{"Key": "a", "Value": "1"}, {"Key": "a", "Value": "2"}]
        for wrong in (twice, [{"Key": "aws:a", "Value": "1"}], [{"Value": "v"}]):
            yield operation, {**named, "Tags": wrong}, PARAMETER, None
        for wrong in ([{"Key": "k" * 129, "Value": "v"}], [{"Key": "k", "Value": "v" * 257}]):
            yield operation, {**named, "Tags": wrong}, INVALID, None


LEFT_OUT = "left out"
"""boto3 gives a token to who gives none."""


def unchecked(client: Any) -> Any:
    """A client that sends whatever it is given."""

    def before_call(params: dict[str, Any], **_: object) -> None:
        members = json.loads(params["body"])
        params["body"] = json.dumps({name: value for name, value in members.items() if value != LEFT_OUT}).encode()

    client._serializer = client._serializer._serializer
    client.meta.events.register("before-call.secrets-manager", before_call)
    return client


@pytest.fixture
def made(secrets: Any) -> Made:
    """Secrets in every state."""
    first = secrets.create_secret(Name="x", SecretString="s1")
    current = secrets.put_secret_value(SecretId="x", SecretString="s2")["VersionId"]
    secrets.create_secret(Name="empty")
    secrets.create_secret(Name="y", SecretString="s")
    secrets.create_secret(Name="gone", SecretString="s")
    secrets.delete_secret(SecretId="gone")
    secrets.create_secret(Name="pending", SecretString="s")
    secrets.put_secret_value(SecretId="pending", SecretString="n", VersionStages=["AWSPENDING"])
    secrets.create_secret(Name="rep", SecretString="s", AddReplicaRegions=[{"Region": "eu-west-2"}])
    return Made(arn=first["ARN"], old=first["VersionId"], current=current)


def wrongly_answered(client: Any, rows: Iterator[Row]) -> list[str]:
    """The requests that are not refused as they must be."""
    wrong = []
    for operation, members, code, text in rows:
        sent = {name: LEFT_OUT if value is None else value for name, value in members.items()}
        try:
            client._make_api_call(operation, sent)
            found = ("answered", "")
        except ClientError as error:
            found = (error.response["Error"]["Code"], error.response["Error"]["Message"])
        if found[0] != code or (text is not None and found[1] != text):
            wrong.append(f"{operation} {str(members)[:200]}: {found}, not {code}: {text}")
    return wrong


SUBJECTS = (other_names, states, values, rotations, lists, policies_and_replicas, tags)


@pytest.mark.parametrize("subject", SUBJECTS, ids=[each.__name__ for each in SUBJECTS])
def test_what_is_refused_and_how(secrets: Any, made: Made, subject: Any) -> None:
    client = unchecked(secrets)
    before = state(secrets)
    assert wrongly_answered(client, subject(made)) == []
    assert state(secrets) == before


def state(secrets: Any) -> Any:
    """What is told of all secrets, but for when they were read."""
    found = secrets.list_secrets(IncludePlannedDeletion=True)["SecretList"]
    return [{name: value for name, value in each.items() if name != "LastAccessedDate"} for each in found]


def test_a_replica_is_changed_where_its_primary_is(aws: Aws, made: Made) -> None:
    client = unchecked(aws("secretsmanager", region="eu-west-2"))
    operations = (
        "PutSecretValue", "UpdateSecret", "TagResource", "UntagResource", "UpdateSecretVersionStage", "RotateSecret",
        "DeleteSecret", "RestoreSecret", "CancelRotateSecret", "ReplicateSecretToRegions", "PutResourcePolicy",
    )  # fmt: skip
    rows = ((each, {"SecretId": "rep", **SMALLEST[each]}, PARAMETER, REPLICA) for each in operations)
    assert wrongly_answered(client, iter(rows)) == []
