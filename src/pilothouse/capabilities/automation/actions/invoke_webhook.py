"""`aws:invokeWebhook`: a request to the URL of an integration, which is a parameter of DataType `aws:ssm:integration`.

The parameter's value is JSON: `{"url": "https://…", "method": "POST", "headers": {…}, "payload": {…}}`. It is read as
whoever acts, when the request is made, and kept nowhere: URL and headers may hold secrets.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

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
    StepFailed,
)
from pilothouse.errors import ApiError
from pilothouse.runtime.outbound import OutboundFailed

INTEGRATION: Final = "aws:ssm:integration"
PREFIX: Final = "/d9d01087-4a3f-49e0-b0b4-d568d7826553/ssm/integrations/webhook/"
"""Where consoles put what they call an integration."""
_METHODS: Final = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
_NOT_GIVEN: Final = frozenset({"host", "content-length", "transfer-encoding", "connection"})
_MOST_SHOWN: Final = 24_000


class InvokeWebhook(Action):
    """Calls once: who is called knows nothing of us that would let it tell a second time from the first."""

    name = "aws:invokeWebhook"
    inputs: Mapping[str, Input] = {"IntegrationName": Input(required=True), "Body": Input(Kind.ANY)}
    timeout_seconds = 60

    async def begin(self, step: Step) -> Outcome:
        return Perform(state={}, repeatable=False)

    async def perform(self, errand: Errand) -> Outcome:
        found = await _integration(errand, str(errand.inputs["IntegrationName"]))
        method, url = str(found.get("method") or "POST").upper(), found.get("url")
        headers = found.get("headers") or {}
        if method not in _METHODS or not isinstance(url, str) or not isinstance(headers, Mapping):
            raise StepFailed("The integration needs a url, and may have a method and headers.", stage="InputValidation")
        sent = {str(name): str(value) for name, value in headers.items() if str(name).lower() not in _NOT_GIVEN}
        body = errand.inputs["Body"] if "Body" in errand.inputs else found.get("payload")
        if body is not None and not any(name.lower() == "content-type" for name in sent):
            sent["Content-Type"] = "application/json"
        try:
            answer = await errand.house.outbound.send(method, url, headers=sent, body=_bytes(body))
        except OutboundFailed as error:
            return Failed(message=f"The webhook cannot be called: {error}.")
        except (ValueError, TypeError) as error:
            raise StepFailed("The headers of the integration cannot be sent.", stage="InputValidation") from error
        text = answer.body.decode("utf-8", "replace")[:_MOST_SHOWN]
        outputs: dict[str, Any] = {"Response": text, "ResponseCode": answer.status}
        if 200 <= answer.status < 300:
            return Done(outputs=outputs, response=text[:2500], response_code=str(answer.status))
        hint = "; redirects are not followed" if 300 <= answer.status < 400 else ""
        return Failed(
            message=f"The webhook answered {answer.status}{hint}.", outputs=outputs, response=text[:2500],
            response_code=str(answer.status),
        )  # fmt: skip


async def _integration(errand: Errand, name: str) -> Mapping[str, Any]:
    """What the integration says. Raises StepFailed."""
    house = errand.house
    for each in (name, f"{PREFIX}{name}"):
        refused: ApiError | None = None
        async with house.database.transaction() as tx:
            try:
                request = {"Name": each, "WithDecryption": True}
                answer = await house.inside.asked(tx, errand.who, errand.region, ("ssm", "GetParameter"), request)
            except ApiError as error:  # its record stays
                refused = error
        if refused is None:
            break
        if refused.code == "AccessDeniedException":
            raise StepFailed(f"{refused.code}: {refused.message}", FailureType.PERMISSION)
    else:
        raise StepFailed(f"There is no parameter named {name} that would be an integration.", stage="InputValidation")
    parameter = answer["Parameter"]
    if parameter.get("DataType") != INTEGRATION:
        raise StepFailed(f"The parameter {name} is not of the data type {INTEGRATION}.", stage="InputValidation")
    try:
        found = msgspec.json.decode(parameter["Value"], type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise StepFailed(f"The value of the integration {name} is not a JSON object.") from error
    return {key.lower(): value for key, value in found.items()}


def _bytes(body: Any) -> bytes:
    if body is None:
        return b""
    return body.encode() if isinstance(body, str) else msgspec.json.encode(body)
