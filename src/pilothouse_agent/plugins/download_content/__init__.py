"""aws:downloadContent: files from elsewhere onto this node (agent-protocol 6.6).

The work is done in a child, which may be repeated: it writes the same files again. Sources: a module each.
"""

import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pilothouse_agent.plugins import Run, RunResult, supervisor
from pilothouse_agent.plugins.supervised import Refused, outcome_of, refused, run_to_end

Info = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to fetch, and where to. destination ends with a slash if it names a directory."""

    info: Info
    destination: str
    run: Run

    @property
    def is_directory(self) -> bool:
        """Whether the destination is one already, or is written as one."""
        return self.destination.endswith("/") or os.path.isdir(self.destination)


async def download_content(run: Run) -> RunResult:
    """Fetch the content, or join a fetch that an earlier life of the agent started."""
    try:
        stored = await run_to_end(run, lambda: _work(run), repeatable=True)
    except Refused as error:
        return refused(error)
    return outcome_of(stored, run, _exit_status)


def _work(run: Run) -> supervisor.Work:
    kind = run.inputs.get("sourceType")
    if not kind:
        raise Refused("invalid input: SourceType must be specified")
    fetch = _SOURCES.get(str(kind))
    if fetch is None:
        raise Refused(f"invalid input: Unsupported source type. There is {', '.join(sorted(_SOURCES))}")
    order = Order(info=_source_info(run.inputs.get("sourceInfo"), str(kind)), destination=_destination(run), run=run)
    return supervisor.Work(
        function=lambda: _fetch(fetch, order),
        working_directory=str(run.downloads),
        environment={**os.environ, **run.environment},
    )


def _fetch(fetch: Callable[[Order], None], order: Order) -> int:
    from pilothouse_agent.link.api import ApiError
    from pilothouse_agent.link.https import Unreachable

    try:
        fetch(order)
    except (ApiError, Unreachable, OSError) as error:
        print(f"Failed to download the content: {error}", file=sys.stderr)
        return 1
    print(f"Content downloaded to {order.destination}")
    return 0


def _source_info(given: Any, kind: str) -> Info:
    """An object, or the JSON text of one."""
    if not given:
        raise Refused("invalid input: SourceInfo must be specified")
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except ValueError as error:
            raise Refused(
                f"SourceInfo could not be unmarshalled for source type {kind}. Please check JSON format of SourceInfo"
            ) from error
    if not isinstance(given, dict):
        raise Refused("invalid input: SourceInfo must be an object")
    return {str(name).lower(): value for name, value in given.items()}


def _destination(run: Run) -> str:
    """As given; a relative one is below the command's downloads and stays there."""
    given = run.inputs.get("destinationPath") or ""
    if not isinstance(given, str) or "\0" in given:
        raise Refused("invalid input: destinationPath must be a text")
    if os.path.isabs(given):
        return os.path.normpath(given) + ("/" if given.endswith("/") else "")
    path = os.path.normpath(given) if given else "."
    if path == ".." or path.startswith("../"):
        raise Refused("invalid input: a relative destinationPath must stay below the downloads of the command")
    whole = str(run.downloads) if path == "." else str(run.downloads / path)
    return whole + "/" if given.endswith("/") or path == "." else whole


def _exit_status(code: int) -> tuple[str, int, str]:
    if code == 0:
        return "Success", 0, ""
    if code < 0:
        return "Failed", 1, f"the download was ended by signal {signal.Signals(-code).name}"
    return "Failed", 1, ""


def _s3(order: Order) -> None:
    from pilothouse_agent.plugins.download_content.objects import fetch

    fetch(order)


def _http(order: Order) -> None:
    from pilothouse_agent.plugins.download_content.web import fetch

    fetch(order)


def _git(order: Order) -> None:
    from pilothouse_agent.plugins.download_content.git import fetch

    fetch(order)


def _github(order: Order) -> None:
    from pilothouse_agent.plugins.download_content.github import fetch

    fetch(order)


def _document(order: Order) -> None:
    from pilothouse_agent.plugins.download_content.ssm_document import fetch

    fetch(order)


_SOURCES: Mapping[str, Callable[[Order], None]] = {
    "Git": _git,
    "GitHub": _github,
    "HTTP": _http,
    "S3": _s3,
    "SSMDocument": _document,
}


def text_of(info: Info, name: str) -> str:
    """A member of the source info that is a text, trimmed; empty if it is missing."""
    value = info.get(name.lower())
    return str(value).strip() if value is not None and not isinstance(value, dict | list) else ""


def is_true(info: Info, name: str) -> bool:
    return str(info.get(name.lower(), "")).lower() == "true"


def file_place(order: Order, name: str) -> tuple[Path, str]:
    """Directory and name for a source that is one file of that name."""
    if order.is_directory:
        return Path(order.destination), name
    path = Path(order.destination)
    return path.parent, path.name
