"""PlanCommand: what SendCommand would do, node by node, and that it does nothing."""

from typing import Any

import pytest

from tests.capabilities.access.policies import allow, document
from tests.capabilities.commands.conftest import Fleet, refused
from tests.conftest import Aws

SCRIPT = {"DocumentName": "AWS-RunShellScript", "Parameters": {"commands": ["true"]}}
PROD = [{"Key": "tag:Env", "Values": ["Prod"]}]


@pytest.fixture
def own(aws: Aws) -> Any:
    return aws("pilothouse")


@pytest.fixture
def fates(own: Any) -> Any:
    """Outcome and reason by node id, over all pages."""

    def fates(**asked: Any) -> dict[str, tuple[str, str]]:
        found: dict[str, tuple[str, str]] = {}
        token: dict[str, str] = {}
        while True:
            page = own.plan_command(**SCRIPT | asked, MaxResults=2, **token)
            found |= {each["InstanceId"]: (each["Outcome"], each.get("Reason", "")) for each in page["Nodes"]}
            if not page.get("NextToken"):
                return found
            token = {"NextToken": page["NextToken"]}

    return fates


def test_each_node_with_its_outcome_and_the_reason(ssm: Any, own: Any, fleet: Fleet, fates: Any) -> None:
    here = fleet.node(tags={"Env": "Prod"})
    away = fleet.node(online=False, tags={"Env": "Prod"})
    windows = fleet.node(platform="Windows", tags={"Env": "Prod"})
    test, untagged = fleet.node(tags={"Env": "Test"}), fleet.node()
    found = fates(Targets=PROD)
    assert {node: outcome for node, (outcome, _) in found.items()} == {
        here.id: "Runs", away.id: "Waits", windows.id: "InvalidPlatform"
    }  # fmt: skip
    assert found[windows.id][1] == "AWS-RunShellScript is for Linux, MacOS, it is Windows"
    whole = fates(Targets=PROD, IncludeOthers=True)
    assert whole[test.id] == ("NotTargeted", "its tag Env is Test")
    assert whole[untagged.id] == ("NotTargeted", "it has no tag Env")
    numbers = own.plan_command(**SCRIPT, Targets=PROD, MaxConcurrency="50%", MaxErrors="34%")
    assert (numbers["TargetCount"], numbers["AtOnce"], numbers["ErrorsTolerated"]) == (3, 2, 1)
    assert ssm.list_commands()["Commands"] == []


def test_it_agrees_with_what_is_sent(ssm: Any, fleet: Fleet, fates: Any) -> None:
    fleet.nodes(3, online=False, tags={"Env": "Prod"})
    fleet.nodes(2, online=False)
    command = ssm.send_command(**SCRIPT, Targets=PROD)["Command"]["CommandId"]
    sent = ssm.list_command_invocations(CommandId=command)["CommandInvocations"]
    assert sorted(each["InstanceId"] for each in sent) == sorted(fates(Targets=PROD))


def test_nodes_that_the_caller_may_not_use(aws: Aws, fleet: Fleet) -> None:
    mine, other = fleet.node(tags={"Env": "Prod", "Team": "a"}), fleet.node(tags={"Env": "Prod"})
    iam = aws("iam")
    iam.create_user(UserName="ada")
    key = iam.create_access_key(UserName="ada")["AccessKey"]
    allowed = [
        allow("ssm:SendCommand", "*", Condition={"StringEquals": {"ssm:resourceTag/Team": "a"}}),
        allow("ssm:SendCommand", "arn:aws:ssm:*:*:document/*"),
    ]
    iam.put_user_policy(UserName="ada", PolicyName="p", PolicyDocument=document(*allowed))
    ada = aws("pilothouse", access_key=key["AccessKeyId"], secret=key["SecretAccessKey"])
    shown = ada.plan_command(**SCRIPT, Targets=PROD)["Nodes"]
    assert {each["InstanceId"]: each["Outcome"] for each in shown} == {mine.id: "Runs", other.id: "AccessDenied"}
    assert refused(lambda: ada.plan_command(**SCRIPT, Targets=PROD, IncludeOthers=True)) == "AccessDeniedException"


def test_what_sendcommand_refuses_is_refused(own: Any, fleet: Fleet) -> None:
    windows = fleet.node(platform="Windows")
    for asked, code in [
        ({}, "ValidationException"),
        ({"Targets": PROD, "DocumentName": "Nonsense"}, "InvalidDocument"),
        ({"Targets": PROD, "Parameters": {"nonsense": ["x"]}}, "InvalidParameters"),
        ({"InstanceIds": ["mi-0123456789abcdef0"]}, "InvalidInstanceId"),
        ({"InstanceIds": [windows.id]}, "UnsupportedPlatformType"),
        ({"Targets": PROD, "NextToken": "x"}, "InvalidNextToken"),
    ]:
        assert refused(lambda asked=asked: own.plan_command(**SCRIPT | asked)) == code
