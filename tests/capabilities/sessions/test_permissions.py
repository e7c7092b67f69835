"""Who may start, resume and end which session, by IAM policies; and what is refused for other reasons."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from pilothouse.capabilities.sessions import jobs
from tests.capabilities.sessions.conftest import World

OPEN = {"Effect": "Allow", "Action": "ssmmessages:OpenDataChannel", "Resource": "*"}


def user(world: World, name: str, *statements: dict[str, Any]) -> Any:
    """An ssm client of a user with this policy."""
    iam = world.aws("iam")
    iam.create_user(UserName=name)

    def remove() -> None:
        iam.delete_user_policy(UserName=name, PolicyName="p")
        iam.delete_access_key(UserName=name, AccessKeyId=key["AccessKeyId"])
        iam.delete_user(UserName=name)

    world.undo.append(remove)
    document = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
    iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=document)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return world.aws("ssm", access_key=key["AccessKeyId"], secret=key["SecretAccessKey"])


def refused(call: Callable[[], Any]) -> tuple[str, str]:
    with pytest.raises(ClientError) as error:
        call()
    return error.value.response["Error"]["Code"], error.value.response["Error"]["Message"]


def test_node_and_document_are_asked_about(world: World) -> None:
    node, other = world.node(), world.node()
    arn = f"arn:aws:ssm:eu-west-1:*:managed-instance/{node.id}"
    alice = user(world, "alice", OPEN, {"Effect": "Allow", "Action": "ssm:StartSession", "Resource": arn})
    client, _ = world.open(node, ssm=alice)
    assert client.session_id.startswith("alice-")
    code, message = refused(lambda: world.start(other, ssm=alice))
    assert code == "AccessDeniedException"
    assert "ssm:StartSession on resource: arn:aws:ssm:eu-west-1:" in message
    code, message = refused(lambda: world.start(node, ssm=alice, DocumentName="AWS-StartSSHSession"))
    assert code == "AccessDeniedException"
    assert "document/AWS-StartSSHSession" in message


def test_a_policy_can_have_the_default_document_asked_about(world: World) -> None:
    node = world.node()
    checked = {"BoolIfExists": {"ssm:SessionDocumentAccessCheck": "true"}}
    start = {"Effect": "Allow", "Action": "ssm:StartSession", "Condition": checked}
    nodes = "arn:aws:ssm:*:*:managed-instance/*"
    without = user(world, "without", OPEN, {**start, "Resource": nodes})
    code, message = refused(lambda: world.start(node, ssm=without))
    assert code == "AccessDeniedException"
    assert message.partition("resource: ")[2].partition(" ")[0].endswith("document/SSM-SessionManagerRunShell")
    document = "arn:aws:ssm:*:*:document/SSM-SessionManagerRunShell"
    having = user(world, "having", OPEN, {**start, "Resource": [nodes, document]})
    assert world.start(node, ssm=having)["TokenValue"]


def test_nodes_by_their_tags(world: World) -> None:
    dev, prod = world.node(), world.node()
    for node, env in ((dev, "dev"), (prod, "prod")):
        world.ssm.add_tags_to_resource(
            ResourceType="ManagedInstance", ResourceId=node.id, Tags=[{"Key": "env", "Value": env}]
        )
    only_dev = {"StringEquals": {"ssm:resourceTag/env": "dev"}}
    start = {"Effect": "Allow", "Action": "ssm:StartSession", "Resource": "*", "Condition": only_dev}
    alice = user(world, "alice", OPEN, start)
    assert world.start(dev, ssm=alice)["TokenValue"]
    assert refused(lambda: world.start(prod, ssm=alice))[0] == "AccessDeniedException"


@pytest.mark.parametrize(
    "own",
    [
        {"Resource": "arn:aws:ssm:*:*:session/${aws:username}-*"},
        {"Resource": "arn:aws:ssm:*:*:session/${aws:userid}-*"},
        {
            "Resource": "*",
            "Condition": {"StringLike": {"ssm:resourceTag/aws:ssmmessages:session-id": ["${aws:userid}"]}},
        },
    ],
    ids=["name", "id", "tag"],
)
def test_each_ends_and_resumes_its_own(world: World, own: dict[str, Any]) -> None:
    node = world.node()
    start = {"Effect": "Allow", "Action": "ssm:StartSession", "Resource": "*"}
    mine = {"Effect": "Allow", "Action": ["ssm:TerminateSession", "ssm:ResumeSession"], **own}
    alice, bob = user(world, "alice", OPEN, start, mine), user(world, "bob", OPEN, start, mine)
    client, _ = world.open(node, ssm=alice)
    for call in (bob.terminate_session, bob.resume_session):
        assert refused(lambda call=call: call(SessionId=client.session_id))[0] == "AccessDeniedException"
    assert alice.resume_session(SessionId=client.session_id)["TokenValue"]
    alice.terminate_session(SessionId=client.session_id)
    world.until(lambda: client.farewell is not None)


def test_channels_are_opened_by_those_who_may(world: World) -> None:
    node = world.node()
    start = {"Effect": "Allow", "Action": "ssm:StartSession", "Resource": "*"}
    alice = user(world, "alice", start)
    code, message = refused(lambda: world.start(node, ssm=alice))
    assert code == "AccessDeniedException"
    assert "ssmmessages:OpenDataChannel" in message


def test_what_cannot_be_started(world: World) -> None:
    node = world.node()
    away = world.fleet.node(online=False)
    unknown = refused(lambda: world.ssm.start_session(Target="mi-00000000000000000"))
    assert unknown == ("TargetNotConnected", "mi-00000000000000000 is not connected.")
    assert refused(lambda: world.start(away)) == ("TargetNotConnected", f"{away.id} is not connected.")
    assert refused(lambda: world.start(node, DocumentName="No-Such-Document"))[0] == "InvalidDocument"
    assert refused(lambda: world.start(node, DocumentName="AWS-RunShellScript"))[0] == "InvalidDocument"
    port = {"DocumentName": "AWS-StartPortForwardingSession", "Parameters": {"portNumber": ["70000"]}}
    assert refused(lambda: world.start(node, **port))[0] == "InvalidParameters"
    lost = {"DocumentName": "AWS-StartInteractiveCommand", "Parameters": {"nothing": ["x"]}}
    assert refused(lambda: world.start(node, **lost))[0] == "InvalidParameters"
    assert refused(lambda: world.ssm.resume_session(SessionId="nobody-1"))[0] == "DoesNotExistException"
    assert world.ssm.terminate_session(SessionId="nobody-1")["SessionId"] == "nobody-1"


def test_an_ended_session_gives_no_token(world: World) -> None:
    node = world.node()
    client, _ = world.open(node)
    world.run(node.agent.complete(client.session_id))
    world.until(lambda: world.status(client.session_id) == "Terminated")
    answer = world.ssm.resume_session(SessionId=client.session_id)
    assert answer["SessionId"] == client.session_id
    assert "TokenValue" not in answer


def test_lists_by_filters_and_pages(world: World) -> None:
    node, other = world.node(serves=False), world.node(serves=False)
    world.server.advance(seconds=1)
    since = world.server.clock.now().isoformat()
    world.server.advance(seconds=1)
    started = [world.start(each, Reason=str(number))["SessionId"] for number, each in enumerate((node, node, other))]

    def listed(state: str = "Active", **filters: str) -> list[str]:
        filters = {"InvokedAfter": since} | filters
        wanted = [{"key": key, "value": value} for key, value in filters.items()]
        pages = world.ssm.get_paginator("describe_sessions").paginate(
            State=state, PaginationConfig={"PageSize": 1}, **({"Filters": wanted} if wanted else {})
        )
        return [each["SessionId"] for page in pages for each in page["Sessions"]]

    assert sorted(listed()) == sorted(started)
    assert listed("History") == []
    assert sorted(listed(Target=node.id)) == sorted(started[:2])
    assert listed(SessionId=started[2]) == [started[2]]
    assert listed(Status="Connected") == []
    assert len(listed(Status="Connecting", AccessType="Standard")) == 3
    assert listed(InvokedBefore="2020-01-01T00:00:00Z") == []
    assert len(listed(Owner=world.ssm.describe_sessions(State="Active")["Sessions"][0]["Owner"])) == 3
    assert refused(lambda: listed(InvokedAfter="yesterday"))[0] == "ValidationException"
    assert refused(lambda: listed(Status="Asleep"))[0] == "ValidationException"
    assert refused(lambda: world.ssm.describe_sessions(State="Active", NextToken="x"))[0] == "InvalidNextToken"


def test_an_account_may_want_reasons(world: World) -> None:
    node = world.node(serves=False)
    pattern = {"SettingId": "/ph/sessions/reason-pattern"}
    world.ssm.update_service_setting(**pattern, SettingValue="(INC|CHG)[0-9]+.*")
    world.undo.append(lambda: world.ssm.reset_service_setting(**pattern))
    assert refused(lambda: world.start(node))[0] == "ValidationException"
    code, message = refused(lambda: world.start(node, Reason="just so"))
    assert code == "ValidationException"
    assert "(INC|CHG)[0-9]+.*" in message
    assert world.start(node, Reason="INC4711 disk is full")["TokenValue"]
    assert refused(lambda: world.ssm.update_service_setting(**pattern, SettingValue="("))[0] == "ValidationException"


def test_sessions_end_with_the_key_that_began_them(world: World) -> None:
    node = world.node()
    start = {"Effect": "Allow", "Action": "ssm:StartSession", "Resource": "*"}
    alice = user(world, "alice", OPEN, start)
    client, _ = world.open(node, ssm=alice)
    other, _ = world.open(node)
    world.run(jobs.owners.run(world.server.application.house))
    assert client.farewell is None
    key = alice._request_signer._credentials.access_key
    world.aws("iam").update_access_key(UserName="alice", AccessKeyId=key, Status="Inactive")
    world.run(jobs.owners.run(world.server.application.house))
    world.until(lambda: "credentials" in (client.farewell or ""))
    assert other.farewell is None
