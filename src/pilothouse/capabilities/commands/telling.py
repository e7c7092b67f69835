"""Telling of status changes: events for everybody who listens, and messages to the topic that a command names.

Told are the statuses that a NotificationConfig can ask for; what is Pending, Delayed or Cancelling goes on untold.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from pilothouse.call import House
from pilothouse.capabilities.commands.model import STATUS, Command, CommandStatus, Details
from pilothouse.storage import Transaction

_TOLD: Final = frozenset({"InProgress", "Success", "TimedOut", "Cancelled", "Failed"})


async def command_changed(house: House, tx: Transaction, command: Command, now: CommandStatus) -> None:
    """The command, which stood as `command.status` says, stands as `now` says."""
    if now.status == command.status or now.status not in _TOLD:
        return
    detail = {
        "command-id": command.command_id,
        "document-name": command.document_name,
        "expire-after": _moment(command.expires_at),
        "parameters": dict(command.parameters),
        "requested-date-time": _moment(command.requested_at),
        "status": now.status,
    }
    await house.tell(
        tx, "event",
        account_id=command.account_id, region=command.region, source="aws.ssm",
        detail_type="EC2 Command Status-change Notification",
        resources=[_arn(command, node_id) for node_id in command.instance_ids], detail=detail,
    )  # fmt: skip
    if _wanted(command, "Command", now.status):
        about = {"instanceIds": command.instance_ids, "expiresAfter": _moment(command.expires_at)}
        await _tell_topic(house, tx, command, [_message(house, command, about, now.status, now.details)])


async def invocations_changed(
    house: House, tx: Transaction, command: Command, ends: Iterable[tuple[str, str, Details]]
) -> None:
    """Invocations of the command by node, with the status that each had, and how it stands now."""
    moved = [
        (node_id, details)
        for node_id, before, details in ends
        if STATUS[details] in _TOLD and STATUS[details] != before
    ]
    if not moved:
        return
    shared = {
        "command-id": command.command_id,
        "document-name": command.document_name,
        "requested-date-time": _moment(command.requested_at),
    }
    each = [
        {
            "resources": [_arn(command, node_id)],
            "detail": {**shared, "instance-id": node_id, "status": STATUS[details]},
        }
        for node_id, details in moved
    ]
    await house.tell(
        tx, "events",
        account_id=command.account_id, region=command.region, source="aws.ssm",
        detail_type="EC2 Command Invocation Status-change Notification", each=each,
    )  # fmt: skip
    messages = [
        _message(house, command, {"instanceId": node_id}, STATUS[details], details.value)
        for node_id, details in moved
        if _wanted(command, "Invocation", STATUS[details])
    ]
    if messages:
        await _tell_topic(house, tx, command, messages)


def _message(house: House, command: Command, about: Mapping[str, Any], status: str, details: str) -> str:
    settings: Mapping[str, Any] = command.settings
    message = {
        "commandId": command.command_id,
        "documentName": command.document_name,
        **about,
        "requestedDateTime": _moment(command.requested_at),
        "status": status,
        "detailedStatus": details,
        "outputS3BucketName": settings.get("OutputS3BucketName", ""),
        "outputS3KeyPrefix": settings.get("OutputS3KeyPrefix", ""),
        "eventTime": _moment(house.clock.millis()),
    }
    return msgspec.json.encode(message).decode()


async def _tell_topic(house: House, tx: Transaction, command: Command, messages: Sequence[str]) -> None:
    await house.tell(
        tx, "topic.messages",
        account_id=command.account_id, region=command.region,
        topic_arn=_config(command)["NotificationArn"],
        subject=f"EC2 Run Command Notification {command.region}", messages=messages,
    )  # fmt: skip


def _wanted(command: Command, kind: str, status: str) -> bool:
    config = _config(command)
    if not config.get("NotificationArn") or (config.get("NotificationType") or "Command") != kind:
        return False
    events = config.get("NotificationEvents") or ["All"]
    return "All" in events or status in events


def _config(command: Command) -> Mapping[str, Any]:
    settings: Mapping[str, Any] = command.settings
    return settings.get("NotificationConfig") or {}


def _arn(command: Command, node_id: str) -> str:
    """As the cloud's events name machines: those that registered with an activation by their own kind."""
    if node_id.startswith("i-"):
        return f"arn:aws:ec2:{command.region}:{command.account_id}:instance/{node_id}"
    return f"arn:aws:ssm:{command.region}:{command.account_id}:managed-instance/{node_id}"


def _moment(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
