"""What is ahead: the starts of windows, and which windows are for a node."""

import asyncio
from typing import Final

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities import nodes, tags
from pilothouse.capabilities.maintenance_windows.asking import PAGE, filters, found_window, position, query_of
from pilothouse.capabilities.maintenance_windows.executions import moment_in
from pilothouse.capabilities.maintenance_windows.model import (
    BY_NODE,
    GROUP_TYPES,
    INSTANCE,
    Window,
    text_of_moment,
)
from pilothouse.capabilities.maintenance_windows.shapes import pairs, targets
from pilothouse.capabilities.maintenance_windows.store import PartStore, WindowStore
from pilothouse.errors import ValidationException
from pilothouse.scheduling.coming import Coming, first_of
from pilothouse.storage import Transaction

KIND: Final = "maintenance-window"
_YEAR_MS: Final = 366 * 24 * 3_600_000
_MOST: Final = 1000
"""Starts that are shown without a limit in the request; a schedule goes on for ever."""


async def windows_coming(
    tx: Transaction, account_id: str, region: str, after: int, until: int, most: int
) -> list[Coming]:  # fmt: skip
    """Starts of windows. Those that are disabled have none."""
    found = await WindowStore(tx).page(account_id, region, None, True, "", 2**31 - 1)
    return await asyncio.to_thread(starts, found, after, until, most)  # others are served meanwhile


def starts(windows: list[Window], after: int, until: int, most: int) -> list[Coming]:
    """The first starts of windows between two moments."""
    enabled = [each for each in windows if each.enabled]
    return first_of([(each.timetable, _what(each)) for each in enabled], after, until, most)


def _what(window: Window) -> Coming:
    terms = window.terms
    return Coming(
        at=0, kind=KIND, id=window.window_id, name=terms.name, about=f"tasks by {terms.schedule}",
        minutes=terms.duration * 60,
    )  # fmt: skip


@operation("ssm", "DescribeMaintenanceWindowSchedule")
async def describe_maintenance_window_schedule(call: Call, request: Shape) -> Shape:
    """Starts that are ahead, of one window, of those for a target, or of all."""
    now = call.clock.millis()
    wanted = filters(request, ("ScheduledBefore", "ScheduledAfter"))
    before = [moment_in(text, "ScheduledBefore") for text in wanted.get("ScheduledBefore", ())]
    after = [moment_in(text, "ScheduledAfter") for text in wanted.get("ScheduledAfter", ())]
    query = query_of(call, request, "DescribeMaintenanceWindowSchedule")
    start = max(now, min(after, default=now)) + 1
    moment, until, there, shown = position(call, query, request) or (start, max(before, default=now + _YEAR_MS), 0, 0)
    limit = min(request.get("MaxResults") or PAGE, _MOST - shown)
    async with call.reading() as tx:
        windows = await _asked(call, tx, request)
    ahead = (await asyncio.to_thread(starts, windows, moment - 1, until - 1, there + limit + 1))[there:]
    page = ahead[:limit]
    token = None
    if ahead[limit:] and shown + limit < _MOST:
        last = page[-1].at
        same = sum(each.at == last for each in page) + (there if last == moment else 0)
        token = call.house.pages.token(query, [last, until, same, shown + limit])
    return {
        "ScheduledWindowExecutions": [
            {"WindowId": each.id, "Name": each.name, "ExecutionTime": text_of_moment(each.at)} for each in page
        ],
        "NextToken": token,
    }


async def _asked(call: Call, tx: Transaction, request: Shape) -> list[Window]:
    where = call.account_id, call.region
    if request.get("WindowId"):
        return [await found_window(call, tx, request["WindowId"])]
    if request.get("Targets"):
        ids = await _for_target(call, tx, request["Targets"], request.get("ResourceType") or INSTANCE)
        return await WindowStore(tx).by_ids(*where, sorted(ids))
    return await WindowStore(tx).page(*where, None, True, "", 2**31 - 1)


@operation("ssm", "DescribeMaintenanceWindowsForTarget")
async def describe_maintenance_windows_for_target(call: Call, request: Shape) -> Shape:
    """The windows with a registered target that a node, or what else is named, belongs to."""
    query = query_of(call, request, "DescribeMaintenanceWindowsForTarget")
    (after,) = position(call, query, request) or ("",)
    limit = request.get("MaxResults") or PAGE
    async with call.reading() as tx:
        ids = await _for_target(call, tx, request["Targets"], request["ResourceType"])
        ahead = sorted(each for each in ids if each > after)
        found = await WindowStore(tx).by_ids(call.account_id, call.region, ahead[:limit])
    token = call.house.pages.token(query, [ahead[limit - 1]]) if ahead[limit:] else None
    shown = [{"WindowId": each.window_id, "Name": each.terms.name} for each in found]
    return {"WindowIdentities": shown, "NextToken": token}


async def _for_target(call: Call, tx: Transaction, asked: list[Shape], resource_type: str) -> set[str]:
    """Ids of the windows that are for what all of the entries name."""
    if not asked:
        raise ValidationException("Targets must name something.")
    found: set[str] | None = None
    for key, values in pairs(asked):
        if key == GROUP_TYPES:
            continue
        windows = set()
        if key == BY_NODE and resource_type == INSTANCE:
            for node_id in values:
                windows |= await _for_node(call, tx, node_id)
        else:
            named = await PartStore(tx).naming(call.account_id, call.region, resource_type, key, values)
            windows = {window_id for window_id, _ in named}
        found = windows if found is None else found & windows
    return found or set()


async def _for_node(call: Call, tx: Transaction, node_id: str) -> set[str]:
    """Ids of the windows with a target that the node fits: found by what the node has, then looked at as a whole."""
    where = call.account_id, call.region
    store = PartStore(tx)
    candidates = await store.naming(*where, INSTANCE, BY_NODE, [node_id, "*"])
    has = await tags.of(tx, *where, nodes.RESOURCE_TYPE, node_id)
    candidates |= await store.naming(*where, INSTANCE, "tag-key", list(has))
    for key, value in has.items():
        candidates |= await store.naming(*where, INSTANCE, f"tag:{key}", [value])
    windows = set()
    for window_id in {each for each, _ in candidates}:
        for target in await store.targets(window_id):
            if (window_id, target.window_target_id) in candidates:
                fitting = await nodes.resolve_targets(tx, *where, [], targets(target.terms.targets))
                if any(node.node_id == node_id for node in fitting):
                    windows.add(window_id)
    return windows
