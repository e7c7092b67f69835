"""Ties everything together: the only file that lists the capabilities, and nobody imports it but the CLI and tests."""

import asyncio
import ipaddress
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import structlog

from pilothouse.call import Capability, House, Operation
from pilothouse.capabilities import access, associations, commands, documents, keys, nodes, parameters, tags
from pilothouse.crypto.certificates import ensure_certificates
from pilothouse.crypto.master_key import MasterKeyUnusable, check_installation, load_vault
from pilothouse.crypto.vault import SealBroken, Vault
from pilothouse.gateway import control_channel, downloads
from pilothouse.gateway.edge import Edge
from pilothouse.identity.authorise import authorise
from pilothouse.identity.principals import Principal
from pilothouse.runtime import metrics
from pilothouse.runtime.bus import Bus
from pilothouse.runtime.clock import Clock, SystemClock
from pilothouse.runtime.files import write_private
from pilothouse.runtime.ids import Ids
from pilothouse.runtime.listening import split_address, write_listening
from pilothouse.runtime.settings import Settings
from pilothouse.scheduling.jobs import run_jobs
from pilothouse.storage import Migrations, StorageUnavailable
from pilothouse.storage.engines import open_database
from pilothouse.storage.migrations import PackageMigrations
from pilothouse.storage.pages import Pages
from pilothouse.wire.asgi import WireApplication
from pilothouse.wire.dispatch import Dispatch
from pilothouse.wire.front import Front
from pilothouse.wire.http import Request, Response
from pilothouse.wire.replay import forget_replays
from pilothouse.wire.server import CannotListen, Listener, PortInUse, serve, tls_context
from pilothouse.wire.sigv4 import Authenticator

log = structlog.get_logger()

CAPABILITIES: tuple[Capability, ...] = (
    tags.CAPABILITY,
    keys.CAPABILITY,
    documents.CAPABILITY,
    nodes.CAPABILITY,
    parameters.CAPABILITY,
    commands.CAPABILITY,
    associations.CAPABILITY,
    access.CAPABILITY,
)


_DATABASE_FILE = "database.sealed"
_DATABASE_CONTEXT = "database url"


class StartFailed(Exception):
    """The installation cannot be opened or served; the text is a sentence for the operator."""


def migrations_of_the_house() -> Sequence[Migrations]:
    """Every table, machinery first."""
    machinery: list[Migrations] = [
        PackageMigrations(name, f"pilothouse.{name}") for name in ("crypto", "wire", "gateway")
    ]
    return machinery + [PackageMigrations(each.name, f"pilothouse.capabilities.{each.name}") for each in CAPABILITIES]


def _database_url(settings: Settings, vault: Vault, *, create: bool) -> str:
    """Where the data is. The server keeps the URL (it may hold a password) sealed for the commands beside it."""
    if create:
        return settings.database_url
    kept = settings.data / _DATABASE_FILE
    try:
        return settings.database or vault.open(kept.read_bytes(), _DATABASE_CONTEXT).decode()
    except (FileNotFoundError, SealBroken) as error:
        raise StartFailed(f"{kept} cannot be used; start the server once with the right key and --database") from error


@asynccontextmanager
async def opened_house(settings: Settings, *, create: bool, clock: Clock | None = None) -> AsyncIterator[House]:
    """The machinery of an installation, with its tables up to date. Raises StartFailed."""
    try:
        vault = load_vault(settings.data, create=create)
        database = await open_database(_database_url(settings, vault, create=create))
    except (MasterKeyUnusable, StorageUnavailable) as error:
        raise StartFailed(str(error)) from error
    house = House(
        database=database,
        clock=clock or SystemClock(),
        ids=Ids(),
        bus=Bus(),
        vault=vault,
        pages=Pages(vault.subkey("page tokens")),
        settings=settings,
    )
    for capability in CAPABILITIES:
        house.taggable.update(capability.taggable)
        for event, listener in capability.listeners.items():
            house.listeners.setdefault(event, []).append(listener)
    try:
        tables = migrations_of_the_house()
        await database.migrate(tables[:1])  # the table that knows the key; a wrong one must not touch the others
        await check_installation(database, vault, house.clock.millis())
        if create:
            write_private(settings.data / _DATABASE_FILE, vault.seal(settings.database_url.encode(), _DATABASE_CONTEXT))
        await database.migrate(tables[1:])
        yield house
    except (MasterKeyUnusable, StorageUnavailable) as error:
        raise StartFailed(str(error)) from error
    finally:
        await database.close()


@dataclass(frozen=True, slots=True)
class Application:
    """A house with both of its edges, ready to be driven by listeners or by tests."""

    house: House
    front: Front
    edge: Edge
    root: access.AccountKey


def operations_of_the_house(*more: Operation) -> Mapping[tuple[str, str], Operation]:
    """The operation table: (service, wire name) to operation; `more` are those of the agent edge."""
    table: dict[tuple[str, str], Operation] = {}
    for operation in [*more, *(each for capability in CAPABILITIES for each in capability.operations)]:
        if (operation.service, operation.name) in table:
            raise RuntimeError(f"two functions answer {operation.service}:{operation.name}")
        table[operation.service, operation.name] = operation
    return table


@asynccontextmanager
async def opened_application(settings: Settings, *, clock: Clock | None = None) -> AsyncIterator[Application]:
    """Open the installation, make its root key at first start, run its background work until the block ends.

    Enter and leave it in one task. Raises StartFailed.
    """
    async with opened_house(settings, create=True, clock=clock) as house:
        root = await access.ensure_root(house, settings.data)
        authenticator = _authenticator(house)
        edge = _edge(house, authenticator)
        jobs = [forget_replays, *edge.jobs, *(job for capability in CAPABILITIES for job in capability.jobs)]
        async with edge.running(), asyncio.TaskGroup() as background:
            running = background.create_task(run_jobs(house, jobs), name="jobs")
            try:
                yield Application(house, _front(house, authenticator, edge), edge, root)
            finally:
                running.cancel()


def _authenticator(house: House) -> Authenticator:
    async def lives(node_id: str) -> None:
        await nodes.lives(house, node_id)

    async def signed_by(node_id: str, string_to_sign: bytes, signature: bytes) -> Principal:
        return await nodes.signed_by(house, node_id, string_to_sign, signature)

    return Authenticator(
        access.AccessCredentials(house, lives),
        house.clock,
        signed_by,
        skew=house.settings.skew_seconds // 60,
        node_skew=house.settings.node_skew_seconds // 60,
    )


def _edge(house: House, authenticator: Authenticator) -> Edge:
    senders = {topic: sender for capability in CAPABILITIES for topic, sender in capability.topics.items()}

    async def authenticate(request: Request) -> tuple[Principal, str]:
        return await authenticator.principal(request, "ssmmessages")

    return Edge(house, senders, authenticate, process_id=_process_id(house))


def _process_id(house: House) -> str:
    """The same over restarts on a data directory, so that a server knows what a killed one of its name left behind."""
    file = house.settings.data / "process-id"
    if not file.exists():
        write_private(file, house.ids.uuid().encode())
    return file.read_text("ascii")


def _front(house: House, authenticator: Authenticator, edge: Edge) -> Front:
    dispatch = Dispatch(house, operations_of_the_house(*edge.operations), authenticator, authorise)

    async def health(request: Request) -> Response:
        try:
            async with house.database.reading() as tx:
                await tx.value("select 1")
        except StorageUnavailable:
            return _json(503, {"status": "database unavailable"})
        return _json(200, {"status": "ok", "database": house.database.engine})

    async def show_metrics(request: Request) -> Response:
        return Response(200, {"content-type": "text/plain; version=0.0.4; charset=utf-8"}, metrics.render())

    async def authority(request: Request) -> Response:
        return Response(200, {"content-type": "application/x-pem-file"}, (house.settings.data / "ca.pem").read_bytes())

    routes = {"/health": health, "/metrics": show_metrics, "/ca.pem": authority}
    return Front(dispatch, routes, {control_channel.PATH: edge.control.create, downloads.PREFIX: downloads.download})


def _json(status: int, members: Mapping[str, str]) -> Response:
    return Response(status, {"content-type": "application/json"}, msgspec.json.encode(members))


async def run(settings: Settings) -> None:
    """Serve the installation on its two listeners until SIGTERM or SIGINT. Raises StartFailed."""
    listeners = _listeners(settings)
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)

    def started(addresses: Sequence[tuple[str, int]]) -> None:
        http, https = (f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in addresses)
        write_listening(settings.data, http, https)
        log.info("server.ready", http=http, https=https, data=str(settings.data))

    failed: BaseExceptionGroup[Exception] | None = None
    try:
        async with opened_application(settings) as application, asyncio.TaskGroup() as group:
            group.create_task(_drain(stopping, application.edge))
            wire = WireApplication(application.front, {control_channel.PATH: application.edge.websocket})
            await serve(wire, listeners, stopping=stopping, started=started)
    except* (PortInUse, CannotListen, StartFailed) as failures:
        failed = failures
    if failed is not None:  # raised out here: some versions of Python wrap what is raised inside `except*` in a group
        raise StartFailed(_first_sentence(failed))


async def _drain(stopping: asyncio.Event, edge: Edge) -> None:
    """Long polls end at once when the server stops; everything else that runs is short."""
    await stopping.wait()
    log.info("server.stopping")
    edge.drain()


def _first_sentence(failures: BaseExceptionGroup[Exception]) -> str:
    first: BaseException = failures
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    hint = "; choose another with --http or --https" if isinstance(first, PortInUse) else ""
    return f"{first}{hint}"


def _listeners(settings: Settings) -> list[Listener]:
    """The plain listener, loopback only, and the TLS listener with the operator's certificate or our own."""
    try:
        http, https = split_address(settings.http), split_address(settings.https)
    except ValueError as error:
        raise StartFailed(str(error)) from error
    if not _is_loopback(http[0]):
        raise StartFailed(f"the plain listener is for loopback only, {settings.http} is not; nodes use --https")
    if settings.dev and not _is_loopback(https[0]):
        raise StartFailed(f"--dev is for loopback listeners only; add --https 127.0.0.1:{https[1]}")
    if settings.certificate:
        chain, key = Path(settings.certificate), Path(settings.key)
    else:
        chain, key = ensure_certificates(settings.data, settings.names, SystemClock().now())
    try:
        return [Listener(*http), Listener(*https, tls_context(chain, key))]
    except (OSError, ValueError) as error:
        raise StartFailed(f"the certificate {chain} with the key {key} cannot be used: {error}") from error


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
