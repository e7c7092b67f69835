"""`pilothouse runbook`: check a runbook, try it without doing anything, draw it, follow and approve executions."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pilothouse.capabilities.automation.checking import problems
from pilothouse.capabilities.automation.drawing import mermaid, svg
from pilothouse.capabilities.automation.given import default_of
from pilothouse.capabilities.automation.refusing import said
from pilothouse.capabilities.automation.runbooks import Runbook, runbook_of
from pilothouse.capabilities.automation.trying import tried
from pilothouse.capabilities.documents.checking import checked
from pilothouse.cli.connections import Clients
from pilothouse.cli.named import OutputOption, RegionOption, asked, pages, show_one, with_clients
from pilothouse.cli.shared import Failed, table_console
from pilothouse.errors import ApiError
from pilothouse.runtime.clock import SystemClock

app = typer.Typer(no_args_is_help=True, help="Runbooks: check, try, draw, follow and approve them.")

_FINAL: Final = frozenset({"Success", "Failed", "TimedOut", "Cancelled"})
_LOOK_SECONDS: Final = 1.0
_MOST_TEXT: Final = 100
_STYLES: Final = {
    "Success": "green", "Failed": "red", "TimedOut": "red", "Cancelled": "dim", "Cancelling": "dim",
    "InProgress": "cyan", "Waiting": "yellow", "Pending": "dim",
}  # fmt: skip

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="JSON or YAML.")]
ExecutionArgument = Annotated[str, typer.Argument(metavar="EXECUTION")]
ParametersOption = Annotated[
    list[str] | None, typer.Option("--parameter", help="NAME=VALUE; again for more, and for more values of one.")
]


def _read(file: Path) -> tuple[str, str]:
    """The text and its format."""
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Failed(f"{file} cannot be read: {error}") from error
    return text, "JSON" if text.lstrip().startswith("{") else "YAML"


def _content(file: Path) -> dict[str, Any]:
    """The content of a runbook without problems. Raises Failed that names the first."""
    content, found = _looked_at(file)
    if found:
        raise Failed(f"{file}: {found[0]}")
    return content


def _looked_at(file: Path) -> tuple[dict[str, Any], list[str]]:
    text, format_ = _read(file)
    try:
        content: dict[str, Any] = checked("Automation", format_, text)
    except ApiError as error:
        return {}, [error.message]
    return content, [said(each, text) for each in problems(content)]


@app.command("check")
def check(file: FileArgument, output: OutputOption = "text") -> None:
    """Say everything that is wrong with a runbook, with line, step and reason. Needs no server."""
    content, found = _looked_at(file)
    if output == "json":
        typer.echo(json.dumps({"Problems": found}, indent=2))
    else:
        for each in found:
            typer.echo(each)
    if found:
        raise Failed(f"{file}: {len(found)} problem{'s' if len(found) > 1 else ''}")
    if output == "text":
        typer.echo(f"{file}: {len(content['mainSteps'])} steps, no problems")


@app.command("run")
def run(
    file: FileArgument,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done. Needs no server.")] = False,
    parameter: ParametersOption = None,
    region: RegionOption = None,
) -> None:
    """Show which steps would be done, in which order, with which inputs."""
    if not dry_run:
        raise Failed(
            "a file is only tried (--dry-run): make a document of it with aws ssm create-document, and start that "
            "with aws ssm start-automation-execution"
        )
    runbook = runbook_of(_content(file))
    values = _values(runbook, parameter or [])
    console = table_console()
    steps = tried(
        runbook, values, account_id="<account>", region=region or "<region>", now=SystemClock().now()
    )  # fmt: skip
    for number, each in enumerate(steps, 1):
        line = Text(f"{'  ' * each.depth}{number:>3} {each.name}", style="bold")
        line.append(f"  {each.action}", style="dim")
        if each.note:
            line.append(f"  {each.note}", style="yellow")
        console.print(line)
        for name, value in each.inputs.items():
            shown = value if isinstance(value, str) else json.dumps(value)
            console.print(Text(f"{'  ' * each.depth}      {name}: {shown[:_MOST_TEXT]}"))


def _values(runbook: Runbook, given: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not equals or name not in runbook.parameters:
            known = ", ".join(runbook.parameters) or "none"
            raise Failed(f"--parameter {each}: write NAME=VALUE, with one of the runbook's parameters: {known}")
        found.setdefault(name, []).append(value)
    return {
        name: found.get(name) or default_of(definition)
        for name, definition in runbook.parameters.items()
        if name in found or definition.get("default") is not None
    }


@app.command("draw")
def draw(
    file: FileArgument,
    picture: Annotated[Path | None, typer.Option("--svg", help="Write an SVG to this file.")] = None,
) -> None:
    """Print the steps and the ways between them as a Mermaid flowchart, or write an SVG. Needs no server."""
    _draw(runbook_of(_content(file)), {}, picture)


def _draw(runbook: Runbook, statuses: Mapping[str, str], picture: Path | None) -> None:
    if picture is None:
        typer.echo(mermaid(runbook.flow, statuses), nl=False)
        return
    picture.write_text(svg(runbook.flow, statuses), "utf-8")
    typer.echo(f"{picture} written", err=True)


@app.command("show")
@with_clients
def show(
    clients: Clients,
    output: str,
    execution: ExecutionArgument,
    watch: Annotated[bool, typer.Option("--watch", help="Follow it to its end.")] = False,
    flow: Annotated[bool, typer.Option("--mermaid", help="Print its flow, with how each step stands.")] = False,
    picture: Annotated[Path | None, typer.Option("--svg", help="Write its flow as an SVG to this file.")] = None,
) -> None:
    """How an execution and its steps stand. The exit code is 1 where it ended otherwise than well."""
    found, steps = _asked(clients, execution)
    if flow or picture is not None:
        _draw(_of(clients, found), _statuses(steps), picture)
        return
    if output == "json":
        typer.echo(json.dumps(found, indent=2, default=str))
    elif watch and found["AutomationExecutionStatus"] not in _FINAL:
        with Live(_table(found, steps), console=table_console()) as live:
            while found["AutomationExecutionStatus"] not in _FINAL:
                time.sleep(_LOOK_SECONDS)
                found, steps = _asked(clients, execution)
                live.update(_table(found, steps))
    else:
        table_console().print(_table(found, steps))
    status = found["AutomationExecutionStatus"]
    if status in _FINAL and status != "Success":
        raise Failed(f"the execution ended as {status}")


def _asked(clients: Clients, execution: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    found = asked(clients, "ssm", "get_automation_execution", AutomationExecutionId=execution)["AutomationExecution"]
    steps = pages(
        clients, "ssm", "describe_automation_step_executions", "StepExecutions", AutomationExecutionId=execution
    )  # fmt: skip
    return found, list(steps)


def _of(clients: Clients, found: Mapping[str, Any]) -> Runbook:
    answer = asked(
        clients, "ssm", "get_document", Name=found["DocumentName"], DocumentVersion=found["DocumentVersion"],
        DocumentFormat="JSON",
    )  # fmt: skip
    return runbook_of(json.loads(answer["Content"]))


def _statuses(steps: list[dict[str, Any]]) -> dict[str, str]:
    return {each["StepName"]: each["StepStatus"] for each in steps if "ParentStepDetails" not in each}


def _table(found: Mapping[str, Any], steps: list[dict[str, Any]]) -> RenderableType:
    status = found["AutomationExecutionStatus"]
    head = Text(f"{found['AutomationExecutionId']}  {found['DocumentName']}  ")
    head.append(status, style=_STYLES.get(status, ""))
    table = Table(box=None, pad_edge=False)
    for name in ("step", "action", "status", "time", ""):
        table.add_column(name, overflow="fold")
    for each in steps:
        depth, iteration = ("  ", _iteration(each)) if "ParentStepDetails" in each else ("", "")
        table.add_row(
            Text(f"{depth}{each['StepName']}{iteration}"),
            Text(each["Action"], style="dim"),
            Text(each["StepStatus"], style=_STYLES.get(each["StepStatus"], "")),
            Text(_took(each)),
            Text(each.get("FailureMessage", "")[:_MOST_TEXT]),
        )
    return Group(head, table)


def _iteration(step: Mapping[str, Any]) -> str:
    details = step["ParentStepDetails"]
    value = details.get("IteratorValue")
    return f" [{details['Iteration']}{f': {value}' if value else ''}]"


def _took(step: Mapping[str, Any]) -> str:
    start, end = step.get("ExecutionStartTime"), step.get("ExecutionEndTime")
    if start is None:
        return ""
    seconds = ((end or SystemClock().now()) - start).total_seconds()
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


@app.command("approve")
@with_clients
def approve(
    clients: Clients,
    output: str,
    execution: ExecutionArgument,
    comment: Annotated[str, typer.Option("--comment", help="Why.")] = "",
) -> None:
    """Approve what an execution waits for, as whoever the AWS settings say that you are."""
    _decide("Approve", clients, output, execution, comment)


@app.command("reject")
@with_clients
def reject(
    clients: Clients,
    output: str,
    execution: ExecutionArgument,
    comment: Annotated[str, typer.Option("--comment", help="Why.")] = "",
) -> None:
    """Reject what an execution waits for: it fails."""
    _decide("Reject", clients, output, execution, comment)


def _decide(kind: str, clients: Clients, output: str, execution: str, comment: str) -> None:
    more: dict[str, Any] = {"Payload": {"Comment": [comment]}} if comment else {}
    asked(clients, "ssm", "send_automation_signal", AutomationExecutionId=execution, SignalType=kind, **more)
    entry = {"AutomationExecutionId": execution, "SignalType": kind}
    show_one(entry, output, "approved" if kind == "Approve" else "rejected")
