"""ListCommands and ListCommandInvocations: newest first, by key."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities.commands import shapes
from pilothouse.capabilities.commands.model import Details, InvalidFilterKey, InvalidNextToken, Invocation
from pilothouse.capabilities.commands.operations import checked_command_id
from pilothouse.capabilities.commands.store import (
    COMMAND_COLUMNS,
    INVOCATION_COLUMNS,
    CommandStore,
    command_of,
    invocation_of,
)
from pilothouse.errors import ValidationException
from pilothouse.runtime.clock import to_millis
from pilothouse.storage import Row, Transaction
from pilothouse.storage.pages import InvalidPageToken

PAGE = 50
_COMMAND_STATUSES = frozenset({
    "Pending", "InProgress", "Success", "Cancelled", "Failed", "TimedOut", "Cancelling", "AccessDenied",
    "DeliveryTimedOut", "ExecutionTimedOut", "Incomplete", "NoInstancesInTag", "LimitExceeded",
})  # fmt: skip
_INVOCATION_STATUSES = frozenset({each.value for each in Details} | {"TimedOut"})
_STAGES = ("Executing", "Complete")


@operation("ssm", "ListCommands")
async def list_commands(call: Call, request: Shape) -> Shape:
    """The account's commands; with InstanceId those that were sent to the node."""
    where, values = _conditions(request, "c", _COMMAND_STATUSES, stages=True)
    command_id, node_id = _asked_ids(request, where, values, "c")
    tables = "command c"
    if node_id:
        tables = "command_invocation i join command c on c.command_id = i.command_id"
        where.append("i.node_id = :node_id")
    query = ["ListCommands", call.account_id, call.region, command_id, node_id, _filters_key(request)]
    after = _position(call, query, request, 2)
    if after:
        where.append("(c.requested_at < :at or (c.requested_at = :at and c.command_id < :id))")
        values |= {"at": after[0], "id": after[1]}
    limit = request.get("MaxResults") or PAGE
    columns = _qualified("c", COMMAND_COLUMNS)
    async with call.reading() as tx:
        rows = await tx.rows(
            f"select {columns} from {tables} where {' and '.join(where)}"  # noqa: S608
            " order by c.requested_at desc, c.command_id desc limit :limit",
            account_id=call.account_id, region=call.region, limit=limit + 1, **values,
        )  # fmt: skip
    found = [command_of(row) for row in rows]
    more = len(found) > limit
    last = found[limit - 1] if more else None
    return {
        "Commands": [shapes.command(each) for each in found[:limit]],
        "NextToken": last and call.house.pages.token(query, [last.requested_at, last.command_id]),
    }


@operation("ssm", "ListCommandInvocations")
async def list_command_invocations(call: Call, request: Shape) -> Shape:
    """Invocations of a command, on a node, or of the account; with Details their steps and outputs."""
    where, values = _conditions(request, "i", _INVOCATION_STATUSES, stages=False)
    command_id, node_id = _asked_ids(request, where, values, "i")
    if node_id:
        where.append("i.node_id = :node_id")
    query = ["ListCommandInvocations", call.account_id, call.region, command_id, node_id, _filters_key(request)]
    after = _position(call, query, request, 3)
    if after:
        where.append(
            "(i.requested_at < :at or (i.requested_at = :at and (i.command_id < :id"
            " or (i.command_id = :id and i.node_id < :node))))"
        )
        values |= {"at": after[0], "id": after[1], "node": after[2]}
    limit = request.get("MaxResults") or PAGE
    async with call.reading() as tx:
        rows = await tx.rows(
            f"select {_qualified('i', INVOCATION_COLUMNS)} from command_invocation i where {' and '.join(where)}"  # noqa: S608
            " order by i.requested_at desc, i.command_id desc, i.node_id desc limit :limit",
            account_id=call.account_id, region=call.region, limit=limit + 1, **values,
        )  # fmt: skip
        shown = await _shown(tx, rows[:limit], details=bool(request.get("Details")))
    last = rows[limit - 1] if len(rows) > limit else None
    position = last and [last["requested_at"], last["command_id"], last["node_id"]]
    return {
        "CommandInvocations": shown,
        "NextToken": position and call.house.pages.token(query, position),
    }


async def _shown(tx: Transaction, rows: Sequence[Row], *, details: bool) -> list[Shape]:
    found = [invocation_of(row) for row in rows]
    store = CommandStore(tx)
    commands = await store.commands({each.command_id for each in found})
    by_command: dict[str, list[Invocation]] = {}
    for each in found:
        by_command.setdefault(each.command_id, []).append(each)
    results: dict[str, Any] = {}
    if details:
        for command_id, some in by_command.items():
            results[command_id] = await store.steps(command_id, [each.node_id for each in some])
    return [
        shapes.invocation(each, commands[each.command_id], results.get(each.command_id))
        for each in found
        if each.command_id in commands  # a command may go while its list is read
    ]


def _asked_ids(
    request: Shape, where: list[str], values: dict[str, Any], table: str
) -> tuple[str | None, str | None]:  # fmt: skip
    """CommandId and InstanceId as asked, with their conditions. Raises InvalidCommandId, ValidationException."""
    command_id, node_id = request.get("CommandId"), request.get("InstanceId")
    if command_id is not None:
        command_id = checked_command_id(command_id)
        where.append(f"{table}.command_id = :command_id")
        values["command_id"] = command_id
    if node_id is not None:
        values["node_id"] = node_id
        if any(each["key"] == "Status" and each["value"] == "Pending" for each in request.get("Filters") or ()):
            raise ValidationException("InstanceId cannot be combined with a filter for the status Pending.")
    return command_id, node_id


def _conditions(
    request: Shape, table: str, statuses: frozenset[str], *, stages: bool
) -> tuple[list[str], dict[str, Any]]:  # fmt: skip
    """The filters in SQL. Raises InvalidFilterKey, ValidationException."""
    where = [f"{table}.account_id = :account_id", f"{table}.region = :region"]
    values: dict[str, Any] = {}
    for index, each in enumerate(request.get("Filters") or ()):
        key, value = each["key"], each["value"]
        name = f"filter{index}"
        if key in ("InvokedAfter", "InvokedBefore"):
            where.append(f"{table}.requested_at {'>' if key == 'InvokedAfter' else '<'} :{name}")
            values[name] = _moment(key, value)
        elif key == "Status":
            if value not in statuses:
                raise ValidationException(f"The Status filter takes one of: {', '.join(sorted(statuses))}.")
            where.append(f"({table}.status = :{name} or {table}.details = :{name})")
            values[name] = value
        elif key == "DocumentName":
            where.append(f"{table}.document_name = :{name}")
            values[name] = value
        elif key == "ExecutionStage" and stages:
            if value not in _STAGES:
                raise ValidationException("The ExecutionStage filter takes Executing or Complete.")
            where.append(f"{table}.open = {int(value == 'Executing')}")
        else:
            raise InvalidFilterKey(f"The filter key {key} cannot be used here.")
    return where, values


def _moment(key: str, value: str) -> int:
    try:
        moment = datetime.fromisoformat(value)
        return to_millis(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    except ValueError as error:
        raise ValidationException(f"The filter {key} takes a time such as 2026-07-07T00:00:00Z.") from error


def _filters_key(request: Shape) -> list[list[str]]:
    return sorted([each["key"], each["value"]] for each in request.get("Filters") or ())


def _position(call: Call, query: Sequence[Any], request: Mapping[str, Any], parts: int) -> list[Any] | None:
    token = request.get("NextToken")
    if not token:
        return None
    try:
        position = call.house.pages.position(query, token)
    except InvalidPageToken as error:
        raise InvalidNextToken("The specified token is not valid.") from error
    return position if len(position) == parts else None


def _qualified(table: str, columns: str) -> str:
    return ", ".join(f"{table}.{name.strip()}" for name in columns.split(","))
