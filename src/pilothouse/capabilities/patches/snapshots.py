"""What a run on a node works by: the snapshot of its baseline, the link to it, and the payload.

All nodes of a run that name the same snapshot work by what their baseline said when the first of them asked.
"""

import hashlib
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from pilothouse.call import Call, Caller, House, Shape, operation
from pilothouse.capabilities import nodes, tags
from pilothouse.capabilities.patches import packing
from pilothouse.capabilities.patches.asking import find_baseline, group_of_node, id_for_group, shown_id
from pilothouse.capabilities.patches.model import (
    NOT_LINUX,
    TAGGED_AS,
    DoesNotExistException,
    UnsupportedOperatingSystem,
    check,
    system_of,
    terms_of,
    told,
)
from pilothouse.capabilities.patches.store import SnapshotStore
from pilothouse.storage import Transaction
from pilothouse.storage.pages import InvalidPageToken

PREFIX: Final = "/ph/v1/patches/"
PAYLOAD: Final = "payload.pyz"
_LINK_MS: Final = 3_600_000
_QUERY: Final = ["patch snapshot"]


def _named_node(call: Call, request: Shape) -> list[str]:
    return [f"arn:aws:ssm:{call.region}:{call.account_id}:managed-instance/{request['InstanceId']}"]


@operation(
    "ssm", "GetDeployablePatchSnapshotForInstance", writes=True, callers=Caller.ACCOUNT | Caller.NODE,
    resources=_named_node, node_member="InstanceId",
)  # fmt: skip
async def get_deployable_patch_snapshot_for_instance(call: Call, request: Shape) -> Shape:
    """The link to the snapshot that the node is to work by; the first of a run that asks makes it."""
    return await _given(call, request, None)


@operation(
    "pilothouse", "GetPatchSnapshotByTag", writes=True, callers=Caller.NODE,
    action="ssm:GetDeployablePatchSnapshotForInstance", resources=_named_node, node_member="InstanceId",
)  # fmt: skip
async def get_patch_snapshot_by_tag(call: Call, request: Shape) -> Shape:
    """The same of the baseline of the node's operating system that has the tag, whatever the node's patch group is."""
    return await _given(call, request, (request["TagKey"], request["TagValues"]))


async def _given(call: Call, request: Shape, tag: tuple[str, Sequence[str]] | None) -> Shape:
    node_id, snapshot_id = request["InstanceId"], request["SnapshotId"].lower()
    async with call.transaction() as tx:
        node = await nodes.find(tx, call.account_id, call.region, node_id)
        if node is None:
            raise nodes.InvalidInstanceId(f"The managed node {node_id} is not registered here.")
        system, product = system_of(node.platform_name, node.platform_version)
        if system in NOT_LINUX:
            raise UnsupportedOperatingSystem(f"Nodes that run {system} cannot be patched by this server.")
        if tag is None:
            baseline = await _baseline_for(call, tx, node_id, system, request.get("BaselineOverride"))
        else:
            baseline = await _tagged(call, tx, system, *tag)
        store = SnapshotStore(tx, call.house, call.account_id, call.region)
        await store.lock(snapshot_id)
        key = _key(baseline)
        if await store.find(snapshot_id, key) is None:
            await store.add(snapshot_id, key, msgspec.json.encode(baseline), call.clock.millis())
        group = await group_of_node(call, tx, node_id)
    until = call.clock.millis() + _LINK_MS
    place: list[str | int] = [call.account_id, call.region, snapshot_id, key, system, product, group, until]
    scheme, host = "https" if call.secure else "http", call.headers.get("host", "")
    url = f"{scheme}://{host}{PREFIX}snapshots/{call.house.pages.token(_QUERY, place)}"
    return {"InstanceId": node_id, "SnapshotId": request["SnapshotId"], "SnapshotDownloadUrl": url, "Product": product}


async def _baseline_for(
    call: Call, tx: Transaction, node_id: str, system: str, override: Shape | None
) -> dict[str, Any]:
    """What counts for the node: the override, else its patch group's baseline, else its system's default."""
    if override:
        if override.get("OperatingSystem") not in (None, system):
            raise UnsupportedOperatingSystem(
                f"The baseline override is for {override['OperatingSystem']}; the node runs {system}."
            )
        terms = terms_of({"Name": "override", **override})
        check(system, terms)
        digest = hashlib.sha256(msgspec.json.encode(terms, order="deterministic")).hexdigest()[:17]
        return {"BaselineId": f"pb-{digest}", **told(terms)}
    group = await group_of_node(call, tx, node_id)
    found = await find_baseline(call, tx, await id_for_group(call, tx, group, system))
    return {"BaselineId": shown_id(call, found.baseline_id), **told(found.terms)}


async def _tagged(call: Call, tx: Transaction, system: str, key: str, values: Sequence[str]) -> dict[str, Any]:
    """The account's baseline of the system with the tag; of several the first by id. Raises DoesNotExistException."""
    for baseline_id in sorted(await tags.ids_with(tx, call.account_id, call.region, TAGGED_AS, key, values)):
        found = await find_baseline(call, tx, baseline_id)
        if found.operating_system == system:
            return {"BaselineId": found.baseline_id, **told(found.terms)}
    raise DoesNotExistException(f"No patch baseline for {system} has the tag {key} with {' or '.join(values)}.")


def _key(baseline: dict[str, Any]) -> str:
    return str(baseline["BaselineId"]).rpartition("/")[2] + ("/override" if baseline["Name"] == "override" else "")


async def given(house: House, path: str) -> bytes | None:
    """The payload, or the snapshot that a link leads to, `path` being what follows the prefix; None for none."""
    if path == PAYLOAD:
        return packing.packed()
    kind, _, token = path.partition("/")
    if kind != "snapshots":
        return None
    try:
        account_id, region, snapshot_id, key, system, product, group, until = house.pages.position(_QUERY, token)
    except InvalidPageToken:
        return None
    if until < house.clock.millis():
        return None
    async with house.database.reading() as tx:
        content = await SnapshotStore(tx, house, account_id, region).find(snapshot_id, key)
    if content is None:
        return None
    baseline = msgspec.json.decode(content)
    return msgspec.json.encode({
        "accountId": account_id, "region": region, "snapshotId": snapshot_id, "operatingSystem": system,
        "product": product, "patchGroup": group, "baselineId": baseline["BaselineId"],
        "baselineName": baseline["Name"], "patchBaseline": baseline, "payloadSha256": packing.digest(),
        "lockSeconds": house.settings.patches.lock_seconds,
    })  # fmt: skip
