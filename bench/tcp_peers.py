"""Bare TCP programs, each a process of its own: relays, an echo, and a service that sends or takes so many bytes.

`python -m bench.tcp_peers relay PORT TARGET-PORT`, `… echo PORT 0`, `… bytes PORT 0`. Plain asyncio, nothing else.
Three relays more speak TLS as a tunnel does, with the certificate of a data directory as third argument: `sealing` to
its target, `opening` with who comes, `resealing` on both sides.
"""

import asyncio
import contextlib
import ssl
import struct
import sys
from pathlib import Path

BLOCK = 65_536
ASKED = struct.Struct(">cQ")
"""`d` or `u`, and how many bytes go down to the client or up to the service."""


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(BLOCK):
            writer.write(data)
            await writer.drain()
    writer.close()


async def _bytes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        while True:
            way, count = ASKED.unpack(await reader.readexactly(ASKED.size))
            block = bytes(BLOCK)
            while way == b"d" and count > 0:
                writer.write(block[: min(count, BLOCK)])
                await writer.drain()
                count -= BLOCK
            while way == b"u" and count > 0:
                count -= len(await reader.read(min(count, BLOCK)))
            if way == b"u":
                writer.write(b"!")


async def _serve(role: str, port: int, target: int, data: Path) -> None:
    there = ssl.create_default_context(cafile=data / "ca.pem") if role in ("sealing", "resealing") else None
    here = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH) if role in ("opening", "resealing") else None
    if here is not None:
        here.load_cert_chain(data / "server.pem", data / "server.key")

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        source, sink = await asyncio.open_connection("127.0.0.1", target, ssl=there)
        async with asyncio.TaskGroup() as group:
            group.create_task(_pump(reader, sink))
            group.create_task(_pump(source, writer))

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _pump(reader, writer)

    server = await asyncio.start_server({"echo": echo, "bytes": _bytes}.get(role, relay), "127.0.0.1", port, ssl=here)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(*sys.argv[4:])))
