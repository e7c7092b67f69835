"""Commands that tell a topic how they fare: from SendCommand to the signed message at the receiver."""

import json
from typing import Any

import pytest

from tests.capabilities.access.policies import User, allow, document, error
from tests.capabilities.commands.conftest import (
    Fleet,
    Send,
    _signatures_follow_the_clock,
    fleet,
    send,
    ssm,
)
from tests.capabilities.events.conftest import eventually
from tests.capabilities.topics.conftest import Subscriber
from tests.conftest import Aws, Server

__all__ = ["_signatures_follow_the_clock", "fleet", "send", "ssm"]


@pytest.fixture
def topic(sns: Any) -> str:
    arn: str = sns.create_topic(Name="commands")["TopicArn"]
    return arn


@pytest.fixture
def role(aws: Aws, topic: str) -> str:
    """One that Systems Manager may assume, and that may publish to the topic."""
    iam = aws("iam")
    trust = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "ssm.amazonaws.com"}}
    arn: str = iam.create_role(RoleName="notify", AssumeRolePolicyDocument=document(trust))["Role"]["Arn"]
    iam.put_role_policy(RoleName="notify", PolicyName="p", PolicyDocument=document(allow("sns:Publish", topic)))
    return arn


def test_a_command_and_its_invocations_are_told(
    server: Server, topic: str, role: str, subscriber: Subscriber, fleet: Fleet, send: Send
) -> None:
    subscriber.subscribe(topic)
    first, second = fleet.node(), fleet.node()

    def told(kind: str) -> list[dict[str, Any]]:
        """Everything that a command of a notification type tells, with signatures that fit."""
        seen = len(subscriber.of("Notification"))
        config = {"NotificationArn": topic, "NotificationType": kind, "NotificationEvents": ["Success"]}
        command = send(first.id, second.id, ServiceRoleArn=role, NotificationConfig=config)
        count = 1 if kind == "Command" else 2
        found = eventually(
            lambda: server.advance(seconds=1) or (len(news := subscriber.of("Notification")[seen:]) >= count and news)
        )
        assert {each["Subject"] for each in found} == {"EC2 Run Command Notification eu-west-1"}
        messages = [json.loads(each["Message"]) for each in found]
        for message in messages:
            assert message["commandId"] == command["CommandId"]
            assert message["documentName"] == "AWS-RunShellScript"
            assert (message["status"], message["detailedStatus"]) == ("Success", "Success")
        return messages

    [whole] = told("Command")
    assert whole["instanceIds"] == [first.id, second.id]
    assert {each["instanceId"] for each in told("Invocation")} == {first.id, second.id}


def test_what_cannot_be_told_is_refused_at_once(
    aws: Aws, sns: Any, topic: str, role: str, fleet: Fleet, ssm: Any
) -> None:
    node = fleet.node(online=False)
    request: dict[str, Any] = {
        "DocumentName": "AWS-RunShellScript", "Parameters": {"commands": ["true"]}, "InstanceIds": [node.id],
        "ServiceRoleArn": role, "NotificationConfig": {"NotificationArn": topic},
    }  # fmt: skip

    def code(by: Any = ssm, **members: Any) -> str:
        return error(by.send_command, **request | members)["Code"]

    assert code(NotificationConfig={"NotificationArn": f"{topic}2"}) == "InvalidNotificationConfig"
    elsewhere = topic.replace("eu-west-1", "us-east-1")
    assert code(NotificationConfig={"NotificationArn": elsewhere}) == "InvalidNotificationConfig"
    assert code(ServiceRoleArn=f"{role}2") == "InvalidRole"
    iam = aws("iam")
    user = User(aws, "sender")
    other = iam.create_role(RoleName="other", AssumeRolePolicyDocument=document(_trust(user.arn)))["Role"]["Arn"]
    assert code(ServiceRoleArn=other) == "InvalidRole"
    silent = sns.create_topic(Name="silent")["TopicArn"]
    assert code(NotificationConfig={"NotificationArn": silent}) == "InvalidRole"
    as_user = aws("ssm", access_key=user.key["AccessKeyId"], secret=user.key["SecretAccessKey"])
    user.may(allow("ssm:SendCommand"))
    assert code(as_user) == "AccessDeniedException"
    passed = {"StringEquals": {"iam:PassedToService": "ssm.amazonaws.com"}}
    user.may(allow("ssm:SendCommand"), allow("iam:PassRole", role, Condition=passed))
    assert as_user.send_command(**request)["Command"]["ServiceRole"] == role
    sns.delete_topic(TopicArn=topic)
    assert code() == "InvalidNotificationConfig"
    assert len(ssm.list_commands()["Commands"]) == 1


def _trust(arn: str) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": arn}}
