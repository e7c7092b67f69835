"""Any edit of the trail is found."""

import asyncio
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pilothouse.call import Act, Call, House
from pilothouse.capabilities.audit import Report, store, verify
from pilothouse.capabilities.audit.sealing import ANCHOR, prune, seal, trail_of
from pilothouse.capabilities.audit.trail import JOURNAL, Trail
from pilothouse.capabilities.audit.verifying import verify_waiting
from pilothouse.capabilities.secrets import CAPABILITY
from pilothouse.identity.principals import Principal
from pilothouse.runtime.clock import TestClock
from pilothouse.runtime.settings import Settings
from pilothouse.storage import Transaction
from tests.conftest import Server

READ = next(each for each in CAPABILITY.operations if each.name == "GetSecretValue")


def act(house: House) -> Act:
    """As if somebody had read a secret."""
    who = Principal(
        kind="root",
        account_id="123456789012",
        arn="arn:aws:iam::123456789012:root",
        user_id="123456789012",
        access_key_id="AKIAEXAMPLE",
    )
    call = Call(principal=who, account_id="123456789012", region="eu-west-1", request_id=house.ids.uuid(), house=house)
    return Act(call=call, operation=READ, at=house.clock.millis(), request={"SecretId": "s"},
               resources=["arn:aws:secretsmanager:eu-west-1:123456789012:secret:s-AbCdEf"])  # fmt: skip


def verified(server: Server) -> Report:
    """Once all records are linked."""
    house = server.application.house
    trail = trail_of(house)

    async def walk() -> Report:
        await trail.take_up()
        while await seal(house, trail.key):
            pass
        return await verify(house.database, server.settings.data, trail.key)

    return server.run(walk())


def changed(server: Server, statement: str, *values: Any) -> int:
    """By somebody with the database in hand; the number of rows."""

    named = {f"v{number}": value for number, value in enumerate(values)}
    for name in named:
        statement = statement.replace("?", f":{name}", 1)

    async def execute() -> int:
        async with server.application.house.database.transaction() as tx:
            return await tx.execute(statement, **named)

    return server.run(execute())


def rows(server: Server, statement: str) -> list[dict[str, Any]]:
    async def read() -> list[dict[str, Any]]:
        async with server.application.house.database.reading() as tx:
            return [dict(each) for each in await tx.rows(statement)]

    return server.run(read())


def written(server: Server, count: int) -> None:
    house = server.application.house

    async def write() -> None:
        trail = trail_of(house)
        await asyncio.gather(*(trail.keep(act(house)) for _ in range(count)))
        await trail.take_up()

    server.run(write())


TEXTS = ("account_id", "region", "event_source", "event_name", "username", "access_key_id", "names", "body")
RECORD = ("event_id", *TEXTS, "at", "read_only", "mac", "seq", "link")
CHAIN = ("first_seq", "first_link", "last_seq", "last_link", "mac")


def put_back(server: Server, table: str, kept: Sequence[dict[str, Any]]) -> None:
    async def execute() -> None:
        async with server.application.house.database.transaction() as tx:
            await tx.execute(f"delete from {table}")
            columns = list(kept[0])
            await tx.many(
                f"insert into {table} ({', '.join(columns)}) values ({', '.join(':' + each for each in columns)})", kept
            )

    server.run(execute())


def edit(server: Server, chance: random.Random, records: list[dict[str, Any]]) -> str:
    """One edit somewhere in the trail; what it was."""
    one, other = chance.sample(records, 2)
    kind = chance.choice(
        ("text", "text", "number", "bytes", "remove", "swap", "name", "chain", "copy", "unlink", "tail")
    )
    where = "where event_id = ?"
    if kind == "text":
        column = chance.choice(TEXTS)
        text = one[column]
        at = chance.randrange(len(text)) if text else 0
        new = text[:at] + chance.choice("abcXYZ019") + text[at + chance.choice((0, 1)) :]
        if new == text:
            new += " "
        changed(server, f"update audit_record set {column} = ? {where}", new, one["event_id"])
        return f"{column} {at}"
    if kind == "number":
        column = chance.choice(("at", "read_only"))
        changed(
            server, f"update audit_record set {column} = {column} + ? {where}", chance.choice((-1, 1)), one["event_id"]
        )
    elif kind == "bytes":
        column = chance.choice(("mac", "link"))
        value = bytearray(one[column])
        value[chance.randrange(len(value))] ^= 1 << chance.randrange(8)
        changed(server, f"update audit_record set {column} = ? {where}", bytes(value), one["event_id"])
    elif kind == "remove":
        changed(server, f"delete from audit_record {where}", one["event_id"])
        if chance.random() < 0.5:
            changed(server, f"delete from audit_name {where}", one["event_id"])
    elif kind == "swap":
        column = chance.choice(("body", "mac", "link"))
        if one[column] == other[column]:
            changed(server, f"update audit_record set event_name = 'x' {where}", one["event_id"])
        for left, right in ((one, other), (other, one)):
            changed(server, f"update audit_record set {column} = ? {where}", right[column], left["event_id"])
    elif kind == "name":
        name = chance.choice(("s", "s-AbCdEf", "/AWS::SecretsManager::Secret"))
        how = chance.choice(("delete from audit_name", "update audit_name set name = '/AWS::IAM::Role'",
                             "update audit_name set at = at + 1", "update audit_name set region = 'x'"))  # fmt: skip
        changed(server, f"{how} {where} and name = ?", one["event_id"], name)
    elif kind == "chain":
        column = chance.choice(CHAIN)
        if column.endswith("seq"):
            changed(server, f"update audit_chain set {column} = {column} + ?", chance.choice((-1, 1)))
        else:
            changed(server, f"update audit_chain set {column} = ?", chance.randbytes(32))
    elif kind == "copy":
        columns = ", ".join(each for each in RECORD if each not in ("event_id", "account_id", "seq"))
        seq = chance.choice((str(records[-1]["seq"] + 1), "null", "0", "-1", str(records[0]["seq"] - 1)))
        account = chance.choice(("account_id", "'999988887777'"))
        changed(
            server,
            f"""insert into audit_record (event_id, account_id, seq, {columns})
                select ?, {account}, {seq}, {columns} from audit_record {where}""",
            f"{chance.getrandbits(64):x}", one["event_id"],
        )  # fmt: skip
    elif kind == "unlink":
        changed(server, f"update audit_record set seq = null, link = null {where}", one["event_id"])
    else:
        last = chance.randint(1, 5)
        if chance.random() < 0.5:
            changed(server, "delete from audit_record where seq > ?", records[-1]["seq"] - last)
        else:  # at the beginning, as pruning does
            changed(server, "delete from audit_record where seq < ?", records[0]["seq"] + last)
        changed(server, "delete from audit_name where event_id not in (select event_id from audit_record)")
    return kind


@pytest.mark.parametrize("seed", range(5))
def test_every_edit_is_found(server: Server, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """40 edits on each engine and seed, of a trail whose beginning was pruned."""
    written(server, 5)
    assert verified(server).faults == []
    server.advance(days=91)
    written(server, 30)
    assert verified(server).faults == []
    server.run(prune.run(server.application.house))

    async def nothing(*_: object) -> int:
        return 0

    monkeypatch.setattr(
        "pilothouse.capabilities.audit.sealing.seal", nothing
    )  # nor does the server link what is put in
    chance = random.Random(seed)
    tables = {name: rows(server, f"select * from {name}") for name in ("audit_record", "audit_name", "audit_chain")}
    records = sorted(tables["audit_record"], key=lambda each: each["seq"])
    assert [records[0]["seq"], records[-1]["seq"]] == [6, 35]
    house = server.application.house
    key = trail_of(house).key
    for _ in range(40):
        what = edit(server, chance, records)
        report = server.run(verify(house.database, server.settings.data, key))
        assert report.faults != [], what
        for name, kept in tables.items():
            put_back(server, name, kept)
    assert verified(server).faults == []


def test_a_beginning_that_is_pruned_while_it_is_looked_at_is_no_fault(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL gives each question the state of its own moment."""
    expired, outside = store.expired, store.outside

    async def none(*_: object) -> list[Any]:
        return []

    monkeypatch.setattr(store, "expired", none)  # nor does the server prune before it is to
    written(server, 5)
    server.advance(days=91)
    written(server, 5)
    assert verified(server).faults == []

    async def then_pruned(tx: Transaction) -> tuple[int, int] | None:
        found = await outside(tx)
        monkeypatch.setattr(store, "expired", expired)
        await prune.run(server.application.house)
        return found

    monkeypatch.setattr(store, "outside", then_pruned)
    assert verified(server).faults == []
    monkeypatch.setattr(store, "outside", outside)
    assert verified(server).first_seq == 6


def test_an_older_state_put_back_as_a_whole_is_found_by_the_anchor(server: Server) -> None:
    written(server, 5)
    assert verified(server).faults == []
    older = {name: rows(server, f"select * from {name}") for name in ("audit_record", "audit_name", "audit_chain")}
    written(server, 5)
    anchor = server.settings.data / ANCHOR
    end = time.monotonic() + 30
    while not anchor.exists() or b"[10," not in anchor.read_bytes():
        assert time.monotonic() < end
        time.sleep(0.05)
    for name, kept in older.items():
        put_back(server, name, kept)
    (fault,) = verified(server).faults
    assert "had linked record 10, and the trail ends at 5" in fault
    anchor.write_bytes(anchor.read_bytes().replace(b"[10,", b"[5,"))
    assert "was altered" in verified(server).faults[0]


def test_the_trail_goes_on_over_a_restart(database_url: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    for start in (1, 2, 3):
        server = Server(Settings(data=data, database=database_url), TestClock())
        try:
            written(server, 3)
            report = verified(server)
            assert (report.faults, report.records) == ([], 3 * start)
        finally:
            server.close()


def test_what_a_killed_server_had_journaled_is_taken_up_by_the_next(database_url: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    server = Server(Settings(data=data, database=database_url), TestClock())
    house = server.application.house

    async def write() -> list[bytes]:
        trail = trail_of(house)
        await asyncio.gather(*(trail.keep(act(house)) for _ in range(4)))
        return [file.read_bytes() for file in (data / JOURNAL).iterdir()]

    (left,) = server.run(write())
    server.close()
    (data / JOURNAL / "1-killed.lines").write_bytes(left + left.splitlines()[0][:40])  # its last line is torn
    (data / JOURNAL / "2-killed.lines").write_bytes(b"")
    again = Server(Settings(data=data, database=database_url), TestClock())
    try:
        report = verified(again)
        assert (report.faults, report.records) == ([], 4)  # each once, though the first server took them up as well
        assert list((data / JOURNAL).iterdir()) == []
    finally:
        again.close()


def test_a_record_taken_out_before_it_is_linked_is_missed(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Changes are committed before they are linked; the server knows what it committed."""
    house = server.application.house

    async def nothing(_: object) -> None:
        """The server's own linking comes too late."""

    async def within_a_moment() -> str:
        trail = trail_of(house)
        with monkeypatch.context() as patched:
            patched.setattr(Trail, "link", nothing)
            async with house.database.transaction() as tx:
                trail.add(tx, act(house))
            async with house.database.transaction() as tx:
                line = bytes(await tx.value("select line from audit_waiting"))
                await tx.execute("delete from audit_waiting")
        await trail.link()
        await trail.link()
        return str(msgspec.json.decode(line.partition(b"\t")[0])[0])

    lost = server.run(within_a_moment())
    (fault,) = verified(server).faults
    assert "gone before it was linked" in fault
    (said,) = rows(server, "select body from audit_record where event_name = 'RecordMissing'")
    assert lost in said["body"]


def test_a_record_altered_before_it_is_linked_is_found(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    house = server.application.house

    async def within_a_moment() -> Report:
        trail = trail_of(house)
        async with house.database.transaction() as tx:
            trail.add(tx, act(house))
            line = bytes(await tx.value("select line from audit_waiting"))
            await tx.execute("update audit_waiting set line = :line", line=line.replace(b"GetSecret", b"PutSecret"))
            return await verify_waiting(tx, trail.key)

    assert "audit_waiting" in server.run(within_a_moment()).faults[0]
    assert "was altered" in verified(server).faults[0]
