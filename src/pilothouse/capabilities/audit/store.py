"""The tables of the trail: audit_record, audit_name, audit_key, audit_chain, audit_sink."""

import hmac
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain as chained
from operator import attrgetter

import msgspec

from pilothouse.capabilities.audit.model import Chain, Record
from pilothouse.storage import Row, Transaction

_FIELDS = (
    "event_id", "account_id", "region", "at", "event_source", "event_name", "username", "access_key_id", "read_only",
    "names", "body", "mac", "seq", "link",
)  # fmt: skip
_NAME_FIELDS = ("account_id", "region", "name", "at", "event_id")
_values_of = attrgetter(*_FIELDS)
_list_of_texts = msgspec.json.Decoder(list[str]).decode
_COLUMNS = """event_id, account_id, region, at, event_source, event_name, username, access_key_id, read_only, names,
  body, mac, seq, link"""


class ChainBroken(Exception):
    """The row that says where the trail begins and ends was altered."""


@lru_cache(maxsize=64)
def _insert(table: str, fields: tuple[str, ...], rows: int) -> tuple[str, tuple[str, ...]]:
    """The statement that adds so many rows, and the names of its values in their order."""
    names = [[f"{field}_{row}" for field in fields] for row in range(rows)]
    values = ", ".join(f"({', '.join(f':{name}' for name in one)})" for one in names)
    sql = f"insert into {table} ({', '.join(fields)}) values {values}"  # noqa: S608 - constants
    return sql, tuple(name for one in names for name in one)


def lay(tx: Transaction, line: bytes) -> None:
    """Write a record, as a line, with the transaction that it is about, to be taken up soon."""
    tx.later("insert into audit_waiting (line) values (:line)", line=line)


async def laid(tx: Transaction, after: int, limit: int) -> list[tuple[int, bytes]]:
    """(place, line) of records that wait to be taken up."""
    rows = await tx.rows(
        "select place, line from audit_waiting where place > :after order by place limit :limit",
        after=after, limit=limit,
    )  # fmt: skip
    return [(row["place"], bytes(row["line"])) for row in rows]


async def take_away(tx: Transaction, places: Sequence[int]) -> None:
    """They were taken up."""
    await tx.execute("delete from audit_waiting where place in (:places)", places=list(places))


def add(tx: Transaction, record: Record) -> None:
    """Write a record with the transaction that it is about."""
    sql, names = _insert("audit_record", _FIELDS, 1)
    tx.later(sql, **dict(zip(names, _values_of(record), strict=True)))
    if rows := _names(record):
        sql, names = _insert("audit_name", _NAME_FIELDS, len(rows))
        tx.later(sql, **dict(zip(names, chained.from_iterable(rows), strict=True)))


async def add_all(tx: Transaction, records: Sequence[Record]) -> None:
    """Write many, in bulk and beside other work. Raises Conflict if one is there already."""
    await tx.fill("audit_record", _FIELDS, [_values_of(each) for each in records])
    await tx.fill("audit_name", _NAME_FIELDS, [row for each in records for row in _names(each)])


async def present(tx: Transaction, event_ids: Sequence[str]) -> set[str]:
    """Those of the event ids that there are records of."""
    rows = await tx.rows("select event_id from audit_record where event_id in (:event_ids)", event_ids=list(event_ids))
    return {row["event_id"] for row in rows}


async def key(tx: Transaction) -> bytes | None:
    """The sealed key of the trail."""
    found = await tx.value("select sealed from audit_key where one = 1")
    return None if found is None else bytes(found)


async def put_key(tx: Transaction, sealed: bytes) -> None:
    """Keep the first key; one that is there stays."""
    await tx.execute(
        "insert into audit_key (one, sealed) values (1, :sealed) on conflict (one) do nothing", sealed=sealed
    )


async def chain(tx: Transaction, key: bytes) -> Chain:
    """Where the trail begins and ends. Raises ChainBroken."""
    row = await tx.row("select first_seq, first_link, last_seq, last_link, mac from audit_chain where one = 1")
    if row is None:
        return Chain()
    found = Chain(row["first_seq"], bytes(row["first_link"]), row["last_seq"], bytes(row["last_link"]))
    if not hmac.compare_digest(found.mac(key), bytes(row["mac"])):
        raise ChainBroken
    return found


async def unproven_chain(tx: Transaction) -> Chain:
    """The same without a look at its seal."""
    row = await tx.row("select first_seq, first_link, last_seq, last_link from audit_chain where one = 1")
    if row is None:
        return Chain()
    return Chain(row["first_seq"], bytes(row["first_link"]), row["last_seq"], bytes(row["last_link"]))


async def put_chain(tx: Transaction, key: bytes, chain: Chain) -> None:
    """Say where it begins and ends now."""
    await tx.execute(
        """insert into audit_chain (one, first_seq, first_link, last_seq, last_link, mac)
           values (1, :first_seq, :first_link, :last_seq, :last_link, :mac)
           on conflict (one) do update set first_seq = excluded.first_seq, first_link = excluded.first_link,
             last_seq = excluded.last_seq, last_link = excluded.last_link, mac = excluded.mac""",
        first_seq=chain.first_seq, first_link=chain.first_link, last_seq=chain.last_seq, last_link=chain.last_link,
        mac=chain.mac(key),
    )  # fmt: skip


async def waiting(tx: Transaction, limit: int) -> list[tuple[str, bytes]]:
    """Event ids and MACs of records that are not in the chain yet, oldest first."""
    rows = await tx.rows(
        "select event_id, mac from audit_record where seq is null order by at, event_id limit :limit", limit=limit
    )
    return [(row["event_id"], bytes(row["mac"])) for row in rows]


async def link(tx: Transaction, links: Sequence[tuple[str, int, bytes]]) -> None:
    """Give records their places: (event id, seq, link)."""
    await tx.many(
        "update audit_record set seq = :seq, link = :link where event_id = :event_id",
        [{"event_id": event_id, "seq": seq, "link": link} for event_id, seq, link in links],
    )


async def linked(tx: Transaction, after: int, limit: int) -> list[Record]:
    """Records of the chain in its order."""
    rows = await tx.rows(
        f"select {_COLUMNS} from audit_record where seq > :after order by seq limit :limit",  # noqa: S608 - constants
        after=after,
        limit=limit,
    )
    return [_record(row) for row in rows]


async def unlinked(tx: Transaction, after: str, limit: int) -> list[Record]:
    """Records that are not in the chain yet, by event id."""
    rows = await tx.rows(
        f"""select {_COLUMNS} from audit_record where seq is null and event_id > :after
            order by event_id limit :limit""",  # noqa: S608 - constants
        after=after,
        limit=limit,
    )
    return [_record(row) for row in rows]


async def names(tx: Transaction, event_ids: Sequence[str]) -> list[tuple[str, str, str, int, str]]:
    """(event id, account, region, at, name) of the names that the records are found by."""
    rows = await tx.rows(
        "select event_id, account_id, region, at, name from audit_name where event_id in (:event_ids)",
        event_ids=list(event_ids),
    )
    return [(row["event_id"], row["account_id"], row["region"], row["at"], row["name"]) for row in rows]


async def lone_names(tx: Transaction, limit: int) -> list[tuple[str, str]]:
    """(event id, name) of names that lead to no record."""
    rows = await tx.rows(
        """select event_id, name from audit_name n
           where not exists (select 1 from audit_record r where r.event_id = n.event_id) limit :limit""",
        limit=limit,
    )
    return [(row["event_id"], row["name"]) for row in rows]


async def outside(tx: Transaction) -> tuple[int, int] | None:
    """The lowest and the highest place of any record."""
    row = await tx.row("select min(seq) as low, max(seq) as high from audit_record where seq is not null")
    return None if row is None or row["low"] is None else (row["low"], row["high"])


async def expired(tx: Transaction, before: int, limit: int) -> list[tuple[int, bytes, int]]:
    """(seq, link, at) of the first records of the chain."""
    rows = await tx.rows(
        "select seq, link, at from audit_record where seq is not null order by seq limit :limit", limit=limit
    )
    found: list[tuple[int, bytes, int]] = []
    for row in rows:
        if row["at"] >= before:
            break
        found.append((row["seq"], bytes(row["link"]), row["at"]))
    return found


async def remove_through(tx: Transaction, seq: int) -> None:
    """Forget the records up to this one."""
    await tx.execute(
        "delete from audit_name where event_id in (select event_id from audit_record where seq <= :seq)", seq=seq
    )
    await tx.execute("delete from audit_record where seq <= :seq", seq=seq)


async def one(tx: Transaction, account_id: str, region: str, event_id: str) -> list[Record]:
    """The record of that id, if it is the account's."""
    row = await tx.row(
        f"select {_COLUMNS} from audit_record where event_id = :event_id",  # noqa: S608 - constants
        event_id=event_id,
    )
    return [] if row is None or (row["account_id"], row["region"]) != (account_id, region) else [_record(row)]


_BY: dict[str, str] = {
    column: f"""select {_COLUMNS} from audit_record
      where account_id = :account_id and region = :region and {column} = :wanted and at >= :start and at < :end
        and (at, event_id) < (:at, :event_id)
      order by at desc, event_id desc limit :limit"""  # noqa: S608 - constants
    for column in ("event_name", "event_source", "username", "access_key_id", "read_only")
}
_BY_NAME = """select r.event_id, r.account_id, r.region, r.at, r.event_source, r.event_name, r.username,
    r.access_key_id, r.read_only, r.names, r.body, r.mac, r.seq, r.link
  from audit_name n join audit_record r on r.event_id = n.event_id
  where n.account_id = :account_id and n.region = :region and n.name = :wanted and n.at >= :start and n.at < :end
    and (n.at, n.event_id) < (:at, :event_id)
  order by n.at desc, n.event_id desc limit :limit"""


async def found(
    tx: Transaction, account_id: str, region: str, column: str, wanted: str | int, span: tuple[int, int],
    position: tuple[int, str], limit: int,
) -> list[Record]:  # fmt: skip
    """Records, newest first, after `position` (time, event id), with `wanted` in `column`: one that is indexed, or
    `name` for a resource's canonical name, or a type behind a slash. All records, where no column is named."""
    if not column:  # the index is by what they do, so both halves are looked at
        halves = [await found(tx, account_id, region, "read_only", reads, span, position, limit) for reads in (0, 1)]
        return sorted(chained(*halves), key=attrgetter("at", "event_id"), reverse=True)[:limit]
    end = min(span[1], position[0] + 1)  # a far page begins where it begins, whichever bound the engine takes
    rows = await tx.rows(
        _BY_NAME if column == "name" else _BY[column],
        account_id=account_id, region=region, wanted=wanted, start=span[0], end=end, at=position[0],
        event_id=position[1], limit=limit,
    )  # fmt: skip
    return [_record(row) for row in rows]


async def delivered(tx: Transaction, sink: str) -> int | None:
    """Up to which record the sink has all; None if it was never used."""
    found: int | None = await tx.value("select seq from audit_sink where name = :sink", sink=sink)
    return found


async def hold(tx: Transaction, sink: str, seq: int, holder: str, now: int, until: int) -> bool:
    """Take or keep the sink for a process; `seq` is where a new one begins. False if another process has it."""
    return bool(
        await tx.execute(
            """insert into audit_sink (name, seq, holder, held_until) values (:sink, :seq, :holder, :until)
               on conflict (name) do update set holder = excluded.holder, held_until = excluded.held_until
               where audit_sink.holder = :holder or audit_sink.held_until < :now""",
            sink=sink, seq=seq, holder=holder, until=until, now=now,
        )
    )  # fmt: skip


async def put_delivered(tx: Transaction, sink: str, holder: str, seq: int) -> None:
    """The sink has all up to this one."""
    await tx.execute(
        "update audit_sink set seq = :seq where name = :sink and holder = :holder and seq < :seq",
        sink=sink, holder=holder, seq=seq,
    )  # fmt: skip


async def release(tx: Transaction, holder: str) -> None:
    """A process is gone: others may deliver at once."""
    await tx.execute("update audit_sink set held_until = 0 where holder = :holder", holder=holder)


def _names(record: Record) -> list[tuple[object, ...]]:
    return [
        (record.account_id, record.region, name, record.at, record.event_id) for name in _list_of_texts(record.names)
    ]


def _record(row: Row) -> Record:
    values = dict(row)
    values["mac"] = bytes(values["mac"])
    values["link"] = None if values["link"] is None else bytes(values["link"])
    return Record(**values)
