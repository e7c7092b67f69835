"""Connections that are accepted in the moment in which the server ends, or in which they must make room."""

import asyncio
import socket
from collections.abc import Callable

import pytest
import uvloop

from pilothouse.wire.accepting import Acceptor
from pilothouse.wire.handshakes import Handshakes
from pilothouse.wire.places import Place, Places


class _Seen(asyncio.Protocol):
    """What the loop told a connection's protocol."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.is_made = self.is_lost = False
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.is_made = True
        self.transport = transport
        self.place.end = transport.abort

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        self.place.free()


async def _cut_off(turns: int, cut: Callable[[Acceptor, _Seen | None], None]) -> tuple[bool, bytes]:
    """Whether the protocol of a connection that is cut off so many turns after its accept is told of its beginning as
    often as of its end; and what its client reads."""
    seen: list[_Seen] = []

    def protocol(place: Place) -> _Seen:
        seen.append(_Seen(place))
        return seen[-1]

    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        async with asyncio.TaskGroup() as group:
            acceptor = Acceptor(
                listening, protocol, group, Places(), tls=None, handshakes=Handshakes(loop, 1), head_seconds=5
            )
            with socket.create_connection(listening.getsockname()) as client:
                client.setblocking(False)
                acceptor.accept()
                for _ in range(turns):
                    await asyncio.sleep(0)
                cut(acceptor, seen[0] if seen else None)
                async with asyncio.timeout(5):
                    try:
                        answer = await loop.sock_recv(client, 1)
                    except ConnectionResetError:
                        answer = b""
    return all(each.is_made == each.is_lost for each in seen), answer


def _close(acceptor: Acceptor, seen: _Seen | None) -> None:
    """As a server that stops: accept no more, then end the connections that are there."""
    acceptor.close()
    if seen is not None and seen.transport is not None:
        seen.transport.close()


def _make_room(acceptor: Acceptor, seen: _Seen | None) -> None:
    if seen is None:
        acceptor.close()
    else:
        assert seen.place.end is not None
        seen.place.end()


@pytest.mark.parametrize("loop_factory", [uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])
@pytest.mark.parametrize("cut", [_close, _make_room])
def test_a_protocol_that_began_is_told_of_its_end(
    cut: Callable[[Acceptor, _Seen | None], None], loop_factory: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    for turns in range(5):
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            assert runner.run(_cut_off(turns, cut)) == (True, b""), turns
