"""The agent's websocket over TLS: what comes is whole and in order, and waits at its sender for who reads slowly."""

import asyncio
import contextlib
import hashlib
import random
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import websockets.asyncio.server as peers

from pilothouse_agent.link.https import Endpoint, Unreachable
from pilothouse_agent.link.websocket import Websocket

MEGABYTE = 1 << 20


@contextlib.asynccontextmanager
async def connected(certificates: Path) -> AsyncIterator[tuple[Websocket, peers.ServerConnection]]:
    """A websocket of the agent, and its peer."""
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trust.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    came: asyncio.Future[peers.ServerConnection] = asyncio.get_running_loop().create_future()

    async def hold(peer: peers.ServerConnection) -> None:
        came.set_result(peer)
        await peer.wait_closed()

    async with peers.serve(hold, "127.0.0.1", 0, ssl=trust, max_size=None, compression=None) as server:
        port = server.sockets[0].getsockname()[1]
        endpoint = Endpoint("127.0.0.1", port, certificates / "ca.pem")
        socket = await Websocket.connect(endpoint, "/", {})
        try:
            yield socket, await came
        finally:
            await socket.close()


async def test_messages_of_all_sizes_come_whole_and_in_order(certificates: Path) -> None:
    chance = random.Random(7)
    sizes = [0, 1, 125, 126, 65_535, 65_536, 300_000, 512 * 1024, *(chance.randrange(200_000) for _ in range(100))]
    sent = [chance.randbytes(size) for size in sizes]
    async with connected(certificates) as (socket, peer):

        async def send() -> None:
            for number, message in enumerate(sent):
                await peer.send([message[:7], message[7:]] if number % 3 == 0 else message)

        sending = asyncio.create_task(send())
        messages = socket.messages()
        assert [await anext(messages) for _ in sent] == sent
        await sending
        back = asyncio.create_task(peer.recv())
        await socket.send(sent[6])
        assert await back == sent[6]
        await peer.close()
        assert [each async for each in messages] == []
        with pytest.raises(Unreachable):
            await socket.send(b"late")


async def test_who_does_not_read_holds_the_sender_up(certificates: Path) -> None:
    block = random.Random(8).randbytes(MEGABYTE // 4)
    count, digest = 200, hashlib.sha256()
    async with connected(certificates) as (socket, peer):
        sent = 0

        async def send() -> None:
            nonlocal sent
            for _ in range(count):
                await peer.send(block)
                sent += 1

        sending = asyncio.create_task(send())
        messages = socket.messages()
        digest.update(await anext(messages))
        before = -1
        while sent != before:  # until nothing moves any more
            before = sent
            await asyncio.sleep(1.0)
        assert sent < count, "the agent took 50 MB that nobody read"
        for _ in range(count - 1):
            digest.update(await anext(messages))
        await sending
        assert digest.digest() == hashlib.sha256(block * count).digest()


async def test_a_connection_that_breaks_ends_the_messages_and_the_wait_of_who_sends(certificates: Path) -> None:
    async with connected(certificates) as (socket, peer):
        messages = socket.messages()
        await peer.send(b"one")
        assert await anext(messages) == b"one"
        waiting = asyncio.create_task(anext(messages, None))
        peer.transport.pause_reading()

        async def flood() -> None:
            while True:
                await socket.send(bytes(MEGABYTE // 2))

        sending = asyncio.create_task(flood())
        while not socket.unwritten:
            await asyncio.sleep(0.01)
        peer.transport.abort()
        assert await waiting is None
        with pytest.raises(Unreachable):
            await sending
        assert socket.is_broken
