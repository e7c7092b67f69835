"""The tables command, command_invocation and command_step. Every writer holds the command's gate in the outbox."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from pilothouse.capabilities.commands.model import (
    FINAL,
    STATUS,
    Command,
    CommandStatus,
    Counts,
    Details,
    Invocation,
    PlannedStep,
    StepResult,
    StepStatus,
)
from pilothouse.gateway.outbox import chunks
from pilothouse.storage import Row, Transaction

_ENDED = {details: f"n_{details.name.lower()}" for details in Details if details in FINAL}

_COMMAND = (
    "command_id, account_id, region, document_name, document_version, comment, parameters, instance_ids, targets,"
    " settings, steps, requested_at, start_deadline, expires_at, timeout_seconds, max_concurrency, max_errors,"
    " concurrency_limit, error_limit, status, details, open, cancel_asked, target_count, started, waiting, slots, "
    + ", ".join(_ENDED.values())
)
_INVOCATION = (
    "command_id, node_id, account_id, region, node_name, document_name, requested_at, status, details, final, on_node"
    ", slot, trace, finished_at"
)
_INVOCATION_COLUMNS = _INVOCATION.split(", ")
_STEP = (
    "command_id, node_id, name, status, details, code, started_at, finished_at, output, standard_output, standard_error"
)


def _insert(table: str, columns: str) -> str:
    names = [name.strip() for name in columns.split(",")]
    return f"insert into {table} ({columns}) values ({', '.join(':' + name for name in names)})"  # noqa: S608


_INSERT_COMMAND = _insert("command", _COMMAND)
_UPSERT_STEP = (
    _insert("command_step", _STEP)
    + """ on conflict (command_id, node_id, name) do update set status = excluded.status, details = excluded.details,
  code = excluded.code, started_at = excluded.started_at, finished_at = excluded.finished_at,
  output = excluded.output, standard_output = excluded.standard_output, standard_error = excluded.standard_error
where command_step.status in ('Pending', 'InProgress')"""
)
_SAVE_COMMAND = f"""update command set status = :status, details = :details, open = :open, cancel_asked = :cancel_asked,
  started = :started, waiting = :waiting, slots = :slots, {", ".join(f"{name} = :{name}" for name in _ENDED.values())}
where command_id = :command_id"""  # noqa: S608
_SAVE_INVOCATIONS = """update command_invocation set status = :status, details = :details, final = :final,
  on_node = :on_node, slot = :slot, trace = :trace, finished_at = :finished_at
where command_id = :command_id and node_id in (:nodes) and final = 0"""
_FULL_INVOCATION = (
    "command_id, node_id, account_id, region, node_name, document_name, requested_at, details, on_node, slot, trace,"
    " finished_at"
)
"""The columns of an `Invocation`, in its order."""
_DETAILS = {details.value: details for details in Details}
_END = """update command_invocation set status = :status, details = :details, final = 1, on_node = 0, slot = 0,
  finished_at = :at
where command_id = :command_id and final = 0"""


class CommandStore:
    """Commands and their invocations over one transaction."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def add(self, command: Command, invocations: Sequence[Invocation]) -> None:
        """A new command with all its invocations."""
        await self._tx.execute(_INSERT_COMMAND, **_command_values(command))
        await self._tx.fill(
            "command_invocation", _INVOCATION_COLUMNS, [_invocation_values(each) for each in invocations]
        )

    async def commands(self, command_ids: Iterable[str]) -> dict[str, Command]:
        """Commands by id, of any account: for messages from nodes, whose outbox row names the command."""
        found = {}
        for part in chunks(command_ids):
            rows = await self._tx.rows(f"select {_COMMAND} from command where command_id in (:ids)", ids=part)  # noqa: S608
            found.update({row["command_id"]: command_of(row) for row in rows})
        return found

    async def command(self, account_id: str, region: str, command_id: str) -> Command | None:
        """The account's command."""
        row = await self._tx.row(
            f"select {_COMMAND} from command where command_id = :id and account_id = :account_id and region = :region",  # noqa: S608
            id=command_id, account_id=account_id, region=region,
        )  # fmt: skip
        return None if row is None else command_of(row)

    async def invocations(self, command_id: str, node_ids: Iterable[str]) -> dict[str, Invocation]:
        """The command's invocations on these nodes, by node."""
        found = {}
        for part in chunks(node_ids):
            rows = await self._tx.tuples(
                f"select {_FULL_INVOCATION} from command_invocation where command_id = :id and node_id in (:nodes)",  # noqa: S608
                id=command_id, nodes=part,
            )  # fmt: skip
            found.update({row[1]: _invocation(row) for row in rows})
        return found

    async def delayed(self, command_id: str, node_ids: Iterable[str]) -> bool:
        """Whether the command is Delayed on one of the nodes."""
        for part in chunks(node_ids):
            if await self._tx.value(
                "select 1 from command_invocation"
                " where command_id = :id and node_id in (:nodes) and details = 'Delayed' limit 1",
                id=command_id, nodes=part,
            ):  # fmt: skip
                return True
        return False

    async def open_invocations(self, command_id: str) -> list[Invocation]:
        """Those of the command that have not ended."""
        rows = await self._tx.tuples(
            f"select {_FULL_INVOCATION} from command_invocation where command_id = :id and final = 0",  # noqa: S608
            id=command_id,
        )
        return [_invocation(row) for row in rows]

    async def open_nodes(self, command_id: str, *, waiting_only: bool) -> list[tuple[str, str]]:
        """(node, status) of the invocations that have not ended, or of those that are not on their nodes."""
        rows = await self._tx.rows(
            "select node_id, status from command_invocation"
            " where command_id = :id and final = 0 and on_node <= :most order by node_id",
            id=command_id, most=0 if waiting_only else 1,
        )  # fmt: skip
        return [(row["node_id"], row["status"]) for row in rows]

    async def open_on(self, node_id: str) -> list[Invocation]:
        """Open invocations of every command on the node."""
        rows = await self._tx.tuples(
            f"select {_FULL_INVOCATION} from command_invocation where node_id = :node_id and final = 0",  # noqa: S608
            node_id=node_id,
        )
        return [_invocation(row) for row in rows]

    async def save(self, command: Command, status: CommandStatus) -> None:
        """The command's counts and its status."""
        await self._tx.execute(_SAVE_COMMAND, **_standing(command, status), command_id=command.command_id)

    async def save_invocations(self, invocations: Iterable[Invocation]) -> None:
        """Where these stand now, which is the same for many of a command. A final one in the table stays as it is."""
        alike: dict[tuple[Any, ...], list[str]] = {}
        for each in invocations:
            standing = each.command_id, each.details, each.on_node, each.slot, each.trace, each.finished_at
            alike.setdefault(standing, []).append(each.node_id)
        for (command_id, details, on_node, slot, trace, finished_at), nodes in alike.items():
            for part in chunks(nodes):
                await self._tx.execute(
                    _SAVE_INVOCATIONS,
                    command_id=command_id, nodes=part, status=STATUS[details], details=details.value,
                    final=int(details in FINAL), on_node=int(on_node), slot=int(slot), trace=trace,
                    finished_at=finished_at,
                )  # fmt: skip

    async def end_waiting(self, command: Command, details: Details, at: int) -> None:
        """Every open invocation that is not on its node ends so."""
        slots = await self._tx.value(
            "select count(*) from command_invocation where command_id = :id and final = 0 and on_node = 0 and slot = 1",
            id=command.command_id,
        )
        ended = await self._tx.execute(
            f"{_END} and on_node = 0",
            command_id=command.command_id, status=STATUS[details], details=details.value, at=at,
        )  # fmt: skip
        command.counts.end(details, ended)
        command.counts.slots -= slots
        command.counts.waiting -= ended

    async def end_all(self, command: Command, details: Details, at: int) -> None:
        """Every open invocation ends so."""
        ended = await self._tx.execute(
            _END, command_id=command.command_id, status=STATUS[details], details=details.value, at=at
        )
        command.counts.end(details, ended)
        command.counts.slots = command.counts.waiting = 0

    async def save_steps(self, results: Sequence[tuple[Invocation, StepResult]]) -> None:
        """What nodes reported; a stored end of a step stays as it is."""
        await self._tx.many(_UPSERT_STEP, [
            {
                "command_id": invocation.command_id, "node_id": invocation.node_id, "name": result.name,
                "status": result.status.value, "details": result.details, "code": result.code,
                "started_at": result.started_at, "finished_at": result.finished_at, "output": result.output,
                "standard_output": result.standard_output, "standard_error": result.standard_error,
            }
            for invocation, result in results
        ])  # fmt: skip

    async def steps(self, command_id: str, node_ids: Iterable[str]) -> dict[tuple[str, str], StepResult]:
        """Reported results by node and step name."""
        found = {}
        for part in chunks(node_ids):
            rows = await self._tx.rows(
                f"select {_STEP} from command_step where command_id = :id and node_id in (:nodes)",  # noqa: S608
                id=command_id, nodes=part,
            )  # fmt: skip
            found.update({(row["node_id"], row["name"]): _step_of(row) for row in rows})
        return found

    async def due(self, now: int) -> list[str]:
        """Ids of open commands past their expiry."""
        rows = await self._tx.rows(
            "select command_id from command where open = 1 and expires_at <= :now order by expires_at limit 50", now=now
        )
        return [row["command_id"] for row in rows]

    async def with_room(self) -> list[str]:
        """Ids of open commands with invocations that wait though more could be sent."""
        rows = await self._tx.rows(
            "select command_id from command where open = 1 and cancel_asked = 0 and waiting > 0"
            " and slots < concurrency_limit limit 200"
        )
        return [row["command_id"] for row in rows]

    async def older_than(self, moment: int) -> str | None:
        """The oldest ended command from before the moment."""
        found: str | None = await self._tx.value(
            "select command_id from command where requested_at < :moment and open = 0 order by requested_at limit 1",
            moment=moment,
        )
        return found

    async def some_nodes(self, command_id: str, limit: int) -> list[str]:
        """Nodes with an invocation of the command."""
        rows = await self._tx.rows(
            "select node_id from command_invocation where command_id = :id limit :limit", id=command_id, limit=limit
        )
        return [row["node_id"] for row in rows]

    async def nodes_with_results(self, command_id: str) -> list[str]:
        """Nodes that told of a step's end."""
        rows = await self._tx.rows(
            "select distinct node_id from command_step where command_id = :id order by node_id", id=command_id
        )
        return [row["node_id"] for row in rows]

    async def forget(self, command_id: str, node_ids: Sequence[str], *, whole: bool) -> None:
        """Remove the command's invocations on these nodes; `whole`: and the command itself."""
        for table in ("command_step", "command_invocation"):
            await self._tx.many(
                f"delete from {table} where command_id = :id and node_id = :node_id",  # noqa: S608
                [{"id": command_id, "node_id": node_id} for node_id in node_ids],
            )
        if whole:
            await self._tx.execute("delete from command where command_id = :id", id=command_id)


def _standing(command: Command, status: CommandStatus) -> dict[str, Any]:
    counts = command.counts
    ended = {column: counts.ended.get(details, 0) for details, column in _ENDED.items()}
    return {
        "status": status.status,
        "details": status.details,
        "open": int(not status.final),
        "cancel_asked": int(command.cancel_asked),
        "started": counts.started,
        "waiting": counts.waiting,
        "slots": counts.slots,
    } | ended


def _command_values(command: Command) -> dict[str, Any]:
    return _standing(command, CommandStatus(command.status, command.details)) | {
        "command_id": command.command_id,
        "account_id": command.account_id,
        "region": command.region,
        "document_name": command.document_name,
        "document_version": command.document_version,
        "comment": command.comment,
        "parameters": _json(command.parameters),
        "instance_ids": _json(command.instance_ids),
        "targets": _json(command.targets),
        "settings": _json(command.settings),
        "steps": _json([[step.name, *step.folders] for step in command.steps]),
        "requested_at": command.requested_at,
        "start_deadline": command.start_deadline,
        "expires_at": command.expires_at,
        "timeout_seconds": command.timeout_seconds,
        "max_concurrency": command.max_concurrency,
        "max_errors": command.max_errors,
        "concurrency_limit": command.concurrency_limit,
        "error_limit": command.error_limit,
        "target_count": command.counts.target_count,
    }


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def command_of(row: Row) -> Command:
    """The command in a row of all its columns."""
    read = msgspec.json.decode
    return Command(
        command_id=row["command_id"],
        account_id=row["account_id"],
        region=row["region"],
        document_name=row["document_name"],
        document_version=row["document_version"],
        comment=row["comment"],
        parameters=read(row["parameters"]),
        instance_ids=read(row["instance_ids"]),
        targets=read(row["targets"]),
        settings=read(row["settings"]),
        steps=tuple(PlannedStep(name, tuple(folders)) for name, *folders in read(row["steps"])),
        requested_at=row["requested_at"],
        start_deadline=row["start_deadline"],
        expires_at=row["expires_at"],
        timeout_seconds=row["timeout_seconds"],
        max_concurrency=row["max_concurrency"],
        max_errors=row["max_errors"],
        concurrency_limit=row["concurrency_limit"],
        error_limit=row["error_limit"],
        cancel_asked=bool(row["cancel_asked"]),
        counts=Counts(
            target_count=row["target_count"],
            started=row["started"],
            waiting=row["waiting"],
            slots=row["slots"],
            ended={details: row[column] for details, column in _ENDED.items() if row[column]},
        ),
        status=row["status"],
        details=row["details"],
    )


def invocation_of(row: Row) -> Invocation:
    """The invocation in a row of all its columns."""
    return Invocation(
        command_id=row["command_id"],
        node_id=row["node_id"],
        account_id=row["account_id"],
        region=row["region"],
        node_name=row["node_name"],
        document_name=row["document_name"],
        requested_at=row["requested_at"],
        details=Details(row["details"]),
        on_node=bool(row["on_node"]),
        slot=bool(row["slot"]),
        trace=row["trace"],
        finished_at=row["finished_at"],
    )


def _invocation(row: Sequence[Any]) -> Invocation:
    """The invocation in a row of `_FULL_INVOCATION`."""
    return Invocation._make((*row[:7], _DETAILS[row[7]], row[8] == 1, row[9] == 1, *row[10:]))


def _invocation_values(each: Invocation) -> tuple[Any, ...]:
    return (*each[:7], each.status, each.details.value, int(each.final), int(each.on_node), int(each.slot), *each[10:])


def _step_of(row: Row) -> StepResult:
    return StepResult(
        name=row["name"],
        status=StepStatus(row["status"]),
        details=row["details"],
        code=row["code"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        output=row["output"],
        standard_output=row["standard_output"],
        standard_error=row["standard_error"],
    )


COMMAND_COLUMNS, INVOCATION_COLUMNS = _COMMAND, _INVOCATION
"""For the lists in `listing`."""
