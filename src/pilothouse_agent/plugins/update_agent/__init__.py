"""aws:updateSsmAgent and aws:updateAgent: replace this agent's one file by the one that its server offers.

The work is done in a child under a supervisor, which outlive the agent that is replaced. The agent that
comes up afterwards joins the run and reports how it went.
"""

import os
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from pilothouse_agent.plugins import Run, RunResult, supervisor
from pilothouse_agent.plugins.supervised import Refused, outcome_of, refused, run_to_end

NAMES = ("amazon-ssm-agent", "pilothouse-agent")
NOT_ONE_FILE = (
    "this agent was not started from its single file, so it cannot replace itself; "
    "update it the way it was installed (pip, or the install script of the server)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is wanted of the update, and how this agent was started."""

    program: Path
    argv: list[str]  # starts the agent anew, as it was started
    target: str  # a version; empty: what the server offers
    allow_downgrade: bool
    run: Run


async def update_agent(run: Run) -> RunResult:
    """Update, or join an update that this life of the agent came out of."""
    try:
        # a cancel does not reach it: between the new agent and the way back nobody may be left alone
        stored = await run_to_end(run, lambda: _work(run), repeatable=True, cancellable=False)
    except Refused as error:
        return refused(error)
    return outcome_of(stored, run, lambda code: ("Success", 0, "") if code == 0 else ("Failed", 1, ""))


def _work(run: Run) -> supervisor.Work:
    name = str(run.inputs.get("agentName") or NAMES[0])
    if name not in NAMES:
        raise Refused(f"agentName must be one of {', '.join(NAMES)}")
    allow = str(run.inputs.get("allowDowngrade", "false")).lower()
    if allow not in ("true", "false"):
        raise Refused("allowDowngrade must be true or false")
    target = str(run.inputs.get("targetVersion") or "").strip()
    order = Order(
        program=program(),
        argv=_absolute(sys.orig_argv),
        target="" if target in ("None", "latest") else target,
        allow_downgrade=allow == "true",
        run=run,
    )
    return supervisor.Work(
        function=lambda: _update(order), working_directory=str(run.downloads), environment=dict(os.environ)
    )


def program() -> Path:
    """The single file that this agent runs from. Raises Refused if it runs from something else."""
    path = Path(sys.argv[0]).absolute()
    if not zipfile.is_zipfile(path):
        raise Refused(NOT_ONE_FILE)
    return path


def _absolute(argv: list[str]) -> list[str]:
    return [str(program()) if word == sys.argv[0] else word for word in argv]


def _update(order: Order) -> int:
    from pilothouse_agent.plugins.update_agent.procedure import update

    return update(order)
