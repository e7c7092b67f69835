"""Who looks on, for as long as they may; and what of all channels stands in the audit trail."""

import json
from typing import Any

from pilothouse.capabilities.sessions.telling import sparing
from tests.capabilities.sessions.conftest import World
from tests.capabilities.sessions.test_permissions import OPEN, user
from tests.capabilities.sessions.test_terminals import Page, driven

WATCHING = {"Effect": "Allow", "Action": ["pilothouse:WatchSession", "pilothouse:JoinSession"], "Resource": "*"}


def trail(world: World, name: str, about: str) -> list[dict[str, Any]]:
    """The records of this name that speak of something, oldest first."""
    found = world.aws("cloudtrail").lookup_events(
        LookupAttributes=[{"AttributeKey": "EventName", "AttributeValue": name}], MaxResults=50
    )["Events"]  # fmt: skip
    said = [json.loads(each["CloudTrailEvent"]) for each in reversed(found)]
    return [each for each in said if about in json.dumps(each["requestParameters"])]


def test_whoever_may_look_on_no_more_is_shown_out(world: World) -> None:
    page, session_id = driven(world)
    watching = user(world, "watcher-v", OPEN, WATCHING)
    keys = watching._request_signer._credentials
    theirs = world.aws("pilothouse", access_key=keys.access_key, secret=keys.secret_key)
    viewers = [
        Page(world, session_id, theirs.open_session_view(SessionId=session_id, Mode=mode)["TokenValue"])
        for mode in ("watch", "join")
    ]
    mine = world.aws("pilothouse").open_session_view(SessionId=session_id, Mode="watch")["TokenValue"]
    other = Page(world, session_id, mine)
    page.type(b"shown")
    for each in (*viewers, other):
        world.until(lambda each=each: bytes(each.shown) == b"shown")
    world.server.advance(seconds=5)
    assert [each.exit for each in viewers] == [None, None]
    document = json.dumps({"Version": "2012-10-17", "Statement": [OPEN]})
    world.aws("iam").put_user_policy(UserName="watcher-v", PolicyName="p", PolicyDocument=document)

    def out(each: Page) -> bool:
        world.server.advance(seconds=1)
        return each.exit is not None

    for each in viewers:
        world.until(lambda each=each: out(each))
        assert "no more" in (each.exit or "")
    page.type(b" on")
    world.until(lambda: bytes(other.shown) == b"shown on")
    assert (page.exit, other.exit) == (None, None)
    opened = {each["requestParameters"]["role"]: each for each in trail(world, "OpenDataChannel", session_id)}
    assert set(opened) == {"client", "agent", "watch", "join"}
    assert opened["join"]["userIdentity"]["arn"].endswith("user/watcher-v")
    world.until(lambda: len(trail(world, "CloseDataChannel", session_id)) == 2)


def test_a_key_that_is_taken_away_ends_a_view(world: World) -> None:
    _, session_id = driven(world)
    keys = user(world, "watcher-w", OPEN, WATCHING)._request_signer._credentials
    theirs = world.aws("pilothouse", access_key=keys.access_key, secret=keys.secret_key)
    token = theirs.open_session_view(SessionId=session_id, Mode="watch")["TokenValue"]
    page = Page(world, session_id, token)
    world.until(lambda: page.of("opened"))
    iam = world.aws("iam")
    iam.update_access_key(UserName="watcher-w", AccessKeyId=keys.access_key, Status="Inactive")

    def out() -> bool:
        world.server.advance(seconds=1)
        return page.exit is not None

    world.until(out)


def test_channels_are_in_the_trail_and_cannot_fill_it(world: World) -> None:
    node = world.node()
    client, worker = world.open(node)
    world.run(client.cut())
    world.until(lambda: client.resumed == 1 and world.status(client.session_id) == "Connected")
    opened = trail(world, "OpenDataChannel", client.session_id)
    assert [each["requestParameters"]["role"] for each in opened].count("client") == 2
    closed = trail(world, "CloseDataChannel", client.session_id)
    assert closed[0]["requestParameters"] == {
        "sessionId": client.session_id, "role": "client", "reason": "the peer closed it",
    }  # fmt: skip
    for _ in range(30):
        world.run(worker.cut())
        world.until(lambda: worker.socket is not None)
        resumed = worker.next
        world.run(worker.say(b"."))
        world.until(lambda resumed=resumed: resumed not in worker.sent)
    of_agent = [
        each for name in ("OpenDataChannel", "CloseDataChannel") for each in trail(world, name, client.session_id)
        if each["requestParameters"]["role"] == "agent"
    ]  # fmt: skip
    assert len(of_agent) == 20
    world.server.advance(hours=1)
    world.run(worker.cut())
    world.until(
        lambda: any("notRecorded" in each["requestParameters"]
                    for each in trail(world, "CloseDataChannel", client.session_id))
    )  # fmt: skip
    controls = trail(world, "OpenControlChannel", node.id)
    assert controls[0]["userIdentity"]["arn"].endswith(f"managed-instance/{node.id}")


def test_what_is_said_sparingly(world: World) -> None:
    said = sparing(world.server.application.house)
    assert [said.may_say("one") for _ in range(22)] == [0] * 20 + [None, None]
    assert said.may_say("two") == 0
    world.server.advance(hours=1)
    assert said.may_say("one") == 2


def test_what_a_list_of_nodes_shows_is_asked_at_once(world: World) -> None:
    node, other = world.node(serves=False), world.node(serves=False)
    world.ssm.add_tags_to_resource(
        ResourceType="ManagedInstance", ResourceId=node.id, Tags=[{"Key": "Env", "Value": "prod"}]
    )
    asked = [other.id, node.id, "mi-00000000000000000"]
    found = world.aws("pilothouse").list_node_standings(NodeIds=asked)["Nodes"]
    assert found == [
        {"NodeId": other.id, "Connected": True, "Tags": []},
        {"NodeId": node.id, "Connected": True, "Tags": [{"Key": "Env", "Value": "prod"}]},
    ]
    arn = f"arn:aws:ssm:*:*:managed-instance/{node.id}"
    may = {"Effect": "Allow", "Action": "ssm:GetConnectionStatus", "Resource": arn}
    keys = user(world, "lister", may)._request_signer._credentials
    theirs = world.aws("pilothouse", access_key=keys.access_key, secret=keys.secret_key)
    assert theirs.list_node_standings(NodeIds=asked)["Nodes"] == [
        {"NodeId": other.id}, {"NodeId": node.id, "Connected": True},
    ]  # fmt: skip
