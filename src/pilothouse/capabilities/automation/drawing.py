"""Pictures of a runbook: its steps and the ways between them, with how each stands in an execution if that is known."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from typing import Final

from pilothouse.capabilities.automation.actions.branch import targets as branch_targets
from pilothouse.capabilities.automation.model import Flow, Plan

END: Final = ""
_BRANCH: Final = "aws:branch"
_COLOURS: Final[Mapping[str, str]] = {
    "Success": "#b8e6c1", "Failed": "#f5b7b1", "TimedOut": "#f8d3a8", "Cancelled": "#d5d8dc", "Cancelling": "#d5d8dc",
    "InProgress": "#aed6f1", "Waiting": "#f9e79f",
}  # fmt: skip
_PLAIN: Final = "#ffffff"
_WIDTH, _HEIGHT, _GAP, _LEFT, _TOP = 340, 44, 34, 120, 20
_LANE: Final = 14


@dataclass(frozen=True, slots=True)
class Way:
    """From one step to another, or to the end."""

    start: str
    to: str
    why: str = ""
    """Empty: after success. Else such as `on failure`."""


def ways(flow: Flow) -> Iterator[Way]:
    """Every way that there is."""
    for plan in flow.steps:
        yield from _of(flow, plan)


def _of(flow: Flow, plan: Plan) -> Iterator[Way]:
    if plan.action == _BRANCH:
        for place, to in branch_targets(plan.inputs):
            yield Way(plan.name, to, "otherwise" if place == "Default" else f"choice {place[8 : place.index(']')]}")
        if "Default" not in plan.inputs:
            yield Way(plan.name, END, "otherwise")
    else:
        yield Way(plan.name, flow.after(plan) or END)
    if plan.on_failure_step is not None and not plan.is_end:
        yield Way(plan.name, plan.on_failure_step, "on failure")
    if plan.on_cancel_step is not None:
        yield Way(plan.name, plan.on_cancel_step, "on cancel")


def mermaid(flow: Flow, statuses: Mapping[str, str] | None = None) -> str:
    """The text of a Mermaid flowchart."""
    known = statuses or {}
    ids = {plan.name: f"s{number}" for number, plan in enumerate(flow.steps)} | {END: "done"}
    lines = ["flowchart TD"]
    for plan in flow.steps:
        status = known.get(plan.name, "")
        label = "<br/>".join(_quoted(each) for each in (plan.name, plan.action, status) if each)
        opening, closing = ("{", "}") if plan.action == _BRANCH else ("[", "]")
        lines.append(f'    {ids[plan.name]}{opening}"{label}"{closing}')
        if plan.within is not None:
            inner = ", ".join(each.name for each in plan.within.steps)
            lines.append(f'    {ids[plan.name]} -.- {ids[plan.name]}l["each time: {_quoted(inner)}"]')
    lines.append("    done((end))")
    for way in ways(flow):
        arrow = "-->" if way.why in ("", "otherwise") or way.why.startswith("choice") else "-.->"
        label = f'|"{way.why}"|' if way.why else ""
        lines.append(f"    {ids[way.start]} {arrow}{label} {ids[way.to]}")
    for status, colour in _COLOURS.items():
        having = [ids[name] for name, found in known.items() if found == status and name in ids]
        if having:
            lines.append(f"    classDef {status} fill:{colour},stroke:#566573,color:#000")
            lines.append(f"    class {','.join(having)} {status}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return escape(text, quote=True).replace("#", "&#35;").replace("`", "&#96;")


def svg(flow: Flow, statuses: Mapping[str, str] | None = None) -> str:
    """A picture that stands by itself: the steps one below the other, the ways that skip some at the right."""
    known = statuses or {}
    rows = {plan.name: number for number, plan in enumerate(flow.steps)} | {END: len(flow.steps)}
    skipping = [way for way in ways(flow) if rows[way.to] != rows[way.start] + 1 or way.why]
    width = _LEFT + _WIDTH + 40 + _LANE * len(skipping) + 120
    height = _TOP * 2 + (len(flow.steps) + 1) * (_HEIGHT + _GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        ' font-family="sans-serif" font-size="13">',
        '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
        'orient="auto"><path d="M0 0L10 5L0 10z" fill="#566573"/></marker></defs>',
    ]
    for way in ways(flow):
        if way not in skipping:
            middle, top = _LEFT + _WIDTH // 2, _y(rows[way.start]) + _HEIGHT
            parts.append(_path(f"M{middle} {top}V{_y(rows[way.to]) - 2}", dashed=False))
    for lane, way in enumerate(skipping):
        x, right = _LEFT + _WIDTH + 24 + _LANE * lane, _LEFT + _WIDTH
        start, end = _y(rows[way.start]) + _HEIGHT - 10, _y(rows[way.to]) + 12
        parts.append(_path(f"M{right} {start}H{x}V{end}H{right + 2}", dashed=way.why in ("on failure", "on cancel")))
        if way.why:
            parts.append(f'<text x="{x + 3}" y="{start - 3}" font-size="10" fill="#566573">{escape(way.why)}</text>')
    for plan in flow.steps:
        parts += _box(plan, _y(rows[plan.name]), known.get(plan.name, ""))
    last = _y(rows[END])
    parts.append(
        f'<circle cx="{_LEFT + _WIDTH // 2}" cy="{last + 14}" r="14" fill="#eaecee" stroke="#566573"/>'
        f'<text x="{_LEFT + _WIDTH // 2}" y="{last + 18}" text-anchor="middle" font-size="10">end</text>'
    )
    return "\n".join([*parts, "</svg>"]) + "\n"


def _y(row: int) -> int:
    return _TOP + row * (_HEIGHT + _GAP)


def _path(way: str, *, dashed: bool) -> str:
    dash = ' stroke-dasharray="5 4"' if dashed else ""
    return f'<path d="{way}" fill="none" stroke="#566573"{dash} marker-end="url(#tip)"/>'


def _box(plan: Plan, y: int, status: str) -> Iterator[str]:
    around = 18 if plan.action == _BRANCH else 4
    about = plan.action if plan.within is None else f"{plan.action}: {', '.join(e.name for e in plan.within.steps)}"
    yield (
        f'<rect x="{_LEFT}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" rx="{around}" stroke="#566573"'
        f' fill="{_COLOURS.get(status, _PLAIN)}"/>'
    )
    yield f'<text x="{_LEFT + 12}" y="{y + 18}" font-weight="bold">{escape(_short(plan.name, 36))}</text>'
    yield f'<text x="{_LEFT + 12}" y="{y + 35}" font-size="11" fill="#566573">{escape(_short(about, 48))}</text>'
    if status:
        yield f'<text x="{_LEFT + _WIDTH - 10}" y="{y + 18}" text-anchor="end" font-size="11">{escape(status)}</text>'


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
