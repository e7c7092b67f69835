"""`pilothouse schedule`: what will happen in the next days, as a table, as JSON or as a calendar."""

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer
from botocore.exceptions import BotoCoreError, ClientError
from rich.table import Table
from rich.text import Text

from pilothouse.cli.connections import Clients, Side, told
from pilothouse.cli.shared import DataOption, Failed, table_console

_SHOWN = 200
_KINDS = {"association": "association", "maintenance-window": "window"}


def schedule(
    days: Annotated[int, typer.Option(help="How far ahead, up to 366.")] = 30,
    most: Annotated[int, typer.Option(help="So many entries at most; 0 for all.")] = _SHOWN,
    zone: Annotated[str, typer.Option(help="Time zone that times are shown in, such as Europe/Berlin.")] = "UTC",
    region: Annotated[str | None, typer.Option("--region", help="Default: the region of the AWS settings.")] = None,
    profile: Annotated[str | None, typer.Option("--profile", help="A profile of the AWS settings.")] = None,
    endpoint_url: Annotated[str | None, typer.Option("--endpoint-url", help="Default: AWS_ENDPOINT_URL.")] = None,
    data: DataOption = None,
    output: Annotated[str, typer.Option("--output", help="text, json or ics (iCalendar).")] = "text",
) -> None:
    """Show what the schedules hold for the next days: associations, and whatever else has a schedule."""
    if output not in {"text", "json", "ics"}:
        raise Failed(f"--output {output}: use text, json or ics")
    shown_in = _zone(zone)
    clients = Clients(Side(profile=profile, endpoint_url=endpoint_url, region=region, data=data))
    try:
        found = list(_coming(clients.service("pilothouse"), days, most))
    except (BotoCoreError, ClientError) as error:
        raise told(error) from error
    more = most and len(found) > most
    found = found[:most] if most else found
    if output == "json":
        typer.echo(json.dumps([{**each, "At": each["At"].astimezone(UTC).isoformat()} for each in found], indent=2))
    elif output == "ics":
        typer.echo(_calendar(found).decode(), nl=False)
    else:
        _show(found, shown_in, days)
    if more:
        typer.echo(f"There is more; these are the first {most}. Use --most 0 to see all.", err=True)


def _coming(client: Any, days: int, most: int) -> Iterator[dict[str, Any]]:
    request: dict[str, Any] = {"Days": days, "MaxResults": min(most + 1, 1000) if most else 1000}
    count = 0
    while True:
        answer = client.list_coming_runs(**request)
        yield from answer["Runs"]
        count += len(answer["Runs"])
        if not answer.get("NextToken") or (most and count > most):
            return
        request["NextToken"] = answer["NextToken"]


def _zone(name: str) -> tzinfo:
    try:
        return UTC if name == "UTC" else ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise Failed(f"--zone {name}: there is no such time zone; write it as Europe/Berlin") from error


def _show(found: Iterable[dict[str, Any]], zone: tzinfo, days: int) -> None:
    console = table_console()
    table = Table(box=None, pad_edge=False)
    for name in ("when", "kind", "name", "what", "id"):
        table.add_column(name, overflow="fold")
    for each in found:
        when = each["At"].astimezone(zone).strftime("%a %Y-%m-%d %H:%M %Z")
        cells = (
            when,
            _KINDS.get(each["Kind"], each["Kind"]),
            each.get("Name", "-"),
            each.get("About", "-"),
            each["Id"],
        )
        table.add_row(*(Text(cell) for cell in cells))
    if not table.row_count:
        console.print(Text(f"Nothing is scheduled for the next {days} days."))
        return
    console.print(table)


def _calendar(found: Iterable[dict[str, Any]]) -> bytes:
    """Each run as an event; its id stays the same, so that a calendar that is read again holds it once."""
    from icalendar import Calendar, Event  # takes long to load, and few want it

    calendar = Calendar()
    calendar.add("prodid", "-//Pilothouse//schedule//EN")
    calendar.add("version", "2.0")
    calendar.add("x-wr-calname", "Pilothouse")
    now = datetime.now(UTC)
    for each in found:
        event = Event()
        event.add("uid", f"{each['Kind']}.{each['Id']}.{each['At'].timestamp():.0f}@pilothouse")
        event.add("dtstamp", now)
        event.add("dtstart", each["At"].astimezone(UTC))
        event.add("duration", timedelta(minutes=each.get("Minutes") or 0))
        event.add("summary", each.get("Name") or f"{each['Kind']} {each['Id']}")
        event.add("description", f"{each.get('About', '')} ({each['Kind']} {each['Id']})".strip())
        event.add("categories", [each["Kind"]])
        calendar.add_component(event)
    return bytes(calendar.to_ical())
