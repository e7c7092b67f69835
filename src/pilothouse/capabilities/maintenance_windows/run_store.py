"""The tables of executions, their tasks and invocations. Writers hold the window's lock."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

import msgspec

from pilothouse.capabilities.maintenance_windows.model import TaskTerms
from pilothouse.capabilities.maintenance_windows.run_model import (
    Batch,
    Execution,
    Invocation,
    Standing,
    Status,
    TaskRun,
)
from pilothouse.capabilities.maintenance_windows.store import written
from pilothouse.storage import Row, Transaction

_STANDING = "status, details, started_at, ended_at"
_EXECUTION = (
    "execution_id, window_id, account_id, region, due_at, late_ms, asked_by, cutoff_at, ends_at, cancel_asked,"
    f" {_STANDING}"
)
_TASK = (
    "task_execution_id, execution_id, window_id, window_task_id, account_id, region, position, task, batches,"
    f" {_STANDING}"
)
_INVOCATION = (
    "invocation_id, task_execution_id, execution_id, window_id, account_id, region, position, task_type, batch,"
    f" parameters, outside_id, call_at, calls, {_STANDING}"
)
_SET_STANDING = "status = :status, details = :details, started_at = :started_at, ended_at = :ended_at"


def _named(columns: str) -> str:
    return ", ".join(f":{name.strip()}" for name in columns.split(","))


_INSERT_EXECUTION = f"insert into maintenance_window_execution ({_EXECUTION}) values ({_named(_EXECUTION)})"  # noqa: S608
_INSERT_TASK = f"insert into maintenance_window_execution_task ({_TASK}) values ({_named(_TASK)})"  # noqa: S608
_INSERT_INVOCATION = f"insert into maintenance_window_invocation ({_INVOCATION}) values ({_named(_INVOCATION)})"  # noqa: S608
_SAVE_EXECUTION = f"""update maintenance_window_execution set cancel_asked = :cancel_asked, {_SET_STANDING}
where execution_id = :execution_id"""  # noqa: S608
_SAVE_TASK = f"""update maintenance_window_execution_task set {_SET_STANDING}
where task_execution_id = :task_execution_id"""  # noqa: S608
_SAVE_INVOCATION = f"""update maintenance_window_invocation set parameters = :parameters, outside_id = :outside_id,
  call_at = :call_at, calls = :calls, {_SET_STANDING} where invocation_id = :invocation_id"""  # noqa: S608
_OLD = "select execution_id from maintenance_window_execution where ended_at < :before limit :limit"
_PARTS = ("maintenance_window_invocation", "maintenance_window_execution_task", "maintenance_window_execution")

_read_task = msgspec.json.Decoder(TaskTerms).decode
_read_batches = msgspec.json.Decoder(list[Batch]).decode
_read_batch = msgspec.json.Decoder(Batch).decode


def _standing(row: Row) -> Standing:
    return Standing(
        status=Status(row["status"]),
        details=row["details"],
        started_at=row["started_at"],
        ended_at=row["ended_at"],
    )


def _execution(row: Row) -> Execution:
    names = ("execution_id", "window_id", "account_id", "region", "due_at", "late_ms", "asked_by", "cutoff_at")
    return Execution(
        **{name: row[name] for name in names},
        ends_at=row["ends_at"],
        cancel_asked=bool(row["cancel_asked"]),
        at=_standing(row),
    )


def _task(row: Row) -> TaskRun:
    names = ("task_execution_id", "execution_id", "window_id", "window_task_id", "account_id", "region", "position")
    return TaskRun(
        **{name: row[name] for name in names},
        task=_read_task(row["task"]),
        batches=_read_batches(row["batches"]),
        at=_standing(row),
    )


def _invocation(row: Row) -> Invocation:
    names = ("invocation_id", "task_execution_id", "execution_id", "window_id", "account_id", "region", "position")
    more = ("parameters", "outside_id", "call_at", "calls")
    return Invocation(
        **{name: row[name] for name in (*names, *more)},
        kind=row["task_type"],
        batch=_read_batch(row["batch"]),
        at=_standing(row),
    )


def _values(of: Execution | TaskRun | Invocation) -> dict[str, Any]:
    found = {name: getattr(of, name) for name in of.__slots__ if name not in ("at", "task", "batches", "batch", "kind")}
    return found | {**asdict(of.at), "status": of.at.status.value}


class RunStore:
    """The rows, within one transaction."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def add(self, execution: Execution) -> None:
        values = _values(execution) | {"cancel_asked": int(execution.cancel_asked)}
        await self._tx.execute(_INSERT_EXECUTION, **values)

    async def add_tasks(self, runs: Iterable[TaskRun]) -> None:
        rows = [_values(each) | {"task": written(each.task), "batches": written(each.batches)} for each in runs]
        await self._tx.many(_INSERT_TASK, rows)

    async def add_invocations(self, invocations: Iterable[Invocation]) -> None:
        rows = [_values(each) | {"batch": written(each.batch), "task_type": each.kind} for each in invocations]
        await self._tx.many(_INSERT_INVOCATION, rows)

    async def save(self, execution: Execution) -> None:
        """As it stands now."""
        await self._tx.execute(
            _SAVE_EXECUTION, execution_id=execution.execution_id, cancel_asked=int(execution.cancel_asked),
            **asdict(execution.at) | {"status": execution.at.status.value},
        )  # fmt: skip

    async def save_task(self, run: TaskRun) -> None:
        """As it stands now."""
        await self._tx.execute(
            _SAVE_TASK, task_execution_id=run.task_execution_id, **asdict(run.at) | {"status": run.at.status.value}
        )

    async def save_invocation(self, invocation: Invocation) -> None:
        """As it stands now."""
        await self._tx.execute(
            _SAVE_INVOCATION, invocation_id=invocation.invocation_id, parameters=invocation.parameters,
            outside_id=invocation.outside_id, call_at=invocation.call_at, calls=invocation.calls,
            **asdict(invocation.at) | {"status": invocation.at.status.value},
        )  # fmt: skip

    async def execution(self, execution_id: str) -> Execution | None:
        """Of whatever account."""
        return await self._one_execution("execution_id = :id", id=execution_id)

    async def for_time(self, window_id: str, due_at: int) -> Execution | None:
        """The execution for this time of the window's schedule."""
        return await self._one_execution("window_id = :window_id and due_at = :at", window_id=window_id, at=due_at)

    async def _one_execution(self, where: str, **values: Any) -> Execution | None:
        sql = f"select {_EXECUTION} from maintenance_window_execution where {where}"  # noqa: S608
        row = await self._tx.row(sql, **values)
        return None if row is None else _execution(row)

    async def open_of(self, window_id: str) -> list[Execution]:
        """Those that have not ended."""
        rows = await self._tx.rows(
            f"select {_EXECUTION} from maintenance_window_execution"  # noqa: S608
            " where window_id = :window_id and ended_at is null order by started_at, execution_id",
            window_id=window_id,
        )
        return [_execution(row) for row in rows]

    async def newest(
        self, account_id: str, region: str, window_id: str, before: tuple[int, str] | None,
        since: int | None, until: int | None, limit: int,
    ) -> list[Execution]:  # fmt: skip
        """The newest first; begun after `since` and before `until`, and after a place in the list."""
        where = ["account_id = :account_id", "region = :region", "window_id = :window_id"]
        values: dict[str, Any] = {
            "account_id": account_id, "region": region, "window_id": window_id, "limit": limit,
        }  # fmt: skip
        if before is not None:
            where.append("(started_at < :at or (started_at = :at and execution_id < :last))")
            values |= {"at": before[0], "last": before[1]}
        if since is not None:
            where.append("started_at > :since")
            values["since"] = since
        if until is not None:
            where.append("started_at < :until")
            values["until"] = until
        rows = await self._tx.rows(
            f"select {_EXECUTION} from maintenance_window_execution where {' and '.join(where)}"  # noqa: S608
            " order by started_at desc, execution_id desc limit :limit",
            **values,
        )
        return [_execution(row) for row in rows]

    async def tasks(self, execution_id: str) -> list[TaskRun]:
        """In the order in which they come."""
        rows = await self._tx.rows(
            f"select {_TASK} from maintenance_window_execution_task where execution_id = :id order by position",  # noqa: S608
            id=execution_id,
        )
        return [_task(row) for row in rows]

    async def invocations(self, task_execution_id: str) -> list[Invocation]:
        """In the order in which they come."""
        rows = await self._tx.rows(
            f"select {_INVOCATION} from maintenance_window_invocation where task_execution_id = :id order by position",  # noqa: S608
            id=task_execution_id,
        )
        return [_invocation(row) for row in rows]

    async def invocation(self, invocation_id: str) -> Invocation | None:
        """Of whatever account."""
        return await self._one_invocation("invocation_id = :id", id=invocation_id)

    async def by_outside_id(self, outside_id: str) -> Invocation | None:
        """The one whose work has this id where it is done."""
        return await self._one_invocation("outside_id = :id", id=outside_id)

    async def _one_invocation(self, where: str, **values: Any) -> Invocation | None:
        sql = f"select {_INVOCATION} from maintenance_window_invocation where {where}"  # noqa: S608
        row = await self._tx.row(sql, **values)
        return None if row is None else _invocation(row)

    async def to_call(self, now: int, limit: int) -> list[Invocation]:
        """Those for which somebody is to be called by now, the longest waiting first."""
        rows = await self._tx.rows(
            f"select {_INVOCATION} from maintenance_window_invocation where call_at <= :now"  # noqa: S608
            " order by call_at limit :limit",
            now=now, limit=limit,
        )  # fmt: skip
        return [_invocation(row) for row in rows]

    async def next_call(self, after: int) -> int | None:
        """When somebody is to be called next after a moment."""
        found = await self._tx.value(
            "select call_at from maintenance_window_invocation where call_at > :after order by call_at limit 1",
            after=after,
        )
        return None if found is None else int(found)

    async def hold(self, invocation: Invocation, until: int) -> bool:
        """Nobody else calls for it before then, unless somebody does already."""
        return bool(await self._tx.execute(
            "update maintenance_window_invocation set call_at = :until, calls = calls + 1"
            " where invocation_id = :id and call_at = :call_at and calls = :calls",
            until=until, id=invocation.invocation_id, call_at=invocation.call_at, calls=invocation.calls,
        ))  # fmt: skip

    async def call_again(self, invocation_id: str, at: int) -> None:
        """The call that was tried is due once more then."""
        await self._tx.execute(
            "update maintenance_window_invocation set call_at = :at where invocation_id = :id and call_at is not null",
            at=at, id=invocation_id,
        )  # fmt: skip

    async def ended_before(self, before: int, limit: int) -> Sequence[str]:
        """Ids of executions that ended before then."""
        return [row["execution_id"] for row in await self._tx.rows(_OLD, before=before, limit=limit)]

    async def remove(self, execution_ids: Sequence[str]) -> None:
        """Executions with their tasks and invocations."""
        for table in _PARTS:
            await self._tx.execute(
                f"delete from {table} where execution_id in (:ids)",  # noqa: S608
                ids=list(execution_ids),
            )
