"""`pilothouse audit`: is the trail whole, what is in it, and all of it for others."""

import asyncio
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from pilothouse.app import StartFailed, opened_house
from pilothouse.capabilities import audit
from pilothouse.cli.connections import Clients, Side, told
from pilothouse.cli.params import parse_moment
from pilothouse.cli.shared import DataOption, Failed, existing_data, settings_of, table_console
from pilothouse.crypto.vault import SealBroken
from pilothouse.storage import StorageUnavailable

app = typer.Typer(no_args_is_help=True, help="The audit trail: verify, search, export.")

OutputOption = Annotated[str, typer.Option("--output", help="text or json.")]
_BATCH = 500


@app.command("verify")
def verify(data: DataOption = None, output: OutputOption = "text") -> None:
    """Look through the whole trail for records that were changed, put in or taken out. The server may run meanwhile."""
    _check_output(output)
    report = _run(_verify(existing_data(data), shown=sys.stderr.isatty()))
    if output == "json":
        typer.echo(
            json.dumps(
                {
                    "Whole": not report.faults,
                    "Records": report.records,
                    "First": report.first_seq,
                    "Last": report.last_seq,
                    "NotYetLinked": report.waiting,
                    "Faults": report.faults,
                },
                indent=2,
            )
        )
    else:
        typer.echo(
            f"{report.records} records, {report.first_seq} to {report.last_seq}, {report.waiting} not linked yet"
        )
        for fault in report.faults:
            typer.echo(f"  {fault}")
    if report.faults:
        raise Failed("the audit trail is not as it was written")
    if output == "text":
        typer.echo("The trail is as it was written.")


@app.command("export")
def export(
    data: DataOption = None,
    after: Annotated[int, typer.Option(help="Begin after this place in the chain, `pilothouse.seq` of a line.")] = 0,
) -> None:
    """Write every record as one line of JSON to standard output, oldest first."""
    _run(_export(existing_data(data), after))


@app.command("search")
def search(
    event: Annotated[str, typer.Option(help="Name of the operation, such as PutParameter.")] = "",
    user: Annotated[str, typer.Option(help="User, session or node; `root`.")] = "",
    resource: Annotated[str, typer.Option(help="Name or ARN of what it was about.")] = "",
    access_key: Annotated[str, typer.Option("--access-key", help="Access key id.")] = "",
    since: Annotated[str, typer.Option(help='2026-11-24T10:00:00Z, or "2 hours ago".')] = "",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Records at most, the newest ones.")] = 50,
    region: Annotated[str | None, typer.Option("--region", help="Default: the region of the AWS settings.")] = None,
    profile: Annotated[str | None, typer.Option("--profile", help="A profile of the AWS settings.")] = None,
    endpoint_url: Annotated[str | None, typer.Option("--endpoint-url", help="Default: AWS_ENDPOINT_URL.")] = None,
    data: DataOption = None,
    output: OutputOption = "text",
) -> None:
    """Who did what in an account and a region, newest first."""
    _check_output(output)
    wanted = {"EventName": event, "Username": user, "ResourceName": resource, "AccessKeyId": access_key}
    given = [{"AttributeKey": key, "AttributeValue": value} for key, value in wanted.items() if value]
    asked: dict[str, Any] = {"LookupAttributes": given[:1]} if given else {}
    if since:
        asked["StartTime"] = parse_moment(since, datetime.now(UTC))
    client = Clients(Side(profile=profile, endpoint_url=endpoint_url, region=region, data=data)).service("cloudtrail")
    found: list[dict[str, Any]] = []
    try:
        for page in client.get_paginator("lookup_events").paginate(**asked):
            found += [each for each in page["Events"] if _fits(each, given[1:])]
            if len(found) >= limit:
                break
    except (BotoCoreError, ClientError) as error:
        raise told(error) from error
    if output == "json":
        typer.echo(json.dumps([json.loads(each["CloudTrailEvent"]) for each in found[:limit]], indent=2))
    else:
        _show(found[:limit])


def _fits(event: dict[str, Any], wanted: list[dict[str, str]]) -> bool:
    """The API takes one attribute; the others are looked at here."""
    for each in wanted:
        key, value = each["AttributeKey"], each["AttributeValue"]
        if key == "ResourceName":
            if not any(one["ResourceName"].endswith(value.lstrip("/")) for one in event["Resources"]):
                return False
        elif event.get(key) != value:
            return False
    return True


def _show(found: list[dict[str, Any]]) -> None:
    table = Table(box=None, pad_edge=False)
    for name in ("time (UTC)", "user", "event", "resource", "outcome"):
        table.add_column(name, overflow="fold")
    for each in found:
        event = json.loads(each["CloudTrailEvent"])
        resources = ", ".join(one["ResourceName"].split(":", 5)[-1] for one in each.get("Resources") or ())
        cells = (
            each["EventTime"].astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S"),
            each.get("Username", ""),
            each["EventName"],
            resources,
            event.get("errorCode", "done"),
        )
        table.add_row(*(Text(cell) for cell in cells))
    table_console().print(table)


async def _verify(directory: Path, *, shown: bool) -> audit.Report:
    settings = settings_of(directory)
    async with opened_house(settings, create=False) as house:
        key = await audit.kept_key(house)
        if key is None:
            async with house.database.reading() as tx:
                if await audit.exported(tx, -(1 << 62), 1):
                    raise Failed("the key of the audit trail is gone (audit_key): its records cannot be proven")
            return audit.Report()
        with Progress(console=Console(stderr=True), disable=not shown) as bar:
            task = bar.add_task("looking at records", total=None)

            async def progress(count: int) -> None:
                bar.advance(task, count)

            return await audit.verify(house.database, directory, key, progress)


async def _export(directory: Path, after: int) -> None:
    async with opened_house(settings_of(directory), create=False) as house:
        while True:
            async with house.database.reading() as tx:
                records = await audit.exported(tx, after, _BATCH)
            for each in records:
                typer.echo(audit.line_of(each).decode())
            if len(records) < _BATCH:
                return
            after = records[-1].seq or 0


def _run(work: Any) -> Any:
    try:
        return asyncio.run(work)
    except SealBroken as error:
        raise Failed(f"the key of the audit trail (audit_key) does not open: {error}") from error
    except (StartFailed, StorageUnavailable) as error:
        raise Failed(str(error)) from error


def _check_output(output: str) -> None:
    if output not in {"text", "json"}:
        raise Failed(f"--output {output}: use text or json")
