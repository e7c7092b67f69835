"""`aws:executeScript`: a script of the runbook, in a program that can reach nothing (`scripts`).

The script has no network. What one of Python asks of services by `boto3.client(…)` is asked by the server, as the role
of the execution, and answered as `aws:executeAwsApi` is. One of PowerShell asks for nothing.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec
import structlog

from pilothouse.call import House
from pilothouse.capabilities import logs, service_settings
from pilothouse.capabilities.automation import attached, elsewhere
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
    StepFailed,
    Values,
    literal,
)
from pilothouse.capabilities.automation.scripts import powershell
from pilothouse.capabilities.automation.scripts.jail import CannotShutIn, Script, ScriptFailed, run
from pilothouse.errors import ApiError

log = structlog.get_logger()

LONGEST: Final = 600
"""Seconds."""
MOST_PAYLOAD: Final = 100 << 10
MOST_OF_A_LIST: Final = 100
_SHOWN: Final = 2500
_PYTHON: Final = tuple(f"python3.{minor}" for minor in range(6, 12))
_POWERSHELL: Final = ("PowerShell Core 6.0", "PowerShell 7.0", "PowerShell 7.4")
_DESTINATION: Final = "/ssm/automation/customer-script-log-destination"
_GROUP: Final = "/ssm/automation/customer-script-log-group-name"
_DEFAULT_GROUP: Final = "/aws/ssm/automation/executeScript"
_ARCHIVE: Final = ".zip"
_NO_POWERSHELL: Final = (
    "No PowerShell was found on this server. Install it (7.0 or newer, with its own runtime) so that PATH leads to "
    "pwsh, or name the program in the settings ([automation] powershell). Or write the step in Python, or run the "
    "script on a node by aws:runCommand with AWS-RunPowerShellScript."
)
_ARCHIVES_ONLY: Final = "scripts of PowerShell are attached as a .zip"


class ExecuteScript(Action):
    """Runs once: nobody knows what a script that was broken off did."""

    name = "aws:executeScript"
    inputs: Mapping[str, Input] = {
        "Runtime": Input(required=True, choices=(*_PYTHON, *_POWERSHELL)),
        "Handler": Input(),
        "Script": Input(),
        "Attachment": Input(),
        "InputPayload": Input(Kind.ANY),
    }
    timeout_seconds = LONGEST
    mutating = None

    def check(self, inputs: Values) -> Iterator[tuple[str, str]]:
        runtime = inputs.get("Runtime")
        if not inputs.get("Script") and not inputs.get("Attachment"):
            yield "Script", "it needs a script, or an Attachment"
        if isinstance(runtime, str) and literal(runtime) and runtime in _POWERSHELL:
            file = inputs.get("Attachment")
            if isinstance(file, str) and literal(file) and not file.endswith(_ARCHIVE):
                yield "Attachment", _ARCHIVES_ONLY
        elif inputs.get("Script") and inputs.get("Attachment"):
            yield "Attachment", "it must not stand beside Script"
        if isinstance(runtime, str) and literal(runtime) and runtime in _PYTHON and not inputs.get("Handler"):
            yield "Handler", "a script of Python needs the name of its function"

    async def begin(self, step: Step) -> Outcome:
        script, file = step.inputs.get("Script"), step.inputs.get("Attachment")
        if step.inputs["Runtime"] in _POWERSHELL:
            _powershell(step.house)
            if not script and not file:
                raise StepFailed("A step needs Script or Attachment.", stage="InputValidation")
            if file and not str(file).endswith(_ARCHIVE):
                raise StepFailed(f"{file}: {_ARCHIVES_ONLY}.", stage="InputValidation")
        else:
            if bool(script) == bool(file):
                raise StepFailed("A step needs either Script or Attachment.", stage="InputValidation")
            if not step.inputs.get("Handler"):
                raise StepFailed("A script of Python needs a Handler.", stage="InputValidation")
            if file:
                _handler_in(str(file), str(step.inputs["Handler"]))
        if file:
            await attached.content_of(step.house, step.tx, step.execution_id, str(file))
        return Perform(state={}, repeatable=False)

    async def perform(self, errand: Errand) -> Outcome:
        seconds = LONGEST
        if errand.deadline is not None:
            seconds = max(1, min(LONGEST, (errand.deadline - errand.house.clock.millis()) // 1000))
        script = Script(
            **await _source(errand),
            events=errand.inputs.get("InputPayload") or {},
            context={
                "automation:EXECUTION_ID": errand.execution_id,
                "global:ACCOUNT_ID": errand.account_id,
                "global:REGION": errand.region,
            },
            seconds=seconds,
        )
        try:
            ran = await run(script, _Calls(errand).answer)
        except CannotShutIn as error:
            return Failed(message=str(error), kind=FailureType.INTERNAL)
        except ScriptFailed as error:
            await _keep(errand, error.output)
            return Failed(message=f"{error}\n{error.output[-_SHOWN:]}".strip(), response=error.output[-_SHOWN:])
        await _keep(errand, ran.output)
        result = _shortened(ran.result)
        if len(msgspec.json.encode(result)) > MOST_PAYLOAD:
            return Failed(message=f"What the script returned is larger than {MOST_PAYLOAD >> 10} KB.")
        return Done(
            outputs={"Payload": result}, payload={"Payload": result}, response=ran.output[-_SHOWN:]
        )  # fmt: skip


def _powershell(house: House) -> str:
    """The program that runs PowerShell. Raises StepFailed."""
    program = powershell.found(house.settings.automation.powershell)
    if program is None:
        raise StepFailed(_NO_POWERSHELL)
    return program


async def _source(errand: Errand) -> dict[str, Any]:
    """What is run, and which function of it. Raises StepFailed."""
    file, content = errand.inputs.get("Attachment"), b""
    if file:
        async with errand.house.database.reading() as tx:
            content = await attached.content_of(errand.house, tx, errand.execution_id, str(file))
    if errand.inputs["Runtime"] in _POWERSHELL:
        given, most = len(msgspec.json.encode(errand.inputs.get("InputPayload") or {})), powershell.LONGEST_INPUT
        if given > most:
            raise StepFailed(f"InputPayload has {given} bytes; a script of PowerShell takes {most}.")
        text = str(errand.inputs.get("Script") or "")
        return {"text": text, "archive": content, "powershell": _powershell(errand.house)}
    handler = str(errand.inputs["Handler"])
    if not file:
        return {"text": str(errand.inputs["Script"]), "handler": handler}
    module, function = _handler_in(str(file), handler)
    if str(file).endswith(_ARCHIVE):
        return {"text": "", "archive": content, "module": module, "handler": function}
    try:
        return {"text": content.decode(), "module": module, "handler": function}
    except UnicodeDecodeError as error:
        raise StepFailed(f"The attachment {file} is neither a text nor named {_ARCHIVE}.") from error


def _handler_in(file: str, handler: str) -> tuple[str, str]:
    """Module and function: `launch.go` of launch.py, which may be written `go`; `part.launch.go` of an archive."""
    module, _, function = handler.rpartition(".")
    if file.endswith(_ARCHIVE):
        if not module:
            raise StepFailed(
                f"The Handler of an archive names the file and its function, as in launch.{handler}.",
                stage="InputValidation",
            )
        return module, function
    stem = file.rpartition(".")[0] or file
    if module not in ("", stem):
        raise StepFailed(
            f"The Handler {handler} is of a file {module}, and the attachment is {file}.", stage="InputValidation"
        )
    return stem, function


def _shortened(value: Any) -> Any:
    """Lists have no more than so many elements."""
    if isinstance(value, list):
        return [_shortened(each) for each in value[:MOST_OF_A_LIST]]
    if isinstance(value, dict):
        return {key: _shortened(each) for key, each in value.items()}
    return value


class _Calls:
    """What a script asks of services, as whoever the execution acts as."""

    def __init__(self, errand: Errand) -> None:
        self._errand = errand

    async def answer(
        self, service: str, name: str, request: Mapping[str, Any], region: str | None
    ) -> Mapping[str, Any]:  # fmt: skip
        try:
            return {"answer": _told(await self._asked(service.lower(), name, request, region or self._errand.region))}
        except ApiError as error:
            return {"error": {"Code": error.code, "Message": error.message}}
        except StepFailed as failed:
            code, _, message = failed.message.partition(": ")
            known = message and " " not in code
            return {"error": {"Code": code if known else "Unavailable", "Message": message or code}}

    async def _asked(self, service: str, name: str, request: Mapping[str, Any], region: str) -> Mapping[str, Any]:
        errand = self._errand
        own = errand.house.inside.named(service, name)
        if service == on_ec2.SERVICE and on_ec2.is_elsewhere(errand.house, errand.account_id, region):
            own = None
        if own is None:
            called = elsewhere.operation_named(errand.house.settings, service, name)
            return await elsewhere.call(errand, service, called, request)
        async with errand.house.database.transaction() as tx:
            try:
                return await errand.house.inside.asked(tx, errand.who, region, (service, own), dict(request))
            except ApiError as error:  # its record stays
                refused = error
        raise refused


def _told(value: Any) -> Any:
    """As the launcher understands it."""
    if isinstance(value, datetime):
        return {"$time": value.isoformat()}
    if isinstance(value, bytes | bytearray):
        return {"$bytes": msgspec.json.decode(msgspec.json.encode(bytes(value)))}
    if isinstance(value, Mapping):
        return {str(key): _told(each) for key, each in value.items() if each is not None}
    if isinstance(value, list | tuple):
        return [_told(each) for each in value]
    return value


async def _keep(errand: Errand, output: str) -> None:
    """What a script printed goes to the log that the account's settings name, if they do."""
    house, account_id, region = errand.house, errand.account_id, errand.region
    if not output:
        return
    async with house.database.reading() as tx:
        if await service_settings.value(tx, account_id, region, _DESTINATION) != "CloudWatch":
            return
        group = await service_settings.value(tx, account_id, region, _GROUP) or _DEFAULT_GROUP
    stream = f"{errand.execution_id}/{errand.name}"
    events = [logs.Event(at=house.clock.millis(), message=line) for line in output.splitlines() if line]
    try:
        await logs.append(house, account_id, region, group, stream, events, once=f"{errand.token}")
    except ApiError as error:
        log.warning("automation.output_not_logged", execution_id=errand.execution_id, error=error.code)
