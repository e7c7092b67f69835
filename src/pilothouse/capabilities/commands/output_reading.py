"""Reading whole outputs: GetCommandOutput by pages, and all of a command as a stream while it runs."""

import codecs
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import msgspec

from pilothouse.call import Call, Query, Shape, Stream, operation, stream
from pilothouse.capabilities.commands import uploads
from pilothouse.capabilities.commands.model import (
    Command,
    InvalidPluginName,
    Invocation,
    InvocationDoesNotExist,
    StepResult,
    StepStatus,
)
from pilothouse.capabilities.commands.operations import checked_command_id
from pilothouse.capabilities.commands.output_store import Kept, OutputStore, StreamKey
from pilothouse.capabilities.commands.outputs import GROWN
from pilothouse.capabilities.commands.store import CommandStore
from pilothouse.errors import ValidationException
from pilothouse.runtime.waiting import wait
from pilothouse.storage import Transaction

_MOST: Final = 1024 * 1024
_PAGE: Final = 256 * 1024
_STREAMS: Final = {"StandardOutput": "stdout", "StandardError": "stderr"}
_NAMES: Final = {kind: name for name, kind in _STREAMS.items()}
_LOOK_SECONDS: Final = 2.0
"""How soon the end of a command is seen of which no output tells."""
_LAST_WORDS_MS: Final = 10_000
"""How long output may still come after its command has ended: results do not wait for it."""
_HEARTBEAT_MS: Final = 15_000
_NODE_ID: Final = re.compile(r"(?:mi-|i-)\w{8,17}", re.ASCII)


@operation("pilothouse", "GetCommandOutput", action="ssm:GetCommandInvocation")
async def get_command_output(call: Call, request: Shape) -> Shape:
    """Bytes of one output stream of a step on a node, from an offset on. More may come until it is complete."""
    command_id = checked_command_id(request["CommandId"])
    offset, most = request.get("Offset") or 0, request.get("MaxBytes") or _PAGE
    kind = _STREAMS[request.get("Stream") or "StandardOutput"]
    async with call.reading() as tx:
        command, invocation = await _found(call, tx, command_id, request["InstanceId"])
        step = _step(command, request.get("StepName"))
        key = StreamKey(command_id, invocation.node_id, step, request.get("Run") or 0, kind)
        store = OutputStore(tx, call.house.vault)
        kept = (await store.kept([command_id], [invocation.node_id])).get(key)
        if kept is None:
            return await _of_elsewhere(call, tx, command, key, invocation, offset, most)
        data = await store.read(key, offset, min(most, max(0, kept.size - offset)))
    return {
        "Data": data,
        "NextOffset": offset + len(data),
        "Size": kept.size,
        "Complete": kept.ended and offset + len(data) >= kept.size,
        "Truncated": kept.full,
        "Source": "Node",
    }


async def _found(call: Call, tx: Transaction, command_id: str, node_id: str) -> tuple[Command, Invocation]:
    store = CommandStore(tx)
    command = await store.command(call.account_id, call.region, command_id)
    found = (await store.invocations(command_id, [node_id])).get(node_id) if command is not None else None
    if command is None or found is None:
        raise InvocationDoesNotExist(
            "The command ID and managed node ID you specified didn't match any invocations. "
            "Verify the command ID and the managed node ID and try again."
        )
    return command, found


def _step(command: Command, asked: str | None) -> str:
    names = [step.name for step in command.steps]
    if asked is None and len(names) == 1:
        return names[0]
    if asked not in names:
        raise InvalidPluginName(f"The steps of the command are: {', '.join(names)}. Name one of them.")
    return asked


async def _of_elsewhere(
    call: Call, tx: Transaction, command: Command, key: StreamKey, invocation: Invocation, offset: int, most: int
) -> Shape:
    """What is known of it where the node shows nothing while it runs (the official agent): what it uploaded to a bucket
    of this server, else what its reply has."""
    result = (await CommandStore(tx).steps(key.command_id, [key.node_id])).get((key.node_id, key.step))
    ended = invocation.final or (result is not None and result.status is not StepStatus.IN_PROGRESS)
    uploaded = await uploads.found(call, tx, command, key, offset, most)
    if uploaded is None:
        return _of_reply(key, result, ended, offset, most)
    data = b"".join([piece async for piece in uploaded.pieces])
    return {
        "Data": data,
        "NextOffset": offset + len(data),
        "Size": uploaded.whole,
        "Complete": ended and offset + len(data) >= uploaded.whole,
        "Truncated": False,
        "Source": "Upload",
    }


def _of_reply(key: StreamKey, result: StepResult | None, ended: bool, offset: int, most: int) -> Shape:
    text = (
        "" if result is None or key.run else result.standard_output if key.stream == "stdout" else result.standard_error
    )
    whole = text.encode()
    data = whole[offset : offset + most]
    return {
        "Data": data,
        "NextOffset": offset + len(data),
        "Size": len(whole),
        "Complete": ended and offset + len(data) >= len(whole),
        "Truncated": "output truncated" in text[-40:].lower(),
        "Source": "Reply",
    }


@stream(
    "pilothouse", "StreamCommandOutput", path="/ph/v1/commands/output", media_type="text/event-stream",
    action="ssm:GetCommandInvocation",
)  # fmt: skip
async def stream_command_output(call: Call, query: Query) -> Callable[[Stream], Awaitable[None]]:
    """Open a stream of all that a command's nodes write. Raises ValidationException, InvocationDoesNotExist."""
    if unknown := sorted(set(query) - {"command-id", "instance-id"}):
        raise ValidationException(f"There is no parameter {unknown[0]!r}; there are command-id, instance-id.")
    ids = query.get("command-id", [])
    if len(ids) != 1:
        raise ValidationException("The parameter command-id is needed once.")
    command_id = checked_command_id(ids[0])
    nodes = frozenset(query.get("instance-id", ()))
    if any(not _NODE_ID.fullmatch(node) for node in nodes):
        raise ValidationException("The parameter instance-id must be the id of a node.")
    async with call.reading() as tx:
        if await CommandStore(tx).command(call.account_id, call.region, command_id) is None:
            raise InvocationDoesNotExist(f"There is no command {command_id}.")

    async def run(open_stream: Stream) -> None:
        await _Follower(call, command_id, nodes).run(open_stream)

    return run


class _Follower:
    """One reader of one command: how far each stream is told, and characters that are not whole yet."""

    def __init__(self, call: Call, command_id: str, nodes: frozenset[str]) -> None:
        self._call = call
        self._command_id = command_id
        self._nodes = nodes
        self._told: dict[StreamKey, int] = {}
        self._decoders: dict[StreamKey, codecs.IncrementalDecoder] = {}

    async def run(self, to: Stream) -> None:
        """Tell what is there and what comes; return when the command has ended and all of it is told."""
        clock = self._call.clock
        beat = clock.millis()
        ended_at: int | None = None
        with self._call.house.bus.waiting(GROWN, self._command_id) as woken:
            while not to.ended.is_set():
                woken.take()
                final, whole, grown = await self._look()
                if final and ended_at is None:
                    ended_at = clock.millis()
                for key, kept in grown.items():
                    await self._tell(to, key, kept)
                if grown:
                    beat = clock.millis()
                elif ended_at is not None and (whole or clock.millis() - ended_at >= _LAST_WORDS_MS):
                    await self._tell_the_rest(to)
                    await to.write(b"event: end\ndata: {}\n\n")
                    return
                elif clock.millis() - beat >= _HEARTBEAT_MS:
                    await to.write(b": still here\n\n")
                    beat = clock.millis()
                if not (final and whole):
                    await wait(clock, woken.event, _LOOK_SECONDS, to.ended)

    async def _look(self) -> tuple[bool, bool, Mapping[StreamKey, Kept]]:
        """Whether the command has ended, whether its streams have, and the streams of which there is more."""
        house = self._call.house
        async with self._call.reading() as tx:
            command = await CommandStore(tx).command(self._call.account_id, self._call.region, self._command_id)
            streams = await OutputStore(tx, house.vault).of_command(self._command_id)
        mine = {key: kept for key, kept in streams.items() if not self._nodes or key.node_id in self._nodes}
        final = command is None or command.current().final
        whole = all(kept.ended or kept.full for kept in mine.values())
        return final, whole, {key: kept for key, kept in mine.items() if kept.size > self._told.get(key, 0)}

    async def _tell(self, to: Stream, key: StreamKey, kept: Kept) -> None:
        async def read(start: int) -> bytes:
            async with self._call.reading() as tx:
                store = OutputStore(tx, self._call.house.vault)
                return await store.read(key, start, min(_PAGE, kept.size - start))

        await self._tell_all(to, key, kept.size, read)

    async def _tell_the_rest(self, to: Stream) -> None:
        """What nodes wrote that show nothing while it runs: as they uploaded it, or as their replies have it."""
        async with self._call.reading() as tx:
            store = CommandStore(tx)
            command = await store.command(self._call.account_id, self._call.region, self._command_id)
            shown = {key.node_id for key in await OutputStore(tx, self._call.house.vault).of_command(self._command_id)}
            found = await store.nodes_with_results(self._command_id)
        for node_id in found:
            if command is None or node_id in shown or (self._nodes and node_id not in self._nodes):
                continue
            async with self._call.reading() as tx:
                invocation = (await CommandStore(tx).invocations(self._command_id, [node_id]))[node_id]
            for step in command.steps:
                for run in range(len(step.folders)):
                    for kind in _NAMES:
                        key = StreamKey(command.command_id, node_id, step.name, run, kind)
                        await self._tell_elsewhere(to, command, invocation, key)

    async def _tell_elsewhere(self, to: Stream, command: Command, invocation: Invocation, key: StreamKey) -> None:
        async def page(start: int) -> Shape:
            async with self._call.reading() as tx:
                return await _of_elsewhere(self._call, tx, command, key, invocation, start, _PAGE)

        async def read(start: int) -> bytes:
            return bytes((await page(start))["Data"])

        await self._tell_all(to, key, int((await page(0))["Size"]), read)

    async def _tell_all(
        self, to: Stream, key: StreamKey, size: int, read: Callable[[int], Awaitable[bytes]]
    ) -> None:  # fmt: skip
        start = self._told.get(key, 0)
        while start < size and not to.ended.is_set():
            data = await read(start)
            if not data:
                return
            decoder = self._decoders.setdefault(key, codecs.getincrementaldecoder("utf-8")("replace"))
            said: dict[str, Any] = {
                "InstanceId": key.node_id, "StepName": key.step, "Run": key.run, "Stream": _NAMES[key.stream],
                "Offset": start, "Text": decoder.decode(data),
            }  # fmt: skip
            await to.write(b"event: output\ndata: " + msgspec.json.encode(said) + b"\n\n")
            start += len(data)
            self._told[key] = start
