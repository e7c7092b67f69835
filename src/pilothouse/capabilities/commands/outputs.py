"""Output while it grows: what our agents show of running steps, kept byte for byte.

The messages are those of docs/reference/agent-protocol-extensions.md. A node's claim counts for its own invocations and
planned steps only. Messages of many channels are stored together, one commit for all, and acknowledged after it.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import msgspec
import structlog

from pilothouse.call import Extension, House, Said
from pilothouse.capabilities.commands.output_store import Kept, OutputStore, StreamKey
from pilothouse.capabilities.commands.progress import message_id
from pilothouse.capabilities.commands.store import CommandStore
from pilothouse.gateway.payloads import write
from pilothouse.storage import Transaction

log = structlog.get_logger()

GROWN: Final = "command.output"
"""Bus topic; the key is a command of which there is more to read."""
CHUNK: Final = 32_768
_WINDOW: Final = 8 * CHUNK
_RUNS: Final = 1000
_OUTPUT, _ACK = "pilothouse_output", "pilothouse_output_ack"
_MIB: Final = 1024 * 1024


class _Output(msgspec.Struct):
    """pilothouse_output: some bytes of a stream, or where it goes on, or that it ends."""

    job_id: str = msgspec.field(name="jobId")
    step: str
    stream: str
    offset: int
    run: int = 0
    data: bytes = b""
    end: bool = False


class _Ack(msgspec.Struct, omit_defaults=True):
    """pilothouse_output_ack: what is wanted next."""

    job_id: str = msgspec.field(name="jobId")
    step: str
    run: int
    stream: str
    offset: int
    end: bool = False
    stop: bool = False


class _Heard(NamedTuple):
    key: StreamKey
    message: _Output
    said: Said


_read = msgspec.json.Decoder(_Output).decode


async def hear(house: House, said: Sequence[Said]) -> None:
    """Store what came, and acknowledge it. Messages that break a rule are dropped."""
    heard = []
    for each in said:
        try:
            heard.append(_heard(each))
        except (ValueError, RecursionError) as error:
            log.warning("command.output_dropped", node_id=each.node_id, reason=type(error).__name__)
    if not heard:
        return
    stands = await _stored(house, heard)
    for key, answer in {each.key: each.said.answer for each in heard}.items():
        answer(_ACK, write(_ack(key, stands.get(key))))


def _heard(said: Said) -> _Heard:
    message = _read(said.payload)
    command_id = message.job_id.removeprefix("aws.ssm.").rpartition(".")[0]
    if message.job_id != message_id(command_id, said.node_id):
        raise ValueError("the output of another node's job")
    if message.stream not in ("stdout", "stderr") or message.offset < 0 or not 0 <= message.run < _RUNS:
        raise ValueError("no stream of a step")
    if len(message.data) > CHUNK or (message.end and message.data):
        raise ValueError("too many bytes, or bytes after the end")
    return _Heard(StreamKey(command_id, said.node_id, message.step, message.run, message.stream), message, said)


def _ack(key: StreamKey, kept: Kept | None) -> _Ack:
    job_id = message_id(key.command_id, key.node_id)
    if kept is None:  # no such step of no such command: nothing of it, ever
        return _Ack(job_id, key.step, key.run, key.stream, 0, stop=True)
    return _Ack(job_id, key.step, key.run, key.stream, kept.size, end=kept.ended, stop=kept.full)


async def _stored(house: House, batch: Sequence[_Heard]) -> Mapping[StreamKey, Kept]:
    """How each stream of the batch stands after it; one that may not be is not among them."""
    most = house.settings.commands.output_mib * _MIB
    async with house.database.transaction() as tx:
        store = OutputStore(tx, house.vault)
        before = await store.kept({each.key.command_id for each in batch}, {each.key.node_id for each in batch})
        stands = {each.key: before[each.key] for each in batch if each.key in before}
        for key in await _legitimate(tx, {each.key for each in batch} - stands.keys()):
            stands[key] = Kept(0)
        pieces: list[tuple[StreamKey, int, bytes]] = []
        for key, message, _ in batch:
            kept = stands.get(key)
            if kept is None:
                continue
            if kept.anew and message.offset == 0 and not message.data:
                await store.clear(key)
                pieces = [piece for piece in pieces if piece[0] != key]
                kept = Kept(0)
            if message.offset == kept.size and not kept.ended and not kept.full:
                kept = _grown(key, kept, message, most, pieces)
            stands[key] = kept
        await store.add(pieces)
        changed = {key: kept for key, kept in stands.items() if before.get(key) != kept}
        await store.save(changed)
        grown = {key.command_id for key in changed}

        def wake() -> None:
            for command_id in grown:
                house.bus.wake(GROWN, command_id)

        tx.after_commit(wake)
    return stands


def _grown(key: StreamKey, kept: Kept, message: _Output, most: int, pieces: list[tuple[StreamKey, int, bytes]]) -> Kept:
    if kept.size + len(message.data) > most:
        return kept._replace(full=True)
    if message.data:
        pieces.append((key, kept.size, message.data))
    return kept._replace(size=kept.size + len(message.data), ended=message.end)


async def _legitimate(tx: Transaction, keys: set[StreamKey]) -> set[StreamKey]:
    """Those that belong to an invocation on their node, and to a step of its document."""
    if not keys:
        return set()
    store = CommandStore(tx)
    commands = await store.commands({key.command_id for key in keys})
    found = set()
    for command_id, command in commands.items():
        steps = {step.name for step in command.steps}
        own = {key for key in keys if key.command_id == command_id and key.step in steps}
        known = await store.invocations(command_id, {key.node_id for key in own})
        found |= {key for key in own if key.node_id in known}
    return found


EXTENSION: Final = Extension(version=1, offer={"chunk": CHUNK, "window": _WINDOW}, messages={_OUTPUT: hear})
