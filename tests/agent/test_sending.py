"""Whole outputs: as objects, as log events, and live over the control channel."""

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse_agent.sending.logs import MOST_BYTES, MOST_EVENTS, MOST_OF_EVENT, OVERHEAD, events_of
from pilothouse_agent.sending.targets import Content
from tests.agent.conftest import Agent, only_step
from tests.agent.fake_server import FakeServer, shell_command, steps_command
from tests.agent.fake_stores import LiveStreams
from tests.agent.test_commands import exists

BUCKET = {"OutputS3BucketName": "out", "OutputS3KeyPrefix": "pre/fix"}
LOGS = {"CloudWatchOutputEnabled": "true"}


async def nothing_left(agent: Agent) -> None:
    """All output is where it belongs."""
    async with asyncio.timeout(20):
        while list(agent.state.glob("commands/*/steps/*/*/sending.json")):
            await asyncio.sleep(0.05)


async def test_whole_outputs_are_objects_and_log_events(server: FakeServer, agent: Agent) -> None:
    await agent.online()
    lines = ["head -c 1000000 /dev/zero | tr '\\0' o", "printf 'one\\n\\ntwo' >&2", "exit 3"]
    job = await server.send(agent.instance_id, {**shell_command(lines), **BUCKET, **LOGS})
    result = only_step((await server.final_reply(job)).content)
    command, node = job.split(".")[2:]

    folder = f"pre/fix/{command}/{node}/awsrunShellScript"
    assert (result["outputS3BucketName"], result["outputS3KeyPrefix"]) == ("out", folder)
    assert result["stepName"] == "0.awsrunShellScript"
    assert server.objects.stored == {
        ("out", f"{folder}/0.awsrunShellScript/stdout"): b"o" * 1_000_000,
        ("out", f"{folder}/0.awsrunShellScript/stderr"): b"one\n\ntwo\nfailed to run commands: exit status 3",
    }
    assert server.logs.groups == {"/aws/ssm/AWS-RunShellScript"}
    assert {name for _, name in server.logs.streams} == {
        f"{command}/{node}/aws-runShellScript/stdout",
        f"{command}/{node}/aws-runShellScript/stderr",
    }
    assert server.logs.text("/stdout").replace("\n", "") == "o" * 1_000_000
    assert server.logs.text("/stderr") == "one\n \ntwo\nfailed to run commands: exit status 3"
    await nothing_left(agent)


async def test_steps_have_objects_of_their_own_and_silent_ones_none(server: FakeServer, agent: Agent) -> None:
    steps: list[dict[str, Any]] = [
        {"name": "says", "lines": ["echo said"]},
        {"name": "silent", "lines": ["true"]},
        {"name": "skipped", "lines": ["echo no"], "precondition": {"StringEquals": ["platformType", "Windows"]}},
    ]
    await agent.online()
    content = {**steps_command(steps), **BUCKET, **LOGS, "CloudWatchLogGroupName": "mine"}
    job = await server.send(agent.instance_id, content)
    await server.final_reply(job)
    command, node = job.split(".")[2:]
    assert list(server.objects.stored) == [("out", f"pre/fix/{command}/{node}/awsrunShellScript/says/stdout")]
    assert list(server.logs.streams) == [("mine", f"{command}/{node}/says/stdout")]


async def test_lines_are_in_the_log_while_the_script_runs_and_come_once(
    server: FakeServer, agent: Agent, tmp_path: Path
) -> None:
    await agent.online()
    lines = ["echo first; printf half", f"until test -e {tmp_path}/go; do sleep 0.05; done", "echo ' whole'"]
    job = await server.send(agent.instance_id, {**shell_command(lines), **LOGS})

    def logged() -> bool:
        return any(server.logs.streams.values())

    await server.until(logged, "the first line in the log")
    assert server.logs.text("/stdout") == "first"
    await exists(agent.file(job, "steps/0/0/sending.json"))
    async with asyncio.timeout(20):
        while '"stdout":6' not in agent.file(job, "steps/0/0/sending.json").read_text():
            await asyncio.sleep(0.02)
    agent.kill()
    await server.until(lambda: not server.is_online(agent.instance_id))
    await agent.online()
    (tmp_path / "go").touch()
    await server.final_reply(job)
    assert server.logs.text("/stdout") == "first\nhalf whole"


async def test_what_cannot_be_sent_now_is_sent_later(server: FakeServer, agent: Agent) -> None:
    """The step's reply does not wait for ever, and a restart forgets nothing."""
    agent.environment["PILOTHOUSE_AGENT_OUTPUT_RETRY"] = "0.5"
    agent.environment["PILOTHOUSE_AGENT_OUTPUT_PATIENCE"] = "0.2"
    server.objects.refused = True
    await agent.online()
    job = await server.send(agent.instance_id, {**shell_command(["echo kept"]), **BUCKET})
    await server.final_reply(job)
    assert "AccessDenied: Not you." in agent.log
    server.objects.refused = False
    await nothing_left(agent)
    server.objects.stored.clear()

    server.objects.failures = 10_000
    server.logs.failures = 10_000
    job = await server.send(agent.instance_id, {**shell_command(["echo kept"]), **BUCKET, **LOGS})
    assert only_step((await server.final_reply(job)).content)["status"] == "Success"
    agent.kill()
    await server.until(lambda: not server.is_online(agent.instance_id))
    server.objects.failures = server.logs.failures = 0
    await agent.online()
    await nothing_left(agent)
    assert list(server.objects.stored.values()) == [b"kept\n"]
    assert server.logs.text("/stdout") == "kept"


async def test_a_log_that_takes_nothing_does_not_hold_up_the_object_store(server: FakeServer, agent: Agent) -> None:
    agent.environment["PILOTHOUSE_AGENT_OUTPUT_RETRY"] = "0.5"
    agent.environment["PILOTHOUSE_AGENT_OUTPUT_PATIENCE"] = "5"
    server.logs.failures = 10_000
    await agent.online()
    job = await server.send(agent.instance_id, {**shell_command(["echo kept"]), **BUCKET, **LOGS})
    await server.until(lambda: list(server.objects.stored.values()) == [b"kept\n"])
    await server.final_reply(job)
    server.objects.stored.clear()
    server.logs.failures = 0
    await nothing_left(agent)
    assert server.logs.text("/stdout") == "kept"
    assert not server.objects.stored, "what was stored is not stored again"


async def test_output_is_seen_while_it_grows(server: FakeServer, agent: Agent, tmp_path: Path) -> None:
    server.live = LiveStreams()
    await agent.online()
    lines = [
        "echo first",
        f"until test -e {tmp_path}/go; do sleep 0.05; done",
        "head -c 20000 /dev/zero | tr '\\0' o",
        "exit 3",
    ]
    job = await server.run(agent.instance_id, lines)
    live = server.live
    await server.until(lambda: any(live.came.values()), "the first line")
    assert live.text("stdout") == "first\n"
    (tmp_path / "go").touch()
    await server.final_reply(job)
    await server.until(lambda: len(live.ended) == 2, "the end of both streams")
    assert live.text("stdout") == "first\n" + "o" * 20_000
    assert live.text("stderr") == "failed to run commands: exit status 3"
    assert set(live.came) == {(job, "aws:runShellScript", 0, name) for name in ("stdout", "stderr")}
    assert live.wrong == []
    assert live.bytes_received == 20_006 + len(live.text("stderr"))


async def test_output_goes_on_after_the_connection_and_the_agent_were_lost(
    server: FakeServer, agent: Agent, tmp_path: Path
) -> None:
    server.live = LiveStreams()
    live = server.live
    await agent.online()
    wait = f"until test -e {tmp_path}/go$n; do sleep 0.05; done"
    lines = ["for n in 1 2 3; do", "head -c 3000 /dev/zero | tr '\\0' $n; touch " + f"{tmp_path}/at$n", wait, "done"]
    job = await server.run(agent.instance_id, lines)
    await server.until(lambda: any(len(data) == 3_000 for data in live.came.values()))
    await server.cut(agent.instance_id)
    (tmp_path / "go1").touch()
    await exists(tmp_path / "at2")
    await server.until(lambda: any(len(data) == 6_000 for data in live.came.values()), "output after the cut")
    agent.kill()
    await server.until(lambda: not server.is_online(agent.instance_id))
    (tmp_path / "go2").touch()
    await exists(tmp_path / "at3")
    (tmp_path / "go3").touch()
    await agent.online()
    await server.final_reply(job)
    await server.until(lambda: len(live.ended) == 2, "the end")
    assert live.text("stdout") == "1" * 3_000 + "2" * 3_000 + "3" * 3_000
    assert live.bytes_received == 9_000  # nothing came twice
    assert live.wrong == []


async def test_what_the_server_missed_is_sent_again(server: FakeServer, agent: Agent) -> None:
    server.live = LiveStreams(lose={4, 12})
    await agent.online()
    job = await server.run(agent.instance_id, ["head -c 20000 /dev/zero | tr '\\0' o"])
    await server.final_reply(job)
    await server.until(lambda: server.live is not None and len(server.live.ended) == 2, "the end of both streams", 30)
    assert server.live.text("stdout") == "o" * 20_000
    assert server.live.wrong == []


async def test_a_server_that_is_silent_gets_no_more_than_its_window_and_one_that_stops_nothing(
    server: FakeServer, agent: Agent
) -> None:
    server.live = LiveStreams(stop=True)
    await agent.online()
    job = await server.run(agent.instance_id, ["head -c 20000 /dev/zero"])
    await server.final_reply(job)
    assert server.live.bytes_received == 0
    server.live.stop = False
    server.live.silent = True
    job = await server.run(agent.instance_id, ["head -c 20000 /dev/zero"])
    await server.final_reply(job)
    assert server.live.bytes_received == 0  # nothing before it said where to begin
    assert server.live.wrong == []


async def test_a_server_that_says_nothing_gets_nothing(server: FakeServer, agent: Agent) -> None:
    await agent.online()
    await server.final_reply(await server.run(agent.instance_id, ["echo hello"]))
    assert server.refusals == []  # no type of message that it does not know


async def test_output_beyond_the_limit_is_dropped_and_the_user_is_told(
    server: FakeServer, agent: Agent, tmp_path: Path
) -> None:
    agent.environment["PILOTHOUSE_AGENT_OUTPUT_LIMIT"] = "10000"
    await agent.online()
    lines = ["head -c 30000 /dev/zero | tr '\\0' a", "sleep 1.2; echo more", "head -c 200 /dev/zero | tr '\\0' e >&2"]
    job = await server.send(agent.instance_id, {**shell_command(lines), **BUCKET})
    result = only_step((await server.final_reply(job)).content)
    assert result["standardOutput"] == "a" * 10_000
    assert result["standardError"].startswith("e" * 200)
    assert "keeps 10000 bytes of each stream" in result["standardError"]
    (stdout,) = [data for (_, key), data in server.objects.stored.items() if key.endswith("stdout")]
    assert stdout == b"a" * 10_000
    assert os.stat(agent.file(job, "steps/0/0/stdout")).st_size == 10_000


@given(st.lists(st.binary(max_size=40) | st.sampled_from([b"\n", b"\r\n", b"x" * 100_000, b"\xff" * 90_000])))
def test_events_keep_their_limits_and_lose_nothing(parts: list[bytes]) -> None:
    data = b"".join(parts)
    texts: list[str] = []
    offset = 0
    while True:
        found, taken = events_of(data[offset : offset + 48 * 1024], last=offset + 48 * 1024 >= len(data))
        if not found:
            break
        assert len(found) <= MOST_EVENTS
        assert sum(len(text.encode()) + OVERHEAD for text in found) <= MOST_BYTES
        assert all(0 < len(text.encode()) + OVERHEAD <= MOST_OF_EVENT for text in found)
        texts += found
        offset += taken
    assert offset == len(data)
    if all(len(line) < 40_000 for line in data.split(b"\n")):
        lines = data.split(b"\n")[: None if data and not data.endswith(b"\n") else -1]
        assert texts == [line.removesuffix(b"\r").decode("utf-8", "replace") or " " for line in lines]


@given(st.binary(max_size=60), st.integers(0, 70), st.none() | st.text(max_size=20), st.integers(1, 30))
def test_a_stream_is_its_file_and_then_its_note(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, limit: int, note: str | None, size: int
) -> None:
    path = tmp_path_factory.mktemp("stream") / "stdout"
    if data:
        path.write_bytes(data)
    kept = data[:limit]
    gap = "\n" if kept and not kept.endswith(b"\n") else ""
    whole = kept + (f"{gap}{note}".encode() if note else b"")
    content = Content(path, limit, note)
    assert (content.length, content.ended) == (len(whole), note is not None)
    read = b""
    while piece := content.read(len(read), size):
        assert len(piece) <= size
        read += piece
    assert read == whole
