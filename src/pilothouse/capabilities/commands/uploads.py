"""Outputs that nodes upload, for agents that show nothing of them while a step runs.

The official agent writes whole outputs to a bucket and nowhere else. Where a node has the tag, a command that names no
bucket sends it one of this server, into which it may put the outputs of its own steps until their results are there.
They are read from there, as they are from a bucket of the account that the command did name.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, Final

from pilothouse.call import Call, House
from pilothouse.capabilities import nodes, objects, tags
from pilothouse.capabilities.commands.model import Command, StepStatus
from pilothouse.capabilities.commands.output_store import StreamKey
from pilothouse.capabilities.commands.store import CommandStore
from pilothouse.errors import AccessDeniedException
from pilothouse.storage import Transaction

TAG: Final = "pilothouse:outputs"
"""Nodes that have it, with the value `upload`, have an agent whose S3 endpoint is this server."""
_UPLOAD: Final = "upload"
_STREAMS: Final = ("stdout", "stderr")
_FEW: Final = 200
"""Of so many nodes the tags are read; of more it is asked who has the tag."""
_MIB: Final = 1024 * 1024


async def who_uploads(tx: Transaction, command: Command, node_ids: Collection[str]) -> frozenset[str]:
    """Those of the nodes that are to put the outputs of the command here."""
    if command.settings.get("OutputS3BucketName") or not node_ids:
        return frozenset()
    where = command.account_id, command.region, nodes.RESOURCE_TYPE
    if len(node_ids) > _FEW:
        return frozenset(node_ids).intersection(await tags.ids_with(tx, *where, TAG, (_UPLOAD,)))
    of_each = await tags.of_each(tx, *where, node_ids)
    return frozenset(node_id for node_id, its in of_each.items() if its.get(TAG) == _UPLOAD)


async def to_inbox(house: House, tx: Transaction, command: Command) -> Command:
    """The command as it is told to those nodes."""
    name = await objects.ensure_inbox(house, tx, command.account_id, command.region)
    return replace(command, settings={**command.settings, "OutputS3BucketName": name, "OutputS3KeyPrefix": ""})


def _key(command_id: str, node_id: str, folder: str, stream: str) -> str:
    return f"{command_id}/{node_id}/{folder}/{stream}"


async def entering(house: House, tx: Transaction, facts: Mapping[str, Any]) -> None:
    """The event `inbox.entered`. Raises AccessDeniedException, EntityTooLarge."""
    key, node_id = facts["key"], facts["node_id"]
    command_id = key.partition("/")[0]
    store = CommandStore(tx)
    command = (await store.commands([command_id])).get(command_id)
    if command is None or command.account_id != facts["account_id"]:
        raise AccessDeniedException("There is no such command.")
    places = {
        _key(command_id, node_id, folder, stream): step
        for step in command.steps
        for folder in step.folders
        for stream in _STREAMS
    }
    step = places.get(key)
    if step is None or node_id not in await store.invocations(command_id, [node_id]):
        raise AccessDeniedException("This is no output of a step of a command that the node was sent.")
    result = (await store.steps(command_id, [node_id])).get((node_id, step.name))
    if result is not None and result.status is not StepStatus.IN_PROGRESS:
        raise AccessDeniedException("The result of the step is there: its output stays as it is.")
    most = house.settings.commands.output_mib * _MIB
    if facts["size"] > most:
        raise objects.EntityTooLarge(facts["size"], most)


async def found(call: Call, tx: Transaction, command: Command, key: StreamKey, start: int, most: int) -> (
    objects.Opened | None
):  # fmt: skip
    """An uploaded output from a byte on, if there is one that the caller may read."""
    step = next(step for step in command.steps if step.name == key.step)
    if key.run >= len(step.folders):
        return None
    name = _key(command.command_id, key.node_id, step.folders[key.run], key.stream)
    settings: Mapping[str, Any] = command.settings
    bucket = settings.get("OutputS3BucketName")
    if bucket:
        prefix = str(settings.get("OutputS3KeyPrefix", "")).strip("/")
        name = f"{prefix}/{name}" if prefix else name
        if not await objects.readable(call, tx, command.account_id, bucket, name):
            return None
    else:
        bucket = objects.inbox_of(command.account_id)
    try:
        return await objects.open_object(
            call.house, tx, command.account_id, bucket, name, start=start, end=start + most
        )
    except (objects.NoSuchBucket, objects.NoSuchKey):
        return None


async def forget(house: House, account_id: str, command_id: str) -> None:
    """What nodes uploaded of the command goes with it; what they put into a bucket of the account's stays."""
    await objects.empty_inbox(house, account_id, command_id)
