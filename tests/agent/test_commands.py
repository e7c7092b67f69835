"""Commands over the control channel, on a real agent process."""

import asyncio
import os
import signal
import time
from pathlib import Path

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
