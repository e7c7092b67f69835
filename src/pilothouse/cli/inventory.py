"""`pilothouse inventory`: which node has a package, and in which version."""

import csv
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pilothouse.cli.connections import Clients, Side, told
from pilothouse.cli.shared import DataOption, Failed

_APPLICATION = "AWS:Application"
_SHOWN = {
    _APPLICATION: ("Name", "Version", "Release", "Architecture", "InstalledTime"),
    "AWS:Network": ("Name", "IPV4", "IPV6", "MacAddress"),
    "AWS:Service": ("Name", "Status", "StartType"),
    "AWS:File": ("Name", "InstalledDir", "Size", "ModificationTime"),
}
"""Columns of the table; other types have those of their entries."""
_FORMATS = ("table", "json", "csv")


def inventory(
    names: Annotated[list[str] | None, typer.Argument(help="Names of packages, or of what the type holds.")] = None,
    kind: Annotated[str, typer.Option("--type", help="Such as AWS:Service or Custom:Rack.")] = _APPLICATION,
    begin: Annotated[bool, typer.Option("--begin", help="Names that begin so.")] = False,
    older: Annotated[str, typer.Option("--older-than", help="Versions less than this one.")] = "",
    newer: Annotated[str, typer.Option("--newer-than", help="Versions greater than this one.")] = "",
    where: Annotated[
        list[str] | None,
        typer.Option(
            "--where", help="ATTRIBUTE=VALUE, such as Architecture=x86_64 or AWS:Tag.Key=env; can be repeated."
        ),
    ] = None,
    node: Annotated[str, typer.Option("--node", help="On this node alone.")] = "",
    changes: Annotated[bool, typer.Option("--changes", help="With --node: what came and went.")] = False,
    region: Annotated[str | None, typer.Option("--region", help="Default: the region of the AWS settings.")] = None,
    profile: Annotated[str | None, typer.Option("--profile", help="A profile of the AWS settings.")] = None,
    endpoint_url: Annotated[str | None, typer.Option("--endpoint-url", help="Default: AWS_ENDPOINT_URL.")] = None,
    data: DataOption = None,
    output: Annotated[str, typer.Option("--output", help="table, json or csv.")] = "table",
) -> None:
    """Show which nodes have NAMES, and in which versions; all entries of the type where nothing is named."""
    if output not in _FORMATS:
        raise Failed(f"--output {output}: use {', '.join(_FORMATS)}")
    client = _client(profile, endpoint_url, region, data)
    if changes:
        if not node:
            raise Failed("--changes needs --node: what came and went on one node")
        _show_changes(_all(client.list_inventory_versions, "Versions", InstanceId=node, TypeName=kind), kind, output)
        return
    filters = _filters(names or [], begin, older, newer, where or [], node)
    matches = _all(client.search_inventory, "Matches", TypeName=kind, **({"Filters": filters} if filters else {}))
    if output == "json":
        typer.echo(json.dumps(matches, indent=2))
        return
    columns = _SHOWN.get(kind) or tuple(dict.fromkeys(name for each in matches for name in each["Entry"]))
    lines = [
        [each["InstanceId"], each.get("ComputerName", ""), *(each["Entry"].get(name, "") for name in columns),
         each.get("CaptureTime", "")]
        for each in matches
    ]  # fmt: skip
    _show(["Node", "Computer", *columns, "Captured"], lines, output)
    if output == "table":
        many = len({each["InstanceId"] for each in matches})
        Console(stderr=True).print(f"{len(matches)} entries on {many} nodes")


def _client(profile: str | None, endpoint_url: str | None, region: str | None, data: Path | None) -> Any:
    return Clients(Side(profile=profile, endpoint_url=endpoint_url, region=region, data=data)).service("pilothouse")


def _filters(
    names: Sequence[str], begin: bool, older: str, newer: str, where: Sequence[str], node: str
) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if names:
        found.append({"Key": "Name", "Values": list(names), "Type": "BeginWith" if begin else "Equal"})
    if older:
        found.append({"Key": "Version", "Values": [older], "Type": "LessThan"})
    if newer:
        found.append({"Key": "Version", "Values": [newer], "Type": "GreaterThan"})
    for each in where:
        key, equals, value = each.partition("=")
        if not key or not equals:
            raise Failed(f"--where {each}: write ATTRIBUTE=VALUE")
        found.append({"Key": key, "Values": [value]})
    if node:
        found.append({"Key": "AWS:InstanceInformation.InstanceId", "Values": [node]})
    if len(found) > 5:
        raise Failed("at most five conditions can be asked for at once")
    return found


def _all(call: Any, member: str, **asked: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    try:
        while True:
            answer = call(**asked)
            found += answer[member]
            if not answer.get("NextToken"):
                return found
            asked["NextToken"] = answer["NextToken"]
    except (BotoCoreError, ClientError) as error:
        raise told(error) from error


def _show_changes(versions: Sequence[Mapping[str, Any]], kind: str, output: str) -> None:
    if output == "json":
        typer.echo(json.dumps(versions, indent=2, default=str))
        return
    lines = []
    for each in versions:
        when = f"{each['ChangedTime']:%Y-%m-%d %H:%M}"
        for sign, member in (("+", "Added"), ("-", "Removed")):
            lines += [[when, sign, *_words(kind, entry)] for entry in each.get(member, ())]
    _show(["Changed", "", "Name", "Version", "More"], lines, output)


def _words(kind: str, entry: Mapping[str, str]) -> list[str]:
    shown = _SHOWN.get(kind, ())
    rest = " ".join(f"{name}={entry[name]}" for name in (shown or entry) if name in entry and name not in _PLAIN)
    return [entry.get("Name", ""), entry.get("Version", ""), rest]


_PLAIN = ("Name", "Version")


def _show(head: Sequence[str], lines: Sequence[Sequence[str]], output: str) -> None:
    if output == "csv":
        writer = csv.writer(sys.stdout)
        writer.writerow(head)
        writer.writerows([[_harmless(plain(cell)) for cell in line] for line in lines])
        return
    table = Table(box=None, pad_edge=False)
    for name in head:
        table.add_column(name, overflow="fold")
    for line in lines:
        table.add_row(*(Text(plain(cell)) for cell in line))
    wide(table)


def wide(table: Table) -> None:
    """Print it; for a file or a pipe each line as long as it is."""
    Console(width=None if sys.stdout.isatty() else 1000).print(table)


def plain(text: str) -> str:
    """What a node said, without control characters: it must not move the cursor of who reads it."""
    return "".join(each if each.isprintable() else f"\\x{ord(each):02x}" for each in text)


def _harmless(cell: str) -> str:
    """A spreadsheet shall not take it for a formula."""
    return f"'{cell}" if cell[:1] in ("=", "+", "-", "@") else cell
