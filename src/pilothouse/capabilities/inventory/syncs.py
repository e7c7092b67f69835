"""Resource data syncs: CreateResourceDataSync and its like."""

from dataclasses import replace
from typing import Any, Final

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities import nodes, objects
from pilothouse.capabilities.inventory import server_side
from pilothouse.capabilities.inventory.copying import SERVICE, delivering, key_of
from pilothouse.capabilities.inventory.model import (
    ResourceDataSyncAlreadyExistsException,
    ResourceDataSyncCountExceededException,
    ResourceDataSyncInvalidConfigurationException,
    ResourceDataSyncNotFoundException,
)
from pilothouse.capabilities.inventory.paging import position
from pilothouse.capabilities.inventory.store import InventoryStore
from pilothouse.capabilities.inventory.sync_marks import ALONG
from pilothouse.capabilities.inventory.sync_store import FROM_SOURCE, TO_DESTINATION, Sync, SyncStore
from pilothouse.identity.authorise import allowed_of
from pilothouse.runtime.clock import from_millis
from pilothouse.storage import Transaction

_MOST: Final = {TO_DESTINATION: 5, FROM_SOURCE: 10}
_SOURCES: Final = ("AwsOrganizations", "SingleAccountMultiRegions")
_PAGE: Final = 50
_SOME_NODE: Final = "mi-00000000000000000"


def _sync(call: Call, request: Shape) -> list[str]:
    return [f"arn:aws:ssm:{call.region}:{call.account_id}:resource-data-sync/{request['SyncName']}"]


@operation("ssm", "CreateResourceDataSync", writes=True, resources=_sync)
async def create_resource_data_sync(call: Call, request: Shape) -> Shape:
    """Copy inventory to a bucket from now on, all that there is first; or note from where a summary is wanted."""
    sync_type = _type(request.get("SyncType") or TO_DESTINATION)
    settings = _settings(sync_type, request)
    now = call.clock.millis()
    async with call.transaction() as tx:
        store = SyncStore(tx, call.account_id, call.region)
        await store.lock()
        if await store.find(request["SyncName"]) is not None:
            raise ResourceDataSyncAlreadyExistsException(
                f"There is a resource data sync {request['SyncName']}.", SyncName=request["SyncName"]
            )
        if sum(1 for each in await store.all() if each.sync_type == sync_type) >= _MOST[sync_type]:
            raise ResourceDataSyncCountExceededException(
                f"There are {_MOST[sync_type]} resource data syncs of the type {sync_type}."
            )
        sync = Sync(
            account_id=call.account_id, region=call.region, sync_name=request["SyncName"], sync_type=sync_type,
            settings=settings, created_at=now, modified_at=now,
        )  # fmt: skip
        if sync_type == TO_DESTINATION:
            await _check_bucket(call, tx, sync)
        await store.put(sync)
        if sync_type == TO_DESTINATION:
            await _want_all(call, tx, sync)
    return {}


@operation("ssm", "UpdateResourceDataSync", writes=True, resources=_sync)
async def update_resource_data_sync(call: Call, request: Shape) -> Shape:
    """Note another source; destinations cannot be changed."""
    if _type(request["SyncType"]) != FROM_SOURCE:
        raise ResourceDataSyncInvalidConfigurationException(f"Only syncs of the type {FROM_SOURCE} can be updated.")
    settings = _settings(FROM_SOURCE, {"SyncSource": request["SyncSource"]})
    async with call.transaction() as tx:
        store = SyncStore(tx, call.account_id, call.region)
        await store.lock()
        sync = await _existing(store, request)
        await store.put(replace(sync, settings=settings, modified_at=call.clock.millis()))
    return {}


@operation("ssm", "DeleteResourceDataSync", writes=True, resources=_sync)
async def delete_resource_data_sync(call: Call, request: Shape) -> Shape:
    """Copy no more; what was copied stays."""
    if request.get("SyncType"):
        _type(request["SyncType"])
    async with call.transaction() as tx:
        store = SyncStore(tx, call.account_id, call.region)
        await store.lock()
        await _existing(store, request)
        await store.remove(request["SyncName"])
    return {}


@operation("ssm", "ListResourceDataSync")
async def list_resource_data_sync(call: Call, request: Shape) -> Shape:
    """Syncs by name, with how the last copying ended."""
    wanted = _type(request["SyncType"]) if request.get("SyncType") else None
    query = ["ListResourceDataSync", call.account_id, call.region, wanted]
    (after,) = position(call, query, request) or ("",)
    limit = request.get("MaxResults") or _PAGE
    async with call.reading() as tx:
        found = await SyncStore(tx, call.account_id, call.region).all()
    syncs = [each for each in found if each.sync_name > after and wanted in (None, each.sync_type)]
    token = call.house.pages.token(query, [syncs[limit - 1].sync_name]) if syncs[limit:] else None
    return {"ResourceDataSyncItems": [_to_wire(each) for each in syncs[:limit]], "NextToken": token}


def _type(sync_type: str) -> str:
    if sync_type not in _MOST:
        raise ResourceDataSyncInvalidConfigurationException(
            f"The type of a resource data sync is {TO_DESTINATION} or {FROM_SOURCE}."
        )
    return sync_type


def _settings(sync_type: str, request: Shape) -> dict[str, Any]:
    """What the sync needs to know. Raises ResourceDataSyncInvalidConfigurationException."""
    destination, source = request.get("S3Destination"), request.get("SyncSource")
    if sync_type == TO_DESTINATION:
        if destination is None or source is not None:
            raise ResourceDataSyncInvalidConfigurationException(f"{TO_DESTINATION} needs an S3Destination alone.")
        for name in ("AWSKMSKeyARN", "DestinationDataSharing"):
            if destination.get(name):
                raise ResourceDataSyncInvalidConfigurationException(f"{name} is not supported here.")
        return dict(destination)
    if source is None or destination is not None:
        raise ResourceDataSyncInvalidConfigurationException(f"{FROM_SOURCE} needs a SyncSource alone.")
    if source["SourceType"] not in _SOURCES:
        raise ResourceDataSyncInvalidConfigurationException(f"The SourceType is one of {', '.join(_SOURCES)}.")
    if (source["SourceType"] == _SOURCES[0]) != bool(source.get("AwsOrganizationsSource")):
        raise ResourceDataSyncInvalidConfigurationException(f"{_SOURCES[0]} goes with an AwsOrganizationsSource.")
    return dict(source)


async def _check_bucket(call: Call, tx: Transaction, sync: Sync) -> None:
    """Whether the bucket may be filled: by the caller, or by Systems Manager as the bucket's policy says.

    Where nothing else is configured it is one of the account's here; the policies of another S3's are not known here.
    Raises ResourceDataSyncInvalidConfigurationException.
    """
    bucket = sync.settings["BucketName"]
    key = key_of(sync, server_side.INFORMATION, _SOME_NODE)
    try:
        if call.house.settings.inventory.sync_endpoint:
            allowed = bool(await allowed_of(call, tx, "s3:PutObject", [f"arn:aws:s3:::{bucket}/{key}"]))
        else:
            allowed = await objects.may_be_filled(call, tx, bucket, key, SERVICE, delivering(sync))
    except objects.NoSuchBucket as error:
        raise ResourceDataSyncInvalidConfigurationException(f"There is no bucket {bucket} of the account.") from error
    if not allowed:
        raise ResourceDataSyncInvalidConfigurationException(
            f"Objects cannot be written to the bucket {bucket}: neither may the caller (s3:PutObject on "
            f"arn:aws:s3:::{bucket}/{key}), nor does the bucket's policy let {SERVICE}."
        )


async def _want_all(call: Call, tx: Transaction, sync: Sync) -> None:
    scope = server_side.scope_of(call.house, call.account_id, call.region)
    node_ids = sorted(await nodes.ids_described(tx, scope, []))
    parts = [(node_id, type_name) for node_id in node_ids for type_name in ALONG]
    inventory = InventoryStore(tx, call.account_id, call.region)
    for kind in await inventory.kinds():
        parts += [(node_id, kind.type_name) for node_id in await inventory.nodes_with(kind.kind_id)]
    await SyncStore(tx, call.account_id, call.region).want(sync.sync_name, parts)


async def _existing(store: SyncStore, request: Shape) -> Sync:
    name, sync_type = request["SyncName"], request.get("SyncType")
    found = await store.find(name)
    if found is None or sync_type not in (None, "", found.sync_type):
        raise ResourceDataSyncNotFoundException(
            f"There is no resource data sync {name}.", SyncName=name, SyncType=sync_type
        )
    return found


def _to_wire(sync: Sync) -> Shape:
    copies = sync.sync_type == TO_DESTINATION
    return {
        "SyncName": sync.sync_name,
        "SyncType": sync.sync_type,
        "SyncSource": None if copies else sync.settings,
        "S3Destination": sync.settings if copies else None,
        "LastSyncTime": None if sync.synced_at is None else from_millis(sync.synced_at),
        "LastSuccessfulSyncTime": None if sync.succeeded_at is None else from_millis(sync.succeeded_at),
        "SyncLastModifiedTime": from_millis(sync.modified_at),
        "LastStatus": sync.status if copies else None,
        "SyncCreatedTime": from_millis(sync.created_at),
        "LastSyncStatusMessage": sync.message or None,
    }
