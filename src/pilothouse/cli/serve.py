"""`pilothouse serve`: start the server; an empty data directory is initialised."""

import fcntl
import gc
import os
import time
from pathlib import Path
from typing import Annotated

import typer

from pilothouse.app import StartFailed
from pilothouse.cli.shared import DataOption, Failed, data_directory, settings_of
from pilothouse.runtime import logs
from pilothouse.runtime.memory import keep_large_blocks_apart
from pilothouse.serving import serve_installation

_COLLECT_AFTER = (100_000, 50, 100)
"""Objects made before the collector looks for cycles, and its generations: requests leave few or none behind."""

_TRIES, _BETWEEN_SECONDS = 10, 0.1


def serve(
    data: DataOption = None,
    http: Annotated[str | None, typer.Option(help="Plain listener, loopback only. Default 127.0.0.1:7700.")] = None,
    https: Annotated[str | None, typer.Option(help="TLS listener for nodes. Default 0.0.0.0:7743.")] = None,
    database: Annotated[str | None, typer.Option(help="postgresql://... instead of SQLite.")] = None,
    blobs: Annotated[str | None, typer.Option(help="s3://bucket/prefix instead of a directory for contents.")] = None,
    bus: Annotated[
        str | None, typer.Option(help="nats://... for wake-ups between servers, instead of PostgreSQL's NOTIFY.")
    ] = None,
    name: Annotated[list[str] | None, typer.Option(help="Host name or address the certificate covers.")] = None,
    roles: Annotated[
        str | None, typer.Option(help="What this server does: api, gateway, scheduler, with commas. Default: all.")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that share the work. Default 1.")] = None,
    dev: Annotated[
        bool, typer.Option("--dev", help="Any 12-digit key with secret 'test' works. Loopback only.")
    ] = False,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Start the server and stay in the foreground until SIGTERM, SIGHUP or Ctrl-C."""
    if log_level not in {"debug", "info", "warning", "error"}:
        raise Failed(f"--log-level {log_level}: use debug, info, warning or error")
    logs.configure(level=log_level)
    directory = _usable_directory(data_directory(data))
    settings = settings_of(
        directory,
        http=http,
        https=https,
        database=database,
        blobs=blobs,
        bus=bus,
        names=tuple(name) if name else None,
        roles=tuple(each.strip() for each in roles.split(",") if each.strip()) if roles is not None else None,
        workers=workers,
        dev=dev or None,
    )
    held = _hold(directory)
    keep_large_blocks_apart()
    gc.freeze()  # what start-up has made stays; looking through it at each collection would cost every request
    gc.set_threshold(*_COLLECT_AFTER)
    try:
        serve_installation(settings)
    except StartFailed as error:
        raise Failed(str(error)) from error
    finally:
        os.close(held)


def _usable_directory(data: Path) -> Path:
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        if data.stat().st_uid == os.getuid():
            data.chmod(0o700)
        probe = data / f".writable.{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise Failed(
            f"cannot write to the data directory {data}: {error.strerror}; choose another with --data"
        ) from error
    return data


def _hold(data: Path) -> int:
    """Only one server at a time works on a data directory. The lock goes with its processes, however they end: workers
    of one that was killed a moment ago are about to.
    """
    descriptor = os.open(data / "serve.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    for _ in range(_TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_BETWEEN_SECONDS)
        else:
            return descriptor
    os.close(descriptor)
    raise Failed(f"another server is running on {data}; stop it first, or use another --data")
