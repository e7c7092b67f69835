"""Output as log events: one event per line, in the limits of PutLogEvents.

Where a stream stands in the log is stored after each batch, so after a crash lines may come twice, and none is lost.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from pilothouse_agent.link.api import ApiError
from pilothouse_agent.sending.targets import STREAMS, Content, Target
from pilothouse_agent.times import now_ms

MOST_EVENTS = 10_000
MOST_BYTES = 1_048_576
MOST_OF_EVENT = 262_144
OVERHEAD = 26
"""Bytes that count for each event besides its text."""

_READ = 48 * 1024
_LINE = 40 * 1024
"""A longer line becomes several events; a byte may grow to three when it is no text."""

Call = Callable[[str, dict[str, Any]], Awaitable[dict[str, Any]]]


def events_of(data: bytes, *, last: bool) -> tuple[list[str], int]:
    """Texts of events for the beginning of data, and how many bytes they are. An open last line waits unless last."""
    texts: list[str] = []
    size = taken = 0
    while taken < len(data) and len(texts) < MOST_EVENTS:
        end = data.find(b"\n", taken, taken + _LINE)
        if end >= 0:
            line, after = data[taken:end], end + 1
        elif len(data) - taken > _LINE:
            cut = _cut(data, taken)
            line, after = data[taken:cut], cut
        elif last:
            line, after = data[taken:], len(data)
        else:
            break
        text = line.removesuffix(b"\r").decode("utf-8", "replace") or " "  # an event needs a character
        size += len(text.encode()) + OVERHEAD
        if size > MOST_BYTES:
            break
        texts.append(text)
        taken = after
    return texts, taken


def _cut(data: bytes, start: int) -> int:
    """An end for a piece of a long line that splits no character."""
    end = start + _LINE
    for back in range(3):
        if data[end - back] & 0xC0 != 0x80:
            return end - back
    return end


class LogSender:
    """Sends the lines of runs to their log streams."""

    def __init__(self, call: Call, limit: int) -> None:
        self._call = call
        self._limit = limit

    async def send(self, target: Target) -> Target:
        """All lines that are complete, and everything once the run has ended. Raises ApiError, Unreachable, OSError."""
        for number, name in enumerate(STREAMS):
            note = target.notes[number] if target.notes is not None else None
            content = Content(Path(target.directory) / name, self._limit, note)
            while True:
                offset = target.logged.get(name, 0)
                data = content.read(offset, _READ)
                texts, taken = events_of(data, last=content.ended and offset + len(data) == content.length)
                if not texts:
                    break
                await self._put(target, name, texts)
                target = target.changed(logged={**target.logged, name: offset + taken})
        return target

    async def _put(self, target: Target, name: str, texts: list[str]) -> None:
        await put_events(self._call, target.log_group, f"{target.log_stream}/{name}", texts)


async def put_events(call: Call, group: str, stream: str, texts: list[str]) -> None:
    """Events of this moment. Group and stream are made when they are missing. Raises ApiError, Unreachable."""
    where = {"logGroupName": group, "logStreamName": stream}
    now = now_ms()
    events = [{"timestamp": now, "message": text} for text in texts]
    try:
        await call("PutLogEvents", {**where, "logEvents": events})
    except ApiError as error:
        if error.code != "ResourceNotFoundException":
            raise
        await _create(call, "CreateLogGroup", {"logGroupName": group})
        await _create(call, "CreateLogStream", where)
        await call("PutLogEvents", {**where, "logEvents": events})


async def _create(call: Call, operation: str, request: dict[str, str]) -> None:
    try:
        await call(operation, request)
    except ApiError as error:
        if error.code != "ResourceAlreadyExistsException":
            raise
