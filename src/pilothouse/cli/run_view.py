"""How `pilothouse run` speaks: the live table, the plan, and output of many nodes as few texts."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.rule import Rule
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from pilothouse.cli.parameter_words import print_table, say, table
from pilothouse.cli.run_outcome import alike

__all__ = ["Lines", "live", "say", "show_outcome", "show_plan", "summary", "watched"]

_COLOURS: Final = {
    "Success": "green", "Failed": "red", "TimedOut": "red", "Cancelled": "yellow", "Cancelling": "yellow",
    "InProgress": "cyan", "Pending": "dim", "Delayed": "yellow",
}  # fmt: skip
_ORDER: Final = ("InProgress", "Cancelling", "Delayed", "Failed", "TimedOut", "Pending", "Cancelled", "Success")
_FATES: Final = {
    "Runs": "green", "Waits": "yellow", "InvalidPlatform": "red", "AccessDenied": "red", "NotTargeted": "dim"
}  # fmt: skip
_BAR: Final = 24
_AROUND_ROWS: Final = 6
_NAMES_SHOWN: Final = 12

Show = Callable[[Mapping[str, Any], Sequence[Mapping[str, Any]]], None]


def watched() -> bool:
    """Whether somebody looks: standard error is a terminal."""
    return Console(stderr=True).is_terminal


@contextmanager
def live(command_id: str) -> Iterator[Show]:
    """A table on standard error, while it is a terminal, that goes away at the end."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda command, invocations: None
        return
    began = time.monotonic()
    spinner = Spinner("dots")
    with Live(Text(f"Command {command_id} is sent."), console=console, transient=True, refresh_per_second=8) as screen:

        def show(command: Mapping[str, Any], invocations: Sequence[Mapping[str, Any]]) -> None:
            rows = max(1, console.height - _AROUND_ROWS)
            screen.update(_screen(command, invocations, rows, time.monotonic() - began, spinner))

        yield show


def _screen(
    command: Mapping[str, Any],
    invocations: Sequence[Mapping[str, Any]],
    rows: int,
    seconds: float,
    spinner: Spinner,
) -> RenderableType:
    done, total = command["CompletedCount"], command["TargetCount"]
    head = Table.grid(padding=(0, 1))
    failed = f", {command['ErrorCount']} failed" if command["ErrorCount"] else ""
    head.add_row(
        spinner,
        Text(f"{done} of {total} nodes{failed}"),
        ProgressBar(total=max(1, total), completed=done, width=_BAR),
        Text(f"{seconds:.0f} s", style="dim"),
    )
    body = Table.grid(padding=(0, 2))
    ordered = sorted(invocations, key=lambda each: (_ORDER.index(each["Status"]), each["InstanceId"]))
    for each in ordered[:rows]:
        body.add_row(Text(_name(each)), _bar(each), Text(_word(each), style=_COLOURS.get(each["Status"], "")))
    hidden = total - min(len(ordered), rows)
    more = [Text(f"and {hidden} more", style="dim")] if hidden > 0 else []
    return Group(head, body, *more)


def _bar(invocation: Mapping[str, Any]) -> ProgressBar:
    steps = invocation["CommandPlugins"]
    if invocation["Status"] == "InProgress" and len(steps) < 2:
        return ProgressBar(total=None, width=_BAR, pulse=True)
    ended = sum(step["Status"] not in {"Pending", "InProgress"} for step in steps)
    final = invocation["Status"] not in {"Pending", "InProgress", "Delayed", "Cancelling"}
    total = max(1, len(steps))
    return ProgressBar(total=total, completed=total if final else ended, width=_BAR)


def _word(invocation: Mapping[str, Any]) -> str:
    now = [step["Name"] for step in invocation["CommandPlugins"] if step["Status"] == "InProgress"]
    many = len(invocation["CommandPlugins"]) > 1
    return f"{invocation['StatusDetails']}: {now[0]}" if now and many else str(invocation["StatusDetails"])


def _name(node: Mapping[str, Any]) -> str:
    return f"{node['InstanceName']} ({node['InstanceId']})" if node.get("InstanceName") else str(node["InstanceId"])


def show_plan(plan: Mapping[str, Any]) -> None:
    """Each node in a line, and what the numbers mean."""
    rows = table("Node", "Name", "Platform", "Ping", "Outcome", "Reason")
    for each in plan["Nodes"]:
        cells = [each["InstanceId"], each.get("InstanceName") or "-", each.get("PlatformType") or "-"]
        rows.add_row(
            *map(Text, cells),
            Text(each["PingStatus"]),
            Text(each["Outcome"], style=_FATES.get(each["Outcome"], "")),
            Text(each.get("Reason") or ""),
        )
    if rows.row_count:
        print_table(rows)
    count = plan["TargetCount"]
    nodes = "1 node" if count == 1 else f"{count} nodes"
    say(
        f"{plan['DocumentName']} would go to {nodes}, {plan['AtOnce']} at once; after"
        f" {plan['ErrorsTolerated'] + 1} failed no further node gets it. Nothing was sent."
    )


def show_outcome(outcome: Mapping[str, Any]) -> None:
    """Output that several nodes share is shown once, under their names."""
    console = Console(highlight=False)
    for group in alike(outcome["Nodes"]):
        first = group[0]
        codes = {step["ResponseCode"] for step in first["Steps"] if step["ResponseCode"] >= 0}
        code = f", exit code {codes.pop()}" if len(codes) == 1 else ""
        title = Text(f"{_names(group)}: ")
        title.append(f"{first['StatusDetails']}{code}", style=_COLOURS.get(first["Status"], ""))
        console.print(Rule(title, align="left") if console.is_terminal else title, soft_wrap=True)
        for step in first["Steps"]:
            if len(first["Steps"]) > 1:
                console.print(Text(f"[{step['Name']}: {step['Status']}]", style="dim"), soft_wrap=True)
            for text, style in ((step["Output"], ""), (step["Error"], "red")):
                if text:
                    console.print(Text(_plain(text).rstrip("\n"), style=style), soft_wrap=True)
        if first["Trace"] and first["Status"] != "Success":
            console.print(Text(_plain(first["Trace"]), style="red"), soft_wrap=True)
    say(summary(outcome))


class Lines:
    """Output of many nodes as it comes: whole lines, each under the name of its node."""

    def __init__(self, names: Mapping[str, str] | None = None) -> None:
        """`names`: of nodes, by id."""
        self._names = names or {}
        self._begun: dict[tuple[str, str, int, str], str] = {}
        self._consoles = {"StandardOutput": Console(highlight=False), "StandardError": Console(stderr=True)}

    def show(self, piece: Mapping[str, Any]) -> None:
        """Print the lines that the piece completes."""
        key = piece["InstanceId"], piece["StepName"], piece["Run"], piece["Stream"]
        *whole, rest = (self._begun.get(key, "") + piece["Text"]).split("\n")
        self._begun[key] = rest
        for line in whole:
            self._print(key, line)

    def end(self) -> None:
        """Print what no line end came for."""
        for key, rest in self._begun.items():
            if rest:
                self._print(key, rest)

    def _print(self, key: tuple[str, str, int, str], line: str) -> None:
        name = Text(f"{self._names.get(key[0], key[0])}: ", style="cyan")
        name.append(_plain(line), style="red" if key[3] == "StandardError" else "default")
        self._consoles[key[3]].print(name, soft_wrap=True)


def _plain(text: str) -> str:
    """What a node wrote, without control characters: it must not move the cursor of who reads it."""
    return "".join(each if each.isprintable() or each in "\n\t" else f"\\x{ord(each):02x}" for each in text)


def _names(group: Sequence[Mapping[str, Any]]) -> str:
    if len(group) == 1:
        return _plain(_name(group[0]))
    names = [each["InstanceName"] or each["InstanceId"] for each in group]
    shown = ", ".join(names[:_NAMES_SHOWN])
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return _plain(f"{len(group)} nodes, {shown}{more}")


def summary(outcome: Mapping[str, Any]) -> str:
    """How many nodes ended how."""
    nodes = outcome["Nodes"]
    if not nodes:
        hidden = outcome["StatusDetails"] == "AccessDenied"
        why = "You may not see what is in the resource group" if hidden else "No node fits"
        return f"{why}. Command {outcome['CommandId']}: {outcome['StatusDetails']}."
    counts: dict[str, int] = {}
    for each in nodes:
        counts[each["StatusDetails"]] = counts.get(each["StatusDetails"], 0) + 1
    told = ", ".join(f"{count} {word}" for word, count in sorted(counts.items(), key=lambda entry: -entry[1]))
    return f"{told}. Command {outcome['CommandId']}: {outcome['StatusDetails']}."
