"""What all plugins share that leave a run to a supervisor: start it or join it, pass a cancel on, read its end.

A script whose supervisor was lost may have run in part and is never repeated. A work of the agent's own
that is written to be repeated starts again, a few times at most.
"""

import asyncio
import json
import math
import os
from collections.abc import Callable
from typing import Any

from pilothouse_agent import log, processes
from pilothouse_agent.plugins import Run, RunResult, supervisor
from pilothouse_agent.state import files
from pilothouse_agent.times import now_ms

KILLED = 137
_DEFAULT_TIMEOUT = 3600
_MOST_STARTS = 3

Stored = dict[str, Any]


class Refused(Exception):
    """The inputs do not allow a run; the text is for the user."""


def timeout_of(given: object) -> int:
    """Seconds: a number or text, fractions dropped; outside 5..172800 or unreadable means an hour."""
    try:
        value = float(given) if isinstance(given, int | float | str) else math.nan
        seconds = int(value)
    except (ValueError, OverflowError):
        return _DEFAULT_TIMEOUT
    return seconds if 5 <= seconds <= 172_800 else _DEFAULT_TIMEOUT


async def run_to_end(
    run: Run, prepare: Callable[[], supervisor.Task], *, repeatable: bool = False, cancellable: bool = True
) -> Stored:
    """The stored result of the run, which is started by what prepare returns unless it was started before.

    Raises Refused. A cancelled task (the agent stops) leaves run and supervisor alone.
    """
    while True:
        stored: Stored | None = files.read_json(run.directory / "result.json")
        if stored is None:
            if not supervisor.may_have_started(run.directory):
                files.make_private(run.directory)
                supervisor.start(run.directory, run.streams, prepare(), _limits(run))
            await _until_over(run, cancellable=cancellable)
            stored = files.read_json(run.directory / "result.json")
        if stored is not None:
            return stored
        again = repeatable and not run.cancelled.is_set() and _count_start(run) < _MOST_STARTS
        answer: Stored = json.loads(await processes.in_child(lambda again=again: _clear_up(run, again)))  # type: ignore[misc]
        if not answer["again"]:
            return answer
        log.event("run.repeated", level="warning", command_id=run.command_id, step=run.directory.parent.name)
        supervisor.forget(run.directory)


def _limits(run: Run) -> supervisor.Limits:
    return supervisor.Limits(
        timeout=timeout_of(run.inputs.get("timeoutSeconds")),
        kill_grace=run.settings.kill_grace,
        output=run.settings.output_limit,
    )


async def _until_over(run: Run, *, cancellable: bool) -> None:
    """Wait for the supervisor's end; pass a cancel on to it, but for what must come to its own end."""
    pid = supervisor.find(run.directory)
    if pid is None:
        return
    log.event("script.watched", command_id=run.command_id, run=run.directory.parent.name, supervisor=pid)
    if not cancellable:
        await processes.ended(pid)
        processes.reap(pid)
        return
    async with asyncio.TaskGroup() as group:
        canceller = group.create_task(_pass_cancel_on(run, pid))
        await processes.ended(pid)
        canceller.cancel()
    processes.reap(pid)


async def _pass_cancel_on(run: Run, pid: int) -> None:
    await run.cancelled.wait()
    if supervisor.find(run.directory) == pid:
        os.kill(pid, supervisor.CANCEL)


def _count_start(run: Run) -> int:
    """How often the run was lost; this time counts."""
    path = run.directory / "starts.json"
    count = int((files.read_json(path) or {"count": 0})["count"]) + 1
    files.write_json(path, {"count": count})
    return count


def _clear_up(run: Run, again: bool) -> bytes:
    """Nobody watches the run any more: end what is left of it. Unless it is repeated, a result that stays says so."""
    supervisor.end_lost_work(run.directory)
    left = supervisor.end_all(supervisor.mark_of(run.directory), 0, run.settings.kill_grace)
    if again and not left:
        return json.dumps({"again": True}).encode()
    now = now_ms()
    began = (run.directory / "lock").stat().st_mtime_ns // 1_000_000
    result = {"outcome": "lost", "code": 1, "started_at": began, "ended_at": now, "reason": "", "again": False}
    if left:
        pids = ", ".join(map(str, sorted(left)))
        result |= {"outcome": "not ended", "reason": f"its supervisor died and processes {pids} could not be ended"}
    files.write_json(run.directory / "result.json", result)
    return json.dumps(result).encode()


def refused(reason: object) -> RunResult:
    """The result of a run that never began."""
    now = now_ms()
    return RunResult(status="Failed", code=1, started_at=now, ended_at=now, error_note=str(reason))


def outcome_of(
    stored: Stored, run: Run, exited: Callable[[int], tuple[str, int, str]], what: str = "step"
) -> RunResult:
    """The result as the server gets it; exited tells status, code and note of an exit code, what says what ran."""
    outcome, code = stored["outcome"], int(stored["code"])
    status, reported, note = "Failed", code or 1, ""
    if outcome == "exited":
        status, reported, note = exited(code)
    elif outcome == "timed out":
        timeout = timeout_of(run.inputs.get("timeoutSeconds"))
        status, reported, note = "TimedOut", KILLED, f"the {what} ran longer than {timeout} seconds and was ended"
    elif outcome == "cancelled":
        status, reported, note = "Cancelled", KILLED, f"the command was cancelled and the {what} was ended"
    elif outcome == "lost":
        note = (
            f"the {what} was interrupted: the machine restarted or the process that watched it was killed; "
            "it may have run in part and is not repeated"
        )
        if run.cancelled.is_set():
            status, reported = "Cancelled", KILLED
    else:  # "not started", "not ended"
        note = f"failed to run commands: {stored['reason']}"
    return RunResult(
        status=status,
        code=reported,
        started_at=stored["started_at"],
        ended_at=stored["ended_at"],
        error_note="\n".join(part for part in (note, *_about_output(stored)) if part),
    )


def _about_output(stored: Stored) -> list[str]:
    """What the user must know of output that is not whole."""
    notes = []
    if stored.get("cut"):
        notes.append(f"the node keeps {stored['cut']} bytes of each stream; what came after them was dropped")
    if stored.get("full"):
        notes.append("the node's disk is full: output may be missing")
    return notes
