"""Readers of the stream without a socket, receivers of webhooks with one, and a client of our own service."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import botocore.session
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

import pilothouse
from pilothouse.call import House
from pilothouse.runtime.clock import TestClock
from pilothouse.runtime.settings import EventSettings, OutboundSettings, Settings
from pilothouse.wire.http import Request, Response
from tests.conftest import Server

OWN_MODELS = Path(pilothouse.__file__).parent / "wire" / "own-models"
REGION = "eu-west-1"
PATH = "/ph/v1/events"


def eventually(look: Callable[[], Any], within: float = 30) -> Any:
    """The first true answer."""
    end = time.monotonic() + within
    while not (found := look()):
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.02)
    return found


@pytest.fixture
def server(database_url: str, tmp_path: Path, clock: TestClock) -> Iterator[Server]:
    """The whole server in process; it may call receivers on the loopback address."""
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    settings = Settings(
        data=data,
        database=database_url,
        skew_seconds=30 * 86_400,  # tests move the server's clock by days; clients sign by the machine's
        events=EventSettings(streams=5),
        outbound=OutboundSettings(allow=("127.0.0.1/32",)),
    )
    opened = Server(settings, clock)
    try:
        yield opened
    finally:
        opened.run(_drained(opened))
        opened.close()


async def _drained(server: Server) -> None:
    """End the streams that a test left open, as a server does that stops."""
    server.application.drain()
    while server.application.streams.open:
        await asyncio.sleep(0.01)


@pytest.fixture
def client(server: Server) -> Any:
    """Our own service, by botocore."""
    session = botocore.session.Session()
    session.get_component("data_loader").search_paths.append(str(OWN_MODELS))
    root = server.application.root
    made = session.create_client(
        "pilothouse",
        region_name=REGION,
        endpoint_url="http://pilothouse.test",
        aws_access_key_id=root.access_key_id,
        aws_secret_access_key=root.secret,
    )
    made.meta.events.register("before-send.pilothouse", server.answer)
    return made


async def tell(house: House, account_id: str, name: str, *, region: str = REGION, **detail: Any) -> None:
    """One change of a parameter, in a transaction of its own."""
    async with house.database.transaction() as tx:
        await house.tell(
            tx, "event", account_id=account_id, region=region, source="aws.ssm", detail_type="Parameter Store Change",
            resources=[f"arn:aws:ssm:{region}:{account_id}:parameter{name}"],
            detail={"operation": "Update", "name": name, "type": "String", **detail},
        )  # fmt: skip


@pytest.fixture
def told(server: Server) -> Callable[..., None]:
    """`told("/prod/a", n=1)` in the first account."""

    def one(name: str, **detail: Any) -> None:
        server.run(tell(server.application.house, server.application.root.account_id, name, **detail))

    return one


class Reader:
    """One stream, as its client sees it. `status` and `error` where it was refused."""

    def __init__(self, server: Server, *, last_id: str = "", secret: str = "", **query: Any) -> None:
        self._server = server
        self._lock = threading.Lock()
        self._text = ""
        self._leave = asyncio.Event()
        self._response: Response = server.run(self._opened(self._request(last_id, secret, query)))
        self.status = self._response.status
        told = self._response.headers.get("content-type", "").startswith("application/x-amz-json")
        self.error = json.loads(self._response.body) if told else None
        self.done: Future[None] | None = None
        if self._response.stream is not None:
            self.done = asyncio.run_coroutine_threadsafe(self._response.stream(self._write), server._loop)

    def _request(self, last_id: str, secret: str, query: dict[str, Any]) -> Request:
        text = urlencode(
            sorted((name.replace("_", "-"), value) for name, value in query.items()), quote_via=quote, safe=""
        )
        root = self._server.application.root
        signed = AWSRequest("GET", f"http://pilothouse.test{PATH}" + (f"?{text}" if text else ""))
        if last_id:
            signed.headers["last-event-id"] = last_id
        SigV4Auth(Credentials(root.access_key_id, secret or root.secret), "pilothouse", REGION).add_auth(signed)
        headers = {name.lower(): value for name, value in signed.headers.items()} | {"host": "pilothouse.test"}

        async def gone() -> None:
            await self._leave.wait()

        return Request("GET", PATH, text, headers, b"", "127.0.0.1", False, gone)

    async def _opened(self, request: Request) -> Response:
        return await self._server.application.front.respond(request)

    async def _write(self, piece: bytes) -> None:
        with self._lock:
            self._text += piece.decode()

    @property
    def text(self) -> str:
        with self._lock:
            return self._text

    @property
    def blocks(self) -> list[dict[str, str]]:
        """The fields of each whole block so far."""
        whole = self.text.rpartition("\n\n")[0]
        return [dict(line.split(": ", 1) for line in block.split("\n")) for block in whole.split("\n\n") if block]

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(block["data"]) for block in self.blocks if "data" in block]

    @property
    def last_id(self) -> str:
        return next((block["id"] for block in reversed(self.blocks) if "id" in block), "")

    def names(self, count: int) -> list[str]:
        """The names of the first `count` events, when they have come."""
        eventually(lambda: len(self.events) >= count)
        return [event["detail"]["name"] for event in self.events]

    def ready(self) -> "Reader":
        """When it knows its place."""
        eventually(lambda: self.last_id)
        return self

    def leave(self) -> None:
        """Break off, as a client does."""
        self._server._loop.call_soon_threadsafe(self._leave.set)
        if self.done is not None:
            self.done.result(20)


class Receiver:
    """Takes webhooks on a loopback port, and answers as it is told."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.taken: list[tuple[dict[str, str], bytes]] = []
        self.status = 200
        self.during: Callable[[], None] = lambda: None
        """Runs while a sender waits for its answer."""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                size = int(self.headers["content-length"])
                body = self.rfile.read(size)
                if len(body) < size:  # the sender died while it was sending
                    self.close_connection = True
                    return
                outer.during()
                status = outer.status
                if status < 300:
                    outer.taken.append(({name.lower(): value for name, value in self.headers.items()}, body))
                self.send_response(status)
                if 300 <= status < 400:
                    self.send_header("location", "http://169.254.169.254/")
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer((host, 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://{host}:{self._server.server_address[1]}/hook"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in list(self.taken)]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver of webhooks."""
    made = Receiver()
    try:
        yield made
    finally:
        made.close()
