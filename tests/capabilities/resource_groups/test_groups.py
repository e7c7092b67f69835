"""Resource groups through boto3: what is kept of a group, and what is refused."""

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.conftest import Aws, Server

ACCOUNT_ARN = "arn:aws:resource-groups:eu-west-1:"


def by_tags(*filters: tuple[str, list[str]], types: tuple[str, ...] = ("AWS::AllSupported",)) -> dict[str, str]:
    """A ResourceQuery."""
    query = {
        "ResourceTypeFilters": list(types),
        "TagFilters": [{"Key": key, "Values": values} for key, values in filters],
    }
    return {"Type": "TAG_FILTERS_1_0", "Query": json.dumps(query)}


WEB = by_tags(("role", ["web"]))
BY_HAND = [
    {
        "Type": "AWS::ResourceGroups::Generic",
        "Parameters": [
            {"Name": "allowed-resource-types", "Values": ["AWS::SSM::Parameter", "AWS::SecretsManager::Secret"]},
            {"Name": "deletion-protection", "Values": ["UNLESS_EMPTY"]},
        ],
    }
]


def refused(call: Any, **request: Any) -> tuple[str, str, int]:
    """Code, text and status of the error."""
    with pytest.raises(ClientError) as raised:
        call(**request)
    response = raised.value.response
    return response["Error"]["Code"], response["Error"]["Message"], response["ResponseMetadata"]["HTTPStatusCode"]


@pytest.fixture
def groups(aws: Aws) -> Any:
    return aws("resource-groups")


def test_a_group_from_its_making_to_its_end(groups: Any, aws: Aws) -> None:
    made = groups.create_group(
        Name="web",
        Description="Web servers",
        ResourceQuery=WEB,
        Tags={"team": "a b", "äö": ""},
        Owner="Ops",
        Criticality=3,
    )
    account = aws("sts").get_caller_identity()["Account"]
    arn = f"{ACCOUNT_ARN}{account}:group/web"
    about = {"GroupArn": arn, "Name": "web", "Description": "Web servers", "Owner": "Ops", "Criticality": 3}
    assert made["Group"] == about
    assert made["ResourceQuery"] == WEB
    assert made["Tags"] == {"team": "a b", "äö": ""}
    for named in ({"Group": "web"}, {"Group": arn}, {"GroupName": "web"}):
        assert groups.get_group(**named)["Group"] == about
        assert groups.get_group_query(**named)["GroupQuery"] == {"GroupName": "web", "ResourceQuery": WEB}
    assert groups.get_group_configuration(Group="web")["GroupConfiguration"] == {}
    changed = {**about, "Description": "", "DisplayName": "Front"}
    assert groups.update_group(Group="web", Description="", DisplayName="Front")["Group"] == changed
    other = by_tags(("role", []), types=("AWS::SSM::ManagedInstance",))
    assert groups.update_group_query(Group="web", ResourceQuery=other)["GroupQuery"]["ResourceQuery"] == other
    assert groups.get_group_query(Group="web")["GroupQuery"]["ResourceQuery"] == other
    assert groups.tag(Arn=arn, Tags={"team": "b", "x/y": "1"})["Tags"] == {"team": "b", "x/y": "1"}
    assert groups.untag(Arn=arn, Keys=["äö", "absent"])["Keys"] == ["äö", "absent"]
    assert groups.get_tags(Arn=arn)["Tags"] == {"team": "b", "x/y": "1"}
    assert groups.delete_group(Group="web")["Group"] == changed
    assert refused(groups.get_group, Group="web") == ("NotFoundException", "Cannot find group: web", 404)
    groups.create_group(Name="web")
    assert groups.get_tags(Arn=arn)["Tags"] == {}
    assert groups.list_group_resources(Group="web")["Resources"] == []


def test_groups_are_listed_by_name_in_pages_and_by_filters(groups: Any) -> None:
    for name, types in (("b", ("AWS::SSM::Parameter",)), ("a", ("AWS::AllSupported",)), ("d", ("AWS::KMS::Key",))):
        groups.create_group(Name=name, ResourceQuery=by_tags(("k", []), types=types), Owner=f"owner {name}")
    groups.create_group(Name="c", Configuration=BY_HAND)
    pages = list(groups.get_paginator("list_groups").paginate(PaginationConfig={"PageSize": 1}))
    assert [each["GroupName"] for page in pages for each in page["GroupIdentifiers"]] == ["a", "b", "c", "d"]
    assert [each["Name"] for page in pages for each in page["Groups"]] == ["a", "b", "c", "d"]

    def listed(*filters: tuple[str, list[str]]) -> list[str]:
        found = groups.list_groups(Filters=[{"Name": name, "Values": values} for name, values in filters])
        return [each["GroupName"] for each in found["GroupIdentifiers"]]

    assert listed(("resource-type", ["AWS::SSM::Parameter", "AWS::KMS::Key"])) == ["b", "d"]
    assert listed(("resource-type", ["AWS::AllSupported"])) == ["a"]
    assert listed(("configuration-type", ["AWS::ResourceGroups::Generic"])) == ["c"]
    assert listed(("owner", ["owner b", "owner a"]), ("resource-type", ["AWS::SSM::Parameter"])) == ["b"]
    wrong = {"Filters": [{"Name": "configuration-type", "Values": ["AWS::Foo::Bar"]}]}
    assert refused(groups.list_groups, **wrong)[:2] == (
        "BadRequestException",
        "Filters not valid: One or more filter values are not supported: AWS::Foo::Bar",
    )
    token = groups.list_groups(MaxResults=1)["NextToken"]
    assert refused(groups.list_groups, NextToken=token, Filters=[{"Name": "owner", "Values": ["x"]}])[0] == (
        "BadRequestException"
    )


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("{", "Query format not valid: check JSON syntax"),
        ('{"TagFilters": [{"Key": "a", "Values": "b"}]}', "Query format not valid: check JSON syntax"),
        ('{"TagFilters": [{"Key": "a"}], "More": 1}', "Query format not valid: check JSON syntax"),
        ('{"ResourceTypeFilters": ["AWS::AllSupported"]}', "Query format not valid: check JSON syntax"),
        ('{"TagFilters": []}', "The TagFilters list must contain between 1 and 50 elements"),
        ('{"TagFilters": [{"Key": ""}]}', "The TagFilter element cannot have empty or null Key field"),
        ('{"TagFilters": [{"Key": "%s"}]}' % ("k" * 129), "The maximum length for a tag Key is 128"),
        (
            json.dumps({"TagFilters": [{"Key": "k", "Values": [str(each) for each in range(21)]}]}),
            "The TagFilter Values list must contain between 0 and 20 elements",
        ),
        ('{"TagFilters": [{"Key": "k", "Values": ["%s"]}]}' % ("v" * 257), "The maximum length for a tag Value is 256"),
        ('{"ResourceTypeFilters": ["nodes"], "TagFilters": [{"Key": "k"}]}', "The resource type nodes is not valid"),
    ],
)
def test_a_query_that_is_none_is_refused(groups: Any, query: str, why: str) -> None:
    asked = {"Type": "TAG_FILTERS_1_0", "Query": query}
    for call, more in ((groups.create_group, {"Name": "x"}), (groups.search_resources, {})):
        assert refused(call, ResourceQuery=asked, **more) == ("BadRequestException", f"Query not valid: {why}", 400)
    assert groups.list_groups()["GroupIdentifiers"] == []


def test_what_a_group_cannot_be(groups: Any) -> None:
    groups.create_group(Name="web", ResourceQuery=WEB)
    groups.create_group(Name="hand", Configuration=BY_HAND)
    assert refused(groups.create_group, Name="web")[1] == "Cannot create group: group already exists"
    assert refused(groups.create_group, Name="aWS-x")[1] == "Group name must not start with 'AWS'"
    assert refused(groups.create_group, Name="x", Tags={"Aws:x": "y"})[1] == "Tag keys must not start with 'aws:'"
    stack = {"Type": "CLOUDFORMATION_STACK_1_0", "Query": "{}"}
    code, text, status = refused(groups.create_group, Name="x", ResourceQuery=stack)
    assert (code, status) == ("BadRequestException", 400)
    assert "CloudFormation" in text
    assert "not both" in refused(groups.create_group, Name="x", ResourceQuery=WEB, Configuration=BY_HAND)[1]
    assert "no query" in refused(groups.get_group_query, Group="hand")[1]
    assert "no query" in refused(groups.update_group_query, Group="hand", ResourceQuery=WEB)[1]
    assert "no configuration" in refused(groups.put_group_configuration, Group="web", Configuration=BY_HAND)[1]
    for wrong in (
        [{"Type": "AWS::EC2::HostManagement"}],
        BY_HAND * 2,
        [{"Type": "AWS::ResourceGroups::Generic", "Parameters": [{"Name": "other", "Values": ["x"]}]}],
        [{"Type": "AWS::ResourceGroups::Generic", "Parameters": [{"Name": "deletion-protection", "Values": ["NO"]}]}],
    ):
        assert refused(groups.create_group, Name="x", Configuration=wrong)[1].startswith("Configuration not valid: ")
    assert refused(groups.get_group)[1].startswith("Group must be given")
    foreign = f"{ACCOUNT_ARN}999988887777:group/web"
    assert refused(groups.get_group, Group=foreign)[0] == "NotFoundException"
    assert refused(groups.get_tags, Arn=foreign)[0] == "NotFoundException"
    many = {f"k{number}": "v" for number in range(51)}
    assert refused(groups.create_group, Name="x", Tags=many)[0] == "BadRequestException"
    assert [each["GroupName"] for each in groups.list_groups()["GroupIdentifiers"]] == ["hand", "web"]
    with pytest.raises(ClientError) as raised:
        groups.start_tag_sync_task(Group="web", RoleArn="arn:aws:iam::123456789012:role/x")
    assert raised.value.response["Error"]["Code"] == "UnknownOperationException"
    settings = groups.get_account_settings()["AccountSettings"]
    assert settings["GroupLifecycleEventsStatus"] == "INACTIVE"


def test_the_trail_says_what_became_of_a_group(groups: Any, aws: Aws) -> None:
    groups.create_group(Name="web", ResourceQuery=WEB, Tags={"team": "a"})
    events = aws("cloudtrail").lookup_events(
        LookupAttributes=[{"AttributeKey": "EventName", "AttributeValue": "CreateGroup"}]
    )
    event = json.loads(events["Events"][0]["CloudTrailEvent"])
    assert event["eventSource"] == "resource-groups.amazonaws.com"
    assert event["requestParameters"]["name"] == "web"
    assert event["requestParameters"]["resourceQuery"]["query"] == WEB["Query"]
    assert event["requestParameters"]["tags"] == {"team": "a"}


def test_groups_of_other_accounts_and_regions_are_not_there(groups: Any, aws: Aws, server: Server) -> None:
    groups.create_group(Name="web", ResourceQuery=WEB)
    elsewhere = aws("resource-groups", region="us-east-1")
    assert elsewhere.list_groups()["GroupIdentifiers"] == []
    assert refused(elsewhere.get_group, Group="web")[0] == "NotFoundException"
