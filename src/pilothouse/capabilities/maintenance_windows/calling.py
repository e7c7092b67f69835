"""Tasks of functions and state machines: a signed request to the receiver or the endpoint that the operator named.

The request is a row before it is sent. A process that dies in between sends it again with the same id, so a receiver
that keeps ids does the work once. Nothing is sent inside a transaction. Receivers are called as webhooks are,
endpoints as the cloud's are (`endpoints`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import msgspec

from pilothouse.call import House
from pilothouse.capabilities import events
from pilothouse.capabilities.maintenance_windows import endpoints
from pilothouse.capabilities.maintenance_windows.acting import actor, role_for
from pilothouse.capabilities.maintenance_windows.model import LAMBDA, STEP_FUNCTIONS, FeatureNotAvailableException
from pilothouse.capabilities.maintenance_windows.run_model import Invocation, Pseudo, Status, TaskRun
from pilothouse.errors import AccessDeniedException
from pilothouse.identity.authorise import may, refusal
from pilothouse.identity.policy import Verdict
from pilothouse.runtime.outbound import SECONDS, AddressRefused, NotReached, OutboundFailed
from pilothouse.runtime.settings import Settings
from pilothouse.storage import Transaction

CALL: Final = "maintenance_window.call"
"""Bus topic: somebody is to be called."""
SETTING: Final[Mapping[str, str]] = {
    LAMBDA: "lambda_endpoint or lambda_url",
    STEP_FUNCTIONS: "step_functions_endpoint or step_functions_url",
}
_ACTION: Final = {LAMBDA: "lambda:InvokeFunction", STEP_FUNCTIONS: "states:StartExecution"}
_MEMBER: Final = {LAMBDA: "Lambda", STEP_FUNCTIONS: "StepFunctions"}
_PAUSES_MS: Final = (5_000, 30_000)
"""Before a call is tried again that may have failed by chance."""
_PASSING: Final = frozenset({408, 425, 429})


def _url(settings: Settings, kind: str) -> str:
    """Of the receiver for a type of task; empty for none."""
    windows = settings.maintenance_windows
    return windows.lambda_url if kind == LAMBDA else windows.step_functions_url


def _endpoint(settings: Settings, kind: str) -> str:
    """Of the service; empty for none."""
    windows = settings.maintenance_windows
    return windows.lambda_endpoint if kind == LAMBDA else windows.step_functions_endpoint


def is_set_up(settings: Settings, kind: str) -> bool:
    """Whether tasks of the type can be done."""
    return bool(_url(settings, kind) or _endpoint(settings, kind))


def seconds(settings: Settings, kind: str) -> float:
    """How long a call may take."""
    if kind == LAMBDA and _endpoint(settings, kind):
        return settings.maintenance_windows.lambda_seconds
    return SECONDS


async def prepared(house: House, tx: Transaction, run: TaskRun, invocation: Invocation) -> Invocation:
    """The invocation with its call, which is made once this is durable. Raises what the role may not do."""
    task = run.task
    if not is_set_up(house.settings, task.kind):
        raise FeatureNotAvailableException(_not_set(task.kind))
    who = await actor(house, tx, run)
    arn = _arn(run)
    if not may(who, _ACTION[task.kind], arn):
        raise AccessDeniedException(refusal(who, _ACTION[task.kind], arn, Verdict.NEUTRAL))
    said = (task.invocation or {}).get(_MEMBER[task.kind]) or {}
    asked = {name[0].lower() + name[1:]: value for name, value in said.items()}
    if task.parameters:
        asked["parameters"] = {name: list(of.get("Values") or []) for name, of in task.parameters.items()}
    body: dict[str, Any] = {
        "invocationId": invocation.invocation_id,
        "taskType": task.kind,
        "taskArn": arn,
        "account": run.account_id,
        "region": run.region,
        "serviceRole": role_for(run.account_id, task),
        "windowId": run.window_id,
        "windowExecutionId": run.execution_id,
        "taskExecutionId": run.task_execution_id,
        **Pseudo.of(run, invocation).filled(asked),
    }
    if invocation.batch.target_id:
        body["targetId"] = invocation.batch.target_id
    tx.after_commit(lambda: house.bus.wake(CALL, invocation.invocation_id))
    return replace(
        invocation, parameters=msgspec.json.encode(body).decode(), outside_id=invocation.invocation_id,
        call_at=house.clock.millis(),
    )  # fmt: skip


def _arn(run: TaskRun) -> str:
    """A function may be given by its name."""
    name = run.task.task_arn
    if run.task.kind != LAMBDA or name.startswith("arn:"):
        return name
    return f"arn:aws:lambda:{run.region}:{run.account_id}:function:{name}"


def _not_set(kind: str) -> str:
    return f"Nobody is there for tasks of type {kind}: set {SETTING[kind]} of [maintenance_windows]."


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended; `outside_id` names what it began, where that has a name."""

    status: Status
    details: str = ""
    outside_id: str = ""


async def called(house: House, invocation: Invocation) -> Outcome | int:
    """Make the call: how it ended, or after how many milliseconds to try again."""
    endpoint = _endpoint(house.settings, invocation.kind)
    if endpoint:
        return await _service_called(house, invocation, endpoint)
    try:
        headers = {"content-type": "application/json", "user-agent": "pilothouse"}
        body = invocation.parameters.encode()
        headers |= _signature(house, invocation.invocation_id, body)
        url = _url(house.settings, invocation.kind)
        if not url:
            return Outcome(Status.FAILED, _not_set(invocation.kind))
        answer = await house.outbound.send("POST", url, headers=headers, body=body)
    except OutboundFailed as error:
        return _again(invocation, f"The receiver was not reached: {error}.")
    except (OSError, ValueError) as error:
        return Outcome(
            Status.FAILED, f"The secret of [maintenance_windows] secret_file cannot be used: {type(error).__name__}."
        )
    if 200 <= answer.status < 300:
        return Outcome(Status.SUCCESS)
    text = f"The receiver answered {answer.status}."
    if answer.status >= 500 or answer.status in _PASSING:
        return _again(invocation, text)
    return Outcome(Status.FAILED, text)


async def _service_called(house: House, invocation: Invocation, endpoint: str) -> Outcome | int:
    """A function that may have run is not called again: nothing tells it that it did."""
    kind, said = invocation.kind, msgspec.json.decode(invocation.parameters)
    try:
        keys = await endpoints.keys_for(house, invocation, said["serviceRole"])
        url, headers, content = endpoints.request(kind, endpoint, said)
        headers = endpoints.signed(kind, invocation.region, keys, url, headers, content)
        answer = await house.outbound.send(
            "POST", url, headers=headers, body=content, seconds=seconds(house.settings, kind)
        )
    except endpoints.NoCredentials as error:
        return Outcome(Status.FAILED, str(error))
    except AddressRefused as error:
        return Outcome(Status.FAILED, f"The endpoint was not called: {error}.")
    except NotReached as error:
        return _again(invocation, f"The endpoint was not reached: {error}.")
    except OutboundFailed as error:
        if kind == LAMBDA:
            return Outcome(Status.FAILED, f"Whether the function ran is not known: {error}.")
        return _again(invocation, f"The endpoint was not reached: {error}.")
    if answer.status >= 500 or answer.status in _PASSING:
        return _again(invocation, endpoints.read(kind, answer).error)
    found = endpoints.read(kind, answer)
    return Outcome(Status.FAILED if found.error else Status.SUCCESS, found.error, found.id)


def _again(invocation: Invocation, text: str) -> Outcome | int:
    if invocation.calls < len(_PAUSES_MS):
        return _PAUSES_MS[invocation.calls]
    return Outcome(Status.FAILED, text)


def _signature(house: House, invocation_id: str, body: bytes) -> dict[str, str]:
    """As webhooks are signed. Raises OSError, ValueError where there is no secret."""
    text = Path(house.settings.maintenance_windows.secret_file).read_text("ascii").strip()
    return events.signed_headers(invocation_id, house.clock.millis() // 1000, body, [events.secret_bytes(text)])
