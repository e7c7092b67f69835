"""`pilothouse patch`: how the fleet is patched, and what a node would get."""

import csv
import io
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pilothouse.cli.connections import Clients, Side, told
from pilothouse.cli.inventory import plain
from pilothouse.cli.patch_page import page_of
from pilothouse.cli.shared import DataOption, Failed, table_console

app = typer.Typer(no_args_is_help=True, help="Patches: how nodes stand, and what they would get.")

_COUNTS = {
    "Missing": "Missing", "Failed": "Failed", "PendingReboot": "Reboot", "Rejected": "Rejected",
    "Installed": "Installed", "InstalledOther": "Other",
}  # fmt: skip
_FORMS = ("text", "json", "csv", "html")


@app.command("status")
def status(
    group: Annotated[str | None, typer.Option("--group", help="Nodes of one patch group.")] = None,
    only_non_compliant: Annotated[
        bool, typer.Option("--non-compliant", help="Only nodes that lack something.")
    ] = False,
    file: Annotated[Path | None, typer.Option("--file", help="Write to a file in place of the terminal.")] = None,
    region: Annotated[str | None, typer.Option("--region", help="Default: the region of the AWS settings.")] = None,
    profile: Annotated[str | None, typer.Option("--profile", help="A profile of the AWS settings.")] = None,
    endpoint_url: Annotated[str | None, typer.Option("--endpoint-url", help="Default: AWS_ENDPOINT_URL.")] = None,
    data: DataOption = None,
    output: Annotated[
        str, typer.Option("--output", help="text, json, csv or html (a page that needs nothing else).")
    ] = "text",
) -> None:
    """How each node stands against its baseline; nodes that never reported are listed as such."""
    if output not in _FORMS:
        raise Failed(f"--output {output}: use {', '.join(_FORMS)}")
    clients = Clients(Side(profile=profile, endpoint_url=endpoint_url, region=region, data=data))
    try:
        rows = list(_rows(clients, group))
    except (BotoCoreError, ClientError) as error:
        raise told(error) from error
    if only_non_compliant:
        rows = [row for row in rows if row["Compliant"] is not True]
    if output != "json":
        rows = [{name: _plain(value) for name, value in row.items()} for row in rows]
    if output == "text" and file is None:
        _show(rows)
        return
    text = {"json": _json, "csv": _csv, "html": page_of, "text": _listed}[output](rows)
    if file is None:
        typer.echo(text)
        return
    try:
        file.write_text(text)
    except OSError as error:
        raise Failed(f"{file} cannot be written: {error.strerror}") from error


def _rows(clients: Clients, group: str | None) -> Iterator[dict[str, Any]]:
    """A row for each node, worst first."""
    ssm, own = clients.service("ssm"), clients.service("pilothouse")
    nodes: dict[str, dict[str, Any]] = {}
    for page in ssm.get_paginator("describe_instance_information").paginate():
        for each in page["InstanceInformationList"]:
            nodes[each["InstanceId"]] = {
                "NodeId": each["InstanceId"],
                "Name": each.get("Name") or each.get("ComputerName") or "",
                "Platform": f"{each.get('PlatformName', '')} {each.get('PlatformVersion', '')}".strip(),
            }
    found = {each["NodeId"]: each for each in _standings(own, group)}
    shown = nodes if group is None else {node_id: node for node_id, node in nodes.items() if node_id in found}
    rows = [_row(node, found.get(node_id)) for node_id, node in shown.items()]
    yield from sorted(rows, key=lambda row: (_rank(row), row["Name"], row["NodeId"]))


def _standings(own: Any, group: str | None) -> Iterator[dict[str, Any]]:
    asked: dict[str, Any] = {} if group is None else {"PatchGroup": group}
    while True:
        page = own.list_patch_standings(**asked)
        yield from page["Standings"]
        if not page.get("NextToken"):
            return
        asked["NextToken"] = page["NextToken"]


def _rank(row: dict[str, Any]) -> tuple[int, int, int]:
    if row["Compliant"] is None:
        return 1, 0, 0
    return (0 if not row["Compliant"] else 2), -row["Critical"], -row["Missing"]


def _row(node: dict[str, Any], standing: dict[str, Any] | None) -> dict[str, Any]:
    counts = ("Critical", "Security", "Other", *(name for name in _COUNTS))
    if standing is None:
        unknown = {"Compliant": None, "BaselineId": "", "PatchGroup": "", "Operation": "", "At": "", "Oldest": ""}
        return {**node, **unknown, "OldestDays": None, **dict.fromkeys(counts)}
    oldest = standing.get("OldestCritical")
    days = None if oldest is None else max(0, (datetime.now(UTC) - oldest["Since"]).days)
    return {
        **node,
        "Compliant": standing["Compliant"],
        "BaselineId": standing["BaselineId"],
        "PatchGroup": standing.get("PatchGroup", ""),
        "Operation": standing["Operation"],
        "At": standing["OperationEndTime"].astimezone(UTC).strftime("%Y-%m-%d %H:%M"),
        "Oldest": "" if oldest is None else oldest["Title"] or oldest["PatchId"],
        "OldestDays": days,
        **{name: standing[name] for name in counts},
    }


def _json(rows: list[dict[str, Any]]) -> str:
    return json.dumps(rows, indent=2)


def _csv(rows: list[dict[str, Any]]) -> str:
    """A table for spreadsheets. A text that one would take for a formula gets an apostrophe: nodes are not trusted."""
    out = io.StringIO()
    names = list(_row({"NodeId": "", "Name": "", "Platform": ""}, None))
    writer = csv.DictWriter(out, names)
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _harmless(value) for name, value in row.items()})
    return out.getvalue().rstrip("\n")


def _plain(value: Any) -> Any:
    """Whatever form it is shown in, a terminal may show it: what nodes say has no control characters then."""
    return plain(value) if isinstance(value, str) else value


def _harmless(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def _table(rows: list[dict[str, Any]], width: int) -> Table:
    """As many columns as fit the terminal; what is left out is in the other forms."""
    wide = width >= 120
    table = Table(box=None, pad_edge=False)
    counts = _COUNTS if wide else {name: _COUNTS[name] for name in ("Missing", "Failed", "PendingReboot")}
    heads = ["Node", "Name", *(["Platform"] if wide else []), "State"]
    for name in heads:
        table.add_column(name, no_wrap=name == "Node", overflow="fold")
    for name in counts.values():
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("Oldest critical", *(["Last run (UTC)"] if wide else [])):
        table.add_column(name, overflow="fold")
    for row in rows:
        oldest = "" if row["OldestDays"] is None else f"{row['Oldest']} ({row['OldestDays']} d)"
        cells = [row["NodeId"], row["Name"], *([row["Platform"]] if wide else []), _state(row)]
        cells += ["" if row[name] is None else str(row[name]) for name in counts]
        cells += [oldest, *([row["At"]] if wide else [])]
        table.add_row(*map(Text, cells))
    return table


def _state(row: dict[str, Any]) -> str:
    if row["Compliant"] is None:
        return "never scanned"
    if row["Compliant"]:
        return "compliant"
    return f"{row['Critical']} critical" if row["Critical"] else "non-compliant"


def _show(rows: list[dict[str, Any]]) -> None:
    console = table_console()
    if not rows:
        console.print(
            "No nodes. Scan some: pilothouse run --all --document AWS-RunPatchBaseline --parameter Operation=Scan"
        )
        return
    console.print(_table(rows, console.width))
    good = sum(1 for row in rows if row["Compliant"])
    unknown = sum(1 for row in rows if row["Compliant"] is None)
    console.print(
        f"\n{good} of {len(rows)} nodes are compliant" + (f", {unknown} were never scanned" if unknown else "")
    )


def _listed(rows: list[dict[str, Any]]) -> str:
    out = io.StringIO()
    Console(file=out, width=200).print(_table(rows, 200))
    return out.getvalue()


@app.command("plan")
def plan(
    node: Annotated[str, typer.Argument(metavar="NODE-ID")],
    every: Annotated[bool, typer.Option("--all", help="Also what would not be installed, and why not.")] = False,
    region: Annotated[str | None, typer.Option("--region", help="Default: the region of the AWS settings.")] = None,
    profile: Annotated[str | None, typer.Option("--profile", help="A profile of the AWS settings.")] = None,
    endpoint_url: Annotated[str | None, typer.Option("--endpoint-url", help="Default: AWS_ENDPOINT_URL.")] = None,
    data: DataOption = None,
    output: Annotated[str, typer.Option("--output", help="text or json.")] = "text",
) -> None:
    """What AWS-RunPatchBaseline would install on a node now, and by which rule. Nothing is installed."""
    if output not in {"text", "json"}:
        raise Failed(f"--output {output}: use text or json")
    clients = Clients(Side(profile=profile, endpoint_url=endpoint_url, region=region, data=data))
    try:
        text = _ran(clients, node, "Pilothouse-PlanPatches")
    except (BotoCoreError, ClientError) as error:
        raise told(error) from error
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    lines = [line for line in lines if every or line["install"]]
    if output == "json":
        typer.echo(json.dumps(lines, indent=2))
        return
    console = table_console()
    if not lines:
        console.print("Nothing would be installed.")
        return
    table = Table(box=None, pad_edge=False)
    for name in ("Package", "Now", "Then", "Repository", "Level", "Install", "Why"):
        table.add_column(name, overflow="fold")
    for line in lines:
        install = "yes" if line["install"] else "no"
        cells = [
            line["id"],
            line["installed"],
            line["version"],
            line["repository"],
            line["level"],
            install,
            line["reason"],
        ]
        table.add_row(*(Text(plain(str(cell))) for cell in cells))
    console.print(table)


_GOING_ON = {"Pending", "InProgress", "Delayed", "Cancelling"}
_LOOK_SECONDS = 1.0
_PAGE = 1024 * 1024


def _ran(clients: Clients, node: str, document: str) -> str:
    """All that the document wrote on the node. Raises Failed."""
    ssm, own = clients.service("ssm"), clients.service("pilothouse")
    command_id = ssm.send_command(InstanceIds=[node], DocumentName=document)["Command"]["CommandId"]
    while True:
        got = ssm.get_command_invocation(CommandId=command_id, InstanceId=node)
        if got["Status"] not in _GOING_ON:
            break
        time.sleep(_LOOK_SECONDS)
    if got["Status"] != "Success":
        said = got["StandardErrorContent"].strip() or got["StatusDetails"]
        raise Failed(f"the node did not answer: {plain(said)} (pilothouse output {command_id} --node {node})")
    try:
        return _whole(own, command_id, node)
    except own.exceptions.ClientError:  # the official agent shows no whole output; what the answer has must do
        return str(got["StandardOutputContent"])


def _whole(own: Any, command_id: str, node: str) -> str:
    parts, offset = [], 0
    while True:
        page = own.get_command_output(CommandId=command_id, InstanceId=node, Offset=offset, MaxBytes=_PAGE)
        parts.append(page["Data"])
        offset = page["NextOffset"]
        if offset >= page["Size"]:
            return b"".join(parts).decode("utf-8", "replace")
