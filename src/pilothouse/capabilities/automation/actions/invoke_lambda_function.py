"""`aws:invokeLambdaFunction`: a function at the endpoint that is configured for lambda."""

import asyncio
import base64
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from pilothouse.capabilities.automation import elsewhere
from pilothouse.capabilities.automation.actions.interface import (
    Action,
    Done,
    Errand,
    Failed,
    Input,
    Kind,
    Outcome,
    Perform,
    Step,
)

_SHOWN: Final = 2500


class InvokeLambdaFunction(Action):
    """Invokes once."""

    name = "aws:invokeLambdaFunction"
    inputs: Mapping[str, Input] = {
        "FunctionName": Input(required=True),
        "Qualifier": Input(),
        "InvocationType": Input(choices=("RequestResponse", "Event", "DryRun")),
        "LogType": Input(choices=("None", "Tail")),
        "ClientContext": Input(Kind.ANY),
        "Payload": Input(Kind.ANY),
        "InputPayload": Input(Kind.ANY),
    }

    async def begin(self, step: Step) -> Outcome:
        elsewhere.operation_named(step.house.settings, "lambda", "Invoke")
        return Perform(state={}, repeatable=False)

    async def perform(self, errand: Errand) -> Outcome:
        inputs = errand.inputs
        request: dict[str, Any] = {
            name: inputs[name]
            for name in ("FunctionName", "Qualifier", "InvocationType", "LogType")
            if inputs.get(name) is not None
        }
        if "ClientContext" in inputs:
            context = inputs["ClientContext"]
            text = context if isinstance(context, str) else msgspec.json.encode(context).decode()
            request["ClientContext"] = base64.b64encode(text.encode()).decode()
        given = inputs["Payload"] if "Payload" in inputs else inputs.get("InputPayload")
        if given is not None:
            request["Payload"] = given.encode() if isinstance(given, str) else msgspec.json.encode(given)
        answer = await elsewhere.call(errand, "lambda", "Invoke", request)
        payload = answer.get("Payload")
        body: bytes = await asyncio.to_thread(payload.read) if payload is not None else b""
        text = body.decode("utf-8", "replace")
        outputs: dict[str, Any] = {"StatusCode": answer.get("StatusCode"), "Payload": text}
        for name in ("FunctionError", "LogResult"):
            if answer.get(name):
                outputs[name] = answer[name]
        code = str(answer.get("StatusCode") or "")
        if answer.get("FunctionError"):
            message = f"The function failed ({answer['FunctionError']}): {text[:_SHOWN]}"
            return Failed(message=message, outputs=outputs, response=text[:_SHOWN], response_code=code)
        return Done(outputs=outputs, payload={**outputs, "Payload": _parsed(text)}, response=text[:_SHOWN],
                    response_code=code)  # fmt: skip


def _parsed(text: str) -> Any:
    """A payload as JSON, where it is that."""
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
