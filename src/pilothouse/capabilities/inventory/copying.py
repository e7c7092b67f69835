"""Copying inventory to buckets, as AWS lays it out: for each type and node an object with a line for each entry.

    <prefix>/AWS:Application/accountid=<account>/region=<region>/resourcetype=ManagedInstanceInventory/<node>.json

The objects of what a node has no more are removed. What waits is noted in the transaction that changed it, so a
server that is killed goes on where it was; copying twice does no harm.
"""

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec
import structlog

from pilothouse.call import House, job
from pilothouse.capabilities import objects
from pilothouse.capabilities.inventory import server_side
from pilothouse.capabilities.inventory.model import Entry
from pilothouse.capabilities.inventory.operations import entries_on
from pilothouse.capabilities.inventory.sync_store import Sync, SyncStore, Waiting, due
from pilothouse.scheduling.retries import next_try
from pilothouse.storage import StorageUnavailable, Transaction

log = structlog.get_logger()

_AT_ONCE: Final = 50
_ROUNDS: Final = 100
_TYPE: Final = "application/json"
SERVICE: Final = "ssm.amazonaws.com"


class CopyFailed(Exception):
    """The destination did not take it; the text says why."""


class Destination(Protocol):
    """Where a sync copies to."""

    async def copy(self, parts: Sequence[tuple[Waiting, str, bytes | None]]) -> None:
        """(part, key, content; None: remove the object). They wait no more then. Raises CopyFailed."""


@job("inventory.copy", every=timedelta(seconds=5))
async def copy(house: House) -> None:
    """Copy what waits, of every sync whose time has come."""
    async with house.database.reading() as tx:
        syncs = await due(tx, house.clock.millis())
    for sync in syncs:
        error: str | None = None
        try:
            destination = await _destination(house, sync)
            for _ in range(_ROUNDS):
                if not await _some(house, sync, destination):
                    break
        except (CopyFailed, objects.NoSuchBucket, StorageUnavailable) as failed:
            error = str(failed) or type(failed).__name__
            log.warning("inventory.copy_failed", account_id=sync.account_id, sync=sync.sync_name, error=error)
        now = house.clock.millis()
        async with house.database.transaction() as tx:
            await SyncStore(tx, sync.account_id, sync.region).ended(
                sync.sync_name,
                at=now,
                error=error,
                retry_at=0 if error is None else next_try(sync.failures + 1, now, now, 0),
            )


async def _some(house: House, sync: Sync, destination: Destination) -> bool:
    """Copy some; whether there may be more."""
    parts: list[tuple[Waiting, str, bytes | None]] = []
    async with house.database.reading() as tx:
        waiting = await SyncStore(tx, sync.account_id, sync.region).waiting(sync.sync_name, _AT_ONCE)
        scope = server_side.scope_of(house, sync.account_id, sync.region)
        for part in waiting:
            node_id, type_name, _ = part
            version, when, entries = await entries_on(tx, scope, type_name, node_id)
            parts.append((part, key_of(sync, type_name, node_id), _lines(node_id, version, when, entries)))
    if parts:
        await destination.copy(parts)
    return len(parts) == _AT_ONCE


def key_of(sync: Sync, type_name: str, node_id: str) -> str:
    """Of a node's object in the bucket."""
    prefix = (sync.settings.get("Prefix") or "").strip("/")
    where = f"accountid={sync.account_id}/region={sync.region}/resourcetype=ManagedInstanceInventory"
    return f"{prefix}/{type_name}/{where}/{node_id}.json".lstrip("/")


def delivering(sync: Sync) -> dict[str, str]:
    """The condition keys that a policy may ask for of the service's requests."""
    source = f"arn:aws:ssm:{sync.region}:{sync.account_id}:resource-data-sync/{sync.sync_name}"
    return {"s3:x-amz-acl": "bucket-owner-full-control", "aws:SourceArn": source}


def _lines(node_id: str, version: str | None, when: str | None, entries: Sequence[Entry]) -> bytes | None:
    if not entries:
        return None
    more = {"resourceId": node_id, "captureTime": when, "schemaVersion": version}
    return b"".join(msgspec.json.encode({**entry, **more}) + b"\n" for entry in entries)


async def _destination(house: House, sync: Sync) -> Destination:
    settings = house.settings.inventory
    if not settings.sync_endpoint:
        return _Here(house, sync)
    return await _Endpoint.opened(house, sync, settings.sync_endpoint, settings.sync_credentials)


class _Here:
    """A bucket of this server."""

    def __init__(self, house: House, sync: Sync) -> None:
        self._house = house
        self._sync = sync
        self._bucket: str = sync.settings["BucketName"]

    async def copy(self, parts: Sequence[tuple[Waiting, str, bytes | None]]) -> None:
        sync = self._sync
        async with self._house.database.reading() as tx:
            for _, key, _ in parts:
                if await objects.may_not_be_filled(tx, sync.account_id, self._bucket, key, SERVICE, delivering(sync)):
                    raise CopyFailed(f"The policy of the bucket {self._bucket} denies {SERVICE} s3:PutObject on {key}.")
        kept = [
            await objects.keep(self._house, sync.account_id, self._bucket, key, _pieces(content), content_type=_TYPE)
            for _, key, content in parts
            if content is not None
        ]
        async with self._house.database.transaction() as tx:
            for each in kept:
                await objects.place(tx, each)
            for _, key, content in parts:
                if content is None:
                    await objects.delete(self._house, tx, sync.account_id, self._bucket, key)
            await _copied(tx, sync, parts)


class _Endpoint:
    """A bucket of the S3 that the operator named."""

    def __init__(self, house: House, sync: Sync, store: Any) -> None:
        self._house = house
        self._sync = sync
        self._store = store

    @classmethod
    async def opened(cls, house: House, sync: Sync, endpoint: str, credentials: str) -> "_Endpoint":
        from obstore.store import S3Store  # only here: most installations write to their own buckets

        options: dict[str, Any] = {}
        if credentials:
            options["access_key_id"], options["secret_access_key"] = _key_in(credentials)
        return cls(
            house,
            sync,
            S3Store(
                sync.settings["BucketName"], endpoint=endpoint, region=sync.settings["Region"],
                virtual_hosted_style_request=False, client_options={"allow_http": endpoint.startswith("http:")},
                **options,
            ),
        )  # fmt: skip

    async def copy(self, parts: Sequence[tuple[Waiting, str, bytes | None]]) -> None:
        import obstore
        from obstore.exceptions import BaseError

        try:
            for _, key, content in parts:
                if content is not None:
                    await obstore.put_async(self._store, key, content, attributes={"Content-Type": _TYPE})
            if gone := [key for _, key, content in parts if content is None]:
                await obstore.delete_async(self._store, gone)
        except (BaseError, FileNotFoundError, PermissionError, OSError) as error:
            raise CopyFailed(_first_line(error)) from error
        async with self._house.database.transaction() as tx:
            await _copied(tx, self._sync, parts)


def _key_in(file: str) -> tuple[str, str]:
    try:
        key, _, secret = Path(file).read_text("ascii").strip().partition(":")
    except (OSError, ValueError) as error:
        raise CopyFailed("The file that [inventory] sync_credentials names cannot be read.") from error
    return key, secret


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:500]


async def _copied(tx: Transaction, sync: Sync, parts: Sequence[tuple[Waiting, str, bytes | None]]) -> None:
    await SyncStore(tx, sync.account_id, sync.region).copied(sync.sync_name, [part for part, _, _ in parts])


async def _pieces(content: bytes) -> AsyncIterator[bytes]:
    yield content
