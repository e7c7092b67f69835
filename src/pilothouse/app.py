"""Ties everything together: the only file that lists the capabilities, and nobody imports it but the CLI and tests."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import structlog

from pilothouse.call import Audit, Capability, House, Job, Lasting, Operation, job
from pilothouse.capabilities import (
    access,
    access_requests,
    associations,
    audit,
    automation,
    commands,
    compliance,
    documents,
    events,
    inventory,
    keys,
    logs,
    machines,
    maintenance_windows,
    nodes,
    objects,
    parameters,
    patches,
    resource_groups,
    resource_policies,
    secrets,
    service_settings,
    sessions,
    tags,
    topics,
)
from pilothouse.crypto.following import Follower
from pilothouse.crypto.kept import KeptUnderAnother, keep, kept
from pilothouse.crypto.master_key import MasterKey, MasterKeyUnusable, find_master, missing
from pilothouse.crypto.resealing import lying_below, reseal
from pilothouse.crypto.ring import Ring, knows_a_key, open_ring
from pilothouse.crypto.rotation import alone_in_use, remove_retired
from pilothouse.crypto.sealed import Sealed
from pilothouse.crypto.store import RingStore
from pilothouse.crypto.vault import SealBroken
from pilothouse.gateway import control_channel, data_channel, downloads, presence
from pilothouse.gateway.edge import Edge
from pilothouse.identity.authorise import authorise
from pilothouse.identity.principals import Principal
from pilothouse.runtime import metrics
from pilothouse.runtime.bus import Bus, Link
from pilothouse.runtime.clock import Clock, SystemClock
from pilothouse.runtime.files import write_private
from pilothouse.runtime.ids import Ids
from pilothouse.runtime.metrics import ROLE
from pilothouse.runtime.outbound import Outbound
from pilothouse.runtime.settings import MOST_WORKERS, ROLES, SCHEDULER, Settings, SettingsInvalid, load
from pilothouse.scheduling.due import Scheduler
from pilothouse.scheduling.jobs import run_jobs
from pilothouse.storage import Migrations, StorageUnavailable
from pilothouse.storage.blobs import open_blobs
from pilothouse.storage.engines import open_database
from pilothouse.storage.migrations import PackageMigrations
from pilothouse.storage.pages import Pages
from pilothouse.wire import console, replay
from pilothouse.wire.dispatch import Dispatch
from pilothouse.wire.files import giving
from pilothouse.wire.forms import answering
from pilothouse.wire.front import Front
from pilothouse.wire.http import Request
from pilothouse.wire.own_paths import own_paths
from pilothouse.wire.plain_pages import plain_pages
from pilothouse.wire.sigv4 import Authenticator
from pilothouse.wire.streams import Streams
from pilothouse.workers.worker import Worker

log = structlog.get_logger()

CAPABILITIES: tuple[Capability, ...] = (
    tags.CAPABILITY,
    audit.CAPABILITY,
    service_settings.CAPABILITY,
    resource_policies.CAPABILITY,
    resource_groups.CAPABILITY,
    keys.CAPABILITY,
    events.CAPABILITY,
    topics.CAPABILITY,
    logs.CAPABILITY,
    objects.CAPABILITY,
    secrets.CAPABILITY,
    documents.CAPABILITY,
    nodes.CAPABILITY,
    compliance.CAPABILITY,
    inventory.CAPABILITY,
    machines.CAPABILITY,
    parameters.CAPABILITY,
    commands.CAPABILITY,
    patches.CAPABILITY,
    sessions.CAPABILITY,
    automation.CAPABILITY,
    associations.CAPABILITY,
    maintenance_windows.CAPABILITY,
    access_requests.CAPABILITY,
    access.CAPABILITY,
)


_PATHS = {
    "explain": "Explain",
    "sign-in": "SignIn",
    "sign-in/options": "ListSignInOptions",
    "sign-in/begin": "BeginFederatedSignIn",
    "sign-in/complete": "CompleteFederatedSignIn",
}
"""Own operations at paths below /ph/v1/."""
_DATABASE_FILE = "database.sealed"
_RESEAL_AT_ONCE = 2000
"""Values that a running server seals anew before it lets five seconds pass."""


class StartFailed(Exception):
    """The installation cannot be opened or served; the text is a sentence for the operator."""


def migrations_of_the_house() -> Sequence[Migrations]:
    """Every table, machinery first."""
    machinery: list[Migrations] = [
        PackageMigrations(name, f"pilothouse.{name}") for name in ("crypto", "wire", "gateway", "scheduling")
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
        database = await open_database(
            await _database_url(settings, master, create=create), processes=settings.workers if create else 1
        )
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
        roles=frozenset(settings.roles),
    )
    for capability in CAPABILITIES:
        house.taggable.update(capability.taggable)
        house.tags_of.update(capability.tags_of)
        house.policies_on.update(capability.policies_on)
        house.shareable.update(capability.shareable)
        house.groupable.update(capability.groupable)
        house.coming.extend(capability.coming)
        house.invocations.extend(capability.invocations)
        for event, listener in capability.listeners.items():
            house.listeners.setdefault(event, []).append(listener)
    return house


def ring_job(ring: Ring) -> Job:
    """Keep the ring as others left it, seal anew what lies under older root keys, and remove retired ones."""

    sealed = sealed_in_the_house()
    through = 1  # nothing lies under older root keys than this one, nor ever will

    @job("crypto.ring", every=timedelta(seconds=5), local=True)
    async def keep_up(house: House) -> None:
        nonlocal through
        await ring.reload()
        if SCHEDULER not in house.roles:
            return
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

    @job("crypto.master_key", every=timedelta(seconds=5), local=True)
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
async def opened_application(
    settings: Settings, *, clock: Clock | None = None, worker: Worker | None = None
) -> AsyncIterator[Application]:
    """Open the installation, make its root key at first start, run its background work until the block ends.

    Enter and leave it in one task. Raises StartFailed.
    """
    async with opened_ring(settings, create=True, clock=clock) as ring:
        house = await opened_around(settings, ring)
        house.worker = 1 if worker is None else worker.number
        house.audit = await _trail(house)
        await nodes.make_pending_roles(house)
        root = await access.ensure_root(house, ring.master, settings.data)
        uses = access.KeyUses(house.clock)
        credentials = access.AccessCredentials(house, nodes.Rights(house).of, access_requests.granted)
        authenticator = _authenticator(house, uses, credentials)
        house.process_id = await _process_id(house)
        for role in ROLES:
            ROLE.labels(role).set(role in house.roles)
        edge = _edge(house, authenticator, credentials)
        streams = _streams(house, authenticator)
        jobs = [
            ring_job(ring),
            follow_job(ring, settings.data),
            replay.forget_replays,
            uses.job(),
            *edge.jobs,
            *(job for capability in CAPABILITIES for job in capability.jobs),
        ]
        scheduler = Scheduler({kind: fire for capability in CAPABILITIES for kind, fire in capability.due.items()})
        lasting = [
            Lasting(name="scheduler", run=scheduler.run),
            *(work for capability in CAPABILITIES for work in capability.lasting),
        ]
        link = await _link(house, worker)
        render = _rendered if worker is None else worker.metrics
        async with edge.running(), asyncio.TaskGroup() as background:
            running = [background.create_task(run_jobs(house, jobs, lasting), name="jobs")]
            if link is not None:
                running.append(background.create_task(house.bus.keep_linked(link, house.process_id), name="bus"))
            try:
                front = _front(house, authenticator, edge, streams, render, root)
                yield Application(house, front, edge, root, streams)
            finally:
                for task in running:
                    task.cancel()
                await house.outbound.close()


async def _rendered() -> bytes:
    return metrics.render()


async def _link(house: House, worker: Worker | None) -> Link | None:
    """The way to the other processes of the installation; None where there can be none. Raises StartFailed."""
    url = house.settings.bus
    if not url:
        if house.database.engine != "postgresql":
            return worker
        from pilothouse.runtime.bus_postgresql import PostgresqlLink

        return PostgresqlLink(house.settings.database_url)
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


def _authenticator(house: House, uses: access.KeyUses, credentials: access.AccessCredentials) -> Authenticator:
    async def signed_by(node_id: str, string_to_sign: bytes, signature: bytes) -> Principal:
        return await nodes.signed_by(house, node_id, string_to_sign, signature)

    return Authenticator(
        credentials,
        house.clock,
        signed_by,
        skew=house.settings.skew_seconds // 60,
        node_skew=house.settings.node_skew_seconds // 60,
        used=uses.note,
        failures_per_minute=house.settings.limits.failures_per_minute,
    )


def _edge(house: House, authenticator: Authenticator, credentials: access.AccessCredentials) -> Edge:
    senders = {topic: sender for capability in CAPABILITIES for topic, sender in capability.topics.items()}

    async def authenticate(request: Request) -> tuple[Principal, str]:
        return await authenticator.principal(request, "ssmmessages")

    extensions = {name: each for capability in CAPABILITIES for name, each in capability.extensions.items()}
    return Edge(
        house, senders, authenticate, nodes.Rights(house).may_stay, process_id=house.process_id,
        keeper=sessions.Keeper(credentials.find), extensions=extensions,
    )  # fmt: skip


def _streams(house: House, authenticator: Authenticator) -> Streams:
    routes = [route for capability in CAPABILITIES for route in capability.streams]
    return Streams(house, routes, authenticator, authorise, most=house.settings.events.streams)


async def _process_id(house: House) -> str:
    """A new one for each start. What the last process in its place on this data directory left behind is given free
    first, and by the first worker what those in places left behind that nobody takes any more.

    So a killed server is known to be gone at its restart, and where a data directory was copied neither server takes
    the other's work for its own. Raises StartFailed.
    """
    data, workers = house.settings.data, house.settings.workers
    file = _process_file(data, house.worker)
    gone = [file]
    if house.worker == 1:
        gone += [_process_file(data, each) for each in range(workers + 1, MOST_WORKERS + 1)]
    try:
        for each in gone:
            if each.exists():
                await _release(house, each.read_text("ascii"))
                if each != file:
                    each.unlink()
        made = house.ids.uuid()
        write_private(file, made.encode())
    except (OSError, UnicodeDecodeError) as error:
        raise StartFailed(f"{file} cannot be used: {error}; remove it") from error
    return made


def _process_file(data: Path, worker: int) -> Path:
    return data / ("process-id" if worker == 1 else f"process-id.{worker}")


async def _release(house: House, process_id: str) -> None:
    if process_id:
        async with house.database.transaction() as tx:
            await presence.process_stopped(tx, process_id)
            await house.tell(tx, "process.ended", process_id=process_id)


def _front(
    house: House,
    authenticator: Authenticator,
    edge: Edge,
    streams: Streams,
    render: Callable[[], Awaitable[bytes]],
    root: access.AccountKey,
) -> Front:
    dispatch = Dispatch(house, operations_of_the_house(*edge.operations), authenticator, authorise, streams)
    house.inside = dispatch
    pages = console.Console(house, account_id=root.account_id)
    visits = {path: answer for capability in CAPABILITIES for path, answer in capability.visits.items()}
    routes = {
        **plain_pages(house, render), **pages.routes(), **own_paths(dispatch, _PATHS), **streams.handlers(),
        **answering(house, visits),
    }  # fmt: skip
    given = {prefix: give for capability in CAPABILITIES for prefix, give in capability.files.items()}
    files = downloads.Downloads(house.settings.data).download
    prefixes = {
        control_channel.PATH: edge.create,
        data_channel.PATH: edge.create,
        downloads.PREFIX: files,
        console.PREFIX: pages.give,
        **giving(house, given),
    }
    return Front(dispatch, routes, prefixes, dispatch.hosts)
