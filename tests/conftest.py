"""The world tests live in: databases of both engines, a clock to move, the whole server in process, boto3 clients."""

import asyncio
import os
import queue
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import boto3
import botocore.auth
import pytest
import structlog
from botocore.awsrequest import AWSResponse
from botocore.config import Config

import pilothouse.wire
from pilothouse.app import Application, migrations_of_the_house, opened_application
from pilothouse.runtime.clock import TestClock
from pilothouse.runtime.settings import LimitSettings, Settings
from pilothouse.storage import Database
from pilothouse.storage.engines import open_database
from pilothouse.wire.http import Request

structlog.configure(logger_factory=structlog.ReturnLoggerFactory())  # tests say what failed; logs stay quiet

botocore.auth.AUTH_TYPE_MAPS.update(
    {
        "v4": botocore.auth.SigV4Auth,
        "v4-query": botocore.auth.SigV4QueryAuth,
        "s3v4": botocore.auth.S3SigV4Auth,
        "s3v4-query": botocore.auth.S3SigV4QueryAuth,
    }
)  # not those of awscrt, whose clock no test can set

ENGINES = ("sqlite", "postgresql")

T = TypeVar("T")


def postgresql_admin() -> str:
    """The server on which tests make databases of their own."""
    return os.environ.get("PILOTHOUSE_TEST_POSTGRESQL", "postgresql://postgres@127.0.0.1:5432/postgres")


async def _reachable(url: str) -> bool:
    try:
        connection = await asyncpg.connect(url, timeout=3)
    except (OSError, asyncpg.PostgresError, TimeoutError):
        return False
    await connection.close()
    return True


async def _admin(statement: str) -> None:
    connection = await asyncpg.connect(postgresql_admin(), timeout=10)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture(scope="session")
def postgresql_server() -> str | None:
    """The admin URL, or None on a user's machine without PostgreSQL. In CI its absence is a failure."""
    found = asyncio.run(_reachable(postgresql_admin()))
    if not found and os.environ.get("CI"):
        pytest.fail(f"no PostgreSQL answers at {postgresql_admin()}; in CI nothing may be skipped")
    return postgresql_admin() if found else None


@pytest.fixture(params=ENGINES)
def database_url(request: pytest.FixtureRequest, tmp_path: Path, postgresql_server: str | None) -> Iterator[str]:
    """The URL of a fresh, empty database, once for each engine."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/test.db"
        return
    if postgresql_server is None:
        pytest.skip("PostgreSQL is not running; its tests are left out")
    name = f"pilothouse_test_{uuid.uuid4().hex[:12]}"
    asyncio.run(_admin(f'create database "{name}"'))
    try:
        yield postgresql_server.rpartition("/")[0] + f"/{name}"
    finally:
        asyncio.run(_admin(f'drop database "{name}" with (force)'))


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """An open database with every table of the house, once for each engine."""
    opened = await open_database(database_url)
    await opened.migrate(migrations_of_the_house())
    try:
        yield opened
    finally:
        await opened.close()


class Server:
    """The whole application in process, on an event loop of its own thread; no socket."""

    def __init__(self, settings: Settings, clock: TestClock) -> None:
        self.settings = settings
        self.clock = clock
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="server", daemon=True)
        self._thread.start()
        self._stop = asyncio.Event()
        self._flows: list[Future[None]] = []
        """Answers that go on."""
        self._opened: asyncio.Future[Application] = self._loop.create_future()
        self._living = asyncio.run_coroutine_threadsafe(self._live(), self._loop)
        self.application: Application = self.run(self._started())

    async def _live(self) -> None:
        """One task enters and leaves the application, as its task group demands."""
        try:
            async with opened_application(self.settings, clock=self.clock) as application:
                self._opened.set_result(application)
                await self._stop.wait()
        except BaseException as error:
            if self._opened.done():
                raise
            self._opened.set_exception(error)

    async def _started(self) -> Application:
        return await self._opened

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the server's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def advance(self, **by: float) -> None:
        """Let the house's clock pass."""

        async def move() -> None:
            self.clock.advance(**by)

        self.run(move())

    def answer(self, request: Any, **_: Any) -> AWSResponse:
        """A botocore `before-send` handler: what the server says to the signed request."""
        split = request.url.partition("//")[2].partition("/")
        path, _, query = ("/" + split[2]).partition("?")
        headers = {
            name.lower(): value.decode() if isinstance(value, bytes) else value
            for name, value in request.headers.items()
        }
        headers.setdefault("host", split[0])
        body = request.body or b""
        if hasattr(body, "read"):
            body = body.read()
        response = self.run(
            self.application.front.respond(
                Request(
                    method=request.method,
                    path=path,
                    query=query,
                    headers=headers,
                    body=body.encode() if isinstance(body, str) else bytes(body),
                    peer="127.0.0.1",
                    secure=request.url.startswith("https:"),
                )
            )
        )
        raw: Any = _Raw(response.body)
        if response.stream is not None and "content-length" in response.headers:
            raw = _Raw(self.run(self._whole(response.stream)))
        elif response.stream is not None:
            raw = _Flowing()
            self._flows.append(asyncio.run_coroutine_threadsafe(self._flow(response.stream, raw), self._loop))
        return AWSResponse(request.url, response.status, dict(response.headers), raw)

    async def _whole(self, stream: Any) -> bytes:
        parts: list[bytes] = []

        async def write(piece: bytes) -> None:
            parts.append(piece)

        await stream(write)
        return b"".join(parts)

    async def _flow(self, stream: Any, raw: "_Flowing") -> None:
        async def write(piece: bytes) -> None:
            raw.pieces.put(piece)

        try:
            await stream(write)
        finally:
            raw.pieces.put(b"")

    async def _drained(self) -> None:
        self.application.drain()
        while self.application.streams.open:
            await asyncio.sleep(0.01)

    def close(self) -> None:
        self.run(self._drained())
        for flow in self._flows:
            flow.result(60)
        self._loop.call_soon_threadsafe(self._stop.set)
        self._living.result(60)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


class _Raw:
    """The body as botocore reads it from urllib3."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self, *_: Any, **__: Any) -> Iterator[bytes]:
        yield self._body

    def read(self, *_: Any, **__: Any) -> bytes:
        body, self._body = self._body, b""
        return body


class _Flowing:
    """A body that goes on."""

    def __init__(self) -> None:
        self.pieces: queue.Queue[bytes] = queue.Queue()

    def stream(self, *_: Any, **__: Any) -> Iterator[bytes]:
        while piece := self.pieces.get(timeout=30):
            yield piece

    def close(self) -> None:
        """Nothing to give back."""


@pytest.fixture
def clock() -> TestClock:
    """The house's clock; `server.advance(hours=2)` moves it."""
    return TestClock()


@pytest.fixture
def server(database_url: str, tmp_path: Path, clock: TestClock) -> Iterator[Server]:
    """The whole server in process, once for each engine."""
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    limits = LimitSettings(failures_per_minute=0)  # tests of signatures want to reach whoever verifies them
    opened = Server(Settings(data=data, database=database_url, limits=limits), clock)
    try:
        yield opened
    finally:
        opened.close()


Aws = Callable[..., Any]


@pytest.fixture
def aws(server: Server) -> Aws:
    """boto3 clients whose requests the server answers in this process: true wire format, no socket."""
    root = server.application.root
    session = boto3.Session()
    session._loader.search_paths.append(str(Path(pilothouse.wire.__path__[0]) / "own-models"))

    def client(
        service: str,
        *,
        region: str = "eu-west-1",
        access_key: str | None = None,
        secret: str | None = None,
        token: str | None = None,
    ) -> Any:
        made = session.client(
            service,
            region_name=region,
            endpoint_url="http://pilothouse.test",
            aws_access_key_id=access_key or root.access_key_id,
            aws_secret_access_key=secret or root.secret,
            aws_session_token=token,
            config=Config(retries={"max_attempts": 1}),
        )
        made.meta.events.register(f"before-send.{service}", server.answer)
        return made

    return client
