"""aws:runDocument: the steps of another document as one step (agent-protocol 6.6).

The plan of the inner document is on disk before its first step runs, so a restart of the agent goes
on where it was. Its steps write to the streams of the outer one.
"""

import asyncio
import errno
import json
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pilothouse_agent import log, processes
from pilothouse_agent.documents import text
from pilothouse_agent.documents.plan import InvalidDocument, Plan, plan
from pilothouse_agent.documents.reference import request_for
from pilothouse_agent.link.api import ApiError
from pilothouse_agent.link.https import Unreachable
from pilothouse_agent.plugins import Run, RunResult
from pilothouse_agent.plugins.supervised import KILLED, Refused, refused
from pilothouse_agent.state import files
from pilothouse_agent.times import now_ms

_MOST_DEPTH = 3
_PAUSES = (1.0, 2.0, 4.0)  # between tries to reach the server, seconds
_MOST_CPU = 20  # seconds for reading a text: YAML can be made to take very long
_CODES = {"Success": 0, "TimedOut": KILLED, "Cancelled": KILLED}


async def run_document(run: Run) -> RunResult:
    """Run the inner document to its end, or go on with it."""
    path = run.directory / "document.json"
    stored = files.read_json(path)
    if stored is None:
        try:
            planned = await _prepare(run)
        except Refused as error:
            return refused(error)
        stored = {"started_at": now_ms(), "plan": planned.to_json() if planned else None}
        files.make_private(run.directory)
        files.write_json(path, stored)
    status = "Success"
    if stored["plan"] is not None:
        status = await run.run_inner(run, Plan.from_json(stored["plan"]))
    return RunResult(status=status, code=_CODES.get(status, 1), started_at=stored["started_at"], ended_at=now_ms())


async def _prepare(run: Run) -> Plan | None:
    """The plan of the inner document; None for the document that does nothing. Raises Refused."""
    kind, path = (str(run.inputs.get(name) or "") for name in ("documentType", "documentPath"))
    if not kind:
        raise Refused("invalid input: Document Type must be specified to either by SSMDocument or LocalPath.")
    if kind not in ("SSMDocument", "LocalPath"):
        raise Refused("invalid input: Document type specified in invalid")
    if not path:
        raise Refused("invalid input: Document Path must be provided")
    if run.depth + 1 > _MOST_DEPTH:
        raise Refused(
            f"Maximum depth for document execution exceeded. Maximum depth permitted - {_MOST_DEPTH} "
            f"and current depth - {run.depth + 1}"
        )
    if path == "AWS-Noop":
        return None
    content = await (_from_server(run, path) if kind == "SSMDocument" else _from_disk(run.downloads / path))
    parameters = await _parameters(run.inputs.get("documentParameters"))
    try:
        return await plan(content, parameters, run.node.fetch, strict=True)
    except InvalidDocument as error:
        raise Refused(f"There was an error while preparing documents - {error}") from error


async def _from_server(run: Run, path: str) -> Any:
    request = request_for(path)
    if request is None:
        raise Refused(f"{path} is no name of a document")
    for pause in (*_PAUSES, None):
        try:
            answer = await run.node.call("GetDocument", request)
            break
        except ApiError as error:
            raise Refused(f"The document {path} could not be read: {error}") from error
        except Unreachable as error:
            if pause is None or run.cancelled.is_set():
                raise Refused(f"The document {path} could not be read: {error}") from error
            log.event("document.unreachable", level="warning", command_id=run.command_id, reason=error)
            await asyncio.sleep(pause)
    return await _value(lambda: str(answer.get("Content") or "").encode(), f"The document {path}")


async def _from_disk(path: Path) -> Any:
    def content() -> bytes:
        if path.exists() and not path.is_file():
            raise OSError(errno.EINVAL, "it is no file")
        with path.open("rb") as file:
            return file.read(text.MOST_BYTES + 1)

    return await _value(content, f"The document {path}")


async def _parameters(given: Any) -> Any:
    """An object, or one as text. Empty values are left out: the defaults count."""
    value = await _value(given.encode, "documentParameters") if isinstance(given, str) and given.strip() else given
    if not value:
        return {}
    if not isinstance(value, dict):
        raise Refused("There was an error while preparing documents - documentParameters is no object")
    return {name: inner for name, inner in value.items() if inner is not None}


async def _value(content: Callable[[], bytes], what: str) -> Any:
    """The text as a value. Read in a child: what reads YAML is not to stay in memory. Raises Refused."""

    def read() -> bytes:
        resource.setrlimit(resource.RLIMIT_CPU, (_MOST_CPU, _MOST_CPU))
        try:
            return json.dumps({"value": text.read(content())}).encode()
        except text.Unreadable as error:
            return json.dumps({"error": f"{what} cannot be read: {error}"}).encode()
        except OSError as error:
            return json.dumps({"error": f"{what} cannot be read: {error.strerror}"}).encode()

    try:
        answer = json.loads(await processes.in_child(read))
    except processes.ChildFailed as error:
        raise Refused(f"{what} cannot be read") from error
    if "error" in answer:
        raise Refused(f"There was an error while preparing documents - {answer['error']}")
    return answer["value"]
