"""Previews: what a runbook would do, without doing it."""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities.automation.actions import ACTIONS
from pilothouse.capabilities.automation.model import Flow, ResourceNotFoundException
from pilothouse.capabilities.automation.operations import definition_resource
from pilothouse.capabilities.automation.references import REFERENCE
from pilothouse.capabilities.automation.runs import LOCATIONS, Execution
from pilothouse.capabilities.automation.starting import Definition, prepared
from pilothouse.capabilities.automation.store import AutomationStore
from pilothouse.errors import ApiError, ValidationException
from pilothouse.runtime.clock import from_millis

_READS: Final = ("describe", "get", "list", "head", "search", "lookup", "batchget")


@operation("ssm", "StartExecutionPreview", writes=True, resources=definition_resource)
async def start_execution_preview(call: Call, request: Shape) -> Shape:
    """Look at what an execution would do. It is done at once, and kept for a while."""
    inputs = (request.get("ExecutionInputs") or {}).get("Automation") or {}
    asked = {"DocumentName": request["DocumentName"], **inputs}
    if request.get("DocumentVersion"):
        asked["DocumentVersion"] = request["DocumentVersion"]
    preview: dict[str, Any] = {"status": "Success", "ended_at": call.clock.millis()}
    async with call.transaction() as tx:
        try:
            execution, definition = await prepared(call, tx, asked)
            preview["automation"] = _previewed(execution, definition)
        except ApiError as error:
            if "NotFound" in error.code:
                raise ValidationException(error.message) from error
            preview |= {"status": "Failed", "message": f"{error.code}: {error.message}"}
        preview_id = call.ids.uuid()
        store = AutomationStore(tx, call.house.vault)
        written = msgspec.json.encode(preview).decode()
        await store.keep_preview(preview_id, call.account_id, call.region, call.clock.millis(), written)
    return {"ExecutionPreviewId": preview_id}


def _previewed(execution: Execution, definition: Definition) -> dict[str, Any]:
    counts = {"Mutating": 0, "NonMutating": 0, "Undetermined": 0}
    for impact in _impacts(definition.runbook.flow):
        counts[impact] += 1
    children = execution.contents.children
    places = [each for each in children if execution.kind == LOCATIONS]
    accounts = {each["account"] for each in places} or {execution.account_id}
    kind = definition.document.target_type or ""
    return {
        "StepPreviews": counts,
        "Regions": sorted({each["region"] for each in places} or {execution.region}),
        "TargetPreviews": (
            [{"Count": len(children), "TargetType": kind.lstrip("/") or "AWS::SSM::ManagedInstance"}]
            if children and not places
            else []
        ),
        "TotalAccounts": len(accounts),
    }


def _impacts(flow: Flow) -> Iterator[str]:
    """Of every step, those of loops as well."""
    for plan in flow.steps:
        if plan.within is not None:
            yield from _impacts(plan.within)
            continue
        action = ACTIONS.get(plan.action)
        mutating = None if action is None else action.mutating
        api = str(plan.inputs.get("Api") or "").replace("_", "").lower()
        if mutating is None and api and not REFERENCE.search(api):
            mutating = not api.startswith(_READS)
        yield "Undetermined" if mutating is None else "Mutating" if mutating else "NonMutating"


@operation("ssm", "GetExecutionPreview")
async def get_execution_preview(call: Call, request: Shape) -> Shape:
    """What was seen."""
    preview_id = request["ExecutionPreviewId"].lower()
    async with call.reading() as tx:
        store = AutomationStore(tx, call.house.vault)
        written = await store.preview(preview_id, call.account_id, call.region)
    if written is None:
        raise ResourceNotFoundException(f"There is no execution preview {request['ExecutionPreviewId']}.")
    found = msgspec.json.decode(written)
    answer: Shape = {
        "ExecutionPreviewId": preview_id, "Status": found["status"], "EndedAt": from_millis(found["ended_at"]),
    }  # fmt: skip
    if "message" in found:
        answer["StatusMessage"] = found["message"]
    if "automation" in found:
        answer["ExecutionPreview"] = {"Automation": found["automation"]}
    return answer
