"""`pilothouse serve` that its runbooks kill: `python -m tests.acceptance.dying_actions FILE HOST serve …`.

FILE is a list of moments, each `STEP before|after begin|resume|perform`, with the turn of the action behind it where
that matters: at each the server kills itself, once. HOST is that of `dying_host`. Whoever is killed is followed at once
by another process, as under a supervisor; only what a dead process held is free sooner than usual.
"""

import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pilothouse.cli.serve  # noqa: F401 -- so that those who follow need not load it
from pilothouse.capabilities.automation import looping, performing
from pilothouse.capabilities.automation.actions import ACTIONS
from pilothouse.capabilities.machines import places, work_store
from pilothouse.cli.main import main
from tests.acceptance.dying_host import FileHost, State

HOLD_MS = 8_000
Do = Callable[..., Awaitable[Any]]


class Moments:
    """The moments that are still to come; in a file, for the process does not outlive them."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def pass_(self, moment: str, turn: int) -> None:
        """Die, if it is one of them and was not yet."""
        left: list[str] = json.loads(self._file.read_text())
        for each in (moment, f"{moment} {turn}"):
            if each in left:
                left.remove(each)
                written = self._file.with_suffix(".new")
                written.write_text(json.dumps(left))
                written.replace(self._file)
                os.kill(os.getpid(), signal.SIGKILL)

    def around(self, do: Do, what: str, about: Callable[..., tuple[str, int]]) -> Do:
        """The same, with a moment before and one after it; `about` gives the step's name and the turn."""

        async def done(*given: Any) -> Any:
            name, turn = about(*given)
            self.pass_(f"{name} before {what}", turn)
            outcome = await do(*given)
            self.pass_(f"{name} after {what}", turn)
            return outcome

        return done


def wrap(moments: Moments) -> None:
    """Every action; a loop is done by the engine."""
    for action in ACTIONS.values():
        action.begin = moments.around(  # type: ignore[method-assign]
            action.begin, "begin", lambda step: (step.name, 0)
        )
        action.resume = moments.around(  # type: ignore[method-assign]
            action.resume, "resume", lambda step, state: (step.name, state.get("turns", 0))
        )
        action.perform = moments.around(  # type: ignore[method-assign]
            action.perform, "perform", lambda errand: (errand.name, errand.state.get("turns", 0))
        )
    looping.begin = moments.around(looping.begin, "begin", lambda drive, run, plan: (plan.name, 0))
    looping.work = moments.around(
        looping.work, "resume", lambda drive, run, plan, why: (plan.name, run.contents.state.get("iteration", 1))
    )


class MakingHost(FileHost):
    """One that makes machines, too."""

    def template(self, native: str) -> str:
        return "form"

    def define(
        self, template: str, native: str, name: str, disks: dict[str, str], vcpus: int | None, memory_mib: int | None
    ) -> None:
        def change(state: State) -> bool:
            assert native not in state["machines"]
            state["machines"][native] = {"running": False, "run": 0, "disks": disks}
            return True

        self._change("define", change)


def supervise() -> None:
    """Returns in each process that is to serve; ends when one ends otherwise than by SIGKILL."""
    child, ending = 0, False

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal ending
        ending = True
        if child:
            os.kill(child, number)

    signal.signal(signal.SIGTERM, end)
    while True:
        child = os.fork()
        if not child:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            return
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        child = 0
        if ending or code != -signal.SIGKILL:
            sys.exit(code)


if __name__ == "__main__":
    file, MakingHost.file = Path(sys.argv.pop(1)), Path(sys.argv.pop(1))
    places.DRIVERS["file"] = MakingHost  # type: ignore[assignment]  # it carries none away
    performing.HOLD_MS, performing.HOLD_ON_SECONDS = HOLD_MS, 1.0  # type: ignore[misc]
    work_store.HOLD_MS = HOLD_MS  # type: ignore[misc]
    wrap(Moments(file))
    supervise()
    main()
