"""Terminals: the gateway as the client of a session, for pages that see nothing but bytes.

A terminal counts, acknowledges, reorders and shakes hands in place of the plugin, and outlives the page: whoever comes
back finds the counters where they were. The protocol with pages is that of docs/reference/sessions.md.
"""

from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol

import msgspec

from pilothouse.gateway.frames import Frame, decode, encode
from pilothouse.gateway.pairing import Pair
from pilothouse.gateway.session_messages import (
    CHANNEL_CLOSED,
    DATA,
    EXIT_CODE,
    HANDSHAKE_COMPLETE,
    HANDSHAKE_REQUEST,
    HANDSHAKE_RESPONSE,
    INPUT,
    OUTPUT,
    SIZE,
    STDERR,
    acknowledging,
    read_closed,
    read_complete,
    read_request,
)

_PIECE: Final = 1024
"""Bytes of a message of input, as agents expect them."""
SCREEN: Final = 256 << 10
"""Bytes of output that whoever comes back is shown again."""
_AHEAD: Final = 10_000
_FILLERS: Final = 64
"""So many messages before a restart may not have reached the agent."""
_VERSION: Final = "1.2.804.0"
_SUCCESS, _UNSUPPORTED = 1, 3


class View(Protocol):
    """A page. Everything returns at once."""

    def show(self, data: bytes) -> None:
        """Bytes of the terminal."""

    def say(self, **said: Any) -> None:
        """A text message."""

    def exit(self, reason: str) -> None:
        """The last text message; then the connection is closed."""


class Terminal:
    """The client's end of one session: a `Line` of its pair, with the pages that look at it."""

    def __init__(self, pair: Pair, message_id: Callable[[], str], now: Callable[[], int]) -> None:
        self.pair = pair
        self._message_id = message_id
        self._now = now
        self._expected, self._next, self._is_rejoined = pair.position_of_client()
        self._ahead: dict[int, Frame] = {}
        self._screen: deque[bytes] = deque()
        self._shown = 0
        self._remembered = 0
        """The first output that was not shown before this terminal was made."""
        self.is_past_known = False
        """Whether it was told what was shown before it was made. Until then it is no client of its pair."""
        self.size = (80, 24)
        self.driver: View | None = None
        self.views: list[View] = []
        self.is_over = False
        self._why = ""
        pair.counts_input()

    # As a line

    def put(self, message: bytes) -> None:
        frame = decode(message)
        if frame.message_type == OUTPUT:
            self._output(frame)
        elif frame.message_type == CHANNEL_CLOSED:
            self._end(read_closed(frame.payload).output)

    def hold(self, held: bool) -> None:
        """People do not type so fast."""

    def probe(self) -> int | None:
        return None  # no acknowledgement of ours gets lost

    def finish(self, message: bytes) -> None:
        self.put(message)

    def close(self, why: str) -> None:
        self._end(why)

    # The pages

    def remember(self, shown: bytes, upto: int) -> None:
        """What was shown before this terminal was made, up to this output. Told twice, the first counts."""
        if not self.is_past_known:
            self.is_past_known = True
            self._remembered = upto
            self._keep(shown)

    def came(self, view: View, *, drives: bool) -> bytes:
        """A page has come; what it is to show first."""
        if self.is_over:  # meanwhile
            view.exit(self._why)
        self.views.append(view)
        if drives:
            older, self.driver = self.driver, view
            if older is not None:
                self.views.remove(older)
                older.exit("The session was opened elsewhere.")
        return b"".join(self._screen)

    def left(self, view: View) -> bool:
        """A page has gone; whether nobody drives any more."""
        if view in self.views:
            self.views.remove(view)
        if self.driver is view:
            self.driver = None
            return True
        return False

    def type(self, data: bytes) -> None:
        """Send bytes that somebody typed."""
        for start in range(0, len(data), _PIECE):
            self._send(DATA, data[start : start + _PIECE])

    def resize(self, columns: int, rows: int) -> None:
        """The driver's terminal is this large."""
        self.size = columns, rows
        self._send(SIZE, msgspec.json.encode({"cols": columns, "rows": rows}))
        for view in self.views:
            if view is not self.driver:
                view.say(type="size", cols=columns, rows=rows)

    def begin(self) -> None:
        """The terminal is its pair's client from here on. After a restart of the server the last messages may not have
        reached the agent: their numbers are filled with what does nothing, and changes nothing where they did."""
        if self._is_rejoined:
            self._is_rejoined = False
            upto = self._next
            self._next = max(0, upto - _FILLERS)
            while self._next < upto:
                self._send(SIZE, msgspec.json.encode({"cols": self.size[0], "rows": self.size[1]}))

    def _send(self, kind: int, payload: bytes) -> None:
        sequence, self._next = self._next, self._next + 1
        frame = Frame(INPUT, self._message_id(), self._now(), payload, sequence, int(sequence == 0), kind)
        self.pair.from_client(encode(frame))

    # From the agent

    def _output(self, frame: Frame) -> None:
        if frame.sequence > self._expected and len(self._ahead) >= _AHEAD:
            return
        answer = acknowledging(OUTPUT, frame.message_id, frame.sequence, self._message_id(), self._now())
        self.pair.from_client(answer)
        if frame.sequence > self._expected:
            self._ahead[frame.sequence] = frame
        elif frame.sequence == self._expected:
            self._take(frame)
            while (following := self._ahead.pop(self._expected, None)) is not None:
                self._take(following)

    def _take(self, frame: Frame) -> None:
        self._expected += 1
        kind = frame.payload_type
        if kind in (DATA, STDERR) and frame.sequence < self._remembered:
            return  # it is on the screen already: acknowledged by nobody, but recorded
        if kind in (DATA, STDERR, EXIT_CODE):
            self._show(frame.payload)
        elif kind == HANDSHAKE_REQUEST:
            self._shake(frame.payload)
        elif kind == HANDSHAKE_COMPLETE:
            message = read_complete(frame.payload).message
            if message:
                self._show(message.encode() + b"\r\n")

    def _shake(self, payload: bytes) -> None:
        done = [
            {
                "ActionType": action.kind,
                "ActionStatus": _SUCCESS if action.kind == "SessionType" else _UNSUPPORTED,
                "ActionResult": None,
                "Error": "" if action.kind == "SessionType" else "This client does not encrypt sessions.",
            }
            for action in read_request(payload).actions
        ]
        answer = {"ClientVersion": _VERSION, "ProcessedClientActions": done, "Errors": None}
        self._send(HANDSHAKE_RESPONSE, msgspec.json.encode(answer))

    def _keep(self, data: bytes) -> None:
        self._screen.append(data)
        self._shown += len(data)
        while self._shown - len(self._screen[0]) > SCREEN:
            self._shown -= len(self._screen.popleft())

    def _show(self, data: bytes) -> None:
        self._keep(data)
        for view in tuple(self.views):
            view.show(data)

    def _end(self, reason: str) -> None:
        self.is_over, self._why = True, reason
        views, self.views, self.driver = self.views, [], None
        for view in views:
            view.exit(reason)
