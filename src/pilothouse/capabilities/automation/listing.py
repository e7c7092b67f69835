"""Lists of executions and of steps."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities import tags
from pilothouse.capabilities.automation import shapes
from pilothouse.capabilities.automation.model import (
    InvalidFilterKey,
    InvalidFilterValue,
    InvalidNextToken,
    Status,
)
from pilothouse.capabilities.automation.operations import all_steps, execution_resource, found_execution
from pilothouse.capabilities.automation.starting import TAGGED_AS
from pilothouse.capabilities.automation.store import AutomationStore
from pilothouse.runtime.clock import to_millis
from pilothouse.storage import Transaction
from pilothouse.storage.pages import InvalidPageToken

_PAGE: Final = 50
_LAST: Final = "\U0010ffff"
_STATUSES: Final = frozenset(each.value for each in Status) | {
    "PendingApproval", "Approved", "Rejected", "Scheduled", "RunbookInProgress", "PendingChangeCalendarOverride",
    "ChangeCalendarOverrideApproved", "ChangeCalendarOverrideRejected", "CompletedWithSuccess",
    "CompletedWithFailure", "Exited",
}  # fmt: skip


def _moment(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidFilterValue(f"{text} is not a time, such as 2026-03-10T12:00:00Z.") from error
    return to_millis(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def _one(values: Sequence[str]) -> str:
    if len(values) != 1:
        raise InvalidFilterValue("This filter takes one value.")
    return values[0]


def _among(values: Sequence[str], known: frozenset[str]) -> list[str]:
    for each in values:
        if each not in known:
            raise InvalidFilterValue(f"{each} is not one of {', '.join(sorted(known))}.")
    return list(values)


def _prefix(values: Sequence[str]) -> tuple[str, dict[str, Any]]:
    prefix = _one(values)
    named = {"name_from": prefix, "name_to": prefix + _LAST}
    return "document_name >= :name_from and document_name < :name_to", named


def _in(column: str, known: frozenset[str] | None = None) -> Callable[[Sequence[str]], tuple[str, dict[str, Any]]]:
    def condition(values: Sequence[str]) -> tuple[str, dict[str, Any]]:
        return f"{column} in (:{column}_in)", {
            f"{column}_in": list(values) if known is None else _among(values, known)
        }  # fmt: skip

    return condition


def _kind(values: Sequence[str]) -> tuple[str, dict[str, Any]]:
    wanted = _among(values, frozenset({"CrossAccount", "Local"}))
    return "cross_account in (:crossing)", {"crossing": [int(each == "CrossAccount") for each in wanted]}


_CONDITIONS: Final[Mapping[str, Callable[[Sequence[str]], tuple[str, dict[str, Any]]]]] = {
    "DocumentNamePrefix": _prefix,
    "ExecutionStatus": _in("status", _STATUSES),
    "ExecutionId": _in("execution_id"),
    "ParentExecutionId": _in("parent_id"),
    "CurrentAction": _in("current_action"),
    "StartTimeBefore": lambda values: ("started_at < :before_at", {"before_at": _moment(_one(values))}),
    "StartTimeAfter": lambda values: ("started_at > :after_at", {"after_at": _moment(_one(values))}),
    "AutomationType": _kind,
    "TargetResourceGroup": _in("resource_group"),
    "AutomationSubtype": _in("subtype", frozenset({"ChangeRequest", "AccessRequest"})),
    "OpsItemId": _in("ops_item_id"),
}


@operation("ssm", "DescribeAutomationExecutions")
async def describe_automation_executions(call: Call, request: Shape) -> Shape:
    """Executions, the newest first, those that others started among them."""
    where, values = ["account_id = :account_id", "region = :region"], {
        "account_id": call.account_id, "region": call.region,
    }  # fmt: skip
    tag_keys: list[str] = []
    for each in request.get("Filters") or ():
        key, wanted = each.get("Key") or "", list(each.get("Values") or ())
        if not wanted:
            raise InvalidFilterValue(f"The filter {key} needs Values.")
        if key == "TagKey":
            tag_keys += wanted
        elif key not in _CONDITIONS:
            raise InvalidFilterKey(f"The filter {key} is not known.")
        else:
            condition, named = _CONDITIONS[key](wanted)
            where.append(condition)
            values |= named
    query = _query(call, request, "DescribeAutomationExecutions")
    place = _position(call, query, request)
    limit = request.get("MaxResults") or _PAGE
    async with call.reading() as tx:
        if tag_keys:
            where.append("execution_id in (:tagged)")
            values["tagged"] = sorted(await _tagged(call, tx, tag_keys)) or [""]  # type: ignore[assignment]
        store = AutomationStore(tx, call.house.vault)
        found = await store.newest(where, values, None if place is None else (place[0], place[1]), limit + 1)
    answer: Shape = {"AutomationExecutionMetadataList": [shapes.metadata(each) for each in found[:limit]]}
    if found[limit:]:
        last = found[limit - 1]
        answer["NextToken"] = call.house.pages.token(query, [last.started_at, last.execution_id])
    return answer


async def _tagged(call: Call, tx: Transaction, keys: Sequence[str]) -> set[str]:
    found: set[str] = set()
    for key in keys:
        found |= await tags.ids_with(tx, call.account_id, call.region, TAGGED_AS, key, None)
    return found


def _query(call: Call, request: Shape, name: str) -> list[Any]:
    """What a page token is bound to."""
    asked = sorted((key, value) for key, value in request.items() if key not in ("NextToken", "MaxResults"))
    return [name, call.account_id, call.region, asked]


def _position(call: Call, query: Sequence[Any], request: Shape) -> list[Any] | None:
    token = request.get("NextToken")
    if not token:
        return None
    try:
        return call.house.pages.position(query, token)
    except InvalidPageToken as error:
        raise InvalidNextToken("The specified token is not valid.") from error


def _parent(name: str) -> Callable[[Shape, Sequence[str]], bool]:
    return lambda step, values: str((step.get("ParentStepDetails") or {}).get(name, "")) in values


_STEP_FILTERS: Final[Mapping[str, Callable[[Shape, Sequence[str]], bool]]] = {
    "StartTimeBefore": lambda step, values: (
        "ExecutionStartTime" in step and to_millis(step["ExecutionStartTime"]) < _moment(_one(values))
    ),
    "StartTimeAfter": lambda step, values: (
        "ExecutionStartTime" in step and to_millis(step["ExecutionStartTime"]) > _moment(_one(values))
    ),
    "StepExecutionStatus": lambda step, values: step["StepStatus"] in _among(values, _STATUSES),
    "StepExecutionId": lambda step, values: step["StepExecutionId"] in values,
    "StepName": lambda step, values: step["StepName"] in values,
    "Action": lambda step, values: step["Action"] in values,
    "ParentStepExecutionId": _parent("StepExecutionId"),
    "ParentStepIteration": _parent("Iteration"),
    "ParentStepIteratorValue": _parent("IteratorValue"),
}


@operation("ssm", "DescribeAutomationStepExecutions", resources=execution_resource)
async def describe_automation_step_executions(call: Call, request: Shape) -> Shape:
    """The steps of an execution, in the order of the document or backwards."""
    filters = [(each.get("Key") or "", list(each.get("Values") or ())) for each in request.get("Filters") or ()]
    for key, values in filters:
        if key not in _STEP_FILTERS:
            raise InvalidFilterKey(f"The filter {key} is not known.")
        if not values:
            raise InvalidFilterValue(f"The filter {key} needs Values.")
    query = _query(call, request, "DescribeAutomationStepExecutions")
    place = _position(call, query, request)
    async with call.reading() as tx:
        found = await found_execution(call, tx, request["AutomationExecutionId"])
        steps = list(await all_steps(call, tx, found))
    if request.get("ReverseOrder"):
        steps.reverse()
    steps = [each for each in steps if all(_STEP_FILTERS[key](each, values) for key, values in filters)]
    if place is not None:
        ids = [each["StepExecutionId"] for each in steps]
        steps = steps[ids.index(place[0]) + 1 :] if place[0] in ids else []
    limit = request.get("MaxResults") or _PAGE
    answer: Shape = {"StepExecutions": steps[:limit]}
    if steps[limit:]:
        answer["NextToken"] = call.house.pages.token(query, [steps[limit - 1]["StepExecutionId"]])
    return answer
