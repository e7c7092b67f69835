"""Associations with runbooks: the server starts them, as a role that was passed to it.

An execution has one run, under the id of the automation execution that it started. While that goes on nothing else is
started: what is due meanwhile is Skipped.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from pilothouse.call import Call, House, Shape
from pilothouse.capabilities import access, automation, documents
from pilothouse.capabilities.associations.ledger import WATCH, Ledger
from pilothouse.capabilities.associations.model import (
    Association,
    Execution,
    InvalidTarget,
    Result,
    Run,
    State,
    Status,
    Terms,
)
from pilothouse.capabilities.associations.run_store import RunStore
from pilothouse.errors import ApiError
from pilothouse.identity.authorise import ask_each
from pilothouse.identity.principals import Principal
from pilothouse.scheduling import due
from pilothouse.scheduling.firing import Due
from pilothouse.storage import Transaction

ENDED: Final = "association.runbook"
"""Kind of what is due: an automation execution of ours has ended, by its id."""
_SERVICE: Final = "ssm.amazonaws.com"
_RESULTS: Final[Mapping[str, Status]] = {
    "Success": Status.SUCCESS,
    "CompletedWithSuccess": Status.SUCCESS,
    "TimedOut": Status.TIMED_OUT,
    "Cancelled": Status.CANCELLED,
}
"""Of automation executions that have ended; Failed is what is not here."""
_RUNNING: Final = Result(status=Status.IN_PROGRESS, details=Status.IN_PROGRESS)
_BUSY: Final = Result(
    status=Status.SKIPPED, details=Status.SKIPPED, summary="The automation execution before is still under way."
)
_INVALID: Final[Mapping[str, type[ApiError]]] = {
    "AutomationDefinitionNotFoundException": documents.InvalidDocument,
    "AutomationDefinitionVersionNotFoundException": documents.InvalidDocumentVersion,
    "InvalidAutomationExecutionParametersException": documents.InvalidParameters,
    "InvalidTarget": InvalidTarget,
}


def role_for(account_id: str, terms: Terms) -> str:
    """The ARN of the role that runbooks are started as."""
    return terms.dispatch_role or access.linked_role(account_id)


async def check(call: Call, tx: Transaction, terms: Terms) -> None:
    """Raises the operations' errors for what StartAutomationExecution would refuse.

    Whoever makes the association must be allowed to pass on both roles: the one that starts, and the runbook's own.
    """
    await ask_each(
        call, tx, "iam:PassRole", [role_for(call.account_id, terms)], {"iam:PassedToService": _SERVICE}
    )  # fmt: skip
    try:
        await automation.check_start(call, tx, _request(terms))
    except ApiError as error:
        other = _INVALID.get(error.code)
        if other is None:
            raise
        raise other(error.message) from error


def _request(terms: Terms) -> Shape:
    """StartAutomationExecution."""
    request: Shape = {
        "DocumentName": terms.document,
        "DocumentVersion": terms.document_version,
        "Parameters": terms.parameters or None,
        "TargetParameterName": terms.automation_parameter,
        "Targets": terms.targets or None,
        "TargetMaps": terms.target_maps or None,
        "TargetLocations": terms.target_locations or None,
        "AlarmConfiguration": terms.alarm,
    }
    if terms.targets or terms.target_maps or terms.target_locations:
        request |= {"MaxConcurrency": terms.max_concurrency, "MaxErrors": terms.max_errors}
    return {name: value for name, value in request.items() if value is not None}


async def begin(ledger: Ledger, execution: Execution) -> Execution:
    """Start the runbook for an execution that is new, and write both down."""
    run = await _started(ledger, execution)
    execution.add(run)
    execution.begun = int(run.state is State.RUNNING)
    if run.result.executed_at is not None:
        execution.executed_at = run.result.executed_at
    execution.settle()
    await ledger.runs.add(execution, [run])
    ledger.known(execution)
    if run.result.status != Status.SKIPPED:
        _stand(ledger, run.result)
    if run.state is State.RUNNING and execution.ends_at is not None:
        where = {"account_id": execution.account_id, "region": execution.region}
        await due.put(ledger.house, ledger.tx, WATCH, execution.execution_id, execution.ends_at, **where)
    return execution


async def _started(ledger: Ledger, execution: Execution) -> Run:
    association = ledger.association
    run = Run(
        execution_id=execution.execution_id, node_id=execution.execution_id, association_id=association.association_id,
        state=State.ENDED, result=_BUSY, changed_at=ledger.now,
    )  # fmt: skip
    if await ledger.runs.open_executions(association.association_id):
        return run
    try:
        who = await _actor(ledger.house, ledger.tx, association)
        answer = await ledger.house.inside.asked(
            ledger.tx, who, association.region, ("ssm", "StartAutomationExecution"), _request(association.terms)
        )
    except ApiError as error:
        text = f"The runbook {association.terms.document} cannot be started: {error.code}: {error.message}"
        failed = Result(status=Status.FAILED, details=Status.FAILED, summary=text[:512], executed_at=ledger.now)
        return replace(run, result=failed)
    started = answer["AutomationExecutionId"]
    await automation.belongs_to(ledger.house, ledger.tx, started, association.association_id)
    return replace(run, node_id=started, state=State.RUNNING, result=replace(_RUNNING, executed_at=ledger.now))


async def _actor(house: House, tx: Transaction, association: Association) -> Principal:
    arn = role_for(association.account_id, association.terms)
    who = await access.service_actor(house, tx, association.account_id, arn, association.association_id)
    if who is None:
        raise documents.InvalidDocument(f"there is no role {arn} in this account that {_SERVICE} may assume")
    return who


def _stand(ledger: Ledger, result: Result) -> None:
    """How the association stands as a whole: as its latest execution does."""
    association = replace(ledger.association, counts={str(result.status): 1})
    if result.executed_at is not None:
        association = replace(association, last_execution_at=result.executed_at)
    if result.status == Status.SUCCESS:
        association = replace(association, last_success_at=result.executed_at)
    ledger.association = association


async def automation_ended(house: House, tx: Transaction, facts: Mapping[str, Any]) -> None:
    """`automation.ended`. If it is ours, what follows is done on its own: the one that tells holds other locks."""
    if not facts["parent_id"] and await RunStore(tx).waiting_for(facts["execution_id"]) is not None:
        where = {"account_id": facts["account_id"], "region": facts["region"]}
        await due.put(house, tx, ENDED, facts["execution_id"], house.clock.millis(), **where)


async def runbook_ended(house: House, tx: Transaction, now: Due) -> int | None:
    """What follows the end of an automation execution of ours."""
    run = await RunStore(tx).waiting_for(now.key)
    ledger = None if run is None else await Ledger.opened(house, tx, run.association_id)
    if run is None or ledger is None:
        return None
    execution = await ledger.runs.execution(run.execution_id)
    run = await ledger.runs.run(run.execution_id, run.node_id)
    if execution is None or run is None or run.state is State.ENDED:
        return None
    found = await automation.outcome_of(house, tx, now.account_id, now.region, now.key)
    status, text = found or ("Failed", "The automation execution is not there any more.")
    ended = _RESULTS.get(status, Status.FAILED)
    result = Result(status=ended, details=ended, summary=text[:512], executed_at=run.result.executed_at)
    ledger.move(execution, run, State.ENDED, result, by_node=True)
    _stand(ledger, result)
    await ledger.close()
    return None


async def cut_off(ledger: Ledger, execution: Execution) -> None:
    """The association's Duration is over: what goes on is stopped, and its end is waited for."""
    for run in await ledger.runs.open_runs(execution.execution_id):
        who = await _actor(ledger.house, ledger.tx, ledger.association)
        request = {"AutomationExecutionId": run.node_id}
        try:
            await ledger.house.inside.asked(
                ledger.tx, who, execution.region, ("ssm", "StopAutomationExecution"), request
            )  # fmt: skip
        except ApiError:
            return  # it has ended meanwhile, or ends by itself
