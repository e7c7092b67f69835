"""aws:updateSsmAgent with real processes: the agent's file is replaced, and comes back when the new one fails."""

import base64
import contextlib
import hashlib
import json
import os
import signal
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from pilothouse_agent import trial
from tests.agent.conftest import SOURCE, Agent, only_step
from tests.agent.fake_server import FakeServer, steps_command
from tests.agent.test_commands import exists

NOW = "0.1.0.0"
_MAIN = "import sys\nfrom pilothouse_agent.__main__ import main\nsys.exit(main())\n"


def single_file(out: Path, version: str, main: str = _MAIN) -> bytes:
    """The agent as one file that says it is of that version; its dependencies are the test's own."""
    with zipfile.ZipFile(out, "w") as archive:
        for path in sorted((SOURCE / "pilothouse_agent").rglob("*.py")):
            text = path.read_text()
            if path.parent.name == "pilothouse_agent" and path.name == "__init__.py":
                text = text.replace('__version__ = "0.1.0"', f'__version__ = "{version.removesuffix(".0")}"')
            archive.writestr(str(path.relative_to(SOURCE)), text)
        archive.writestr("__main__.py", main)
    return out.read_bytes()


def offer(server: FakeServer, where: Path, data: bytes, version: str, key: bytes | None = None, **changed: Any) -> None:
    """What the server says it has."""
    (where / "offered").write_bytes(data)
    members = {
        "name": "pilothouse-agent", "version": version, "file": "pilothouse-agent.pyz",
        "sha256": hashlib.sha256(data).hexdigest(), "size": len(data), **changed,
    }  # fmt: skip
    text = json.dumps(members)
    private = serialization.load_pem_private_key(key or (server.directory / "ca.key").read_bytes(), None)
    assert isinstance(private, rsa.RSAPrivateKey)
    signed = private.sign(b"pilothouse-agent manifest 1\n" + text.encode(), padding.PKCS1v15(), hashes.SHA256())
    (where / "manifest").write_text(json.dumps({"manifest": text, "signature": base64.b64encode(signed).decode()}))
    server.files |= {
        "/agent/pilothouse-agent.json": where / "manifest",
        "/agent/pilothouse-agent.pyz": where / "offered",
    }


def updating(**inputs: str) -> dict[str, Any]:
    step = {"name": "update", "action": "aws:updateSsmAgent"}
    return steps_command([{**step, "inputs": {"agentName": "amazon-ssm-agent", "allowDowngrade": "false", **inputs}}])


@pytest.fixture
async def old(agent: Agent, tmp_path: Path) -> AsyncIterator[Agent]:
    """An agent that runs from a single file."""
    agent.program = tmp_path / "bin" / "pilothouse-agent"
    agent.program.parent.mkdir()
    single_file(agent.program, NOW)
    agent.environment["PILOTHOUSE_AGENT_UPDATE_PATIENCE"] = "15"
    await agent.online()
    yield agent
    pid = trial.running_agent(agent.state)
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def versions(server: FakeServer) -> list[str]:
    """The versions the agent said it has, each once, in order."""
    said = [call.body["AgentVersion"] for call in server.calls if call.operation == "UpdateInstanceInformation"]
    return list(dict.fromkeys(said))


async def test_the_agent_is_replaced_and_the_new_one_reports(server: FakeServer, old: Agent, tmp_path: Path) -> None:
    assert old.program is not None
    was = old.program.read_bytes()
    new = single_file(tmp_path / "new", "0.2.0.0")
    offer(server, tmp_path, new, "0.2.0.0")
    job = await server.send(old.instance_id, updating())
    step = only_step((await server.final_reply(job, 40)).content)
    assert step["standardOutput"].endswith("Successfully updated pilothouse-agent from 0.1.0.0 to 0.2.0.0\n")
    assert (step["status"], step["code"]) == ("Success", 0)
    assert versions(server) == [NOW, "0.2.0.0"]
    assert old.program.read_bytes() == new
    assert old.program.with_name("pilothouse-agent.old").read_bytes() == was
    assert old.process is not None
    assert old.process.poll() is None  # the same process, started anew

    again = await server.send(old.instance_id, updating())
    step = only_step((await server.final_reply(again)).content)
    assert "0.2.0.0 is already installed, update skipped" in step["standardOutput"]
    offer(server, tmp_path, was, NOW)
    back = await server.send(old.instance_id, updating())
    assert "set allowDowngrade to true" in only_step((await server.final_reply(back)).content)["standardError"]


BROKEN = "import sys\nif '--version' in sys.argv: print('pilothouse-agent 0.2.0'); sys.exit(0)\nsys.exit('broken')\n"
STUCK = BROKEN.replace("sys.exit('broken')", "import time, signal; signal.signal(signal.SIGUSR1, signal.SIG_IGN)")
LOCKED = (
    "import fcntl, os\nlock = os.open(sys.argv[sys.argv.index('--state') + 1] + '/run.lock', os.O_RDWR)\n"
    "fcntl.flock(lock, fcntl.LOCK_EX)\nos.ftruncate(lock, 0)\nos.pwrite(lock, str(os.getpid()).encode(), 0)\n"
    "time.sleep(300)\n"
)


@pytest.mark.parametrize("main", [BROKEN, STUCK + LOCKED], ids=["ends at once", "never reaches the server"])
async def test_an_agent_that_does_not_come_up_gives_way_to_the_old_one(
    server: FakeServer, old: Agent, tmp_path: Path, main: str
) -> None:
    assert old.program is not None
    was = old.program.read_bytes()
    old.environment["PILOTHOUSE_AGENT_UPDATE_PATIENCE"] = "4"
    await old.stop()
    await old.online()
    offer(server, tmp_path, single_file(tmp_path / "new", "0.2.0.0", main), "0.2.0.0")
    job = await server.send(old.instance_id, updating())
    step = only_step((await server.final_reply(job, 60)).content)
    assert step["status"] == "Failed"
    assert "Failed to update pilothouse-agent to 0.2.0.0, rolled back to 0.1.0.0" in step["standardError"]
    assert old.program.read_bytes() == was
    assert server.is_online(old.instance_id)
    assert versions(server) == [NOW]
    check = await server.run(old.instance_id, ["echo still here"])
    assert only_step((await server.final_reply(check)).content)["standardOutput"] == "still here\n"


async def test_what_is_not_signed_or_not_what_it_says_changes_nothing(
    server: FakeServer, old: Agent, tmp_path: Path
) -> None:
    assert old.program is not None
    was = old.program.read_bytes()
    new = single_file(tmp_path / "new", "0.2.0.0")
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )

    async def refusal(**inputs: str) -> str:
        job = await server.send(old.instance_id, updating(**inputs))
        step = only_step((await server.final_reply(job)).content)
        assert (step["status"], step["code"]) == ("Failed", 1)
        return str(step["standardError"])

    assert "HTTP404" in await refusal()
    offer(server, tmp_path, new, "0.2.0.0", other)
    assert "the signature of the agent's manifest is not that of the server's authority" in await refusal()
    offer(server, tmp_path, new, "0.2.0.0", sha256="0" * 64)
    assert "is not what its manifest says" in await refusal()
    offer(server, tmp_path, new, "0.2.0.0", size=10)
    assert "is not what its manifest says" in await refusal()
    offer(server, tmp_path, new, "0.3.0.0")
    assert "does not run on this node: it says it is 0.2.0" in await refusal()
    offer(server, tmp_path, new, "0.2.0.0", file="../../evil")
    assert "not as it must be" in await refusal()
    offer(server, tmp_path, new, "0.2.0.0")
    assert "the server offers version 0.2.0.0, not 9.9" in await refusal(targetVersion="9.9")
    assert "agentName must be one of" in await refusal(agentName="other")
    assert old.program.read_bytes() == was
    assert sorted(path.name for path in old.program.parent.iterdir()) == ["pilothouse-agent"]
    assert versions(server) == [NOW]


async def test_an_update_that_was_interrupted_goes_on(server: FakeServer, old: Agent, tmp_path: Path) -> None:
    """Everything is killed between the swap and the new agent's first sign of life."""
    waits = (
        "import os, sys, time\n"
        f"while 'run' in sys.argv and not os.path.exists({str(tmp_path / 'go')!r}): time.sleep(0.05)\n"
    )
    offer(server, tmp_path, single_file(tmp_path / "new", "0.2.0.0", waits + _MAIN), "0.2.0.0")
    job = await server.send(old.instance_id, updating())
    await server.until(lambda: not server.is_online(old.instance_id), "the end of the old agent", 40)
    old.kill()
    os.kill(int(old.file(job, "steps/0/0/lock").read_text()), signal.SIGKILL)
    (tmp_path / "go").touch()
    old.start()
    step = only_step((await server.final_reply(job, 40)).content)
    assert step["status"] == "Success"
    assert "Successfully updated pilothouse-agent from 0.1.0.0 to 0.2.0.0" in step["standardOutput"]


async def test_an_agent_that_is_no_single_file_says_how_it_is_updated(server: FakeServer, agent: Agent) -> None:
    await agent.online()
    job = await server.send(agent.instance_id, updating())
    step = only_step((await server.final_reply(job)).content)
    assert "update it the way it was installed" in step["standardError"]
    await exists(agent.file(job, "finished"))
