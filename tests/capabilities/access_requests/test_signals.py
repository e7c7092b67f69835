"""Deciding about access requests as in the cloud: by SendAutomationSignal to the request's execution."""

import json
from typing import Any

from tests.capabilities.access_requests.conftest import People, ask, manual
from tests.capabilities.events.conftest import Reader
from tests.capabilities.sessions.conftest import World
from tests.capabilities.sessions.test_permissions import refused

ON_EXECUTIONS = "arn:aws:ssm:*:*:automation-execution/*"


def signals(world: World, name: str, effect: str = "Allow", action: str = "ssm:SendAutomationSignal") -> None:
    """Let a user send signals, or forbid something."""
    resource = ON_EXECUTIONS if effect == "Allow" else "*"
    document = {"Version": "2012-10-17", "Statement": [{"Effect": effect, "Action": action, "Resource": resource}]}
    iam = world.aws("iam")
    iam.put_user_policy(UserName=name, PolicyName=effect, PolicyDocument=json.dumps(document))
    world.undo.append(lambda: iam.delete_user_policy(UserName=name, PolicyName=effect))


def execution(world: World, request_id: str) -> str:
    """The request's execution."""
    listed = world.aws("pilothouse").list_access_requests(All=True)["AccessRequests"]
    return next(str(each["AutomationExecutionId"]) for each in listed if each["AccessRequestId"] == request_id)


def status(ssm: Any, request_id: str) -> str:
    return str(ssm.get_access_token(AccessRequestId=request_id)["AccessRequestStatus"])


def test_an_approver_lets_somebody_in_takes_it_back_and_refuses(world: World, people: People) -> None:
    alice, _ = people.user("alice-s")
    bob, _ = people.user("bob-s")
    signals(world, "bob-s")
    people.policy("OneApprover", manual(["user/bob-s"]))
    node, reader = world.node(), Reader(world.server).ready()
    world.undo.append(reader.leave)
    request_id = ask(alice, node.id)
    named = execution(world, request_id)
    bob.send_automation_signal(
        AutomationExecutionId=named, SignalType="Approve", Payload={"Comment": ["go on"]}
    )  # fmt: skip
    assert status(alice, request_id) == "Approved"
    client, _ = world.open(node, ssm=people.with_token(alice, request_id))
    bob.send_automation_signal(AutomationExecutionId=named.upper(), SignalType="Revoke")
    world.until(lambda: client.farewell is not None)
    assert status(alice, request_id) == "Revoked"

    def told() -> list[dict[str, Any]]:
        world.server.advance(seconds=1)
        details = [each["detail"] for each in reader.events]
        return [each for each in details if each.get("access-request-id") == request_id]

    world.until(lambda: len(told()) == 3)
    assert [(each["status"], each["automation-execution-id"]) for each in told()] == [
        ("Pending", named), ("Approved", named), ("Revoked", named),
    ]  # fmt: skip
    decision = told()[1]["decision"]
    assert (decision["decision"], decision["by"].endswith("user/bob-s"), decision["comment"]) == (
        "Approve", True, "go on",
    )  # fmt: skip
    request_id = ask(alice, node.id)
    bob.send_automation_signal(AutomationExecutionId=execution(world, request_id), SignalType="Reject")
    assert status(alice, request_id) == "Rejected"
    code, message = refused(
        lambda: bob.send_automation_signal(AutomationExecutionId=execution(world, request_id), SignalType="Approve")
    )
    assert (code, "is Rejected" in message) == ("InvalidAutomationSignalException", True)


def test_the_trail_says_what_was_decided_and_by_what(world: World, people: People) -> None:
    alice, _ = people.user("alice-t")
    bob, _ = people.user("bob-t")
    signals(world, "bob-t")
    people.policy("OneApprover", manual(["user/bob-t"]))
    request_id = ask(alice, world.node(serves=False).id)
    named = execution(world, request_id)
    bob.send_automation_signal(AutomationExecutionId=named, SignalType="Approve", Payload={"Comment": ["fine"]})
    trail = world.aws("cloudtrail")

    def newest(name: str) -> dict[str, Any]:
        found = trail.lookup_events(LookupAttributes=[{"AttributeKey": "EventName", "AttributeValue": name}])
        return dict(json.loads(found["Events"][0]["CloudTrailEvent"]))

    decided, sent = newest("DecideAccessRequest"), newest("SendAutomationSignal")
    assert decided["requestParameters"] == {"accessRequestId": request_id, "decision": "Approve", "comment": "fine"}
    assert sent["requestParameters"]["automationExecutionId"] == named
    for name in ("userIdentity", "sourceIPAddress", "userAgent"):
        assert decided[name] == sent[name]


def test_a_signal_gives_nobody_more_than_deciding_does(world: World, people: People) -> None:
    alice, _ = people.user("alice-u")
    bob, _ = people.user("bob-u")
    carol, _ = people.user("carol-u")
    people.policy("TwoLevels", manual(["user/bob-u"], ["user/bob-u", "user/carol-u", "user/alice-u"]))
    request_id = ask(alice, world.node(serves=False).id)
    named = execution(world, request_id)

    def say(who: Any, kind: str = "Approve") -> None:
        who.send_automation_signal(AutomationExecutionId=named, SignalType=kind)

    assert refused(lambda: say(bob))[0] == "AccessDeniedException"  # he may send no signals
    for name in ("alice-u", "bob-u", "carol-u"):
        signals(world, name)
    assert refused(lambda: say(carol))[0] == "InvalidAutomationSignalException"  # the first level is not hers
    assert refused(lambda: say(alice))[0] == "AccessDeniedException"  # she asked for it
    signals(world, "bob-u", "Deny", "pilothouse:DecideAccessRequest")
    code, message = refused(lambda: say(bob))
    assert (code, "pilothouse:DecideAccessRequest" in message) == ("AccessDeniedException", True)
    world.aws("iam").put_user_policy(
        UserName="bob-u", PolicyName="Deny", PolicyDocument=json.dumps({
            "Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "s3:*", "Resource": "*"}],
        }),
    )  # fmt: skip
    say(bob)
    assert refused(lambda: say(bob))[0] == "InvalidAutomationSignalException"
    assert status(alice, request_id) == "Pending"
    dave, _ = people.user("dave-u")
    signals(world, "dave-u")
    assert refused(lambda: say(dave, "Reject"))[0] == "AccessDeniedException"
    assert refused(lambda: say(carol, "Resume"))[0] == "InvalidAutomationSignalException"
    say(carol)
    assert status(alice, request_id) == "Approved"


def test_there_is_no_execution_of_a_request_that_is_not_there(world: World, people: People) -> None:
    alice, _ = people.user("alice-v")
    people.policy("OneApprover", manual(["user/bob-v"]))
    named = execution(world, ask(alice, world.node(serves=False).id))
    wrong = named[:-12] + "0" * 12
    code, _ = refused(lambda: world.ssm.send_automation_signal(AutomationExecutionId=wrong, SignalType="Approve"))
    assert code == "AutomationExecutionNotFoundException"
    assert named not in json.dumps(world.ssm.describe_automation_executions(), default=str)
