"""SendCommand: from a request to a command, its invocations and their messages."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from pilothouse.call import Call, Shape
from pilothouse.capabilities import documents
from pilothouse.capabilities.commands.agent import SendCommandContent
from pilothouse.capabilities.commands.model import (
    Command,
    Counts,
    Details,
    InvalidNotificationConfig,
    InvalidOutputFolder,
    InvalidRole,
    Invocation,
    PlannedStep,
    UnsupportedPlatformType,
    command_status,
    concurrency_limit,
    error_limit,
)
from pilothouse.capabilities.nodes import Node
from pilothouse.errors import ValidationException

TIMEOUT_SECONDS = 3600
MAX_CONCURRENCY, MAX_ERRORS = "50", "0"
DOCUMENT_MOST = 64 * 1024
"""Bytes of document text and parameters together."""
MESSAGE_MOST = 256 * 1024 - 4096
"""Bytes of a message's content, so that it fits one frame with what is put around it."""

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_ROLE = re.compile(r"arn:[a-z0-9-]+:iam::\d{12}:role/[\w+=,.@/-]+")
_TOPIC = re.compile(r"arn:[a-z0-9-]+:sns:[a-z0-9-]+:\d{12}:[A-Za-z0-9_.-]{1,256}")
_ECHOED = (
    "OutputS3Region",
    "OutputS3BucketName",
    "OutputS3KeyPrefix",
    "ServiceRoleArn",
    "NotificationConfig",
    "CloudWatchOutputConfig",
    "AlarmConfiguration",
)


def check_request(request: Shape) -> None:
    """Rules of SendCommand that the model cannot say. Raises the operation's errors."""
    if bool(request.get("InstanceIds")) == bool(request.get("Targets")):
        raise ValidationException("Give either InstanceIds or Targets, and not both.")
    bucket = request.get("OutputS3BucketName")
    if bucket and not _BUCKET.fullmatch(bucket):
        raise InvalidOutputFolder(f"{bucket} is not the name of a bucket.")
    role = request.get("ServiceRoleArn")
    if role and not _ROLE.fullmatch(role):
        raise InvalidRole("ServiceRoleArn is not the ARN of a role.")
    notification = request.get("NotificationConfig") or {}
    topic = notification.get("NotificationArn")
    if topic and not role:
        raise InvalidRole("A NotificationArn needs a ServiceRoleArn.")
    if topic and not _TOPIC.fullmatch(topic):
        raise InvalidNotificationConfig("NotificationArn is not the ARN of a topic.")
    if notification and not topic:
        raise InvalidNotificationConfig("NotificationEvents and NotificationType need a NotificationArn.")


def check_size(document: documents.Document, parameters: Mapping[str, Sequence[str]], content: str) -> None:
    """Raises MaxDocumentSizeExceeded."""
    size = len(document.text.encode()) + len(msgspec.json.encode(parameters))
    if size > DOCUMENT_MOST or len(msgspec.json.encode(content)) > MESSAGE_MOST:
        raise documents.MaxDocumentSizeExceeded("The document and its parameters together may have at most 64 KB.")


def check_platform(document: documents.Document, nodes: Sequence[Node]) -> None:
    """Raises UnsupportedPlatformType if no node can run the document."""
    if nodes and not any(document.runs_on(node.platform_type) for node in nodes):
        raise UnsupportedPlatformType(
            f"The document {document.name} runs on {', '.join(document.platform_types)}; none of the nodes does."
        )


def new_command(
    call: Call, request: Shape, document: documents.Document, nodes: Sequence[Node], denied: frozenset[str]
) -> Command:
    """The command, with all its invocations waiting but those that are final from the beginning."""
    now = call.clock.millis()
    parameters = {name: list(values) for name, values in (request.get("Parameters") or {}).items()}
    timeout = request.get("TimeoutSeconds") or TIMEOUT_SECONDS
    max_concurrency, max_errors = (
        request.get("MaxConcurrency") or MAX_CONCURRENCY,
        request.get("MaxErrors") or MAX_ERRORS,
    )
    counts = Counts(target_count=len(nodes))
    for node in nodes:
        first = first_details(document, node, denied)
        if first is Details.PENDING:
            counts.waiting += 1
        else:
            counts.end(first, 1)
    limit = error_limit(max_errors, len(nodes))
    status = command_status(counts, limit, cancel_asked=False)
    return Command(
        command_id=call.ids.uuid(),
        account_id=call.account_id,
        region=call.region,
        document_name=document.called(call.account_id, request["DocumentName"]),
        document_version=request.get("DocumentVersion") or "$DEFAULT",
        comment=request.get("Comment") or "",
        parameters=parameters,
        instance_ids=list(request.get("InstanceIds") or []),
        targets=[dict(target) for target in request.get("Targets") or []],
        settings={name: request[name] for name in _ECHOED if request.get(name)},
        steps=tuple(PlannedStep(step.name, step.folders) for step in document.steps),
        requested_at=now,
        start_deadline=now + timeout * 1000,
        expires_at=now + (timeout + document.execution_seconds(parameters)) * 1000,
        timeout_seconds=timeout,
        max_concurrency=max_concurrency,
        max_errors=max_errors,
        concurrency_limit=concurrency_limit(max_concurrency, len(nodes)),
        error_limit=limit,
        cancel_asked=False,
        counts=counts,
        status=status.status,
        details=status.details,
    )


def first_details(document: documents.Document, node: Node, denied: frozenset[str]) -> Details:
    """What an invocation begins as."""
    if node.node_id in denied:
        return Details.ACCESS_DENIED
    return Details.PENDING if document.runs_on(node.platform_type) else Details.INVALID_PLATFORM


def invocations(
    command: Command, document: documents.Document, nodes: Sequence[Node], denied: frozenset[str]
) -> list[Invocation]:
    """One for each node; `denied` are those on which the caller may not run it."""
    return [
        Invocation(
            command_id=command.command_id,
            node_id=node.node_id,
            account_id=command.account_id,
            region=command.region,
            node_name=node.name or node.computer_name or "",
            document_name=command.document_name,
            requested_at=command.requested_at,
            details=first,
            finished_at=None if first is Details.PENDING else command.requested_at,
        )
        for node, first in ((node, first_details(document, node, denied)) for node in nodes)
    ]


def content(command: Command, document: documents.Document) -> str:
    """The JSON text that every node of the command gets."""
    settings: Mapping[str, Any] = command.settings
    logs = settings.get("CloudWatchOutputConfig") or {}
    return msgspec.json.encode(
        SendCommandContent(
            command_id=command.command_id,
            document_name=command.document_name,
            parameters=documents.to_node(document, command.parameters),
            document=documents.for_node(document),
            bucket=settings.get("OutputS3BucketName", ""),
            prefix=settings.get("OutputS3KeyPrefix", ""),
            log_group=logs.get("CloudWatchLogGroupName", ""),
            cloudwatch_enabled="true" if logs.get("CloudWatchOutputEnabled") else "false",
        )
    ).decode()
