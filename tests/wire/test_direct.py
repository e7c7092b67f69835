"""Calls that come whole skip ASGI, others do not: a client cannot tell which way its request went."""

import asyncio
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pilothouse.wire.asgi import WireApplication
from pilothouse.wire.http import Request, Response
from pilothouse.wire.server import Listener, serve


class _Front:
    """Says what it was asked, after as many turns of the loop as the request wants."""

    async def respond(self, request: Request) -> Response:
        for _ in range(int(request.headers.get("turns", "0"))):
            await asyncio.sleep(0)
        if request.headers.get("wait") == "gone":
            assert request.gone is not None
            await request.gone()
            self.left.set()
        said = f"{request.method} {request.path} {request.headers.get('name', '')} ".encode() + request.body
        return Response(200, {"content-type": "text/plain"}, said)

    def __init__(self) -> None:
        self.left = asyncio.Event()


class _Running:
    def __init__(self, front: _Front, port: int) -> None:
        self.front = front
        self.port = port

    async def say(self, parts: list[bytes], answers: int) -> list[tuple[int, bytes]]:
        """Status and body of as many answers as are awaited."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        got = []
        try:
            async with asyncio.timeout(20):
                for part in parts:
                    writer.write(part)
                    await writer.drain()
                    await asyncio.sleep(0)
                for _ in range(answers):
                    head = await reader.readuntil(b"\r\n\r\n")
                    while head.startswith(b"HTTP/1.1 100 "):
                        head = await reader.readuntil(b"\r\n\r\n")
                    length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
                    assert b"\r\ndate: " in head.lower()
                    got.append((int(head.split()[1]), await reader.readexactly(length)))
        finally:
            writer.close()
        return got


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    yield made
    made.close()


@pytest.fixture(scope="module")
def running(loop: asyncio.AbstractEventLoop) -> Iterator[_Running]:
    front, stopping = _Front(), asyncio.Event()
    bound: asyncio.Future[int] = loop.create_future()
    ended = loop.create_task(
        serve(
            WireApplication(front),  # type: ignore[arg-type]
            [Listener("127.0.0.1", 0)],
            stopping=stopping,
            started=lambda addresses: bound.set_result(addresses[0][1]),
        )
    )
    yield _Running(front, loop.run_until_complete(bound))
    loop.call_soon(stopping.set)
    loop.run_until_complete(ended)


def _request(body: bytes, name: str, turns: int, *, chunked: bool = False, more: str = "", path: str = "/") -> bytes:
    length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}"
    sent = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if chunked and body else b"0\r\n\r\n" if chunked else body
    return (
        f"POST {path} HTTP/1.1\r\nHost: a\r\nName: {name}\r\nTurns: {turns}\r\n{more}{length}\r\n\r\n".encode() + sent
    )


_requests = st.lists(
    st.tuples(st.binary(max_size=80), st.integers(0, 3), st.booleans(), st.sampled_from(["/", "/?x=1", "/other"])),
    min_size=1,
    max_size=6,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(wanted=_requests, cuts=st.lists(st.integers(0, 900), max_size=8))
def test_requests_in_any_pieces_are_answered_in_their_order(
    running: _Running, loop: asyncio.AbstractEventLoop, wanted: list[tuple[bytes, int, bool, str]], cuts: list[int]
) -> None:
    stream = b"".join(
        _request(body, f"n{number}", turns, chunked=chunked, path=path)
        for number, (body, turns, chunked, path) in enumerate(wanted)
    )
    edges = [0, *sorted({cut for cut in cuts if 0 < cut < len(stream)}), len(stream)]
    parts = [stream[start:end] for start, end in pairwise(edges)]
    answers = loop.run_until_complete(running.say(parts, len(wanted)))
    for number, ((body, _, _, path), (status, said)) in enumerate(zip(wanted, answers, strict=True)):
        assert (status, said) == (200, f"POST {path.partition('?')[0]} n{number} ".encode() + body)


def _once(running: _Running, loop: asyncio.AbstractEventLoop, request: bytes) -> tuple[int, bytes]:
    return loop.run_until_complete(running.say([request], 1))[0]


def test_rules_of_the_way_through_asgi_hold(running: _Running, loop: asyncio.AbstractEventLoop) -> None:
    assert _once(running, loop, _request(b"{}", "n", 0, more="Content-Encoding: gzip\r\n"))[0] == 415
    twice = _request(b"{}", "n", 0, more="X-Amz-Date: 1\r\nX-Amz-Date: 2\r\n")
    assert _once(running, loop, twice) == (400, b"The header x-amz-date may be given once only.\n")
    assert _once(running, loop, _request(b"x" * ((1 << 20) + 1), "n", 0))[0] == 413
    assert _once(running, loop, _request(b"{}", "n", 0, more="Expect: 100-continue\r\n")) == (200, b"POST / n {}")


def test_a_request_that_ends_the_connection_ends_it(running: _Running, loop: asyncio.AbstractEventLoop) -> None:
    async def talk() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(_request(b"{}", "n", 0, more="Connection: close\r\n"))
        async with asyncio.timeout(10):
            said = await reader.read()
        writer.close()
        return said

    said = loop.run_until_complete(talk())
    assert said.lower().count(b"\r\nconnection: close\r\n") == 1
    assert said.endswith(b"POST / n {}")


def test_a_handler_hears_that_its_client_has_left(running: _Running, loop: asyncio.AbstractEventLoop) -> None:
    async def leave() -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(_request(b"{}", "n", 0, more="Wait: gone\r\n"))
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.close()
        async with asyncio.timeout(10):
            await running.front.left.wait()

    loop.run_until_complete(leave())
