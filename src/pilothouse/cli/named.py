"""What the groups of commands for things with names and ids share: options, asking, choosing by name, showing."""

import functools
import inspect
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from botocore.exceptions import BotoCoreError, ClientError
from rich.table import Table
from rich.text import Text

from pilothouse.cli.connections import Clients, Side, told
from pilothouse.cli.shared import DataOption, Failed, table_console

RegionOption = Annotated[str | None, typer.Option("--region", help="Default: the region of the AWS settings.")]
ProfileOption = Annotated[str | None, typer.Option("--profile", help="A profile of the AWS settings.")]
EndpointOption = Annotated[str | None, typer.Option("--endpoint-url", help="Default: AWS_ENDPOINT_URL.")]
OutputOption = Annotated[str, typer.Option("--output", help="text or json.")]


def connected(
    region: str | None, profile: str | None, endpoint_url: str | None, data: Path | None, output: str
) -> Clients:
    """Clients for the side that the options name. Raises Failed, also for another --output."""
    if output not in {"text", "json"}:
        raise Failed(f"--output {output}: use text or json")
    return Clients(Side(profile=profile, endpoint_url=endpoint_url, region=region, data=data))


def _options(
    region: RegionOption = None,
    profile: ProfileOption = None,
    endpoint_url: EndpointOption = None,
    data: DataOption = None,
    output: OutputOption = "text",
) -> None:
    """Those that every command of such a group has."""


_COMMON = inspect.signature(_options).parameters


def with_clients(command: Callable[..., None]) -> Callable[..., None]:
    """A command that names the options of its own alone: the common ones are added to them, and it is called with the
    `clients` for the side that they name and with `output`.
    """
    own = [each for each in inspect.signature(command).parameters.values() if each.name not in ("clients", "output")]

    @functools.wraps(command)
    def called(**given: Any) -> None:
        common = {name: given.pop(name) for name in _COMMON}
        command(clients=connected(**common), output=common["output"], **given)

    parameters = [*own, *_COMMON.values()]
    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {each.name: each.annotation for each in parameters}
    return called


def asked(clients: Clients, service: str, method: str, **request: Any) -> dict[str, Any]:
    """The answer to one call. Raises Failed."""
    try:
        answer: dict[str, Any] = getattr(clients.service(service), method)(**request)
    except (BotoCoreError, ClientError) as error:
        raise told(error) from error
    answer.pop("ResponseMetadata", None)
    return answer


def pages(clients: Clients, service: str, method: str, member: str, **request: Any) -> Iterator[dict[str, Any]]:
    """All entries of a list. Raises Failed."""
    while True:
        answer = asked(clients, service, method, **request)
        yield from answer[member]
        if not answer.get("NextToken"):
            return
        request["NextToken"] = answer["NextToken"]


def chosen(named: str, ids: Iterable[str], what: str) -> str:
    """The one that has the name. Raises Failed for none and for several."""
    found = sorted(ids)
    if not found:
        raise Failed(f"there is no {what} named {named} in this account and region")
    if len(found) > 1:
        raise Failed(f"{len(found)} are named {named}; name one by its id: {', '.join(found)}")
    return found[0]


def show(entries: Sequence[Mapping[str, Any]], output: str, columns: Sequence[str], nothing: str) -> None:
    """As a table with these columns, or all as JSON; members that are None are left out."""
    if output == "json":
        said = [{name: _plain(value) for name, value in each.items() if value is not None} for each in entries]
        typer.echo(json.dumps(said, indent=2))
        return
    console = table_console()
    if not entries:
        console.print(Text(nothing))
        return
    table = Table(box=None, pad_edge=False)
    for name in columns:
        table.add_column(name, overflow="fold")
    for each in entries:
        table.add_row(*(Text(_text(each.get(name))) for name in columns))
    console.print(table)


def show_one(entry: Mapping[str, Any], output: str, line: str) -> None:
    """As one line, or as JSON."""
    if output == "json":
        typer.echo(json.dumps({name: _plain(value) for name, value in entry.items() if value is not None}, indent=2))
    else:
        typer.echo(line)


def _plain(value: Any) -> Any:
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M}Z"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else printable(str(value))


def printable(text: str) -> str:
    """A text from a node or a user, with nothing in it that moves a terminal."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
