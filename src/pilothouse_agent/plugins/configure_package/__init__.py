"""aws:configurePackage: install, update and remove packages of documents of type Package (agent-protocol 6.6).

The format is in docs/reference/packages.md. The work is done in a child. What is still to be done with
a package stands on disk, so a child that was lost, an agent or a machine that restarted go on there.
"""

import json
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pilothouse_agent.plugins import Run, RunResult, supervisor
from pilothouse_agent.plugins.supervised import Refused, outcome_of, refused, run_to_end

IN_PLACE = "In-place update"
_REBOOT = 194


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be done with which package."""

    action: str  # "Install" or "Uninstall"
    name: str  # of the document, or its ARN
    version: str  # empty: the default one, or the installed one
    in_place: bool
    arguments: Mapping[str, str]
    run: Run


async def configure_package(run: Run) -> RunResult:
    """Do it, or join what an earlier life of the agent began."""
    try:
        stored = await run_to_end(run, lambda: _work(run), repeatable=True)
    except Refused as error:
        return refused(error)
    return outcome_of(stored, run, _exit_status)


def _work(run: Run) -> supervisor.Work:
    order = _order(run)
    return supervisor.Work(
        function=lambda: _configure(order),
        working_directory=str(run.downloads),
        environment={**os.environ, **run.environment},
    )


def _configure(order: Order) -> int:
    from pilothouse_agent.link.api import ApiError
    from pilothouse_agent.link.https import Unreachable
    from pilothouse_agent.plugins.configure_package.procedure import configure

    try:
        return _REBOOT if configure(order) else 0
    except (ApiError, Unreachable, OSError) as error:
        print(f"Failed to configure the package: {error}", file=sys.stderr)
        return 1


def _order(run: Run) -> Order:
    inputs = run.inputs
    action, name = (str(inputs.get(member) or "") for member in ("action", "name"))
    if inputs.get("source"):
        raise Refused("invalid input: source parameter is not supported in this version")
    if not name:
        raise Refused("invalid input: empty name field")
    if action not in ("Install", "Uninstall"):
        raise Refused(f"unsupported action: {action}")
    version = str(inputs.get("version") or "").strip()
    return Order(
        action=action,
        name=name,
        version="" if version == "latest" else version,
        in_place=inputs.get("installationType") == IN_PLACE,
        arguments=_arguments(inputs.get("additionalArguments")),
        run=run,
    )


def _arguments(given: Any) -> dict[str, str]:
    """An object of texts or its JSON text; every name begins with SSM_."""
    if isinstance(given, str) and given.strip():
        try:
            given = json.loads(given)
        except ValueError as error:
            raise Refused("invalid input: unable to unmarshal additional arguments from input") from error
    if not given:
        return {}
    if not isinstance(given, dict) or not all(isinstance(value, str) for value in given.values()):
        raise Refused("invalid input: unable to unmarshal additional arguments from input; it is no object of texts")
    for name in given:
        if not name.startswith("SSM_"):
            raise Refused('invalid input: keys need to start with "SSM_" prefix in additional arguments from input')
        if "=" in name or "\0" in name + given[name]:
            raise Refused("invalid input: additional arguments must do as environment variables")
    return dict(given)


def _exit_status(code: int) -> tuple[str, int, str]:
    if code == 0:
        return "Success", 0, ""
    if code == _REBOOT:
        return "SuccessAndReboot", _REBOOT, ""
    if code < 0:
        return "Failed", 1, f"the work was ended by signal {signal.Signals(-code).name}"
    return "Failed", 1, ""
