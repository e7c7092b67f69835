"""Serves an installation: its processes, listeners, signals, certificate, around what `app` builds."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import structlog
import uvloop

from pilothouse.app import Application, StartFailed, opened_application
from pilothouse.crypto.certificates import ensure_certificates
from pilothouse.gateway import control_channel, data_channel, terminal_pages
from pilothouse.runtime import logs
from pilothouse.runtime.clock import SystemClock
from pilothouse.runtime.descriptors import room_for
from pilothouse.runtime.listening import listeners_of, write_listening
from pilothouse.runtime.peers import Proxies
from pilothouse.runtime.settings import Settings
from pilothouse.wire.asgi import WireApplication
from pilothouse.wire.server import CannotListen, Listener, PortInUse, bound, serve, tls_context
from pilothouse.workers.supervisor import Supervisor, WorkersFailed, asked_to_stop_by
from pilothouse.workers.worker import Worker

log = structlog.get_logger()

T = TypeVar("T")


def serve_installation(settings: Settings) -> None:
    """Serve until a signal asks for the end, in as many processes as are set. Raises StartFailed."""
    if settings.workers == 1:
        _run(run(settings))
    else:
        _supervise(settings)


def _run(work: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


def _supervise(settings: Settings) -> None:
    """Bind both listeners, and let workers accept on them."""
    http_at, https_at, _ = _asked_for(settings)
    _given_context(settings)  # what is wrong with it is said once, not by each
    with contextlib.ExitStack() as bound_here:
        try:
            sockets = [bound_here.enter_context(bound(Listener(*each))) for each in (http_at, https_at)]
        except (PortInUse, CannotListen) as error:
            raise StartFailed(_sentence(error)) from error

        def work(number: int, link: socket.socket) -> int:
            logs.always(worker=number)
            return _run(_work(settings, Worker(number, link), sockets))

        supervisor = Supervisor(
            settings.workers, work,
            ready=lambda: _ready(settings, [each.getsockname()[:2] for each in sockets]),
            stopping=bound_here.close,
        )  # fmt: skip
        try:
            supervisor.run()
        except WorkersFailed as failure:
            raise StartFailed(str(failure)) from failure


async def _work(settings: Settings, worker: Worker, sockets: Sequence[socket.socket]) -> int:
    """What a worker does; its exit code."""
    async with worker.linked():
        try:
            await run(replace(settings, limits=settings.limits.of_each(settings.workers)), worker, sockets)
        except StartFailed as failure:
            worker.failed(str(failure))
            return 1
    return 0


async def run(settings: Settings, worker: Worker | None = None, shared: Sequence[socket.socket] | None = None) -> None:
    """Serve the installation on its two listeners until a signal asks for the end. Raises StartFailed.

    A `worker` accepts on the `shared` sockets, together with others, once all of them could.
    """
    http_at, https_at, proxies = _asked_for(settings)
    context = _given_context(settings)
    limits = replace(settings.limits, connections=room_for(settings.limits.connections))
    stopping = asyncio.Event()
    for number in asked_to_stop_by():
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)

    def started(addresses: Sequence[tuple[str, int]]) -> None:
        if worker is None:
            _ready(settings, addresses)

    failed: BaseExceptionGroup[Exception] | None = None
    try:
        async with opened_application(settings, worker=worker) as application, asyncio.TaskGroup() as group:
            group.create_task(_drain(stopping, application))
            listeners = [Listener(*http_at), Listener(*https_at, context or _own_context(settings))]
            edge = application.edge.websocket
            websockets = dict.fromkeys((control_channel.PATH, data_channel.PATH, terminal_pages.PATH), edge)
            wire = WireApplication(application.front, websockets, limits, proxies, application.front.is_rest)
            if worker is not None:
                await worker.may_serve(stopping)
            await serve(
                wire, listeners, stopping=stopping, started=started, limits=limits, proxies=proxies, shared=shared
            )
    except* (PortInUse, CannotListen, StartFailed) as failures:
        failed = failures
    if failed is not None:  # raised out here: some versions of Python wrap what is raised inside `except*` in a group
        raise StartFailed(_first_sentence(failed))


def _ready(settings: Settings, addresses: Sequence[tuple[str, int]]) -> None:
    """Everybody may come."""
    http, https = (f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in addresses)
    write_listening(settings.data, http, https)
    log.info(
        "server.ready", http=http, https=https, data=str(settings.data), roles=list(settings.roles),
        workers=settings.workers,
    )  # fmt: skip


async def _drain(stopping: asyncio.Event, application: Application) -> None:
    """Long polls and streams end at once when the server stops; everything else that runs is short."""
    await stopping.wait()
    log.info("server.stopping")
    application.drain()


def _first_sentence(failures: BaseExceptionGroup[Exception]) -> str:
    first: BaseException = failures
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return _sentence(first)


def _sentence(error: BaseException) -> str:
    hint = "; choose another with --http or --https" if isinstance(error, PortInUse) else ""
    return f"{error}{hint}"


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
