"""The fleet looked over: how each node stands, and since when it lacks something critical."""

from collections.abc import Mapping, Sequence
from typing import Final

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities.patches.asking import InvalidNextToken, position, query_of, shown_id
from pilothouse.capabilities.patches.model import NodePatch, Standing
from pilothouse.capabilities.patches.state_store import CatalogueStore, StateStore
from pilothouse.runtime.clock import from_millis

_PAGE: Final = 100


@operation("pilothouse", "ListPatchStandings", action="ssm:DescribeInstancePatchStates")
async def list_patch_standings(call: Call, request: Shape) -> Shape:
    """Nodes that have reported, by id, with their counts and the critical patch that they have lacked the longest."""
    query = query_of(call, request, "ListPatchStandings")
    (after,) = position(call, query, request, InvalidNextToken) or ("",)
    limit = request.get("MaxResults") or _PAGE
    async with call.reading() as tx:
        store = StateStore(tx, call.account_id, call.region)
        found = await store.page(request.get("PatchGroup"), [], after, limit + 1)
        page = found[:limit]
        lacking = [each.node_id for each in page if each.critical]
        critical = [
            (node_id, patch)
            for node_id, patch in (await store.missing_of(lacking) if lacking else [])
            if patch.level == "CRITICAL"
        ]
        since = await _since(call, CatalogueStore(tx, call.account_id, call.region), critical)
    token = call.house.pages.token(query, [page[-1].node_id]) if found[limit:] else None
    return {"Standings": [_shape(call, each, since.get(each.node_id)) for each in page], "NextToken": token}


async def _since(
    call: Call, catalogue: CatalogueStore, critical: Sequence[tuple[str, NodePatch]]
) -> Mapping[str, tuple[int, NodePatch]]:
    """Node to its oldest, and when that was released, or first seen where nobody says that."""
    names = sorted({_name(patch) for _, patch in critical})
    known = await catalogue.seen_first(names) if names else {}
    found: dict[str, tuple[int, NodePatch]] = {}
    for node_id, patch in critical:
        name = _name(patch)
        moments = [
            at for (each, version), at in known.items() if each == name and patch.title in ("", f"{each}-{version}")
        ]
        moments = moments or [at for (each, _), at in known.items() if each == name]
        at = min(moments, default=call.clock.millis())
        if node_id not in found or at < found[node_id][0]:
            found[node_id] = at, patch
    return found


def _name(patch: NodePatch) -> str:
    """The package's, of an id that ends with its architecture."""
    return patch.patch_id.rpartition(".")[0] or patch.patch_id


def _shape(call: Call, of: Standing, oldest: tuple[int, NodePatch] | None) -> Shape:
    shape: Shape = {
        "NodeId": of.node_id,
        "PatchGroup": of.patch_group or None,
        "BaselineId": shown_id(call, of.baseline_id),
        "Operation": of.operation,
        "OperationEndTime": from_millis(of.ended_at),
        "Compliant": not (of.critical or of.security or of.other),
        "Installed": of.counts["INSTALLED"],
        "InstalledOther": of.counts["INSTALLED_OTHER"],
        "PendingReboot": of.counts["INSTALLED_PENDING_REBOOT"],
        "Rejected": of.counts["INSTALLED_REJECTED"],
        "Missing": of.counts["MISSING"],
        "Failed": of.counts["FAILED"],
        "Critical": of.critical,
        "Security": of.security,
        "Other": of.other,
    }
    if oldest is not None:
        at, patch = oldest
        shape["OldestCritical"] = {"PatchId": patch.patch_id, "Title": patch.title, "Since": from_millis(at)}
    return shape
