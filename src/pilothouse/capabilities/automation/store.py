"""SQL of executions and their steps. What they hold is sealed; what lists and the engine ask for stands in columns.

Whoever changes an execution has put it due first (`scheduling.due.put`, or the claim of what is due): that row is what
they take turns by.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from pilothouse.capabilities.automation.model import Children, Status, Stop
from pilothouse.capabilities.automation.runs import RUNBOOK, Contents, Execution, StepContents, StepRun
from pilothouse.crypto.sealed import Sealed
from pilothouse.crypto.vault import Vault
from pilothouse.storage import Row, Transaction

_PLAIN: Final = (
    "execution_id", "account_id", "region", "parent_id", "parent_step_id", "position", "kind", "started_at", "ended_at",
    "document_name", "document_version", "digest", "mode", "current_step", "current_action", "granted_step",
    "stop_at", "subtype", "association_id", "ops_item_id", "resource_group",
)  # fmt: skip
_COLUMNS: Final = (*_PLAIN, "status", "stop_asked", "cross_account", "sealed")
EXECUTION: Final = ", ".join(_COLUMNS)
_CHANGING: Final = (
    "parent_id", "parent_step_id", "position", "status", "ended_at", "current_step", "current_action", "granted_step",
    "stop_asked", "stop_at", "subtype", "association_id", "ops_item_id", "sealed",
)  # fmt: skip
_STEP_PLAIN: Final = (
    "step_id", "execution_id", "position", "name", "action", "parent_step_id", "iteration", "started_at", "ended_at",
    "attempt", "turn", "goes_to", "due_at", "deadline", "call_at", "calls",
)  # fmt: skip
_STEP_COLUMNS: Final = (*_STEP_PLAIN, "status", "sealed")
_STEP: Final = ", ".join(_STEP_COLUMNS)
_STEP_CHANGING: Final = (
    "status", "ended_at", "attempt", "turn", "goes_to", "due_at", "deadline", "call_at", "calls", "sealed",
)  # fmt: skip


def _named(columns: Iterable[str]) -> str:
    return ", ".join(f":{name}" for name in columns)


_INSERT: Final = f"insert into automation_execution ({EXECUTION}) values ({_named(_COLUMNS)})"  # noqa: S608
_SAVE: Final = f"""update automation_execution set {", ".join(f"{name} = :{name}" for name in _CHANGING)}
where execution_id = :execution_id"""  # noqa: S608
_SAVE_STEP: Final = f"""insert into automation_step ({_STEP}) values ({_named(_STEP_COLUMNS)})
on conflict (step_id) do update set {", ".join(f"{name} = excluded.{name}" for name in _STEP_CHANGING)}"""  # noqa: S608
_MANY: Final = 500
_USED_WITHIN_MS: Final = 43_200_000
"""Less than the shortest time for which ended executions are kept."""

_read: Final = msgspec.json.Decoder(Contents).decode
_read_step: Final = msgspec.json.Decoder(StepContents).decode
_write: Final = msgspec.json.Encoder().encode


def _context(row: Mapping[str, Any]) -> str:
    return f"automation_execution {row['execution_id']}"


def _step_context(row: Mapping[str, Any]) -> str:
    return f"automation_step {row['step_id']}"


SEALED: Final = (
    Sealed(table="automation_execution", keys=("execution_id",), column="sealed", context=_context),
    Sealed(table="automation_step", keys=("step_id",), column="sealed", context=_step_context),
)


async def place_of(tx: Transaction, execution_id: str) -> tuple[str, str] | None:
    """Account and region of an execution."""
    row = await tx.row(
        "select account_id, region from automation_execution where execution_id = :id", id=execution_id
    )  # fmt: skip
    return None if row is None else (row["account_id"], row["region"])


_RATED: Final = f" and of.kind <> '{RUNBOOK}'"
_NOT_RATED: Final = f" and of.kind = '{RUNBOOK}'"


class AutomationStore:
    """The rows, within one transaction."""

    def __init__(self, tx: Transaction, vault: Vault) -> None:
        self._tx = tx
        self._vault = vault

    # Executions

    async def add(self, execution: Execution) -> None:
        await self._tx.execute(_INSERT, **self._values(execution))

    async def add_many(self, executions: Sequence[Execution]) -> None:
        await self._tx.many(_INSERT, [self._values(each) for each in executions])

    async def save(self, execution: Execution) -> None:
        """As it stands now."""
        values = self._values(execution)
        await self._tx.execute(
            _SAVE, execution_id=execution.execution_id, **{name: values[name] for name in _CHANGING}
        )  # fmt: skip

    def _values(self, execution: Execution) -> dict[str, Any]:
        values = {name: getattr(execution, name) for name in _PLAIN}
        sealed = self._vault.seal(_write(execution.contents), _context(values))
        return values | {
            "status": execution.status.value, "stop_asked": execution.stop_asked.value,
            "cross_account": int(execution.cross_account), "sealed": sealed,
        }  # fmt: skip

    async def opened(self, row: Row) -> Execution:
        """The execution of a row with the columns `EXECUTION`."""
        contents = await self._vault.opened(bytes(row["sealed"]), _context(row))
        return Execution(
            **{name: row[name] for name in _PLAIN},
            status=Status(row["status"]),
            stop_asked=Stop(row["stop_asked"]),
            cross_account=bool(row["cross_account"]),
            contents=_read(contents),
        )

    async def execution(self, execution_id: str) -> Execution | None:
        """Of whatever account."""
        sql = f"select {EXECUTION} from automation_execution where execution_id = :id"  # noqa: S608
        row = await self._tx.row(sql, id=execution_id)
        return None if row is None else await self.opened(row)

    async def children(self, parent_id: str) -> list[Execution]:
        """In the order of their targets."""
        sql = f"select {EXECUTION} from automation_execution where parent_id = :id order by position"  # noqa: S608
        return [await self.opened(row) for row in await self._tx.rows(sql, id=parent_id)]

    async def open_children(self, parent_id: str) -> list[str]:
        """Ids of those that have not ended."""
        rows = await self._tx.rows(
            "select execution_id from automation_execution where parent_id = :id and ended_at is null", id=parent_id
        )
        return [row["execution_id"] for row in rows]

    async def count_children(self, parent_id: str, first: int = 0, last: int = 2**31) -> dict[str, int]:
        """How many there are, by status, of those with these positions (without the last one)."""
        rows = await self._tx.rows(
            "select status, count(*) as number from automation_execution where parent_id = :id"
            " and position >= :first and position < :last group by status",
            id=parent_id, first=first, last=last,
        )  # fmt: skip
        return {row["status"]: row["number"] for row in rows}

    async def standing(self, parent_id: str, first: int, last: int) -> Children:
        """How the children with these positions stand."""
        found = await self.count_children(parent_id, first, last)
        started = sum(found.values())
        final = sum(number for status, number in found.items() if Status(status).final)
        errors = found.get(Status.FAILED, 0) + found.get(Status.TIMED_OUT, 0)
        return Children(total=last - first, started=started, live=started - final, errors=errors)

    async def newest(
        self,
        where: Sequence[str],
        values: Mapping[str, Any],
        before: tuple[int, str] | None,
        limit: int,
    ) -> list[Execution]:
        """The newest first, after a place in the list. `where`: conditions of this class, with their values."""
        wanted, named = list(where), dict(values)
        if before is not None:
            wanted.append("(started_at < :at or (started_at = :at and execution_id < :last))")
            named |= {"at": before[0], "last": before[1]}
        rows = await self._tx.rows(
            f"select {EXECUTION} from automation_execution where {' and '.join(wanted)}"  # noqa: S608
            " order by started_at desc, execution_id desc limit :limit",
            **named,
            limit=limit,
        )
        return [await self.opened(row) for row in rows]

    async def standing_of_place(
        self, account_id: str, region: str, most: int, *, rated: bool = False
    ) -> tuple[int, int]:  # fmt: skip
        """How many without a parent go on, counted up to a number, and how many wait for their turn.

        `rated`: of those that start others within a rate.
        """
        place = {"account_id": account_id, "region": region}
        kinds = _RATED if rated else ""
        running = await self._tx.value(
            "select count(*) from (select 1 from automation_execution of where account_id = :account_id"  # noqa: S608
            f" and region = :region and ended_at is null and parent_id = ''{kinds} and not exists ("
            " select 1 from automation_queue queued where queued.execution_id = of.execution_id) limit :most) as found",
            **place, most=most,
        )  # fmt: skip
        waiting = await self._tx.value(
            "select count(*) from automation_queue queued join automation_execution of"  # noqa: S608
            " on of.execution_id = queued.execution_id and of.ended_at is null"
            f" where queued.account_id = :account_id and queued.region = :region{kinds}",
            **place,
        )
        return int(running), int(waiting)

    async def queue(self, execution_id: str, account_id: str, region: str) -> None:
        """It waits for its turn."""
        await self._tx.execute(
            "insert into automation_queue (account_id, region, execution_id) values (:account_id, :region, :id)",
            account_id=account_id, region=region, id=execution_id,
        )  # fmt: skip

    async def unqueue(self, execution_id: str) -> bool:
        """It waits no more; whether it did."""
        return bool(await self._tx.execute("delete from automation_queue where execution_id = :id", id=execution_id))

    async def first_queued(self, account_id: str, region: str, most: int, most_rated: int) -> list[str]:
        """Whose turn is next: so many, and so many of them that start others. Those that ended while they waited go."""
        await self._tx.execute(
            "delete from automation_queue where account_id = :account_id and region = :region and execution_id in"
            " (select execution_id from automation_execution where ended_at is not null)",
            account_id=account_id, region=region,
        )  # fmt: skip
        rows = [
            row for kinds, limit in ((_NOT_RATED, most), (_RATED, min(most, most_rated))) for row in
            await self._tx.rows(
                "select number, queued.execution_id from automation_queue queued"  # noqa: S608
                " join automation_execution of on of.execution_id = queued.execution_id"
                f" where queued.account_id = :account_id and queued.region = :region{kinds}"
                " order by number limit :most",
                account_id=account_id, region=region, most=limit,
            )
        ]  # fmt: skip
        return [row["execution_id"] for row in sorted(rows, key=lambda row: int(row["number"]))[:most]]

    async def adopt(self, child_id: str, parent_id: str, step_id: str) -> None:
        """The child belongs to a step of the parent."""
        await self._tx.execute(
            "update automation_execution set parent_id = :parent_id, parent_step_id = :step_id"
            " where execution_id = :child_id",
            parent_id=parent_id, step_id=step_id, child_id=child_id,
        )  # fmt: skip

    # Runbooks and tokens

    async def keep_runbook(self, digest: str, content: str, now: int) -> None:
        """So that executions find it, whatever becomes of the document.

        Its last use is known to half a day: a row that each execution wrote would let one begin at a time.
        """
        used_at = await self._tx.value("select used_at from automation_runbook where digest = :digest", digest=digest)
        if used_at is not None and used_at > now - _USED_WITHIN_MS:
            return
        await self._tx.execute(
            "insert into automation_runbook (digest, content, used_at) values (:digest, :content, :now)"
            " on conflict (digest) do update set used_at = excluded.used_at",
            digest=digest, content=content, now=now,
        )  # fmt: skip

    async def runbook(self, digest: str) -> str:
        """Its text."""
        found = await self._tx.value("select content from automation_runbook where digest = :digest", digest=digest)
        if found is None:
            raise LookupError(f"the runbook {digest} is not there")
        return str(found)

    async def token(self, account_id: str, region: str, token: str) -> tuple[str, str] | None:
        """The digest of the request and the execution."""
        row = await self._tx.row(
            "select digest, execution_id from automation_token"
            " where account_id = :account_id and region = :region and token = :token",
            account_id=account_id, region=region, token=token,
        )  # fmt: skip
        return None if row is None else (row["digest"], row["execution_id"])

    async def keep_token(
        self, account_id: str, region: str, token: str, digest: str, execution_id: str, now: int
    ) -> None:
        await self._tx.execute(
            "insert into automation_token (account_id, region, token, digest, execution_id, made_at)"
            " values (:account_id, :region, :token, :digest, :execution_id, :now)",
            account_id=account_id, region=region, token=token, digest=digest, execution_id=execution_id, now=now,
        )  # fmt: skip

    # Previews

    async def keep_preview(self, preview_id: str, account_id: str, region: str, now: int, preview: str) -> None:
        await self._tx.execute(
            "insert into automation_preview (preview_id, account_id, region, made_at, preview)"
            " values (:preview_id, :account_id, :region, :now, :preview)",
            preview_id=preview_id, account_id=account_id, region=region, now=now, preview=preview,
        )  # fmt: skip

    async def preview(self, preview_id: str, account_id: str, region: str) -> str | None:
        found = await self._tx.value(
            "select preview from automation_preview"
            " where preview_id = :id and account_id = :account_id and region = :region",
            id=preview_id, account_id=account_id, region=region,
        )  # fmt: skip
        return None if found is None else str(found)

    # Steps

    async def steps(self, execution_id: str) -> list[StepRun]:
        """In the order in which they began."""
        sql = f"select {_STEP} from automation_step where execution_id = :id order by position"  # noqa: S608
        return [await self._opened_step(row) for row in await self._tx.rows(sql, id=execution_id)]

    async def step(self, step_id: str) -> StepRun | None:
        sql = f"select {_STEP} from automation_step where step_id = :id"  # noqa: S608
        row = await self._tx.row(sql, id=step_id)
        return None if row is None else await self._opened_step(row)

    async def _opened_step(self, row: Row) -> StepRun:
        contents = await self._vault.opened(bytes(row["sealed"]), _step_context(row))
        return StepRun(
            **{name: row[name] for name in _STEP_PLAIN}, status=Status(row["status"]), contents=_read_step(contents),
            stored=True,
        )  # fmt: skip

    async def save_steps(self, steps: Sequence[StepRun]) -> None:
        """New ones and those that have changed."""
        rows = []
        for each in steps:
            values = {name: getattr(each, name) for name in _STEP_PLAIN}
            sealed = self._vault.seal(_write(each.contents), _step_context(values))
            rows.append(values | {"status": each.status.value, "sealed": sealed})
        await self._tx.many(_SAVE_STEP, rows)
        await self._wait([each for each in steps if each.wait_keys is not None])
        for each in steps:
            each.wait_keys, each.stored = None, True

    async def _wait(self, steps: Sequence[StepRun]) -> None:
        told = [each.step_id for each in steps if each.stored]
        for start in range(0, len(told), _MANY):
            await self._tx.execute(
                "delete from automation_wait where step_id in (:ids)", ids=told[start : start + _MANY]
            )  # fmt: skip
        await self._tx.many(
            "insert into automation_wait (wait_key, step_id, execution_id) values (:key, :step_id, :execution_id)"
            " on conflict (wait_key, step_id) do nothing",
            [
                {"key": key, "step_id": each.step_id, "execution_id": each.execution_id}
                for each in steps
                for key in each.wait_keys or ()
            ],
        )

    async def waiting_for(self, key: str) -> list[tuple[str, str]]:
        """(execution, step) of those that wait for it."""
        rows = await self._tx.rows("select execution_id, step_id from automation_wait where wait_key = :key", key=key)
        return [(row["execution_id"], row["step_id"]) for row in rows]

    async def step_due(self, step_id: str, at: int) -> None:
        """Its action goes on then."""
        await self._tx.execute(
            "update automation_step set due_at = :at where step_id = :id and ended_at is null", at=at, id=step_id
        )

    # What is performed outside of transactions

    async def to_call(self, now: int, limit: int) -> list[StepRun]:
        """Steps that are to be performed by now, the longest waiting first."""
        sql = f"select {_STEP} from automation_step where call_at <= :now order by call_at limit :limit"  # noqa: S608
        return [await self._opened_step(row) for row in await self._tx.rows(sql, now=now, limit=limit)]

    async def next_call(self) -> int | None:
        found = await self._tx.value(
            "select call_at from automation_step where call_at is not null order by call_at limit 1"
        )
        return None if found is None else int(found)

    async def hold_call(self, step: StepRun, until: int) -> bool:
        """Nobody else performs it before then, unless somebody does already."""
        return bool(await self._tx.execute(
            "update automation_step set call_at = :until, calls = calls + 1"
            " where step_id = :id and call_at = :call_at and calls = :calls",
            until=until, id=step.step_id, call_at=step.call_at, calls=step.calls,
        ))  # fmt: skip

    async def hold_on(self, step_id: str, calls: int, until: int) -> bool:
        """Whether it is still ours to perform."""
        return bool(await self._tx.execute(
            "update automation_step set call_at = :until where step_id = :id and calls = :calls"
            " and call_at is not null",
            until=until, id=step_id, calls=calls,
        ))  # fmt: skip

    # History

    async def ended_before(self, before: int, limit: int) -> list[str]:
        """Ids of executions that ended before then."""
        rows = await self._tx.rows(
            "select execution_id from automation_execution where ended_at < :before order by ended_at limit :limit",
            before=before, limit=limit,
        )  # fmt: skip
        return [row["execution_id"] for row in rows]

    async def remove(self, execution_ids: Sequence[str]) -> None:
        """Executions with their steps."""
        for table in ("automation_wait", "automation_step", "automation_execution"):
            await self._tx.execute(
                f"delete from {table} where execution_id in (:ids)",  # noqa: S608
                ids=list(execution_ids),
            )

    async def remove_leftovers(self, before: int) -> None:
        """Tokens, previews and runbooks from before then of which there is no use any more."""
        await self._tx.execute("delete from automation_token where made_at < :before", before=before)
        await self._tx.execute("delete from automation_preview where made_at < :before", before=before)
        await self._tx.execute(
            "delete from automation_runbook where used_at < :before"
            " and digest not in (select digest from automation_execution)",
            before=before,
        )
