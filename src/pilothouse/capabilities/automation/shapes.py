"""Executions and steps as the API shows them."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from pilothouse.call import Shape
from pilothouse.capabilities.automation.actions import ACTIONS
from pilothouse.capabilities.automation.actions.branch import targets as branch_targets
from pilothouse.capabilities.automation.doing import uuid_of
from pilothouse.capabilities.automation.model import Flow, Plan, Status
from pilothouse.capabilities.automation.runbooks import LOOP, Runbook
from pilothouse.capabilities.automation.runs import RUNBOOK, Execution, StepRun
from pilothouse.capabilities.automation.selecting import shown
from pilothouse.runtime.clock import from_millis

_SHOWN_TARGETS: Final = 100
BRANCH: Final = "aws:branch"


def metadata(execution: Execution) -> Shape:
    """What lists show."""
    contents = execution.contents
    terms, change = contents.terms, contents.change
    children = contents.children
    found: Shape = {
        "AutomationExecutionId": execution.execution_id,
        "DocumentName": execution.document_name,
        "DocumentVersion": execution.document_version,
        "AutomationExecutionStatus": execution.status.value,
        "ExecutionStartTime": from_millis(execution.started_at),
        "ExecutedBy": str(contents.who.get("arn") or ""),
        "Outputs": contents.outputs,
        "Mode": execution.mode,
        "Targets": list(terms.get("Targets") or ()),
        "ResolvedTargets": {
            "ParameterValues": [str(each["target"]) for each in children[:_SHOWN_TARGETS]],
            "Truncated": len(children) > _SHOWN_TARGETS,
        },
        "AutomationType": "CrossAccount" if execution.cross_account else "Local",
    }
    optional = {
        "ExecutionEndTime": None if execution.ended_at is None else from_millis(execution.ended_at),
        "ParentAutomationExecutionId": execution.parent_id,
        "CurrentStepName": execution.current_step,
        "CurrentAction": execution.current_action,
        "FailureMessage": contents.failure,
        "TargetParameterName": terms.get("TargetParameterName"),
        "TargetMaps": terms.get("TargetMaps"),
        "Target": contents.target,
        "AlarmConfiguration": terms.get("AlarmConfiguration"),
        "AutomationSubtype": execution.subtype,
        "OpsItemId": execution.ops_item_id,
        "AssociationId": execution.association_id,
        "ChangeRequestName": change.get("name"),
        "Runbooks": change.get("runbooks"),
        "ScheduledTime": None if change.get("scheduled_at") is None else from_millis(change["scheduled_at"]),
    }
    if execution.kind != RUNBOOK:
        optional |= {
            "MaxConcurrency": terms.get("MaxConcurrency") or "10", "MaxErrors": terms.get("MaxErrors") or "0",
        }  # fmt: skip
    return found | {name: value for name, value in optional.items() if value not in (None, "")}


def execution(found: Execution, steps: Sequence[Shape], counts: Mapping[str, int], most: int) -> Shape:
    """What GetAutomationExecution shows. `counts`: how many children there are, by status."""
    shape = metadata(found)
    contents = found.contents
    del shape["AutomationType"]
    shape |= {
        "StepExecutions": list(steps[:most]),
        "StepExecutionsTruncated": len(steps) > most,
        "Parameters": contents.parameters,
        "Variables": {name: shown(value) for name, value in contents.variables.items()},
    }
    if contents.terms.get("TargetLocations"):
        shape["TargetLocations"] = contents.terms["TargetLocations"]
    if found.kind != RUNBOOK:
        final = {name: number for name, number in counts.items() if Status(name).final}
        errors = counts.get("Failed", 0) + counts.get("TimedOut", 0)
        shape["ProgressCounters"] = {
            "TotalSteps": len(contents.children), "SuccessSteps": counts.get("Success", 0),
            "FailedSteps": counts.get("Failed", 0), "CancelledSteps": counts.get("Cancelled", 0),
            "TimedOutSteps": counts.get("TimedOut", 0),
        }  # fmt: skip
        shape["TargetsSummary"] = {
            "TotalCount": len(contents.children), "StartedCount": sum(counts.values()),
            "CompletedCount": sum(final.values()), "SuccessfulCount": counts.get("Success", 0), "FailedCount": errors,
        }  # fmt: skip
    return shape


def child_step(child: Execution) -> Shape:
    """A child as a step of the execution that started it."""
    found: Shape = {
        "StepName": child.contents.target,
        "Action": "aws:executeAutomation",
        "StepStatus": child.status.value,
        "ExecutionStartTime": from_millis(child.started_at),
        "StepExecutionId": child.execution_id,
        "Inputs": {
            "DocumentName": _json(child.document_name), "DocumentVersion": _json(child.document_version),
            "RuntimeParameters": _json(child.contents.parameters),
        },
        "Outputs": {"ExecutionId": [child.execution_id], "Status": [child.status.value], **child.contents.outputs},
        "IsCritical": True,
        "IsEnd": False,
        "MaxAttempts": 1,
        "OnFailure": "Continue",
    }  # fmt: skip
    if child.ended_at is not None:
        found["ExecutionEndTime"] = from_millis(child.ended_at)
    if child.contents.failure:
        found["FailureMessage"] = child.contents.failure
    if child.cross_account:
        found["TargetLocation"] = {"Accounts": [child.account_id], "Regions": [child.region]}
    return found


def steps(found: Execution, runbook: Runbook, runs: Sequence[StepRun]) -> list[Shape]:
    """Every step in the order of the document, those that were not begun as well."""
    by_id = {each.step_id: each for each in runs}
    places: list[tuple[tuple[int, int], Shape]] = []
    begun = set()
    for run in runs:
        top = run
        while top.parent_step_id:
            top = by_id[top.parent_step_id]
        flow = _flow_of(runbook.flow, run, by_id)
        plan = flow.named(run.name) or Plan(name=run.name, action=run.action)
        begun.add(top.name)
        parent = by_id.get(run.parent_step_id)
        places.append((
            (runbook.flow.places.get(top.name, 0), run.position), step(run, plan, flow, parent)
        ))  # fmt: skip
    for number, plan in enumerate(runbook.flow.steps):
        if plan.name not in begun:
            shape = _of_plan(plan, runbook.flow) | {
                "StepStatus": Status.PENDING.value, "StepExecutionId": uuid_of(found.execution_id, plan.name),
            }  # fmt: skip
            places.append(((number, 0), shape))
    places.sort(key=lambda each: each[0])
    return [shape for _, shape in places]


def _flow_of(flow: Flow, run: StepRun, by_id: Mapping[str, StepRun]) -> Flow:
    """The steps among which the step stands."""
    if not run.parent_step_id:
        return flow
    around = by_id[run.parent_step_id]
    plan = _flow_of(flow, around, by_id).named(around.name)
    return (plan.within if plan is not None else None) or Flow(())


def _of_plan(plan: Plan, flow: Flow) -> Shape:
    action = ACTIONS.get(plan.action)
    following = flow.after(plan) if plan.name in flow.places else None
    possible = [] if following is None else [following]
    if plan.action == BRANCH:
        possible = [name for _, name in branch_targets(plan.inputs)]
    if plan.on_failure_step is not None:
        possible.append(plan.on_failure_step)
    found: Shape = {
        "StepName": plan.name,
        "Action": plan.action,
        "OnFailure": plan.on_failure,
        "MaxAttempts": plan.max_attempts,
        "IsEnd": plan.is_end,
        "IsCritical": plan.is_critical,
        "ValidNextSteps": list(dict.fromkeys(possible)),
        "Inputs": {},
        "Outputs": {},
    }
    seconds = plan.timeout_seconds or (None if action is None else action.timeout_seconds)
    if seconds is not None:
        found["TimeoutSeconds"] = seconds
    if following is not None:
        found["NextStep"] = following
    return found


def step(run: StepRun, plan: Plan, flow: Flow, parent: StepRun | None) -> Shape:
    """A step that was begun."""
    contents = run.contents
    found = _of_plan(plan, flow) | {
        "StepStatus": run.status.value,
        "ExecutionStartTime": from_millis(run.started_at),
        "StepExecutionId": run.step_id,
        "Inputs": {
            name: _json(value)
            for name, value in contents.inputs.items()
            if not (run.action == LOOP and name == "Steps")
        },
        "Outputs": {name: shown(value) for name, value in contents.outputs.items()},
    }
    optional = {
        "ExecutionEndTime": None if run.ended_at is None else from_millis(run.ended_at),
        "ResponseCode": contents.response_code,
        "Response": contents.response,
        "FailureMessage": contents.failure if run.status is not Status.SUCCESS else "",
        "WarningMessage": contents.warning,
        "FailureDetails": _failure_details(run),
        "ParentStepDetails": None if parent is None else _parent_details(run, parent),
    }
    if run.goes_to:
        found["NextStep"] = run.goes_to
    return found | {name: value for name, value in optional.items() if value not in (None, "")}


def _failure_details(run: StepRun) -> Shape | None:
    contents = run.contents
    if not contents.failure_type or run.status is Status.SUCCESS:
        return None
    return {
        "FailureStage": contents.failure_stage, "FailureType": contents.failure_type,
        "Details": {"ErrorMessage": [contents.failure]},
    }  # fmt: skip


def _parent_details(run: StepRun, parent: StepRun) -> Shape:
    found: Shape = {
        "StepExecutionId": parent.step_id, "StepName": parent.name, "Action": parent.action,
        "Iteration": run.iteration,
    }  # fmt: skip
    if run.contents.iterator_value:
        found["IteratorValue"] = run.contents.iterator_value
    return found


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
