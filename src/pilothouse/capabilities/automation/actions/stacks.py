"""`aws:createStack` and `aws:deleteStack`, at the endpoint that is configured for cloudformation."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from pilothouse.capabilities.automation.actions.called_elsewhere import CalledElsewhere, given, later
from pilothouse.capabilities.automation.actions.interface import (
    Done,
    Errand,
    Failed,
    Input,
    Kind,
    Outcome,
    StepFailed,
    Values,
)

_CREATE: Final[Mapping[str, Kind]] = {
    "StackName": Kind.TEXT, "TemplateBody": Kind.TEXT, "TemplateURL": Kind.TEXT, "Parameters": Kind.MAPS,
    "Capabilities": Kind.TEXTS, "OnFailure": Kind.TEXT, "DisableRollback": Kind.TRUTH, "NotificationARNs": Kind.TEXTS,
    "RoleARN": Kind.TEXT, "ResourceTypes": Kind.TEXTS, "StackPolicyBody": Kind.TEXT, "StackPolicyURL": Kind.TEXT,
    "Tags": Kind.MAPS, "TimeoutInMinutes": Kind.NUMBER, "ClientRequestToken": Kind.TEXT,
}  # fmt: skip
_GONE: Final = "does not exist"


class CreateStack(CalledElsewhere):
    """A stack, once it is complete."""

    name = "aws:createStack"
    service = "cloudformation"
    first = "CreateStack"
    inputs: Mapping[str, Input] = {
        **{name: Input(kind, required=name == "StackName") for name, kind in _CREATE.items()},
        "OnStackFailure": Input(choices=("DO_NOTHING", "ROLLBACK", "DELETE")),
    }

    def check(self, inputs: Values) -> Iterator[tuple[str, str]]:
        if bool(inputs.get("TemplateBody")) == bool(inputs.get("TemplateURL")):
            yield "", "it needs either TemplateBody or TemplateURL"

    async def turn(self, errand: Errand, state: Values) -> Outcome:
        if not state:
            request = given(errand, *_CREATE)
            if errand.inputs.get("OnStackFailure"):
                request["OnFailure"] = errand.inputs["OnStackFailure"]
            request.setdefault("ClientRequestToken", errand.token)
            answer = await self.call(errand, "CreateStack", request)
            return later(errand, stack=answer["StackId"])
        answer = await self.call(errand, "DescribeStacks", {"StackName": state["stack"]})
        stack = answer["Stacks"][0]
        status = str(stack["StackStatus"])
        outputs: dict[str, Any] = {
            "StackId": stack["StackId"],
            "StackStatus": status,
            "StackStatusReason": stack.get("StackStatusReason") or "",
        }
        if status == "CREATE_COMPLETE":
            return Done(outputs=outputs)
        if status.endswith("_IN_PROGRESS"):
            return later(errand)
        reason = outputs["StackStatusReason"] or "no reason is told"
        return Failed(message=f"The stack {stack['StackId']} is {status}: {reason}", outputs=outputs)


class DeleteStack(CalledElsewhere):
    """A stack that is no more."""

    name = "aws:deleteStack"
    service = "cloudformation"
    first = "DeleteStack"
    inputs: Mapping[str, Input] = {
        "StackName": Input(required=True),
        "RoleARN": Input(),
        "RetainResources": Input(Kind.TEXTS),
        "ClientRequestToken": Input(),
    }

    async def turn(self, errand: Errand, state: Values) -> Outcome:
        if "stack" not in state:
            found = await self._found(errand, str(errand.inputs["StackName"]))
            if found is None:
                return Done(warning="There was no such stack.")
            return later(errand, stack=found["StackId"])  # by its id it can be looked at when it is gone
        if not state.get("asked"):
            request = given(errand, "RoleARN", "RetainResources", "ClientRequestToken")
            request.setdefault("ClientRequestToken", errand.token)
            await self.call(errand, "DeleteStack", {**request, "StackName": state["stack"]})
            return later(errand, asked=True)
        found = await self._found(errand, str(state["stack"]))
        status = "DELETE_COMPLETE" if found is None else str(found["StackStatus"])
        if status == "DELETE_COMPLETE":
            return Done()
        if status == "DELETE_FAILED":
            reason = (found or {}).get("StackStatusReason") or "no reason is told"
            return Failed(message=f"The stack {state['stack']} cannot be deleted: {reason}")
        return later(errand)

    async def _found(self, errand: Errand, name: str) -> Mapping[str, Any] | None:
        try:
            answer = await self.call(errand, "DescribeStacks", {"StackName": name})
        except StepFailed as failed:
            if _GONE in failed.message:
                return None
            raise
        return next(iter(answer.get("Stacks") or ()), None)
