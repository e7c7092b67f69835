"""Patches: baselines that say which are approved, and how nodes stand against them.

Owns the tables patch_baseline, patch_group, patch_default, patch_snapshot, patch_standing, patch_of_node and
patch_known. Does not patch: AWS-RunPatchBaseline has nodes fetch the program `pilothouse_patching`, which asks for the
snapshot of a baseline and reports as inventory, of which `inventory.put` tells. `patches.reported` tells of each
report, in its transaction.
"""

from pilothouse.call import Capability
from pilothouse.capabilities import tags
from pilothouse.capabilities.patches import baselines, catalogue, groups, jobs, overview, reports, snapshots, states
from pilothouse.capabilities.patches.model import TAGGED_AS, InvalidResourceId, parts_of
from pilothouse.capabilities.patches.store import SEALED, find_own
from pilothouse.storage import Transaction


async def _find(tx: Transaction, account_id: str, region: str, resource_id: str) -> str | None:
    """The baseline that tags hang on."""
    try:
        where, baseline_id = parts_of(resource_id)
    except InvalidResourceId:
        return None
    if where not in (None, (region, account_id)):
        return None
    return baseline_id if await find_own(tx, account_id, region, baseline_id) else None


async def _tags(tx: Transaction, account_id: str, region: str, rest: str) -> dict[str, str]:
    """Of the baseline that an ARN ends with."""
    return await tags.of(tx, account_id, region, TAGGED_AS, rest)


CAPABILITY = Capability.of(
    "patches",
    baselines,
    groups,
    states,
    snapshots,
    catalogue,
    overview,
    jobs,
    taggable={TAGGED_AS: _find},
    tags_of={"patchbaseline": _tags},
    listeners={"inventory.put": reports.inventory_put, "node.deregistered": reports.node_gone},
    sealed=SEALED,
    files={snapshots.PREFIX: snapshots.given},
)

__all__ = ["CAPABILITY"]
