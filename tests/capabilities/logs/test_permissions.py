"""Who may do what with logs: users by ARN and by tag, nodes by their role; and what the trail says of it."""

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.capabilities.commands.conftest import REGION, Fleet, fleet
from tests.capabilities.logs.conftest import GROUP, STREAM, Putting
from tests.conftest import Aws, Server
from tests.gateway.test_node_rights import ROLE, its
from tests.identity.test_resource_tags import ada, statement

__all__ = ["ada", "fleet"]
OF = {"logGroupName": GROUP, "logStreamName": STREAM}


def refusal(call: Any, **members: Any) -> str:
    with pytest.raises(ClientError) as error:
        call(**members)
    assert error.value.response["Error"]["Code"] == "AccessDeniedException"
    return str(error.value.response["Error"]["Message"])


def test_a_user_reaches_the_groups_and_streams_of_her_policy(logs: Any, put: Putting, ada: Any, server: Server) -> None:
    may, client = ada
    hers, front = client("logs"), f"arn:aws:logs:{REGION}:{server.application.root.account_id}:log-group"
    put("seen")
    may(statement("Allow", ["logs:Describe*", "logs:FilterLogEvents"], f"{front}:{GROUP}:*"))
    assert hers.describe_log_streams(logGroupName=GROUP)["logStreams"]
    assert hers.filter_log_events(logGroupIdentifier=f"{front}:{GROUP}")["events"]
    assert f"logs:GetLogEvents on resource: {front}:{GROUP}:log-stream:{STREAM} " in refusal(hers.get_log_events, **OF)
    assert f"on resource: {front}:other:log-stream: " in refusal(hers.filter_log_events, logGroupName="other")
    assert f"on resource: {front}::log-stream: " in refusal(hers.describe_log_groups)
    may(statement("Allow", "logs:*Events", f"{front}:{GROUP}:log-stream:command/*"))
    assert hers.get_log_events(**OF)["events"]
    refusal(hers.get_log_events, logGroupName=GROUP, logStreamName="another")
    may(statement("Allow", "logs:CreateLogGroup"))
    hers.create_log_group(logGroupName="mine")
    assert f"logs:TagResource on resource: {front}:tagged" in refusal(
        hers.create_log_group, logGroupName="tagged", tags={"a": "b"}
    )
    may(statement("Allow", "logs:*", f"{front}:mine"))
    hers.tag_resource(resourceArn=f"{front}:mine", tags={"a": "b"})
    refusal(hers.tag_resource, resourceArn=f"{front}:{GROUP}", tags={"a": "b"})


def test_groups_by_their_tags(aws: Aws, ada: Any) -> None:
    may, client = ada
    root, hers = aws("logs", region=REGION), client("logs")
    for env in ("dev", "prod"):
        root.create_log_group(logGroupName=env, tags={"env": env})
        root.create_log_stream(logGroupName=env, logStreamName="s")
    may(statement("Allow", "logs:*", aws_ResourceTag__env="dev"))
    assert hers.get_log_events(logGroupName="dev", logStreamName="s")["events"] == []
    assert hers.filter_log_events(logGroupName="dev")["events"] == []
    refusal(hers.get_log_events, logGroupName="prod", logStreamName="s")
    refusal(hers.delete_log_group, logGroupName="prod")
    may(statement("Allow", "logs:*"), statement("Deny", "logs:TagLogGroup", aws_RequestTag__env="prod"))
    refusal(hers.tag_log_group, logGroupName="dev", tags={"env": "prod"})
    hers.tag_log_group(logGroupName="dev", tags={"env": "dev"})


def test_a_node_sends_the_output_of_commands_as_its_role_allows(aws: Aws, fleet: Fleet, server: Server) -> None:
    """The calls of the official agent, in its order."""
    logs = its(aws, fleet.node(online=False), "logs")
    assert "logs:CreateLogGroup" in refusal(logs.create_log_group, logGroupName=GROUP)
    policy = "arn:aws:iam::aws:policy/CloudWatchAgentServerPolicy"
    aws("iam").attach_role_policy(RoleName=ROLE, PolicyArn=policy)
    logs.create_log_group(logGroupName=GROUP)
    assert [each["logGroupName"] for each in logs.describe_log_groups(logGroupNamePrefix=GROUP)["logGroups"]] == [GROUP]
    logs.create_log_stream(**OF)
    assert logs.describe_log_streams(logGroupName=GROUP, logStreamNamePrefix=STREAM)["logStreams"]
    event = {"timestamp": server.clock.millis(), "message": "line one\nline two"}
    token = logs.put_log_events(**OF, logEvents=[event])["nextSequenceToken"]
    logs.put_log_events(**OF, logEvents=[event], sequenceToken=token)
    refusal(logs.get_log_events, **OF)
    refusal(logs.delete_log_group, logGroupName=GROUP)
    read = aws("logs", region=REGION).get_log_events(**OF, startFromHead=True)["events"]
    assert [each["message"] for each in read] == ["line one\nline two"] * 2


def test_the_trail_says_who_changed_a_group_and_nothing_of_events(logs: Any, put: Putting, aws: Aws, ada: Any) -> None:
    may, client = ada
    put("canary-message")
    logs.tag_log_group(logGroupName=GROUP, tags={"team": "ops"})
    may(statement("Allow", "ssm:*"))
    event = {"timestamp": 1, "message": "canary-refused"}
    refusal(client("logs").put_log_events, **OF, logEvents=[event])
    wanted = [{"AttributeKey": "ResourceName", "AttributeValue": GROUP}]
    told = aws("cloudtrail", region=REGION).lookup_events(LookupAttributes=wanted)["Events"]
    records = {each["EventName"]: json.loads(each["CloudTrailEvent"]) for each in told}
    assert set(records) == {"CreateLogGroup", "CreateLogStream", "TagLogGroup", "PutLogEvents"}
    assert records["TagLogGroup"]["requestParameters"] == {"logGroupName": GROUP, "tags": {"team": "ops"}}
    assert records["CreateLogGroup"]["resources"][0]["type"] == "AWS::Logs::LogGroup"
    wanted = [{"AttributeKey": "EventName", "AttributeValue": "PutLogEvents"}]
    told = aws("cloudtrail", region=REGION).lookup_events(LookupAttributes=wanted)["Events"]
    (record,) = [json.loads(each["CloudTrailEvent"]) for each in told]
    assert record["errorCode"] == "AccessDeniedException"
    assert record["readOnly"] is False
    assert "canary" not in json.dumps(told, default=str)
