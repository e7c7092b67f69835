"""Sessions without a terminal: programs with their exit codes, encrypted sessions, transcripts, users."""

import asyncio
import base64
import hashlib
import json
import os
import pwd
import re
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.agent.conftest import Agent, node_for_sessions
from tests.agent.fake_server import REGION, FakeServer
from tests.agent.fake_sessions import OURS, FakeSession

END_OF_INPUT = 0x50480001
SIGNAL = 0x50480100
EXEC: dict[str, Any] = {**OURS, "Extensions": {"chunk": 16384, "exec": 1}}
IS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it changes users")


def program(command: str, **properties: Any) -> dict[str, Any]:
    return {
        "sessionType": "NonInteractiveCommands",
        "properties": {"linux": {"commands": command, **properties}},
    }


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(certificates: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Agent]:
    async with node_for_sessions(certificates, tmp_path_factory.mktemp("node")) as made:
        yield made


@pytest.fixture
def server(node: Agent) -> FakeServer:
    return node.server


async def ended(server: FakeServer, session: FakeSession) -> dict[str, Any]:
    completion = await server.completion(session)
    session.is_over = True
    return completion


async def test_a_program_for_the_plugin(server: FakeServer, node: Agent) -> None:
    session = await server.start_session(
        node.instance_id, program("sh -c 'echo \"$0 $1\"; echo err >&2; exit 4' 'a b' c")
    )
    await ended(server, session)
    action = session.request["RequestedClientActions"][0]
    assert action == {
        "ActionType": "SessionType",
        "ActionParameters": {"SessionType": "NonInteractiveCommands", "Properties": None},
    }
    assert sorted(session.output.splitlines()) == [b"a b c", b"err"]
    assert (session.errors, session.codes) == (b"", [])
    assert session.complete["CustomerMessage"] == ""

    separate = program(
        "sh -c 'echo out; echo err >&2; exit 4'", separateOutputStream="true", stdOutSeparatorPrefix="O:"
    )
    session = await server.start_session(node.instance_id, separate, client={"ClientVersion": "1.2.295.0"})
    await ended(server, session)
    assert (session.output, session.errors, session.codes) == (b"O:out\n", b"err\n", ["EXIT_CODE: 4"])
    assert session.complete["CustomerMessage"]

    session = await server.start_session(
        node.instance_id, program("sh -c 'trap \"echo int; exit\" INT; echo up; while :; do sleep 0.1; done'")
    )
    await session.shows("up\n")
    await session.type(b"\x03")
    await ended(server, session)
    assert session.output == b"up\nint\n"

    session = await server.start_session(node.instance_id, program("no-such-program-here x"))
    completion = await ended(server, session)
    assert completion["FinalTaskStatus"] == "Failed"
    assert "no-such-program-here: No such file" in completion["Output"]


async def test_a_program_for_our_own_client(server: FakeServer, node: Agent) -> None:
    given = os.urandom(3_000_000) + b"\n" + b"\x03"
    session = await server.start_session(node.instance_id, program("sh -c 'tee /dev/stderr; exit 41'"), client=EXEC)
    assert (await session.shaken()).request["Extensions"] == {"chunk": 122880, "window": 1048576, "exec": 1}
    await session.send_all(1, given)
    await session.flag(END_OF_INPUT)
    completion = await ended(server, session)
    assert completion["FinalTaskStatus"] == "Success"
    assert bytes(session.output) == bytes(session.errors) == given
    assert session.codes == ["EXIT_CODE: 41"]
    assert session.largest == 16_384

    for command, code in (("sh -c 'kill -9 $$'", 137), ("/etc/hostname", 126), ("no-such-program", 127)):
        session = await server.start_session(node.instance_id, program(command), client=EXEC)
        await ended(server, session)
        assert session.codes == [f"EXIT_CODE: {code}"], command
        assert bool(session.errors) == (code != 137)


async def test_a_signal_overtakes_input_that_waits(server: FakeServer, node: Agent) -> None:
    session = await server.start_session(node.instance_id, program("sh -c 'echo up; exec sleep 1000'"), client=EXEC)
    await session.shows("up\n")
    for _ in range(100):  # more than its window, as a client that does not keep to it
        await session.send(1, bytes(16_384))
    await session.until(lambda: session.in_flight < 600_000, "some acknowledgements")
    assert session.in_flight > 200_000  # what waits in the agent is not acknowledged
    await session.flag(SIGNAL + signal.SIGTERM)
    await ended(server, session)
    assert session.codes == ["EXIT_CODE: 143"]


async def test_a_program_in_a_terminal(server: FakeServer, node: Agent) -> None:
    tty = {**OURS, "Extensions": {"chunk": 16384, "exec": 1, "tty": True, "term": "vt100", "rows": 7, "cols": 77}}
    command = "sh -c 'stty -echo; stty size; echo $TERM; read x; echo got $x >&2; cat; exit 5'"
    session = await server.start_session(node.instance_id, program(command), client=tty)
    await session.shows("7 77\r\nvt100\r\n")
    await session.type("hello\n")
    await session.shows("got hello\r\n")
    await session.flag(END_OF_INPUT)
    await ended(server, session)
    assert (session.codes, session.errors) == (["EXIT_CODE: 5"], b"")


async def test_a_slow_program_slows_the_client_down(server: FakeServer, node: Agent) -> None:
    """More than the window, to a program that reads late: nothing is lost, nothing is doubled."""
    given = os.urandom(4_000_000)
    go = node.state.parent / "go-slowly"
    command = f"sh -c 'until test -e {go}; do sleep 0.05; done; sha256sum'"
    session = await server.start_session(node.instance_id, program(command), client=EXEC)
    await session.shaken()
    async with asyncio.TaskGroup() as group:
        group.create_task(session.send_all(1, given))
        await session.until(lambda: session.in_flight > 900_000, "a full window")
        session.cut()
        go.touch()
    await session.flag(END_OF_INPUT)
    await ended(server, session)
    assert session.output.split()[0].decode() == hashlib.sha256(given).hexdigest()


async def test_a_client_that_sends_without_end_costs_no_memory(server: FakeServer, node: Agent) -> None:
    """One that does not look at acknowledgements is held back by TCP, and still hears what the program says."""
    go = node.state.parent / "go"
    command = f"sh -c 'echo up; until test -e {go}; do sleep 0.05; done; echo late; read x; wc -c'"
    session = await server.start_session(node.instance_id, program(command), client=EXEC)
    await session.shows("up\n")
    session.repeats = False
    worker = int((node.state / "sessions" / session.session_id / "lock").read_text())
    before = resident(worker)
    async with asyncio.TaskGroup() as group:
        group.create_task(session.send_all(1, b"\n" + bytes(30_000_000), window=2**40))
        async with asyncio.timeout(20):
            while session.in_flight < 3_000_000:
                await asyncio.sleep(0.02)
        go.touch()
        await session.shows("late\n")
        assert resident(worker) < before + 14_000
    await session.flag(END_OF_INPUT)
    await ended(server, session)
    assert session.output == b"up\nlate\n30000000\n"


def resident(pid: int) -> int:
    """KiB"""
    found = re.search(r"^VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.M)
    assert found
    return int(found[1])


async def test_output_of_a_program_whose_end_the_client_misses_at_first(server: FakeServer, node: Agent) -> None:
    session = await server.start_session(
        node.instance_id, program("sh -c 'seq 1 20000; echo done >&2; exit 9'"), client=EXEC
    )
    await session.until(lambda: len(session.output) > 0)
    session.cut()
    session.refusals = 3
    await session.until(lambda: bool(session.codes), "the exit code", 30)
    await ended(server, session)
    assert session.output == b"".join(b"%d\n" % number for number in range(1, 20_001))
    assert (session.errors, session.codes) == (b"done\n", ["EXIT_CODE: 9"])


async def test_an_encrypted_session(server: FakeServer, node: Agent) -> None:
    key, wrapped = os.urandom(64), base64.b64encode(os.urandom(40)).decode()
    document = {"sessionType": "Standard_Stream", "inputs": {"kmsKeyId": "alias/sessions"}}
    session_id = "alice-0123456789abcdef0"
    server.keys[wrapped] = (key, {"aws:ssm:SessionId": session_id, "aws:ssm:TargetId": node.instance_id})
    session = await server.start_session(node.instance_id, document, session_id=session_id, wrapped=wrapped)
    session.pending_keys = (AESGCM(key[:32]), AESGCM(key[32:]))
    await session.shaken()
    await session.type("echo sec''ret $((41+1))\n")
    await session.shows("secret 42\r\n")
    assert all(b"secret" not in data for _, data in session.payloads)
    await session.resize(31, 41)  # never encrypted
    await session.type("stty size; exit\n")
    await session.shows("31 41\r\n")
    await ended(server, session)

    session = await server.start_session(node.instance_id, document, wrapped=wrapped)  # the key of another session
    completion = await ended(server, session)
    assert completion["FinalTaskStatus"] == "Failed"
    assert "data key" in completion["Output"]
    server.keys["bm9uc2Vuc2U="] = (os.urandom(64), {"aws:ssm:SessionId": "x-1", "aws:ssm:TargetId": node.instance_id})
    session = await server.start_session(node.instance_id, document, session_id="x-1", wrapped="bm9uc2Vuc2U=")
    session.pending_keys = (AESGCM(key[:32]), AESGCM(key[32:]))
    session.refuse_challenge = True
    completion = await ended(server, session)
    assert completion["FinalTaskStatus"] == "Failed"
    assert "same data key" in completion["Output"]


async def test_transcripts_go_where_the_document_says(server: FakeServer, node: Agent) -> None:
    inputs = {
        "s3BucketName": "b",
        "s3KeyPrefix": "p/q",
        "cloudWatchLogGroupName": "/sessions",
        "cloudWatchStreamingEnabled": False,
    }
    commands = r"printf 'one\ntw\bo\033[31mred\033[0m\rT\n\033]0;title\007three'"
    document = {
        "sessionType": "InteractiveCommands", "inputs": inputs, "properties": {"linux": {"commands": commands}},
    }  # fmt: skip
    session = await server.start_session(node.instance_id, document)
    completion = await ended(server, session)
    name = session.session_id
    assert server.objects.stored == {("b", f"p/q/{name}.log"): b"one\nTored\nthree\n"}
    assert [event["message"] for event in server.logs.streams["/sessions", name]] == ["one", "Tored", "three"]
    assert {each: completion[each] for each in ("S3Bucket", "S3UrlSuffix", "CwlGroup", "CwlStream")} == {
        "S3Bucket": "b", "S3UrlSuffix": f"p/q/{name}.log", "CwlGroup": "/sessions", "CwlStream": name,
    }  # fmt: skip

    inputs = {"cloudWatchLogGroupName": "/streamed", "cloudWatchStreamingEnabled": True}
    document = {"sessionType": "InteractiveCommands", "inputs": inputs,
                "properties": {"linux": {"commands": "echo first; read x; printf 'second\\nlast'"}}}  # fmt: skip
    session = await server.start_session(node.instance_id, document)
    await session.shows("first\r\n")
    await server.until(lambda: bool(server.logs.streams.get(("/streamed", session.session_id))), "the first event")
    await session.type("\n")
    await ended(server, session)
    events = [json.loads(event["message"]) for event in server.logs.streams["/streamed", session.session_id]]
    assert [line for event in events for line in event["sessionData"]] == ["first", "", "second", "last"]
    assert events[0] | {"eventTime": "", "sessionData": []} == {
        "eventVersion": "1.0",
        "eventTime": "",
        "awsRegion": REGION,
        "target": {"id": node.instance_id},
        "userIdentity": {"arn": "arn:aws:iam::000000000000:user/alice"},
        "runAsUser": pwd.getpwuid(os.geteuid()).pw_name,
        "sessionId": session.session_id,
        "sessionData": [],
    }


async def test_a_transcript_that_is_refused_does_not_hold_up_the_end(server: FakeServer, node: Agent) -> None:
    server.objects.refused = True
    document = {"sessionType": "InteractiveCommands", "inputs": {"s3BucketName": "b"},
                "properties": {"linux": {"commands": "echo kept"}}}  # fmt: skip
    session = await server.start_session(node.instance_id, document)
    completion = await ended(server, session)
    assert (completion["FinalTaskStatus"], completion["S3Bucket"]) == ("Success", "")
    server.objects.refused = False
    kept = node.state / "sessions" / session.session_id / f"{session.session_id}.log"
    assert kept.read_text() == "kept\n"


@pytest.fixture
def two_users() -> Iterator[tuple[str, str]]:
    """A user with a home, and one that has the group id 0."""
    names = ("ph-test-one", "ph-test-zero")
    for name, more in zip(names, ([], ["-g", "0"]), strict=True):
        subprocess.run(["useradd", "-m", *more, name], check=True, capture_output=True)
    yield names
    for name in names:
        subprocess.run(["userdel", "-r", name], check=True, capture_output=True)


@IS_ROOT
@pytest.mark.skipif(shutil.which("useradd") is None, reason="there is no useradd")
async def test_whose_session_it_is(server: FakeServer, node: Agent, two_users: tuple[str, str]) -> None:
    user, zero = two_users
    run_as = {"runAsEnabled": True, "runAsDefaultUser": "no-such-user"}
    show = program("sh -c 'id -un; id -g; pwd; umask; cat /proc/self/status | grep Groups'")
    session = await server.start_session(node.instance_id, {**show, "inputs": run_as}, RunAsUser=user, client=EXEC)
    await ended(server, session)
    entry = pwd.getpwnam(user)
    name, group, home, umask, groups = session.output.decode().splitlines()
    assert (name, group, home, umask, groups) == (
        user,
        str(entry.pw_gid),
        entry.pw_dir,
        "0022",
        f"Groups:\t{entry.pw_gid} ",
    )

    terminal = {"sessionType": "Standard_Stream", "inputs": {"runAsEnabled": "true", "runAsDefaultUser": user}}
    session = await server.start_session(node.instance_id, terminal)
    await session.type("echo i am $(id -un); stat -c '%U %a' $(tty); echo x > $(tty); exit\n")
    await ended(server, session)
    assert f"i am {user}" in session.output.decode()
    assert f"{user} 620" in session.output.decode()

    elevated = {**program("id -un", runAsElevated=True), "inputs": run_as}
    session = await server.start_session(node.instance_id, elevated, client=EXEC)
    await ended(server, session)
    assert session.output == b"root\n"

    for name in (zero, "root", "no-such-user", ""):
        inputs = {"runAsEnabled": True, "runAsDefaultUser": ""}
        session = await server.start_session(node.instance_id, {**show, "inputs": inputs}, RunAsUser=name)
        completion = await ended(server, session)
        assert completion["FinalTaskStatus"] == "Failed", name
        assert (name or "Run As") in completion["Output"]


@IS_ROOT
@pytest.mark.skipif(shutil.which("useradd") is None, reason="there is no useradd")
async def test_ssm_user_is_made_once(server: FakeServer, tmp_path: Path) -> None:
    was_there = any(entry.pw_name == "ssm-user" for entry in pwd.getpwall())  # then it is not the test's to remove
    agent = Agent(server, tmp_path / "state")
    await agent.register()
    await agent.online()
    try:
        sessions = [await server.start_session(agent.instance_id, program("id -un"), client=EXEC) for _ in range(4)]
        for session in sessions:
            await ended(server, session)
            assert (session.output, session.codes) == (b"ssm-user\n", ["EXIT_CODE: 0"]), session
    finally:
        agent.leave_nothing_behind()
        if not was_there:
            subprocess.run(["userdel", "-r", "ssm-user"], check=False, capture_output=True)
