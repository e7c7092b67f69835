"""Writes that leave together at the end of a turn."""

import asyncio
from typing import Any

from pilothouse.wire.writes import AT_ONCE, GatheredTransport, Turn


class _Wire:
    """A transport that notes what reaches it."""

    def get_write_buffer_size(self) -> int:
        return 0

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.written.append(data)

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def get_extra_info(self, name: str) -> str:
        return f"{name} of the wire"


def _pair(turn: Turn) -> tuple[_Wire, Any]:
    wire = _Wire()
    return wire, GatheredTransport(wire, turn)  # type: ignore[arg-type]


async def test_what_one_turn_writes_leaves_in_one_piece_and_in_order() -> None:
    turn = Turn(asyncio.get_running_loop(), 30)
    (first, one), (second, two) = _pair(turn), _pair(turn)
    one.write(b"a")
    two.write(b"x")
    one.write(b"b")
    assert first.written == second.written == []
    await asyncio.sleep(0)
    assert (first.written, second.written) == ([b"ab"], [b"x"])
    one.write(b"c")
    await asyncio.sleep(0)
    assert first.written == [b"ab", b"c"]


async def test_much_is_not_held_back() -> None:
    wire, transport = _pair(Turn(asyncio.get_running_loop(), 30))
    transport.write(b"h")
    transport.write(b"x" * AT_ONCE)
    assert wire.written == [b"h" + b"x" * AT_ONCE]
    transport.write(b"after")
    await asyncio.sleep(0)
    assert wire.written[1:] == [b"after"]


async def test_closing_loses_nothing_and_a_closed_connection_gets_nothing() -> None:
    wire, transport = _pair(Turn(asyncio.get_running_loop(), 30))
    transport.write(b"last words")
    transport.close()
    assert (wire.written, wire.closed) == ([b"last words"], True)
    transport.write(b"too late")
    await asyncio.sleep(0)
    assert wire.written == [b"last words"]


async def test_everything_else_is_the_transports_own() -> None:
    _, transport = _pair(Turn(asyncio.get_running_loop(), 30))
    assert transport.get_extra_info("peername") == "peername of the wire"
