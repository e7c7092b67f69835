"""`aws:approve`: go on when enough of those who are named have approved; one who rejects is enough to fail."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from pilothouse.capabilities import access
from pilothouse.capabilities.automation.actions.interface import (
    Action,
    Done,
    Failed,
    Input,
    Kind,
    Outcome,
    Step,
    StepFailed,
    Values,
    WaitFor,
    literal,
)
from pilothouse.capabilities.automation.approval_links import Claim, link
from pilothouse.errors import ApiError

_MOST: Final = 10
_DAYS: Final = 24 * 3600
APPROVER: Final = "approver"
"""The attribute of messages for one approver."""
_TOPIC: Final = "Automation"
_TOPIC_SAID: Final = "the name of the topic must begin with Automation"
_MOST_MESSAGE: Final = 4096


class Approve(Action):
    """Waits for people, whose signals (`signals`) put their decisions into the state."""

    name = "aws:approve"
    inputs: Mapping[str, Input] = {
        "Approvers": Input(Kind.TEXTS, required=True),
        "MinRequiredApprovals": Input(Kind.NUMBER),
        "Message": Input(),
        "NotificationArn": Input(),
    }
    timeout_seconds = 7 * _DAYS
    mutating = False

    def check(self, inputs: Values) -> Iterator[tuple[str, str]]:
        approvers, least = inputs.get("Approvers"), inputs.get("MinRequiredApprovals")
        if isinstance(approvers, list) and not 1 <= len(approvers) <= _MOST:
            yield "Approvers", f"it must name 1 to {_MOST}"
        if isinstance(least, int) and least < 1:
            yield "MinRequiredApprovals", "it must be at least 1"
        several = isinstance(approvers, list) and all(map(literal, approvers))
        if several and isinstance(least, int) and least > len(approvers or ()):
            yield "MinRequiredApprovals", "it must not be more than there are approvers"
        topic, message = inputs.get("NotificationArn"), inputs.get("Message")
        if isinstance(topic, str) and topic and literal(topic) and not topic.rpartition(":")[2].startswith(_TOPIC):
            yield "NotificationArn", _TOPIC_SAID
        if isinstance(message, str) and len(message) > _MOST_MESSAGE:
            yield "Message", f"it may have at most {_MOST_MESSAGE} characters"

    async def begin(self, step: Step) -> Outcome:
        approvers = step.inputs["Approvers"]
        least = step.inputs.get("MinRequiredApprovals") or 1
        if not 1 <= len(approvers) <= _MOST or not 1 <= least <= len(approvers):
            raise StepFailed(
                f"There are {len(approvers)} approvers of whom {least} must approve: there may be 1 to {_MOST}, and "
                "not more must approve than there are.",
                stage="InputValidation",
            )
        if step.inputs.get("NotificationArn"):
            await _notify(step)
        return WaitFor(for_people=True, state={"decisions": []})

    async def resume(self, step: Step, state: Values) -> Outcome:
        decisions: Sequence[Mapping[str, Any]] = state.get("decisions") or ()
        rejected = next((each for each in decisions if each["Decision"] == "Reject"), None)
        outputs = {"ApprovalStatus": "Waiting", "ApproverDecisions": list(decisions)}
        if rejected is not None:
            message = f"{rejected['Approver']} rejected it."
            return Failed(message=message, outputs=outputs | {"ApprovalStatus": "Rejected"})
        if len(decisions) >= (step.inputs.get("MinRequiredApprovals") or 1):
            return Done(outputs=outputs | {"ApprovalStatus": "Approved"})
        return WaitFor(for_people=True, state=state)


async def _notify(step: Step) -> None:
    """Tell the topic; approvers who have a filter of their own there get a link besides."""
    topic, subject = step.inputs["NotificationArn"], f"Approval for {step.name}"[:100]
    _check_topic(topic)
    asks = (
        f"{step.inputs.get('Message') or 'An automation waits for your approval.'}\n\n"
        f"Automation execution: {step.execution_id}\nStep: {step.name}\n\n"
    )
    how = (
        "To approve:\n"
        f"aws ssm send-automation-signal --automation-execution-id {step.execution_id} --signal-type Approve "
        f"--region {step.region}\n"
    )
    if any(_is_of_role(each) for each in step.inputs["Approvers"]):
        how += (
            "Approvers that are roles get no link. Assume the role first, as by a profile of the AWS CLI with "
            "role_arn, and send the signal as its session.\n"
        )
    try:
        await step.ask("sns", "Publish", {"TopicArn": topic, "Subject": subject, "Message": asks + how})
    except ApiError as error:
        raise StepFailed(f"The approvers cannot be told by {topic}: {error.code}: {error.message}") from error
    for number, named in enumerate(step.inputs["Approvers"]):
        url = await _link(step, number, named)
        if url:
            await step.house.tell(
                step.tx, "topic.messages", account_id=step.account_id, region=step.region, topic_arn=topic,
                subject=subject, messages=[f"{asks}To approve or reject as {named}:\n{url}\n"],
                attributes={APPROVER: named}, only_for=APPROVER,
            )  # fmt: skip


def _is_of_role(named: str) -> bool:
    return ":role/" in named or ":assumed-role/" in named


async def _link(step: Step, number: int, named: str) -> str:
    """For one approver; empty for those who are no users: a role has nobody who could be asked."""
    who = await access.user_named(step.house, step.tx, step.account_id, named)
    if who is None or step.deadline is None:
        return ""
    claim = Claim(step_id=step.step_execution_id, attempt=step.attempt, number=number, ends_at=step.deadline)
    return link(step.house, claim, who.user_id)


def _check_topic(topic: str) -> None:
    if not topic.rpartition(":")[2].startswith(_TOPIC):
        raise StepFailed(f"NotificationArn {topic[:300]}: {_TOPIC_SAID}.", stage="InputValidation")
