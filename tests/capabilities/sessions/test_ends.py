"""What happens to bytes when connections come and go: none is lost, none comes twice, whoever is away."""

import asyncio
import json
import random
import uuid

import pytest

from pilothouse.capabilities.sessions import store
from pilothouse.gateway.frames import Frame, encode
from tests.capabilities.sessions.conftest import World
from tests.gateway.scripted_session import Closed, ScriptedClient, ScriptedWorker, opening, pattern


async def _talk_through_cuts(client: ScriptedClient, worker: ScriptedWorker, seed: int) -> None:
    """Both say much at once while connections break and acknowledgements get lost."""
    luck = random.Random(seed)
    for number in range(60):
        await client.say(typed_piece(number))
        if number % 7 == 3:
            worker.lose_acks += luck.randrange(3)
            client.lose_acks += luck.randrange(3)
        if number % 11 == 5:
            await luck.choice((client, worker)).cut()
        if number % 20 == 19:
            await client.cut()
            await worker.cut()
        await asyncio.sleep(luck.random() / 50)


def typed_piece(number: int) -> bytes:
    return pattern(100 + number, number)


def test_a_client_that_acknowledges_again_is_acknowledged_for_by_nobody(world: World) -> None:
    node = world.node()
    client, worker = world.open(node)
    client.acknowledges_again = True
    world.run(client.cut())
    world.until(lambda: client.resumed == 1 and client.socket is not None)
    world.run(client.say(b"settles"))
    world.until(lambda: not worker.sent and bytes(client.received) == b"settles")
    client.lose_acks = 3
    world.run(client.say(b", more"))
    world.until(lambda: not worker.sent and bytes(client.received) == b"settles, more")
    assert (client.lose_acks, worker.repeats >= 3) == (0, True)


def test_cuts_and_lost_acknowledgements_lose_and_double_nothing(world: World) -> None:
    node = world.node()
    client, worker = world.open(node)
    world.run(_talk_through_cuts(client, worker, 4))
    typed = b"".join(map(typed_piece, range(60)))
    world.until(lambda: len(worker.received) >= len(typed) and len(client.received) >= len(typed))
    assert bytes(worker.received) == typed
    assert bytes(client.received) == typed
    world.until(lambda: not worker.sent)  # nothing that the client had is repeated for ever


async def _pour(client: ScriptedClient, pieces: int) -> None:
    """Send all at once, and wait for no acknowledgement."""
    for number in range(pieces):
        await client.say(poured_piece(number))


def poured_piece(number: int) -> bytes:
    """A frame of a client that multiplexes: 32 KiB and a header."""
    return pattern(32_776, number)


async def _hold_back(worker: ScriptedWorker, until: asyncio.Event) -> None:
    """It reads nothing more until then."""
    hear = worker._hear

    async def later(message: bytes) -> None:
        await until.wait()
        await hear(message)

    worker._hear = later  # type: ignore[method-assign]


def test_a_client_that_sends_without_a_window_is_read_from_slowly(world: World) -> None:
    """There are clients that pour in what they have and send nothing twice: they are held up, nothing is dropped."""

    async def swallow(worker: ScriptedWorker, payload: bytes) -> None:
        """As a tunnel: no answer."""

    client, worker = world.open(world.node(answer=swallow))
    client.repeats_nothing = True
    may_read = asyncio.Event()
    world.run(_hold_back(worker, may_read))
    pieces = 300  # 9.8 MB
    world.run(_pour(client, pieces))
    world.run(_set(may_read))
    whole = b"".join(map(poured_piece, range(pieces)))
    world.until(lambda: len(worker.received) >= len(whole))
    assert bytes(worker.received) == whole
    world.until(lambda: not client.sent)


async def _set(event: asyncio.Event) -> None:
    event.set()


def test_ends_that_both_pour_do_not_wait_for_each_other(world: World) -> None:
    """Neither is read from while the other's acknowledgements are needed: they would stand still."""

    async def answer_more(worker: ScriptedWorker, payload: bytes) -> None:
        await worker.say(payload)

    client, worker = world.open(world.node(answer=answer_more))
    world.run(_pour(client, 120))
    whole = b"".join(map(poured_piece, range(120)))
    world.until(lambda: len(worker.received) >= len(whole) and len(client.received) >= len(whole))
    assert bytes(worker.received) == whole
    assert bytes(client.received) == whole


def test_what_an_agent_turned_away_is_sent_again_for_clients_that_do_not(world: World) -> None:
    """The official agent does so until its shell is there."""
    client, worker = world.open(world.node())
    client.repeats_nothing = True
    worker.turns_away = 5
    for typed in (b"l", b"s", b" /", b"\n"):
        world.run(client.say(typed))
    world.until(lambda: worker.turns_away == 1)
    assert not worker.received
    world.server.advance(seconds=2)
    world.until(lambda: worker.turns_away == 0)
    world.server.advance(seconds=2)
    world.until(lambda: bytes(client.received) == b"ls /\n")
    assert bytes(worker.received) == b"ls /\n"
    world.until(lambda: not client.sent)


def test_an_agent_without_a_client_waits(world: World) -> None:
    node = world.node()
    started = world.start(node)
    session_id = started["SessionId"]
    world.until(lambda: session_id in world.workers and world.workers[session_id].paused)
    worker = world.workers[session_id]
    assert world.status(session_id) == "Connecting"
    world.run(worker.say(b"early"))
    client = world.client(started)
    world.until(lambda: bytes(client.received) == b"early")
    client.away.clear()
    world.run(client.cut())
    world.until(lambda: world.status(session_id) == "Disconnected" and worker.pauses == 2)
    world.run(worker.say(b" and late"))
    client.away.set()
    world.until(lambda: bytes(client.received) == b"early and late")
    assert client.resumed == 1
    assert world.status(session_id) == "Connected"


def test_what_is_typed_before_the_agent_comes_reaches_it(world: World) -> None:
    node = world.node(serves=False)
    client = world.client(world.start(node))
    world.run(client.say(b"ls\r"))
    (told,) = world.until(lambda: node.agent.shells)
    world.serve(node)
    assert node.agent.on_shell is not None

    async def come() -> None:
        assert node.agent.on_shell is not None
        node.agent.on_shell(told)

    world.run(come())
    world.until(lambda: bytes(world.workers[client.session_id].received) == b"ls\r")
    world.until(lambda: bytes(client.received) == b"ls\r")


def test_the_handshake_goes_through_as_it_is(world: World) -> None:
    node = world.node()
    client, worker = world.open(node, DocumentName="AWS-StartSSHSession", Parameters={"portNumber": ["2222"]})
    world.until(lambda: client.expected == 2)
    assert worker.shaken
    assert node.agent.shells[0]["Parameters"] == {"portNumber": "2222"}


def test_junk_ends_its_own_connection_alone(world: World) -> None:
    node = world.node()
    client, worker = world.open(node)
    other, _ = world.open(node)
    for junk in (b"junk", b"\0" * 300, "text", pattern(5000)):
        world.run(client.write(junk))
        world.run(worker.write(junk))
    world.run(other.say(b"still here"))
    world.until(lambda: bytes(other.received) == b"still here")
    world.run(client.say(b"and here"))
    world.until(lambda: bytes(client.received) == b"and here")
    assert other.resumed == 0
    assert client.resumed > 0


def test_clients_that_do_it_their_own_way(world: World) -> None:
    """As clients of others do: the token as a header too, acknowledgements of acknowledgements, digests in letters."""
    node = world.node()
    client, _ = world.open(node)
    client.headers = {"authorization": "Bearer token"}
    world.run(client.cut())
    world.until(lambda: client.resumed == 1 and client.socket is not None)
    for kind in ("acknowledge", "output_stream_data"):
        said = {"AcknowledgedMessageType": kind, "AcknowledgedMessageId": "x", "AcknowledgedMessageSequenceNumber": 0}
        text = json.dumps(said).encode()
        message = bytearray(encode(Frame("acknowledge", str(uuid.uuid4()), 1, text)))
        message[80:112] = b"0123456789abcdef" * 2
        world.run(client.write(bytes(message)))
    world.run(client.say(b"typed"))
    world.until(lambda: bytes(client.received) == b"typed")
    assert client.resumed == 1


def test_a_token_opens_one_channel_once(world: World) -> None:
    node = world.node(serves=False)
    started = world.start(node)
    path = f"/v1/data-channel/{started['SessionId']}"

    async def opens(token: str, at: str = path, headers: dict[str, str] | None = None, within: float = 0.3) -> bool:
        socket = await world.way.dial(at, headers or {})
        await socket.send(opening(token, "c"))
        try:
            async with asyncio.timeout(within):
                await socket.receive()
        except TimeoutError:
            return True
        except Closed as closed:
            if closed.args[0] == 1013:  # the database was busy: the token is as good or bad as before
                return await opens(token, at, headers, within)
            return bool(closed.args[0] != 1008)
        finally:
            await socket.close()
        return True

    other = world.start(node)
    assert not world.run(opens("0" * 64, within=20))
    assert not world.run(opens(started["TokenValue"], f"/v1/data-channel/{other['SessionId']}", within=20))
    assert world.run(opens(started["TokenValue"]))
    assert not world.run(opens(started["TokenValue"], within=20))
    resumed = world.ssm.resume_session(SessionId=started["SessionId"])
    newest = world.ssm.resume_session(SessionId=started["SessionId"])
    assert not world.run(opens(resumed["TokenValue"], within=20))
    assert world.run(opens(newest["TokenValue"]))
    late = world.ssm.resume_session(SessionId=other["SessionId"])
    world.run(_touch(world, other["SessionId"]))
    world.server.advance(minutes=5, seconds=1)
    assert not world.run(opens(late["TokenValue"], within=20))


async def _touch(world: World, session_id: str) -> None:
    """Let the session be one that waits for nothing, so that only the token grows old."""
    async with world.server.application.house.database.transaction() as tx:
        await tx.execute(
            "update session set client_due = null, agent_due = null where session_id = :id", id=session_id
        )  # fmt: skip


def test_agents_come_with_the_signature_of_their_node(world: World) -> None:
    node, other = world.node(serves=False), world.node(serves=False)
    started = world.start(node)
    stranger = ScriptedWorker(world.way, other.who, started["SessionId"])
    status, body = world.run(stranger.create())
    assert status == 410
    assert b"Session is already terminated" in body
    own = ScriptedWorker(world.way, node.who, started["SessionId"])
    status, body = world.run(own.create())
    assert status == 201
    token = body.decode().partition("<TokenValue>")[2].partition("</TokenValue>")[0]

    async def refused() -> int:
        socket = await stranger.open(token)
        try:
            await socket.receive()
        except Closed as closed:
            return int(closed.args[0])
        return 0

    assert world.run(refused()) == 1008
    assert world.run(own.create())[0] == 201


def test_ends_that_an_agent_never_confirms_are_told_once_a_channel_and_burden_no_later_session(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    session_of = store.session_of
    monkeypatch.setattr(store, "session_of", lambda row: (read.append(row["session_id"]), session_of(row))[1])
    node = world.node()

    ended = {world.open(node)[0].session_id for _ in range(20)}
    for session_id in ended:
        world.ssm.terminate_session(SessionId=session_id)
    world.until(lambda: set(node.agent.closings) == ended)
    read.clear()
    last = [world.open(node)[0].session_id for _ in range(10)]
    assert sum(each in ended for each in read) < 2 * len(ended)  # what is still to be done for those; not once a change
    node.disconnect()
    node.connect()
    world.until(lambda: len(node.agent.closings) == 2 * len(ended))
    assert sorted(node.agent.closings) == sorted([*ended, *ended])
    assert sorted(each["SessionId"] for each in node.agent.shells) == sorted([*ended, *last])
