"""A server that may call what tests start on loopback, and whose clock may run ahead of the clients'."""

import asyncio
import base64
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pilothouse.runtime.clock import TestClock
from pilothouse.runtime.settings import LimitSettings, OutboundSettings, SecretSettings, Settings
from tests.capabilities.secrets.servers import maria, maria_user, mongo, postgres, redis  # noqa: F401 - fixtures
from tests.conftest import Server

SECRET = b"a secret of thirty-two bytes ...."
_YEAR = 366 * 86_400


class Function:
    """A rotation function behind HTTP: it hears events, and does what the test says."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        """(path, headers, event) of each call that was answered well."""
        self.act: Callable[[dict[str, Any]], None] = lambda event: None
        self.headers: dict[str, str] = {}
        """Of the answers."""
        self.status, self.body = 200, b""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                event = json.loads(body)
                try:
                    outer.act(event)
                    status = outer.status
                    headers = {name.lower(): value for name, value in self.headers.items()}
                    outer.heard.append((self.path, headers | {"body": body.decode()}, event))
                except RuntimeError:
                    status = 400
                self.send_response(status)
                for name, value in outer.headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(outer.body)))
                self.end_headers()
                self.wfile.write(outer.body)

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


@pytest.fixture
def function() -> Iterator[Function]:
    made = Function()
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def ca_file() -> str:
    """Whom the server trusts beyond those that everybody does."""
    return ""


@pytest.fixture
def server(database_url: str, tmp_path: Path, clock: TestClock, function: Function, ca_file: str) -> Iterator[Server]:
    """The whole server in process, once for each engine."""
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    hook, key = tmp_path / "hook", tmp_path / "key"
    hook.write_text("whsec_" + base64.b64encode(SECRET).decode())
    key.write_text("AKIAEXAMPLE\nsecret-of-the-function\n")
    settings = Settings(
        data=data,
        database=database_url,
        limits=LimitSettings(failures_per_minute=0),
        outbound=OutboundSettings(allow=("127.0.0.1/32",), ca_file=ca_file),
        skew_seconds=_YEAR,
        secrets=SecretSettings(
            hook_secret_file=str(hook), lambda_endpoint=function.url, lambda_credentials_file=str(key)
        ),
    )
    opened = Server(settings, clock)
    try:
        yield opened
    finally:
        opened.close()


@pytest.fixture
def secrets(aws: Any) -> Any:
    return aws("secretsmanager")


Ended = Callable[[str], dict[str, Any]]


@pytest.fixture
def ended(aws: Any, server: Server) -> Ended:
    """Let the house's clock pass until the last rotation of a secret has ended; that rotation."""
    ours = aws("pilothouse")

    def wait(secret_id: str) -> dict[str, Any]:
        for _ in range(4000):
            last: dict[str, Any] = ours.list_secret_rotations(SecretId=secret_id, MaxResults=1)["Rotations"][0]
            if last["State"] != "Running":
                return last
            server.run(asyncio.sleep(0.01))
            if last["FailedAttempts"]:
                server.advance(seconds=10)
        raise AssertionError(last)

    return wait


def rotate(secrets: Any, secret_id: str, function: str, **more: Any) -> str:
    return str(secrets.rotate_secret(SecretId=secret_id, RotationLambdaARN=function, **more)["VersionId"])


def value(secrets: Any, secret_id: str, stage: str = "AWSCURRENT") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(secrets.get_secret_value(SecretId=secret_id, VersionStage=stage)["SecretString"])
    return found


def steps_of(rotation: dict[str, Any]) -> list[str]:
    return [each["Step"] for each in rotation["Log"] if "Step" in each]
