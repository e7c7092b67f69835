"""Who may do what with groups: actions, the group's ARN, its tags and those of the request."""

from typing import Any

import pytest

from tests.capabilities.access.policies import User, allow, deny
from tests.capabilities.resource_groups.test_groups import by_tags, groups, refused
from tests.conftest import Aws

__all__ = ["groups"]
WEB = "arn:aws:resource-groups:eu-west-1:*:group/web"


@pytest.fixture
def ada(aws: Aws) -> User:
    return User(aws, "ada")


def denied(call: Any, **request: Any) -> bool:
    code, text, status = refused(call, **request)
    return (code, status) == ("AccessDeniedException", 403) and "is not authorized to perform: " in text


def test_each_action_on_its_group(groups: Any, ada: User) -> None:
    for name in ("web", "db"):
        groups.create_group(Name=name, ResourceQuery=by_tags(("k", [])))
    mine = ada("resource-groups")
    assert denied(mine.list_groups)
    ada.may(allow("resource-groups:*", WEB), allow("resource-groups:ListGroups"))
    assert len(mine.list_groups()["GroupIdentifiers"]) == 2
    assert mine.get_group(Group="web")["Group"]["Name"] == "web"
    assert denied(mine.get_group, Group="db")
    assert denied(mine.get_group, Group="absent")
    assert denied(mine.update_group, Group="db", Description="x")
    assert denied(mine.create_group, Name="web2")
    assert denied(mine.list_group_resources, Group="web")  # what its query finds is another question
    assert denied(mine.search_resources, ResourceQuery=by_tags(("k", [])))
    ada.may(allow("tag:GetResources"), policy="tags")
    assert mine.list_group_resources(Group="web")["Resources"] == []
    ada.may(deny("resource-groups:DeleteGroup", WEB), policy="no")
    assert denied(mine.delete_group, Group="web")


def test_tags_of_the_request_and_of_the_group(groups: Any, ada: User) -> None:
    mine = ada("resource-groups")
    of_team = {"StringEquals": {"aws:RequestTag/team": "a"}}
    ada.may(
        allow("resource-groups:CreateGroup", Condition=of_team),
        allow("resource-groups:Tag", Condition=of_team | {"ForAllValues:StringEquals": {"aws:TagKeys": ["team"]}}),
        allow("resource-groups:Untag", Condition={"ForAllValues:StringEquals": {"aws:TagKeys": ["note"]}}),
        allow("resource-groups:DeleteGroup", Condition={"StringEquals": {"aws:ResourceTag/team": "a"}}),
    )
    assert denied(mine.create_group, Name="x")
    assert denied(mine.create_group, Name="x", Tags={"team": "b"})
    assert denied(mine.create_group, Name="x", Tags={"team": "a", "more": "1"})  # Tag is asked too
    arn = mine.create_group(Name="x", Tags={"team": "a"})["Group"]["GroupArn"]
    assert denied(mine.tag, Arn=arn, Tags={"team": "b"})
    mine.tag(Arn=arn, Tags={"team": "a"})
    assert denied(mine.untag, Arn=arn, Keys=["team"])
    mine.untag(Arn=arn, Keys=["note"])
    groups.create_group(Name="other", Tags={"team": "b"})
    assert denied(mine.delete_group, Group="other")
    mine.delete_group(Group="x")
