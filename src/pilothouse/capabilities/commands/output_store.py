"""SQL of command_output and command_output_piece: what steps wrote on nodes, byte for byte, sealed."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from pilothouse.crypto.sealed import Sealed
from pilothouse.crypto.vault import Vault
from pilothouse.storage import Row, Transaction

_KEY: Final = ("command_id", "node_id", "step", "step_run", "stream")
_THIS: Final = " and ".join(f"{column} = :{column}" for column in _KEY)
_NODES: Final = 200


class StreamKey(NamedTuple):
    """One output stream of a step on a node."""

    command_id: str
    node_id: str
    step: str
    run: int
    """The place in a list of a schema 1.2 document, else 0."""
    stream: str
    """`stdout` or `stderr`"""


class Kept(NamedTuple):
    """How much of a stream there is."""

    size: int
    ended: bool = False
    full: bool = False
    """Nothing more of it is taken."""
    anew: bool = False
    """The step runs again: what is kept is from before a reboot."""


class OutputStore:
    """Output streams in one transaction."""

    def __init__(self, tx: Transaction, vault: Vault) -> None:
        self._tx = tx
        self._vault = vault

    async def kept(self, command_ids: Iterable[str], node_ids: Iterable[str]) -> dict[StreamKey, Kept]:
        """The streams of these commands on these nodes."""
        found = {}
        commands, nodes = sorted(set(command_ids)), sorted(set(node_ids))
        for start in range(0, len(nodes), _NODES):
            rows = await self._tx.rows(
                "select * from command_output where command_id in (:commands) and node_id in (:nodes)",
                commands=commands, nodes=nodes[start : start + _NODES],
            )  # fmt: skip
            found.update(dict(map(_kept, rows)))
        return found

    async def of_command(self, command_id: str) -> dict[StreamKey, Kept]:
        """Every stream of the command."""
        rows = await self._tx.rows("select * from command_output where command_id = :id", id=command_id)
        return dict(map(_kept, rows))

    async def save(self, streams: Mapping[StreamKey, Kept]) -> None:
        """How these streams stand now."""
        await self._tx.many(
            """insert into command_output
                 (command_id, node_id, step, step_run, stream, kept, ended, full_up, anew)
               values (:command_id, :node_id, :step, :step_run, :stream, :kept, :ended, :full_up, :anew)
               on conflict (command_id, node_id, step, step_run, stream) do update set kept = excluded.kept,
                 ended = excluded.ended, full_up = excluded.full_up, anew = excluded.anew""",
            [
                {
                    **_bound(key), "kept": kept.size, "ended": int(kept.ended), "full_up": int(kept.full),
                    "anew": int(kept.anew),
                }
                for key, kept in streams.items()
            ],
        )  # fmt: skip

    async def add(self, pieces: Sequence[tuple[StreamKey, int, bytes]]) -> None:
        """Pieces with the places where they begin. Raises Conflict for a place that is taken."""
        await self._tx.many(
            "insert into command_output_piece (command_id, node_id, step, step_run, stream, place, size, piece)"
            " values (:command_id, :node_id, :step, :step_run, :stream, :place, :size, :piece)",
            [
                {
                    **_bound(key), "place": place, "size": len(data),
                    "piece": self._vault.seal(data, _context({**_bound(key), "place": place})),
                }
                for key, place, data in pieces
            ],
        )  # fmt: skip

    async def clear(self, key: StreamKey) -> None:
        """Let go of what is kept of a stream that begins anew."""
        await self._tx.execute(f"delete from command_output_piece where {_THIS}", **_bound(key))  # noqa: S608

    async def begins_anew(self, command_id: str, node_id: str, step: str) -> None:
        """The step runs again after a reboot."""
        await self._tx.execute(
            "update command_output set anew = 1 where command_id = :command_id and node_id = :node_id and step = :step",
            command_id=command_id, node_id=node_id, step=step,
        )  # fmt: skip

    async def read(self, key: StreamKey, start: int, most: int) -> bytes:
        """Bytes from `start` on, up to `most`; what is not there (yet) is not given."""
        first = await self._tx.value(
            f"select max(place) from command_output_piece where {_THIS} and place <= :start",  # noqa: S608
            **_bound(key),
            start=start,
        )
        if first is None:
            return b""
        rows = await self._tx.rows(
            f"select place, piece from command_output_piece"  # noqa: S608
            f" where {_THIS} and place >= :first and place < :beyond order by place",
            **_bound(key), first=first, beyond=start + most,
        )  # fmt: skip
        data = b"".join([
            await self._vault.opened(bytes(row["piece"]), _context({**_bound(key), "place": row["place"]}))
            for row in rows
        ])  # fmt: skip
        return data[start - first : start - first + most]

    async def forget(self, command_id: str, node_ids: Sequence[str]) -> None:
        """Everything of the command on these nodes goes."""
        for table in ("command_output_piece", "command_output"):
            await self._tx.many(
                f"delete from {table} where command_id = :command_id and node_id = :node_id",  # noqa: S608
                [{"command_id": command_id, "node_id": node_id} for node_id in node_ids],
            )


def _bound(key: StreamKey) -> dict[str, Any]:
    return dict(zip(_KEY, key, strict=True))


def _kept(row: Row) -> tuple[StreamKey, Kept]:
    key = StreamKey(*(row[column] for column in _KEY))
    return key, Kept(row["kept"], bool(row["ended"]), bool(row["full_up"]), bool(row["anew"]))


def _context(row: Mapping[str, Any]) -> str:
    """A piece opens in its own place only."""
    return ":".join(["command-output", *(str(row[column]) for column in (*_KEY, "place"))])


SEALED: Final = Sealed(table="command_output_piece", keys=(*_KEY, "place"), column="piece", context=_context)
