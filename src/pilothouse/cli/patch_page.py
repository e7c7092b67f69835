"""The status of the fleet as one HTML page that needs nothing else: no script, no font, no picture from elsewhere.

Names come from nodes: everything that is not ours is escaped.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; color: #16191f; }
h1 { font-size: 1.5rem; margin-bottom: 0; } h2 { font-size: 1.1rem; margin-top: 2rem; } .when { color: #5f6b7a; }
.tiles { display: flex; gap: 1rem; flex-wrap: wrap; margin: 1.5rem 0; }
.tile { border: 1px solid #d1d5db; border-radius: 8px; padding: .75rem 1.25rem; min-width: 8rem; }
.tile b { display: block; font-size: 1.8rem; line-height: 1.2; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th { text-align: left; border-bottom: 2px solid #d1d5db; }
th, td { padding: .4rem .6rem; vertical-align: top; } tbody tr { border-bottom: 1px solid #eaeded; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; width: 3.5rem; } .line, .id { white-space: nowrap; }
.id { font-family: ui-monospace, monospace; font-size: .85em; }
.bad { color: #b0291d; font-weight: 600; } .good { color: #1d6f42; } .unknown { color: #5f6b7a; }
.chart { display: grid; grid-template-columns: minmax(8rem, max-content) 1fr max-content; gap: .3rem .8rem;
  align-items: center; }
.chart svg { width: 100%; height: 14px; }
"""
_COLUMNS = (
    ("Missing", "Missing"), ("Failed", "Failed"), ("PendingReboot", "Wait for reboot"), ("Rejected", "Rejected"),
    ("Installed", "Installed"), ("InstalledOther", "Other"),
)  # fmt: skip
_COLOURS = {
    "compliant": "#2e8b57",
    "not compliant": "#e07941",
    "not compliant, critical": "#b0291d",
    "never scanned": "#b6bec9",
}


def _kind(row: Mapping[str, Any]) -> str:
    if row["Compliant"] is None:
        return "never scanned"
    if row["Compliant"]:
        return "compliant"
    return "not compliant, critical" if row["Critical"] else "not compliant"


def page_of(rows: Sequence[Mapping[str, Any]]) -> str:
    """The page."""
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    kinds = [_kind(row) for row in rows]
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Patch status</title><style>{_STYLE}</style></head><body>
<h1>Patch status</h1><p class="when">{len(rows)} nodes, {now}</p>
<div class="tiles">{_tiles(rows, kinds)}</div>
<h2>Nodes by state</h2>{_bars({kind: kinds.count(kind) for kind in _COLOURS}, _COLOURS)}
<h2>Missing patches by platform</h2>{_bars(_by_platform(rows), {})}
<h2>Critical patches that are missing the longest</h2>{_oldest(rows)}
<h2>All nodes</h2>{_nodes(rows)}
</body></html>"""


def _tiles(rows: Sequence[Mapping[str, Any]], kinds: Sequence[str]) -> str:
    scanned = len(rows) - kinds.count("never scanned")
    share = f"{100 * kinds.count('compliant') // scanned} %" if scanned else "-"
    missing = sum(row["Missing"] or 0 for row in rows)
    critical = sum(row["Critical"] or 0 for row in rows)
    told = (
        ("of scanned nodes are compliant", share), ("patches are missing", missing),
        ("critical patches are not compliant", critical),
    )  # fmt: skip
    return "".join(f'<div class="tile"><b>{escape(str(value))}</b>{label}</div>' for label, value in told)


def _by_platform(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for row in rows:
        if row["Missing"] is not None:
            name = row["Platform"] or "unknown"
            found[name] = found.get(name, 0) + row["Missing"]
    return dict(sorted(found.items(), key=lambda each: -each[1]))


def _bars(counts: Mapping[str, int], colours: Mapping[str, str]) -> str:
    most = max(counts.values(), default=0) or 1
    bars = [
        f"<span>{escape(name)}</span>"
        f'<svg preserveAspectRatio="none" viewBox="0 0 100 10" role="img" aria-label="{count}">'
        f'<rect width="{100 * count / most:.1f}" height="10" fill="{colours.get(name, "#3b7dd8")}"/></svg>'
        f"<span>{count}</span>"
        for name, count in counts.items()
    ]
    return f'<div class="chart">{"".join(bars)}</div>' if bars else "<p>Nothing.</p>"


def _oldest(rows: Sequence[Mapping[str, Any]]) -> str:
    lacking = sorted((row for row in rows if row["OldestDays"] is not None), key=lambda row: -row["OldestDays"])
    if not lacking:
        return '<p class="good">No node lacks a critical patch.</p>'
    body = "".join(
        f'<tr><td class="n bad">{row["OldestDays"]}</td><td>{escape(row["Oldest"])}</td><td>{escape(row["Name"])}</td>'
        f'<td class="id">{escape(row["NodeId"])}</td></tr>'
        for row in lacking[:20]
    )
    head = '<th class="n">Days</th><th>Patch</th><th>Node</th><th></th>'
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _nodes(rows: Sequence[Mapping[str, Any]]) -> str:
    head = "".join(f'<th class="n">{label}</th>' for _, label in _COLUMNS)
    classes = {"compliant": "good", "never scanned": "unknown"}
    body = "".join(
        f'<tr><td>{escape(row["Name"])}<br><span class="id">{escape(row["NodeId"])}</span></td>'
        f"<td>{escape(row['Platform'])}</td><td>{escape(row['PatchGroup'])}</td>"
        f'<td class="{classes.get(_kind(row), "bad")}">{_kind(row)}</td>'
        + "".join(f'<td class="n">{"" if row[name] is None else row[name]}</td>' for name, _ in _COLUMNS)
        + f'<td class="line">{escape(row["At"])}</td></tr>'
        for row in rows
    )
    return (
        f"<table><thead><tr><th>Node</th><th>Platform</th><th>Patch group</th><th>State</th>{head}"
        f"<th>Last run (UTC)</th></tr></thead><tbody>{body}</tbody></table>"
    )
