"""Commands by resource group: to whom they go, and what becomes of those who may not see what is in it."""

from typing import Any

import pytest

from tests.capabilities.access.policies import User, allow
from tests.capabilities.commands.conftest import Fleet, refused
from tests.capabilities.resource_groups.test_groups import by_tags, groups
from tests.conftest import Aws

__all__ = ["groups"]
SCRIPT = {"DocumentName": "AWS-RunShellScript", "Parameters": {"commands": ["true"]}}
WEB = [{"Key": "resource-groups:Name", "Values": ["web"]}]


@pytest.fixture
def sent(ssm: Any) -> Any:
    def sent(*targets: dict[str, Any]) -> set[str]:
        """Who gets a command with these targets."""
        command = ssm.send_command(**SCRIPT, Targets=list(targets))["Command"]
        found = ssm.list_command_invocations(CommandId=command["CommandId"])["CommandInvocations"]
        assert command["TargetCount"] == len(found)
        return {each["InstanceId"] for each in found}

    return sent


def test_a_group_by_tags_is_resolved_when_a_command_is_sent(groups: Any, ssm: Any, fleet: Fleet, sent: Any) -> None:
    web, both, other = [fleet.node(online=False, tags=tags).id for tags in (
        {"role": "web"}, {"role": "web", "env": "prod"}, {"role": "db", "env": "prod"}
    )]  # fmt: skip
    groups.create_group(Name="web", ResourceQuery=by_tags(("role", ["web"])))
    assert sent(*WEB) == {web, both}
    assert sent(*WEB, {"Key": "tag:env", "Values": ["prod"]}) == {both}
    groups.create_group(Name="prod", ResourceQuery=by_tags(("env", []), types=("AWS::SSM::ManagedInstance",)))
    assert sent(*WEB, {"Key": "resource-groups:Name", "Values": ["prod"]}) == {both}
    tags = {"ResourceType": "ManagedInstance", "ResourceId": other}
    ssm.add_tags_to_resource(**tags, Tags=[{"Key": "role", "Value": "web"}])
    ssm.deregister_managed_instance(InstanceId=web)
    assert sent(*WEB) == {both, other}
    for types in (("AWS::SSM::Parameter",), ("AWS::EC2::Instance",)):
        groups.update_group_query(Group="web", ResourceQuery=by_tags(("role", ["web"]), types=types))
        assert sent(*WEB) == set()


def test_a_group_of_named_nodes(groups: Any, ssm: Any, fleet: Fleet, sent: Any) -> None:
    first, second = fleet.node(online=False).id, fleet.node(online=False).id
    groups.create_group(Name="web", Configuration=[{"Type": "AWS::ResourceGroups::Generic"}])
    account = groups.get_group(Group="web")["Group"]["GroupArn"].split(":")[4]
    arns = [f"arn:aws:ssm:eu-west-1:{account}:managed-instance/{each}" for each in (first, second)]
    assert groups.group_resources(Group="web", ResourceArns=arns)["Succeeded"] == arns
    assert sent(*WEB) == {first, second}
    ssm.deregister_managed_instance(InstanceId=first)
    assert sent(*WEB) == {second}
    groups.ungroup_resources(Group="web", ResourceArns=arns)
    assert sent(*WEB) == set()


def test_a_group_without_nodes_or_that_is_not_there(groups: Any, ssm: Any, aws: Aws, fleet: Fleet) -> None:
    node = fleet.node(online=False, tags={"role": "db"}).id
    own = aws("pilothouse")

    def why() -> str:
        shown = own.plan_command(**SCRIPT, Targets=WEB, IncludeOthers=True)["Nodes"]
        assert [each["InstanceId"] for each in shown] == [node]
        reason: str = shown[0]["Reason"]
        return reason

    assert why() == "there is no resource group web"
    command = ssm.send_command(**SCRIPT, Targets=WEB)["Command"]
    assert (command["TargetCount"], command["StatusDetails"]) == (0, "NoInstancesInTag")
    groups.create_group(Name="web", ResourceQuery=by_tags(("role", ["web"])))
    assert why() == "it is not in the resource group web"
    assert ssm.send_command(**SCRIPT, Targets=WEB)["Command"]["StatusDetails"] == "NoInstancesInTag"
    for values in ([], ["web", "other"]):
        wrong = [{"Key": "resource-groups:Name", "Values": values}]
        assert refused(lambda wrong=wrong: ssm.send_command(**SCRIPT, Targets=wrong)) == "ValidationException"


def test_who_may_not_see_what_is_in_a_group_gets_a_command_that_says_so(groups: Any, aws: Aws, fleet: Fleet) -> None:
    node = fleet.node(online=False, tags={"role": "web"}).id
    groups.create_group(Name="web", ResourceQuery=by_tags(("role", ["web"])))
    ada = User(aws, "ada")
    ssm, own = ada("ssm"), ada("pilothouse")
    ada.may(allow(["ssm:SendCommand", "ssm:ListCommands", "ssm:ListCommandInvocations"]))
    for absent in (False, True):
        targets = [{"Key": "resource-groups:Name", "Values": ["absent" if absent else "web"]}]
        command = ssm.send_command(**SCRIPT, Targets=targets)["Command"]
        shown = ssm.list_commands(CommandId=command["CommandId"])["Commands"][0]
        for each in (command, shown):
            assert (each["Status"], each["StatusDetails"], each["TargetCount"]) == ("Failed", "AccessDenied", 0)
        assert refused(lambda targets=targets: own.plan_command(**SCRIPT, Targets=targets)) == "AccessDeniedException"
    group = "arn:aws:resource-groups:*:*:group/web"
    ada.may(allow("resource-groups:ListGroupResources", group), policy="groups")
    assert ssm.send_command(**SCRIPT, Targets=WEB)["Command"]["StatusDetails"] == "AccessDenied"
    ada.may(allow("tag:GetResources"), policy="tags")
    command = ssm.send_command(**SCRIPT, Targets=WEB)["Command"]["CommandId"]
    found = ssm.list_command_invocations(CommandId=command)["CommandInvocations"]
    assert [each["InstanceId"] for each in found] == [node]
