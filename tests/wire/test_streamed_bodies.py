"""Bodies that come as streams, and answers that leave as ones, over the plain ASGI application."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from pilothouse.rest_errors import RequestTimeout
from pilothouse.runtime.settings import LimitSettings
from pilothouse.wire.asgi import CONNECTION, WireApplication
from pilothouse.wire.http import ClientLeft, Request, Response, Write

Respond = Callable[[Request], Awaitable[Response]]


class Client:
    """One request as a server would bring it, and what it was answered."""

    def __init__(self, *messages: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        self._messages = list(messages)
        self._headers = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
        self.sent: list[dict[str, Any]] = []

    async def asks(self, respond: Respond, *, seconds: float = 5, connection: Any = None) -> None:
        front: Any = _Front(respond)
        limits = LimitSettings(body_seconds=seconds)
        application = WireApplication(front, limits=limits, streamed=lambda path, query, headers: True)
        scope: dict[str, Any] = {
            "type": "http", "method": "PUT", "path": "/bucket/key", "query_string": b"", "scheme": "http",
            "headers": self._headers,
        }  # fmt: skip
        if connection is not None:
            scope[CONNECTION] = connection
        await application(scope, self._receive, self._send)

    async def _receive(self) -> dict[str, Any]:
        if self._messages:
            return self._messages.pop(0)
        await asyncio.Event().wait()
        raise AssertionError

    async def _send(self, message: Any) -> None:
        self.sent.append(message)

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    def header(self, name: str) -> bytes | None:
        return dict(self.sent[0]["headers"]).get(name.encode())


class _Front:
    def __init__(self, respond: Respond) -> None:
        self.respond = respond


def piece(body: bytes, *, more: bool = True) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


async def whole(request: Request) -> bytes:
    return b"".join([each async for each in _pieces(request)])


async def _pieces(request: Request) -> Any:
    while each := await request.next_piece():
        yield each


async def test_a_body_comes_piece_by_piece():
    seen = []

    async def respond(request: Request) -> Response:
        seen.append(request.body)
        seen.append(await request.next_piece())
        seen.append(await whole(request))
        return Response(200, {}, b"ok")

    client = Client(piece(b"one"), piece(b""), piece(b"two"), piece(b"three", more=False))
    await client.asks(respond)
    assert seen == [b"", b"one", b"twothree"]
    assert (client.status, client.header("connection")) == (200, None)


async def test_a_refused_body_is_read_to_its_end_so_that_the_answer_is_seen():
    async def respond(request: Request) -> Response:
        return Response(403, {}, b"no")

    client = Client(piece(b"x" * 1000), piece(b"x" * 1000, more=False))
    await client.asks(respond)
    assert (client.status, client.header("connection")) == (403, None)
    endless = Client(*[piece(b"x" * (1 << 20)) for _ in range(20)])
    await endless.asks(respond)
    assert (endless.status, endless.header("connection")) == (403, b"close")
    waiting = Client(headers={"expect": "100-continue"})  # it may send its body yet, or not
    await waiting.asks(respond)
    assert (waiting.status, waiting.header("connection")) == (403, b"close")


async def test_a_body_that_trickles_is_given_up():
    given_up = []

    async def respond(request: Request) -> Response:
        with pytest.raises(RequestTimeout):
            await whole(request)
        given_up.append(True)
        return Response(400, {}, b"too slow")

    client = Client(piece(b"x"), piece(b"y"))
    await client.asks(respond, seconds=0.05)
    assert (given_up, client.status, client.header("connection")) == ([True], 400, b"close")


async def test_nobody_is_answered_who_left():
    left = []

    async def respond(request: Request) -> Response:
        try:
            await whole(request)
        except ClientLeft:
            left.append(True)
            raise
        return Response(200, {}, b"")

    client = Client(piece(b"half"), {"type": "http.disconnect"})
    await client.asks(respond)
    assert (left, client.sent) == ([True], [])


async def test_a_content_leaves_piece_by_piece_with_its_length():
    async def content(write: Write) -> None:
        await write(b"one")
        await write(b"two")

    async def respond(request: Request) -> Response:
        return Response(200, {"content-length": "6"}, b"", content)

    client = Client(piece(b"", more=False))
    await client.asks(respond)
    assert client.header("content-length") == b"6"
    assert [each.get("body") for each in client.sent[1:]] == [b"one", b"two", b""]


async def test_a_content_that_breaks_off_does_not_look_whole():
    class Connection:
        aborted = False

        class transport:  # noqa: N801 - as the protocol has it
            @staticmethod
            def is_closing() -> bool:
                return False

        def shown(self) -> None: ...

        def abort(self) -> None:
            self.aborted = True

    async def content(write: Write) -> None:
        await write(b"one")
        raise RuntimeError("the rest does not open")

    async def respond(request: Request) -> Response:
        return Response(200, {"content-length": "6"}, b"", content)

    connection = Connection()
    client = Client(piece(b"", more=False))
    await client.asks(respond, connection=connection)
    assert connection.aborted
    assert all(each.get("more_body", True) for each in client.sent)
