"""Both ends of sessions in one light process: what server and gateway alone add to an echo.

A client and a node's end of each session speak the data channel to the server as the official ones do, each message
acknowledged; the node's end gives back what it gets. No shell, no program and no process of an agent takes part: what
an echo waits for is the server, which passes on two messages and two acknowledgements, and has output durable before
that goes.
"""

import asyncio
import contextlib
import json
import ssl
import time
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from bench.agents import signed
from bench.fleet import registered
from bench.get_parameter import client
from bench.processes import Measured
from pilothouse.gateway.frames import Frame, decode, encode
from pilothouse.gateway.session_messages import DATA, INPUT, OUTPUT, acknowledging

_CONTROL = "/v1/control-channel/"
_DATA = "/v1/data-channel/"
_ID = "11111111-2222-3333-4444-555555555555"


class Node:
    """A registered node."""

    def __init__(self, server: Measured, values: dict[str, str], ca: Path) -> None:
        self._address = f"127.0.0.1:{server.tls_port}"
        self._trust = ssl.create_default_context(cafile=str(ca))
        self._ssm = client(values, "ssm")
        (self._who,) = registered(self._ssm, server.port, values["AWS_REGION"], 1)

    @contextlib.asynccontextmanager
    async def there(self) -> AsyncIterator[None]:
        """Its control channel is open."""
        path = _CONTROL + self._who["node_id"]
        token = await asyncio.to_thread(self._token, path)
        line = await self._opened(f"{path}?role=subscribe&stream=input", token, is_node=True, ClientId=None)
        async with asyncio.TaskGroup() as group:
            hearing = group.create_task(_hear(line))  # which sessions begin is known here anyway
            yield
            hearing.cancel()
        await line.close()

    @contextlib.asynccontextmanager
    async def session(self) -> AsyncIterator["Session"]:
        """A session with both ends."""
        started = await asyncio.to_thread(self._ssm.start_session, Target=self._who["node_id"])
        path = _DATA + started["SessionId"]
        token = await asyncio.to_thread(self._token, path)
        theirs = await self._opened(f"{path}?role=subscribe", started["TokenValue"], is_node=False)
        ours = await self._opened(f"{path}?role=publish_subscribe", token, is_node=True)
        async with asyncio.TaskGroup() as group:
            giving = group.create_task(_give_back(ours))
            session = Session(theirs)
            taking = group.create_task(session.take())
            yield session
            giving.cancel()
            taking.cancel()
        for each in (theirs, ours):
            await each.close()
        await asyncio.to_thread(self._ssm.terminate_session, SessionId=started["SessionId"])

    def _token(self, path: str) -> str:
        body = json.dumps({"MessageSchemaVersion": "1.0", "RequestId": _ID, "ClientId": _ID}).encode()
        url = f"https://{self._address}{path}"
        request = urllib.request.Request(url, body, signed(self._who, "POST", url, body), method="POST")
        with urllib.request.urlopen(request, context=self._trust) as answer:
            text: str = answer.read().decode()
        return text.partition("<TokenValue>")[2].partition("</TokenValue>")[0]

    async def _opened(self, path: str, token: str, *, is_node: bool, **more: Any) -> ClientConnection:
        headers = signed(self._who, "GET", f"https://{self._address}{path}", b"") if is_node else {}
        url = f"wss://{self._address}{path}"
        made = await connect(url, ssl=self._trust, additional_headers=headers, compression=None, proxy=None)
        await made.send(json.dumps({
            "MessageSchemaVersion": "1.0", "RequestId": _ID, "TokenValue": token, "ClientId": _ID,
            "ClientVersion": "1.2.677.0", "AgentVersion": "3.3.0.0", "PlatformType": "linux", **more,
        }))  # fmt: skip
        return made


class Session:
    """The client's end."""

    def __init__(self, line: ClientConnection) -> None:
        self._line = line
        self._next = 0
        self._back = asyncio.Event()

    async def echo(self) -> None:
        """Send a byte; returns when it is back."""
        self._back.clear()
        await self._line.send(_stream(INPUT, self._next))
        self._next += 1
        await self._back.wait()

    async def take(self) -> None:
        async for message in self._line:
            frame = decode(_bytes(message))
            if frame.message_type == OUTPUT:
                self._back.set()
                await self._line.send(_acknowledging(frame))


async def _hear(line: ClientConnection) -> None:
    async for _ in line:
        pass


async def _give_back(line: ClientConnection) -> None:
    async for message in line:
        frame = decode(_bytes(message))
        if frame.message_type == INPUT:
            await line.send(_acknowledging(frame))
            await line.send(_stream(OUTPUT, frame.sequence))


def _bytes(message: Any) -> bytes:
    return message if isinstance(message, bytes) else bytes(message, "utf-8")


def _stream(kind: str, sequence: int) -> bytes:
    return encode(Frame(kind, _ID, _now(), b"x", sequence=sequence, flags=int(sequence == 0), payload_type=DATA))


def _acknowledging(frame: Frame) -> bytes:
    return acknowledging(frame.message_type, frame.message_id, frame.sequence, _ID, _now())


def _now() -> int:
    return time.time_ns() // 1_000_000
