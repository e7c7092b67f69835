"""The second sink: whole, in order, and a closed door while it is away."""

import asyncio
import json
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from pilothouse.runtime.appending import LinesRefused, SyslogLines
from pilothouse.runtime.clock import TestClock
from pilothouse.runtime.settings import AuditSettings, OutboundSettings, Settings
from tests.capabilities.audit.test_chain import verified
from tests.conftest import Server


@contextmanager
def serving(database_url: str, tmp_path: Path, sink: str, **more: str) -> Iterator[tuple[Server, Any]]:
    import boto3
    from botocore.config import Config

    data = tmp_path / "data"
    data.mkdir(mode=0o700, exist_ok=True)
    settings = Settings(
        data=data,
        database=database_url,
        audit=AuditSettings(sink=sink, **more),
        outbound=OutboundSettings(allow=("127.0.0.0/8",)),
    )
    server = Server(settings, TestClock())
    root = server.application.root
    ssm = boto3.client(
        "ssm", region_name="eu-west-1", endpoint_url="http://pilothouse.test", aws_access_key_id=root.access_key_id,
        aws_secret_access_key=root.secret, config=Config(retries={"max_attempts": 0}),
    )  # fmt: skip
    ssm.meta.events.register("before-send.ssm", server.answer)
    try:
        yield server, ssm
    finally:
        server.close()


def put(ssm: Any, name: str) -> None:
    ssm.put_parameter(Name=name, Value="v", Type="SecureString", Overwrite=True)


def eventually(look: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not look():
        assert time.monotonic() < end
        time.sleep(0.05)


def names_in(lines: list[bytes]) -> list[str]:
    return [json.loads(each)["requestParameters"]["name"] for each in lines]


def refused(ssm: Any) -> None:
    """Both kinds of calls are refused soon, as something that can be retried; others are not."""
    for call in (lambda: put(ssm, "/refused"), lambda: ssm.get_parameter(Name="/a", WithDecryption=True)):
        with pytest.raises(ClientError) as error:
            call()
        assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503
        assert error.value.response["Error"]["Code"] == "ServiceUnavailable"
    ssm.describe_parameters()


def closed(ssm: Any) -> None:
    """Calls are refused, at the latest when the last good word of the sink is a second old."""

    def look() -> bool:
        try:
            put(ssm, "/while-it-goes")
        except ClientError:
            return True
        return False

    eventually(look)
    refused(ssm)


def test_a_file_gets_every_record_in_the_order_of_the_chain(database_url: str, tmp_path: Path) -> None:
    file = tmp_path / "sink.jsonl"
    with serving(database_url, tmp_path, f"file:{file}") as (server, ssm):
        for number in range(20):
            put(ssm, f"/n{number}")
        eventually(lambda: file.exists() and len(file.read_bytes().splitlines()) >= 20)
        lines = file.read_bytes().splitlines()
        assert names_in(lines) == [f"/n{number}" for number in range(20)]
        assert [json.loads(each)["pilothouse"]["seq"] for each in lines] == list(range(1, 21))
        assert oct(file.stat().st_mode & 0o777) == "0o600"
        file.rename(tmp_path / "rotated")
        put(ssm, "/after")
        eventually(lambda: file.exists() and names_in(file.read_bytes().splitlines()) == ["/after"])
        assert verified(server).faults == []


def test_a_file_that_cannot_be_written_closes_the_door_until_it_can(database_url: str, tmp_path: Path) -> None:
    folder = tmp_path / "sink"
    folder.mkdir()
    file = folder / "audit.jsonl"
    with serving(database_url, tmp_path, f"file:{file}") as (_, ssm):
        put(ssm, "/a")
        eventually(file.exists)
        folder.rename(tmp_path / "away")
        closed(ssm)
        (tmp_path / "away").rename(folder)
        eventually(lambda: _goes(ssm, "/b"))
        eventually(lambda: names_in(file.read_bytes().splitlines())[-1] == "/b")
        seen = [json.loads(each)["pilothouse"]["seq"] for each in file.read_bytes().splitlines()]
        assert seen == sorted(set(seen))
        assert seen == list(range(1, seen[-1] + 1))


def test_a_pipe_that_nobody_reads_hangs_nobody(database_url: str, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with serving(database_url, tmp_path, f"file:{pipe}") as (_, ssm):
        holder = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
        try:
            while True:  # full
                os.write(holder, b"x" * 4096)
        except BlockingIOError:
            pass
        eventually(lambda: not _goes(ssm, "/a"))
        closed(ssm)
        os.close(holder)


def _goes(ssm: Any, name: str) -> bool:
    try:
        put(ssm, name)
    except ClientError:
        return False
    return True


class Receiver(BaseHTTPRequestHandler):
    """A webhook's other side, as `mode` of the server says."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        server: Any = self.server
        if server.mode == "hangs":
            server.let_go.wait(30)
        if server.mode == "well":
            server.records.extend(body["Records"])
            server.tokens.add(self.headers.get("authorization"))
        self.send_response(200 if server.mode == "well" else 500)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def receiver() -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    server.daemon_threads = True
    server.mode, server.records, server.tokens, server.let_go = "well", [], set(), threading.Event()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.let_go.set()
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("mode", ["answers 500", "hangs"])
def test_a_webhook_that_fails_or_hangs_closes_the_door(
    database_url: str, tmp_path: Path, receiver: Any, mode: str
) -> None:
    token = tmp_path / "token"
    token.write_text("open-sesame\n")
    url = f"http://127.0.0.1:{receiver.server_address[1]}/audit"
    with serving(database_url, tmp_path, url, sink_token_file=str(token)) as (_, ssm):
        put(ssm, "/a")
        eventually(lambda: len(receiver.records) == 1)
        assert receiver.tokens == {"Bearer open-sesame"}
        receiver.mode = mode
        closed(ssm)
        receiver.mode = "well"
        receiver.let_go.set()
        eventually(lambda: _goes(ssm, "/b"))
        eventually(lambda: receiver.records[-1]["requestParameters"]["name"] == "/b")
        seqs = [each["pilothouse"]["seq"] for each in receiver.records]
        assert list(dict.fromkeys(seqs)) == list(range(1, max(seqs) + 1))


def test_syslog_over_tcp(database_url: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        got = bytearray()

        def take() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    while data := connection.recv(65536):
                        got.extend(data)

        threading.Thread(target=take, daemon=True).start()
        with serving(database_url, tmp_path, f"syslog+tcp://127.0.0.1:{listener.getsockname()[1]}") as (_, ssm):
            put(ssm, "/a")
            put(ssm, "/b")
            eventually(lambda: b'"/b"' in got)
    messages = []
    rest = bytes(got)
    while rest:
        length, _, rest = rest.partition(b" ")
        messages.append(rest[: int(length)])
        rest = rest[int(length) :]
    assert all(each.startswith(b"<109>1 20") for each in messages)
    assert names_in([each.partition(b" - audit - ")[2] for each in messages]) == ["/a", "/b"]


def test_syslog_over_a_unix_socket_that_goes_away(database_url: str, tmp_path: Path) -> None:
    path = tmp_path / "log"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        with serving(database_url, tmp_path, f"syslog://{path}") as (_, ssm):
            put(ssm, "/a")
            listener.settimeout(30)
            assert names_in([listener.recv(65536).partition(b" - audit - ")[2]]) == ["/a"]
            path.unlink()
            closed(ssm)


def test_a_sink_that_is_none_is_refused_at_the_start(database_url: str, tmp_path: Path) -> None:
    with pytest.raises(Exception, match="an audit sink is"), serving(database_url, tmp_path, "ftp://x"):
        pass


async def test_a_syslog_receiver_without_a_right_certificate_is_not_spoken_to() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0, ssl=context)
    async with server:
        lines = SyslogLines(f"syslog+tls://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        with pytest.raises(LinesRefused):
            await lines.write([b"x"])
