"""A websocket client over asyncio streams, on the protocol engine of the websockets library.

The library's own asyncio client brings an HTTP proxy layer and a keep-alive of another kind; the
channels need neither, and the agent stays smaller without them.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import State
from websockets.uri import parse_uri

from pilothouse_agent.link.https import Endpoint, Unreachable

MAX_MESSAGE = 512 * 1024
"""Twice what the server sends at most."""

_READ = 262_144


class Websocket:
    """One open websocket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, protocol: ClientProtocol) -> None:
        self._reader = reader
        self._writer = writer
        self._protocol = protocol
        self._pong = asyncio.Event()

    @classmethod
    async def connect(
        cls, endpoint: Endpoint, target: str, headers: Mapping[str, str], *, timeout: float = 15.0
    ) -> "Websocket":
        """Raises Unreachable, also when the server refuses the upgrade."""
        try:
            async with asyncio.timeout(timeout):
                reader, writer = await endpoint.connect()
                try:
                    return await cls._shake_hands(reader, writer, endpoint, target, headers)
                except BaseException:
                    writer.transport.abort()
                    raise
        except TimeoutError as error:
            raise Unreachable(f"no websocket from {endpoint.authority} within {timeout:g} s") from error
        except OSError as error:
            raise Unreachable(f"no websocket from {endpoint.authority}: {error}") from error

    @classmethod
    async def _shake_hands(
        cls, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, endpoint: Endpoint, target: str,
        headers: Mapping[str, str],
    ) -> "Websocket":  # fmt: skip
        protocol = ClientProtocol(parse_uri(f"wss://{endpoint.authority}{target}"), max_size=MAX_MESSAGE)
        request = protocol.connect()
        for name, value in headers.items():
            if name != "host":
                request.headers[name] = value
        protocol.send_request(request)
        socket = cls(reader, writer, protocol)
        await socket._flush()
        while protocol.state is State.CONNECTING and protocol.handshake_exc is None:
            await socket._receive()
        if protocol.handshake_exc is not None:
            raise Unreachable(f"the websocket was refused: {_why(protocol.handshake_exc)}") from protocol.handshake_exc
        return socket

    async def send(self, data: bytes) -> None:
        """One binary message. Raises Unreachable when the connection is gone."""
        self._need_open()
        self._protocol.send_binary(data)
        await self._flush()

    def put(self, messages: Iterable[bytes]) -> None:
        """Binary messages, without waiting: what the connection does not take yet is kept in memory.

        Raises Unreachable when the connection is gone.
        """
        self._need_open()
        for data in messages:
            self._protocol.send_binary(data)
        try:
            self._writer.write(b"".join(self._protocol.data_to_send()))
        except (OSError, RuntimeError) as error:
            raise Unreachable(f"the connection broke: {error}") from error

    @property
    def unwritten(self) -> int:
        """Bytes that the connection did not take yet."""
        return self._writer.transport.get_write_buffer_size()

    @property
    def is_broken(self) -> bool:
        return self._writer.transport.is_closing()

    async def send_text(self, text: str) -> None:
        """One text message."""
        self._need_open()
        self._protocol.send_text(text.encode())
        await self._flush()

    async def ping(self, payload: bytes, timeout: float) -> None:
        """Ping and wait for the pong. Raises Unreachable after timeout seconds of silence."""
        self._need_open()
        self._pong.clear()
        self._protocol.send_ping(payload)
        await self._flush()
        try:
            async with asyncio.timeout(timeout):
                await self._pong.wait()
        except TimeoutError as error:
            raise Unreachable(f"no pong within {timeout:g} s") from error

    async def messages(self) -> AsyncIterator[bytes]:
        """Messages until the connection ends, text or binary, whole. Pings are answered on the way."""
        parts = bytearray()
        while True:
            for event in self._protocol.events_received():
                if not isinstance(event, Frame):
                    continue
                if event.opcode is Opcode.PONG:
                    self._pong.set()
                elif event.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                    if event.fin and not parts:
                        yield bytes(event.data)
                        continue
                    parts += event.data
                    if event.fin:
                        yield bytes(parts)
                        parts.clear()
            if self._protocol.state is State.CLOSED or self._reader.at_eof():
                return
            await self._receive()

    async def close(self) -> None:
        """Say goodbye without waiting for the answer."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(1001)
            try:
                async with asyncio.timeout(1.0):
                    await self._flush()
            except (TimeoutError, Unreachable):
                pass  # the other side learns it from the connection's end
        self._writer.transport.abort()

    def _need_open(self) -> None:
        if self._protocol.state is not State.OPEN:
            raise Unreachable("the websocket is closed")

    async def _receive(self) -> None:
        try:
            data = await self._reader.read(_READ)
        except OSError:
            data = b""
        if data:
            self._protocol.receive_data(data)
        else:
            self._protocol.receive_eof()
        self._write_out()  # pongs, a close: reading goes on also where nobody takes what is sent

    async def _flush(self) -> None:
        self._write_out()
        try:
            await self._writer.drain()
        except (OSError, RuntimeError) as error:
            raise Unreachable(f"the connection broke: {error}") from error

    def _write_out(self) -> None:
        try:
            for data in self._protocol.data_to_send():
                if data:
                    self._writer.write(data)
                elif self._writer.can_write_eof():
                    self._writer.write_eof()
        except (OSError, RuntimeError) as error:
            raise Unreachable(f"the connection broke: {error}") from error


def _why(error: Exception) -> str:
    if isinstance(error, InvalidStatus):
        response: Response = error.response
        return f"HTTP {response.status_code} {bytes(response.body or b'')[:200].decode('utf-8', 'replace')}"
    return str(error)
