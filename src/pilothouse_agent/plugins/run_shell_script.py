"""aws:runShellScript: the lines of runCommand as one script, run by sh (agent-protocol 6.5)."""

import asyncio
import json
import math
import os
import shlex
import signal
from pathlib import Path
from typing import Any

from pilothouse_agent import log, processes
from pilothouse_agent.plugins import Run, RunResult, supervisor
from pilothouse_agent.state import files
from pilothouse_agent.times import now_ms

_DEFAULT_TIMEOUT = 3600
_KILLED = 137


async def run_shell_script(run: Run) -> RunResult:
    """Run the script to its end, or join a run that an earlier life of the agent started.

    A cancelled task (the agent stops) leaves script and supervisor alone.
    """
    result = files.read_json(run.directory / "result.json")
    if result is None:
        if not supervisor.may_have_started(run.directory):
            refusal = _start(run)
            if refusal is not None:
                return refusal
        await _until_over(run)
        result = files.read_json(run.directory / "result.json")
    if result is None:
        result = json.loads(await processes.in_child(lambda: _clear_up_after_lost_supervisor(run)))
    return _result(result, timeout_of(run.inputs.get("timeoutSeconds")), cancelled=run.cancelled.is_set())


def timeout_of(given: object) -> int:
    """Seconds: a number or text, fractions dropped; outside 5..172800 or unreadable means an hour."""
    try:
        value = float(given) if isinstance(given, int | float | str) else math.nan
        seconds = int(value)
    except (ValueError, OverflowError):
        return _DEFAULT_TIMEOUT
    return seconds if 5 <= seconds <= 172_800 else _DEFAULT_TIMEOUT


def _start(run: Run) -> RunResult | None:
    """Write the script and start its supervisor; a result if the inputs do not allow it."""
    lines = run.inputs.get("runCommand")
    if isinstance(lines, str) or not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        return _refused("runCommand must be a list of texts")
    directory = working_directory(run)
    if not directory.is_dir():
        return _refused(f"the working directory {directory} does not exist")
    extra = run.inputs.get("environment") or {}
    if not isinstance(extra, dict):
        return _refused("environment must be an object of texts")
    files.make_private(run.directory)
    path = run.directory / "_script.sh"
    files.write(path, "\n".join([*lines, ""]).encode("utf-8", "surrogateescape"), mode=0o700, durable=False)
    supervisor.start(
        run.directory,
        supervisor.Script(
            argv=["sh", "-c", shlex.quote(str(path))],
            working_directory=str(directory),
            environment={**os.environ, **run.environment, **_texts(extra)},
            timeout=timeout_of(run.inputs.get("timeoutSeconds")),
            kill_grace=run.settings.kill_grace,
        ),
    )
    return None


def working_directory(run: Run) -> Path:
    """As given; a relative one is below the command's downloads, which is also the default."""
    given = run.inputs.get("workingDirectory")
    return run.downloads / given if isinstance(given, str) and given else run.downloads


def _texts(values: dict[Any, Any]) -> dict[str, str]:
    return {str(name): value if isinstance(value, str) else str(value) for name, value in values.items()}


def _refused(reason: str) -> RunResult:
    now = now_ms()
    note = f"failed to run commands: {reason}"
    return RunResult(status="Failed", code=1, started_at=now, ended_at=now, error_note=note)


async def _until_over(run: Run) -> None:
    """Wait for the supervisor's end; pass a cancel on to it."""
    pid = supervisor.find(run.directory)
    if pid is None:
        return
    log.event("script.watched", command_id=run.command_id, run=run.directory.parent.name, supervisor=pid)
    async with asyncio.TaskGroup() as group:
        canceller = group.create_task(_pass_cancel_on(run, pid))
        await processes.ended(pid)
        canceller.cancel()
    processes.reap(pid)


async def _pass_cancel_on(run: Run, pid: int) -> None:
    await run.cancelled.wait()
    if supervisor.find(run.directory) == pid:
        os.kill(pid, signal.SIGTERM)


def _clear_up_after_lost_supervisor(run: Run) -> bytes:
    """Nobody watches the script any more: end what is left of it, and say so in a result that stays."""
    left = supervisor.end_all(supervisor.mark_of(run.directory), 0, run.settings.kill_grace)
    now = now_ms()
    began = (run.directory / "lock").stat().st_mtime_ns // 1_000_000
    result = {"outcome": "lost", "code": 1, "started_at": began, "ended_at": now, "reason": ""}
    if left:
        pids = ", ".join(map(str, sorted(left)))
        result |= {"outcome": "not ended", "reason": f"its supervisor died and processes {pids} could not be ended"}
    files.write_json(run.directory / "result.json", result)
    return json.dumps(result).encode()


def _result(stored: dict[str, Any], timeout: int, *, cancelled: bool) -> RunResult:
    outcome, code = stored["outcome"], int(stored["code"])
    status, reported, note = "Failed", code or 1, ""
    if outcome == "exited":
        status, reported, note = _exit_status(code)
    elif outcome == "timed out":
        status, reported, note = "TimedOut", _KILLED, f"the script ran longer than {timeout} seconds and was ended"
    elif outcome == "cancelled":
        status, reported, note = "Cancelled", _KILLED, "the command was cancelled and the script was ended"
    elif outcome == "lost":
        note = (
            "the script was interrupted: the machine restarted or the process that watched it was killed; "
            "it may have run in part and is not repeated"
        )
        if cancelled:
            status, reported = "Cancelled", _KILLED
    else:  # "not started", "not ended"
        note = f"failed to run commands: {stored['reason']}"
    return RunResult(
        status=status, code=reported, started_at=stored["started_at"], ended_at=stored["ended_at"], error_note=note
    )


def _exit_status(code: int) -> tuple[str, int, str]:
    """Status, code and note of a script that ended by itself. A signal is reported as a shell would, 128 + n."""
    if code == 0:
        return "Success", 0, ""
    if code == 194:
        return "SuccessAndReboot", 194, ""
    if code < 0:
        return "Failed", 128 - code, f"failed to run commands: signal {signal.Signals(-code).name}"
    return "Failed", code, f"failed to run commands: exit status {code}"
