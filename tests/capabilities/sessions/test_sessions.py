"""Sessions from the first call to the history, with scripted ends on both engines."""

import json

from tests.capabilities.sessions.conftest import World
from tests.gateway.scripted_session import pattern


def test_a_shell_from_start_to_history(world: World) -> None:
    node = world.node()
    started = world.start(node, Reason="ticket 42")
    session_id = started["SessionId"]
    assert session_id.startswith("root-")
    assert len(session_id) == len("root-") + 17
    assert 0 < len(started["TokenValue"]) <= 300
    assert started["StreamUrl"] == (
        f"ws://pilothouse.test/v1/data-channel/{session_id}?role=publish_subscribe"
    )  # fmt: skip
    client = world.client(started)
    world.until(lambda: world.status(session_id) == "Connected")
    (told,) = node.agent.shells
    assert told["SessionId"] == session_id
    assert told["DocumentContent"]["sessionType"] == "Standard_Stream"
    assert told["SessionOwner"].endswith(":root")
    typed = pattern(20_000)
    for at in range(0, len(typed), 1000):
        world.run(client.say(typed[at : at + 1000]))
    world.until(lambda: len(client.received) == len(typed))
    worker = world.workers[session_id]
    assert bytes(client.received) == bytes(worker.received) == typed
    world.run(worker.exit())
    world.until(lambda: client.farewell is not None)
    assert client.farewell == ""
    world.run(node.agent.complete(session_id))
    world.until(lambda: world.status(session_id) == "Terminated")
    found = world.find(session_id)
    assert found is not None
    assert found["Owner"].endswith(":root")
    assert found["Reason"] == "ticket 42"
    assert found["DocumentName"] == "SSM-SessionManagerRunShell"
    assert found["EndDate"] >= found["StartDate"]
    world.run(client.ended())


def test_terminated_by_another_call(world: World) -> None:
    node = world.node()
    client, worker = world.open(node)
    assert world.ssm.terminate_session(SessionId=client.session_id)["SessionId"] == client.session_id
    world.until(lambda: client.farewell == "The session was terminated by root." and worker.over.is_set())
    assert world.status(client.session_id) == "Terminating"
    assert json.loads(worker.other[-1].payload)["MessageType"] == "channel_closed"
    world.until(lambda: node.agent.closings == [client.session_id])
    world.server.advance(seconds=31)
    world.until(lambda: world.status(client.session_id) == "Terminated")
