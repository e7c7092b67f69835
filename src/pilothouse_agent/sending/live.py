"""Output while it grows, over the control channel, to a server that said it takes it.

Protocol: docs/reference/agent-protocol-extensions.md. The stream files on disk are the buffer: in
memory there are offsets alone. The server's acknowledgement says which byte it wants next, so a
connection or an agent that was lost costs no more than what was under way.
"""

import asyncio
import base64
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pilothouse_agent import log
from pilothouse_agent.link.https import Unreachable
from pilothouse_agent.sending.targets import STREAMS, Content

OFFER = {"output": 1}
"""What the agent says it can do when it opens the channel."""
EXTENSIONS = "pilothouse_extensions"
OUTPUT = "pilothouse_output"
OUTPUT_ACK = "pilothouse_output_ack"

_MOST_STREAMS = 64  # beyond that the oldest ones of ended runs are given up
_LOOK = 0.25  # seconds between looks at files that grow
_IMPATIENCE = 10.0  # seconds without an acknowledgement before something is sent again
_LARGEST_CHUNK = 64 * 1024

Send = Callable[[str, dict[str, Any]], Awaitable[None]]
Key = tuple[str, str, int, str]
"""Job id, step, number of the run, name of the stream."""


@dataclass(slots=True)
class _Stream:
    """One stream and how far it is. Offsets are bytes; `asked` is when something was last sent or acknowledged."""

    path: Path
    note: str | None = None
    acknowledged: int = 0
    sent: int = 0
    greeted: bool = False  # this connection asked where to go on
    welcome: bool = False  # and the server answered
    end_sent: bool = False
    repeated: int = -1  # the offset from which it was sent anew because the server missed something
    asked: float = field(default_factory=time.monotonic)


class LiveOutput:
    """All streams that the server is to see."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._streams: dict[Key, _Stream] = {}
        self._send: Send | None = None
        self._chunk = 0
        self._window = 0
        self._work = asyncio.Event()

    # -- runs

    def begin(self, job_id: str, step: str, run: int, directory: Path) -> None:
        """A run begins, or goes on after a restart of the agent."""
        for name in STREAMS:
            self._streams[job_id, step, run, name] = _Stream(directory / name)
        self._give_up_some()
        self._work.set()

    def end(self, job_id: str, step: str, run: int, notes: tuple[str, str]) -> None:
        """The run has ended; notes follow the streams."""
        for name, note in zip(STREAMS, notes, strict=True):
            stream = self._streams.get((job_id, step, run, name))
            if stream is not None:
                stream.note = note
        self._work.set()

    def _give_up_some(self) -> None:
        ended = [key for key, stream in self._streams.items() if stream.note is not None]
        for key in ended[: max(len(self._streams) - _MOST_STREAMS, 0)]:
            del self._streams[key]

    # -- the channel

    def opened(self, members: dict[str, Any], send: Send) -> None:
        """The server said on a new channel what it takes."""
        offer = members.get("output")
        if not isinstance(offer, dict) or offer.get("version") != 1:
            return
        chunk, window = offer.get("chunk"), offer.get("window")
        if not isinstance(chunk, int) or not isinstance(window, int) or not 0 < chunk <= window:
            log.event("live.refused", level="warning", reason="chunk and window of the server make no sense")
            return
        self._chunk, self._window, self._send = min(chunk, _LARGEST_CHUNK), window, send
        for stream in self._streams.values():
            stream.greeted = stream.welcome = stream.end_sent = False
        self._work.set()

    def closed(self) -> None:
        """The channel is gone."""
        self._send = None

    def acknowledged(self, members: dict[str, Any]) -> None:
        """The server has everything before the offset, or asks to be sent it anew from there."""
        job_id, step, name = (str(members.get(member)) for member in ("jobId", "step", "stream"))
        run, offset = members.get("run"), members.get("offset")
        if not isinstance(run, int) or not isinstance(offset, int) or offset < 0:
            return
        key = (job_id, step, run, name)
        stream = self._streams.get(key)
        if stream is None:
            return
        if members.get("stop") is True or (members.get("end") is True and stream.note is not None):
            del self._streams[key]
            return
        if offset > stream.sent or offset < stream.acknowledged or not stream.welcome:
            stream.sent = offset  # it has more than was sent on this channel, or less than it once had
            stream.end_sent = False
        elif offset == stream.acknowledged < stream.sent and stream.repeated != offset:
            stream.sent = stream.repeated = (
                offset  # it missed this one: once more from here, not for every message since
            )
            stream.end_sent = False
        stream.acknowledged = offset
        stream.welcome = True
        stream.asked = time.monotonic()
        self._work.set()

    async def hold(self) -> None:
        """Send what grows, for as long as the agent runs. Sleeps without waking while there is nothing to send."""
        while True:
            self._work.clear()
            try:
                for key, stream in list(self._streams.items()):
                    await self._advance_or_give_up(key, stream)
            except Unreachable:
                self.closed()  # the channel notices by itself, and opens again
            idle = self._send is None or not self._streams
            try:
                async with asyncio.timeout(None if idle else _LOOK):
                    await self._work.wait()
            except TimeoutError:
                continue

    async def _advance_or_give_up(self, key: Key, stream: _Stream) -> None:
        try:
            await self._advance(key, stream)
        except OSError as error:  # its file went, say: then there is nothing to show
            log.event("live.given_up", level="warning", job_id=key[0], stream=key[3], reason=error)
            self._streams.pop(key, None)

    async def _advance(self, key: Key, stream: _Stream) -> None:
        """Send as much as the window has room for."""
        if self._send is None:
            return
        now = time.monotonic()
        waiting = not stream.welcome or stream.sent > stream.acknowledged or stream.end_sent
        if waiting and stream.greeted and now - stream.asked > _IMPATIENCE:
            stream.sent, stream.greeted, stream.welcome, stream.end_sent = stream.acknowledged, False, False, False
        if not stream.greeted:
            stream.greeted, stream.asked = True, now
            await self._put(key, stream.acknowledged, b"")
        if not stream.welcome:
            return
        content = Content(stream.path, self._limit, stream.note)
        while stream.sent - stream.acknowledged < self._window:
            room = min(self._chunk, self._window - (stream.sent - stream.acknowledged))
            data = content.read(stream.sent, room)
            if not data:
                break
            await self._put(key, stream.sent, data)
            stream.sent += len(data)
            stream.asked = now
        if content.ended and stream.sent >= content.length and not stream.end_sent:
            stream.end_sent, stream.asked = True, now
            await self._put(key, stream.sent, b"", end=True)

    async def _put(self, key: Key, offset: int, data: bytes, *, end: bool = False) -> None:
        if self._send is None:
            raise Unreachable("the control channel is closed")
        job_id, step, run, name = key
        payload: dict[str, Any] = {
            "schemaVersion": 1,
            "jobId": job_id,
            "step": step,
            "run": run,
            "stream": name,
            "offset": offset,
            "data": base64.b64encode(data).decode(),
            "end": end,
        }
        await self._send(OUTPUT, payload)
