"""Secrets through boto3: versions, labels, deletion, tags, and what the database keeps."""

import uuid
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pilothouse.capabilities.secrets.jobs import purge
from pilothouse.capabilities.secrets.model import CURRENT, PREVIOUS, after_put
from tests.capabilities.secrets.answers import refused

NOT_FOUND = "Secrets Manager can't find the specified secret."


def test_a_secret_is_made_read_and_described(secrets: Any) -> None:
    made = secrets.create_secret(Name="app/db", SecretString="S1", Description="the database")
    assert set(made) - {"ResponseMetadata"} == {"ARN", "Name", "VersionId"}
    assert made["ARN"].startswith("arn:aws:secretsmanager:eu-west-1:")
    assert made["ARN"].rpartition(":secret:")[2].removeprefix("app/db-").isalnum()
    assert len(made["ARN"].rpartition("-")[2]) == 6
    for secret_id in ("app/db", made["ARN"], made["ARN"][:-7]):
        read = secrets.get_secret_value(SecretId=secret_id)
        assert (read["SecretString"], read["VersionStages"], read["Name"]) == ("S1", ["AWSCURRENT"], "app/db")
        assert read["ARN"] == made["ARN"]
        assert set(read) - {"ResponseMetadata"} == {
            "ARN", "Name", "VersionId", "SecretString", "VersionStages", "CreatedDate",
        }  # fmt: skip
    described = secrets.describe_secret(SecretId="app/db")
    assert described["Description"] == "the database"
    assert described["VersionIdsToStages"] == {made["VersionId"]: ["AWSCURRENT"]}
    assert described["LastAccessedDate"].hour == 0
    assert "Tags" not in described
    assert "KmsKeyId" not in described
    assert "DeletedDate" not in described


def test_three_puts_move_the_labels_along(secrets: Any) -> None:
    first = secrets.create_secret(Name="x", SecretString="S1")["VersionId"]
    second = secrets.put_secret_value(SecretId="x", SecretString="S2")
    assert second["VersionStages"] == ["AWSCURRENT"]
    assert secrets.get_secret_value(SecretId="x", VersionStage="AWSPREVIOUS")["SecretString"] == "S1"
    secrets.put_secret_value(SecretId="x", SecretString="S3")
    listed = secrets.list_secret_version_ids(SecretId="x")
    assert [sorted(each["VersionStages"]) for each in listed["Versions"]] == [["AWSPREVIOUS"], ["AWSCURRENT"]]
    everything = secrets.list_secret_version_ids(SecretId="x", IncludeDeprecated=True)["Versions"]
    assert everything[0]["VersionId"] == first
    assert "VersionStages" not in everything[0]
    assert everything[0]["KmsKeyIds"] == ["DefaultEncryptionKey"]
    assert secrets.get_secret_value(SecretId="x", VersionId=first)["SecretString"] == "S1"


def test_labels_of_any_text_are_told_in_the_order_they_were_put_on(secrets: Any) -> None:
    made = secrets.create_secret(Name="x", SecretString="S")
    labels = ["9 lives", "1", "AWSCURRENT", "ä 3 b", " ", "0 2 10 x"]
    secrets.put_secret_value(SecretId="x", SecretString="T", VersionStages=labels)
    new = secrets.describe_secret(SecretId="x")["VersionIdsToStages"]
    (version,) = [each for each in new if each != made["VersionId"]]
    for asked in ({}, {"VersionId": version}, {"VersionStage": "ä 3 b"}, {"VersionId": version, "VersionStage": " "}):
        read = secrets.get_secret_value(SecretId="x", **asked)
        assert (read["SecretString"], read["VersionStages"]) == ("T", labels)


def test_a_pending_value_does_not_change_what_is_read(secrets: Any) -> None:
    old = secrets.create_secret(Name="x", SecretString="old")["VersionId"]
    new = secrets.put_secret_value(SecretId="x", SecretString="new", VersionStages=["AWSPENDING"])["VersionId"]
    assert secrets.get_secret_value(SecretId="x")["SecretString"] == "old"
    with refused(
        "InvalidParameterException",
        "The parameter RemoveFromVersionId can't be empty. Staging label AWSCURRENT is currently attached to version "
        f"{old}, so you must explicitly reference that version in RemoveFromVersionId.",
    ):
        secrets.update_secret_version_stage(SecretId="x", VersionStage="AWSCURRENT", MoveToVersionId=new)
    secrets.update_secret_version_stage(
        SecretId="x", VersionStage="AWSCURRENT", MoveToVersionId=new, RemoveFromVersionId=old
    )
    stages = secrets.describe_secret(SecretId="x")["VersionIdsToStages"]
    assert {version: set(labels) for version, labels in stages.items()} == {
        old: {"AWSPREVIOUS"},
        new: {"AWSPENDING", "AWSCURRENT"},
    }


def test_a_token_names_one_value(secrets: Any) -> None:
    token = str(uuid.uuid4())
    made = secrets.create_secret(Name="x", SecretString="S", ClientRequestToken=token)
    again = secrets.create_secret(Name="x", SecretString="S", ClientRequestToken=token)
    assert (again["ARN"], again["VersionId"]) == (made["ARN"], token)
    assert secrets.put_secret_value(SecretId="x", SecretString="S", ClientRequestToken=token)["VersionStages"] == [
        "AWSCURRENT"
    ]
    for call in (secrets.put_secret_value, secrets.update_secret):
        with refused(
            "ResourceExistsException",
            f"You can't use ClientRequestToken {token} because that value is already in use for a version of secret "
            f"{made['ARN']}.",
        ):
            call(SecretId="x", SecretString="other", ClientRequestToken=token)
    with refused("ResourceExistsException", "The operation failed because the secret x already exists."):
        secrets.create_secret(Name="x", SecretString="S")
    assert len(secrets.list_secret_version_ids(SecretId="x", IncludeDeprecated=True)["Versions"]) == 1


def test_what_is_not_there_is_said_by_its_name(secrets: Any) -> None:
    with refused("ResourceNotFoundException", NOT_FOUND):
        secrets.get_secret_value(SecretId="nothing")
    secrets.create_secret(Name="empty")
    with refused(
        "ResourceNotFoundException",
        "Secrets Manager can't find the specified secret value for staging label: AWSCURRENT",
    ):
        secrets.get_secret_value(SecretId="empty")
    unknown = str(uuid.uuid4())
    with refused(
        "ResourceNotFoundException", f"Secrets Manager can't find the specified secret value for VersionId: {unknown}"
    ):
        secrets.get_secret_value(SecretId="empty", VersionId=unknown)
    version = secrets.put_secret_value(SecretId="empty", SecretString="1")["VersionId"]
    with refused(
        "InvalidRequestException", "You provided a VersionStage that is not associated to the provided VersionId."
    ):
        secrets.get_secret_value(SecretId="empty", VersionId=version, VersionStage="AWSPREVIOUS")
    with refused(
        "ValidationException",
        "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!",
    ):
        secrets.get_secret_value(SecretId="in valid")


def test_a_deleted_secret_can_be_brought_back(secrets: Any) -> None:
    made = secrets.create_secret(Name="x", SecretString="S")
    with refused(
        "InvalidParameterException", "The RecoveryWindowInDays value must be between 7 and 30 days (inclusive)."
    ):
        secrets.delete_secret(SecretId="x", RecoveryWindowInDays=3)
    due = secrets.delete_secret(SecretId="x")["DeletionDate"]
    assert secrets.describe_secret(SecretId="x")["DeletedDate"] == due
    marked = "You can't perform this operation on the secret because it was marked for deletion."
    with refused("InvalidRequestException", marked):
        secrets.get_secret_value(SecretId="x")
    with refused("InvalidRequestException", marked):
        secrets.tag_resource(SecretId="x", Tags=[{"Key": "a", "Value": "b"}])
    with refused(
        "InvalidRequestException",
        "You can't create this secret because a secret with this name is already scheduled for deletion.",
    ):
        secrets.create_secret(Name="x", SecretString="S")
    secrets.restore_secret(SecretId="x")
    assert secrets.get_secret_value(SecretId="x")["SecretString"] == "S"
    secrets.delete_secret(SecretId="x", ForceDeleteWithoutRecovery=True)
    assert secrets.create_secret(Name="x", SecretString="new")["ARN"] != made["ARN"]
    assert secrets.delete_secret(SecretId="never-was", ForceDeleteWithoutRecovery=True)["Name"] == "never-was"


def test_what_is_marked_goes_when_its_window_is_over(secrets: Any, server: Any) -> None:
    house = server.application.house
    secrets.create_secret(Name="x", SecretString="S", Tags=[{"Key": "a", "Value": "b"}])
    secrets.delete_secret(SecretId="x", RecoveryWindowInDays=7)

    async def left() -> list[int]:
        await purge.run(house)
        async with house.database.reading() as tx:
            tables = ("secret", "secret_version", "secret_stage", "secret_tag")
            return [await tx.value(f"select count(*) from {table}") for table in tables]

    server.advance(days=6)
    assert server.run(left()) == [1, 1, 1, 1]
    server.advance(days=1, minutes=1)
    assert server.run(left()) == [0, 0, 0, 0]


def test_tags_stand_in_the_order_they_were_added(secrets: Any) -> None:
    secrets.create_secret(Name="x", Tags=[{"Key": "b", "Value": "1"}])
    secrets.tag_resource(SecretId="x", Tags=[{"Key": "a", "Value": "2"}, {"Key": "b", "Value": "3"}])
    assert secrets.describe_secret(SecretId="x")["Tags"] == [{"Key": "b", "Value": "3"}, {"Key": "a", "Value": "2"}]
    secrets.untag_resource(SecretId="x", TagKeys=["a", "b", "c"])
    assert secrets.describe_secret(SecretId="x")["Tags"] == []


def test_bytes_come_back_as_they_were(secrets: Any) -> None:
    value = bytes(range(256))
    secrets.create_secret(Name="x", SecretBinary=value)
    read = secrets.get_secret_value(SecretId="x")
    assert read["SecretBinary"] == value
    assert "SecretString" not in read


def test_another_key_takes_over_the_versions_in_use(secrets: Any) -> None:
    secrets.create_secret(Name="x", SecretString="S1")
    secrets.put_secret_value(SecretId="x", SecretString="S2")
    with refused("EncryptionFailure"):
        secrets.update_secret(SecretId="x", KmsKeyId="alias/not-there")
    assert "KmsKeyId" not in secrets.describe_secret(SecretId="x")
    secrets.update_secret(SecretId="x", KmsKeyId="alias/aws/ssm", Description="moved")
    assert secrets.describe_secret(SecretId="x")["KmsKeyId"] == "alias/aws/ssm"
    versions = secrets.list_secret_version_ids(SecretId="x")["Versions"]
    assert [each["KmsKeyIds"] for each in versions] == [["alias/aws/ssm"]] * 2
    assert secrets.get_secret_value(SecretId="x", VersionStage="AWSPREVIOUS")["SecretString"] == "S1"


def test_no_value_stands_in_the_database(secrets: Any, server: Any) -> None:
    canary = "canary-5f1c2f9d"
    secrets.create_secret(Name="x", SecretString=canary)

    async def stored() -> list[Any]:
        async with server.application.house.database.reading() as tx:
            return await tx.rows("select * from secret_version")

    rows = server.run(stored())
    assert rows
    assert canary not in repr([dict(row) for row in rows])


@given(st.lists(st.one_of(st.none(), st.lists(st.sampled_from(["AWSCURRENT", "AWSPENDING", "A", "B"]), min_size=1))))
def test_one_version_is_current_whatever_is_put(puts: list[list[str] | None]) -> None:
    stages: dict[str, str] = {}
    for number, asked in enumerate(puts):
        was_current = stages.get(CURRENT)
        stages = after_put(stages, f"v{number}", asked)
        assert CURRENT in stages
        for label in asked or [CURRENT]:
            assert stages[label] == f"v{number}"
        if stages[CURRENT] != was_current and was_current is not None:
            assert stages[PREVIOUS] == was_current
        assert stages.get(PREVIOUS) != stages[CURRENT]
