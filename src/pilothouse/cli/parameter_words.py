"""How `pilothouse params` speaks: tables, bars and sentences."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import typer
from rich import box
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from pilothouse.cli.shared import table_console

MASK: Final = "••••••"
_COLOURS: Final = {
    "Added": "green", "Recreated": "green", "Changed": "yellow", "Restored": "yellow", "Deleted": "red",
    "Conflict": "red", "Impossible": "red", "Unchanged": "dim", "Skipped": "dim", "Newer": "cyan",
}  # fmt: skip


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[], None]]:
    """A bar on standard error while it is a terminal."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Say on standard error, while it is a terminal, that one long call is under way, and for how long."""
    console = Console(stderr=True)
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        bar.add_task(what, total=None)
        yield


def table(*columns: str) -> Table:
    """A table whose long texts go on in the next line, so that no name is cut."""
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        made.add_column(column, overflow="fold")
    return made


def print_table(rows: Table) -> None:
    """To standard output; where that is no terminal each row is one line."""
    table_console().print(rows)


def counted(count: int) -> str:
    """So many parameters, in words."""
    return "1 parameter" if count == 1 else f"{count} parameters"


def say(text: str) -> None:
    """A line for people, on standard error: standard output is for answers."""
    Console(stderr=True, highlight=False).print(text, markup=False, soft_wrap=True)


def cut(sentence: str) -> str:
    """A sentence without the middle of the long text that it may quote."""
    return sentence if len(sentence) <= 500 else f"{sentence[:200]} … {sentence[-200:]}"


def show_changes(
    changes: Sequence[Mapping[str, Any]],
    output: str,
    *,
    dry_run: bool,
    values: Mapping[str, Mapping[str, Any]] | None = None,
    there: Mapping[str, Mapping[str, Any]] | None = None,
    show_secrets: bool = False,
) -> None:
    """What an import, a copy or a restore did, or with `dry_run` would do.

    `values` are the entries by name, `there` what is there now in place of some of them.
    """
    if output == "json":
        typer.echo(json.dumps(changes, indent=2))
        return
    rows = table("Change", "Parameter", "Version", "About")
    for each in changes:
        if each["Change"] == "Unchanged":
            continue  # counted below
        colour = _COLOURS.get(each["Change"], "")
        about = ". ".join(filter(None, [", ".join(each.get("Members", ())), each.get("Reason")]))
        if each.get("From"):
            about = f"content of version {each['From']}"
        members = (values or {}).get(each["Name"])
        if members and each["Change"] in {"Added", "Changed", "Conflict"}:
            now = (there or {}).get(each["Name"])
            secret = "SecureString" in (members.get("Type"), (now or {}).get("Type"))
            hidden = secret and not show_secrets
            if now is None:
                about = f"{about} = {MASK if hidden else _short(members['Value'])}".strip()
            else:
                about = "; ".join(_differing(member, now, members, hidden=hidden) for member in each["Members"])
        rows.add_row(Text(each["Change"], style=colour), Text(each["Name"]), str(each["Version"]), Text(about))
    if rows.row_count:
        print_table(rows)
    kinds = [f"{sum(each['Change'] == kind for each in changes)} {kind.lower()}" for kind in _COLOURS]
    told = ", ".join(text for text in kinds if not text.startswith("0 ")) or "nothing to do"
    say(f"{'Dry run, nothing was changed: ' if dry_run else ''}{told}.")


def _differing(member: str, now: Mapping[str, Any], then: Mapping[str, Any], *, hidden: bool) -> str:
    """A member that changes: `Value: old → new`; of lists only that they do."""
    if member == "Value" and hidden:
        return f"Value: {MASK} → {MASK}"
    sides = [now.get(member) or "—", then.get(member) or "—"]
    if member == "Policies" or not all(isinstance(side, str) for side in sides):
        return member
    return f"{member}: {_short(sides[0])} → {_short(sides[1])}"


def _short(value: str) -> str:
    line = value.replace("\n", "⏎")
    return line if len(line) <= 40 else f"{line[:39]}…"
