"""What a session showed, for an object store or a log group (session-protocol 7.7).

Spooled as it comes; at the end made readable (no control sequences, corrections as they ended up) and sent.
What cannot be sent stays on the node for as long as the session's files are kept.
"""

import asyncio
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pilothouse_agent import log, processes
from pilothouse_agent.link.api import LOGS, ApiError, NodeApi
from pilothouse_agent.link.https import Unreachable
from pilothouse_agent.plugins import Node
from pilothouse_agent.sending.logs import events_of, put_events
from pilothouse_agent.sessions.order import INTERACTIVE, NON_INTERACTIVE, STANDARD, Order
from pilothouse_agent.settings import Settings
from pilothouse_agent.times import iso, now_ms

_LOGGED = frozenset({STANDARD, INTERACTIVE, NON_INTERACTIVE})
_BLOCK = 32_768
_COLUMNS = 4_096  # a longer line is broken
_STREAM = 1.0  # seconds between events of a log group that is sent to during the session
_SLOWEST = 512 * 1024

_SEQUENCES = re.compile(
    rb"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, movements
    rb"|\x1b[\]P_^X].*?(?:\x07|\x1b\\|\Z)"  # OSC and its like: titles
    rb"|\x1b[ -/]*[0-~]"
    rb"|[\x00-\x07\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f]"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """Where the transcript is now."""

    bucket: str = ""
    key: str = ""
    group: str = ""
    stream: str = ""


class Transcript:
    """One session's."""

    def __init__(self, order: Order, directory: Path, node: Node, api: NodeApi, settings: Settings, user: str) -> None:
        logged = order.session_type in _LOGGED
        self._order = order
        self._node = node
        self._api = api
        self._settings = settings
        self._user = user
        self._raw = directory / "ipcTempFile.log"
        self._readable = directory / f"{order.session_id}.log"
        self._bucket = order.text("s3BucketName") if logged else ""
        self._group = order.text("cloudWatchLogGroupName") if logged else ""
        self._streams = bool(self._group) and order.inputs.get("cloudWatchStreamingEnabled") is True
        self._written = 0
        self._renderer, self._streamed = Renderer(), 0
        self._file = self._raw.open("ab", buffering=0) if self._bucket or self._group else None

    def record(self, data: bytes) -> None:
        """What the session showed. Beyond the limit nothing is kept."""
        if self._file is None or self._written >= self._settings.output_limit:
            return
        try:
            self._file.write(data)
        except OSError as error:
            log.event("transcript.not_written", level="error", session_id=self._order.session_id, reason=error)
            self._file = None
        self._written += len(data)

    async def stream(self) -> None:
        """Lines into the log group while the session goes on, at most an event a second."""
        if not self._streams:
            return
        while True:
            await asyncio.sleep(_STREAM)
            try:
                await self._stream_once()
            except (ApiError, Unreachable, OSError) as error:
                log.event("transcript.not_streamed", level="warning", session_id=self._order.session_id, reason=error)

    async def _stream_once(self) -> bool:
        """One event of what is new; whether there was something."""
        with self._raw.open("rb") as file:
            file.seek(self._streamed)
            data = file.read(_BLOCK)
        renderer = Renderer(self._renderer.left)  # takes the old one's place when its lines have been sent
        lines = list(renderer.feed(data))
        if lines:
            await self._put_events([self._event(lines)])
        self._renderer, self._streamed = renderer, self._streamed + len(data)
        return bool(data)

    def _event(self, lines: list[str]) -> str:
        event = {
            "eventVersion": "1.0",
            "eventTime": iso(now_ms()),
            "awsRegion": self._node.region,
            "target": {"id": self._node.instance_id},
            "userIdentity": {"arn": self._order.owner},
            "runAsUser": self._user,
            "sessionId": self._order.session_id,
            "sessionData": lines,
        }
        return json.dumps(event, ensure_ascii=False)

    async def _put_events(self, texts: list[str]) -> None:
        await put_events(
            lambda operation, request: self._api.call(LOGS, operation, request),
            self._group,
            self._order.session_id,
            texts,
        )

    async def finish(self) -> Stored:
        """Send all of it."""
        if self._raw.exists() is False:
            return Stored()
        if self._file is not None:
            self._file.close()
        key = group = ""
        try:
            async with asyncio.timeout(self._settings.output_patience + self._written / _SLOWEST):
                await processes.in_child(self._render)
                if self._bucket:
                    key = await self._upload()
                if self._group:
                    await (self._rest_of_stream() if self._streams else self._log_all())
                    group = self._group
        except (ApiError, Unreachable, OSError, processes.ChildFailed) as error:
            reason = error if str(error) else "it took too long"
            log.event("transcript.not_sent", level="error", session_id=self._order.session_id, reason=reason)
        return Stored(
            bucket=self._bucket if key else "", key=key, group=group, stream=self._order.session_id if group else ""
        )

    def _render(self) -> bytes:
        renderer = Renderer()
        with self._raw.open("rb") as raw, self._readable.open("w", encoding="utf-8", errors="replace") as readable:
            while data := raw.read(_BLOCK):
                readable.writelines(f"{line}\n" for line in renderer.feed(data))
            readable.writelines(f"{line}\n" for line in renderer.rest())
        return b""

    async def _upload(self) -> str:
        prefix = self._order.text("s3KeyPrefix").strip("/")
        name = self._readable.name
        key = f"{prefix}/{name}" if prefix else name
        refusal = await processes.in_child(lambda: self._put_object(key))
        if refusal:
            raise Unreachable(refusal.decode())
        return key

    def _put_object(self, key: str) -> bytes:
        from pilothouse_agent.plugins.server import server_of

        try:
            size = self._readable.stat().st_size
            server_of(self._node).put_object(self._bucket, key, self._readable, size, b"", "text/plain")
        except (ApiError, Unreachable, OSError) as error:
            return str(error).encode() or b"it broke off"
        return b""

    async def _log_all(self) -> None:
        offset, size = 0, self._readable.stat().st_size
        with self._readable.open("rb") as file:
            while offset < size:
                file.seek(offset)
                data = file.read(_BLOCK)
                texts, taken = events_of(data, last=offset + len(data) == size)
                if not texts:
                    return
                await self._put_events(texts)
                offset += taken

    async def _rest_of_stream(self) -> None:
        while await self._stream_once():
            pass
        lines = list(self._renderer.rest())
        if lines:
            await self._put_events([self._event(lines)])


class Renderer:
    """Terminal output as lines of text, as they stood when the cursor left them."""

    def __init__(self, left: bytes = b"") -> None:
        self.left = left

    def feed(self, data: bytes) -> Iterator[str]:
        """Lines that are complete."""
        *whole, self.left = (self.left + data).split(b"\n")
        for line in whole:
            yield _line(line)
        while len(self.left) > _BLOCK:
            yield _line(self.left[:_BLOCK])
            self.left = self.left[_BLOCK:]

    def rest(self) -> Iterator[str]:
        left, self.left = self.left, b""
        if left:
            yield _line(left)


def _line(line: bytes) -> str:
    text = _SEQUENCES.sub(b"", line.removesuffix(b"\r")).decode("utf-8", "replace")
    if "\r" not in text and "\b" not in text:
        return text.replace("\x1b", "")
    shown: list[str] = []
    at = 0
    for character in text:
        if character == "\r":
            at = 0
        elif character == "\b":
            at = max(at - 1, 0)
        elif character != "\x1b" and at < _COLUMNS:
            shown[at : at + 1] = [character]
            at += 1
    return "".join(shown)
