"""`aws:executeStateMachine`: an execution of a state machine at the endpoint that is configured for stepfunctions."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from pilothouse.capabilities.automation.actions.called_elsewhere import CalledElsewhere, given, later
from pilothouse.capabilities.automation.actions.execute_aws_api import plain
from pilothouse.capabilities.automation.actions.interface import Done, Errand, Failed, Input, Kind, Outcome, Values

_TOLD: Final = (
    "executionArn", "stateMachineArn", "name", "status", "startDate", "stopDate", "input", "inputDetails", "output",
    "outputDetails", "error", "cause",
)  # fmt: skip


class ExecuteStateMachine(CalledElsewhere):
    """The execution's name is that of the attempt, if the runbook names none: it is not started twice."""

    name = "aws:executeStateMachine"
    service = "stepfunctions"
    first = "StartExecution"
    inputs: Mapping[str, Input] = {
        "stateMachineArn": Input(required=True),
        "name": Input(),
        "input": Input(Kind.ANY),
    }

    async def turn(self, errand: Errand, state: Values) -> Outcome:
        if not state:
            request = given(errand, "stateMachineArn", "name")
            request.setdefault("name", errand.token)
            text = errand.inputs.get("input")
            if text is not None:
                request["input"] = text if isinstance(text, str) else msgspec.json.encode(text).decode()
            answer = await self.call(errand, "StartExecution", request)
            return later(errand, execution=answer["executionArn"])
        answer = await self.call(errand, "DescribeExecution", {"executionArn": state["execution"]})
        status = str(answer.get("status") or "")
        outputs: dict[str, Any] = {name: plain(answer[name]) for name in _TOLD if answer.get(name) is not None}
        if status == "SUCCEEDED":
            return Done(outputs=outputs, payload=outputs)
        if status in ("RUNNING", "PENDING_REDRIVE"):
            return later(errand)
        why = answer.get("cause") or answer.get("error") or "no cause is told"
        return Failed(message=f"The execution {state['execution']} is {status}: {why}", outputs=outputs)
