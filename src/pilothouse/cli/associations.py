"""`pilothouse associations`: what nodes keep to, and pausing it."""

import re
from typing import Annotated, Any, Final

import typer

from pilothouse.cli.connections import Clients
from pilothouse.cli.named import asked, chosen, pages, show, show_one, with_clients

app = typer.Typer(no_args_is_help=True, help="Associations: list, pause and resume them.")

Named = Annotated[str, typer.Argument(metavar="NAME|ID", help="AssociationName or AssociationId.")]
_ID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_COLUMNS: Final = ("AssociationName", "Name", "ScheduleExpression", "Status", "PausedAt", "AssociationId")


@app.command("list")
@with_clients
def listed(
    clients: Clients,
    output: str,
    paused: Annotated[bool, typer.Option("--paused", help="Those alone that are paused.")] = False,
) -> None:
    """Every association of the account and region, with its status, and since when it is paused."""
    found = pages(clients, "pilothouse", "list_paused_associations", "Associations")
    stopped = {each["AssociationId"]: each for each in found}
    entries = [
        _entry(each, stopped.get(each["AssociationId"]))
        for each in pages(clients, "ssm", "list_associations", "Associations")
        if not paused or each["AssociationId"] in stopped
    ]
    show(entries, output, _COLUMNS, "No association is paused." if paused else "There are no associations.")


def _entry(listed_: dict[str, Any], pause_: dict[str, Any] | None) -> dict[str, Any]:
    names = ("AssociationId", "AssociationName", "Name", "ScheduleExpression")
    found = {name: listed_.get(name) for name in names} | {"Status": listed_["Overview"]["Status"]}
    return found | ({} if pause_ is None else {name: pause_[name] for name in ("PausedAt", "PausedBy")})


@app.command("pause")
@with_clients
def pause(clients: Clients, output: str, named: Named) -> None:
    """Have nothing run by it until it is resumed; times of its schedule that pass are not made up for."""
    association_id = id_of(clients, named)
    asked(clients, "pilothouse", "pause_association", AssociationId=association_id)
    show_one({"AssociationId": association_id, "Paused": True}, output, f"{association_id}  paused")


@app.command("resume")
@with_clients
def resume(clients: Clients, output: str, named: Named) -> None:
    """Have it go on with the next time of its schedule."""
    association_id = id_of(clients, named)
    asked(clients, "pilothouse", "resume_association", AssociationId=association_id)
    show_one({"AssociationId": association_id, "Paused": False}, output, f"{association_id}  resumed")


def id_of(clients: Clients, named: str) -> str:
    """What looks like an id is one."""
    if _ID.fullmatch(named):
        return named.lower()
    by_name = [{"key": "AssociationName", "value": named}]
    found = pages(clients, "ssm", "list_associations", "Associations", AssociationFilterList=by_name)
    return chosen(named, (each["AssociationId"] for each in found), "association")
