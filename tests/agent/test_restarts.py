"""What survives: restarts of the server, of the agent, of neither; replies that nobody acknowledged."""

import asyncio
import json
import os
import random
import resource
import signal
from pathlib import Path
from typing import Any

from tests.agent.conftest import Agent, only_step
from tests.agent.fake_server import FakeServer, shell_command, steps_command
from tests.agent.test_commands import exists, processes_of


def slow(tmp_path: Path) -> list[str]:
    """A script that notes each time it begins and waits for a file called go."""
    return [
        f"echo began >> {tmp_path}/times",
        f"until test -e {tmp_path}/go; do sleep 0.05; done",
        "echo finished",
    ]


async def test_a_command_outlives_a_server_restart(server: FakeServer, agent: Agent, tmp_path: Path) -> None:
    await agent.online()
    job = await server.run(agent.instance_id, slow(tmp_path))
    await exists(tmp_path / "times")
    await server.stop()
    (tmp_path / "go").touch()
    await exists(agent.file(job, "steps/0/0/result.json"))
    await server.start()
    final = await server.final_reply(job)
    assert only_step(final.content)["standardOutput"] == "finished\n"
    assert (tmp_path / "times").read_text() == "began\n"


async def test_the_agent_killed_in_a_command_finishes_it_once(server: FakeServer, agent: Agent, tmp_path: Path) -> None:
    await agent.online()
    steps = [{"name": "slow", "lines": slow(tmp_path)}, {"name": "after", "lines": [f"echo after >> {tmp_path}/times"]}]
    job = await server.send(agent.instance_id, steps_command(steps))
    await exists(tmp_path / "times")
    agent.kill()
    await server.until(lambda: not server.is_online(agent.instance_id))
    await agent.online()
    (tmp_path / "go").touch()
    final = await server.final_reply(job)
    assert final.content["documentStatus"] == "Success"
    assert (tmp_path / "times").read_text() == "began\nafter\n"


async def test_a_command_that_ends_while_the_agent_is_away_is_reported(
    server: FakeServer, agent: Agent, tmp_path: Path
) -> None:
    await agent.online()
    job = await server.run(agent.instance_id, [*slow(tmp_path), "exit 7"])
    await exists(tmp_path / "times")
    assert await agent.stop() == 0  # SIGTERM leaves the script alone
    assert processes_of(job)
    (tmp_path / "go").touch()
    await exists(agent.file(job, "steps/0/0/result.json"))
    await agent.online()
    result = only_step((await server.final_reply(job)).content)
    assert (result["code"], result["standardOutput"]) == (7, "finished\n")
    assert (tmp_path / "times").read_text() == "began\n"


async def test_a_command_is_cancelled_after_the_agent_came_back(
    server: FakeServer, agent: Agent, tmp_path: Path
) -> None:
    await agent.online()
    job = await server.run(agent.instance_id, slow(tmp_path))
    await exists(tmp_path / "times")
    agent.kill()
    await server.until(lambda: not server.is_online(agent.instance_id))
    await agent.online()
    await server.cancel(agent.instance_id, job)
    assert only_step((await server.final_reply(job)).content)["status"] == "Cancelled"
    assert not processes_of(job)


async def test_a_script_whose_supervisor_died_is_not_repeated(server: FakeServer, agent: Agent, tmp_path: Path) -> None:
    """As after a reboot: what may have run is reported, never run again. Later steps still run."""
    await agent.online()
    steps = [{"name": "slow", "lines": slow(tmp_path)}, {"name": "after", "lines": ["echo after"]}]
    job = await server.send(agent.instance_id, steps_command(steps))
    await exists(tmp_path / "times")
    agent.kill()
    os.kill(int(agent.file(job, "steps/0/0/lock").read_text()), signal.SIGKILL)
    await server.until(lambda: not server.is_online(agent.instance_id))
    await agent.online()
    final = await server.final_reply(job)
    seen = {name: step for reply in server.replies_of(job) for name, step in reply.steps.items()}
    assert final.content["documentStatus"] == "Failed"
    assert (seen["slow"]["status"], seen["slow"]["code"]) == ("Failed", 1)
    assert "it may have run in part and is not repeated" in seen["slow"]["standardError"]
    assert seen["after"]["standardOutput"] == "after\n"
    assert (tmp_path / "times").read_text() == "began\n"
    assert not processes_of(job)


async def test_an_unacknowledged_reply_comes_again_with_the_same_id(server: FakeServer, agent: Agent) -> None:
    server.acknowledge_replies = False
    await agent.online()
    job = await server.run(agent.instance_id, ["echo once"])

    def finals() -> list[str]:
        return [reply.message_id for reply in server.replies_of(job) if reply.is_final]

    await server.until(lambda: len(finals()) == 1)
    await server.cut(agent.instance_id)
    await server.until(lambda: len(finals()) == 2, "the reply after a new connection")
    await server.until(lambda: len(finals()) >= 3, "the reply after the retry time")
    agent.kill()
    await server.until(lambda: not server.is_online(agent.instance_id))
    count = len(finals())
    await agent.online()
    await server.until(lambda: len(finals()) > count, "the reply after a restart of the agent")
    assert len(set(finals())) == 1
    server.acknowledge_replies = True
    replies = agent.state / "replies"
    async with asyncio.timeout(20):
        while list(replies.glob("*.json")):
            await asyncio.sleep(0.05)
    await exists(agent.file(job, "finished"))


async def test_polling_carries_commands_while_the_channel_is_refused(
    server: FakeServer, agent: Agent, tmp_path: Path
) -> None:
    server.control_channel_error = "AccessDeniedException"
    agent.start()
    await server.until(lambda: any(call.operation == "GetMessages" for call in server.calls))
    command = steps_command([{"name": "slow", "lines": slow(tmp_path)}])
    job = await server.offer(agent.instance_id, command)
    await exists(tmp_path / "times")
    calls = [call.operation for call in server.calls if call.operation in ("SendReply", "AcknowledgeMessage")]
    assert calls == ["SendReply", "AcknowledgeMessage"]
    await server.offer(agent.instance_id, {"CancelMessageId": job}, topic="cancelCommand")
    final = await server.final_reply(job)
    assert (final.way, only_step(final.content)["status"]) == ("mds", "Cancelled")
    assert final.content["additionalInfo"]["ableToOpenMGSConnection"] is False

    server.control_channel_error = None  # the channel is back, and is used again
    await server.online(agent.instance_id)
    second = await server.run(agent.instance_id, ["echo back"])
    assert (await server.final_reply(second)).way == "mgs"


async def test_a_message_that_cannot_be_read_over_polling(server: FakeServer, agent: Agent) -> None:
    server.control_channel_error = "AccessDeniedException"
    agent.start()
    job = await server.offer(agent.instance_id, {"DocumentContent": {"schemaVersion": "7"}})
    final = await server.final_reply(job)
    assert "7" in final.content["documentTraceOutput"]
    assert not [call for call in server.calls if call.operation == "AcknowledgeMessage"]


async def test_expired_credentials_are_renewed_in_the_middle(server: FakeServer, agent: Agent) -> None:
    server.control_channel_error = "AccessDeniedException"
    agent.start()
    await server.until(lambda: any(call.operation == "GetMessages" for call in server.calls))
    server.expire_credentials()
    job = await server.offer(agent.instance_id, steps_command([{"name": "one", "lines": ["echo still here"]}]))
    assert only_step((await server.final_reply(job)).content)["status"] == "Success"
    assert len([call for call in server.calls if call.operation == "RequestManagedInstanceRoleToken"]) == 2


async def test_credentials_are_renewed_at_half_of_their_life(server: FakeServer, agent: Agent) -> None:
    server.credentials_life = 2.0
    await agent.online()
    tokens = "RequestManagedInstanceRoleToken"
    await server.until(lambda: len([call for call in server.calls if call.operation == tokens]) >= 3)
    await server.run(agent.instance_id, ["true"])  # the channel outlives the credentials it was opened with
    assert len([call for call in server.calls if call.operation == "CreateControlChannel"]) == 1


async def test_a_refused_node_says_why_and_what_to_do(server: FakeServer, agent: Agent) -> None:
    server.token_error = "AccessDeniedException"
    agent.start()
    async with asyncio.timeout(10):
        while "credentials.refused" not in agent.log:
            await asyncio.sleep(0.05)
    assert "register it again with --force" in agent.log
    assert await agent.stop() == 0


async def test_one_agent_per_state_directory(server: FakeServer, agent: Agent) -> None:
    await agent.online()
    second = await asyncio.to_thread(agent.command, "run", "--state", str(agent.state))
    assert second.returncode == 1
    assert "Another agent runs" in second.stderr


async def test_logs_tell_no_secrets(server: FakeServer, agent: Agent) -> None:
    await agent.online()
    job = await server.run(agent.instance_id, ["echo canary-in-script; echo canary-on-stderr >&2; exit 1"])
    await server.final_reply(job)
    assert await agent.stop() == 0
    credentials = (agent.state / "credentials").read_text().split()
    for secret in ["canary", *[text for text in credentials if len(text) == 32]]:
        assert secret not in agent.log
    assert [line for line in agent.log.splitlines() if not line[:4].isdigit() or len(line.split()) < 3] == []


async def test_a_script_that_asks_for_a_reboot_runs_again_after_it(
    server: FakeServer, agent: Agent, tmp_path: Path
) -> None:
    """The machine's `shutdown` is played by a script, the new boot by another boot id in the agent's note."""
    (tmp_path / "shutdown").write_text(f"#!/bin/sh\necho $* > {tmp_path}/shut-down\n")
    (tmp_path / "shutdown").chmod(0o755)
    agent.environment["PATH"] = f"{tmp_path}:{os.environ['PATH']}"
    agent.start("--allow-reboot")
    await server.online(agent.instance_id)
    lines = [
        f"echo began >> {tmp_path}/times",
        f"test $(wc -l < {tmp_path}/times) -eq 2 || {{ echo going down; echo careful >&2; exit 194; }}",
        "echo up again",
    ]
    wanted = {"OutputS3BucketName": "out", "OutputS3KeyPrefix": "pre", "CloudWatchOutputEnabled": "true"}
    job = await server.send(agent.instance_id, {**shell_command(lines), **wanted})
    await exists(tmp_path / "shut-down")
    assert (tmp_path / "shut-down").read_text() == "-r now\n"
    await server.until(lambda: any(reply.steps for reply in server.replies_of(job)))
    (announced,) = [reply for reply in server.replies_of(job) if reply.steps]
    assert only_step(announced.content)["status"] == "SuccessAndReboot"
    assert only_step(announced.content)["standardOutput"] == "going down\n"

    agent.kill()
    agent.start("--allow-reboot")  # only the agent restarted, not yet the machine: it waits
    await server.until(lambda: "command.resumed" in agent.log and server.is_online(agent.instance_id))
    agent.kill()
    assert (tmp_path / "times").read_text() == "began\n"
    note = agent.file(job, "steps/0/0.reboot.json")
    note.write_text(note.read_text().replace('"boot":"', '"boot":"another-'))
    agent.start("--allow-reboot")
    final = await server.final_reply(job)
    assert only_step(final.content)["standardOutput"] == "going down\nup again\n"
    assert only_step(final.content)["standardError"] == "careful\n"
    (whole,) = [text for (_, key), text in server.objects.stored.items() if key.endswith("/stdout")]
    assert whole == b"going down\nup again\n"
    assert server.logs.text("/stdout") == "going down\nup again"
    assert (tmp_path / "times").read_text() == "began\nbegan\n"


async def test_killed_at_any_moment_each_command_runs_once(server: FakeServer, agent: Agent, tmp_path: Path) -> None:
    """The server sends again what was not acknowledged, as it does; the script must never run twice."""
    moments = random.Random(7)
    times = tmp_path / "times"
    jobs: dict[str, dict[str, Any]] = {}
    await agent.online()
    for number in range(12):
        lines = [f"echo {number} >> {times}", "sleep 0.05"]
        content = shell_command(lines)
        if number % 2:  # the same inside another document, and with its output sent elsewhere
            script = {"name": "script", "action": "aws:runShellScript", "inputs": {"runCommand": lines}}
            server.documents[f"Inner{number}"] = json.dumps({"schemaVersion": "2.2", "mainSteps": [script]})
            inputs = {"documentType": "SSMDocument", "documentPath": f"Inner{number}"}
            content = steps_command([{"name": "outer", "action": "aws:runDocument", "inputs": inputs}])
            content |= {"OutputS3BucketName": "out", "CloudWatchOutputEnabled": "true"}
        jobs[await server.send(agent.instance_id, content)] = content
        await asyncio.sleep(moments.uniform(0, 0.06))
        agent.kill()
        await server.until(lambda: not server.is_online(agent.instance_id))
        await agent.online()
        for job in jobs.keys() - {ack["jobId"] for ack in server.acks}:
            await server.send(agent.instance_id, jobs[job], command_id=job.split(".")[2])
    for job in jobs:
        final = await server.final_reply(job)
        assert final.content["documentStatus"] in ("Success", "Failed")
    seen = times.read_text().split()
    assert len(seen) == len(set(seen))
    for number, job in enumerate(jobs):  # what is called a success has run
        final = await server.final_reply(job)
        assert str(number) in seen or final.content["documentStatus"] == "Failed"


async def test_a_node_whose_disk_takes_no_more_says_so_and_loses_no_result(
    server: FakeServer, agent: Agent, tmp_path: Path
) -> None:
    """The full disk is played by a limit on the size of the agent's files, its log among them."""
    await agent.online()
    assert agent.process is not None
    job = await server.run(agent.instance_id, [*slow(tmp_path), "exit 7"])
    await exists(tmp_path / "times")
    before = resource.prlimit(agent.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(agent.process.pid, resource.RLIMIT_FSIZE, (0, before[1]))
    refused = await server.run(agent.instance_id, ["echo never"])
    await server.until(lambda: len(server.acks) == 2)
    assert (server.acks[1]["jobId"], server.acks[1]["statusCode"]) == (refused, "51499")
    assert "the node cannot store the command" in server.acks[1]["errorMessage"]
    (tmp_path / "go").touch()
    assert only_step((await server.final_reply(job)).content)["code"] == 7

    resource.prlimit(agent.process.pid, resource.RLIMIT_FSIZE, before)  # somebody made room
    again = shell_command(["echo at last"])
    await server.send(agent.instance_id, again, command_id=refused.split(".")[2])
    assert only_step((await server.final_reply(refused)).content)["standardOutput"] == "at last\n"


async def test_work_of_the_agent_that_was_killed_is_done_again_and_scripts_are_not(
    server: FakeServer, agent: Agent, tmp_path: Path
) -> None:
    """A stand-in for git notes each time it begins."""
    git = tmp_path / "bin" / "git"
    git.parent.mkdir()
    wait = f"test -e {tmp_path}/go || {{ touch {tmp_path}/began; sleep 306; }}"
    git.write_text(f'#!/bin/sh\necho began >> {tmp_path}/times\n{wait}\nfor tree; do :; done; mkdir "$tree"\n')
    git.chmod(0o755)
    agent.environment["PATH"] = f"{git.parent}:{os.environ['PATH']}"
    await agent.online()
    inputs = {"sourceType": "Git", "sourceInfo": {"repository": "https://git.invalid/x"}, "destinationPath": "here"}
    content = steps_command([{"name": "fetch", "action": "aws:downloadContent", "inputs": inputs}])
    job = await server.send(agent.instance_id, content)
    await exists(tmp_path / "began")
    agent.kill()
    os.kill(int(agent.file(job, "steps/0/0/lock").read_text()), signal.SIGKILL)
    await server.until(lambda: not server.is_online(agent.instance_id))
    assert processes_of(job)  # the work goes on without anybody who would report it
    (tmp_path / "go").touch()
    await agent.online()
    assert only_step((await server.final_reply(job)).content)["status"] == "Success"
    assert (tmp_path / "times").read_text() == "began\nbegan\n"
    assert not processes_of(job)

    (tmp_path / "go").unlink()
    (tmp_path / "began").unlink()
    job = await server.send(agent.instance_id, content)  # and a cancel ends it with all that it started
    await exists(tmp_path / "began")
    await server.cancel(agent.instance_id, job)
    result = only_step((await server.final_reply(job)).content)
    assert (result["status"], result["code"]) == ("Cancelled", 137)
    assert not processes_of(job)
