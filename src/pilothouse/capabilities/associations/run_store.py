"""The tables association_execution, association_run and association_node. Writers hold the association's lock."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from pilothouse.capabilities.associations.model import Execution, OnNode, Reason, Result, Run, State
from pilothouse.storage import Row, Transaction

_EXECUTION = (
    "execution_id, association_id, account_id, region, version, reason, created_at, due_at, late_ms, status, details,"
    " target_count, held, slots, running, begun, ended, concurrency_limit, error_limit, executed_at, ends_at,"
    " run_seconds"
)
_RUN = (
    "execution_id, node_id, association_id, state, status, details, by_node, executed_at, summary, error_code,"
    " output_url, changed_at"
)
_NODE = (
    "association_id, node_id, account_id, region, status, details, execution_id, executed_at, summary, error_code,"
    " output_url, since"
)


def _named(columns: str) -> str:
    return ", ".join(f":{name.strip()}" for name in columns.split(","))


_INSERT_EXECUTION = f"insert into association_execution ({_EXECUTION}) values ({_named(_EXECUTION)})"  # noqa: S608
_SAVE_EXECUTION = """update association_execution set status = :status, details = :details,
  target_count = :target_count, held = :held, slots = :slots, running = :running, begun = :begun, ended = :ended,
  executed_at = :executed_at where execution_id = :execution_id"""
_SAVE_RUN = """update association_run set state = :state, status = :status, details = :details, by_node = :by_node,
  executed_at = :executed_at, summary = :summary, error_code = :error_code, output_url = :output_url,
  changed_at = :changed_at where execution_id = :execution_id and node_id = :node_id"""
_SAVE_NODE = """update association_node set status = :status, details = :details, execution_id = :execution_id,
  executed_at = :executed_at, summary = :summary, error_code = :error_code, output_url = :output_url
where association_id = :association_id and node_id = :node_id"""
_HELD = f"""select {_RUN} from association_run
where execution_id = :execution_id and state = 'held' order by node_id limit :limit"""  # noqa: S608
_OPEN_ON = f"""select {_RUN} from association_run
where node_id = :node_id and association_id = :association_id and state in ('held', 'let go', 'running')
order by changed_at desc"""  # noqa: S608
_WAITING_ON = """select association_id, execution_id, state from association_run
where node_id = :node_id and state in ('held', 'let go')"""
_OPEN_EXECUTIONS = f"""select {_EXECUTION} from association_execution
where association_id = :association_id and status in ('Pending', 'InProgress')
order by created_at, execution_id"""  # noqa: S608
_RUNNING_SINCE = f"""select {_RUN} from association_run
where execution_id = :execution_id and state = 'running' order by node_id"""  # noqa: S608
_MANY = 500

_read_ended = msgspec.json.Decoder(dict[str, int]).decode


def _result(row: Row) -> Result:
    return Result(
        status=row["status"],
        details=row["details"],
        executed_at=row["executed_at"],
        summary=row["summary"],
        error_code=row["error_code"],
        output_url=row["output_url"],
    )


def _written(result: Result) -> dict[str, Any]:
    return {
        "status": str(result.status),
        "details": str(result.details),
        "executed_at": result.executed_at,
        "summary": result.summary,
        "error_code": result.error_code,
        "output_url": result.output_url,
    }


def _execution(row: Row) -> Execution:
    values = {name.strip(): row[name.strip()] for name in _EXECUTION.split(",")}
    return Execution(**{**values, "reason": Reason(row["reason"]), "ended": _read_ended(row["ended"])})


def _execution_values(execution: Execution) -> dict[str, Any]:
    values = {name.strip(): getattr(execution, name.strip()) for name in _EXECUTION.split(",")}
    return {
        **values,
        "reason": execution.reason.value,
        "status": str(execution.status),
        "details": str(execution.details),
        "ended": msgspec.json.encode(execution.ended).decode(),
    }


def _run(row: Row) -> Run:
    return Run(
        execution_id=row["execution_id"],
        node_id=row["node_id"],
        association_id=row["association_id"],
        state=State(row["state"]),
        result=_result(row),
        changed_at=row["changed_at"],
        by_node=bool(row["by_node"]),
    )


def _run_values(run: Run) -> dict[str, Any]:
    return {
        "execution_id": run.execution_id,
        "node_id": run.node_id,
        "association_id": run.association_id,
        "state": run.state.value,
        "by_node": int(run.by_node),
        "changed_at": run.changed_at,
        **_written(run.result),
    }


def _on_node(row: Row) -> OnNode:
    return OnNode(
        association_id=row["association_id"],
        node_id=row["node_id"],
        result=_result(row),
        since=row["since"],
        execution_id=row["execution_id"],
    )


class RunStore:
    """Executions, runs and memberships, within one transaction."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def add(self, execution: Execution, runs: Sequence[Run]) -> None:
        """A new execution with its runs."""
        await self._tx.execute(_INSERT_EXECUTION, **_execution_values(execution))
        await self.add_runs(runs)

    async def add_runs(self, runs: Sequence[Run]) -> None:
        """More runs of an execution."""
        names = [name.strip() for name in _RUN.split(",")]
        rows = [tuple(values[name] for name in names) for values in map(_run_values, runs)]
        if rows:
            await self._tx.fill("association_run", names, rows)

    async def save(self, execution: Execution) -> None:
        """As its counts stand now."""
        values = _execution_values(execution)
        kept = {name: values[name] for name in (
            "status", "details", "target_count", "held", "slots", "running", "begun", "ended", "executed_at",
            "execution_id",
        )}  # fmt: skip
        await self._tx.execute(_SAVE_EXECUTION, **kept)

    async def save_runs(self, runs: Sequence[Run]) -> None:
        """As they stand now."""
        values = [{name: value for name, value in _run_values(run).items() if name != "association_id"} for run in runs]
        await self._tx.many(_SAVE_RUN, values)

    async def execution(self, execution_id: str) -> Execution | None:
        """One execution."""
        return await self._one("execution_id = :id", id=execution_id)

    async def due(self, association_id: str, due_at: int) -> Execution | None:
        """That for a time of the schedule."""
        return await self._one("association_id = :of and due_at = :at", of=association_id, at=due_at)

    async def _one(self, where: str, **values: Any) -> Execution | None:
        sql = f"select {_EXECUTION} from association_execution where {where}"  # noqa: S608
        row = await self._tx.row(sql, **values)
        return None if row is None else _execution(row)

    async def open_executions(self, association_id: str) -> list[Execution]:
        """Those that have not ended, the oldest first."""
        return [_execution(row) for row in await self._tx.rows(_OPEN_EXECUTIONS, association_id=association_id)]

    async def newest(
        self,
        association_id: str,
        before: tuple[int, str] | None,
        limit: int,
        conditions: Iterable[tuple[str, str, Any]],
    ) -> list[Execution]:
        """The newest first, those before a (time, id) that fit the conditions (column, comparison, value)."""
        at, execution_id = before or (2**62, "")
        where = [
            "association_id = :association_id",
            "(created_at < :at or (created_at = :at and execution_id < :execution_id))",
        ]
        values: dict[str, Any] = {
            "association_id": association_id, "at": at, "execution_id": execution_id, "limit": limit
        }  # fmt: skip
        for number, (column, comparison, value) in enumerate(conditions):
            assert column in {"execution_id", "status", "created_at"}
            assert comparison in {"=", "<", ">"}
            where.append(f"{column} {comparison} :v{number}")
            values[f"v{number}"] = value
        rows = await self._tx.rows(
            f"select {_EXECUTION} from association_execution where {' and '.join(where)}"  # noqa: S608
            " order by created_at desc, execution_id desc limit :limit",
            **values,
        )
        return [_execution(row) for row in rows]

    async def runs(
        self, execution_id: str, after: str, limit: int, *, status: str | None = None, node_id: str | None = None
    ) -> list[Run]:
        """Of an execution, by node id."""
        where = ["execution_id = :execution_id", "node_id > :after"]
        values: dict[str, Any] = {"execution_id": execution_id, "after": after, "limit": limit}
        for column, value in (("status", status), ("node_id", node_id)):
            if value is not None:
                where.append(f"{column} = :{column}")
                values[column] = value
        rows = await self._tx.rows(
            f"select {_RUN} from association_run where {' and '.join(where)} order by node_id limit :limit",  # noqa: S608
            **values,
        )
        return [_run(row) for row in rows]

    async def waiting_for(self, automation_id: str) -> Run | None:
        """The run that an automation execution is, while that goes on."""
        row = await self._tx.row(
            f"select {_RUN} from association_run where node_id = :id and state = 'running'",  # noqa: S608
            id=automation_id,
        )
        return None if row is None else _run(row)

    async def run(self, execution_id: str, node_id: str) -> Run | None:
        """One run."""
        found = await self.runs(execution_id, "", 1, node_id=node_id)
        return found[0] if found else None

    async def held(self, execution_id: str, limit: int) -> list[Run]:
        """Those that wait for room."""
        return [_run(row) for row in await self._tx.rows(_HELD, execution_id=execution_id, limit=limit)]

    async def running(self, execution_id: str) -> list[Run]:
        """Those that nodes have begun."""
        return [_run(row) for row in await self._tx.rows(_RUNNING_SINCE, execution_id=execution_id)]

    async def open_on(self, association_id: str, node_id: str) -> list[Run]:
        """The node's runs that have not ended, the newest first."""
        rows = await self._tx.rows(_OPEN_ON, association_id=association_id, node_id=node_id)
        return [_run(row) for row in rows]

    async def open_runs(self, execution_id: str) -> list[Run]:
        """All that have not ended."""
        rows = await self._tx.rows(
            f"select {_RUN} from association_run"  # noqa: S608
            " where execution_id = :execution_id and state in ('held', 'let go', 'running') order by node_id",
            execution_id=execution_id,
        )
        return [_run(row) for row in rows]

    async def waiting_on(self, node_id: str) -> list[Row]:
        """(association_id, execution_id, state) of what waits for the node, of all its associations."""
        return await self._tx.rows(_WAITING_ON, node_id=node_id)

    async def members(self, association_id: str) -> dict[str, OnNode]:
        """The nodes that the association is for."""
        rows = await self._tx.rows(
            f"select {_NODE} from association_node where association_id = :association_id order by node_id",  # noqa: S608
            association_id=association_id,
        )
        return {row["node_id"]: _on_node(row) for row in rows}

    async def member(self, association_id: str, node_id: str) -> OnNode | None:
        """The association on one node."""
        row = await self._tx.row(
            f"select {_NODE} from association_node"  # noqa: S608
            " where association_id = :association_id and node_id = :node_id",
            association_id=association_id, node_id=node_id,
        )  # fmt: skip
        return None if row is None else _on_node(row)

    async def on_node(self, node_id: str, after: str, limit: int) -> list[OnNode]:
        """The associations of a node, by id."""
        rows = await self._tx.rows(
            f"select {_NODE} from association_node"  # noqa: S608
            " where node_id = :node_id and association_id > :after order by association_id limit :limit",
            node_id=node_id, after=after, limit=limit,
        )  # fmt: skip
        return [_on_node(row) for row in rows]

    async def statuses(self, node_ids: Sequence[str]) -> dict[str, dict[str, int]]:
        """Node id to how many associations stand on it in each status."""
        found: dict[str, dict[str, int]] = {}
        for start in range(0, len(node_ids), _MANY):
            rows = await self._tx.rows(
                "select node_id, status, count(*) as n from association_node where node_id in (:ids)"
                " group by node_id, status",
                ids=list(node_ids[start : start + _MANY]),
            )
            for row in rows:
                found.setdefault(row["node_id"], {})[row["status"]] = row["n"]
        return found

    async def latest_run(self, node_id: str) -> tuple[int | None, int | None]:
        """When any association was last run on the node, and when one last succeeded there."""
        row = await self._tx.row(
            "select max(executed_at) as ran, max(case when status = 'Success' then executed_at end) as succeeded"
            " from association_node where node_id = :node_id",
            node_id=node_id,
        )
        return (None, None) if row is None else (row["ran"], row["succeeded"])

    async def add_members(self, account_id: str, region: str, members: Sequence[OnNode]) -> None:
        """Nodes that the association is for now."""
        names = [name.strip() for name in _NODE.split(",")]
        rows = []
        for each in members:
            values = {**_member_values(each), "account_id": account_id, "region": region, "since": each.since}
            rows.append(tuple(values[name] for name in names))
        if rows:
            await self._tx.fill("association_node", names, rows)

    async def save_members(self, members: Sequence[OnNode]) -> None:
        """As it stands on them now."""
        await self._tx.many(_SAVE_NODE, [_member_values(each) for each in members])

    async def remove_members(self, association_id: str, node_ids: Sequence[str]) -> None:
        """It is for these no more."""
        await self._tx.many(
            "delete from association_node where association_id = :association_id and node_id = :node_id",
            [{"association_id": association_id, "node_id": each} for each in node_ids],
        )

    async def remove(self, association_id: str) -> None:
        """All of an association."""
        for table in ("association_node", "association_run", "association_execution"):
            await self._tx.execute(
                f"delete from {table} where association_id = :association_id",  # noqa: S608
                association_id=association_id,
            )

    async def of_association(self, association_id: str) -> list[str]:
        """Ids of its executions."""
        rows = await self._tx.rows(
            "select execution_id from association_execution where association_id = :association_id",
            association_id=association_id,
        )
        return [row["execution_id"] for row in rows]

    async def any_before(self, before: int) -> bool:
        """Whether `forget` might find something."""
        found = await self._tx.value(
            "select 1 from association_execution where created_at < :before"
            " and status not in ('Pending', 'InProgress') limit 1",
            before=before,
        )
        return found is not None

    async def forget(self, before: int, limit: int) -> int:
        """Remove ended executions begun before a moment; how many went."""
        rows = await self._tx.rows(
            "select execution_id from association_execution where created_at < :before"
            " and status not in ('Pending', 'InProgress') order by created_at limit :limit",
            before=before, limit=limit,
        )  # fmt: skip
        ids = [{"id": row["execution_id"]} for row in rows]
        for table in ("association_run", "association_execution"):
            await self._tx.many(f"delete from {table} where execution_id = :id", ids)  # noqa: S608
        return len(ids)


def _member_values(member: OnNode) -> dict[str, Any]:
    return {
        "association_id": member.association_id,
        "node_id": member.node_id,
        "execution_id": member.execution_id,
        **_written(member.result),
    }
