"""`aws:executeAwsApi`, and the two that look at what it gives: `aws:assertAwsResourceProperty`, `aws:waitFor…`.

Operations of this server are answered in the transaction of the step, as whoever acts. Those of other services go to
the endpoint that is configured for the service (`elsewhere`), outside of any transaction.
"""

import base64
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from pilothouse.capabilities.automation import elsewhere
from pilothouse.capabilities.automation.actions import on_ec2
from pilothouse.capabilities.automation.actions.interface import (
    Action,
    Done,
    Errand,
    Failed,
    FailureType,
    Input,
    Kind,
    Outcome,
    Perform,
    Step,
    Values,
    WaitUntil,
    literal,
)
from pilothouse.capabilities.automation.selecting import SelectorInvalid, as_text, check, select

_OWN: Final = frozenset({"Service", "Api", "PropertySelector", "DesiredValues"})
_FIRST_PAUSE_MS: Final = 5_000
_LONGEST_PAUSE_MS: Final = 60_000


def plain(value: Any) -> Any:
    """A response as JSON has it."""
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, bytes | bytearray):
        return base64.b64encode(value).decode()
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)


class ExecuteAwsApi(Action):
    """Calls any operation of any service."""

    name = "aws:executeAwsApi"
    inputs: Mapping[str, Input] = {"Service": Input(required=True), "Api": Input(required=True)}
    more_inputs = True
    mutating: bool | None = None

    async def begin(self, step: Step) -> Outcome:
        return await self._call(step, {})

    async def resume(self, step: Step, state: Values) -> Outcome:
        return await self._call(step, state)

    async def perform(self, errand: Errand) -> Outcome:
        response = await elsewhere.call(errand, str(errand.state["service"]), str(errand.state["name"]), _asked(errand))
        return self.judge(errand, errand.state, plain(response), errand.house.clock.millis())

    async def _call(self, step: Step, state: Values) -> Outcome:
        service, api = str(step.inputs["Service"]).lower(), str(step.inputs["Api"])
        name = step.house.inside.named(service, api)
        if service == on_ec2.SERVICE and on_ec2.is_elsewhere(step.house, step.account_id, step.region):
            name = None
        if name is not None:
            response = await step.ask(service, name, _asked(step))
            return self.judge(step, state, plain(response), step.now)
        name = elsewhere.operation_named(step.house.settings, service, api)
        return Perform(
            state={**state, "service": service, "name": name}, repeatable=elsewhere.is_repeatable(service, name)
        )  # fmt: skip

    def judge(self, step: Step | Errand, state: Values, response: Any, now: int) -> Outcome:
        """What the response means."""
        return Done(payload=response)


def _asked(step: Step | Errand) -> dict[str, Any]:
    return {name: value for name, value in step.inputs.items() if name not in _OWN}


class _Property(ExecuteAwsApi):
    """Looks at a property of what an operation gives."""

    inputs: Mapping[str, Input] = {
        "Service": Input(required=True),
        "Api": Input(required=True),
        "PropertySelector": Input(required=True),
        "DesiredValues": Input(Kind.LIST, required=True),
    }
    mutating = False

    def check(self, inputs: Values) -> Iterator[tuple[str, str]]:
        selector = inputs.get("PropertySelector")
        if isinstance(selector, str) and literal(selector):
            try:
                check(selector)
            except SelectorInvalid as error:
                yield "PropertySelector", str(error)

    def found(self, step: Step | Errand, response: Any) -> tuple[bool, str]:
        """Whether every value that is selected is one of those that are desired, and what was found, as text."""
        try:
            value = select(str(step.inputs["PropertySelector"]), response)
        except SelectorInvalid as error:
            return False, f"nothing ({error})"
        values = [as_text(each) for each in (value if isinstance(value, list) else [value])]
        wanted = {as_text(each) for each in step.inputs["DesiredValues"]}
        return bool(values) and all(each in wanted for each in values), ", ".join(values)[:200] or "nothing"


class AssertAwsResourceProperty(_Property):
    """Fails unless the property is as it should be."""

    name = "aws:assertAwsResourceProperty"

    def judge(self, step: Step | Errand, state: Values, response: Any, now: int) -> Outcome:
        fits, found = self.found(step, response)
        if fits:
            return Done()
        selector = step.inputs["PropertySelector"]
        wanted = ", ".join(as_text(each) for each in step.inputs["DesiredValues"])[:200]
        message = f"{selector} is {found}, which is not among the desired values {wanted}."
        return Failed(message=message, kind=FailureType.VERIFICATION, stage="PostVerification")


class WaitForAwsResourceProperty(_Property):
    """Asks again, after pauses that grow, until the property is as it should be."""

    name = "aws:waitForAwsResourceProperty"

    def judge(self, step: Step | Errand, state: Values, response: Any, now: int) -> Outcome:
        fits, _ = self.found(step, response)
        if fits:
            return Done()
        asked = int(state.get("asked", 0))
        pause = min(_LONGEST_PAUSE_MS, _FIRST_PAUSE_MS * (1 << min(asked // 3, 8)))
        return WaitUntil(at=now + pause, state={"asked": asked + 1})
