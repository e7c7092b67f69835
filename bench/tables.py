"""Results as tables for people: what was measured at several numbers of connections is one table for each engine."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

_AT_CONNECTIONS = re.compile(r"(?P<what>.+), (?P<connections>\d+) connections, (?P<engine>\w+)")
_COLUMNS = {
    "per second": "per second",
    "per second and core": "per core",
    "p50 ms": "p50 ms",
    "p99 ms": "p99 ms",
    "CPU us": "CPU us",
}
_BARE = ("echo", "bare read", "bare write")

Figures = Mapping[str, Any]


def show(results: Mapping[str, Figures], console: Console | None = None) -> None:
    """Print everything that was measured."""
    console = console or Console(width=120)  # the tables' own width, also where no terminal tells one
    engines: dict[str, list[tuple[str, str, Figures]]] = {}
    for title, figures in results.items():
        match = _AT_CONNECTIONS.fullmatch(title)
        if match is not None and "CPU us" in figures:
            rows = engines.setdefault(match["engine"], [])
            rows.append((match["connections"], match["what"], figures))
        else:
            console.print(_of_one(title, figures))
    for engine, rows in engines.items():
        console.print(_at_connections(engine, rows))


def _of_one(title: str, figures: Figures) -> Table:
    table = Table("figure", "median", title=title, title_justify="left", min_width=64)
    for name, value in figures.items():
        table.add_row(name, _text(value))
    return table


def _at_connections(engine: str, rows: Sequence[tuple[str, str, Figures]]) -> Table:
    table = Table(title=f"Parameter Store on {engine}, by connections", title_justify="left")
    table.add_column("connections", justify="right")
    table.add_column("request")
    for heading in (*_COLUMNS.values(), "of bare", "by CPU", "of one read", "by CPU"):
        table.add_column(heading, justify="right")
    counts = sorted({int(connections) for connections, _, _ in rows})
    for count in counts:
        for connections, what, figures in rows:
            if int(connections) == count:
                table.add_row(connections, what, *_cells(figures))
        table.add_section()
    table.caption = (
        "of bare: shares of the echo (PostgreSQL: of the bare read), puts of the bare write; "
        "of one read: shares of GetParameter"
    )
    return table


def _cells(figures: Figures) -> list[str]:
    cells = [_text(figures[name]) for name in _COLUMNS]
    for group in (_BARE, ("GetParameter",)):
        for suffix in ("", ", by CPU"):
            share = next((figures[name] for each in group if (name := f"of {each}{suffix}") in figures), None)
            cells.append("" if share is None else f"{share:.0%}")
    return cells


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,.3f}" if value < 10 else f"{value:,.0f}"
