"""What associations look like on the wire, and back."""

from collections.abc import Mapping
from typing import Any, Final

from pilothouse.call import Shape
from pilothouse.capabilities import nodes
from pilothouse.capabilities.associations.model import (
    Association,
    Execution,
    OnNode,
    Run,
    Status,
    Terms,
    Version,
)
from pilothouse.runtime.clock import from_millis

_TERMS: Final = {
    "Name": "document",
    "DocumentVersion": "document_version",
    "Parameters": "parameters",
    "Targets": "targets",
    "ScheduleExpression": "schedule",
    "OutputLocation": "output",
    "AssociationName": "association_name",
    "AutomationTargetParameterName": "automation_parameter",
    "MaxErrors": "max_errors",
    "MaxConcurrency": "max_concurrency",
    "ComplianceSeverity": "severity",
    "SyncCompliance": "sync_compliance",
    "ApplyOnlyAtCronInterval": "only_at_interval",
    "CalendarNames": "calendars",
    "ScheduleOffset": "schedule_offset",
    "Duration": "duration",
    "AlarmConfiguration": "alarm",
    "TargetLocations": "target_locations",
    "TargetMaps": "target_maps",
    "AssociationDispatchAssumeRole": "dispatch_role",
}
_INVOCATION: Final[Mapping[str, str]] = {Status.SKIPPED: "Success"}
"""Status of runs that invocations of commands do not have."""
_LISTED: Final = ("ScheduleExpression", "AssociationName", "ScheduleOffset", "Duration", "Targets", "TargetMaps")


def terms_of(request: Mapping[str, Any]) -> Terms:
    """What a request says that an association shall be. What it leaves out is not set, also in an update."""
    given = {attribute: request[name] for name, attribute in _TERMS.items() if request.get(name) not in (None, [], {})}
    return Terms(**given)


def of_terms(terms: Terms) -> Shape:
    """What a version consists of; what is not set is left out."""
    found = {name: getattr(terms, attribute) for name, attribute in _TERMS.items()}
    shape = {name: value for name, value in found.items() if value not in (None, [], {})}
    shape["ApplyOnlyAtCronInterval"] = terms.only_at_interval
    shape["DocumentVersion"] = terms.document_version or "$DEFAULT"
    return shape


def description(association: Association, version: Version | None = None) -> Shape:
    """An AssociationDescription, of the latest version or another."""
    shape = of_terms(association.terms if version is None else version.terms)
    shape |= {
        "AssociationId": association.association_id,
        "AssociationVersion": str(association.version if version is None else version.number),
        "Date": from_millis(association.created_at),
        "LastUpdateAssociationDate": from_millis(association.updated_at if version is None else version.created_at),
        "Overview": overview(association),
    }
    shape.setdefault("SyncCompliance", "AUTO")
    shape.setdefault("ComplianceSeverity", "UNSPECIFIED")
    if association.instance_id:
        shape["InstanceId"] = association.instance_id
        shape.setdefault("Targets", [{"Key": "InstanceIds", "Values": [association.instance_id]}])
    if association.legacy_status is not None:
        shape["Status"] = {**association.legacy_status, "Date": from_millis(association.legacy_status["Date"])}
    if association.last_execution_at is not None:
        shape["LastExecutionDate"] = from_millis(association.last_execution_at)
    if association.last_success_at is not None:
        shape["LastSuccessfulExecutionDate"] = from_millis(association.last_success_at)
    return shape


def overview(association: Association) -> Shape:
    """Status by the nodes that it is for."""
    return {
        "Status": association.status,
        "DetailedStatus": association.status,
        "AssociationStatusAggregatedCount": dict(association.counts),
    }


def listed(association: Association) -> Shape:
    """An entry of ListAssociations."""
    whole = description(association)
    names = ("Name", "InstanceId", "AssociationId", "AssociationVersion", "DocumentVersion", "LastExecutionDate")
    return {name: whole[name] for name in (*names, "Overview", *_LISTED) if name in whole}


def version(association_id: str, of: Version) -> Shape:
    """An AssociationVersionInfo."""
    return {
        "AssociationId": association_id,
        "AssociationVersion": str(of.number),
        "CreatedDate": from_millis(of.created_at),
        **of_terms(of.terms),
    }


def execution(of: Execution) -> Shape:
    """An AssociationExecution."""
    counts = ", ".join(f"{status}={count}" for status, count in sorted(of.by_status().items()))
    return {
        "AssociationId": of.association_id,
        "AssociationVersion": str(of.version),
        "ExecutionId": of.execution_id,
        "Status": of.status,
        "DetailedStatus": of.details,
        "CreatedTime": from_millis(of.created_at),
        "LastExecutionDate": None if of.executed_at is None else from_millis(of.executed_at),
        "ResourceCountByStatus": f"{{{counts}}}",
    }


def target(of: Execution, run: Run) -> Shape:
    """An AssociationExecutionTarget. GetCommandInvocation knows the execution's id."""
    result = run.result
    shape: Shape = {
        "AssociationId": of.association_id,
        "AssociationVersion": str(of.version),
        "ExecutionId": of.execution_id,
        "ResourceId": run.node_id,
        "ResourceType": "ManagedInstance" if nodes.is_node_id(run.node_id) else "Automation",
        "Status": result.status,
        "DetailedStatus": result.details,
        "LastExecutionDate": None if result.executed_at is None else from_millis(result.executed_at),
    }
    if nodes.is_node_id(run.node_id):
        shape["OutputSource"] = {"OutputSourceId": of.execution_id, "OutputSourceType": "RunCommand"}
    elif run.node_id != of.execution_id:  # it was started
        shape["OutputSource"] = {"OutputSourceId": run.node_id, "OutputSourceType": "Automation"}
    return shape


def invocation(association: Association, of: Execution, run: Run) -> Shape:
    """The answer of GetCommandInvocation: of associations nodes report a summary, and no output."""
    result = run.result
    failed = result.status in (Status.FAILED, Status.TIMED_OUT)
    codes = {Status.SUCCESS: 0, Status.FAILED: 1}
    return {
        "CommandId": of.execution_id,
        "InstanceId": run.node_id,
        "Comment": f"Association {association.association_id}",
        "DocumentName": association.terms.document,
        "DocumentVersion": association.terms.document_version or "$DEFAULT",
        "PluginName": "",
        "ResponseCode": codes.get(Status(result.status), -1),
        "Status": _INVOCATION.get(result.status, result.status),
        "StatusDetails": _INVOCATION.get(result.status, result.status),
        "StandardOutputContent": "" if failed else result.summary,
        "StandardErrorContent": result.summary if failed else "",
        "StandardOutputUrl": result.output_url,
    }


def on_node(association: Association, member: OnNode) -> Shape:
    """An InstanceAssociationStatusInfo."""
    result = member.result
    shape: Shape = {
        "AssociationId": association.association_id,
        "Name": association.terms.document,
        "DocumentVersion": association.terms.document_version or "$DEFAULT",
        "AssociationVersion": str(association.version),
        "InstanceId": member.node_id,
        "Status": result.status,
        "DetailedStatus": result.details,
        "ExecutionDate": None if result.executed_at is None else from_millis(result.executed_at),
        "ExecutionSummary": result.summary or None,
        "ErrorCode": result.error_code or None,
        "AssociationName": association.terms.association_name,
    }
    if result.output_url:
        shape["OutputUrl"] = {"S3OutputUrl": {"OutputUrl": result.output_url}}
    return shape


def paused(association: Association) -> Shape:
    """One that is paused, in short."""
    assert association.paused_at is not None
    return {
        "AssociationId": association.association_id,
        "AssociationName": association.terms.association_name,
        "Name": association.terms.document,
        "PausedAt": from_millis(association.paused_at),
        "PausedBy": association.paused_by,
    }
