"""The sessions of this node, as the agent sees them: orders come in, workers run, endings are reported.

Everything about a session is in its directory, so the next life of the agent takes it up: session.json
(the order), lock (held by the worker), result.json, reported (the server knows the end). An order that
comes again starts nothing. This is all of sessions that an idle agent has loaded.
"""

import asyncio
import fcntl
import json
import math
import os
import shutil
import signal
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pilothouse_agent import log, processes
from pilothouse_agent.link.https import Endpoint, Unreachable
from pilothouse_agent.plugins import Node, supervisor
from pilothouse_agent.settings import Settings
from pilothouse_agent.state import files

if TYPE_CHECKING:
    from pilothouse_agent.sessions.order import Order

ORDER = "interactive_shell"
CLOSED = "channel_closed"
COMPLETE = "agent_task_complete"
ACKNOWLEDGED = "agent_task_acknowledge"
OFFER = {"exec": 1, "file": 1}
"""What sessions of this agent can do beyond the official one's, as it is said when the control channel opens."""

_QUICK_TRIES = 3  # a second apart; then as replies of commands
_DEAF = 30.0  # seconds after a report was acknowledged in which the server cannot have missed it
_VANISHED = "The session's process on the node ended unexpectedly."

Send = Callable[[str, uuid.UUID, dict[str, Any]], Awaitable[None]]
"""A frame over the control channel. Raises Unreachable."""


class SessionKeeper:
    """All sessions of this node."""

    def __init__(
        self, *, root: Path, node: Node, endpoint: Endpoint, settings: Settings, group: asyncio.TaskGroup
    ) -> None:
        self._root = files.make_private(root)
        self._node = node
        self._endpoint = endpoint
        self._settings = settings
        self._group = group
        self._running: set[str] = set()
        self._tries: dict[str, int] = {}  # of sessions whose end is to be reported
        self._due: dict[str, float] = {}
        self._work = asyncio.Event()
        self._send: Send | None = None
        self.stopping = False

    # -- the control channel

    def opened(self, send: Send) -> None:
        self._send = send
        for session_id in self._tries:
            self._due[session_id] = 0.0
        self._work.set()

    def closed(self) -> None:
        self._send = None

    def receive(self, kind: str, members: Mapping[str, Any]) -> bool:
        """A message of the control channel, member names in lower case; false if it is not about sessions."""
        if kind not in (ORDER, CLOSED, ACKNOWLEDGED):
            return False
        from pilothouse_agent.sessions.order import session_id_of

        session_id = session_id_of(members)
        if session_id is None:
            log.event("session.unreadable", level="warning", message_type=kind, reason="it names no session")
        elif kind == ORDER and not self.stopping:
            self._group.create_task(self._begin(session_id, members.get("content")))
        elif kind == CLOSED:
            self._close(session_id)
        elif kind == ACKNOWLEDGED:
            self._reported(session_id)
        return True

    # -- sessions

    def resume(self) -> None:
        """Take up what an earlier life of the agent left."""
        for directory in self._root.iterdir():
            if directory.is_dir() and not (directory / "reported").exists():
                if (directory / "session.json").exists():
                    log.event("session.resumed", session_id=directory.name)
                    self._running.add(directory.name)
                    self._group.create_task(self._follow(directory.name))
                else:
                    shutil.rmtree(directory, ignore_errors=True)  # it never began

    async def _begin(self, session_id: str, content: object) -> None:
        from pilothouse_agent.documents.plan import InvalidDocument
        from pilothouse_agent.sessions import order as orders

        directory = self._root / session_id
        if session_id in self._running:
            return
        if (directory / "session.json").exists():
            self._report(session_id)  # its end was reported before; the server has not heard
            return
        self._running.add(session_id)
        try:
            order = await orders.read(session_id, content, self._node.fetch)
            if len(self._running) > self._settings.sessions:
                raise InvalidDocument(f"the node has {self._settings.sessions} sessions, which is all that it takes")
            files.make_private(directory)
            files.write_json(directory / "session.json", asdict(order))
            files.sync_directory(self._root)
            self._start(directory, order)
        except (InvalidDocument, OSError) as error:
            log.event("session.refused", level="warning", session_id=session_id, reason=error)
            self._running.discard(session_id)
            self._refuse(directory, str(error))
            return
        await self._follow(session_id)

    def _start(self, directory: Path, order: "Order") -> None:
        """Fork the worker. It holds the lock as long as it lives."""
        log.event("session.accepted", session_id=order.session_id, document=order.document, kind=order.session_type)
        lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            processes.fork(lambda: self._work_on(directory, order, lock), keep=(lock,), quiet=True)
        finally:
            os.close(lock)

    def _work_on(self, directory: Path, order: "Order", lock: int) -> None:
        """In the child."""
        os.pwrite(lock, b"%d" % os.getpid(), 0)
        os.setsid()
        own_log = os.open(directory / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(own_log, 2)
        os.close(own_log)
        from pilothouse_agent.sessions.worker import Place, main

        main(Place(directory=directory, node=self._node, endpoint=self._endpoint, settings=self._settings), order)

    async def _follow(self, session_id: str) -> None:
        """Wait for the worker's end."""
        directory = self._root / session_id
        try:
            pid = supervisor.find(directory)
            if pid is not None:
                await processes.ended(pid)
                processes.reap(pid)
            if files.read_json(directory / "result.json") is None:
                log.event("session.vanished", level="error", session_id=session_id)
                await processes.in_child(lambda: _clear_up(directory))
                self._refuse(directory, _VANISHED)
            else:
                self._report(session_id)
        finally:
            self._running.discard(session_id)

    def _refuse(self, directory: Path, reason: str) -> None:
        """A session that failed without a worker."""
        try:
            files.make_private(directory)
            if not (directory / "session.json").exists():
                files.write_json(directory / "session.json", {})
            files.write_json(directory / "result.json", {"status": "Failed", "output": reason})
        except OSError as error:
            log.event("session.not_stored", level="error", session_id=directory.name, reason=error)
            return
        self._report(directory.name)

    def _close(self, session_id: str) -> None:
        """The server ends it; or asks for the report of an end that it did not hear of."""
        directory = self._root / session_id
        pid = supervisor.find(directory) if session_id in self._running else None
        log.event("session.closed", session_id=session_id, known=pid is not None)
        if pid is not None:
            os.kill(pid, signal.SIGTERM)
        elif (directory / "result.json").exists() and _age(directory / "reported") > _DEAF:
            self._report(session_id)

    # -- reports

    def _report(self, session_id: str) -> None:
        self._tries.setdefault(session_id, 0)
        self._due[session_id] = 0.0
        self._work.set()

    def _reported(self, session_id: str) -> None:
        if self._tries.pop(session_id, None) is not None:
            self._due.pop(session_id, None)
            try:
                (self._root / session_id / "reported").touch(mode=0o600)  # the time counts
            except OSError as error:  # the next start of the agent reports it once more
                log.event("session.not_forgotten", level="error", session_id=session_id, reason=error)

    async def deliver(self) -> None:
        """Report endings until each is acknowledged, for as long as the agent runs. Sleeps while there is none."""
        while True:
            self._work.clear()
            if self._send is not None:
                for session_id in [each for each, due in self._due.items() if due <= time.monotonic()]:
                    await self._deliver_one(session_id, self._send)
            due = min(self._due.values(), default=None) if self._send is not None else None
            try:
                async with asyncio.timeout(None if due is None else max(due - time.monotonic(), 0.0)):
                    await self._work.wait()
            except TimeoutError:
                continue

    async def _deliver_one(self, session_id: str, send: Send) -> None:
        path = self._root / session_id / "result.json"
        result = files.read_json(path)
        if result is None or time.time() - path.stat().st_mtime > self._settings.reply_keep:
            log.event("session.not_reported", level="error", session_id=session_id)
            self._reported(session_id)
            return
        self._tries[session_id] += 1
        quick = self._tries[session_id] <= _QUICK_TRIES
        self._due[session_id] = time.monotonic() + (1.0 if quick else self._settings.reply_retry)
        message_id = uuid.uuid5(uuid.NAMESPACE_URL, f"pilothouse-session:{self._node.instance_id}/{session_id}")
        try:
            await send(COMPLETE, message_id, self._completion(session_id, result))
        except Unreachable:
            return
        log.event("session.reported", session_id=session_id, status=result["status"], number=self._tries[session_id])

    def _completion(self, session_id: str, result: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "SchemaVersion": 1,
            "TaskId": session_id,
            "Topic": COMPLETE,
            "FinalTaskStatus": str(result["status"]),
            "IsRoutingFailure": False,
            "AwsAccountId": "",
            "InstanceId": self._node.instance_id,
            "Output": str(result.get("output") or ""),
            "S3Bucket": str(result.get("bucket") or ""),
            "S3UrlSuffix": str(result.get("key") or ""),
            "CwlGroup": str(result.get("group") or ""),
            "CwlStream": str(result.get("stream") or ""),
            "RetryNumber": self._tries[session_id],
        }

    def prune(self, keep_seconds: float, now: float) -> int:
        """Remove sessions that ended before; how many."""
        removed = 0
        for mark in list(self._root.glob("*/reported")):
            if mark.stat().st_mtime < now - keep_seconds:
                shutil.rmtree(mark.parent)
                removed += 1
        return removed


def _age(path: Path) -> float:
    """Seconds since the file was written; for ever if there is none."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return math.inf


def _clear_up(directory: Path) -> bytes:
    """In a child: end what a vanished worker left running."""
    from pilothouse_agent.sessions import spawn

    child = files.read_json(directory / "child.json")
    if isinstance(child, dict):
        spawn.end_session(int(child["pid"]), str(child["born"]))
    return json.dumps({}).encode()
