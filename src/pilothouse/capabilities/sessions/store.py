"""SQL of session and session_token."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Final

from pilothouse.capabilities.sessions.model import Session, Status
from pilothouse.gateway.session_keeper import Role
from pilothouse.storage import Row, Transaction

_FIELDS: Final = tuple(each.name for each in fields(Session))
_FLAGS: Final = frozenset(
    {"completed", "client_seen", "agent_seen", "pausable", "may_be_raw", "settled", "input_taped"}
)
_DERIVED: Final = ("closed", "due_at")
_COLUMNS: Final = (*_FIELDS, *_DERIVED)
_INSERT: Final = f"insert into session ({', '.join(_COLUMNS)}) values ({', '.join(f':{name}' for name in _COLUMNS)})"  # noqa: S608
_CONSTANT: Final = frozenset({"session_id", "account_id", "region", "bytes_sent", "bytes_received", "active_at",
                              "next_output", "next_input", "tape_bytes", "tape_sha256", "settled"})  # fmt: skip
"""What `save` leaves as it is: it never changes, or is counted up by itself."""
_SAVED: Final = tuple(name for name in _COLUMNS if name not in _CONSTANT)
_UPDATE: Final = (
    f"update session set {', '.join(f'{name} = :{name}' for name in _SAVED)} where session_id = :session_id"  # noqa: S608
)


def _bound(session: Session, columns: Sequence[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name in columns:
        value = session.is_closed if name == "closed" else getattr(session, name)
        if isinstance(value, Status):
            value = value.value
        values[name] = int(value) if isinstance(value, bool) else value
    return values


def session_of(row: Row) -> Session:
    """The session in a row of all columns."""
    values = {name: row[name] for name in _FIELDS}
    values["status"] = Status(values["status"])
    values.update({name: bool(values[name]) for name in _FLAGS})
    return Session(**values)


class SessionStore:
    """Sessions in one transaction."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def lock(self, session_id: str) -> None:
        """The session stays as it is until the transaction ends, but for what it does itself."""
        await self._tx.lock("session", session_id)

    async def add(self, session: Session) -> None:
        await self._tx.execute(_INSERT, **_bound(session, _COLUMNS))

    async def find(self, session_id: str) -> Session | None:
        row = await self._tx.row("select * from session where session_id = :id", id=session_id)
        return None if row is None else session_of(row)

    async def held(self, session_id: str) -> Session | None:
        """The session, locked."""
        await self.lock(session_id)
        return await self.find(session_id)

    async def of_account(self, account_id: str, region: str, session_id: str) -> Session | None:
        """The session, if it is the account's in the region."""
        found = await self.find(session_id)
        return found if found is not None and (found.account_id, found.region) == (account_id, region) else None

    async def save(self, session: Session) -> None:
        """Write everything but what is counted."""
        await self._tx.execute(_UPDATE, **_bound(session, (*_SAVED, "session_id")))

    async def several(self, session_ids: Sequence[str]) -> list[Session]:
        found: list[Session] = []
        for start in range(0, len(session_ids), 200):
            part = list(session_ids[start : start + 200])
            rows = await self._tx.rows("select * from session where session_id in (:ids)", ids=part)
            found += map(session_of, rows)
        return found

    async def due(self, now: int, limit: int) -> list[str]:
        rows = await self._tx.rows(
            "select session_id from session where due_at <= :now order by due_at limit :limit", now=now, limit=limit
        )
        return [row["session_id"] for row in rows]

    async def postpone(self, session_id: str, due_at: int) -> None:
        """Look at it again then."""
        await self._tx.execute("update session set due_at = :at where session_id = :id", at=due_at, id=session_id)

    async def on_node(self, node_id: str) -> list[Session]:
        """Those that the node has not said to be over."""
        rows = await self._tx.rows("select * from session where completed = 0 and node_id = :node", node=node_id)
        return [session_of(row) for row in rows]

    async def to_tell(self, node_id: str, channel_id: str) -> list[str]:
        """Those whose beginning, or end, the node is to be told on this channel; one whose agent never came is told of
        again on a newer channel."""
        rows = await self._tx.rows(
            "select session_id from session where completed = 0 and node_id = :node and ("
            " (status in ('Terminating', 'Terminated', 'Failed') and (end_told_on is null or end_told_on <> :channel))"
            " or (status not in ('Terminating', 'Terminated', 'Failed') and agent_seen = 0"
            " and (told_on is null or told_on <> :channel)))",
            node=node_id, channel=channel_id,
        )  # fmt: skip
        return [row["session_id"] for row in rows]

    async def nodes_to_tell(self) -> list[str]:
        rows = await self._tx.rows(
            "select distinct node_id from session where completed = 0 and ((status = 'Connecting' and told_on is null)"
            " or (status in ('Terminating', 'Terminated', 'Failed') and end_told_on is null))"
        )
        return [row["node_id"] for row in rows]

    async def on_process(self, process_id: str) -> list[str]:
        """Those with an end on the process."""
        rows = await self._tx.rows(
            "select session_id from session where completed = 0 and (client_process = :p or agent_process = :p)",
            p=process_id,
        )
        return [row["session_id"] for row in rows]

    async def processes(self) -> list[str]:
        """Those that have an end of a session."""
        rows = await self._tx.rows(
            "select distinct client_process as p from session where completed = 0 and client_process is not null"
            " union select distinct agent_process from session where completed = 0 and agent_process is not null"
        )
        return [row["p"] for row in rows]

    async def count_use(self, uses: Sequence[Mapping[str, Any]]) -> None:
        """Bytes, and when something other than upkeep went through."""
        await self._tx.many(
            "update session set bytes_sent = bytes_sent + :sent, bytes_received = bytes_received + :received,"
            " active_at = case when :at > active_at then :at else active_at end where session_id = :id",
            uses,
        )

    async def settle(self, session_id: str) -> None:
        await self._tx.execute("update session set settled = 1 where session_id = :id", id=session_id)

    # Tokens

    async def add_token(
        self, token_hash: str, session_id: str, role: str, expires_at: int, viewer: bytes | None = None
    ) -> None:
        """Those of the same end before it are good no more; of those who look on each has their own."""
        if role in ("client", "agent"):
            await self.drop_tokens(session_id, role)
        await self._tx.execute(
            "insert into session_token (token_hash, session_id, role, expires_at, viewer)"
            " values (:hash, :id, :role, :at, :viewer)",
            hash=token_hash, id=session_id, role=role, at=expires_at, viewer=viewer,
        )  # fmt: skip

    async def drop_tokens(self, session_id: str, role: str | None = None) -> None:
        await self._tx.execute(
            f"delete from session_token where session_id = :id{' and role = :role' if role else ''}",  # noqa: S608
            id=session_id, **({"role": role} if role else {}),
        )  # fmt: skip

    async def use_token(self, token_hash: str, session_id: str, now: int) -> tuple[Role, bytes | None] | None:
        """The role of a good token, which is good no more, with the sealed viewer; None for one that was not."""
        row = await self._tx.row(
            "select role, viewer from session_token where token_hash = :hash and session_id = :id"
            " and expires_at > :now",
            hash=token_hash, id=session_id, now=now,
        )  # fmt: skip
        used = await self._tx.execute(
            "delete from session_token where token_hash = :hash and session_id = :id", hash=token_hash, id=session_id
        )
        if row is None or not used:
            return None
        return row["role"], None if row["viewer"] is None else bytes(row["viewer"])

    # History

    async def forget_tokens(self, now: int) -> None:
        await self._tx.execute("delete from session_token where expires_at < :now", now=now)

    async def complete_old(self, before: int) -> None:
        """Nodes are asked no more about sessions that ended before."""
        await self._tx.execute(
            "update session set completed = 1 where completed = 0 and closed = 1 and ended_at < :before", before=before
        )

    async def ended_before(self, before: int, limit: int) -> list[str]:
        rows = await self._tx.rows(
            "select session_id from session where closed = 1 and ended_at < :before order by ended_at limit :limit",
            before=before, limit=limit,
        )  # fmt: skip
        return [row["session_id"] for row in rows]

    async def of_access(self, account_id: str, access_request: str) -> list[str]:
        """Those that go on and were started by the access."""
        rows = await self._tx.rows(
            "select session_id from session where completed = 0 and closed = 0 and access_request = :request"
            " and account_id = :account_id",
            request=access_request, account_id=account_id,
        )  # fmt: skip
        return [row["session_id"] for row in rows]

    async def owners(self) -> list[Row]:
        """Who began the sessions that go on: account, user id, access key; each once."""
        return await self._tx.rows(
            "select distinct account_id, owner_id, owner_key from session where completed = 0 and closed = 0"
        )

    async def of_owner(self, account_id: str, owner_id: str, owner_key: str) -> list[str]:
        rows = await self._tx.rows(
            "select session_id from session where completed = 0 and closed = 0 and account_id = :account_id"
            " and owner_id = :owner_id and owner_key = :owner_key",
            account_id=account_id, owner_id=owner_id, owner_key=owner_key,
        )  # fmt: skip
        return [row["session_id"] for row in rows]

    async def to_deliver(self, limit: int) -> list[Session]:
        """Ended sessions whose transcripts are not delivered, but whole."""
        rows = await self._tx.rows(
            "select * from session where closed = 1 and delivery > '' and (tape_sha256 is not null or tape_bytes = 0)"
            " and not exists (select 1 from session_held h where h.session_id = session.session_id)"
            " order by ended_at limit :limit",
            limit=limit,
        )
        return [session_of(row) for row in rows]

    async def to_pack(self, limit: int) -> list[Session]:
        """Ended sessions whose recordings are not packed."""
        rows = await self._tx.rows(
            "select * from session where closed = 1 and tape_sha256 is null and (tape_bytes > 0 or masks > '' and"
            " exists (select 1 from session_held h where h.session_id = session.session_id))"
            " order by ended_at limit :limit",
            limit=limit,
        )
        return [session_of(row) for row in rows]

    async def packed(self, session_id: str, sha256: str) -> None:
        """Its recording is packed, and has this hash."""
        await self._tx.execute(
            "update session set tape_sha256 = :sha256 where session_id = :id", sha256=sha256, id=session_id
        )

    async def remove(self, session_ids: Sequence[str]) -> None:
        for table in ("session_token", "session_tape", "session_held", "session_stream", "session"):
            await self._tx.execute(f"delete from {table} where session_id in (:ids)", ids=list(session_ids))  # noqa: S608


async def listed(
    tx: Transaction, account_id: str, region: str, *, closed: bool | None, equal: Sequence[tuple[str, str]],
    after: int | None, before: int | None, position: tuple[int, str] | None, limit: int,
) -> list[Session]:  # fmt: skip
    """Sessions of an account, newest first, from behind the position on. `equal`: columns with their values."""
    where = ["account_id = :account_id", "region = :region"]
    values: dict[str, Any] = {"account_id": account_id, "region": region, "limit": limit}
    if closed is not None:
        where.append("closed = :closed")
        values["closed"] = int(closed)
    for number, (column, value) in enumerate(equal):
        where.append(f"{column} = :equal{number}")
        values[f"equal{number}"] = value
    if after is not None:
        where.append("started_at > :after")
        values["after"] = after
    if before is not None:
        where.append("started_at < :before")
        values["before"] = before
    if position is not None:
        where.append("(started_at < :at or (started_at = :at and session_id < :id))")
        values |= {"at": position[0], "id": position[1]}
    rows = await tx.rows(
        f"select * from session where {' and '.join(where)} order by started_at desc, session_id desc limit :limit",  # noqa: S608
        **values,
    )
    return [session_of(row) for row in rows]
