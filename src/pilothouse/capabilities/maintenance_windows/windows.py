"""Windows as users make, change, look at and remove them."""

from dataclasses import asdict, replace

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities import tags
from pilothouse.capabilities.maintenance_windows import shapes, telling
from pilothouse.capabilities.maintenance_windows.asking import (
    PAGE,
    TAGGED_AS,
    filters,
    found_window,
    locked_window,
    named_window,
    position,
    query_of,
)
from pilothouse.capabilities.maintenance_windows.model import (
    IdempotentParameterMismatch,
    ResourceLimitExceededException,
    Window,
    WindowTerms,
    check_terms,
    merged,
    whole_seconds,
)
from pilothouse.capabilities.maintenance_windows.running import DUE, plan_next
from pilothouse.capabilities.maintenance_windows.store import WindowStore
from pilothouse.errors import ValidationException
from pilothouse.scheduling import due

_REQUIRED = ("Name", "Schedule", "Duration", "Cutoff", "AllowUnassociatedTargets")


@operation("ssm", "CreateMaintenanceWindow", writes=True)
async def create_maintenance_window(call: Call, request: Shape) -> Shape:
    """Make a window, enabled. With a token that made one before, its id."""
    given = tags.by_key(request.get("Tags") or [])
    token, digest = request.get("ClientToken") or "", shapes.digest(request)
    now = call.clock.millis()
    terms = WindowTerms(**merged({}, shapes.given(request, shapes.WINDOW)))
    async with call.transaction() as tx:
        store = WindowStore(tx)
        await store.lock_all(call.account_id, call.region)
        known = await store.by_token(call.account_id, call.region, token) if token else None
        if known is not None:
            if known.digest != digest:
                raise IdempotentParameterMismatch
            return {"WindowId": known.window_id}
        check_terms(terms, now)
        limit = call.house.settings.maintenance_windows.most
        if await store.count(call.account_id, call.region) >= limit:
            raise ResourceLimitExceededException(f"There can be at most {limit} maintenance windows.")
        window = Window(
            window_id=f"mw-{call.ids.uuid().replace('-', '')[:17]}", account_id=call.account_id, region=call.region,
            terms=terms, enabled=True, since=whole_seconds(now), created_at=now, modified_at=now, client_token=token,
            digest=digest,
        )  # fmt: skip
        await store.add(window)
        await tags.put(tx, call.account_id, call.region, TAGGED_AS, window.window_id, given)
        await plan_next(call.house, tx, window)
    return {"WindowId": window.window_id}


@operation("ssm", "UpdateMaintenanceWindow", writes=True, resources=named_window)
async def update_maintenance_window(call: Call, request: Shape) -> Shape:
    """Change what the request says; with Replace, it says all, and what it leaves out is gone."""
    replaces = bool(request.get("Replace"))
    if replaces and (left_out := [name for name in _REQUIRED if request.get(name) is None]):
        raise ValidationException(f"With Replace the request must say all that a new window needs: {left_out[0]}.")
    now = call.clock.millis()
    async with call.transaction() as tx:
        before = await locked_window(call, tx, request["WindowId"])
        kept = {} if replaces else asdict(before.terms)
        terms = WindowTerms(**merged(kept, shapes.given(request, shapes.WINDOW)))
        check_terms(terms, now, before.terms)
        enabled = before.enabled if request.get("Enabled") is None else request["Enabled"]
        moves = not terms.planned_as(before.terms)
        window = replace(
            before, terms=terms, enabled=enabled, modified_at=now, since=whole_seconds(now) if moves else before.since
        )
        await WindowStore(tx).save(window)
        if moves or enabled != before.enabled:
            await plan_next(call.house, tx, window)
        if enabled != before.enabled:
            await telling.window_switched(call.house, tx, window)
    return shapes.window(window)


@operation("ssm", "DeleteMaintenanceWindow", writes=True, resources=named_window)
async def delete_maintenance_window(call: Call, request: Shape) -> Shape:
    """Remove a window with its targets and tasks; what its executions did stays. One that is not there is no error."""
    window_id = request["WindowId"]
    async with call.transaction() as tx:
        store = WindowStore(tx)
        await store.lock(window_id)
        if await store.find(call.account_id, call.region, window_id) is not None:
            await due.remove(tx, DUE, window_id)
            await store.remove(window_id)
            await tags.remove_all(tx, call.account_id, call.region, TAGGED_AS, window_id)
    return {"WindowId": window_id}


@operation("ssm", "GetMaintenanceWindow", resources=named_window)
async def get_maintenance_window(call: Call, request: Shape) -> Shape:
    """A window, and when it starts next."""
    async with call.reading() as tx:
        window = await found_window(call, tx, request["WindowId"])
        times = await due.of(tx, DUE, [window.window_id])
    return shapes.whole_window(window, times.get(window.window_id))


@operation("ssm", "DescribeMaintenanceWindows")
async def describe_maintenance_windows(call: Call, request: Shape) -> Shape:
    """Windows by id."""
    wanted = filters(request, ("Name", "Enabled"))
    switched = {value.lower() for value in wanted["Enabled"]} if "Enabled" in wanted else None
    if switched is not None and not switched <= {"true", "false"}:
        raise ValidationException("The filter Enabled has the values True and False.")
    query = query_of(call, request, "DescribeMaintenanceWindows")
    (after,) = position(call, query, request) or ("",)
    limit = request.get("MaxResults") or PAGE
    async with call.reading() as tx:
        found = await WindowStore(tx).page(
            call.account_id, call.region, sorted(wanted["Name"]) if "Name" in wanted else None,
            "true" in switched if switched is not None and len(switched) == 1 else None, after, limit + 1,
        )  # fmt: skip
        page = found[:limit]
        times = await due.of(tx, DUE, [each.window_id for each in page])
    token = call.house.pages.token(query, [page[-1].window_id]) if found[limit:] else None
    shown = [shapes.identity(each, times.get(each.window_id)) for each in page]
    return {"WindowIdentities": shown, "NextToken": token}
