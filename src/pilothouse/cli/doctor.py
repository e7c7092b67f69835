"""`pilothouse doctor`: look at an installation, say what is wrong and how to mend it."""

import asyncio
import json
import ssl
import stat
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from pilothouse.app import StartFailed, opened_house
from pilothouse.capabilities import access
from pilothouse.cli.shared import DataOption, Failed, existing_data, master_key, settings_of, table_console
from pilothouse.crypto.certificates import days_left
from pilothouse.crypto.master_key import MasterKeyUnusable
from pilothouse.gateway import presence
from pilothouse.runtime.listening import client_url, read_listening
from pilothouse.runtime.settings import ROLES, Settings


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at."""

    check: str
    ok: bool
    found: str
    mend: str = ""


def doctor(data: DataOption = None, output: Annotated[str, typer.Option(help="table or json.")] = "table") -> None:
    """Check an installation. Exit code 1 when something is wrong."""
    if output not in {"table", "json"}:
        raise Failed(f"--output {output}: use table or json")
    directory = existing_data(data)
    findings = asyncio.run(_examine(directory, settings_of(directory)))
    if output == "json":
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        _show(findings)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


def _show(findings: list[Finding]) -> None:
    table = Table("", "Check", "Found", "To mend it")
    for finding in findings:
        mark = "[green]ok[/]" if finding.ok else "[red]wrong[/]"
        table.add_row(mark, finding.check, escape(finding.found), escape(finding.mend))
    table_console().print(table)


async def _examine(data: Path, settings: Settings) -> list[Finding]:
    checks: list[Callable[[Path, Settings], Awaitable[Finding]]] = [
        _mode,
        _keys,
        _database,
        _certificate,
        _server,
        _roles,
    ]
    return [await check(data, settings) for check in checks]


async def _mode(data: Path, settings: Settings) -> Finding:
    mode = stat.S_IMODE(data.stat().st_mode)
    return Finding(
        "data directory",
        mode & 0o077 == 0,
        f"{data}, mode {mode:04o}",
        "" if mode & 0o077 == 0 else f"chmod 700 {data}",
    )


async def _keys(data: Path, settings: Settings) -> Finding:
    try:
        root = await access.read_root(master_key(settings), data)
    except MasterKeyUnusable as error:
        return Finding("master key", False, str(error), "put the right master.key back, from a backup of the directory")
    if root is None:
        return Finding("master key", False, "root.sealed does not open with it", "put the right master.key back")
    return Finding("master key", True, f"opens the root key of account {root.account_id}")


async def _database(data: Path, settings: Settings) -> Finding:
    try:
        async with opened_house(settings, create=False) as house, house.database.reading() as tx:
            count = await tx.value("select count(*) from schema_migration")
    except StartFailed as error:
        return Finding(
            "database", False, str(error), "check --database, or database in pilothouse.toml, and that it runs"
        )
    return Finding("database", True, f"{house.database.engine}, {count} migrations")


async def _certificate(data: Path, settings: Settings) -> Finding:
    chain = Path(settings.certificate) if settings.certificate else data / "server.pem"
    try:
        left = days_left(chain, datetime.now(UTC))
    except (OSError, ValueError) as error:
        return Finding("certificate", False, f"{chain}: {error}", "start the server once; it makes its own")
    return Finding(
        "certificate", left > 14, f"{left} days left", "" if left > 14 else "restart the server: it renews its own"
    )


async def _server(data: Path, settings: Settings) -> Finding:
    address = (read_listening(data) or {"https": settings.https})["https"]
    url = client_url("https", address)

    def ask() -> int:
        trust = ssl.create_default_context(cafile=str(data / "ca.pem"))
        with urllib.request.urlopen(f"{url}/health", context=trust, timeout=5) as answer:  # noqa: S310 - our own URL
            status: int = answer.status
            return status

    try:
        status = await asyncio.to_thread(ask)
    except (OSError, urllib.error.URLError) as error:
        return Finding("server", False, f"{url} does not answer: {error}", f"pilothouse serve --data {data}")
    return Finding("server", status == 200, f"{url} answers {status}")


async def _roles(data: Path, settings: Settings) -> Finding:
    """Whether somebody does each of the things that must be done, here or on another machine."""
    try:
        async with opened_house(settings, create=False) as house, house.database.reading() as tx:
            alive = await presence.alive(tx, house.clock.millis())
    except StartFailed as error:
        return Finding("processes", False, str(error), "mend the database first")
    counts = {role: sum(role in each for each in alive) for role in ROLES}
    missing = [role for role, count in counts.items() if not count]
    seen = ", ".join(f"{count} {role}" for role, count in counts.items())
    return Finding(
        "processes",
        not missing,
        f"seen within {presence.ALIVE_MS // 1000} s: {seen}",
        f"start one: pilothouse serve --roles {','.join(missing)}" if missing else "",
    )
