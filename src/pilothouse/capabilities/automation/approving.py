"""The page that a link to approve leads to (`approval_links`): opening it asks, and only sending its form decides.

What is decided is SendAutomationSignal of the approver: allowed, refused and recorded as if it had come with the
approver's key. A link that does not hold is refused, and recorded where it is about a step that there is.
"""

from dataclasses import dataclass
from typing import Final

from pilothouse.by_link import Page, Visit
from pilothouse.call import House
from pilothouse.capabilities import access
from pilothouse.capabilities.automation import approval_links
from pilothouse.capabilities.automation.actions.approve import Approve
from pilothouse.capabilities.automation.going import put_due
from pilothouse.capabilities.automation.model import InvalidAutomationSignalException, Status
from pilothouse.capabilities.automation.runs import Execution, StepRun
from pilothouse.capabilities.automation.signals import has_decided
from pilothouse.capabilities.automation.store import AutomationStore
from pilothouse.errors import ApiError
from pilothouse.identity.principals import Principal
from pilothouse.inside import Origin
from pilothouse.runtime.clock import from_millis
from pilothouse.storage import Transaction

_SIGNAL: Final = ("ssm", "SendAutomationSignal")
_DECISIONS: Final = {"Approve": "Approve", "Reject": "Reject"}
_DONE: Final = {"Approve": "Approved", "Reject": "Rejected"}
_BAD: Final = "This link is not valid"
_GONE: Final = "This link does not count any more"


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a link is about. Without an approver it is not one that was made for anybody here."""

    execution: Execution
    run: StepRun
    approver: Principal | None


async def visited(house: House, visit: Visit) -> Page:
    """What a link leads to, opened or decided."""
    token = visit.fields.get("token", "")
    claim = approval_links.claimed(token)
    if claim is None:
        return _refusal(_BAD, 403)
    async with house.database.reading() as tx:  # strangers, and programs that open links, cost no more than that
        asked = await _asked(house, tx, claim, token)
    if asked is None:
        return _refusal(_BAD, 403)
    if not visit.sent and asked.approver is not None and not _why_not(house, asked, claim):
        return _question(asked, token, claim)
    async with house.database.transaction() as tx:
        if asked.approver is None:
            await _refused(house, tx, asked, visit, "The link was not made for an approver of this step.")
            return _refusal(_BAD, 403)
        if visit.sent:  # others wait from here on, so what follows is true until the end
            await put_due(house, tx, asked.execution.execution_id, asked.execution.account_id, asked.execution.region)
        asked = await _asked(house, tx, claim, token)
        if asked is None or asked.approver is None:
            return _refusal(_BAD, 403)
        why = _why_not(house, asked, claim)
        if why:
            await _refused(house, tx, asked, visit, why)
            return _refusal(_GONE, 410, why)
        return await _decided(house, tx, asked, visit) if visit.sent else _question(asked, token, claim)


async def _asked(
    house: House, tx: Transaction, claim: approval_links.Claim, token: str
) -> _Asked | None:  # fmt: skip
    store = AutomationStore(tx, house.vault)
    run = await store.step(claim.step_id)
    execution = None if run is None else await store.execution(run.execution_id)
    if run is None or execution is None or run.action != Approve.name:
        return None
    approvers = run.contents.inputs.get("Approvers") or ()
    approver = None
    if claim.number < len(approvers):
        approver = await access.user_named(house, tx, execution.account_id, approvers[claim.number])
    if approver is not None and not approval_links.proves(house, token, approver.user_id):
        approver = None
    return _Asked(execution, run, approver)


def _why_not(house: House, asked: _Asked, claim: approval_links.Claim) -> str:
    """Why a link that was good counts no more; empty while it does."""
    if asked.approver is not None and claim.attempt == asked.run.attempt and has_decided(asked.run, asked.approver):
        return "The link was used, or its approver has decided otherwise."
    if house.clock.millis() >= claim.ends_at:
        return "The link has expired."
    if asked.run.status is not Status.WAITING or claim.attempt != asked.run.attempt:
        return "The step does not wait for a decision any more."
    return ""


async def _refused(house: House, tx: Transaction, asked: _Asked, visit: Visit, why: str) -> None:
    """Into the trail, as whoever it was made for, else as a stranger."""
    execution = asked.execution
    stranger = Principal(
        kind="anonymous", account_id=execution.account_id, arn="", user_id="", access_key_id=""
    )  # fmt: skip
    decision = visit.fields.get("decision", "")
    await house.inside.refused(
        tx, asked.approver or stranger, execution.region, _SIGNAL,
        {"AutomationExecutionId": execution.execution_id, "SignalType": _DECISIONS.get(decision, "Approve")},
        InvalidAutomationSignalException(why), _origin(visit),
    )  # fmt: skip


def _origin(visit: Visit) -> Origin:
    """The trail tells by the user agent that it came by a link."""
    origin = visit.origin
    return Origin(
        source_ip=origin.source_ip, user_agent=f"approval-link {origin.user_agent}".strip(), secure=origin.secure
    )  # fmt: skip


async def _decided(house: House, tx: Transaction, asked: _Asked, visit: Visit) -> Page:
    decision = visit.fields.get("decision", "")
    if decision not in _DECISIONS:
        return Page(title="Nothing was decided", text="The form names no decision.", status=400)
    assert asked.approver is not None
    execution, run = asked.execution, asked.run
    payload = {"StepName": [run.name]}
    if comment := visit.fields.get("comment", "").strip():
        payload["Comment"] = [comment]
    request = {"AutomationExecutionId": execution.execution_id, "SignalType": decision, "Payload": payload}
    try:
        await house.inside.asked(tx, asked.approver, execution.region, _SIGNAL, request, _origin(visit))
    except ApiError as error:  # its record stays
        return Page(title="It was refused", text=f"{error.code}: {error.message}", status=403)
    facts = {"Recorded as the decision of": asked.approver.arn, "Execution": execution.execution_id}
    return Page(title=_DONE[decision], text="You can close this page.", facts=facts)


def _question(asked: _Asked, token: str, claim: approval_links.Claim) -> Page:
    execution, run = asked.execution, asked.run
    assert asked.approver is not None
    until = from_millis(claim.ends_at).isoformat(timespec="minutes").replace("+00:00", " UTC").replace("T", " ")
    return Page(
        title="An approval is asked of you",
        text=str(run.contents.inputs.get("Message") or ""),
        facts={
            "Runbook": f"{execution.document_name}, version {execution.document_version}",
            "Step": run.name,
            "Execution": execution.execution_id,
            "Account and region": f"{execution.account_id}, {execution.region}",
            "Started by": str(execution.contents.who.get("arn") or ""),
            "You decide as": asked.approver.arn,
            "Until": until,
        },
        buttons=_DECISIONS,
        asks="Comment",
        hidden={"token": token},
    )


def _refusal(title: str, status: int, why: str = "") -> Page:
    return Page(title=title, text=why or "Ask for the step by its execution, with your own keys.", status=status)
