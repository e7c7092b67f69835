"""Commands over the control channel, on a real agent process."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.agent.conftest import Agent, only_step
from tests.agent.fake_server import FakeServer, shell_command, steps_command


async def test_registers_comes_online_and_runs_a_command(server: FakeServer, agent: Agent) -> None:
    await agent.online()
    job = await server.run(agent.instance_id, ["echo hello", "echo err >&2", "exit 3"])
    final = await server.final_reply(job)

    assert [ack["statusCode"] for ack in server.acks] == ["200"]
    received, step, last = server.replies_of(job)
    assert (received.content["documentStatus"], received.content["runtimeStatus"]) == ("InProgress", None)
    assert step.content["documentStatus"] == "InProgress"
    assert last is final
    assert final.content["documentStatus"] == "Failed"
    assert final.content["additionalInfo"]["runtimeStatusCounts"] == {"Failed": 1}
    result = final.steps["aws:runShellScript"]
    assert (result["status"], result["code"], result["name"]) == ("Failed", 3, "aws:runShellScript")
    assert result["standardOutput"] == "hello\n"
    assert result["standardError"] == "err\nfailed to run commands: exit status 3"
    assert result["output"] == "hello\n\n----------ERROR-------\nerr\nfailed to run commands: exit status 3"


async def test_output_is_cut_by_bytes_and_kept_whole_on_disk(server: FakeServer, agent: Agent) -> None:
    await agent.online()
    lines = ["head -c 30000 /dev/zero | tr '\\0' o", "head -c 12000 /dev/zero | tr '\\0' e >&2", "exit 1"]
    job = await server.run(agent.instance_id, lines)
    result = only_step((await server.final_reply(job)).content)

    assert len(result["standardOutput"]) == 24_000
    assert result["standardOutput"].endswith("o--output truncated--")
    assert result["standardError"] == "e" * 12_000 + "\nfailed to run commands: exit status 1"
    assert len(result["output"]) == 2_500
    assert "o\n---Output truncated---\n----------ERROR-------\ne" in result["output"]
    assert result["output"].endswith("e\n---Error truncated----")
    assert agent.file(job, "steps/0/0/stdout").read_bytes() == b"o" * 30_000


async def test_bytes_that_are_not_text_become_replacement_characters(server: FakeServer, agent: Agent) -> None:
    await agent.online()
    job = await server.run(agent.instance_id, ["printf 'a\\377b\\000c\\303'"])
    result = only_step((await server.final_reply(job)).content)
    assert result["standardOutput"] == "a\ufffdb\0c\ufffd"


async def test_output_that_grows_in_json_still_fits_a_frame(server: FakeServer, agent: Agent) -> None:
    await agent.online()
    job = await server.run(agent.instance_id, ["head -c 40000 /dev/zero", "head -c 40000 /dev/zero >&2"])
    result = only_step((await server.final_reply(job)).content)  # the server complains about larger frames
    assert result["standardOutput"].startswith("\0" * 2_000)
    assert result["standardOutput"].endswith("--output truncated--")


async def test_a_script_that_runs_too_long_is_ended(server: FakeServer, agent: Agent) -> None:
    await agent.online()
    job = await server.run(agent.instance_id, ["echo began", "sleep 60 & sleep 61"], executionTimeout="5")
    final = await server.final_reply(job)
    result = only_step(final.content)
    assert final.content["documentStatus"] == "TimedOut"
    assert (result["status"], result["code"], result["standardOutput"]) == ("TimedOut", 137, "began\n")
    assert "longer than 5 seconds" in result["standardError"]
    assert not processes_of(job)


async def test_cancel_ends_all_descendants(server: FakeServer, agent: Agent, tmp_path: Path) -> None:
    """Also those that ignore SIGTERM, and those that left the process group."""
    await agent.online()
    lines = [
        "echo began",
        "(trap '' TERM; sleep 301; sleep 302) &",
        "setsid sh -c 'sleep 303; sleep 304' &",
        f"touch {tmp_path}/ready",
        "wait",
    ]
    job = await server.run(agent.instance_id, lines)
    await exists(tmp_path / "ready")
    assert len(processes_of(job)) >= 4
    cancel = await server.cancel(agent.instance_id, job)
    final = await server.final_reply(job)

    result = only_step(final.content)
    assert final.content["documentStatus"] == "Cancelled"
    assert (result["status"], result["code"], result["standardOutput"]) == ("Cancelled", 137, "began\n")
    assert not processes_of(job)
    assert [ack["statusCode"] for ack in server.acks if ack["jobId"] == cancel] == ["200"]
    (received,) = server.replies_of(cancel)
    assert received.content["documentStatus"] == "InProgress"


async def test_cancel_leaves_the_same_command_of_another_agent_on_the_machine_alone(
    server: FakeServer, agent: Agent, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = Agent(server, tmp_path / "other" / "state")
    await other.register()
    command_id = "22222222-2222-2222-2222-222222222222"
    try:
        for each in (agent, other):
            await each.online()
        here, there = [
            await server.send(
                each.instance_id,
                shell_command([f"touch {tmp_path}/{name}", f"until [ -e {tmp_path}/go ]; do sleep 0.05; done"]),
                command_id=command_id,
            )
            for name, each in (("here", agent), ("there", other))
        ]
        for name in ("here", "there"):
            await exists(tmp_path / name)
        await server.cancel(agent.instance_id, here)
        cancelled = await server.final_reply(here)
        (tmp_path / "go").touch()
        finished = await server.final_reply(there)
    finally:
        other.leave_nothing_behind()

    assert cancelled.content["documentStatus"] == "Cancelled"
    assert finished.content["documentStatus"] == "Success"


async def test_cancel_of_an_unknown_or_ended_command_changes_nothing(server: FakeServer, agent: Agent) -> None:
    await agent.online()
    job = await server.run(agent.instance_id, ["true"])
    await server.final_reply(job)
    count = len(server.replies_of(job))
    for target in (job, f"aws.ssm.11111111-1111-1111-1111-111111111111.{agent.instance_id}"):
        cancel = await server.cancel(agent.instance_id, target)
        await server.until(lambda cancel=cancel: bool(server.replies_of(cancel)))  # type: ignore[misc]
    assert len(server.replies_of(job)) == count


async def test_a_waiting_command_is_cancelled_at_once(server: FakeServer, agent: Agent) -> None:
    agent.environment["PILOTHOUSE_AGENT_RUNNING"] = "1"
    await agent.online()
    first = await server.run(agent.instance_id, ["sleep 305"])
    second = await server.run(agent.instance_id, ["echo never"])
    await server.until(lambda: len(server.acks) == 2)
    await server.cancel(agent.instance_id, second)
    result = only_step((await server.final_reply(second)).content)
    assert (result["status"], result["code"]) == ("Cancelled", 1)
    await server.cancel(agent.instance_id, first)
    assert only_step((await server.final_reply(first)).content)["code"] == 137


async def test_a_duplicate_is_acknowledged_and_not_run(server: FakeServer, agent: Agent, tmp_path: Path) -> None:
    await agent.online()
    content = shell_command([f"echo once >> {tmp_path}/times"])
    job = await server.send(agent.instance_id, content)
    await server.final_reply(job)
    for _ in range(2):
        await server.send(agent.instance_id, content, command_id=job.split(".")[2])
    await server.until(lambda: len(server.acks) == 3)
    assert await agent.stop() == 0
    await agent.online()  # the mark survives a restart
    await server.send(agent.instance_id, content, command_id=job.split(".")[2])
    await server.until(lambda: len(server.acks) == 4)
    assert [ack["statusCode"] for ack in server.acks] == ["200", "51405", "51405", "51405"]
    assert (tmp_path / "times").read_text() == "once\n"


async def test_a_full_agent_refuses_and_leaves_no_mark(server: FakeServer, agent: Agent, tmp_path: Path) -> None:
    agent.environment |= {"PILOTHOUSE_AGENT_RUNNING": "1", "PILOTHOUSE_AGENT_BUFFERED": "1"}
    await agent.online()
    content = shell_command([f"until test -e {tmp_path}/go; do sleep 0.05; done"])
    jobs = []
    for number in range(3):
        jobs.append(await server.send(agent.instance_id, content))
        await server.until(lambda number=number: len(server.acks) == number + 1)  # type: ignore[misc]
    assert [ack["statusCode"] for ack in server.acks] == ["200", "200", "51402"]
    (tmp_path / "go").touch()
    for job in jobs[:2]:
        await server.final_reply(job)
    await server.send(agent.instance_id, content, command_id=jobs[2].split(".")[2])
    assert (await server.final_reply(jobs[2])).content["documentStatus"] == "Success"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "not JSON"),
        ({**shell_command(["true"]), "CloudWatchOutputEnabled": False, "DocumentContent": {"schemaVersion": "9"}}, "9"),
        ({**shell_command(["true"]), "CloudWatchOutputEnabled": True}, "CloudWatchOutputEnabled"),
        (steps_command([{"name": "one", "lines": ["true"], "timeoutSeconds": "5"}]), "timeoutSeconds"),
        (shell_command(["true"], executionTimeout="soon"), "allowedPattern"),
        (shell_command(["{{ssm:nothing}}"]), "nothing"),
        (shell_command(["{{ssm:hidden}}"]), "SecureString"),
    ],
)
async def test_what_cannot_be_read_is_refused_with_the_reason(
    server: FakeServer, agent: Agent, content: str, reason: str
) -> None:
    server.parameters["hidden"] = {"Type": "SecureString", "Value": "x", "Version": 1}
    await agent.online()
    job = await server.send(agent.instance_id, content)
    final = await server.final_reply(job)
    assert [ack["statusCode"] for ack in server.acks] == ["51408"]
    assert (final.content["documentStatus"], final.content["runtimeStatus"]) == ("Failed", None)
    assert reason in final.content["documentTraceOutput"]


async def test_a_job_id_that_is_a_path_is_refused(server: FakeServer, agent: Agent) -> None:
    await agent.online()
    for command_id in ("../../../../tmp/evil", "a/b/c/d/e/f/g", "with space in it"):
        await server.send(agent.instance_id, shell_command(["true"]), command_id=command_id)
    await server.until(lambda: len(server.acks) == 3)
    assert {ack["statusCode"] for ack in server.acks} == {"51408"}


async def test_steps_and_their_flow(server: FakeServer, agent: Agent) -> None:
    await agent.online()
    steps: list[dict[str, Any]] = [
        {"name": "windows", "lines": ["echo no"], "precondition": {"StringEquals": ["platformType", "Windows"]}},
        {"name": "linux", "lines": ["echo {{ word }}"], "precondition": {"StringEquals": ["Linux", "platformType"]}},
        {"name": "fails", "lines": ["exit 4"]},
        {"name": "goes-on", "lines": ["echo still here"]},
        {"name": "stops", "lines": ["exit 5"], "inputs": {"onFailure": "exit"}},
        {"name": "left-out", "lines": ["echo no"]},
        {"name": "last", "lines": ["echo finally"], "inputs": {"finallyStep": True}},
    ]
    content = steps_command(steps, parameters={"word": {"type": "String", "default": "yes"}})
    job = await server.send(agent.instance_id, content)
    final = await server.final_reply(job)

    assert final.content["documentStatus"] == "Failed"
    assert final.content["runtimeStatus"] == {}
    assert final.content["additionalInfo"]["runtimeStatusCounts"] == {"Skipped": 2, "Success": 3, "Failed": 2}
    steps_seen = [
        (name, step["status"], step["code"]) for reply in server.replies_of(job) for name, step in reply.steps.items()
    ]
    assert steps_seen == [
        ("windows", "Skipped", 0),
        ("linux", "Success", 0),
        ("fails", "Failed", 4),
        ("goes-on", "Success", 0),
        ("stops", "Failed", 5),
        ("left-out", "Skipped", 0),
        ("last", "Success", 0),
    ]
    texts = {name: step["standardOutput"] for reply in server.replies_of(job) for name, step in reply.steps.items()}
    assert texts["linux"] == "yes\n"
    assert "unsatisfied precondition" in texts["windows"]


@pytest.mark.parametrize(
    ("lines", "inputs", "status", "code", "whole"),
    [
        (["exit 168"], {}, "Success", 168, "Success"),
        (["exit 169"], {}, "Failed", 169, "Failed"),
        (["exit 9"], {"onFailure": "successAndExit"}, "Success", 168, "Success"),
        (["true"], {"onSuccess": "exit"}, "Success", 0, "Success"),
    ],
)
async def test_ends_that_skip_the_rest(
    server: FakeServer, agent: Agent, lines: list[str], inputs: dict[str, str], status: str, code: int, whole: str
) -> None:
    await agent.online()
    steps: list[dict[str, Any]] = [
        {"name": "first", "lines": lines, "inputs": inputs},
        {"name": "second", "lines": ["true"]},
    ]
    job = await server.send(agent.instance_id, steps_command(steps))
    final = await server.final_reply(job)
    seen = {
        name: (step["status"], step["code"]) for reply in server.replies_of(job) for name, step in reply.steps.items()
    }
    assert seen == {"first": (status, code), "second": ("Skipped", 0)}
    assert final.content["documentStatus"] == whole


async def test_steps_this_agent_cannot_do(server: FakeServer, agent: Agent) -> None:
    await agent.online()
    steps: list[dict[str, Any]] = [
        {"name": "modules", "action": "aws:psModule"},
        {"name": "docker", "action": "aws:runDockerAction"},
        {"name": "nonsense", "action": "aws:nonsense"},
        {"name": "text", "inputs": {"runCommand": "echo not a list"}},
        {"name": "nowhere", "lines": ["true"], "inputs": {"workingDirectory": "/does/not/exist"}},
        {"name": "reboot", "lines": ["exit 194"]},
        {"name": "zero", "lines": ["true"], "inputs": {"environment": {"X": "a\0b"}}},
        {"name": "half", "lines": ["echo '\ud800'"], "inputs": {"environment": {"X": "\ud800"}}},
    ]
    job = await server.send(agent.instance_id, steps_command(steps))
    await server.final_reply(job)
    seen = {name: step for reply in server.replies_of(job) for name, step in reply.steps.items()}
    assert {name: step["status"] for name, step in seen.items()} == {
        "modules": "Skipped", "docker": "Failed", "nonsense": "Failed", "text": "Failed", "nowhere": "Failed",
        "reboot": "Failed", "zero": "Failed", "half": "Success",
    }  # fmt: skip
    assert "not supported by this agent" in seen["docker"]["standardError"]
    assert "/does/not/exist does not exist" in seen["nowhere"]["standardError"]
    assert "--allow-reboot" in seen["reboot"]["standardError"]


async def test_references_and_the_environment_of_scripts(server: FakeServer, agent: Agent) -> None:
    server.parameters["one"] = {"Type": "String", "Value": "uno", "Version": 3}
    server.parameters["list"] = {"Type": "StringList", "Value": "echo a,echo b", "Version": 1}
    await agent.online()
    lines = [
        "echo {{ssm:one}} {{ ssm:one:3 }}",
        "{{ssm:list}}",
        "echo $AWS_SSM_INSTANCE_ID $SSM_COMMAND_ID $EXTRA",
        "pwd",
    ]
    step = {"name": "step", "lines": lines, "inputs": {"environment": {"EXTRA": "more"}}}
    job = await server.send(agent.instance_id, steps_command([step]))
    result = only_step((await server.final_reply(job)).content)
    where = agent.file(job, "downloads")
    assert result["standardOutput"].split() == [
        "uno", "uno", "a", "b", agent.instance_id, job.split(".")[2], "more", str(where),
    ]  # fmt: skip


def processes_of(job_id: str) -> list[int]:
    """Living processes that carry the command's mark in their environment."""
    mark = f"PILOTHOUSE_RUN={job_id.split('.')[-2]}/".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            dead = (path / "stat").read_bytes().rpartition(b") ")[2][:1] in (b"Z", b"X")
            if not dead and mark in (path / "environ").read_bytes():
                found.append(int(path.name))
        except OSError:
            continue
    return found


async def exists(path: Path) -> None:
    async with asyncio.timeout(20):
        while not path.exists():
            await asyncio.sleep(0.02)
