"""Access to a node for a while: asking, deciding, using and losing it."""

import json
from typing import Any

import pytest

from pilothouse.capabilities.access_requests import jobs
from tests.capabilities.access_requests.conftest import People, ask, manual
from tests.capabilities.events.conftest import Reader
from tests.capabilities.sessions.conftest import World
from tests.capabilities.sessions.test_permissions import refused


def test_who_was_approved_gets_sessions_on_that_node_only(world: World, people: People) -> None:
    alice, _ = people.user("alice-a")
    _, bob = people.user("bob-a")
    people.policy("OneApprover", manual(["user/bob-a"]))
    node, other = world.node(), world.node()
    assert refused(lambda: world.start(node, ssm=alice))[0] == "AccessDeniedException"
    request_id = ask(alice, node.id)
    assert alice.get_access_token(AccessRequestId=request_id)["AccessRequestStatus"] == "Pending"
    assert "Credentials" not in alice.get_access_token(AccessRequestId=request_id)
    waiting = bob.list_access_requests()["AccessRequests"]
    assert [(each["AccessRequestId"], each["Target"], each["Reason"]) for each in waiting] == [
        (request_id, node.id, "ticket 42")
    ]
    answer = bob.decide_access_request(AccessRequestId=request_id, Decision="Approve", Comment="go on")
    assert answer["AccessRequestStatus"] == "Approved"
    token = people.with_token(alice, request_id)
    client, worker = world.open(node, ssm=token)
    world.run(worker.say(b"hello"))
    world.until(lambda: bytes(client.received) == b"hello")
    found = world.find(client.session_id) or {}
    assert (found["AccessType"], found["Owner"].endswith("user/alice-a")) == ("JustInTime", True)
    assert client.session_id.startswith("alice-a-")
    assert refused(lambda: world.start(other, ssm=token))[0] == "AccessDeniedException"
    assert refused(lambda: token.describe_instance_information())[0] == "AccessDeniedException"
    assert refused(lambda: ask(token, node.id))[0] == "AccessDeniedException"
    described = world.ssm.describe_sessions(State="Active", Filters=[{"key": "AccessType", "value": "JustInTime"}])
    assert [each["SessionId"] for each in described["Sessions"]] == [client.session_id]
    token.terminate_session(SessionId=client.session_id)
    world.until(lambda: world.status(client.session_id) in ("Terminating", "Terminated"))


def test_a_revoked_access_ends_its_sessions_and_opens_none(world: World, people: People) -> None:
    alice, own = people.user("alice-b")
    _, bob = people.user("bob-b")
    people.policy("OneApprover", manual(["user/bob-b"]))
    node = world.node()
    request_id = ask(alice, node.id)
    bob.decide_access_request(AccessRequestId=request_id, Decision="Approve")
    token = people.with_token(alice, request_id)
    client, _ = world.open(node, ssm=token)
    standing, _ = world.open(node)
    bob.decide_access_request(AccessRequestId=request_id, Decision="Revoke", Comment="enough")
    world.until(lambda: client.farewell is not None)
    assert "revoked" in (client.farewell or "")
    assert world.status(standing.session_id) == "Connected"
    assert refused(lambda: world.start(node, ssm=token))[0] == "AccessDeniedException"
    answer = alice.get_access_token(AccessRequestId=request_id)
    assert (answer["AccessRequestStatus"], "Credentials" in answer) == ("Revoked", False)
    code, message = refused(lambda: bob.decide_access_request(AccessRequestId=request_id, Decision="Approve"))
    assert (code, "Revoked" in message) == ("ValidationException", True)
    assert [each["Decision"] for each in own.list_access_requests(All=True)["AccessRequests"][0]["Decisions"]] == [
        "Approve", "Revoke",
    ]  # fmt: skip


def test_levels_come_one_after_the_other_and_nobody_decides_twice(world: World, people: People) -> None:
    alice, own = people.user("alice-d", groups=("leads-d",))
    _, bob = people.user("bob-d", groups=("owners-d",))
    _, carol = people.user("carol-d")
    people.policy("TwoLevels", manual(["group/owners-d"], ["user/carol-d", "user/bob-d", "group/leads-d"]))
    node = world.node(serves=False)
    request_id = ask(alice, node.id)

    def decide(by: Any, decision: str = "Approve") -> str:
        return str(by.decide_access_request(AccessRequestId=request_id, Decision=decision)["AccessRequestStatus"])

    assert refused(lambda: decide(carol))[0] == "ValidationException"  # the first level is not hers
    assert decide(bob) == "Pending"
    assert refused(lambda: decide(bob))[0] == "ValidationException"
    assert refused(lambda: decide(own))[0] == "AccessDeniedException"  # she asked for it
    assert decide(carol) == "Approved"
    request_id = ask(alice, node.id)
    assert decide(carol, "Reject") == "Rejected"
    assert alice.get_access_token(AccessRequestId=request_id)["AccessRequestStatus"] == "Rejected"
    request_id = ask(alice, node.id)
    assert decide(own, "Revoke") == "Revoked"  # she does not want it any more
    request_id = ask(alice, node.id)
    assert decide(world.aws("pilothouse")) == "Approved"  # root stands for everybody
    _, dave = people.user("dave-d")
    code, _ = refused(lambda: decide(dave, "Reject"))
    assert code == "AccessDeniedException"
    ssm, _ = people.user("erin-d")
    assert refused(lambda: ssm.get_access_token(AccessRequestId=request_id))[0] == "AccessDeniedException"
    assert refused(lambda: alice.get_access_token(AccessRequestId="oi-000000000000"))[0] == "ResourceNotFoundException"


def test_some_are_approved_by_themselves_unless_it_is_forbidden(world: World, people: People) -> None:
    alice, _ = people.user("alice-e", groups=("ops-e",), tags={"costCenter": "7"})
    bob, _ = people.user("bob-e")
    people.policy(
        "Automatic",
        """
        permit (principal in AWS::IdentityStore::Group::"ops-e",
                action == AWS::SSM::Action::"getTokenForInstanceAccess", resource)
        when { principal has costCenter && resource.hasTag("CostCenter")
               && principal.costCenter == resource.getTag("CostCenter") };
        forbid (principal, action, resource) when { resource.hasTag("Env") && resource.getTag("Env") == "prod" };
        """,
        "AutoApprovalPolicy",
    )
    node, prod = world.node(serves=False), world.node(serves=False)
    for each, env in ((node, "test"), (prod, "prod")):
        tags = [{"Key": "CostCenter", "Value": "7"}, {"Key": "Env", "Value": env}]
        world.ssm.add_tags_to_resource(ResourceType="ManagedInstance", ResourceId=each.id, Tags=tags)
    assert alice.get_access_token(AccessRequestId=ask(alice, node.id))["AccessRequestStatus"] == "Approved"
    code, message = refused(lambda: ask(bob, node.id))
    assert (code, "No approval policy applies" in message) == ("ValidationException", True)
    assert refused(lambda: ask(alice, prod.id))[0] == "ValidationException"
    people.policy("Everywhere", manual(["user/bob-e"]))
    assert alice.get_access_token(AccessRequestId=ask(alice, prod.id))["AccessRequestStatus"] == "Pending"
    people.policy("Prod", manual(["user/alice-e"], targets=[{"Key": "tag:Env", "Values": ["prod"]}]))
    request_id = ask(bob, prod.id)
    listed = world.aws("pilothouse").list_access_requests()["AccessRequests"]
    assert next(each["Policy"] for each in listed if each["AccessRequestId"] == request_id) == "Prod"
    people.policy("Costs", manual(["user/alice-e"], targets=[{"Key": "tag:CostCenter", "Values": ["7"]}]))
    code, message = refused(lambda: ask(bob, prod.id))
    assert (code, "Costs, Prod" in message) == ("ValidationException", True)


def test_approvers_are_told_and_all_of_it_is_in_the_trail(world: World, people: People) -> None:
    alice, _ = people.user("alice-f")
    _, bob = people.user("bob-f")
    topic = world.aws("sns").create_topic(Name="approvals-f")["TopicArn"]
    people.policy("Told", manual(["user/bob-f"], notificationArn=topic))
    node, reader = world.node(serves=False), Reader(world.server).ready()
    world.undo.append(reader.leave)
    request_id = ask(alice, node.id)
    bob.decide_access_request(AccessRequestId=request_id, Decision="Approve", Comment="fine")
    secret = alice.get_access_token(AccessRequestId=request_id)["Credentials"]["SecretAccessKey"]

    def told() -> list[dict[str, Any]]:
        world.server.advance(seconds=1)
        return [each for each in reader.events if each["detail"].get("access-request-id") == request_id]

    world.until(lambda: len(told()) == 2)
    first, second = told()
    assert (first["detail"]["status"], second["detail"]["status"]) == ("Pending", "Approved")
    assert second["detail"]["decision"]["comment"] == "fine"
    trail = world.aws("cloudtrail")
    for name in ("StartAccessRequest", "DecideAccessRequest", "GetAccessToken"):
        found = trail.lookup_events(LookupAttributes=[{"AttributeKey": "EventName", "AttributeValue": name}])["Events"]
        assert found, name
        assert secret not in found[0]["CloudTrailEvent"]
    approved = json.loads(trail.lookup_events(
        LookupAttributes=[{"AttributeKey": "EventName", "AttributeValue": "DecideAccessRequest"}]
    )["Events"][0]["CloudTrailEvent"])  # fmt: skip
    assert approved["requestParameters"] == {"accessRequestId": request_id, "decision": "Approve", "comment": "fine"}


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("ManualApprovalPolicy", manual()),
        ("ManualApprovalPolicy", manual(["user/a"], hours=337)),
        ("ManualApprovalPolicy", manual(["person/a"])),
        ("ManualApprovalPolicy", manual(["user/a"], targets=[{"Key": "InstanceIds", "Values": ["mi-1"]}])),
        ("ManualApprovalPolicy", manual(*(["user/a"] for _ in range(6)))),
        ("AutoApprovalPolicy", "permit (principal"),
    ],
)
def test_what_is_no_policy_is_no_document(people: People, kind: str, content: Any) -> None:
    assert refused(lambda: people.policy("Wrong", content, kind))[0] == "InvalidDocumentContent"


def test_targets_are_one_node_that_is_there(world: World) -> None:
    for targets in ([], [{"Key": "tag:a", "Values": ["b"]}], [{"Key": "InstanceIds", "Values": ["mi-1", "mi-2"]}]):
        code, _ = refused(lambda targets=targets: world.ssm.start_access_request(Reason="r", Targets=targets))
        assert code == "ValidationException"
    assert refused(lambda: ask(world.ssm, "mi-00000000000000000"))[0] == "ResourceNotFoundException"


def test_access_runs_out_and_its_sessions_with_it(world: World, people: People) -> None:
    alice, _ = people.user("alice-c")
    _, bob = people.user("bob-c")
    people.policy("OneApprover", manual(["user/bob-c"], hours=1))
    node = world.node()
    undecided, request_id = ask(alice, node.id), ask(alice, node.id)
    bob.decide_access_request(AccessRequestId=request_id, Decision="Approve")
    token = people.with_token(alice, request_id)
    started = world.start(node, ssm=token)
    found = world.find(started["SessionId"]) or {}
    assert "MaxSessionDuration" not in found
    house = world.server.application.house
    world.server.advance(seconds=3601)
    assert alice.get_access_token(AccessRequestId=request_id)["AccessRequestStatus"] == "Expired"
    assert refused(lambda: world.start(node, ssm=token))[0] == "ExpiredTokenException"
    world.until(lambda: world.status(started["SessionId"]) in ("Terminating", "Terminated"))
    world.server.advance(hours=24 * 7)
    world.run(jobs.expire.run(house))
    assert alice.get_access_token(AccessRequestId=undecided)["AccessRequestStatus"] == "Expired"
    code, _ = refused(lambda: bob.decide_access_request(AccessRequestId=undecided, Decision="Approve"))
    assert code == "ValidationException"
