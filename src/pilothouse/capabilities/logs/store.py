"""SQL of log_group, log_stream and log_chunk."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from pilothouse.capabilities.logs.model import MINUTE_MS, Chunk, Group, Stream, after_prefix, put_and_start
from pilothouse.storage import Row, Transaction

_ASKED: Final = 500
"""Ids that one question names."""
_GROUP: Final = (
    "group_id, account_id, region, name, class as kind, created_at, retention_days, protected, bytes as stored, "
    "kms_key, kms_blob, sealed_key"
)
_STREAM: Final = "stream_id, account_id, region, group_id, name, created_at, first_at, last_at, ingested_at"
_CHUNK: Final = "chunk_id, account_id, region, group_id, stream_id, ingested_at, first_at, last_at, bytes"


class LogStore:
    """The groups and streams of one account and region."""

    def __init__(self, tx: Transaction, account_id: str, region: str) -> None:
        self._tx = tx
        self._scope = {"account_id": account_id, "region": region}

    async def group(self, name: str) -> Group | None:
        """The group of that name."""
        row = await self._tx.row(
            f"select {_GROUP} from log_group where account_id = :account_id and region = :region and name = :name",  # noqa: S608
            **self._scope, name=name,
        )  # fmt: skip
        return None if row is None else _group(row)

    async def groups(self, after: str, prefix: str, most: int) -> list[Group]:
        """The next groups by name."""
        rows = await self._tx.rows(
            f"""select {_GROUP} from log_group where account_id = :account_id and region = :region
                and name > :after and name >= :prefix and name < :beyond order by name limit :most""",  # noqa: S608
            **self._scope, after=after, prefix=prefix, beyond=after_prefix(prefix), most=most,
        )  # fmt: skip
        return [_group(row) for row in rows]

    async def add_group(self, group: Group) -> bool:
        """A new group; False if its name is taken."""
        return bool(
            await self._tx.execute(
                """insert into log_group (group_id, account_id, region, name, class, created_at, retention_days,
                     protected, bytes, kms_key, kms_blob, sealed_key)
                   values (:group_id, :account_id, :region, :name, :kind, :created_at, :retention_days, :protected, 0,
                     :kms_key, :kms_blob, :sealed_key)
                   on conflict (account_id, region, name) do nothing""",
                group_id=group.group_id, **self._scope, name=group.name, kind=group.kind,
                created_at=group.created_at, retention_days=group.retention_days, protected=int(group.protected),
                kms_key=group.kms_key, kms_blob=group.kms_blob, sealed_key=group.sealed_key,
            )
        )  # fmt: skip

    async def change_group(self, name: str, **columns: Any) -> bool:
        """Set columns (named by our own code); False if there is no such group."""
        return bool(
            await self._tx.execute(
                f"""update log_group set {", ".join(f"{column} = :{column}" for column in columns)}
                    where account_id = :account_id and region = :region and name = :name""",  # noqa: S608
                **self._scope, name=name, **columns,
            )
        )  # fmt: skip

    async def remove_group(self, group: Group) -> bool:
        """A group; a job removes what is in it. Waits for those who put events into it. False if it is gone."""
        gone = await self._tx.execute("delete from log_group where group_id = :group_id", group_id=group.group_id)
        if gone:
            await self._note_removed(group.group_id)
        return bool(gone)

    async def stream(self, group_id: str, name: str) -> Stream | None:
        """The stream of that name."""
        row = await self._tx.row(
            f"select {_STREAM} from log_stream where group_id = :group_id and name = :name",  # noqa: S608
            group_id=group_id, name=name,
        )  # fmt: skip
        return None if row is None else Stream(**row)

    async def streams_named(self, group_id: str, names: Sequence[str]) -> list[Stream]:
        """Those of the names that there are."""
        rows = await self._tx.rows(
            f"select {_STREAM} from log_stream where group_id = :group_id and name in (:names)",  # noqa: S608
            group_id=group_id, names=list(names),
        )  # fmt: skip
        return [Stream(**row) for row in rows]

    async def names(self, stream_ids: Sequence[str]) -> dict[str, str]:
        """Stream id to name, of those that there are."""
        found: dict[str, str] = {}
        for some in _parts(stream_ids):
            rows = await self._tx.rows(
                "select stream_id, name from log_stream where stream_id in (:stream_ids)", stream_ids=list(some)
            )
            found |= {row["stream_id"]: row["name"] for row in rows}
        return found

    async def streams(
        self, group_id: str, prefix: str, after: str | None, most: int, *, descending: bool
    ) -> list[Stream]:
        """The next streams by name."""
        past, order = ("<", "desc") if descending else (">", "asc")
        passed = "" if after is None else f"and name {past} :after"
        rows = await self._tx.rows(
            f"""select {_STREAM} from log_stream where group_id = :group_id and name >= :prefix and name < :beyond
                {passed} order by name {order} limit :most""",  # noqa: S608
            group_id=group_id, prefix=prefix, beyond=after_prefix(prefix), after=after or "", most=most,
        )  # fmt: skip
        return [Stream(**row) for row in rows]

    async def streams_by_time(
        self, group_id: str, after: tuple[int, str] | None, most: int, *, descending: bool
    ) -> list[Stream]:
        """The next streams by the time of their last event; those without one come as if it were the oldest."""
        past, order = ("<", "desc") if descending else (">", "asc")
        passed = "" if after is None else f"and (last_at, name) {past} (:last_at, :after)"
        last_at, name = after or (0, "")
        rows = await self._tx.rows(
            f"""select {_STREAM} from log_stream where group_id = :group_id {passed}
                order by last_at {order}, name {order} limit :most""",  # noqa: S608
            group_id=group_id, last_at=last_at, after=name, most=most,
        )  # fmt: skip
        return [Stream(**row) for row in rows]

    async def add_stream(self, stream: Stream) -> bool:
        """A new stream; False if its name is taken."""
        return bool(
            await self._tx.execute(
                """insert into log_stream (stream_id, account_id, region, group_id, name, created_at, first_at, last_at,
                     ingested_at, bytes)
                   values (:stream_id, :account_id, :region, :group_id, :name, :created_at, 0, 0, 0, 0)
                   on conflict (group_id, name) do nothing""",
                stream_id=stream.stream_id, **self._scope, group_id=stream.group_id, name=stream.name,
                created_at=stream.created_at,
            )
        )  # fmt: skip

    async def remove_stream(self, stream: Stream) -> bool:
        """A stream; its group has its bytes less at once, and a job removes its events. False if it is gone."""
        stored = await self._tx.value(
            "delete from log_stream where stream_id = :stream_id returning bytes", stream_id=stream.stream_id
        )
        if stored is None:
            return False
        await self._tx.execute(
            "update log_group set bytes = bytes - :stored where group_id = :group_id",
            group_id=stream.group_id, stored=stored,
        )  # fmt: skip
        await self._note_removed(stream.stream_id)
        return True

    async def _note_removed(self, removed_id: str) -> None:
        await self._tx.execute(
            "insert into log_removed (removed_id, account_id, region) values (:removed_id, :account_id, :region)",
            **self._scope, removed_id=removed_id,
        )  # fmt: skip


class ChunkStore:
    """Chunks of every account: writing them for many callers at once, and finding them by time."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def grow_streams(self, grown: Sequence[Mapping[str, Any]]) -> set[str]:
        """Count events: `stream_id`, `first_at`, `last_at`, `ingested_at`, `stored` of each, by id. Those that there
        are; they stay until the transaction ends."""
        await self._tx.many(
            """update log_stream set
                 first_at = case when first_at = 0 or first_at > :first_at then :first_at else first_at end,
                 last_at = case when last_at < :last_at then :last_at else last_at end,
                 ingested_at = case when ingested_at < :ingested_at then :ingested_at else ingested_at end,
                 bytes = bytes + :stored
               where stream_id = :stream_id""",
            grown,
        )
        ids = [each["stream_id"] for each in grown]
        rows = await self._tx.rows("select stream_id from log_stream where stream_id in (:ids)", ids=ids)
        return {row["stream_id"] for row in rows}

    async def grow_groups(self, grown: Mapping[str, int]) -> set[str]:
        """Count bytes by group id. Those that there are; they stay until the transaction ends."""
        await self._tx.many(
            "update log_group set bytes = bytes + :stored where group_id = :group_id",
            [{"group_id": group_id, "stored": grown[group_id]} for group_id in sorted(grown)],
        )
        rows = await self._tx.rows("select group_id from log_group where group_id in (:ids)", ids=list(grown))
        return {row["group_id"] for row in rows}

    async def have(self, chunk_ids: Sequence[str]) -> set[str]:
        """Those that there are already."""
        found: set[str] = set()
        for some in _parts(chunk_ids):
            rows = await self._tx.rows(
                "select chunk_id from log_chunk where chunk_id in (:chunk_ids)", chunk_ids=list(some)
            )
            found |= {row["chunk_id"] for row in rows}
        return found

    async def add(self, chunks: Sequence[tuple[Chunk, bytes]]) -> None:
        """Chunks with their sealed bodies; one that is there already stays as it is."""
        await self._tx.many(
            """insert into log_chunk (chunk_id, account_id, region, group_id, stream_id, ingested_at, first_at, last_at,
                 bytes, body)
               values (:chunk_id, :account_id, :region, :group_id, :stream_id, :ingested_at, :first_at, :last_at,
                 :bytes, :body)
               on conflict (chunk_id) do nothing""",
            [_values(chunk) | {"body": body} for chunk, body in chunks],
        )

    async def near(self, reach: "Reach", at: int, most: int, *, backward: bool) -> list[Chunk]:
        """The next chunks by the beginning of their times: from the minute of `at` on, or from `at` back."""
        order, border = ("desc", "first_at <= :at") if backward else ("asc", "first_at >= :at")
        rows = await self._tx.rows(
            f"""select {_CHUNK} from log_chunk where {reach.where} and {border} and first_at < :end
                and first_at >= :start order by first_at {order} limit :most""",  # noqa: S608
            **reach.values, at=at if backward else at - at % MINUTE_MS, most=most, end=reach.end,
            start=reach.start - reach.start % MINUTE_MS,
        )  # fmt: skip
        return [_chunk(row) for row in rows]

    async def minute(self, reach: "Reach", at: int) -> list[Chunk]:
        """Every chunk of one minute."""
        rows = await self._tx.rows(
            f"""select {_CHUNK} from log_chunk where {reach.where} and first_at >= :start and first_at < :end""",  # noqa: S608
            **reach.values, start=at - at % MINUTE_MS, end=at - at % MINUTE_MS + MINUTE_MS,
        )  # fmt: skip
        return [_chunk(row) for row in rows]

    async def bodies(self, chunk_ids: Sequence[str]) -> dict[str, bytes]:
        """Chunk id to sealed body, of those that are still there."""
        rows = await self._tx.rows(
            "select chunk_id, body from log_chunk where chunk_id in (:chunk_ids)", chunk_ids=list(chunk_ids)
        )
        return {row["chunk_id"]: bytes(row["body"]) for row in rows}

    async def ingested(self, group_id: str, since: int, most: int) -> list[Chunk]:
        """Chunks of a group that came at a time or later, the newest first."""
        rows = await self._tx.rows(
            f"""select {_CHUNK} from log_chunk where group_id = :group_id and ingested_at >= :since
                order by ingested_at desc limit :most""",  # noqa: S608
            group_id=group_id, since=since, most=most,
        )  # fmt: skip
        return [_chunk(row) for row in rows]


class Reach:
    """What a reading is about: a stream, a whole group, or some streams of it; and from when to when."""

    def __init__(self, where: str, start: int, end: int, **values: Any) -> None:
        """`where` is written by our own code. `end` is exclusive."""
        self.where, self.start, self.end, self.values = where, start, end, values

    @classmethod
    def of_stream(cls, stream_id: str, start: int, end: int) -> "Reach":
        return cls("stream_id = :stream_id", start, end, stream_id=stream_id)

    @classmethod
    def of_group(cls, group_id: str, start: int, end: int) -> "Reach":
        return cls("group_id = :group_id", start, end, group_id=group_id)

    @classmethod
    def of_streams(cls, group_id: str, stream_ids: Sequence[str], start: int, end: int) -> "Reach":
        where = "group_id = :group_id and stream_id in (:stream_ids)"
        return cls(where, start, end, group_id=group_id, stream_ids=list(stream_ids))

    @classmethod
    def of_prefix(cls, group_id: str, prefix: str, start: int, end: int) -> "Reach":
        """Streams whose names begin so, also those that come later."""
        where = """group_id = :group_id and stream_id in (
            select stream_id from log_stream where group_id = :group_id and name >= :prefix and name < :beyond)"""
        return cls(where, start, end, group_id=group_id, prefix=prefix, beyond=after_prefix(prefix))


async def expiring(tx: Transaction) -> list[Group]:
    """Groups of all accounts that do not keep their events for ever."""
    rows = await tx.rows(f"select {_GROUP} from log_group where retention_days > 0")  # noqa: S608
    return [_group(row) for row in rows]


async def expired(tx: Transaction, group_id: str, before: int, most: int) -> list[Chunk]:
    """Chunks of which every event is older."""
    rows = await tx.rows(
        f"""select {_CHUNK} from log_chunk where group_id = :group_id and first_at < :minute
            order by first_at limit :most""",  # noqa: S608
        group_id=group_id, minute=before - before % MINUTE_MS, most=most,
    )  # fmt: skip
    return [_chunk(row) for row in rows]


async def remove_chunks(tx: Transaction, chunks: Sequence[Chunk]) -> None:
    """Remove chunks of one group; it and their streams have so many bytes less, and begin later."""
    less: dict[str, int] = {}
    for chunk in chunks:
        less[chunk.stream_id] = less.get(chunk.stream_id, 0) + chunk.stored
    await tx.execute(
        "delete from log_chunk where chunk_id in (:chunk_ids)", chunk_ids=[chunk.chunk_id for chunk in chunks]
    )
    await tx.many(
        """update log_stream set bytes = bytes - :stored, first_at = coalesce(
             (select min(log_chunk.first_at) from log_chunk where log_chunk.stream_id = :stream_id), last_at)
           where stream_id = :stream_id""",
        [{"stream_id": stream_id, "stored": less[stream_id]} for stream_id in sorted(less)],
    )
    await tx.execute(
        "update log_group set bytes = bytes - :stored where group_id = :group_id",
        group_id=chunks[0].group_id, stored=sum(less.values()),
    )  # fmt: skip


async def removed(tx: Transaction, most: int) -> list[str]:
    """Ids of groups and streams that are gone and may have something left."""
    rows = await tx.rows("select removed_id from log_removed order by removed_id limit :most", most=most)
    return [row["removed_id"] for row in rows]


async def remove_some(tx: Transaction, removed_id: str, most: int) -> bool:
    """Remove up to so many chunks or streams of what is gone; False once nothing is left."""
    for table, key, of in (
        ("log_chunk", "chunk_id", "group_id"),
        ("log_chunk", "chunk_id", "stream_id"),
        ("log_stream", "stream_id", "group_id"),
    ):
        gone = await tx.execute(
            f"delete from {table} where {key} in (select {key} from {table} where {of} = :removed_id limit :most)",  # noqa: S608
            removed_id=removed_id, most=most,
        )  # fmt: skip
        if gone:
            return True
    await tx.execute("delete from log_removed where removed_id = :removed_id", removed_id=removed_id)
    return False


def _parts(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    return (ids[start : start + _ASKED] for start in range(0, len(ids), _ASKED))


def _values(chunk: Chunk) -> dict[str, Any]:
    return {
        "chunk_id": chunk.chunk_id, "account_id": chunk.account_id, "region": chunk.region, "group_id": chunk.group_id,
        "stream_id": chunk.stream_id, "ingested_at": chunk.ingested_at, "first_at": chunk.first_at,
        "last_at": chunk.last_at, "bytes": chunk.stored,
    }  # fmt: skip


def _chunk(row: Row) -> Chunk:
    put, start = put_and_start(row["chunk_id"])
    return Chunk(
        account_id=row["account_id"], region=row["region"], group_id=row["group_id"], stream_id=row["stream_id"],
        put=put, start=start, ingested_at=row["ingested_at"], first_at=row["first_at"], last_at=row["last_at"],
        stored=row["bytes"],
    )  # fmt: skip


def _group(row: Row) -> Group:
    values = dict(row)
    for name in ("kms_blob", "sealed_key"):
        values[name] = None if values[name] is None else bytes(values[name])
    return Group(**{**values, "protected": bool(values["protected"])})
