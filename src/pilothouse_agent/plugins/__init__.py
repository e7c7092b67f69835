"""What a step can do. A plugin turns the inputs of one run into a RunResult; `find` knows them all."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pilothouse_agent.documents.plan import Fetch
from pilothouse_agent.machine import Machine
from pilothouse_agent.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """The node that plugins work on, and its server."""

    instance_id: str
    region: str
    host: str
    port: int
    ca_file: Path | None  # None: the machine's own authorities count
    credentials_file: Path
    state: Path  # the state directory
    machine: Machine
    call: Callable[[str, dict[str, Any]], Awaitable[dict[str, Any]]]  # an SSM operation. Raises ApiError, Unreachable
    fetch: Fetch
    look: Callable[[list[str] | None], Awaitable[list[str]]]  # at the associations. Raises ApiError, Unreachable


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of a plugin: its inputs, where it may write, and when to stop."""

    command_id: str
    directory: Path
    streams: Path  # where its stdout and stderr go: its own directory, or that of the document it is a step of
    downloads: Path
    inputs: Mapping[str, Any]
    environment: Mapping[str, str]
    cancelled: asyncio.Event
    settings: Settings
    node: Node
    run_inner: "RunInner"
    depth: int = 0  # documents around this one


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
RunInner = Callable[[Run, Any], Awaitable[str]]
"""Runs the plan of a document that is a step of another one; its status."""

NOT_FOR_LINUX = frozenset({"aws:applications", "aws:cloudWatch", "aws:psModule"})
"""Known, but nothing that a Linux node can do: skipped under schema 2.2."""

NOT_HERE = frozenset({"aws:configureDaemon", "aws:configureDocker", "aws:domainJoin", "aws:runDockerAction"})
"""Known and possible on Linux, but this agent does not do them."""


def find(name: str) -> Plugin | None:
    """The plugin of that name, if this agent has it. Loaded when it is first needed: an idle agent stays small."""
    load = _PLUGINS.get(name)
    return load() if load else None


def _shell_script() -> Plugin:
    from pilothouse_agent.plugins.scripts import run_shell_script

    return run_shell_script


def _power_shell_script() -> Plugin:
    from pilothouse_agent.plugins.scripts import run_power_shell_script

    return run_power_shell_script


def _document() -> Plugin:
    from pilothouse_agent.plugins.run_document import run_document

    return run_document


def _download() -> Plugin:
    from pilothouse_agent.plugins.download_content import download_content

    return download_content


def _package() -> Plugin:
    from pilothouse_agent.plugins.configure_package import configure_package

    return configure_package


def _update() -> Plugin:
    from pilothouse_agent.plugins.update_agent import update_agent

    return update_agent


def _inventory() -> Plugin:
    from pilothouse_agent.plugins.inventory import software_inventory

    return software_inventory


def _associations() -> Plugin:
    from pilothouse_agent.plugins.refresh_association import refresh_association

    return refresh_association


_PLUGINS: Mapping[str, Callable[[], Plugin]] = {
    "aws:runShellScript": _shell_script,
    "aws:softwareInventory": _inventory,
    "aws:updateAgent": _update,
    "aws:updateSsmAgent": _update,
    "aws:runPowerShellScript": _power_shell_script,
    "aws:refreshAssociation": _associations,
    "aws:runDocument": _document,
    "aws:configurePackage": _package,
    "aws:downloadContent": _download,
}

NAMES = tuple(sorted(_PLUGINS))
