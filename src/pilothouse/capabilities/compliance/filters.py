"""Filters of the lists: tests of columns for the database, and what is looked at entry by entry.

Keys of inventory choose nodes: AWS:InstanceInformation and AWS:Tag are asked of the nodes, other types of whoever hears
`nodes.sought` (facts: account_id, region, wanted: type to what an entry of it must be, found: a list to which the set
of fitting node ids is added).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from pilothouse.call import Call
from pilothouse.capabilities import nodes
from pilothouse.capabilities.compliance.model import RESOURCE_TYPE, InvalidFilter, Item
from pilothouse.capabilities.compliance.store import Condition
from pilothouse.runtime.clock import to_millis
from pilothouse.storage import Transaction

_SHARED: Final = {
    "ComplianceType": "compliance_type",
    "Status": "status",
    "Severity": "severity",
    "ResourceId": "node_id",
    "ExecutionId": "execution_id",
    "ExecutionType": "execution_type",
    "ExecutionTime": "executed_at",
}
OF_ITEMS: Final = _SHARED | {"Id": "item_id", "Title": "title"}
OF_STANDINGS: Final = _SHARED | {"OverallSeverity": "overall_severity"}
DETAILS: Final = frozenset({
    "PatchBaselineId", "PatchGroup", "PatchState", "PatchSeverity", "Classification", "InstalledTime", "DocumentName",
    "DocumentVersion", "CVEIds", "InstallOverrideList",
})  # fmt: skip
"""What the items that this server makes say of themselves."""
_OPERATORS: Final = {
    "EQUAL": "Equal", "NOT_EQUAL": "NotEqual", "BEGIN_WITH": "BeginWith", "LESS_THAN": "LessThan",
    "GREATER_THAN": "GreaterThan",
}  # fmt: skip
_COMPARISONS: Final = {"LessThan": "<", "GreaterThan": ">"}


@dataclass(slots=True)
class Filters:
    """What a list asks for; everything in it must hold."""

    conditions: list[Condition] = field(default_factory=list)
    keep: list[Callable[[Item], bool]] = field(default_factory=list)
    by_inventory: dict[str, list[nodes.Wanted]] = field(default_factory=dict)
    """Type to what an entry of it must be."""
    nobody: bool = False
    """A filter that nothing can fit."""

    async def nodes(self, call: Call, tx: Transaction) -> set[str] | None:
        """Ids of the nodes that inventory leaves; None if it is not asked."""
        if not self.by_inventory:
            return None
        scope = nodes.Scope(
            account_id=call.account_id, region=call.region, now_ms=call.clock.millis(),
            online_seconds=call.house.settings.nodes.online_seconds,
        )  # fmt: skip
        found: list[set[str]] = []
        others: dict[str, Sequence[nodes.Wanted]] = {}
        for kind, wanted in self.by_inventory.items():
            if kind == "AWS:InstanceInformation":
                found.append(await nodes.ids_described(tx, scope, wanted))
            elif kind == "AWS:Tag":
                found.append(await nodes.ids_tagged_so(tx, scope, wanted))
            else:
                others[kind] = wanted
        if others:
            before = len(found)
            await call.house.tell(
                tx, "nodes.sought", account_id=call.account_id, region=call.region, wanted=others, found=found
            )
            if len(found) == before:  # nobody keeps inventory
                return set()
        return set.intersection(*found)


def read(given: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> Filters:
    """The filters of a request. `columns`: those of the list. Raises InvalidFilter."""
    filters = Filters()
    for number, each in enumerate(given):
        key, values = each.get("Key"), tuple(each.get("Values") or ())
        if not key or not values:
            raise InvalidFilter("A filter needs a Key and Values.")
        how = _OPERATORS[each.get("Type") or "EQUAL"]
        if key == "ExecutionTime":
            filters.conditions.append(_condition("executed_at", how, [_moment(value) for value in values], number))
        elif key in columns:
            filters.conditions.append(_condition(columns[key], how, values, number))
        elif key == "ResourceType":
            filters.nobody |= not nodes.Wanted(key, how, values).fits(RESOURCE_TYPE)
        elif columns is OF_ITEMS and key in DETAILS:
            filters.keep.append(_detail(nodes.Wanted(key, how, values)))
        else:
            kind, wanted = _of_inventory(key, how, values)
            filters.by_inventory.setdefault(kind, []).append(wanted)
    return filters


def _of_inventory(key: str, how: str, values: tuple[str, ...]) -> tuple[str, nodes.Wanted]:
    kind, dot, attribute = key.rpartition(".")
    if not dot or not attribute or not kind.startswith(("AWS:", "Custom:")):
        raise InvalidFilter(f"There is no filter {key}.")
    known = {"AWS:InstanceInformation": nodes.INFORMATION, "AWS:Tag": nodes.TAG}.get(kind)
    if known is not None and attribute not in known:
        raise InvalidFilter(f"There is no attribute {attribute} of {kind}.")
    return kind, nodes.Wanted(attribute, how, values)


def _detail(wanted: nodes.Wanted) -> Callable[[Item], bool]:
    return lambda item: wanted.fits(item.details.get(wanted.attribute))


def _condition(column: str, how: str, values: Sequence[str | int], number: int) -> Condition:
    name = f"f{number}_"
    if how in ("Equal", "NotEqual"):
        return f"{column} {'not ' if how == 'NotEqual' else ''}in (:{name})", {name: list(values)}
    tests, bound = [], {}
    for place, value in enumerate(values):
        one = f"{name}{place}_"
        bound[one] = value
        if how == "BeginWith":
            if not isinstance(value, str):
                raise InvalidFilter("A time does not begin with something.")
            tests.append(f"substr({column}, 1, :{one}length) = :{one}")
            bound[f"{one}length"] = len(value)
        else:
            tests.append(f"{column} {_COMPARISONS[how]} :{one}")
    return " or ".join(tests), bound


def _moment(text: str) -> int:
    """Epoch seconds, or a time as ISO 8601 writes it; no later than the years that there are dates of."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = None
    try:
        moment = datetime.fromisoformat(text) if seconds is None else datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise InvalidFilter(f"{text} is not a time, such as 2026-03-10T12:00:00Z.") from error
    return to_millis(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
