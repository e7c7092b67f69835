"""A fake server and real agent processes."""

import asyncio
import contextlib
import os
import pwd
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.agent import fake_server
from tests.agent.fake_server import FakeServer

SOURCE = Path(__file__).resolve().parents[2] / "src"

QUICK = {
    "PILOTHOUSE_AGENT_RECONNECT_FIRST": "0.1",
    "PILOTHOUSE_AGENT_RECONNECT_CAP": "0.5",
    "PILOTHOUSE_AGENT_REPLY_RETRY": "1",
    "PILOTHOUSE_AGENT_KILL_GRACE": "0.5",
}


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("certificates")
    fake_server.make_certificates(directory)
    return directory


@pytest.fixture
async def server(certificates: Path) -> AsyncIterator[FakeServer]:
    running = FakeServer(certificates)
    await running.start()
    yield running
    await running.stop()
    assert running.refusals == []


@dataclass
class Agent:
    """An installed agent: a state directory and the process that runs on it."""

    server: FakeServer
    state: Path
    environment: dict[str, str] = field(default_factory=lambda: dict(QUICK))
    instance_id: str = ""
    process: subprocess.Popen[bytes] | None = None
    program: Path | None = None
    """The single file that it runs from; None: the package."""

    @property
    def log(self) -> str:
        return (self.state.parent / "log").read_text()

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "pilothouse_agent", *arguments],
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    def _environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        return {**kept, "PYTHONPATH": str(SOURCE), **self.environment}

    def registration(self, **changed: str) -> list[str]:
        given = {
            "--url": self.server.url,
            "--ca": str(self.server.ca_file),
            "--activation-id": fake_server.ACTIVATION_ID,
            "--activation-code": fake_server.ACTIVATION_CODE,
            "--region": fake_server.REGION,
            "--state": str(self.state),
            **{f"--{name.replace('_', '-')}": value for name, value in changed.items()},
        }
        return ["register", *(text for pair in given.items() for text in pair)]

    async def register(self) -> None:
        before = set(self.server.nodes)
        done = await asyncio.to_thread(self.command, *self.registration())
        assert done.returncode == 0, done.stderr
        (self.instance_id,) = set(self.server.nodes) - before

    def start(self, *arguments: str) -> None:
        with (self.state.parent / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self._started_by(), "run", "--state", str(self.state), *arguments],
                env=self._environment(),
                stderr=log,
            )

    def _started_by(self) -> list[str]:
        return [sys.executable, *([str(self.program)] if self.program else ["-m", "pilothouse_agent"])]

    async def online(self) -> "Agent":
        self.start()
        await self.server.online(self.instance_id)
        return self

    def kill(self) -> None:
        """kill -9"""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    async def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self.process is not None
        self.process.terminate()
        return await asyncio.to_thread(self.process.wait, 5)

    def file(self, job_id: str, name: str) -> Path:
        return self.state / "commands" / job_id.split(".")[-2] / name

    def leave_nothing_behind(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()
        commands, sessions = self.state.glob("commands/*/steps/*/*/lock"), self.state.glob("sessions/*/lock")
        for lock in (*commands, *sessions, *self.state.glob("associations/runs/*/steps/*/*/lock")):
            with contextlib.suppress(ValueError, OSError):
                pid = int(lock.read_text())
                if b"pilothouse_agent" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(pid, signal.SIGTERM)


@pytest.fixture
async def agent(server: FakeServer, tmp_path: Path) -> AsyncIterator[Agent]:
    """A registered agent that does not run yet."""
    made = Agent(server, tmp_path / "state")
    await made.register()
    yield made
    made.leave_nothing_behind()


@asynccontextmanager
async def node_for_sessions(certificates: Path, place: Path) -> AsyncIterator[Agent]:
    """An agent that is online, with a server of its own, for all tests of a module. Sessions are the tests' user's."""
    server = FakeServer(certificates)
    await server.start()
    made = Agent(server, place / "state")
    made.environment |= {
        "PILOTHOUSE_AGENT_SESSION_USER": pwd.getpwuid(os.geteuid()).pw_name,
        "AWS_SECRET_ACCESS_KEY": "canary-1",
        "SOME_TOKEN": "canary-2",
        "LC_TIME": "C.UTF-8",
    }
    await made.register()
    await made.online()
    try:
        yield made
    finally:
        made.leave_nothing_behind()
        await server.stop()
    assert server.refusals == []


@pytest.fixture
def anonymous(server: FakeServer, tmp_path: Path) -> Iterator[Agent]:
    """An agent that is not registered yet."""
    made = Agent(server, tmp_path / "state")
    yield made
    made.leave_nothing_behind()


def only_step(content: dict[str, Any]) -> dict[str, Any]:
    """The one step of a reply."""
    (step,) = content["runtimeStatus"].values()
    return dict(step)
