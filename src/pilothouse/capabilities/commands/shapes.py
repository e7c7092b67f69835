"""Commands, invocations and steps as answers show them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pilothouse.call import Shape
from pilothouse.capabilities.commands.model import (
    Command,
    Details,
    Invocation,
    StepResult,
    StepStatus,
    step_without_result,
)
from pilothouse.runtime.clock import from_millis

STREAM_MOST = 24_000
ERROR_STREAM_MOST = 8_000
OUTPUT_MOST = 2_500


def command(shown: Command) -> Shape:
    """`Command` of SendCommand and ListCommands."""
    settings: Mapping[str, Any] = shown.settings
    return {
        "CommandId": shown.command_id,
        "DocumentName": shown.document_name,
        "DocumentVersion": shown.document_version,
        "Comment": shown.comment,
        "ExpiresAfter": from_millis(shown.expires_at),
        "Parameters": shown.parameters,
        "InstanceIds": shown.instance_ids,
        "Targets": shown.targets,
        "RequestedDateTime": from_millis(shown.requested_at),
        "Status": shown.status,
        "StatusDetails": shown.details,
        "OutputS3Region": settings.get("OutputS3Region"),
        "OutputS3BucketName": settings.get("OutputS3BucketName", ""),
        "OutputS3KeyPrefix": settings.get("OutputS3KeyPrefix", ""),
        "MaxConcurrency": shown.max_concurrency,
        "MaxErrors": shown.max_errors,
        "TargetCount": shown.counts.target_count,
        "CompletedCount": shown.counts.completed,
        "ErrorCount": shown.counts.errors,
        "DeliveryTimedOutCount": shown.counts.of(Details.DELIVERY_TIMED_OUT),
        "ServiceRole": settings.get("ServiceRoleArn", ""),
        "NotificationConfig": _notification(settings),
        "CloudWatchOutputConfig": _logs(settings),
        "TimeoutSeconds": shown.timeout_seconds,
        "AlarmConfiguration": settings.get("AlarmConfiguration"),
        "TriggeredAlarms": [],
    }


def invocation(shown: Invocation, of: Command, results: Mapping[tuple[str, str], StepResult] | None) -> Shape:
    """`CommandInvocation` of ListCommandInvocations; without results no steps are shown."""
    steps = [] if results is None else steps_of(of, shown, results)
    settings: Mapping[str, Any] = of.settings
    out, error = _urls(of, shown, _only(of))
    return {
        "CommandId": shown.command_id,
        "InstanceId": shown.node_id,
        "InstanceName": shown.node_name,
        "Comment": of.comment,
        "DocumentName": of.document_name,
        "DocumentVersion": of.document_version,
        "RequestedDateTime": from_millis(shown.requested_at),
        "Status": shown.status,
        "StatusDetails": shown.details.value,
        "TraceOutput": shown.trace or _why(of, shown),
        "StandardOutputUrl": out,
        "StandardErrorUrl": error,
        "CommandPlugins": [_plugin(of, shown, step) for step in steps],
        "ServiceRole": settings.get("ServiceRoleArn", ""),
        "NotificationConfig": _notification(settings),
        "CloudWatchOutputConfig": _logs(settings),
    }


def _why(of: Command, shown: Invocation) -> str:
    """Why an invocation ended of which its node said nothing, and what can be done; empty for all others."""
    match shown.details:
        case Details.INVALID_PLATFORM:
            return (
                f"The document {of.document_name} is not for the platform of this node. DescribeDocument shows its "
                "PlatformTypes; give its steps a precondition, or choose other targets."
            )
        case Details.ACCESS_DENIED:
            return "Who sent the command may not send commands to this node; pilothouse explain says why."
        case Details.TERMINATED:
            return (
                f"It was never sent to this node: more than {of.error_limit} other nodes failed (MaxErrors "
                f"{of.max_errors}). See what failed there, and send the command again to those that are left."
            )
        case Details.UNDELIVERABLE:
            return (
                "The node was deregistered before it told of a result. Register the machine again to send it commands."
            )
        case Details.DELIVERY_TIMED_OUT:
            return (
                f"The node told of no result by {_iso(of.expires_at)}, or did not answer for 25 minutes after it was "
                "sent the command. If it was away, it ran nothing and never will: see that its agent runs, and send "
                "the command again. If it was there, look on the node what became of it."
            )
        case _:
            return ""


@dataclass(frozen=True, slots=True)
class ShownStep:
    """A step of an invocation, reported or not."""

    name: str
    folder: str
    result: StepResult


def steps_of(
    of: Command, shown: Invocation, results: Mapping[tuple[str, str], StepResult]
) -> Sequence[ShownStep]:  # fmt: skip
    """Every step of the document in its order; those without a result by what became of the invocation."""
    steps = []
    for step in of.steps:
        result = results.get((shown.node_id, step.name))
        if result is None or (result.status is StepStatus.IN_PROGRESS and shown.final):
            status, details = step_without_result(shown.details)
            result = StepResult(name=step.name, status=status, details=details)
        steps.append(ShownStep(step.name, step.folder, result))
    return steps


def invocation_result(of: Command, shown: Invocation, step: ShownStep | None, *, named: bool) -> Shape:
    """The answer of GetCommandInvocation. Without `step` it is the invocation's own status and no output; the only
    step of a document is shown with the invocation's status unless it was asked for by name."""
    settings: Mapping[str, Any] = of.settings
    result = step.result if step is not None else None
    status, details = shown.status, shown.details.value
    if named and result is not None:
        status, details = result.status.value, result.details
    out, error = _urls(of, shown, step)
    started, finished = (result.started_at, result.finished_at) if result is not None else (None, None)
    return {
        "CommandId": of.command_id,
        "InstanceId": shown.node_id,
        "Comment": of.comment,
        "DocumentName": of.document_name,
        "DocumentVersion": of.document_version,
        "PluginName": step.name if step is not None else "",
        "ResponseCode": result.code if result is not None else -1,
        "ExecutionStartDateTime": _iso(started),
        "ExecutionElapsedTime": _elapsed(started, finished),
        "ExecutionEndDateTime": _iso(finished),
        "Status": status,
        "StatusDetails": details,
        "StandardOutputContent": result.standard_output[:STREAM_MOST] if result is not None else "",
        "StandardOutputUrl": out,
        "StandardErrorContent": result.standard_error[:ERROR_STREAM_MOST] if result is not None else "",
        "StandardErrorUrl": error,
        "CloudWatchOutputConfig": _logs(settings),
    }


def _plugin(of: Command, shown: Invocation, step: ShownStep) -> Shape:
    settings: Mapping[str, Any] = of.settings
    result = step.result
    out, error = _urls(of, shown, step)
    return {
        "Name": step.name,
        "Status": result.status.value,
        "StatusDetails": result.details,
        "ResponseCode": result.code,
        "ResponseStartDateTime": None if result.started_at is None else from_millis(result.started_at),
        "ResponseFinishDateTime": None if result.finished_at is None else from_millis(result.finished_at),
        "Output": result.output[:OUTPUT_MOST],
        "StandardOutputUrl": out,
        "StandardErrorUrl": error,
        "OutputS3Region": settings.get("OutputS3Region"),
        "OutputS3BucketName": settings.get("OutputS3BucketName", ""),
        "OutputS3KeyPrefix": settings.get("OutputS3KeyPrefix", ""),
    }


def _only(of: Command) -> ShownStep | None:
    """The document's step if it has one only."""
    if len(of.steps) != 1:
        return None
    (step,) = of.steps
    return ShownStep(step.name, step.folder, StepResult(name=step.name, status=StepStatus.PENDING, details="Pending"))


def _urls(of: Command, shown: Invocation, step: ShownStep | None) -> tuple[str, str]:
    """Where the node puts the step's output, if a bucket was asked for."""
    settings: Mapping[str, Any] = of.settings
    bucket = settings.get("OutputS3BucketName")
    if not bucket or step is None:
        return "", ""
    prefix = str(settings.get("OutputS3KeyPrefix", "")).strip("/")
    key = "/".join(part for part in (prefix, of.command_id, shown.node_id, step.folder) if part)
    url = f"https://s3.{of.region}.amazonaws.com/{bucket}/{key}"
    return f"{url}/stdout", f"{url}/stderr"


def _notification(settings: Mapping[str, Any]) -> Shape:
    return settings.get("NotificationConfig") or {
        "NotificationArn": "",
        "NotificationEvents": [],
        "NotificationType": "",
    }


def _logs(settings: Mapping[str, Any]) -> Shape:
    return settings.get("CloudWatchOutputConfig") or {"CloudWatchLogGroupName": "", "CloudWatchOutputEnabled": False}


def _iso(millis: int | None) -> str:
    if millis is None:
        return ""
    return f"{datetime.fromtimestamp(millis // 1000, UTC):%Y-%m-%dT%H:%M:%S}.{millis % 1000:03d}Z"


def _elapsed(started: int | None, finished: int | None) -> str:
    """An ISO duration such as `PT0.123S`."""
    if started is None or finished is None:
        return ""
    seconds = f"{max(0, finished - started) / 1000:.3f}".rstrip("0").rstrip(".")
    return f"PT{seconds}S"
