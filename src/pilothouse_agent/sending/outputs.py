"""Follows the output of every run: into the log and to the server while it grows, into the object store at its end.

What could not be sent stays noted on disk and is tried again, also by the next life of the agent, for
as long as the command's files are kept.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path

from pilothouse_agent import log, processes
from pilothouse_agent.link.api import ApiError
from pilothouse_agent.link.https import Unreachable
from pilothouse_agent.plugins import Node, RunResult
from pilothouse_agent.sending.live import LiveOutput
from pilothouse_agent.sending.logs import Call, LogSender
from pilothouse_agent.sending.targets import STREAMS, Content, Target, load
from pilothouse_agent.settings import Settings
from pilothouse_agent.state.commands import ASSOCIATION, Job

_FOLLOW = 1.0  # seconds between looks at a stream that goes to a log
_SLOW_FOLLOW = 30.0  # and between looks when the log did not take it
_LONGEST_PAUSE = 3600.0  # between tries that all fail: a bucket that is not there, say
_PATIENCE = 300.0  # seconds that another try may take
_SLOWEST = 512 * 1024  # bytes per second: a longer output gets more time


class NotTaken(Exception):
    """The object store did not take an output; the text says why."""


class Outputs:
    """All outputs that are under way, or wait for a better time."""

    def __init__(self, *, node: Node, settings: Settings, call_logs: Call, live: LiveOutput, commands: Path) -> None:
        self._node = node
        self._settings = settings
        self._logs = LogSender(call_logs, settings.output_limit)
        self._live = live
        self._commands = commands
        self._left: set[Path] = set()
        self._work = asyncio.Event()

    @asynccontextmanager
    async def following(
        self, job: Job, step: str, number: int, directory: Path, target: Target | None
    ) -> AsyncIterator["Following"]:
        """While the run goes on, and until its output is where it belongs, but no longer than a reply may wait."""
        following = Following(target.resumed() if target is not None else None)
        shown = job.channel != ASSOCIATION
        if shown:
            self._live.begin(job.job_id, step, number, directory)
        if following.target is not None and following.target.log_group:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._follow(following))
                try:
                    yield following
                finally:
                    following.over.set()
        else:
            yield following
        if following.result is not None:
            notes = (following.result.output_note, following.result.error_note)
            if shown:
                self._live.end(job.job_id, step, number, notes)
            if following.target is not None:
                await self._ended(following.target, notes)

    async def _follow(self, following: "Following") -> None:
        """Lines into the log. What is being sent when the run ends is sent to its end: a line comes once."""
        pause = _FOLLOW
        while not following.over.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await following.over.wait()
                    return
            assert following.target is not None
            try:
                following.target = await self._logs.send(following.target)
                pause = _FOLLOW
            except (ApiError, Unreachable, OSError) as error:
                log.event("output.not_logged", level="warning", run=following.target.directory, reason=error)
                pause = min(pause * 2, _SLOW_FOLLOW)

    async def _ended(self, target: Target, notes: tuple[str, str]) -> None:
        """Send what is left, for as long as a reply may wait."""
        try:
            target = target.changed(notes=notes)
        except OSError as error:  # the disk is full: the reply goes out all the same
            log.event("output.not_sent", level="error", run=target.directory, reason=error)
            return
        directory = Path(target.directory)
        size = sum(Content(directory / name, self._settings.output_limit, None).length for name in STREAMS)
        if not await self._send_all(target, self._settings.output_patience + size / _SLOWEST):
            self._left.add(directory)
            self._work.set()

    async def _send_all(self, target: Target, seconds: float) -> bool:
        """Whether everything is where it belongs now. The log and the object store do not wait for each other."""
        logged, uploaded = await asyncio.gather(
            self._tried(target, self._log(target), seconds), self._tried(target, self._store(target), seconds)
        )
        try:
            reached = load(Path(target.directory)) or target  # the log's place is stored after each batch
            if uploaded and reached.wants_upload:
                reached = reached.changed(uploaded=True)
            if logged and uploaded:
                reached.done()
        except OSError as error:
            log.event("output.not_sent", level="warning", run=target.directory, reason=error)
            return False
        return logged and uploaded

    async def _tried(self, target: Target, sending: Coroutine[None, None, None], seconds: float) -> bool:
        """Whether it was sent in time."""
        try:
            async with asyncio.timeout(seconds):
                await sending
        except (ApiError, Unreachable, OSError, processes.ChildFailed, NotTaken) as error:
            reason = error if str(error) else "it took too long"
            log.event("output.not_sent", level="warning", run=target.directory, reason=reason)
            return False
        return True

    async def _log(self, target: Target) -> None:
        if target.log_group:
            await self._logs.send(target)

    async def _store(self, target: Target) -> None:
        if target.wants_upload:
            refusal = await processes.in_child(lambda: self._upload(target))
            if refusal:
                raise NotTaken(refusal.decode())

    def _upload(self, target: Target) -> bytes:
        """In a child: why the object store did not take it, or nothing."""
        from pilothouse_agent.sending.objects import upload

        try:
            upload(self._node, target, self._settings.output_limit)
        except (ApiError, Unreachable, OSError) as error:
            return str(error).encode() or b"it broke off"
        return b""

    async def hold(self) -> None:
        """Try again what was left, for as long as the agent runs."""
        for path in self._commands.glob("*/steps/*/*/sending.json"):
            target = load(path.parent)
            if target is not None and target.notes is not None:
                self._left.add(path.parent)
        pause = self._settings.output_retry
        while True:
            before = len(self._left)
            for directory in sorted(self._left):
                target = load(directory)
                if target is None or await self._send_all(target, _PATIENCE):
                    self._left.discard(directory)
            pause = self._settings.output_retry if len(self._left) < before else min(pause * 2, _LONGEST_PAUSE)
            self._work.clear()
            if not self._left:
                await self._work.wait()
                pause = self._settings.output_retry
            await asyncio.sleep(pause)


class Following:
    """One run under way; the result is set when there is one."""

    def __init__(self, target: Target | None) -> None:
        self.target = target
        self.result: RunResult | None = None
        self.over = asyncio.Event()
