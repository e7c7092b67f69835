"""A whole installation as a user has it: the server process, the unmodified aws CLI, boto3, agent processes."""

import contextlib
import functools
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import boto3
from botocore.config import Config

import pilothouse.wire

BIN = Path(sys.executable).parent
T = TypeVar("T")
House = TypeVar("House", bound="Installation")


@functools.cache
def _session() -> boto3.Session:
    """One for all tests: it keeps the service models that it has read, our own among them."""
    session = boto3.Session()
    session._loader.search_paths.append(str(Path(pilothouse.wire.__path__[0]) / "own-models"))
    return session


def free_ports(count: int) -> list[int]:
    """Loopback ports nobody listens on at this moment, each another one.

    Below those that Linux gives to outgoing connections: a server that is killed finds its port free at its restart.
    """
    found: set[int] = set()
    while len(found) < count:
        port = random.randrange(12_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.add(port)
    return list(found)


def eventually(look: Callable[[], T], *, within: float = 180, what: str = "it") -> T:
    """Look again and again until the answer is true; fails with `what` after `within` seconds."""
    end = time.monotonic() + within
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come about within {within} s")
        time.sleep(0.1)


def stored_in(database_url: str) -> tuple[str, ...]:
    """The options of a server for its database: SQLite is in its data directory anyway."""
    return ("--database", database_url) if database_url.startswith("postgresql") else ()


class AgentProcess:
    """Our agent, registered, as a process of its own."""

    def __init__(self, state: Path, node_id: str, log: Path) -> None:
        self.state = state
        self.node_id = node_id
        self._log = log
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen([BIN / "pilothouse-agent", "run", "--state", self.state], stderr=log)

    def kill(self) -> None:
        """kill -9, as a crash would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)
        self.process = None

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(10)
            self.process.kill()
            self.process.wait(10)
            self.process = None

    def log(self) -> str:
        """What it has said so far."""
        return self._log.read_text() if self._log.exists() else ""


class Installation:
    """The server on a data directory of its own; ports stay the same over restarts."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.http, self.https = free_ports(2)
        self._options = options
        self.agents: list[AgentProcess] = []
        self.process: subprocess.Popen[bytes] | None = None
        self._known: dict[tuple[str, ...], dict[str, str]] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http}"

    @property
    def tls_url(self) -> str:
        return f"https://127.0.0.1:{self.https}"

    @property
    def server_log(self) -> Path:
        return self.folder / "server.log"

    def program(self) -> list[Path | str]:
        """What is started as the server."""
        return [BIN / "pilothouse"]

    def start(self) -> None:
        """Start the server and wait until it says that it is ready."""
        self.launch(*self.program())
        eventually(self._ready, what="the server")

    def launch(self, *program: str | Path) -> None:
        """Start the server by another program than its own, and do not wait."""
        listeners = ["--http", f"127.0.0.1:{self.http}", "--https", f"127.0.0.1:{self.https}"]
        with self.server_log.open("ab") as log:
            self.process = subprocess.Popen(
                [*program, "serve", "--data", self.data, *listeners, *self._options], stderr=log
            )

    def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait(10)
        self.process = None

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(30)
        self.process = None
        return code

    def close(self) -> None:
        for agent in self.agents:
            agent.stop()
        if self.process is not None:
            self.stop()

    def environment(self, *options: str) -> dict[str, str]:
        """The variables of `pilothouse env`, alone (nothing of the machine's own AWS settings)."""
        text = subprocess.run(
            [BIN / "pilothouse", "env", "--data", self.data, "--output", "json", *options],
            check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip
        values: dict[str, str] = json.loads(text)
        return {"PATH": os.environ["PATH"], "HOME": str(self.folder), "AWS_PAGER": "", **values}

    def known(self, *options: str) -> dict[str, str]:
        """The same, asked for once: each asking is a process, and stands in the trail."""
        if options not in self._known:
            self._known[options] = self.environment(*options)
        return self._known[options]

    def cli(self, *words: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        """The unmodified aws CLI."""
        return subprocess.run(
            [BIN / "aws", *words, "--output", "json"],
            env=self.known(*options), capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    def aws(self, *words: str, options: tuple[str, ...] = ()) -> Any:
        """The CLI's answer; fails with its words."""
        done = self.cli(*words, options=options)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if done.stdout.strip() else None

    def own(self, *words: str) -> subprocess.CompletedProcess[str]:
        """One of our commands."""
        return subprocess.run(
            [BIN / "pilothouse", *words], env=self.known() | {"COLUMNS": "200", "TERM": "dumb"}, capture_output=True,
            text=True, timeout=120, check=False,
        )  # fmt: skip

    def boto(self, service: str, *, values: dict[str, str] | None = None, **config: Any) -> Any:
        """A boto3 client over a real connection; `values`: those of `environment`, if they are known already."""
        values = values or self.known()
        return _session().client(
            service,
            region_name=values["AWS_REGION"],
            endpoint_url=values["AWS_ENDPOINT_URL"],
            aws_access_key_id=values["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=values["AWS_SECRET_ACCESS_KEY"],
            config=Config(**config) if config else None,
        )

    def enrol(self, name: str, *, tags: dict[str, str] | None = None, start: bool = True) -> AgentProcess:
        """Register our agent as a node and start it."""
        made = self.boto("ssm").create_activation(
            IamRole="node-role",
            DefaultInstanceName=name,
            Tags=[{"Key": key, "Value": value} for key, value in (tags or {}).items()],
        )
        state = self.folder / f"agent-{name}"
        subprocess.run(
            [BIN / "pilothouse-agent", "register", "--url", self.tls_url, "--ca", self.data / "ca.pem",
             "--activation-id", made["ActivationId"], "--activation-code", made["ActivationCode"], "--state", state],
            check=True, capture_output=True,
        )  # fmt: skip
        found = self.boto("ssm").describe_instance_information(
            Filters=[{"Key": "ActivationIds", "Values": [made["ActivationId"]]}]
        )["InstanceInformationList"]
        agent = AgentProcess(state, found[0]["InstanceId"], self.folder / f"agent-{name}.log")
        self.agents.append(agent)
        if start:
            agent.start()
            self.connected(agent)
        return agent

    def connected(self, agent: AgentProcess) -> None:
        """Wait until the node's control channel is open."""
        ssm = self.boto("ssm")
        eventually(
            lambda: ssm.get_connection_status(Target=agent.node_id)["Status"] == "connected",
            what=f"the control channel of {agent.node_id}",
        )

    def run(self, node_id: str, *lines: str, within: float = 60, **options: Any) -> dict[str, Any]:
        """Run shell lines on a node; the invocation when it is final."""
        ssm = self.boto("ssm")
        sent = ssm.send_command(
            InstanceIds=[node_id], DocumentName="AWS-RunShellScript", Parameters={"commands": list(lines)}, **options
        )
        return self.finished(sent["Command"]["CommandId"], node_id, within=within)

    def finished(self, command_id: str, node_id: str, *, within: float = 60) -> dict[str, Any]:
        """The invocation when it is final."""
        ssm = self.boto("ssm")

        def look() -> dict[str, Any] | None:
            got: dict[str, Any] = ssm.get_command_invocation(CommandId=command_id, InstanceId=node_id)
            return None if got["Status"] in {"Pending", "InProgress", "Delayed", "Cancelling"} else got

        return eventually(look, within=within, what=f"the end of command {command_id}") or {}

    def _ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"the server ended: {self.server_log.read_text()[-2000:]}"
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=2) as answer:
                status: int = answer.status
        except OSError:
            return False
        return status == 200


class DrivenInstallation(Installation):
    """A server whose clock a test puts forward; clients and agents keep to the machine's, and may be so far behind."""

    def __init__(self, folder: Path, *options: str, days: int = 1) -> None:
        """`days`: so far may the server's clock go ahead."""
        super().__init__(folder, *options)
        self._ahead = folder / "ahead"
        self._ahead.write_text("0")
        self.data.mkdir(mode=0o700)
        skew = days * 86_400
        (self.data / "pilothouse.toml").write_text(f"skew_seconds = {skew}\nnode_skew_seconds = {skew}\n")

    def program(self) -> list[Path | str]:
        return [sys.executable, "-m", "tests.acceptance.driven_server", self._ahead]

    def now(self) -> datetime:
        """What the server's clock shows."""
        return datetime.now(UTC) + timedelta(milliseconds=int(self._ahead.read_text()))

    def advance(self, **by: float) -> None:
        """Let the server's clock pass."""
        ahead = int(self._ahead.read_text()) + int(timedelta(**by).total_seconds() * 1000)
        written = self._ahead.with_suffix(".new")
        written.write_text(str(ahead))
        written.replace(self._ahead)  # never seen half written


@contextlib.contextmanager
def installation(folder: Path, *options: str) -> Iterator[Installation]:
    """A running installation that is taken down at the end."""
    with running(Installation(folder, *options)) as made:
        yield made


@contextlib.contextmanager
def running(made: House) -> Iterator[House]:
    """The installation, which runs until the block ends."""
    try:
        made.start()
        yield made
    finally:
        made.close()
