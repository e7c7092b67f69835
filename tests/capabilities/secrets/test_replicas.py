"""Replicas: a secret in several regions, kept alike, read there, promoted, removed."""

from typing import Any

import pytest

from tests.capabilities.secrets.answers import bare, refused
from tests.capabilities.secrets.conftest import Ended, rotate

ON_REPLICA = "Operation not permitted on a replica secret. Call must be made in primary secret's region."


@pytest.fixture
def here(aws: Any) -> Any:
    return aws("secretsmanager", region="eu-west-1")


@pytest.fixture
def there(aws: Any) -> Any:
    return aws("secretsmanager", region="us-east-2")


def test_a_replica_follows_its_primary(here: Any, there: Any) -> None:
    made = here.create_secret(Name="x", SecretString="S1", AddReplicaRegions=[{"Region": "us-east-2"}])
    assert made["ReplicationStatus"] == [
        {"Region": "us-east-2", "KmsKeyId": "alias/aws/secretsmanager", "Status": "InSync"}
    ]
    arn = made["ARN"].replace("eu-west-1", "us-east-2")
    read = there.get_secret_value(SecretId="x")
    assert (read["ARN"], read["SecretString"], read["VersionId"]) == (arn, "S1", made["VersionId"])
    second = here.put_secret_value(SecretId="x", SecretString="S2")["VersionId"]
    here.tag_resource(SecretId="x", Tags=[{"Key": "a", "Value": "b"}])
    here.update_secret(SecretId="x", Description="new")
    assert there.get_secret_value(SecretId=arn)["SecretString"] == "S2"
    assert there.get_secret_value(SecretId="x", VersionStage="AWSPREVIOUS")["SecretString"] == "S1"
    described = there.describe_secret(SecretId="x")
    assert described["PrimaryRegion"] == "eu-west-1"
    assert described["Tags"] == [{"Key": "a", "Value": "b"}]
    assert described["Description"] == "new"
    assert described["VersionIdsToStages"] == here.describe_secret(SecretId="x")["VersionIdsToStages"]
    assert here.describe_secret(SecretId="x")["ReplicationStatus"][0]["LastAccessedDate"]
    here.update_secret_version_stage(
        SecretId="x", VersionStage="AWSCURRENT", MoveToVersionId=made["VersionId"], RemoveFromVersionId=second
    )
    assert there.get_secret_value(SecretId="x")["SecretString"] == "S1"
    listed = there.list_secrets(Filters=[{"Key": "primary-region", "Values": ["eu-"]}])["SecretList"]
    assert [each["Name"] for each in listed] == ["x"]
    for refuse in (
        lambda: there.put_secret_value(SecretId="x", SecretString="T"),
        lambda: there.update_secret(SecretId="x", Description="T"),
        lambda: there.tag_resource(SecretId="x", Tags=[]),
        lambda: there.delete_secret(SecretId="x"),
    ):
        with refused("InvalidParameterException", ON_REPLICA):
            refuse()
    with refused("InvalidParameterException", "You can't delete secret x that still has replica regions [us-east-2]"):
        here.delete_secret(SecretId="x")


def test_a_replica_is_promoted_or_removed(here: Any, there: Any, aws: Any) -> None:
    here.create_secret(Name="x", SecretString="S1")
    regions = [{"Region": "us-east-2"}, {"Region": "us-west-1"}]
    status = here.replicate_secret_to_regions(SecretId="x", AddReplicaRegions=regions)["ReplicationStatus"]
    assert [(each["Region"], each["Status"]) for each in status] == [("us-east-2", "InSync"), ("us-west-1", "InSync")]
    assert bare(there.stop_replication_to_replica(SecretId="x")).keys() == {"ARN"}
    there.put_secret_value(SecretId="x", SecretString="own")
    here.put_secret_value(SecretId="x", SecretString="S2")
    assert there.get_secret_value(SecretId="x")["SecretString"] == "own"
    assert there.get_secret_value(SecretId="x", VersionStage="AWSPREVIOUS")["SecretString"] == "S1"
    assert "PrimaryRegion" not in there.describe_secret(SecretId="x")
    left = here.remove_regions_from_replication(SecretId="x", RemoveReplicaRegions=["us-west-1"])
    assert left["ReplicationStatus"] == []
    with refused("ResourceNotFoundException"):
        aws("secretsmanager", region="us-west-1").describe_secret(SecretId="x")
    with refused("InvalidParameterException"):
        there.stop_replication_to_replica(SecretId="x")
    again = here.remove_regions_from_replication(SecretId="x", RemoveReplicaRegions=["us-east-2"])
    assert again["ReplicationStatus"] == []
    assert there.get_secret_value(SecretId="x")["SecretString"] == "own"
    here.delete_secret(SecretId="x")


def test_a_rotation_reaches_replicas_and_none_begins_there(here: Any, there: Any, ended: Ended) -> None:
    made = here.create_secret(Name="x", SecretString="old", AddReplicaRegions=[{"Region": "us-east-2"}])
    with refused("InvalidParameterException", ON_REPLICA):
        rotate(there, "x", "pilothouse:random")
    token = rotate(here, "x", "pilothouse:random")
    assert ended(made["ARN"])["State"] == "Succeeded"
    read = there.get_secret_value(SecretId="x")
    assert (read["VersionId"], read["SecretString"]) == (token, here.get_secret_value(SecretId="x")["SecretString"])
    assert there.describe_secret(SecretId="x")["VersionIdsToStages"] == {
        token: ["AWSCURRENT"], made["VersionId"]: ["AWSPREVIOUS"],
    }  # fmt: skip


def test_a_name_that_is_taken_there_stays_whose_it_is(here: Any, there: Any) -> None:
    there.create_secret(Name="x", SecretString="theirs")
    here.create_secret(Name="x", SecretString="S")
    for region in ("eu-west-1", "nowhere-1", "EU"):
        with refused("InvalidParameterException", "Invalid replica region."):
            here.replicate_secret_to_regions(SecretId="x", AddReplicaRegions=[{"Region": region}])
    failed = here.replicate_secret_to_regions(SecretId="x", AddReplicaRegions=[{"Region": "us-east-2"}])
    assert failed["ReplicationStatus"][0]["Status"] == "Failed"
    assert failed["ReplicationStatus"][0]["StatusMessage"] == (
        "Replication failed: Secret name x already exists in region us-east-2."
    )
    here.put_secret_value(SecretId="x", SecretString="S2")
    assert there.get_secret_value(SecretId="x")["SecretString"] == "theirs"
    again = here.replicate_secret_to_regions(
        SecretId="x", AddReplicaRegions=[{"Region": "us-east-2"}], ForceOverwriteReplicaSecret=True
    )
    assert [each["Status"] for each in again["ReplicationStatus"]] == ["InSync"]
    assert there.get_secret_value(SecretId="x")["SecretString"] == "S2"


def test_a_key_that_cannot_be_used_there_is_told(here: Any, there: Any) -> None:
    made = here.create_secret(
        Name="x", SecretString="S", AddReplicaRegions=[{"Region": "us-east-2", "KmsKeyId": "alias/none"}]
    )
    assert made["ReplicationStatus"][0]["Status"] == "Failed"
    with refused("ResourceNotFoundException"):
        there.get_secret_value(SecretId="x")


def test_secrets_are_not_replicated_between_accounts(here: Any) -> None:
    arn = here.create_secret(Name="x")["ARN"]
    for ask in (here.associate_cross_account_replica, here.disassociate_cross_account_replica):
        with refused("InvalidRequestException"):
            ask(SecretId="x", CrossAccountReplicaARN=arn)
