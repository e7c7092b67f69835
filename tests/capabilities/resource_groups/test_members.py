"""What is in groups: by tags over all kinds of resources, and by name where a configuration lets members be named."""

import json
from typing import Any

import pytest

from pilothouse.capabilities.tags.store import TagStore
from pilothouse.grouping import TagFilter
from pilothouse.storage import Database
from tests.capabilities.commands.conftest import Fleet, fleet
from tests.capabilities.resource_groups.test_groups import BY_HAND, by_tags, groups, refused
from tests.conftest import Aws

__all__ = ["fleet", "groups"]
PROD = [{"Key": "env", "Value": "prod"}]


def found(groups: Any, *filters: tuple[str, list[str]], types: tuple[str, ...] = ("AWS::AllSupported",)) -> list[str]:
    """ARNs in order, over pages of two."""
    pages = groups.get_paginator("search_resources").paginate(
        ResourceQuery=by_tags(*filters, types=types), PaginationConfig={"PageSize": 2}
    )
    return [each["ResourceArn"] for page in pages for each in page["ResourceIdentifiers"]]


def listed(groups: Any, name: str, **more: Any) -> list[str]:
    answer = groups.list_group_resources(Group=name, **more)
    assert [each["Identifier"] for each in answer["Resources"]] == answer["ResourceIdentifiers"]
    return [each["ResourceArn"] for each in answer["ResourceIdentifiers"]]


def test_resources_of_every_kind_are_found_by_their_tags(groups: Any, aws: Aws, fleet: Fleet) -> None:
    node = fleet.node(online=False, tags={"env": "prod"})
    ssm, kms, s3, sns = aws("ssm"), aws("kms"), aws("s3"), aws("sns")
    for name in ("/app/b", "plain"):
        ssm.put_parameter(Name=name, Value="v", Type="String", Tags=PROD)
    ssm.create_document(
        Name="Doc", DocumentType="Command", Tags=PROD,
        Content=json.dumps({"schemaVersion": "2.2", "mainSteps": [
            {"action": "aws:runShellScript", "name": "x", "inputs": {"runCommand": ["true"]}}]}),
    )  # fmt: skip
    secret = aws("secretsmanager").create_secret(Name="s", SecretString="x", Tags=PROD)["ARN"]
    key = kms.create_key(Tags=[{"TagKey": "env", "TagValue": "prod"}])["KeyMetadata"]["Arn"]
    topic = sns.create_topic(Name="told", Tags=PROD)["TopicArn"]
    s3.create_bucket(Bucket="files", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    s3.put_bucket_tagging(Bucket="files", Tagging={"TagSet": PROD})
    aws("logs").create_log_group(logGroupName="/app", tags={"env": "prod"})
    group = groups.create_group(Name="all", ResourceQuery=by_tags(("env", ["prod"])), Tags={"env": "prod"})["Group"]
    account = key.split(":")[4]
    of_ssm = f"arn:aws:ssm:eu-west-1:{account}:"
    expected = {
        key: "AWS::KMS::Key",
        f"arn:aws:logs:eu-west-1:{account}:log-group:/app": "AWS::Logs::LogGroup",
        group["GroupArn"]: "AWS::ResourceGroups::Group",
        "arn:aws:s3:::files": "AWS::S3::Bucket",
        topic: "AWS::SNS::Topic",
        f"{of_ssm}document/Doc": "AWS::SSM::Document",
        f"{of_ssm}managed-instance/{node.id}": "AWS::SSM::ManagedInstance",
        f"{of_ssm}parameter/app/b": "AWS::SSM::Parameter",
        f"{of_ssm}parameter/plain": "AWS::SSM::Parameter",
        secret: "AWS::SecretsManager::Secret",
    }
    answer = groups.list_group_resources(Group="all")
    assert {each["ResourceArn"]: each["ResourceType"] for each in answer["ResourceIdentifiers"]} == expected
    assert found(groups, ("env", ["prod"])) == list(expected)
    types = ("AWS::SecretsManager::Secret", "AWS::SSM::Parameter", "AWS::DynamoDB::Table")
    assert found(groups, ("env", ["prod"]), types=types) == list(expected)[-3:]
    unknown = groups.search_resources(ResourceQuery=by_tags(("env", []), types=types))["QueryErrors"]
    assert [each["ErrorCode"] for each in unknown] == ["RESOURCE_TYPE_NOT_SUPPORTED"]
    hand = [{"Type": "AWS::ResourceGroups::Generic"}]
    groups.create_group(Name="hand", Configuration=hand)
    done = groups.group_resources(Group="hand", ResourceArns=list(expected))
    assert (done["Succeeded"], done["Failed"]) == (list(expected), [])
    assert set(listed(groups, "hand")) == set(expected)
    ssm.delete_parameter(Name="plain")
    assert f"{of_ssm}parameter/plain" not in listed(groups, "hand") + listed(groups, "all")


def test_tags_are_anded_their_values_ored_and_letters_count(groups: Any, aws: Aws) -> None:
    ssm = aws("ssm")
    given = {"a": {"env": "prod", "role": "web"}, "b": {"env": "dev", "role": "db"}, "c": {"env": "Prod"}}
    for name, tags in given.items():
        pairs = [{"Key": key, "Value": value} for key, value in tags.items()]
        ssm.put_parameter(Name=name, Value="v", Type="String", Tags=pairs)
        aws("secretsmanager").create_secret(Name=name, SecretString="x", Tags=pairs)

    def names(*filters: tuple[str, list[str]]) -> tuple[str, str]:
        arns = found(groups, *filters)
        parameters = "".join(each[-1] for each in arns if ":parameter/" in each)
        return parameters, "".join(each[-8] for each in arns if ":secret:" in each)

    assert names(("env", ["prod", "dev"])) == ("ab", "ab")
    assert names(("env", [])) == ("abc", "abc")
    assert names(("env", ["prod", "dev"]), ("role", ["db", "x"])) == ("b", "b")
    assert names(("env", []), ("role", [])) == ("ab", "ab")
    assert names(("env", ["prod"]), ("env", ["dev"])) == ("", "")
    assert names(("Env", [])) == ("", "")


def test_a_type_that_is_not_in_the_query_cannot_be_filtered_by(groups: Any) -> None:
    groups.create_group(Name="g", ResourceQuery=by_tags(("k", []), types=("AWS::SSM::Parameter",)))
    by = {"Filters": [{"Name": "resource-type", "Values": ["AWS::SSM::Parameter", "AWS::KMS::Key"]}]}
    assert refused(groups.list_group_resources, Group="g", **by)[:2] == (
        "BadRequestException",
        "The resource types specified as filters in the request are not valid: AWS::KMS::Key",
    )
    groups.update_group_query(Group="g", ResourceQuery=by_tags(("k", [])))
    assert listed(groups, "g", **by) == []


def test_members_are_named_and_taken_out(groups: Any, aws: Aws) -> None:
    ssm = aws("ssm")
    groups.create_group(Name="hand", Configuration=BY_HAND)
    account = aws("sts").get_caller_identity()["Account"]
    arns = [f"arn:aws:ssm:eu-west-1:{account}:parameter/p{number}" for number in range(5)]
    for number in range(5):
        ssm.put_parameter(Name=f"p{number}", Value="v", Type="String")
    key = aws("kms").create_key()["KeyMetadata"]["Arn"]
    elsewhere = arns[0].replace("eu-west-1", "us-east-1")
    done = groups.group_resources(Group="hand", ResourceArns=[*arns, arns[0], key, elsewhere, f"{arns[0]}x"])
    assert done["Succeeded"] == arns
    assert {each["ResourceArn"]: each["ErrorCode"] for each in done["Failed"]} == {
        key: "RESOURCE_TYPE_NOT_ALLOWED", elsewhere: "RESOURCE_NOT_FOUND", f"{arns[0]}x": "RESOURCE_NOT_FOUND"
    }  # fmt: skip
    ssm.delete_parameter(Name="p1")
    pages = groups.get_paginator("list_group_resources").paginate(Group="hand", PaginationConfig={"PageSize": 2})
    assert [each["ResourceArn"] for page in pages for each in page["ResourceIdentifiers"]] == [arns[0], *arns[2:]]
    assert "members" in refused(groups.delete_group, Group="hand")[1]
    narrow = [{"Type": "AWS::ResourceGroups::Generic", "Parameters": [
        {"Name": "allowed-resource-types", "Values": ["AWS::KMS::Key"]}]}]  # fmt: skip
    assert "AWS::SSM::Parameter" in refused(groups.put_group_configuration, Group="hand", Configuration=narrow)[1]
    gone = groups.ungroup_resources(Group="hand", ResourceArns=[*arns, key])
    assert gone["Succeeded"] == arns
    assert [each["ResourceArn"] for each in gone["Failed"]] == [key]
    groups.put_group_configuration(Group="hand", Configuration=narrow)
    assert groups.get_group_configuration(Group="hand")["GroupConfiguration"]["Configuration"] == narrow
    assert groups.group_resources(Group="hand", ResourceArns=[key])["Succeeded"] == [key]
    groups.ungroup_resources(Group="hand", ResourceArns=[key])
    groups.delete_group(Group="hand")
    groups.create_group(Name="tags", ResourceQuery=by_tags(("k", [])))
    assert refused(groups.group_resources, Group="tags", ResourceArns=arns[:1])[0] == "BadRequestException"
    assert refused(groups.group_resources, Group="absent", ResourceArns=arns[:1])[0] == "NotFoundException"


@pytest.mark.parametrize("begin", ["", "mi-"])
async def test_what_a_group_costs_does_not_grow_with_what_is_not_in_it(database: Database, begin: str) -> None:
    """The plan of the search, while nobody has counted what is in the table."""
    how = "explain query plan" if database.engine == "sqlite" else "explain"
    asked: list[tuple[str, dict[str, Any]]] = []
    async with database.transaction() as tx:
        store = TagStore(tx, "111122223333", "eu-west-1")
        for number in range(2000):
            await store.put("ManagedInstance", f"mi-{number:017x}", {"env": "dev", "role": "web"})

        class Watched:
            async def rows(self, sql: str, /, **values: Any) -> list[Any]:
                asked.append((sql, values))
                return []

        watched = TagStore(Watched(), "111122223333", "eu-west-1")  # type: ignore[arg-type]
        filters = [TagFilter("env", ("prod", "test")), TagFilter("role")]
        await watched.with_all("ManagedInstance", filters, begin=begin, after="", limit=50)
        ((sql, values),) = asked
        plan = str([dict(row) for row in await tx.rows(f"{how} {sql}", **values)])
    of_all, of_one = ("t0 USING", "t1 USING") if database.engine == "sqlite" else (" t0 ", " t1 ")
    assert "Seq Scan" not in plan
    assert "SCAN" not in plan
    assert "resource_tag_by_value" in next(each for each in plan.split("}") if of_all in each)
    assert "resource_id = t0.resource_id" in plan or "resource_id=?" in plan
    assert "resource_tag_by_value" not in next(each for each in plan.split("}") if of_one in each)
