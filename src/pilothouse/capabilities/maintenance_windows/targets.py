"""Registered targets: for what the tasks of a window can be."""

from collections.abc import Iterator
from dataclasses import asdict, replace

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities.maintenance_windows import shapes, telling
from pilothouse.capabilities.maintenance_windows.asking import (
    filters,
    fits,
    found_window,
    locked_window,
    missing,
    named_target,
    named_window,
    paged,
)
from pilothouse.capabilities.maintenance_windows.model import (
    BY_NODE,
    BY_TARGET,
    GROUP_NAME,
    GROUP_TYPES,
    INSTANCE,
    IdempotentParameterMismatch,
    Pairs,
    ResourceLimitExceededException,
    TargetInUseException,
    TargetTerms,
    WindowTarget,
    merged,
)
from pilothouse.capabilities.maintenance_windows.store import PartStore
from pilothouse.errors import ValidationException
from pilothouse.storage import Transaction


def check_targets(terms: TargetTerms) -> None:
    """Keys that go with the type, each with values. Raises ValidationException."""
    if not terms.targets:
        raise ValidationException("A target needs Targets.")
    for key, values in terms.targets:
        of_groups = key in (GROUP_NAME, GROUP_TYPES)
        if terms.resource_type == INSTANCE and not (key in (BY_NODE, "tag-key") or _is_tag(key)):
            raise ValidationException(
                f"Targets of type INSTANCE have the keys {BY_NODE}, tag:<key> and tag-key: {key}."
            )
        if terms.resource_type != INSTANCE and not of_groups:
            raise ValidationException(
                f"Targets of type RESOURCE_GROUP have the keys {GROUP_NAME} and {GROUP_TYPES}: {key}."
            )
        if not values:
            raise ValidationException(f"The target {key} needs Values.")
        if key == GROUP_NAME and len(values) != 1:
            raise ValidationException(f"The target {GROUP_NAME} names one resource group.")
    if terms.resource_type != INSTANCE and GROUP_NAME not in dict(terms.targets):
        raise ValidationException(f"A target of type RESOURCE_GROUP needs the key {GROUP_NAME}.")


def _is_tag(key: str) -> bool:
    return key.startswith("tag:") and len(key) > len("tag:")


def _found_by(targets: Pairs) -> Iterator[tuple[str, str]]:
    for key, values in targets:
        for value in values:
            yield key, value


async def _found(tx: Transaction, window_id: str, target_id: str) -> WindowTarget:
    for each in await PartStore(tx).targets(window_id):
        if each.window_target_id == target_id:
            return each
    raise missing("target", target_id)


@operation("ssm", "RegisterTargetWithMaintenanceWindow", writes=True, resources=named_window)
async def register_target_with_maintenance_window(call: Call, request: Shape) -> Shape:
    """Register nodes or a group. Which nodes these are is seen at each run."""
    terms = TargetTerms(
        resource_type=request["ResourceType"], targets=shapes.pairs(request["Targets"]),
        **merged({}, shapes.given(request, shapes.TARGET)),
    )  # fmt: skip
    token, digest = request.get("ClientToken") or "", shapes.digest(request)
    async with call.transaction() as tx:
        window = await locked_window(call, tx, request["WindowId"])
        store = PartStore(tx)
        known = await store.targets(window.window_id)
        for each in known:
            if token and each.client_token == token:
                if each.digest != digest:
                    raise IdempotentParameterMismatch
                return {"WindowTargetId": each.window_target_id}
        check_targets(terms)
        limit = call.house.settings.maintenance_windows.most_targets
        if len(known) >= limit:
            raise ResourceLimitExceededException(f"A maintenance window can have at most {limit} targets.")
        target = WindowTarget(
            window_target_id=call.ids.uuid(), window_id=window.window_id, account_id=call.account_id,
            region=call.region, terms=terms, created_at=call.clock.millis(), client_token=token, digest=digest,
        )  # fmt: skip
        await store.add_target(target, _found_by(terms.targets))
        await telling.target_changed(call.house, tx, target, telling.REGISTERED)
    return {"WindowTargetId": target.window_target_id}


@operation("ssm", "UpdateMaintenanceWindowTarget", writes=True, resources=named_target)
async def update_maintenance_window_target(call: Call, request: Shape) -> Shape:
    """Change what the request says; with Replace, it says all."""
    replaces = bool(request.get("Replace"))
    if replaces and not request.get("Targets"):
        raise ValidationException("With Replace the request must say all that a new target needs: Targets.")
    async with call.transaction() as tx:
        window = await locked_window(call, tx, request["WindowId"])
        before = await _found(tx, window.window_id, request["WindowTargetId"])
        kept = {"resource_type": before.terms.resource_type} if replaces else asdict(before.terms)
        said = shapes.given(request, shapes.TARGET)
        if request.get("Targets"):
            said["targets"] = shapes.pairs(request["Targets"])
        target = replace(before, terms=TargetTerms(**merged(kept, said)))
        check_targets(target.terms)
        await PartStore(tx).save_target(target, _found_by(target.terms.targets))
        await telling.target_changed(call.house, tx, target, telling.UPDATED)
    return shapes.updated_target(target)


@operation("ssm", "DeregisterTargetFromMaintenanceWindow", writes=True, resources=named_target)
async def deregister_target_from_maintenance_window(call: Call, request: Shape) -> Shape:
    """Remove a target; with Safe, only one that no task is for."""
    target_id = request["WindowTargetId"]
    async with call.transaction() as tx:
        window = await locked_window(call, tx, request["WindowId"])
        target = await _found(tx, window.window_id, target_id)
        store = PartStore(tx)
        if request.get("Safe"):
            for task in await store.tasks(window.window_id):
                if target_id in task.terms.values_of(BY_TARGET):
                    raise TargetInUseException(f"The task {task.window_task_id} is for the target {target_id}.")
        await store.remove_target(target_id)
        await telling.target_changed(call.house, tx, target, telling.DEREGISTERED)
    return {"WindowId": window.window_id, "WindowTargetId": target_id}


@operation("ssm", "DescribeMaintenanceWindowTargets", resources=named_window)
async def describe_maintenance_window_targets(call: Call, request: Shape) -> Shape:
    """The targets of a window, by age."""
    wanted = filters(request, ("Type", "WindowTargetId", "OwnerInformation"))
    async with call.reading() as tx:
        window = await found_window(call, tx, request["WindowId"])
        found = await PartStore(tx).targets(window.window_id)
    entries: list[tuple[list[str | int], Shape]] = [
        ([each.created_at, each.window_target_id], shapes.target(each))
        for each in found
        if fits(wanted, {
            "Type": each.terms.resource_type, "WindowTargetId": each.window_target_id,
            "OwnerInformation": each.terms.owner,
        })
    ]  # fmt: skip
    return paged(call, request, "DescribeMaintenanceWindowTargets", "Targets", entries)
