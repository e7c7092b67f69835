"""AddTagsToResource, RemoveTagsFromResource, ListTagsForResource.

The owner of a resource type announces a function that finds its resources (`Capability.taggable`); a type of the
service model that nobody owns has no resources.
"""

from typing import Final

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities.tags.model import (
    RESOURCE_TYPES,
    InvalidResourceId,
    InvalidResourceType,
    by_key,
    check_count,
)
from pilothouse.capabilities.tags.store import TagStore
from pilothouse.storage import Transaction

_KINDS: Final = {
    "Association": "association",
    "Automation": "automation-execution",
    "CloudConnector": "cloud-connector",
    "Document": "document",
    "MaintenanceWindow": "maintenancewindow",
    "ManagedInstance": "managed-instance",
    "OpsItem": "opsitem",
    "OpsMetadata": "opsmetadata",
    "Parameter": "parameter",
    "PatchBaseline": "patchbaseline",
}
"""ResourceType to the kind in the resource's ARN."""


def _resource(call: Call, request: Shape) -> list[str]:
    kind = _KINDS.get(request["ResourceType"])
    if kind is None or request["ResourceId"].startswith("arn:"):
        return [request["ResourceId"] if kind else "*"]
    return [f"arn:aws:ssm:{call.region}:{call.account_id}:{kind}/{request['ResourceId'].strip().removeprefix('/')}"]


@operation("ssm", "AddTagsToResource", writes=True, resources=_resource)
async def add_tags_to_resource(call: Call, request: Shape) -> Shape:
    """Add tags to a resource; a tag with the same key is overwritten."""
    resource_type = request["ResourceType"]
    added = by_key(request["Tags"])
    async with call.transaction() as tx:
        store = TagStore(tx, call.account_id, call.region)
        resource_id = await _locked(call, tx, resource_type, request["ResourceId"])
        check_count(resource_type, len((await store.of(resource_type, resource_id)) | added))
        await store.put(resource_type, resource_id, added)
        await _tell(call, tx, resource_type, resource_id)
    return {}


@operation("ssm", "RemoveTagsFromResource", writes=True, resources=_resource)
async def remove_tags_from_resource(call: Call, request: Shape) -> Shape:
    """Remove tags by key; a key that is not there is no error."""
    resource_type = request["ResourceType"]
    async with call.transaction() as tx:
        resource_id = await _locked(call, tx, resource_type, request["ResourceId"])
        await TagStore(tx, call.account_id, call.region).remove(resource_type, resource_id, request["TagKeys"])
        await _tell(call, tx, resource_type, resource_id)
    return {}


@operation("ssm", "ListTagsForResource", resources=_resource)
async def list_tags_for_resource(call: Call, request: Shape) -> Shape:
    """Every tag of the resource, by key."""
    resource_type = request["ResourceType"]
    async with call.reading() as tx:
        resource_id = await _found(call, tx, resource_type, request["ResourceId"])
        tags = await TagStore(tx, call.account_id, call.region).of(resource_type, resource_id)
    return {"TagList": [{"Key": key, "Value": value} for key, value in tags.items()]}


async def _tell(call: Call, tx: Transaction, resource_type: str, resource_id: str) -> None:
    """Those who choose resources by their tags look again."""
    where = {"account_id": call.account_id, "region": call.region}
    await call.house.tell(tx, "tags.changed", resource_type=resource_type, resource_id=resource_id, **where)


async def _locked(call: Call, tx: Transaction, resource_type: str, asked: str) -> str:
    """The id that tags hang on, locked. Looked up again under the lock: the resource may go away while we wait."""
    resource_id = await _found(call, tx, resource_type, asked)
    await TagStore(tx, call.account_id, call.region).lock(resource_type, resource_id)
    return await _found(call, tx, resource_type, asked)


async def _found(call: Call, tx: Transaction, resource_type: str, asked: str) -> str:
    if resource_type not in RESOURCE_TYPES:
        raise InvalidResourceType
    find = call.house.taggable.get(resource_type)
    resource_id = await find(tx, call.account_id, call.region, asked) if find else None
    if resource_id is None:
        raise InvalidResourceId
    return resource_id
