"""Patch groups: which baseline serves nodes that a tag puts together."""

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities.patches.asking import (
    DEFAULT_SYSTEM,
    filters,
    find_baseline,
    id_for_group,
    id_here,
    named_baseline,
    position,
    query_of,
    shown_id,
)
from pilothouse.capabilities.patches.baselines import identity_of
from pilothouse.capabilities.patches.model import AlreadyExistsException, DoesNotExistException, InvalidResourceId
from pilothouse.capabilities.patches.store import BaselineStore, RegistrationStore
from pilothouse.errors import ValidationException

_PAGE = 100


@operation("ssm", "RegisterPatchBaselineForPatchGroup", writes=True, resources=named_baseline)
async def register_patch_baseline_for_patch_group(call: Call, request: Shape) -> Shape:
    """Let the baseline serve the group's nodes of its operating system."""
    patch_group = request["PatchGroup"]
    async with call.transaction() as tx:
        await BaselineStore(tx, call.house, call.account_id, call.region).lock()
        baseline = await find_baseline(call, tx, request["BaselineId"])
        store = RegistrationStore(tx, call.account_id, call.region)
        system = baseline.operating_system
        if await store.of_group(patch_group, system) is not None:
            raise AlreadyExistsException(
                f"Patch Group baseline already has a baseline registered for OperatingSystem {system}."
            )
        await store.register(patch_group, system, baseline.baseline_id)
    return {"BaselineId": shown_id(call, baseline.baseline_id), "PatchGroup": patch_group}


@operation("ssm", "DeregisterPatchBaselineForPatchGroup", writes=True, resources=named_baseline)
async def deregister_patch_baseline_for_patch_group(call: Call, request: Shape) -> Shape:
    """The default serves the group's nodes again. What is not registered is no error; a baseline elsewhere is."""
    try:
        baseline_id = id_here(call, request["BaselineId"])
    except DoesNotExistException as elsewhere:  # the model of this operation has no such error
        raise InvalidResourceId from elsewhere
    async with call.transaction() as tx:
        await BaselineStore(tx, call.house, call.account_id, call.region).lock()
        await RegistrationStore(tx, call.account_id, call.region).deregister(request["PatchGroup"], baseline_id)
    return {"BaselineId": shown_id(call, baseline_id), "PatchGroup": request["PatchGroup"]}


@operation("ssm", "GetPatchBaselineForPatchGroup")
async def get_patch_baseline_for_patch_group(call: Call, request: Shape) -> Shape:
    """The baseline that serves the group, the default of the operating system if none is registered."""
    system = request.get("OperatingSystem") or DEFAULT_SYSTEM
    async with call.reading() as tx:
        found = await id_for_group(call, tx, request["PatchGroup"], system)
    return {"BaselineId": shown_id(call, found), "PatchGroup": request["PatchGroup"], "OperatingSystem": system}


@operation("ssm", "DescribePatchGroups")
async def describe_patch_groups(call: Call, request: Shape) -> Shape:
    """Groups that a baseline is registered for, by name and operating system."""
    wanted = filters(request, {"NAME_PREFIX": False, "OPERATING_SYSTEM": True})
    query = query_of(call, request, "DescribePatchGroups")
    after = position(call, query, request, ValidationException) or ["", ""]
    limit = request.get("MaxResults") or _PAGE
    async with call.reading() as tx:
        store = RegistrationStore(tx, call.account_id, call.region)
        prefix = wanted.get("NAME_PREFIX", [""])[0]
        found = await store.page(prefix, wanted.get("OPERATING_SYSTEM"), after, limit + 1)
        defaults = await store.defaults()
        mappings = []
        for patch_group, _, baseline_id in found[:limit]:
            try:
                baseline = await find_baseline(call, tx, baseline_id)
            except DoesNotExistException:  # it was removed while this list was read
                continue
            mappings.append({"PatchGroup": patch_group, "BaselineIdentity": identity_of(call, baseline, defaults)})
    token = call.house.pages.token(query, list(found[limit - 1][:2])) if found[limit:] else None
    return {"Mappings": mappings, "NextToken": token}
