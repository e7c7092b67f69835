"""Exit code 194: reboot this machine, then run the same script again (agent-protocol 6.4).

Only with the setting allow_reboot: an agent that may share its machine must not do it unasked.
"""

import asyncio
import contextlib
import os
from pathlib import Path

from pilothouse_agent import log, processes
from pilothouse_agent.plugins import RunResult
from pilothouse_agent.state import files

MOST = 15
"""Restarts for one step, as in the official agent."""

NOT_ALLOWED = (
    "the script asked for a reboot (exit code 194), which this node does not allow; "
    "start the agent with --allow-reboot to permit it"
)
NOT_INSIDE = "the script asked for a reboot (exit code 194), which is not possible inside aws:runDocument"
TOO_OFTEN = f"the script asked for a reboot (exit code 194) more than {MOST} times"


_KEPT = ("stdout", "stderr", "sending.json")
"""What the run after the reboot goes on with: output is that of the step as a whole, however often it ran."""


def prepare(run_directory: Path) -> bool:
    """Set this run's traces aside so that the script runs again after the reboot; what it wrote stays.

    False if that was done too often.
    """
    mark = _mark(run_directory)
    count = int((files.read_json(mark) or {"count": 0})["count"]) + 1
    if count > MOST:
        return False
    files.write_json(mark, {"count": count, "boot": _boot_id()})
    aside = run_directory.rename(run_directory.with_name(f"{run_directory.name}.before-reboot-{count}"))
    files.make_private(run_directory)
    for name in _KEPT:
        with contextlib.suppress(FileNotFoundError):
            (aside / name).rename(run_directory / name)
    files.sync_directory(run_directory)
    files.sync_directory(run_directory.parent)
    return True


async def wait_if_pending(run_directory: Path) -> None:
    """An agent that restarts between the decision and the reboot itself waits for the reboot."""
    pending = files.read_json(_mark(run_directory))
    if pending and pending["boot"] == _boot_id():
        await asyncio.Event().wait()


async def reboot(command_id: str) -> RunResult:
    """Restart the machine; does not return."""
    log.event("machine.reboot", level="warning", command_id=command_id)
    await asyncio.sleep(2.0)  # the reply that announces it gets a head start
    processes.fork(lambda: os.execvp("shutdown", ["shutdown", "-r", "now"]), keep=())  # noqa: S606, S607 -- no shell
    await asyncio.Event().wait()
    raise AssertionError("unreachable")


def _mark(run_directory: Path) -> Path:
    return run_directory.with_name(f"{run_directory.name}.reboot.json")


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
