"""`aws:runCommand`: a command on nodes, to its end."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, Final

from pilothouse.capabilities import commands, machines
from pilothouse.capabilities.automation.actions.interface import (
    Action,
    Done,
    Failed,
    Input,
    Kind,
    Outcome,
    Step,
    Values,
    WaitFor,
    WaitUntil,
)
from pilothouse.capabilities.automation.selecting import as_text
from pilothouse.errors import ApiError

_ENDED: Final = frozenset({"Success", "Failed", "TimedOut", "Cancelled"})
_SHOWN: Final = 2500
_TAKEN: Final = (
    "DocumentName", "InstanceIds", "Targets", "DocumentVersion", "DocumentHash", "DocumentHashType", "TimeoutSeconds",
    "MaxConcurrency", "MaxErrors", "Comment", "OutputS3BucketName", "OutputS3KeyPrefix", "OutputS3Region",
    "ServiceRoleArn", "NotificationConfig", "CloudWatchOutputConfig",
)  # fmt: skip


class RunCommand(Action):
    """The command is sent in the transaction that makes the step: there is one, or there is none."""

    name = "aws:runCommand"
    inputs: Mapping[str, Input] = {
        "DocumentName": Input(required=True),
        "InstanceIds": Input(Kind.TEXTS),
        "Targets": Input(Kind.MAPS),
        "Parameters": Input(Kind.MAP),
        "DocumentVersion": Input(),
        "DocumentHash": Input(),
        "DocumentHashType": Input(),
        "TimeoutSeconds": Input(Kind.NUMBER),
        "MaxConcurrency": Input(),
        "MaxErrors": Input(),
        "Comment": Input(),
        "OutputS3BucketName": Input(),
        "OutputS3KeyPrefix": Input(),
        "OutputS3Region": Input(),
        "ServiceRoleArn": Input(),
        "NotificationConfig": Input(Kind.MAP),
        "CloudWatchOutputConfig": Input(Kind.MAP),
        "PreventOverlap": Input(Kind.TRUTH),
    }

    def check(self, inputs: Values) -> Iterator[tuple[str, str]]:
        if ("InstanceIds" in inputs) == ("Targets" in inputs):
            yield "", "it needs either InstanceIds or Targets"

    async def begin(self, step: Step) -> Outcome:
        request: dict[str, Any] = {name: step.inputs[name] for name in _TAKEN if name in step.inputs}
        if "InstanceIds" in request:
            request["InstanceIds"] = [await _node(step, str(each)) for each in request["InstanceIds"]]
        if "Parameters" in step.inputs:
            request["Parameters"] = {
                name: [as_text(each) for each in (value if isinstance(value, list) else [value])]
                for name, value in step.inputs["Parameters"].items()
            }
        answer = await step.ask("ssm", "SendCommand", request)
        command = answer["Command"]
        if command["Status"] in _ENDED:  # no node fits, or none may be sent to
            return await _ended(step, command["CommandId"], command["Status"], command.get("StatusDetails") or "")
        return _wait(command["CommandId"])

    async def resume(self, step: Step, state: Values) -> Outcome:
        command_id = str(state["command_id"])
        found = await commands.status_of(step.tx, step.account_id, step.region, command_id)
        if found is None:
            return Failed(message=f"The command {command_id} is not there any more.")
        if not found.final:
            return _wait(command_id)
        return await _ended(step, command_id, found.status, found.details)

    async def cancel(self, step: Step, state: Values) -> WaitUntil | WaitFor | None:
        command_id = state.get("command_id")
        if not command_id:
            return None
        with suppress(ApiError):  # who may not cancel it waits for its end: it is not stopped until then
            await step.ask("ssm", "CancelCommand", {"CommandId": command_id})
        found = await commands.status_of(step.tx, step.account_id, step.region, str(command_id))
        return None if found is None or found.final else _wait(str(command_id))


async def _node(step: Step, instance_id: str) -> str:
    """The node that a machine of this server is, by its tag."""
    if not instance_id.startswith("i-"):
        return instance_id
    return await machines.node_of(step.tx, step.account_id, step.region, instance_id) or instance_id


def _wait(command_id: str) -> WaitFor:
    return WaitFor(keys=[f"command:{command_id}"], state={"command_id": command_id})


async def _ended(step: Step, command_id: str, status: str, details: str) -> Outcome:
    output, code, warning = "", "", ""
    try:
        answer = await step.ask(
            "ssm", "ListCommandInvocations", {"CommandId": command_id, "Details": True, "MaxResults": 1}
        )  # fmt: skip
    except ApiError as error:
        answer, warning = {}, f"The output of the command cannot be shown: {error.message}"
    for invocation in answer.get("CommandInvocations") or ():
        plugins = invocation.get("CommandPlugins") or ()
        output = "\n".join(each.get("Output") or "" for each in plugins).strip("\n")[:_SHOWN]
        code = str(next((each["ResponseCode"] for each in plugins if each.get("ResponseCode") is not None), ""))
    outputs: dict[str, Any] = {"CommandId": command_id, "Status": status, "ResponseCode": code, "Output": output}
    outputs["OutputPayload"] = dict(outputs)
    if status == "Success":
        return Done(outputs=outputs, response=output, response_code=code, warning=warning)
    how = details or status
    return Failed(
        message=f"The command {command_id} ended as {how}.", outputs=outputs, response=output, response_code=code
    )  # fmt: skip
