"""The world tests live in: databases of both engines, a clock to move, the whole server in process, boto3 clients."""

import asyncio
import functools
import os
import queue
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import boto3
import botocore.auth
import hypothesis
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
from tests.databases import PostgresqlDatabases

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
MEMORY = Path("/dev/shm")
MEMORY_ENOUGH = 4 << 30


def in_memory() -> bool:
    """Whether there is a file system in memory that temporary directories fit in, and that programs may be run from."""
    if not MEMORY.is_dir() or not os.access(MEMORY, os.W_OK):
        return False
    found = os.statvfs(MEMORY)
    return found.f_bavail * found.f_frsize > MEMORY_ENOUGH and not found.f_flag & os.ST_NOEXEC


hypothesis.settings.register_profile("house", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("house")  # how long a busy machine takes is no fault

if in_memory():  # each commit is synced, and no test cuts the power: they would wait for the disk half of their time
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))

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


@pytest.fixture(scope="session")
def postgresql_server() -> str | None:
    """The admin URL, or None on a user's machine without PostgreSQL. In CI its absence is a failure."""
    found = asyncio.run(_reachable(postgresql_admin()))
    if not found and os.environ.get("CI"):
        pytest.fail(f"no PostgreSQL answers at {postgresql_admin()}; in CI nothing may be skipped")
    return postgresql_admin() if found else None


@pytest.fixture(scope="session")
def postgresql_databases(postgresql_server: str | None) -> Iterator[PostgresqlDatabases | None]:
    """What makes databases on that server, and drops them at the end."""
    if postgresql_server is None:
        yield None
        return
    databases = PostgresqlDatabases(postgresql_server)
    try:
        yield databases
    finally:
        databases.close()


@contextmanager
def fresh_database(engine: str, folder: Path, postgresql_databases: PostgresqlDatabases | None) -> Iterator[str]:
    """The URL of a database without a row. It may have the house's tables already."""
    if engine == "sqlite":
        yield f"sqlite:///{folder}/test.db"
        return
    if postgresql_databases is None:
        pytest.skip("PostgreSQL is not running; its tests are left out")
    name = postgresql_databases.take()
    try:
        yield postgresql_databases.url(name)
    finally:
        postgresql_databases.give_back(name)


FreshDatabase = Callable[[str], AbstractContextManager[str]]


@pytest.fixture(scope="session")
def fresh(tmp_path_factory: pytest.TempPathFactory, postgresql_databases: PostgresqlDatabases | None) -> FreshDatabase:
    """`fresh_database` of an engine, for fixtures that last longer than a test."""
    return lambda engine: fresh_database(engine, tmp_path_factory.mktemp("database"), postgresql_databases)


@pytest.fixture(params=ENGINES)
def database_url(
    request: pytest.FixtureRequest, tmp_path: Path, postgresql_databases: PostgresqlDatabases | None
) -> Iterator[str]:
    """The URL of a database without a row, once for each engine. It may have the house's tables already."""
    with fresh_database(request.param, tmp_path, postgresql_databases) as url:
        yield url


@pytest.fixture(params=ENGINES)
def empty_database_url(
    request: pytest.FixtureRequest, tmp_path: Path, postgresql_databases: PostgresqlDatabases | None
) -> Iterator[str]:
    """The URL of a new database, in which nothing was ever made, once for each engine."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/test.db"
        return
    if postgresql_databases is None:
        pytest.skip("PostgreSQL is not running; its tests are left out")
    name = postgresql_databases.make()
    try:
        yield postgresql_databases.url(name)
    finally:
        postgresql_databases.drop(name)


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

    async def elsewhere(self, call: Callable[[], T]) -> T:
        """Run a blocking call of a client from a coroutine of the server's loop, which goes on meanwhile."""
        return await asyncio.to_thread(call)

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
        self.run(_nobody_left())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


async def _nobody_left() -> None:
    """End what goes on on this loop: conversations of scripted peers that nobody closed."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


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


@contextmanager
def open_server(database_url: str, folder: Path, clock: TestClock, **settings: Any) -> Iterator[Server]:
    """The whole server in process."""
    data = folder / "data"
    data.mkdir(mode=0o700)
    limits = LimitSettings(failures_per_minute=0)  # tests of signatures want to reach whoever verifies them
    opened = Server(Settings(data=data, database=database_url, limits=limits, **settings), clock)
    try:
        yield opened
    finally:
        opened.close()


@pytest.fixture
def server(database_url: str, tmp_path: Path, clock: TestClock) -> Iterator[Server]:
    """The whole server in process, once for each engine."""
    with open_server(database_url, tmp_path, clock) as opened:
        yield opened


Aws = Callable[..., Any]


@functools.cache
def boto3_session() -> boto3.Session:
    """One for all tests: it keeps the service models that it has read."""
    session = boto3.Session()
    session._loader.search_paths.append(str(Path(pilothouse.wire.__path__[0]) / "own-models"))
    return session


@pytest.fixture
def aws(server: Server) -> Aws:
    """boto3 clients whose requests the server answers in this process: true wire format, no socket."""
    return clients_of(server)


def clients_of(server: Server) -> Aws:
    """Makes clients of this server."""
    root = server.application.root

    def client(
        service: str,
        *,
        region: str = "eu-west-1",
        access_key: str | None = None,
        secret: str | None = None,
        token: str | None = None,
    ) -> Any:
        made = boto3_session().client(
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
