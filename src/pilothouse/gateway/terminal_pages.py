"""Websockets of pages: some drive a session through a terminal of the gateway, some join it, some watch its recording.

Whose page it is the first message says, by a token. Browsers say from which site a page is: it must be ours.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import msgspec
import structlog

from pilothouse.gateway.data_channel import DataChannels, Receive, Send, close_socket
from pilothouse.gateway.lines import SocketLine
from pilothouse.gateway.relays import Opened, Outcome, Talk
from pilothouse.gateway.session_keeper import TAPED, TERMINAL_PATH, Role, Terms
from pilothouse.gateway.terminals import SCREEN, Terminal
from pilothouse.runtime.waiting import wait
from pilothouse.storage import StorageUnavailable
from pilothouse.wire.asgi import CONNECTION
from pilothouse.wire.http import Request
from pilothouse.wire.origins import is_of_host

log = structlog.get_logger()

T = TypeVar("T")

PATH: Final = TERMINAL_PATH
OPEN_SECONDS: Final = 10.0
_MOST_SIZE: Final = 10_000
_MESSAGE: Final = 64 << 10
"""Bytes of one message of a page."""
_FIRST: Final = 2000
_PIECE: Final = 256 << 10
_LOOK_SECONDS: Final = 0.5
"""How soon a watcher sees what another server records."""
_RIGHTS_SECONDS: Final = 3.0
"""How soon a right counts that was taken away."""
_ROLES: Final[tuple[Role, ...]] = ("client", "join", "watch")
_MODES: Final[dict[Role, str]] = {"client": "drive", "join": "join", "watch": "watch"}
_OWN_COUNT: Final = "The session's client is a program that counts what it sends: it can be watched, not joined."
_NOT_KNOWN: Final = (
    "The server was restarted meanwhile, and does not know how far this session has come: it cannot go on."
)


class _Open(msgspec.Struct):
    kind: str = msgspec.field(name="type")
    session_id: str = msgspec.field(name="sessionId")
    token: str
    columns: int = msgspec.field(name="cols", default=0)
    rows: int = 0

    def __repr__(self) -> str:
        return f"_Open({self.session_id!r})"


class _Said(msgspec.Struct):
    kind: str = msgspec.field(name="type")
    columns: int = msgspec.field(name="cols", default=0)
    rows: int = 0


_read_open: Final = msgspec.json.Decoder(_Open).decode
_read_said: Final = msgspec.json.Decoder(_Said).decode
_read_event: Final = msgspec.json.Decoder(tuple[float, str, str]).decode
_json: Final = msgspec.json.Encoder().encode


class _Page:
    """A page as a terminal sees it."""

    def __init__(self, line: SocketLine) -> None:
        self._line = line

    def show(self, data: bytes) -> None:
        self._line.put(data)

    def say(self, **said: Any) -> None:
        self._line.put_text(_json(said).decode())

    def exit(self, reason: str) -> None:
        self.say(type="exit", reason=reason)
        self._line.close_when_sent("the session has ended")


class _Unseeing:
    """A page as a terminal sees it that sees no output there: it is shown what is recorded."""

    def __init__(self, page: _Page) -> None:
        self.say, self.exit = page.say, page.exit

    def show(self, data: bytes) -> None:
        """Nothing."""


class TerminalPages:
    """The pages of one process."""

    def __init__(self, channels: DataChannels) -> None:
        self._channels = channels
        self._house = channels.house
        self._terminals: dict[str, Terminal] = {}
        channels.serves("page", self._serve)

    async def websocket(self, request: Request, scope: Any, receive: Receive, send: Send) -> None:
        """An ASGI conversation from `websocket.connect` on."""
        if (await receive())["type"] != "websocket.connect":
            return
        if not self._is_ours(request):
            await send({"type": "websocket.close", "code": 1008})  # before it is accepted: 403
            return
        await send({"type": "websocket.accept", "unproven": True})
        first = await _first(receive)
        asked = _opening(first)
        if asked is None:
            await close_socket(send, 1008, "the first message opens no session")
            return
        admission, why = await self._channels.admitted(asked.session_id, asked.token, _ROLES, None)
        if admission is None:
            await close_socket(send, 1008, why)
            return
        if (socket := scope.get(CONNECTION)) is not None:
            socket.shown()
        await self._channels.serve("page", admission, first, Talk(receive, send, None))

    def _is_ours(self, request: Request) -> bool:
        origin = request.headers.get("origin")
        if origin is None or origin in self._house.settings.sessions.origins:
            return True
        return is_of_host(origin, request.headers)

    async def _serve(self, opened: Opened, terms: Terms, talk: Talk) -> Outcome:
        """Serve a page whose session is at home here."""
        asked = _opening(opened.first)
        assert asked is not None
        serve = self._watch if opened.role == "watch" else self._look
        line: SocketLine | None = None
        try:
            async with asyncio.TaskGroup() as group:
                name = f"{opened.role} of {terms.session_id}"
                line = SocketLine(talk.send, None, self._house.clock, group, name)
                self._channels.hold(line)
                page = serve(opened, terms, asked, line, talk.receive)
                work = [group.create_task(self._survived(page, line), name=name)]
                if opened.role in ("watch", "join"):
                    staying = self._survived(self._may_stay(opened, line), line)
                    work.append(group.create_task(staying, name=f"right of {name}"))
                await line.closing.wait()
                for task in work:
                    task.cancel()
        finally:
            if line is not None:
                self._channels.let_go(line)
        return Outcome(line.is_moved, line.code, line.why)

    async def _may_stay(self, opened: Opened, line: SocketLine) -> None:
        """Show out whoever may look on no more."""
        while await self._channels.keeper.may_view(self._house, opened.session_id, opened.viewer):
            await self._house.clock.sleep(_RIGHTS_SECONDS)
        _Page(line).exit("You may look at this session no more.")

    async def _survived(self, work: Awaitable[None], line: SocketLine) -> None:
        try:
            await work
        except StorageUnavailable as error:
            log.warning("terminal.storage_unavailable", error=str(error))
            line.close("the server cannot read its database", 1013)
        except Exception:
            log.exception("terminal.failed")
            line.close("the server failed", 1011)

    # Driving and joining

    async def _look(self, opened: Opened, terms: Terms, asked: _Open, line: SocketLine, receive: Receive) -> None:
        page, drives = _Page(line), opened.role == "client"
        terminal = self._terminal(terms, drives=drives)
        if terminal is None or opened.ended is not None:
            page.exit(opened.ended or (_NOT_KNOWN if drives else _OWN_COUNT))
            return
        pair = self._channels.pair(terms)
        line.pair = pair
        if terms.masks and not drives:
            await self._join_masked(terms, terminal, page, line, receive)
            return
        if not terminal.is_past_known:
            shown, upto = await self._past(terms.session_id)
            terminal.remember(shown, upto)
        screen = terminal.came(page, drives=drives)  # nothing is awaited from here until the page has all of it
        try:
            page.say(type="opened", mode=_MODES[opened.role], sessionId=terms.session_id, replay=len(screen))
            for start in range(0, len(screen), _PIECE):
                page.show(screen[start : start + _PIECE])
            page.say(type="state", status="connected" if pair.agent is not None else "waiting")
            if drives:
                pair.client_came(terminal)
                terminal.begin()
                if _is_size(asked.columns, asked.rows):
                    terminal.resize(asked.columns, asked.rows)
            else:
                page.say(type="size", cols=terminal.size[0], rows=terminal.size[1])
            await self._hear(terminal, drives, line, receive)
        finally:
            if terminal.left(page):
                pair.client_left(terminal)

    async def _join_masked(
        self, terms: Terms, terminal: Terminal, page: _Page, line: SocketLine, receive: Receive
    ) -> None:
        """Who joins a session whose recording does not show all sees no more than the recording does."""
        view = _Unseeing(page)
        terminal.came(view, drives=False)
        try:
            async with asyncio.TaskGroup() as group:
                following = group.create_task(
                    self._follow(terms.session_id, page, line, "join"), name=f"joiner of {terms.session_id}"
                )
                await self._hear(terminal, False, line, receive)
                following.cancel()
        finally:
            terminal.left(view)

    def _terminal(self, terms: Terms, *, drives: bool) -> Terminal | None:
        """That of the session; a new one for who drives, where the counters can be known."""
        session_id = terms.session_id
        pair = self._channels.pair(terms) if drives else self._channels.known(session_id)
        found = self._terminals.get(session_id)
        if found is not None and (found.is_over or found.pair is not pair):
            found = self._terminals.pop(session_id)
            found = None
        if found is None and drives and pair is not None and pair.is_position_known:
            self._forget_gone()
            found = self._terminals[session_id] = Terminal(
                pair, self._channels.ids.next, self._house.clock.millis
            )  # fmt: skip
        return found

    def _forget_gone(self) -> None:
        for session_id in [each for each, terminal in self._terminals.items() if terminal.is_over]:
            del self._terminals[session_id]

    async def _hear(self, terminal: Terminal, drives: bool, line: SocketLine, receive: Receive) -> None:
        while not terminal.is_over:
            event = await receive()
            if event["type"] == "websocket.disconnect":
                line.close("the page has gone")
                return
            data, text = event.get("bytes"), event.get("text")
            if data is not None and len(data) <= _MESSAGE:
                terminal.type(data)
                continue
            said = _understood(text, _read_said)
            if said is None or said.kind != "size" or not _is_size(said.columns, said.rows):
                line.close("a message was not understood", 1008)
                return
            if drives:
                terminal.resize(said.columns, said.rows)

    async def _past(self, session_id: str) -> tuple[bytes, int]:
        """What a terminal of before a restart, or another client, had been shown last; and the first output after."""
        tail = await self._channels.keeper.tail(self._house, session_id, 0, 0)
        place, lines = max(0, 0 if tail is None else tail.size - SCREEN), b""
        while tail is not None and place < tail.size:
            tail = await self._channels.keeper.tail(self._house, session_id, place, SCREEN)
            if tail is None or not tail.lines:
                break
            lines, place = lines + tail.lines, place + len(tail.lines)
        shown = b"".join(data for kind, data in _events(lines) if kind == "o")
        return shown, 0 if tail is None else tail.next_output

    # Watching

    async def _watch(self, opened: Opened, terms: Terms, asked: _Open, line: SocketLine, receive: Receive) -> None:
        page, session_id = _Page(line), terms.session_id
        if terms.taping == "no":
            page.exit("The session is not recorded, and so cannot be watched.")
            return
        async with asyncio.TaskGroup() as group:
            leaving = group.create_task(_until_gone(receive, line), name=f"watcher of {session_id}")
            await self._follow(session_id, page, line)
            leaving.cancel()

    async def _follow(self, session_id: str, page: _Page, line: SocketLine, mode: str = "watch") -> None:
        keeper, place, held, begun = self._channels.keeper, 0, b"", False
        with self._house.bus.waiting(TAPED, session_id) as woken:
            while not line.closing.is_set():
                woken.take()
                tail = await keeper.tail(self._house, session_id, place, _PIECE if begun else 0)
                if tail is None:
                    page.exit("The session is gone.")
                    return
                if not begun:
                    begun, place = True, max(0, tail.size - SCREEN)
                    page.say(type="opened", mode=mode, sessionId=session_id, replay=0)
                    continue
                place += len(tail.lines)
                whole, _, held = (held + tail.lines).rpartition(b"\n")
                for kind, data in _events(whole):  # the first may be part of a line, and is none then
                    if kind == "o":
                        page.show(data)
                    elif kind == "r":
                        columns, _, rows = data.decode().partition("x")
                        page.say(type="size", cols=int(columns), rows=int(rows))
                if place >= tail.size and tail.ended is not None:
                    page.exit(tail.ended)
                    return
                if place >= tail.size:
                    await wait(self._house.clock, woken.event, _LOOK_SECONDS, line.closing)


def _events(lines: bytes) -> list[tuple[str, bytes]]:
    """Kind and data of the events; what is only part of a line is left out."""
    found = []
    for line in lines.split(b"\n"):
        try:
            _, kind, data = _read_event(line)
        except msgspec.MsgspecError:
            continue
        found.append((kind, data.encode()))
    return found


async def _first(receive: Receive) -> str:
    """The first message; empty if none comes, or one that is none."""
    try:
        async with asyncio.timeout(OPEN_SECONDS):
            text = (await receive()).get("text") or ""
    except TimeoutError:
        return ""
    return text if len(text) <= _FIRST else ""


def _opening(first: str) -> _Open | None:
    asked = _understood(first, _read_open)
    return asked if asked is not None and asked.kind == "open" else None


async def _until_gone(receive: Receive, line: SocketLine) -> None:
    while (await receive())["type"] != "websocket.disconnect":
        pass
    line.close("the page has gone")


def _understood(text: str | None, read: Callable[[str], T]) -> T | None:
    try:
        return None if text is None or len(text) > _MESSAGE else read(text)
    except (msgspec.MsgspecError, RecursionError):
        return None


def _is_size(columns: int, rows: int) -> bool:
    return 0 < columns <= _MOST_SIZE and 0 < rows <= _MOST_SIZE
