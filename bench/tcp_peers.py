"""Bare TCP programs, each a process of its own: a relay, an echo, and a service that sends or takes so many bytes.

`python -m bench.tcp_peers relay PORT TARGET-PORT`, `… echo PORT 0`, `… bytes PORT 0`. Plain asyncio, nothing else.
"""

import asyncio
import contextlib
import struct
import sys

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


async def _serve(role: str, port: int, target: int) -> None:
    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, here = await asyncio.open_connection("127.0.0.1", target)
        async with asyncio.TaskGroup() as group:
            group.create_task(_pump(reader, here))
            group.create_task(_pump(there, writer))

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _pump(reader, writer)

    handler = {"relay": relay, "echo": echo, "bytes": _bytes}[role]
    server = await asyncio.start_server(handler, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
