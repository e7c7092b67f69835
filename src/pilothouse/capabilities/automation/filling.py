"""Inputs of a step: filled, and of the kinds that its action wants."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from pilothouse.capabilities.automation.actions.interface import Action, Input, Kind, StepFailed
from pilothouse.capabilities.automation.references import ReferenceInvalid, fill
from pilothouse.capabilities.automation.selecting import as_text, parsed


class NotOfKind(ValueError):
    """The value cannot be turned into one of the kind."""


def filled_inputs(action: Action, inputs: Mapping[str, Any], look: Callable[[str], Any]) -> dict[str, Any]:
    """What the action is given. Raises StepFailed (InputValidation) that names the input."""
    found: dict[str, Any] = {}
    for name, written in inputs.items():
        wanted = action.inputs.get(name)
        if wanted is not None and wanted.kind is Kind.RAW:
            found[name] = written
            continue
        try:
            value = fill(written, look)
            if value is None or (value == "" and wanted is not None and not wanted.required):
                continue
            found[name] = value if wanted is None else of_kind(wanted, value)
        except (ReferenceInvalid, NotOfKind) as error:
            raise StepFailed(f"The input {name} is not valid: {error}.", stage="InputValidation") from error
    for name, wanted in action.inputs.items():
        if wanted.required and (name not in found or found[name] == ""):
            raise StepFailed(f"The input {name} is missing.", stage="InputValidation")
    return found


def of_kind(wanted: Input, value: Any) -> Any:
    """The value as one of the kind. Raises NotOfKind."""
    made = _MAKERS[wanted.kind](value)
    if made is None:
        raise NotOfKind(f"it must be {wanted.kind.value}")
    if wanted.choices and made not in wanted.choices:
        raise NotOfKind(f"it must be one of {', '.join(wanted.choices)}")
    return made


def _number(value: Any) -> int | None:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            return None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _truth(value: Any) -> bool | None:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, bool):
        return value
    return {"true": True, "false": False}.get(str(value).lower())


def _text(value: Any) -> str | None:
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str):
        return value[0]
    return as_text(value)


def _list(value: Any) -> list[Any] | None:
    found = parsed(value) if isinstance(value, str) and value.lstrip().startswith("[") else value
    return list(found) if isinstance(found, list) else [found]


def _texts(value: Any) -> list[str] | None:
    return [as_text(each) for each in _list(value) or ()]


def _map(value: Any) -> dict[str, Any] | None:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    found = parsed(value)
    return dict(found) if isinstance(found, Mapping) else None


def _maps(value: Any) -> list[dict[str, Any]] | None:
    parts = [parsed(each) for each in _list(value) or ()]
    return [dict(each) for each in parts] if all(isinstance(each, Mapping) for each in parts) else None


_MAKERS: Final[Mapping[Kind, Callable[[Any], Any]]] = {
    Kind.TEXT: _text,
    Kind.NUMBER: _number,
    Kind.TRUTH: _truth,
    Kind.TEXTS: _texts,
    Kind.LIST: _list,
    Kind.MAP: _map,
    Kind.MAPS: _maps,
    Kind.ANY: lambda value: value,
    Kind.RAW: lambda value: value,
}
