"""Clients that do harm, for `bench.beside`: slow, silent, huge, not reading, guessing. A process for each kind.

`python -m bench.flood HTTP-PORT TLS-PORT KIND`: comes from 127.0.0.2 and its neighbours, begins again wherever it is
cut off, and says at its end how often it did what. At most 80 MiB of bodies of 1 MiB and 128 MiB of bodies of 16 MiB,
500 bad signatures and 80 handshakes in a second.
"""

import asyncio
import contextlib
import json
import signal
import socket
import ssl
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial

import uvloop

done: Counter[str] = Counter()

SLOW, SILENT, LAZY, HUGE, GUESSING, GREETING = 400, 400, 40, 4, 2, 4
"""Connections of each kind."""
TRUSTING = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
TRUSTING.check_hostname, TRUSTING.verify_mode = False, ssl.CERT_NONE
LEAST = 0.2
"""Seconds before somebody who was cut off comes again."""


async def opened(port: int, number: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection from one of six addresses, with small buffers."""
    made = socket.socket()
    made.setblocking(False)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    made.bind((f"127.0.0.{2 + number % 6}", 0))
    await asyncio.get_running_loop().sock_connect(made, ("127.0.0.1", port))
    return await asyncio.open_connection(sock=made, limit=4096)


async def slow_heads(port: int, number: int) -> None:
    """One byte of a header each second."""
    _, writer = await opened(port, number)
    writer.write(b"POST / HTTP/1.1\r\nhost: x\r\nx-slow: ")
    try:
        while not writer.transport.is_closing():
            await asyncio.sleep(1)
            writer.write(b"x")
    finally:
        writer.transport.abort()


async def silent_tls(tls_port: int, number: int) -> None:
    """Nothing at all, or the beginning of TLS's first message and then nothing."""
    reader, writer = await opened(tls_port, number)
    try:
        if number % 2:
            writer.write(b"\x16\x03\x01\x02\x00\x01\x00")
        await reader.read()
    finally:
        writer.transport.abort()


async def unread_answers(port: int, number: int) -> None:
    """Many answers of some hundred kilobytes, none of them read."""
    _, writer = await opened(port, number)
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    try:
        writer.write(b"GET /agent/pilothouse-agent.pyz HTTP/1.1\r\nhost: x\r\n\r\n" * 40)
        while not writer.transport.is_closing():
            await asyncio.sleep(1)
            writer.write(b"\r\n")
    finally:
        writer.transport.abort()


def signed_badly(target: bytes, body: bytes, number: int) -> bytes:
    """A request with an access key that nobody has."""
    head = (
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-amz-json-1.1\r\nx-amz-target: %s\r\n"
        b"x-amz-date: 20261123T170259Z\r\nauthorization: AWS4-HMAC-SHA256 "
        b"Credential=AKIAFLOOD%011d/20261123/us-east-1/ssm/aws4_request, "
        b"SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature=%064d\r\ncontent-length: %d\r\n\r\n"
    )
    return head % (target, number, 0, len(body)) + body


async def asking(port: int, number: int, target: bytes, body: bytes, pause: float) -> None:
    """The same request over and over, each with another key."""
    reader, writer = await opened(port, number)
    try:
        while True:
            writer.write(signed_badly(target, body, done.total()))
            await writer.drain()
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]))
            done[f"answers {head[9:12].decode()}"] += 1
            await asyncio.sleep(pause)
    finally:
        writer.transport.abort()


async def greetings(tls_port: int, number: int) -> None:
    """A whole handshake, and the end."""
    address = f"127.0.0.{2 + number}", 0
    _, writer = await asyncio.open_connection("127.0.0.1", tls_port, ssl=TRUSTING, local_addr=address)
    await asyncio.sleep(0)  # what TLS still has to say
    writer.transport.abort()


async def over_and_over(name: str, once: Callable[[], Awaitable[None]], pause: float) -> None:
    """Do it again whenever it ends."""
    while True:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, ssl.SSLError):
            await once()
        done[name] += 1
        await asyncio.sleep(pause)


async def flood(port: int, tls_port: int, kind: str) -> None:
    """One kind of it until SIGTERM."""
    one, sixteen = b" " * (1 << 20), b" " * (16 << 20)
    actions: dict[str, tuple[int, Callable[[int], Awaitable[None]], float]] = {
        "slow heads": (SLOW, partial(slow_heads, port), LEAST),
        "silent TLS": (SILENT, partial(silent_tls, tls_port), LEAST),
        "unread answers": (LAZY, partial(unread_answers, port), LEAST),
        "1 MiB bodies": (HUGE, partial(asking, port, target=b"AmazonSSM.GetParameters", body=one, pause=0.05), LEAST),
        "16 MiB bodies": (
            HUGE, partial(asking, port, target=b"Pilothouse.ImportParameters", body=sixteen, pause=0.5), LEAST
        ),
        "bad signatures": (
            GUESSING, partial(asking, port, target=b"AmazonSSM.GetParameter", body=b"{}", pause=0.004), LEAST
        ),
        "TLS handshakes": (GREETING, partial(greetings, tls_port), 0.05),
    }  # fmt: skip
    count, action, pause = actions[kind]
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(over_and_over(kind, partial(action, number), pause)) for number in range(count)]
        await stopping.wait()
        for task in tasks:
            task.cancel()
    print(json.dumps(done), flush=True)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(flood(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
