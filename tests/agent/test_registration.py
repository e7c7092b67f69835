"""`pilothouse-agent register`, and what it says when it cannot."""

import asyncio
import stat
import uuid
from pathlib import Path

import pytest

from tests.agent.conftest import Agent
from tests.agent.fake_server import FakeServer


async def test_state_is_private_and_complete(server: FakeServer, agent: Agent) -> None:
    assert stat.S_IMODE(agent.state.stat().st_mode) == 0o700
    files = {path.name: stat.S_IMODE(path.stat().st_mode) for path in agent.state.iterdir()}
    assert files == {"registration.json": 0o600, "private-key.pem": 0o600, "ca.pem": 0o600}


async def test_a_second_registration_needs_force(server: FakeServer, agent: Agent) -> None:
    again = await asyncio.to_thread(agent.command, *agent.registration())
    assert again.returncode == 1
    assert agent.instance_id in again.stderr
    assert "--force" in again.stderr
    assert len(server.nodes) == 1
    forced = await asyncio.to_thread(agent.command, *agent.registration(), "--force")
    assert forced.returncode == 0
    first, second = server.nodes.values()
    assert first.public_key.public_numbers() != second.public_key.public_numbers()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"activation_id": str(uuid.uuid4())}, "InvalidActivation"),
        ({"url": "http://localhost:1"}, "must look like https://host:7743"),
        ({"url": "https://localhost:1"}, "cannot reach localhost:1"),
        ({"ca": "/does/not/exist"}, "/ca.pem"),
        ({"state": "/proc/nothing"}, "cannot be written"),
    ],
)
async def test_failures_are_one_sentence(
    server: FakeServer, anonymous: Agent, changed: dict[str, str], said: str
) -> None:
    done = await asyncio.to_thread(anonymous.command, *anonymous.registration(**changed))
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (anonymous.state / "registration.json").exists()


async def test_a_server_of_another_authority_is_not_trusted(
    server: FakeServer, anonymous: Agent, tmp_path: Path
) -> None:
    from tests.agent.fake_server import make_certificates

    make_certificates(tmp_path)
    done = await asyncio.to_thread(anonymous.command, *anonymous.registration(ca=str(tmp_path / "ca.pem")))
    assert done.returncode == 1
    assert "is not trusted" in done.stderr
    assert not server.calls


async def test_run_without_registration_says_what_to_do(anonymous: Agent) -> None:
    done = await asyncio.to_thread(anonymous.command, "run", "--state", str(anonymous.state))
    assert done.returncode == 1
    assert "pilothouse-agent register" in done.stderr


async def test_a_bad_setting_is_named(agent: Agent) -> None:
    agent.environment["PILOTHOUSE_AGENT_RUNNING"] = "many"
    done = await asyncio.to_thread(agent.command, "run", "--state", str(agent.state))
    assert done.returncode == 1
    assert "PILOTHOUSE_AGENT_RUNNING is 'many'" in done.stderr
