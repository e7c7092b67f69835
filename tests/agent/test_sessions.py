"""Sessions with a terminal: the shell, its user, its size, its end; cuts, restarts, and clients that do not read."""

import asyncio
import hashlib
import os
import pwd
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from pilothouse_agent.sessions.channel import Backlog
from pilothouse_agent.sessions.streams import Sink
from tests.agent.conftest import Agent, node_for_sessions
from tests.agent.fake_server import FakeServer
from tests.agent.fake_sessions import FakeSession, frame

SHELL: dict[str, Any] = {"sessionType": "Standard_Stream", "inputs": {}}


def interactive(commands: str, **more: Any) -> dict[str, Any]:
    return {
        "sessionType": "InteractiveCommands",
        "parameters": {"command": {"type": "String"}},
        "properties": {"linux": {"commands": commands, **more}},
    }


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(certificates: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Agent]:
    async with node_for_sessions(certificates, tmp_path_factory.mktemp("node")) as made:
        yield made


@pytest.fixture
def server(node: Agent) -> FakeServer:
    return node.server


async def ready(session: FakeSession) -> FakeSession:
    """A plain shell takes input and does not echo it."""
    await session.type("echo as $0; exec sh\n")
    await session.type("stty -echo; PS1=; echo rea''dy\n")
    await session.shows("ready\r\n")
    session.output.clear()
    return session


async def test_a_shell_runs_until_it_exits(server: FakeServer, node: Agent) -> None:
    session = await server.start_session(node.instance_id, SHELL)
    await session.resize(40, 132)  # before the terminal is there
    await ready(session)
    await session.type("stty size; tty; echo $TERM $HOME; pwd; echo ä$((6*7))ß\n")
    await session.shows("ä42ß\r\n")
    lines = session.output.decode().splitlines()
    home = pwd.getpwuid(os.geteuid()).pw_dir
    assert lines[0] == "40 132"
    assert lines[1].startswith("/dev/pts/")
    assert lines[2:4] == [f"xterm-256color {home}", home]
    await session.resize(50, 100)
    await session.type("stty size\n")
    await session.shows("50 100\r\n")
    await session.type("exit 3\n")
    completion = await server.completion(session)
    assert session.states == ["Connected", "Terminating"]
    assert session.request == {}  # no handshake, as with the official agent
    assert {name: completion[name] for name in ("FinalTaskStatus", "Output", "InstanceId", "Topic")} == {
        "FinalTaskStatus": "Success",
        "Output": "",
        "InstanceId": node.instance_id,
        "Topic": "agent_task_complete",
    }


async def test_what_is_typed_early_stands_behind_the_prompt_once(server: FakeServer, node: Agent) -> None:
    """Programs that type by themselves do not wait for the prompt, and take what is before it for their command's."""
    session = await server.start_session(node.instance_id, SHELL)
    await session.type("echo ear''ly\n")
    await session.shows("early\r\n")
    before, *after = session.output.split(b"echo ear''ly")
    assert re.search(rb"[#$] (\x1b\[\S*)?$", before), before
    assert len(after) == 1


@pytest.mark.parametrize(("seconds", "released"), [(0.05, False), (900.0, True)])
async def test_input_is_held_for_a_prompt_and_no_longer(seconds: float, released: bool) -> None:
    """A shell without a prompt takes input too."""
    reads, writes = os.pipe()
    sink = Sink(writes, Backlog())
    sink.hold(seconds)
    sink.put(b"exec ")
    sink.put(b"cat")
    if released:
        sink.release()
    await asyncio.to_thread(os.read, reads, 1)
    await asyncio.sleep(0)
    assert os.read(reads, 100) == b"xec cat"
    sink.put(b", more")
    assert os.read(reads, 100) == b", more"
    sink.stop()
    for descriptor in (reads, writes):
        os.close(descriptor)


async def test_nothing_of_the_agent_is_in_the_shell(server: FakeServer, node: Agent) -> None:
    session = await server.start_session(node.instance_id, SHELL)
    await session.type("echo as $0; env; cat /proc/$$/environ; ls /proc/$$/fd; echo do''ne\n")
    await session.shows("done\r\n")
    shown = session.output.decode()
    names = set(re.findall(r"^([A-Z_]+)=", shown, re.M))
    assert "canary" not in shown
    assert "AWS" not in shown
    assert str(node.state) not in shown
    assert {"PATH", "HOME", "USER", "LOGNAME", "SHELL", "TERM", "LANG", "LC_TIME"} <= names
    assert re.search(r"as -\w*sh\r$", shown, re.M)  # a login shell


async def test_the_profile_of_the_document_is_typed_first(server: FakeServer, node: Agent) -> None:
    inputs = {"shellProfile": {"linux": "cd /usr; echo pro''file", "windows": "no"}, "kmsKeyId": ""}
    session = await server.start_session(node.instance_id, {"sessionType": "Standard_Stream", "inputs": inputs})
    await session.shows("profile\r\n")
    await session.type("pwd\n")
    await session.shows("/usr\r\n")


async def test_interactive_commands_end_with_their_program(server: FakeServer, node: Agent) -> None:
    document = interactive("echo 'got {{ command }}'; read line; echo \"line $line\"; test -t 0 && echo terminal")
    session = await server.start_session(node.instance_id, document, {"command": "a b"})
    await session.shows("got a b\r\n")
    await session.type("hello\r")
    completion = await server.completion(session)
    assert session.output.endswith(b"line hello\r\nterminal\r\n")
    assert completion["FinalTaskStatus"] == "Success"


async def test_keys_reach_the_program_as_signals(server: FakeServer, node: Agent) -> None:
    session = await server.start_session(
        node.instance_id, interactive("trap 'echo interrupted; exit' INT; echo waiting; while :; do sleep 0.1; done")
    )
    await session.shows("waiting")
    await session.type(b"\x03")
    await session.shows("interrupted")
    await server.completion(session)


@pytest.mark.parametrize("way", ["data channel", "control channel"])
async def test_the_server_ends_a_session(server: FakeServer, node: Agent, way: str) -> None:
    session = await ready(await server.start_session(node.instance_id, SHELL))
    await session.type("echo pid $$.\n")
    await session.shows(".\r\n")
    await (session.close("enough") if way == "data channel" else server.close_session(session))
    session.is_over = True
    completion = await server.completion(session)
    assert (completion["FinalTaskStatus"], completion["Output"]) == ("Success", "")
    found = re.search(rb"pid (\d+)\.", session.output)
    assert found
    await gone(int(found[1]))


async def gone(pid: int) -> None:
    async with asyncio.timeout(10):
        while Path(f"/proc/{pid}").exists():
            await asyncio.sleep(0.02)


async def test_a_cut_loses_and_doubles_nothing_in_either_direction(server: FakeServer, node: Agent) -> None:
    session = await ready(await server.start_session(node.instance_id, SHELL))
    await session.type("stty raw; (seq 1 60000 & head -c 60000 | sha256sum; wait); stty cooked; echo e''nd\n")
    given = b"".join(b"%07d\n" % number for number in range(7500))
    for start in range(0, len(given), 1000):
        await session.type(given[start : start + 1000])
        if start % 7000 == 0:
            session.refusals = 2
            session.cut()
            await session.connected(session.connections + 1)
    await session.shows("end\r\n", 60)
    digest = hashlib.sha256(given).hexdigest().encode()
    assert digest in session.output
    numbers = re.sub(rb"[0-9a-f]{64}  -\n|end\r\n", b"", bytes(session.output))
    assert numbers == b"".join(b"%d\n" % number for number in range(1, 60001))
    assert session.connections > 8


async def test_lost_acknowledgements_and_junk_change_nothing(server: FakeServer, node: Agent) -> None:
    session = await server.start_session(node.instance_id, SHELL)
    lost: set[int] = set()

    def lose(number: int) -> bool:
        """Every third, the first time."""
        if number % 3 or number in lost:
            return False
        lost.add(number)
        return True

    session.lose = lose
    await session.connected()
    for junk in (b"", b"\0", os.urandom(500), frame("input_stream_data", b"x", created=0), frame("", b"{}"),
                 frame("nobody_knows", b"{}"), frame("acknowledge", b"[1]"), frame("acknowledge", b"{"),
                 frame("input_stream_data", b"early", sequence=2**40, payload_type=1),
                 frame("input_stream_data", b"never", sequence=-1, payload_type=1)):  # fmt: skip
        await session.raw(junk)
    await ready(session)
    for number in range(30):
        await session.type(f"echo line {number} | tr l L\n")
        await session.shows(f"Line {number}\r\n")
    await session.until(lambda: len(session.arrived) > len(set(session.arrived)), "what was not acknowledged, again")
    assert session.output == b"".join(b"Line %d\r\n" % number for number in range(30))


async def test_while_it_is_paused_the_agent_sends_nothing(server: FakeServer, node: Agent) -> None:
    session = await ready(await server.start_session(node.instance_id, SHELL))
    other = await ready(await server.start_session(node.instance_id, SHELL))
    go = node.state.parent / session.session_id
    await session.type(f"(until test -e {go}; do sleep 0.05; done; seq 1 2000; echo a''ll)& echo wai''ting\n")
    await session.shows("waiting\r\n")
    other.acknowledges = False
    await session.pause()
    arrived = len(session.arrived)
    go.touch()
    await other.type("echo repeated\n")
    await other.until(lambda: len(other.arrived) > len(set(other.arrived)) + 2, "repetitions where nothing is paused")
    assert len(session.arrived) == arrived
    await session.go_on()
    await session.shows("all\r\n")


async def test_a_client_that_does_not_read_costs_no_memory(server: FakeServer, node: Agent) -> None:
    session = await ready(await server.start_session(node.instance_id, SHELL))
    session.acknowledges = False
    await session.type("yes $(head -c 200 /dev/zero | tr '\\0' x)\n")
    await session.until(lambda: len(set(session.arrived)) > 1500, "the window")
    worker = int((node.state / "sessions" / session.session_id / "lock").read_text())
    before = resident(worker)
    repeated = len(session.arrived) - len(set(session.arrived))
    await session.until(lambda: len(session.arrived) - len(set(session.arrived)) > repeated, "repetitions")
    count = len(set(session.arrived))
    assert sum(len(each) for _, each in session.payloads) < 3_000_000
    await session.until(lambda: len(session.arrived) - len(set(session.arrived)) > repeated + 2, "repetitions")
    assert len(set(session.arrived)) == count  # it is the oldest message alone that comes, again and again
    assert resident(worker) < before + 2_000
    session.acknowledges = True
    await session.shows(b"xxx\r\nxxx")
    await session.type(b"\x03")
    await session.type("echo o''ver\n")
    await session.shows("over\r\n", 60)


def resident(pid: int) -> int:
    """KiB"""
    found = re.search(r"^VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.M)
    assert found
    return int(found[1])


@pytest.mark.parametrize("end", ["kill", "stop", "update"])
async def test_a_session_goes_on_while_the_agent_is_away(server: FakeServer, node: Agent, end: str) -> None:
    session = await ready(await server.start_session(node.instance_id, SHELL))
    assert node.process is not None
    if end == "kill":
        node.kill()
    elif end == "stop":
        assert await node.stop() == 0
    else:
        node.process.send_signal(signal.SIGUSR2)  # as an update does: the same process, from its file anew
    await server.until(lambda: not server.is_online(node.instance_id))
    await session.type("echo still $((40+2))\n")
    await session.shows("still 42\r\n")
    session.cut()  # and it finds its way back without the agent
    await session.connected(2)
    await (server.online(node.instance_id) if end == "update" else node.online())
    await session.type("exit\n")
    assert (await server.completion(session))["FinalTaskStatus"] == "Success"


async def test_a_session_that_ends_while_the_agent_is_away_is_reported(server: FakeServer, node: Agent) -> None:
    session = await ready(await server.start_session(node.instance_id, SHELL))
    node.kill()
    await server.until(lambda: not server.is_online(node.instance_id))
    await session.type("exit\n")
    await session.until(lambda: "Terminating" in session.states)
    await node.online()
    assert (await server.completion(session))["FinalTaskStatus"] == "Success"


async def test_a_worker_that_is_killed_is_a_failed_session(server: FakeServer, node: Agent) -> None:
    session = await server.start_session(node.instance_id, interactive("trap '' HUP; echo pid $$.; sleep 1000"))
    await session.shows(".\r\n")
    os.kill(int((node.state / "sessions" / session.session_id / "lock").read_text()), signal.SIGKILL)
    completion = await server.completion(session)
    assert completion["FinalTaskStatus"] == "Failed"
    assert "ended unexpectedly" in completion["Output"]
    found = re.search(rb"pid (\d+)\.", session.output)
    assert found
    await gone(int(found[1]))


async def test_an_end_is_reported_until_it_is_acknowledged(server: FakeServer, node: Agent) -> None:
    server.acknowledge_completions = False
    session = await server.start_session(node.instance_id, interactive("true"))

    def reports() -> list[dict[str, Any]]:
        return [each for each in server.completions if each["TaskId"] == session.session_id]

    await server.until(lambda: len(reports()) >= 2, "the report again")
    await server.cut(node.instance_id)
    before = len(reports())
    await server.until(lambda: len(reports()) > before, "the report on a new channel")
    assert len({each["MessageId"] for each in reports()}) == 1
    assert [each["RetryNumber"] for each in reports()] == list(range(1, len(reports()) + 1))
    server.acknowledge_completions = True
    mark = node.state / "sessions" / session.session_id / "reported"
    await there(mark)
    count = len(reports())
    os.utime(mark, (0, 0))
    await server.order_session(session, interactive("true"))  # a copy that comes late starts nothing
    await server.until(lambda: len(reports()) == count + 1, "the report for the copy")
    async with asyncio.timeout(20):
        while mark.stat().st_mtime == 0:
            await asyncio.sleep(0.02)
    await server.close_session(session)  # this crosses the report
    os.utime(mark, (0, 0))
    await server.close_session(session)  # the server has not heard of the end
    await server.until(lambda: len(reports()) > count + 1, "the report for who asks")
    assert session.connections == 1


async def there(path: Path) -> None:
    async with asyncio.timeout(20):
        while not path.exists():
            await asyncio.sleep(0.02)


REFUSED: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"sessionType": "Telepathy"}, {}, "no sessions of type Telepathy"),
    ({"sessionType": "Standard_Stream", "schemaVersion": "2.2"}, {}, "schema 1.0"),
    ({"sessionType": "Standard_Stream", "inputs": []}, {}, "not an object"),
    ({"sessionType": "InteractiveCommands", "properties": {"windows": {"commands": "dir"}}}, {}, "no commands"),
    ({"sessionType": "Port", "properties": {"portNumber": "0"}}, {}, "portNumber"),
    (
        {
            "sessionType": "InteractiveCommands",
            "parameters": {"command": {"type": "String", "allowedPattern": "^[a-z]+$"}},
            "properties": {"linux": {"commands": "echo {{ command }}"}},
        },
        {"command": "a; b"},
        "allowedPattern",
    ),
    (
        {"sessionType": "Standard_Stream", "inputs": {"runAsEnabled": "true", "runAsDefaultUser": "no-such-user"}},
        {},
        "no-such-user",
    ),
]


async def test_an_order_that_cannot_be_met_fails_with_the_reason(server: FakeServer, node: Agent) -> None:
    for document, parameters, reason in REFUSED:
        session = await server.start_session(node.instance_id, document, parameters)
        completion = await server.completion(session)
        assert completion["FinalTaskStatus"] == "Failed"
        assert reason in completion["Output"]


async def test_an_end_is_kept_though_the_server_closes_at_once(server: FakeServer, node: Agent) -> None:
    session = await server.start_session(node.instance_id, interactive("echo all of it"))
    session.closes_at_once = True
    await server.completion(session)
    assert session.output == b"all of it\r\n"
    assert session.states == ["Connected", "Terminating"]

    failed = {"sessionType": "InteractiveCommands", "properties": {"linux": {}}}
    session = await server.start_session(node.instance_id, failed)
    assert (await server.completion(session))["FinalTaskStatus"] == "Failed"
    assert session.states == ["Connected"]  # the gateway closes with the reason, when the report brings it


async def test_a_node_takes_so_many_sessions(server: FakeServer, node: Agent, tmp_path: Path) -> None:
    agent = Agent(server, tmp_path / "state")
    agent.environment |= {
        "PILOTHOUSE_AGENT_SESSION_USER": pwd.getpwuid(os.geteuid()).pw_name,
        "PILOTHOUSE_AGENT_SESSIONS": "1",
        "PILOTHOUSE_AGENT_SESSION_PATIENCE": "0.5",
    }
    await agent.register()
    await agent.online()
    try:
        first = await ready(await server.start_session(agent.instance_id, SHELL))
        second = await server.start_session(agent.instance_id, SHELL)
        completion = await server.completion(second)
        assert (completion["FinalTaskStatus"], second.connections) == ("Failed", 0)
        assert "1 sessions" in completion["Output"]
        await server.stop()  # for longer than the patience
        await there(agent.state / "sessions" / first.session_id / "result.json")
        await server.start()
        completion = await server.completion(first)
        assert "could not reach the server" in completion["Output"]
        await server.online(node.instance_id)
    finally:
        agent.leave_nothing_behind()


async def test_a_hostile_order_names_no_directory(server: FakeServer, node: Agent) -> None:
    before = set((node.state / "sessions").iterdir())
    for bad in ("../escape", "a/b", "", ".", "..", "x" * 97, "nul\0"):
        session = FakeSession(bad, node.instance_id, wake=lambda: asyncio.sleep(0), until=server.until)
        await server.order_session(session, SHELL)
    good = await server.start_session(node.instance_id, interactive("true"))
    await server.completion(good)
    assert {path.name for path in set((node.state / "sessions").iterdir()) - before} == {good.session_id}
    assert not list(node.state.parent.rglob("escape*"))


async def test_sessions_never_cross(server: FakeServer, node: Agent) -> None:
    sessions = [await server.start_session(node.instance_id, SHELL) for _ in range(20)]
    async with asyncio.TaskGroup() as group:
        for session in sessions:
            group.create_task(ready(session))
    for number, session in enumerate(sessions):
        await session.type(f"for i in $(seq 300); do echo pattern-{number}-$i-{session.session_id}; done; exit\n")
    for session in sessions:
        await server.completion(session)
    for number, session in enumerate(sessions):
        lines = session.output.decode().split("\r\n")
        wanted = [f"pattern-{number}-{each}-{session.session_id}" for each in range(1, 301)]
        assert [line for line in lines if line.startswith("pattern")] == wanted
