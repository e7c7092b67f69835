"""What a step can do. A plugin turns the inputs of one run into a RunResult; `find` knows them all."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pilothouse_agent.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of a plugin: its inputs, where it may write, and when to stop."""

    command_id: str
    directory: Path
    downloads: Path
    inputs: Mapping[str, Any]
    environment: Mapping[str, str]
    cancelled: asyncio.Event
    settings: Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """How a run ended. The streams stay in the run's directory; notes are what the agent adds to them.

    Times are epoch milliseconds.
    """

    status: str
    code: int
    started_at: int
    ended_at: int
    output_note: str = ""
    error_note: str = ""


Plugin = Callable[[Run], Awaitable[RunResult]]

NOT_FOR_LINUX = frozenset({"aws:applications", "aws:cloudWatch", "aws:psModule", "aws:updateAgent"})
"""Known, but nothing that a Linux node can do: skipped under schema 2.2."""

NOT_HERE = frozenset(
    {
        "aws:configureDaemon",
        "aws:configureDocker",
        "aws:configurePackage",
        "aws:domainJoin",
        "aws:downloadContent",
        "aws:refreshAssociation",
        "aws:runDockerAction",
        "aws:runDocument",
        "aws:runPowerShellScript",
        "aws:softwareInventory",
        "aws:updateSsmAgent",
    }
)
"""Known and possible on Linux, but this agent does not do them."""


def find(name: str) -> Plugin | None:
    """The plugin of that name, if this agent has it."""
    if name == "aws:runShellScript":
        from pilothouse_agent.plugins.run_shell_script import run_shell_script

        return run_shell_script
    return None
