"""Relays: a connection that is open on one process, served by another that joins the session's ends.

What comes on the websocket travels as sealed mail to the *home* of the session, which serves it as if it were its own;
what the home sends comes back the same way. Mail may get lost: it is numbered, and at a gap the relay ends. Then the
peer opens another connection, as after any cut, and gives again what was under way.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import msgspec
import structlog

from pilothouse.call import House
from pilothouse.crypto.vault import SealBroken
from pilothouse.gateway.lines import Socket
from pilothouse.gateway.session_keeper import Role
from pilothouse.runtime.bus import MAIL_MOST
from pilothouse.runtime.waiting import wait

log = structlog.get_logger()

_BOX: Final = "session.relay"
_PIECE: Final = MAIL_MOST - 256
_OPEN_SECONDS: Final = 2.0
"""How long a home may take to answer before it counts as gone."""
_ALIVE_SECONDS: Final = 5.0
_SILENT_MS: Final = 15_000
_BACKLOG: Final = 8 << 20
_REMEMBERED: Final = 100_000
LOST: Final = "the way to the other server was lost"

Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Talk:
    """A websocket that was accepted, and whose token was good."""

    receive: Callable[[], Awaitable[Event]]
    send: Callable[[Event], Awaitable[None]]
    ping: Callable[[int], None] | None
    socket: Socket | None = None
    """The websocket itself, if it is one of this process."""


class Outcome(NamedTuple):
    """How serving a connection ended."""

    is_moved: bool = False
    """It goes on, at another home."""
    code: int = 1000
    why: str = ""


class Opened(msgspec.Struct):
    """What is to be served."""

    kind: str
    """`channel` or `page`"""
    session_id: str
    role: Role
    connection_id: str
    ended: str | None
    first: str
    """The page's first message."""
    viewer: bytes = b""
    """Who looks on."""

    def __repr__(self) -> str:
        return f"Opened({self.kind!r}, {self.session_id!r}, {self.role!r})"


class _Note(msgspec.Struct, omit_defaults=True):
    relay: str
    number: int
    kind: str
    """`open`, `opened`, `data`, `text`, `ping`, `pong`, `alive`, `gone`, `end`"""
    up: bool = False
    """From the connection to the home."""
    data: bytes = b""
    value: int = 0
    more: bool = False
    moved: bool = False


_write: Final = msgspec.msgpack.Encoder().encode
_read: Final = msgspec.msgpack.Decoder(_Note).decode
_read_opened: Final = msgspec.msgpack.Decoder(Opened).decode

Serve = Callable[[Opened, Talk], Awaitable[Outcome]]


@dataclass(slots=True)
class _Side:
    """One side of a relay: what it sends and what it has heard."""

    relay: str
    other: str
    """The process at the other side."""
    up: bool
    heard_at: int
    sent: int = 0
    expected: int = 0
    opened: asyncio.Event = field(default_factory=asyncio.Event)
    """The home serves the connection."""
    parts: bytearray = field(default_factory=bytearray)
    events: asyncio.Queue[_Note | None] = field(default_factory=asyncio.Queue)
    waiting: int = 0


class Relays:
    """Of one process, for the connections that it has and those that it serves for others."""

    def __init__(self, house: House, process_id: str, serve: Serve, start: Callable[[Any, str], None]) -> None:
        """`start`: run a coroutine, under a name."""
        self._house = house
        self._process_id = process_id
        self._serve = serve
        self._start = start
        self._sides: dict[tuple[str, bool], _Side] = {}
        self._known: OrderedDict[str, None] = OrderedDict()
        """Relays that were opened here: none is opened again by mail that somebody repeats."""
        self._silent: dict[str, int] = {}
        """Processes that did not answer, and when they may be asked again."""
        house.bus.receive(_BOX, self._mail)

    def is_silent(self, process_id: str) -> bool:
        """Whether the process did not answer a moment ago."""
        return self._silent.get(process_id, 0) > self._house.clock.millis()

    # The side of the connection

    async def relay(self, home: str, opened: Opened, talk: Talk) -> Outcome:
        """Have the connection served by its home, until one of them ends it."""
        side = self._side(self._house.ids.uuid(), home, up=True)
        try:
            self._say(side, "open", _write(opened))
            if not await wait(self._house.clock, side.opened, _OPEN_SECONDS):
                self._silent[home] = self._house.clock.millis() + _SILENT_MS
                log.warning("relay.home_silent", session_id=opened.session_id, home=home)
                return Outcome(is_moved=True)
            return await self._both_ways(side, talk)
        finally:
            self._sides.pop((side.relay, True), None)

    async def _both_ways(self, side: _Side, talk: Talk) -> Outcome:
        ended: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._up(side, talk, ended)),
                group.create_task(self._down(side, talk, ended)),
                group.create_task(self._keep_alive(side, ended)),
            ]
            outcome = await ended
            for task in tasks:
                task.cancel()
        return outcome

    async def _up(self, side: _Side, talk: Talk, ended: "asyncio.Future[Outcome]") -> None:
        while True:
            event = await talk.receive()
            if event["type"] == "websocket.disconnect":
                self._say(side, "gone")
                _end(ended, Outcome(why="the peer closed it"))
                return
            if "pong" in event:
                self._say(side, "pong", value=event["pong"])
            elif event.get("bytes") is not None:
                self._say(side, "data", event["bytes"])
            else:
                self._say(side, "text", (event.get("text") or "").encode())

    async def _down(self, side: _Side, talk: Talk, ended: "asyncio.Future[Outcome]") -> None:
        while True:
            note = await side.events.get()
            if note is None:
                _end(ended, Outcome(code=1012, why=LOST))
                return
            side.waiting -= len(note.data)
            try:
                if note.kind == "data":
                    await talk.send({"type": "websocket.send", "bytes": note.data})
                elif note.kind == "text":
                    await talk.send({"type": "websocket.send", "text": note.data.decode()})
            except OSError:
                _end(ended, Outcome(why="the peer has gone"))
                return
            if note.kind == "ping" and talk.ping is not None:
                talk.ping(note.value)
            elif note.kind == "end":
                _end(ended, Outcome(note.moved, note.value, note.data.decode()))
                return

    async def _keep_alive(self, side: _Side, ended: "asyncio.Future[Outcome]") -> None:
        while True:
            await self._house.clock.sleep(_ALIVE_SECONDS)
            self._say(side, "alive")
            if self._house.clock.millis() - side.heard_at > _SILENT_MS:
                _end(ended, Outcome(is_moved=True))
                return

    # The home's side

    async def _at_home(self, side: _Side, opened: Opened) -> None:
        async def receive() -> Event:
            note = await side.events.get()
            if note is None or note.kind == "gone":
                return {"type": "websocket.disconnect", "code": 1006}
            side.waiting -= len(note.data)
            if note.kind == "pong":
                return {"type": "websocket.receive", "pong": note.value}
            if note.kind == "text":
                return {"type": "websocket.receive", "text": note.data.decode("utf-8", "replace")}
            return {"type": "websocket.receive", "bytes": note.data}

        async def send(event: Event) -> None:
            if event.get("bytes") is not None:
                self._say(side, "data", event["bytes"])
            elif event.get("text") is not None:
                self._say(side, "text", event["text"].encode())

        def ping(number: int) -> None:
            self._say(side, "ping", value=number)

        try:
            self._say(side, "opened")
            outcome = await self._serve(opened, Talk(receive, send, ping))
            self._say(side, "end", outcome.why.encode(), value=outcome.code, moved=outcome.is_moved)
        finally:
            self._sides.pop((side.relay, False), None)

    def look_after(self) -> None:
        """End what has not been heard of for long."""
        late = self._house.clock.millis() - _SILENT_MS
        for side in tuple(self._sides.values()):
            if not side.up and side.heard_at < late:
                side.events.put_nowait(None)

    # Mail

    def _side(self, relay: str, other: str, *, up: bool) -> _Side:
        side = _Side(relay, other, up, self._house.clock.millis())
        self._sides[relay, up] = side
        return side

    def _say(self, side: _Side, kind: str, data: bytes = b"", *, value: int = 0, moved: bool = False) -> None:
        for start in range(0, len(data) or 1, _PIECE):
            piece, more = data[start : start + _PIECE], start + _PIECE < len(data)
            note = _Note(side.relay, side.sent, kind, side.up, piece, value, more, moved)
            side.sent += 1
            sealed = self._house.vault.seal(_write(note), _context(self._process_id, side.other))
            self._house.bus.post(side.other, _BOX, sealed)

    def _mail(self, sender: str, sealed: bytes) -> None:
        try:
            note = _read(self._house.vault.open(sealed, _context(sender, self._process_id)))
        except (SealBroken, msgspec.MsgspecError) as error:
            log.warning("relay.mail_refused", sender=sender, reason=type(error).__name__)
            return
        if note.kind == "open" and not note.more and note.number == 0:
            self._open(sender, note)
            return
        side = self._sides.get((note.relay, not note.up))
        if side is None or side.other != sender:
            return
        side.heard_at = self._house.clock.millis()
        if note.number != side.expected or side.waiting > _BACKLOG:
            side.events.put_nowait(None)  # something is missing
            return
        side.expected += 1
        if note.kind in ("alive", "opened"):
            side.opened.set()
            if note.up:
                self._say(side, "alive")
            return
        side.parts += note.data
        if not note.more:
            note.data, side.parts = bytes(side.parts), bytearray()
            side.waiting += len(note.data)
            side.events.put_nowait(note)

    def _open(self, sender: str, note: _Note) -> None:
        try:
            opened = _read_opened(note.data)
        except msgspec.MsgspecError:
            return
        if note.relay in self._known:
            return
        self._known[note.relay] = None
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        side = self._side(note.relay, sender, up=False)
        side.expected = 1
        self._start(self._at_home(side, opened), f"relay of {opened.session_id}")


def _context(sender: str, to: str) -> str:
    """Mail opens at the process that it is for, as that of the process that sent it."""
    return f"session-relay:{sender}:{to}"


def _end(ended: "asyncio.Future[Outcome]", outcome: Outcome) -> None:
    if not ended.done():
        ended.set_result(outcome)
