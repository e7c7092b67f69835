"""Parameters of an execution: whether they fit the runbook, defaults, and stored parameters that they name."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from pilothouse.call import Call
from pilothouse.capabilities import documents
from pilothouse.capabilities.automation.model import InvalidAutomationExecutionParametersException
from pilothouse.capabilities.automation.runbooks import Runbook, is_list
from pilothouse.capabilities.automation.selecting import SelectorInvalid, as_text, typed
from pilothouse.errors import ApiError
from pilothouse.storage import Transaction

_STORED: Final = re.compile(r"\{\{\s*ssm:([^{}\s]+?)\s*\}\}")


async def checked_values(
    call: Call, tx: Transaction, document: documents.Document, given: Mapping[str, Sequence[str]]
) -> dict[str, list[str]]:
    """Every parameter with its value. Raises InvalidAutomationExecutionParametersException."""
    definitions = document.parameters
    values = {name: _one_text(definitions.get(name) or {}, list(each)) for name, each in given.items()}
    try:
        documents.check_values(document, values)
        found: dict[str, list[str]] = {}
        for name, definition in definitions.items():
            texts = values.get(name)
            if not texts and not (texts is not None and is_list(str(definition.get("type")))):
                texts = default_of(definition)
            found[name] = [await _looked_up(call, tx, each) for each in texts or ()]
        if any("ssm:" in each for texts in values.values() for each in texts) or _STORED.search(document.text):
            documents.check_values(document, found)  # now that they are known
    except documents.InvalidParameters as error:
        raise InvalidAutomationExecutionParametersException(error.message) from error
    return found


def check_given(document: documents.Document, given: Mapping[str, Sequence[str]]) -> None:
    """Whether the values fit, of which none names a stored parameter. Raises as `checked_values`."""
    definitions = document.parameters
    try:
        documents.check_values(
            document, {name: _one_text(definitions.get(name) or {}, list(each)) for name, each in given.items()}
        )
    except documents.InvalidParameters as error:
        raise InvalidAutomationExecutionParametersException(error.message) from error


def _one_text(definition: Mapping[str, Any], texts: list[str]) -> list[str]:
    """A list of objects may be given as one text or as several."""
    if definition.get("type") != "MapList" or len(texts) < 2:
        return texts
    return [f"[{','.join(texts)}]"]


def default_of(definition: Mapping[str, Any]) -> list[str]:
    """A default as a caller would give it."""
    default = definition.get("default")
    if default is None:
        return []
    if is_list(str(definition.get("type"))) and isinstance(default, list):
        return [as_text(each) for each in default]
    return [default if isinstance(default, str) else msgspec.json.encode(default).decode()]


async def _looked_up(call: Call, tx: Transaction, text: str) -> str:
    """The text with the stored parameters that it names. They are read as the caller, and none may be secret."""
    if "ssm:" not in text:
        return text
    found = text
    for name in dict.fromkeys(_STORED.findall(text)):
        try:
            answer = await call.house.inside.asked(
                tx, call.principal, call.region, ("ssm", "GetParameter"), {"Name": name}
            )  # fmt: skip
        except ApiError as error:
            message = f"The stored parameter {name} cannot be read: {error.code}: {error.message}"
            raise InvalidAutomationExecutionParametersException(message) from error
        if answer["Parameter"]["Type"] == "SecureString":
            raise InvalidAutomationExecutionParametersException(
                f"The stored parameter {name} is a SecureString; parameters of a runbook are not secret."
            )
        value = str(answer["Parameter"]["Value"])
        found = _STORED.sub(lambda at, name=name, value=value: value if at[1] == name else at[0], found)  # type: ignore[misc]
    return found


def typed_defaults(runbook: Runbook) -> dict[str, Any]:
    """What the variables are at first. Raises InvalidAutomationExecutionParametersException."""
    found: dict[str, Any] = {}
    for name, definition in runbook.variables.items():
        if definition.get("default") is None:
            continue
        try:
            found[name] = typed(str(definition.get("type") or "String"), definition["default"])
        except SelectorInvalid as error:
            raise InvalidAutomationExecutionParametersException(
                f"The default of the variable {name} does not fit: {error}."
            ) from error
    return found
