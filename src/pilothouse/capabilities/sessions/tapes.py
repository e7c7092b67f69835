"""SQL of session_tape, session_held and session_stream: what is recorded of sessions, in sealed pieces of an
asciicast's lines, and what becomes of it.

A piece has the place of its first byte among all lines. While a session goes on each batch adds a piece; later they are
packed into few large ones. Up to which number output and input are recorded stands in the session, and changes with the
piece.
"""

import zlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import msgspec

from pilothouse.crypto.sealed import Sealed
from pilothouse.crypto.vault import Vault
from pilothouse.gateway.session_keeper import Tape, TapeEvent
from pilothouse.gateway.session_messages import read_size
from pilothouse.storage import Row, Transaction

_encode: Final = msgspec.json.Encoder().encode
_COUNT: Final = """update session set tape_bytes = tape_bytes + :size,
  next_output = case when :output > next_output then :output else next_output end,
  next_input = case when :input > next_input then :input else next_input end
where session_id = :id"""
_ADD: Final = """insert into session_tape (session_id, place, size, packed, piece)
values (:id, :place, :size, :packed, :piece)"""
PACKED: Final = 256 << 10
"""Bytes of lines in a large piece."""
MOST_SIZE: Final = 10_000
"""Columns or rows of a terminal; what claims more is not recorded."""


@dataclass(slots=True)
class _Piece:
    lines: list[bytes] = field(default_factory=list)
    output: int = 0
    input: int = 0


class TapeStore:
    """Recordings in one transaction."""

    def __init__(self, tx: Transaction, vault: Vault) -> None:
        self._tx = tx
        self._vault = vault

    async def lock(self, session_ids: Sequence[str]) -> None:
        """Whoever else records these sessions waits; the ids are in order."""
        await self._tx.many(
            "update session set tape_bytes = tape_bytes where session_id = :id", [{"id": each} for each in session_ids]
        )

    async def held(self, session_id: str) -> dict[str, bytes]:
        """By kind of event the end of what came that is not recorded yet: it may be the beginning of a value."""
        held = await self._tx.value("select held from session_held where session_id = :id", id=session_id)
        if held is None:
            return {}
        return _read_held(await self._vault.opened(bytes(held), _held_context({"session_id": session_id})))

    async def hold(self, session_id: str, held: Mapping[str, bytes]) -> None:
        """Keep these ends beside the recording."""
        some = {kind: data for kind, data in held.items() if data}
        if not some:
            await self._tx.execute("delete from session_held where session_id = :id", id=session_id)
            return
        sealed = self._vault.seal(msgspec.msgpack.encode(some), _held_context({"session_id": session_id}))
        await self._tx.execute(
            "insert into session_held (session_id, held) values (:id, :held)"
            " on conflict (session_id) do update set held = excluded.held",
            id=session_id, held=sealed,
        )  # fmt: skip

    async def add(self, tapes: Sequence[Tape]) -> None:
        """Add what came: a piece for each session, all in a few statements.

        The sessions' rows change first, in the order of their ids: whoever else records the same session waits.
        """
        gathered: dict[str, _Piece] = {}
        for tape in tapes:
            piece = gathered.setdefault(tape.terms.session_id, _Piece())
            piece.lines += [line(event, tape.terms.began_at) for event in tape.events]
            piece.output, piece.input = max(piece.output, tape.next_output), max(piece.input, tape.next_input)
        ids = sorted(gathered)
        texts = {each: b"".join(gathered[each].lines) for each in ids}
        await self._tx.many(_COUNT, [
            {"id": each, "output": gathered[each].output, "input": gathered[each].input, "size": len(texts[each])}
            for each in ids
        ])  # fmt: skip
        pieces = []
        for start in range(0, len(ids), 200):
            part = [each for each in ids[start : start + 200] if texts[each]]
            if part:
                rows = await self._tx.rows(
                    "select session_id, tape_bytes from session where session_id in (:ids)", ids=part
                )
                pieces += [
                    self._bound(row["session_id"], row["tape_bytes"] - len(texts[row["session_id"]]), 0,
                                texts[row["session_id"]])
                    for row in rows
                ]  # fmt: skip
        await self._tx.many(_ADD, pieces)

    async def read(self, session_id: str, start: int, most: int) -> bytes:
        """Bytes of the lines from `start` on, up to `most`; what is not there (yet) is not given."""
        first = await self._tx.value(
            "select max(place) from session_tape where session_id = :id and place <= :start", id=session_id, start=start
        )
        if first is None:
            return b""
        rows = await self._tx.rows(
            "select session_id, place, packed, piece from session_tape"
            " where session_id = :id and place >= :first and place < :beyond order by place",
            id=session_id, first=first, beyond=start + most,
        )  # fmt: skip
        data = b"".join([await self._opened(row) for row in rows])
        return data[start - first : start - first + most]

    async def pack(self, session_id: str, start: int) -> int:
        """Make one large piece of the small ones from the place `start` on; the place behind it, `start` if none is."""
        rows = await self._tx.rows(
            "select session_id, place, size, packed from session_tape"
            " where session_id = :id and place >= :start order by place limit 1000",
            id=session_id, start=start,
        )  # fmt: skip
        if not rows:
            return start
        if rows[0]["packed"]:
            return int(rows[0]["place"] + rows[0]["size"])
        size, last = 0, rows[0]["place"]
        for row in rows:
            if row["packed"] or (size and size + row["size"] > PACKED):
                break
            size, last = size + row["size"], row["place"]
        lines = await self.read(session_id, start, size)
        await self._tx.execute(
            "delete from session_tape where session_id = :id and place >= :start and place <= :last",
            id=session_id, start=start, last=last,
        )  # fmt: skip
        await self._tx.many(_ADD, [self._bound(session_id, start, 1, lines)])
        return start + size

    def _bound(self, session_id: str, place: int, packed: int, lines: bytes) -> dict[str, Any]:
        content = zlib.compress(lines, 6) if packed else lines
        context = _context({"session_id": session_id, "place": place, "packed": packed})
        return {
            "id": session_id, "place": place, "size": len(lines), "packed": packed,
            "piece": self._vault.seal(content, context),
        }  # fmt: skip

    async def _opened(self, row: Row) -> bytes:
        content = await self._vault.opened(bytes(row["piece"]), _context(row))
        return zlib.decompress(content) if row["packed"] else content


class Streamed(NamedTuple):
    """How far a transcript has come that goes out while its session goes on."""

    place: int
    upto: int
    at: float
    """The second at which the line began that has no end yet."""
    held: str
    """That line."""


class StreamStore:
    """Transcripts on their way in one transaction."""

    def __init__(self, tx: Transaction, vault: Vault) -> None:
        self._tx = tx
        self._vault = vault

    async def begin(self, session_id: str) -> None:
        """The transcript goes out from now on, unless it does already."""
        await self._tx.execute(
            "insert into session_stream (session_id, place, upto, state) values (:id, 0, 0, :state)"
            " on conflict (session_id) do nothing",
            id=session_id, state=self._sealed(session_id, 0.0, ""),
        )  # fmt: skip

    async def waiting(self, limit: int) -> list[str]:
        """Sessions that go on and of which more is recorded than went out."""
        rows = await self._tx.rows(
            "select t.session_id from session_stream t join session s on s.session_id = t.session_id"
            " where s.closed = 0 and s.tape_bytes > t.place order by t.session_id limit :limit",
            limit=limit,
        )
        return [row["session_id"] for row in rows]

    async def find(self, session_id: str) -> Streamed | None:
        row = await self._tx.row("select * from session_stream where session_id = :id", id=session_id)
        if row is None:
            return None
        at, held = _read_state(await self._vault.opened(bytes(row["state"]), _stream_context(row)))
        return Streamed(row["place"], row["upto"], at, held)

    async def promise(self, session_id: str, place: int, upto: int) -> None:
        """What lies between goes out next, whoever does it."""
        await self._tx.execute(
            "update session_stream set upto = :upto where session_id = :id and place = :place and upto = :place",
            id=session_id, place=place, upto=upto,
        )  # fmt: skip

    async def went(self, session_id: str, place: int, upto: int, at: float, held: str) -> None:
        """It went out."""
        await self._tx.execute(
            "update session_stream set place = :upto, state = :state where session_id = :id and place = :place",
            id=session_id, place=place, upto=upto, state=self._sealed(session_id, at, held),
        )  # fmt: skip

    async def end(self, session_id: str) -> None:
        await self._tx.execute("delete from session_stream where session_id = :id", id=session_id)

    def _sealed(self, session_id: str, at: float, held: str) -> bytes:
        return self._vault.seal(msgspec.msgpack.encode((at, held)), _stream_context({"session_id": session_id}))


async def lines_of(tapes: TapeStore, session_id: str, size: int) -> AsyncIterator[bytes]:
    """All whole lines of a recording, many at a time."""
    place, held = 0, b""
    while place < size:
        data = await tapes.read(session_id, place, PACKED)
        if not data:
            return
        place += len(data)
        whole, _, held = (held + data).rpartition(b"\n")
        yield whole + b"\n"


def line(event: TapeEvent, began_at: int) -> bytes:
    """An event as a line of an asciicast; what is no UTF-8 is replaced in it. Empty for what cannot be one."""
    if event.kind == "r":
        try:
            size = read_size(event.data)
        except (msgspec.MsgspecError, RecursionError):
            return b""
        if not (0 < size.columns <= MOST_SIZE and 0 < size.rows <= MOST_SIZE):
            return b""
        text = f"{size.columns}x{size.rows}"
    else:
        text = event.data.decode("utf-8", "replace")
    return _encode([max(0, event.at_ms - began_at) / 1000, event.kind, text]) + b"\n"


def _context(row: Mapping[str, Any]) -> str:
    """A piece opens in its own place only."""
    return f"session-tape:{row['session_id']}:{row['place']}:{row['packed']}"


def _held_context(row: Mapping[str, Any]) -> str:
    return f"session-held:{row['session_id']}"


_read_held: Final = msgspec.msgpack.Decoder(dict[str, bytes]).decode


def _stream_context(row: Mapping[str, Any]) -> str:
    return f"session-stream:{row['session_id']}"


_read_state: Final = msgspec.msgpack.Decoder(tuple[float, str]).decode
SEALED_STREAM: Final = Sealed(table="session_stream", keys=("session_id",), column="state", context=_stream_context)
SEALED_HELD: Final = Sealed(table="session_held", keys=("session_id",), column="held", context=_held_context)
SEALED: Final = Sealed(
    table="session_tape", keys=("session_id", "place"), column="piece", context=_context, reads=("packed",)
)
