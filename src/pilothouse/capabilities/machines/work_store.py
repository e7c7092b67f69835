"""SQL of machine_work: what is to be done, one after another for each subject."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from pilothouse.call import House
from pilothouse.capabilities.machines.model import Kind, Work
from pilothouse.storage import Row, Transaction

WAKE: Final = "machines.work"
"""Bus topic: something is to be done."""
HOLD_MS: Final = 60_000
"""A process that died leaves what it did to others after this."""
_COLUMNS: Final = (
    "number, account_id, region, connection, subject, kind, arguments, progress, created_at, attempt, holder"
)


def _work(row: Row) -> Work:
    values = dict(row)
    values["kind"] = Kind(values["kind"])
    values["arguments"] = msgspec.json.decode(values["arguments"])
    values["progress"] = msgspec.json.decode(values["progress"])
    return Work(**values)


async def add(
    house: House, tx: Transaction, place: tuple[str, str, str], subject: str, kind: Kind, **arguments: Any
) -> None:
    """Let it be done, after what is to be done to the subject already. `place`: account, region, connection."""
    account_id, region, connection = place
    now = house.clock.millis()
    await tx.execute(
        """insert into machine_work (account_id, region, connection, subject, kind, arguments, progress, created_at,
             due_at, attempt, holder, held_until)
           values (:account_id, :region, :connection, :subject, :kind, :arguments, '{}', :now, :now, 0, '', 0)""",
        account_id=account_id, region=region, connection=connection, subject=subject, kind=kind.value,
        arguments=msgspec.json.encode(arguments).decode(), now=now,
    )  # fmt: skip
    tx.after_commit(lambda: house.bus.wake(WAKE, ""))


async def due(tx: Transaction, now: int, most: int) -> list[Work]:
    """What may be done now: the first of each subject, if nobody holds it."""
    rows = await tx.rows(
        f"""select {_COLUMNS} from machine_work w
            where due_at <= :now and held_until <= :now and not exists (
              select 1 from machine_work e where e.account_id = w.account_id and e.region = w.region
                and e.subject = w.subject and e.number < w.number)
            order by due_at limit :most""",  # noqa: S608
        now=now, most=most,
    )  # fmt: skip
    return [_work(row) for row in rows]


async def next_at(tx: Transaction) -> int | None:
    """When something is due or free next."""
    found: int | None = await tx.value(
        "select min(case when due_at > held_until then due_at else held_until end) from machine_work"
    )
    return found


async def claim(tx: Transaction, work: Work, holder: str, now: int) -> Work | None:
    """The work as this process has it now; None if another was faster."""
    changed = await tx.execute(
        """update machine_work set holder = :holder, held_until = :until, attempt = attempt + 1
           where number = :number and held_until <= :now and attempt = :attempt""",
        number=work.number, attempt=work.attempt, holder=holder, now=now, until=now + HOLD_MS,
    )  # fmt: skip
    if not changed:
        return None
    row = await tx.row(f"select {_COLUMNS} from machine_work where number = :number", number=work.number)  # noqa: S608
    assert row is not None
    return _work(row)


async def hold(tx: Transaction, work: Work, now: int) -> bool:
    """Hold it longer; False if somebody else has it."""
    return bool(
        await tx.execute(
            """update machine_work set held_until = :until
               where number = :number and holder = :holder and attempt = :attempt""",
            number=work.number,
            holder=work.holder,
            attempt=work.attempt,
            until=now + HOLD_MS,
        )
    )


async def again(tx: Transaction, work: Work, at: int, progress: Mapping[str, Any]) -> bool:
    """Let go of it until then; False if somebody else has it."""
    return bool(
        await tx.execute(
            """update machine_work set due_at = :at, progress = :progress, held_until = 0, holder = ''
               where number = :number and holder = :holder and attempt = :attempt""",
            number=work.number,
            holder=work.holder,
            attempt=work.attempt,
            at=at,
            progress=msgspec.json.encode(progress).decode(),
        )
    )


async def done(tx: Transaction, work: Work) -> bool:
    """It is done; False if somebody else has it."""
    return bool(
        await tx.execute(
            "delete from machine_work where number = :number and holder = :holder and attempt = :attempt",
            number=work.number,
            holder=work.holder,
            attempt=work.attempt,
        )
    )


async def release(tx: Transaction, holder: str) -> None:
    """What a process held that is no more is free."""
    await tx.execute("update machine_work set held_until = 0 where holder = :holder", holder=holder)


async def later_kinds(tx: Transaction, work: Work) -> list[tuple[Kind, Mapping[str, Any]]]:
    """What is to be done to the subject after this."""
    rows = await tx.rows(
        """select kind, arguments from machine_work where account_id = :account_id and region = :region
             and subject = :subject and number > :number order by number""",
        account_id=work.account_id, region=work.region, subject=work.subject, number=work.number,
    )  # fmt: skip
    return [(Kind(row["kind"]), msgspec.json.decode(row["arguments"])) for row in rows]


async def busy(tx: Transaction, account_id: str, region: str) -> dict[str, list[Kind]]:
    """By subject what is still to be done to it, in order."""
    rows = await tx.rows(
        """select subject, kind from machine_work where account_id = :account_id and region = :region
           order by number""",
        account_id=account_id, region=region,
    )  # fmt: skip
    found: dict[str, list[Kind]] = {}
    for row in rows:
        found.setdefault(row["subject"], []).append(Kind(row["kind"]))
    return found
