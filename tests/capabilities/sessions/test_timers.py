"""What is waited for, and for how long: sessions that nobody comes to, that are idle, or last too long."""

import asyncio
import json
import threading
from typing import Any

import pytest

from pilothouse.capabilities.sessions import jobs
from pilothouse.gateway import presence
from tests.capabilities.sessions.conftest import World


def preferences(world: World, **inputs: Any) -> None:
    content = {"schemaVersion": "1.0", "description": "ours", "sessionType": "Standard_Stream", "inputs": inputs}
    world.ssm.create_document(
        Name="SSM-SessionManagerRunShell", DocumentType="Session", DocumentFormat="JSON", Content=json.dumps(content)
    )
    world.undo.append(lambda: world.ssm.delete_document(Name="SSM-SessionManagerRunShell"))


def test_a_node_that_does_not_come(world: World) -> None:
    node = world.node(serves=False)
    client = world.client(world.start(node))
    world.until(lambda: node.agent.shells)  # a node that was never told of a session is not told of its end
    world.server.advance(seconds=31)
    world.until(lambda: world.status(client.session_id) == "Failed")
    world.until(lambda: client.farewell is not None)
    assert "agent" in (client.farewell or "")
    found = world.find(client.session_id)
    assert found is not None
    assert found["Details"] == client.farewell
    world.until(lambda: node.agent.closings == [client.session_id])


def test_a_client_that_does_not_come(world: World) -> None:
    node = world.node()
    session_id = world.start(node)["SessionId"]
    world.until(lambda: session_id in world.workers and world.workers[session_id].paused)
    world.server.advance(seconds=61)
    world.until(lambda: world.workers[session_id].over.is_set())
    world.run(node.agent.complete(session_id))
    world.until(lambda: world.status(session_id) == "Terminated")


def test_a_leap_of_the_clock_while_the_server_says_that_it_is_there(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = world.node(serves=False)
    beat, begun, go_on = presence.beat, threading.Event(), threading.Event()

    async def slow(*what: Any) -> bool:
        begun.set()
        while not go_on.is_set():
            await asyncio.sleep(0.01)
        return await beat(*what)

    monkeypatch.setattr(presence, "beat", slow)
    world.server.advance(seconds=presence.BEAT_SECONDS)
    world.until(begun.is_set)
    world.server.advance(hours=1)
    go_on.set()
    world.until(lambda: world.ssm.get_connection_status(Target=node.id)["Status"] == "connected")


def test_an_idle_session_ends_and_says_why(world: World) -> None:
    preferences(world, idleSessionTimeout="1")
    node = world.node()
    client, _ = world.open(node)
    world.server.advance(seconds=50)
    world.run(client.say(b"x"))
    world.until(lambda: bytes(client.received) == b"x")
    world.until(lambda: active_at(world, client.session_id) >= world.server.clock.millis() - 5_000)
    world.server.advance(seconds=50)
    assert world.status(client.session_id) == "Connected"
    world.server.advance(seconds=15)
    world.until(lambda: client.farewell is not None)
    assert client.farewell == "Your session timed out due to inactivity."


def active_at(world: World, session_id: str) -> int:
    async def read() -> int:
        async with world.server.application.house.database.reading() as tx:
            return int(await tx.value("select active_at from session where session_id = :id", id=session_id))

    return int(world.run(read()))


def test_the_longest_duration_holds_for_busy_sessions_too(world: World) -> None:
    preferences(world, maxSessionDuration="1")
    node = world.node()
    client, _ = world.open(node)
    found = world.find(client.session_id)
    assert found is not None
    assert found["MaxSessionDuration"] == "1"
    world.server.advance(seconds=55)
    world.run(client.say(b"x"))
    world.until(lambda: bytes(client.received) == b"x")
    world.server.advance(seconds=6)
    world.until(lambda: client.farewell is not None)
    assert "longest" in (client.farewell or "")


def test_a_client_that_stays_away(world: World) -> None:
    node = world.node()
    client, worker = world.open(node)
    client.away.clear()
    world.run(client.cut())
    world.until(lambda: world.status(client.session_id) == "Disconnected")
    world.server.advance(minutes=19)
    assert world.status(client.session_id) == "Disconnected"
    world.server.advance(minutes=1, seconds=5)
    world.until(lambda: worker.over.is_set())
    client.away.set()
    world.run(client.ended())  # ResumeSession gives no token any more
    assert client.farewell is None


@pytest.mark.parametrize("outcome", ["Success", "Failed"])
def test_a_tunnel_ends_by_its_completion_alone(world: World, outcome: str) -> None:
    node = world.node()
    client, _ = world.open(node, DocumentName="AWS-StartPortForwardingSession")
    receipt = world.run(node.agent.complete(client.session_id, outcome, "no such port"))
    world.until(lambda: client.farewell == "no such port")
    world.until(lambda: receipt in node.agent.receipts)
    again = world.run(node.agent.complete(client.session_id, "Failed", "again"))
    world.until(lambda: again in node.agent.receipts)
    found = world.find(client.session_id)
    assert found is not None
    assert found["Status"] == ("Terminated" if outcome == "Success" else "Failed")
    assert found["Details"] == "no such port"


def test_an_agent_that_loses_the_session(world: World) -> None:
    node = world.node()
    client, worker = world.open(node)
    world.run(worker.stop())
    world.server.advance(seconds=31)
    world.until(lambda: world.status(client.session_id) == "Failed")
    world.until(lambda: "did not come back" in (client.farewell or ""))


def test_a_deregistered_node_ends_its_sessions(world: World) -> None:
    node = world.node()
    client, worker = world.open(node)
    world.ssm.deregister_managed_instance(InstanceId=node.id)
    world.until(lambda: client.farewell == "The node was deregistered.")
    assert world.status(client.session_id) == "Terminated"
    world.until(lambda: worker.over.is_set())


def test_ends_at_a_server_that_never_comes_back_are_lost(world: World) -> None:
    client, _ = world.open(world.node())
    world.run(client.stop())
    world.until(lambda: world.status(client.session_id) == "Disconnected")
    other = world.client(world.ssm.resume_session(SessionId=client.session_id))
    world.until(lambda: world.status(client.session_id) == "Connected")
    house = world.server.application.house

    async def at_another() -> None:
        async with house.database.transaction() as tx:
            await tx.execute(
                "update session set client_process = 'killed', client_connection = 'lost' where session_id = :id",
                id=client.session_id,
            )

    world.run(at_another())
    world.run(other.stop())

    def lost() -> bool:
        world.server.advance(seconds=15)
        return world.status(client.session_id) == "Disconnected"

    world.until(lost)


def test_history_is_kept_for_thirty_days(world: World) -> None:
    node = world.node()
    client, _ = world.open(node)
    world.run(node.agent.complete(client.session_id))
    world.until(lambda: world.status(client.session_id) == "Terminated")
    house = world.server.application.house
    world.server.advance(days=29)
    world.run(jobs.forget.run(house))
    assert world.find(client.session_id) is not None
    world.server.advance(days=1, minutes=1)
    world.run(jobs.forget.run(house))
    assert world.find(client.session_id) is None
