"""`pilothouse windows`: maintenance windows, started by hand, paused and resumed."""

import json
import re
import time
from typing import Annotated, Any, Final

import typer

from pilothouse.cli.connections import Clients
from pilothouse.cli.named import asked, chosen, pages, show, show_one, with_clients

app = typer.Typer(no_args_is_help=True, help="Maintenance windows: list, start, pause and resume them.")

_GOING_ON = {"PENDING", "IN_PROGRESS", "CANCELLING"}
_LOOK_SECONDS = 1.0


Named = Annotated[str, typer.Argument(metavar="NAME|WINDOW-ID")]
_ID: Final = re.compile(r"mw-[0-9a-f]{17}")
_COLUMNS: Final = ("Name", "Schedule", "ScheduleTimezone", "Enabled", "NextExecutionTime", "WindowId")


@app.command("list")
@with_clients
def listed(clients: Clients, output: str) -> None:
    """Every window of the account and region, and when it starts next."""
    found = list(pages(clients, "ssm", "describe_maintenance_windows", "WindowIdentities"))
    show(found, output, _COLUMNS, "There are no maintenance windows.")


@app.command("pause")
@with_clients
def pause(clients: Clients, output: str, named: Named) -> None:
    """Have it start by hand only: it is disabled. What goes on of it goes on."""
    _switch(clients, named, output, enabled=False)


@app.command("resume")
@with_clients
def resume(clients: Clients, output: str, named: Named) -> None:
    """Have it start by its schedule again; starts that passed are not made up for."""
    _switch(clients, named, output, enabled=True)


def _switch(clients: Clients, named: str, output: str, *, enabled: bool) -> None:
    window_id = id_of(clients, named)
    asked(clients, "ssm", "update_maintenance_window", WindowId=window_id, Enabled=enabled)
    found = asked(clients, "ssm", "get_maintenance_window", WindowId=window_id)
    entry = {name: found.get(name) for name in ("WindowId", "Name", "Enabled", "NextExecutionTime")}
    following = f", starts next at {entry['NextExecutionTime']}" if entry["NextExecutionTime"] else ""
    show_one(entry, output, f"{window_id}  {'resumed' if enabled else 'paused'}{following}")


def id_of(clients: Clients, named: str) -> str:
    """What looks like an id is one."""
    if _ID.fullmatch(named):
        return named
    by_name = [{"Key": "Name", "Values": [named]}]
    found = pages(clients, "ssm", "describe_maintenance_windows", "WindowIdentities", Filters=by_name)
    return chosen(named, (each["WindowId"] for each in found), "maintenance window")


@app.command("run")
@with_clients
def run(
    clients: Clients,
    output: str,
    named: Named,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end; exit code 1 unless it is SUCCESS.")] = False,
) -> None:
    """Start a window now, also one that is disabled; its Duration and Cutoff count from now."""
    found = asked(clients, "pilothouse", "run_maintenance_window", WindowId=id_of(clients, named))
    if wait:
        found |= _ended(clients, found["WindowExecutionId"])
    if output == "json":
        typer.echo(json.dumps(found, indent=2))
    else:
        details = f" ({found['StatusDetails']})" if found.get("StatusDetails") else ""
        typer.echo(f"{found['WindowExecutionId']}  {found['Status']}{details}")
    if found["Status"] == "SKIPPED_OVERLAPPING" or (wait and found["Status"] != "SUCCESS"):
        raise typer.Exit(1)


def _ended(clients: Clients, execution_id: str) -> dict[str, Any]:
    """Status of the execution once it has ended."""
    while True:
        got = asked(clients, "ssm", "get_maintenance_window_execution", WindowExecutionId=execution_id)
        if got["Status"] not in _GOING_ON:
            return {name: got[name] for name in ("Status", "StatusDetails") if got.get(name)}
        time.sleep(_LOOK_SECONDS)
