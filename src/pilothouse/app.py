"""Ties everything together: the only file that lists the capabilities, and nobody imports it but the CLI and tests."""

import asyncio
import signal
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import structlog

from pilothouse.call import Audit, Capability, House, Job, Operation, job
from pilothouse.capabilities import (
    access,
    associations,
    audit,
    commands,
    documents,
    events,
    keys,
    logs,
    nodes,
    objects,
    parameters,
    resource_policies,
    secrets,
    service_settings,
    tags,
    topics,
)
from pilothouse.crypto.certificates import ensure_certificates
from pilothouse.crypto.following import Follower
from pilothouse.crypto.kept import KeptUnderAnother, keep, kept
from pilothouse.crypto.master_key import MasterKey, MasterKeyUnusable, find_master, missing
from pilothouse.crypto.resealing import lying_below, reseal
from pilothouse.crypto.ring import Ring, knows_a_key, open_ring
from pilothouse.crypto.rotation import alone_in_use, remove_retired
from pilothouse.crypto.sealed import Sealed
from pilothouse.crypto.store import RingStore
from pilothouse.crypto.vault import SealBroken
from pilothouse.gateway import control_channel, downloads, presence
from pilothouse.gateway.edge import Edge
from pilothouse.identity.authorise import authorise
from pilothouse.identity.principals import Principal
from pilothouse.runtime.bus import Bus, Link
from pilothouse.runtime.bus_postgresql import PostgresqlLink
from pilothouse.runtime.clock import Clock, SystemClock
from pilothouse.runtime.descriptors import room_for
from pilothouse.runtime.files import write_private
from pilothouse.runtime.ids import Ids
from pilothouse.runtime.listening import listeners_of, write_listening
from pilothouse.runtime.outbound import Outbound
from pilothouse.runtime.peers import Proxies
from pilothouse.runtime.settings import Settings, SettingsInvalid, load
from pilothouse.scheduling.jobs import run_jobs
from pilothouse.storage import Migrations, StorageUnavailable
from pilothouse.storage.blobs import open_blobs
from pilothouse.storage.engines import open_database
from pilothouse.storage.migrations import PackageMigrations
from pilothouse.storage.pages import Pages
from pilothouse.wire import replay
from pilothouse.wire.asgi import WireApplication
from pilothouse.wire.dispatch import Dispatch
from pilothouse.wire.files import giving
from pilothouse.wire.front import Front
from pilothouse.wire.http import Request, Response, RouteHandler
from pilothouse.wire.plain_pages import plain_pages
from pilothouse.wire.server import CannotListen, Listener, PortInUse, serve, tls_context
from pilothouse.wire.sigv4 import Authenticator
from pilothouse.wire.streams import Streams

log = structlog.get_logger()

CAPABILITIES: tuple[Capability, ...] = (
    tags.CAPABILITY,
    audit.CAPABILITY,
    service_settings.CAPABILITY,
    resource_policies.CAPABILITY,
    keys.CAPABILITY,
    events.CAPABILITY,
    topics.CAPABILITY,
    logs.CAPABILITY,
    objects.CAPABILITY,
    secrets.CAPABILITY,
    documents.CAPABILITY,
    nodes.CAPABILITY,
    parameters.CAPABILITY,
    commands.CAPABILITY,
    associations.CAPABILITY,
    access.CAPABILITY,
)


_PATHS = {
    "explain": "Explain",
    "sign-in": "SignIn",
    "sign-in/options": "ListSignInOptions",
    "sign-in/begin": "BeginFederatedSignIn",
    "sign-in/complete": "CompleteFederatedSignIn",
}
"""Below /ph/v1/, own operations for those who have no AWS client: a JSON body in, a JSON body out."""
_DATABASE_FILE = "database.sealed"
_RESEAL_AT_ONCE = 2000
"""Values that a running server seals anew before it lets five seconds pass."""


class StartFailed(Exception):
    """The installation cannot be opened or served; the text is a sentence for the operator."""


def migrations_of_the_house() -> Sequence[Migrations]:
    """Every table, machinery first."""
    machinery: list[Migrations] = [
        PackageMigrations(name, f"pilothouse.{name}") for name in ("crypto", "wire", "gateway")
    ]
    return machinery + [PackageMigrations(each.name, f"pilothouse.capabilities.{each.name}") for each in CAPABILITIES]


def sealed_in_the_house() -> tuple[Sealed, ...]:
    """Every column that the vault seals."""
    return (replay.SEALED, *(each for capability in CAPABILITIES for each in capability.sealed))


async def _database_url(settings: Settings, master: MasterKey | None, *, create: bool) -> str:
    """Where the data is. The server keeps the URL (it may hold a password) wrapped for the commands beside it."""
    if create or settings.database:
        return settings.database_url
    if master is None:
        raise missing(settings.data)
    file = settings.data / _DATABASE_FILE
    try:
        return (await kept(file, master)).decode()
    except FileNotFoundError as error:
        raise StartFailed(f"{file} cannot be used; start the server once with the right key and --database") from error


async def _keep_database_url(settings: Settings, master: MasterKey) -> None:
    file = settings.data / _DATABASE_FILE
    try:
        if await kept(file, master) == settings.database_url.encode():
            return
    except (FileNotFoundError, KeptUnderAnother):
        pass
    await keep(file, settings.database_url.encode(), master)


@asynccontextmanager
async def opened_ring(
    settings: Settings, *, create: bool, clock: Clock | None = None, ids: Ids | None = None
) -> AsyncIterator[Ring]:
    """The database with the ring's own tables up to date, and the ring. Raises StartFailed."""

    def find() -> MasterKey | None:
        """As it is set now: a command may have changed the master key of a running server."""
        try:
            return find_master(settings.data, load(settings.data).master_key or settings.master_key)
        except SettingsInvalid as error:
            raise MasterKeyUnusable(str(error)) from error

    database = None
    try:
        master = find_master(settings.data, settings.master_key)
        if master is None and (not create or knows_a_key(settings.data)):
            raise missing(settings.data)  # before a database file is made
        database = await open_database(await _database_url(settings, master, create=create))
        ring = await open_ring(
            database,
            settings.data,
            find,
            clock or SystemClock(),
            ids or Ids(),
            create=create,
            migrations=migrations_of_the_house()[:1],
        )
        if create:
            await _keep_database_url(settings, ring.master)
        yield ring
    except (MasterKeyUnusable, StorageUnavailable) as error:
        raise StartFailed(str(error)) from error
    finally:
        if database is not None:
            await database.close()


@asynccontextmanager
async def opened_house(settings: Settings, *, create: bool, clock: Clock | None = None) -> AsyncIterator[House]:
    """The machinery of an installation, with its tables up to date. Raises StartFailed."""
    async with opened_ring(settings, create=create, clock=clock) as ring:
        house = await opened_around(settings, ring)
        try:
            yield house
        finally:
            await house.outbound.close()


async def opened_around(settings: Settings, ring: Ring) -> House:
    """The machinery around an open ring, with its tables up to date. Raises StorageUnavailable."""
    await ring.database.migrate(migrations_of_the_house()[1:])
    vault = ring.vault
    house = House(
        database=ring.database,
        clock=ring.clock,
        ids=Ids(),
        bus=Bus(),
        vault=vault,
        pages=Pages(lambda: vault.subkeys("page tokens")),
        settings=settings,
        blobs=open_blobs(settings.blobs, settings.data),
        outbound=Outbound(settings.outbound.allow, settings.outbound.ca_file),
    )
    for capability in CAPABILITIES:
        house.taggable.update(capability.taggable)
        house.tags_of.update(capability.tags_of)
        house.policies_on.update(capability.policies_on)
        house.shareable.update(capability.shareable)
        for event, listener in capability.listeners.items():
            house.listeners.setdefault(event, []).append(listener)
    return house


def ring_job(ring: Ring) -> Job:
    """Keep the ring as others left it, seal anew what lies under older root keys, and remove retired ones."""

    sealed = sealed_in_the_house()
    through = 1  # nothing lies under older root keys than this one, nor ever will

    @job("crypto.ring", every=timedelta(seconds=5))
    async def keep_up(house: House) -> None:
        nonlocal through
        await ring.reload()
        settled = ring.vault.settled
        if settled > through:
            alone = await alone_in_use(ring)
            async with house.database.reading() as tx:
                waiting = await lying_below(tx, sealed, settled)
            if waiting:
                await reseal(house.database, ring.vault, sealed, most=_RESEAL_AT_ONCE)
            elif alone:
                through = settled
        if len(ring.vault.versions) > 1:
            await remove_retired(ring, sealed)

    return keep_up


def follow_job(ring: Ring, data: Path) -> Job:
    """Keep this data directory as the master key in place wants it."""
    follower = Follower(ring, data)

    @job("crypto.master_key", every=timedelta(seconds=5))
    async def follow(house: House) -> None:
        await follower.look()

    return follow


@dataclass(frozen=True, slots=True)
class Application:
    """A house with both of its edges, ready to be driven by listeners or by tests."""

    house: House
    front: Front
    edge: Edge
    root: access.AccountKey
    streams: Streams

    def drain(self) -> None:
        """The server is about to stop: end what would otherwise wait, long polls and streams."""
        self.edge.drain()
        self.streams.close()


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
    async with opened_ring(settings, create=True, clock=clock) as ring:
        house = await opened_around(settings, ring)
        house.audit = await _trail(house)
        await nodes.make_pending_roles(house)
        root = await access.ensure_root(house, ring.master, settings.data)
        uses = access.KeyUses(house.clock)
        authenticator = _authenticator(house, uses)
        house.process_id = await _process_id(house)
        edge = _edge(house, authenticator)
        streams = _streams(house, authenticator)
        jobs = [
            ring_job(ring),
            follow_job(ring, settings.data),
            replay.forget_replays,
            uses.job(),
            *edge.jobs,
            *(job for capability in CAPABILITIES for job in capability.jobs),
        ]
        lasting = [work for capability in CAPABILITIES for work in capability.lasting]
        link = await _link(house)
        async with edge.running(), asyncio.TaskGroup() as background:
            running = [background.create_task(run_jobs(house, jobs, lasting), name="jobs")]
            if link is not None:
                running.append(background.create_task(house.bus.keep_linked(link, house.process_id), name="bus"))
            try:
                yield Application(house, _front(house, authenticator, edge, streams), edge, root, streams)
            finally:
                for task in running:
                    task.cancel()
                await house.outbound.close()


async def _link(house: House) -> Link | None:
    """The way to the other processes of the installation; None where there can be none. Raises StartFailed."""
    url = house.settings.bus
    if not url:
        return PostgresqlLink(house.settings.database_url) if house.database.engine == "postgresql" else None
    if url.partition("://")[0] not in {"nats", "tls"}:
        raise StartFailed(f"the bus {url.partition('://')[0]!r} is not known; use nats://host:port or tls://host:port")
    from pilothouse.runtime.bus_nats import NatsLink  # a library that few installations need

    async with house.database.reading() as tx:
        return NatsLink(url, str(await RingStore(tx).begun_at()))


async def _trail(house: House) -> Audit:
    try:
        return await audit.opened_trail(house)
    except (ValueError, SealBroken) as error:
        raise StartFailed(f"the audit trail cannot be opened: {error}") from error


def _authenticator(house: House, uses: access.KeyUses) -> Authenticator:
    async def signed_by(node_id: str, string_to_sign: bytes, signature: bytes) -> Principal:
        return await nodes.signed_by(house, node_id, string_to_sign, signature)

    return Authenticator(
        access.AccessCredentials(house, nodes.Rights(house).of),
        house.clock,
        signed_by,
        skew=house.settings.skew_seconds // 60,
        node_skew=house.settings.node_skew_seconds // 60,
        used=uses.note,
        failures_per_minute=house.settings.limits.failures_per_minute,
    )


def _edge(house: House, authenticator: Authenticator) -> Edge:
    senders = {topic: sender for capability in CAPABILITIES for topic, sender in capability.topics.items()}

    async def authenticate(request: Request) -> tuple[Principal, str]:
        return await authenticator.principal(request, "ssmmessages")

    extensions = {name: each for capability in CAPABILITIES for name, each in capability.extensions.items()}
    return Edge(
        house, senders, authenticate, nodes.Rights(house).may_stay, process_id=house.process_id, extensions=extensions
    )


def _streams(house: House, authenticator: Authenticator) -> Streams:
    routes = [route for capability in CAPABILITIES for route in capability.streams]
    return Streams(house, routes, authenticator, authorise, most=house.settings.events.streams)


async def _process_id(house: House) -> str:
    """A new one for each start. What the last server on this data directory left behind is given free first.

    So a killed server is known to be gone at its restart, and where a data directory was copied neither server takes
    the other's work for its own. Raises StartFailed.
    """
    file = house.settings.data / "process-id"
    try:
        former = file.read_text("ascii") if file.exists() else ""
        if former:
            async with house.database.transaction() as tx:
                await presence.process_stopped(tx, former)
                await house.tell(tx, "process.ended", process_id=former)
        made = house.ids.uuid()
        write_private(file, made.encode())
    except (OSError, UnicodeDecodeError) as error:
        raise StartFailed(f"{file} cannot be used: {error}; remove it") from error
    return made


def _front(house: House, authenticator: Authenticator, edge: Edge, streams: Streams) -> Front:
    dispatch = Dispatch(house, operations_of_the_house(*edge.operations), authenticator, authorise, streams)

    def calling(name: str) -> RouteHandler:
        async def answer(request: Request) -> Response:
            if request.method != "POST":
                return Response(405, {"allow": "POST"}, b"This path answers POST.\n")
            if "json" not in request.headers.get("content-type", ""):  # what other sites' forms cannot send
                return Response(415, {}, b"The Content-Type must be application/json.\n")
            return await dispatch.respond(request, ("pilothouse", name))

        return answer

    own = plain_pages(house) | {f"/ph/v1/{path}": calling(name) for path, name in _PATHS.items()}
    routes = {**own, **streams.handlers()}
    given = {prefix: give for capability in CAPABILITIES for prefix, give in capability.files.items()}
    files = downloads.Downloads(house.settings.data).download
    prefixes = {control_channel.PATH: edge.control.create, downloads.PREFIX: files, **giving(house, given)}
    return Front(dispatch, routes, prefixes, dispatch.hosts)


async def run(settings: Settings) -> None:
    """Serve the installation on its two listeners until SIGTERM or SIGINT. Raises StartFailed."""
    http_at, https_at, proxies = _asked_for(settings)
    context = _given_context(settings)
    limits = replace(settings.limits, connections=room_for(settings.limits.connections))
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
            group.create_task(_drain(stopping, application))
            listeners = [Listener(*http_at), Listener(*https_at, context or _own_context(settings))]
            websockets = {control_channel.PATH: application.edge.websocket}
            wire = WireApplication(application.front, websockets, limits, proxies, application.front.is_rest)
            await serve(wire, listeners, stopping=stopping, started=started, limits=limits, proxies=proxies)
    except* (PortInUse, CannotListen, StartFailed) as failures:
        failed = failures
    if failed is not None:  # raised out here: some versions of Python wrap what is raised inside `except*` in a group
        raise StartFailed(_first_sentence(failed))


async def _drain(stopping: asyncio.Event, application: Application) -> None:
    """Long polls and streams end at once when the server stops; everything else that runs is short."""
    await stopping.wait()
    log.info("server.stopping")
    application.drain()


def _first_sentence(failures: BaseExceptionGroup[Exception]) -> str:
    first: BaseException = failures
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    hint = "; choose another with --http or --https" if isinstance(first, PortInUse) else ""
    return f"{first}{hint}"


def _asked_for(settings: Settings) -> tuple[tuple[str, int], tuple[str, int], Proxies]:
    """Addresses of the plain listener and of the TLS listener, and whom to believe. Raises StartFailed."""
    try:
        return *listeners_of(settings.http, settings.https, dev=settings.dev), Proxies(settings.trusted_proxies)
    except ValueError as error:
        raise StartFailed(str(error)) from error


def _given_context(settings: Settings) -> ssl.SSLContext | None:
    """TLS with the operator's certificate; None where there is none. Raises StartFailed."""
    return _context(Path(settings.certificate), Path(settings.key)) if settings.certificate else None


def _own_context(settings: Settings) -> ssl.SSLContext:
    """TLS with our own certificate, made where there is none. Raises StartFailed."""
    return _context(*ensure_certificates(settings.data, settings.names, SystemClock().now()))


def _context(chain: Path, key: Path) -> ssl.SSLContext:
    try:
        return tls_context(chain, key)
    except (OSError, ValueError) as error:
        raise StartFailed(f"the certificate {chain} with the key {key} cannot be used: {error}") from error
