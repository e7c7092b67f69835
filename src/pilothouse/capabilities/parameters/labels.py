"""LabelParameterVersion and UnlabelParameterVersion."""

import re
from collections.abc import Iterable
from typing import Final

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities.parameters.changes import tell_change
from pilothouse.capabilities.parameters.lines import in_line
from pilothouse.capabilities.parameters.model import (
    ParameterNotFound,
    ParameterVersionLabelLimitExceeded,
    ParameterVersionNotFound,
    Version,
)
from pilothouse.capabilities.parameters.names import check_not_reserved, plain_name, resource
from pilothouse.capabilities.parameters.store import ParameterStore

LABELS: Final = 10
_LABEL: Final = re.compile(r"(?!aws|ssm)[A-Za-z._-][A-Za-z0-9._-]*", re.IGNORECASE)


def _named(call: Call, request: Shape) -> Iterable[str]:
    return [resource(call.account_id, call.region, request["Name"])]


def is_label(text: str) -> bool:
    """Letters, digits, `.`, `-`, `_`; not a digit, `aws` or `ssm` (any case) in front. The model bounds the length."""
    return text.isascii() and _LABEL.fullmatch(text) is not None


@operation("ssm", "LabelParameterVersion", writes=True, resources=_named, line=in_line)
async def label_parameter_version(call: Call, request: Shape) -> Shape:
    """Put labels on one version; a label that sits on another version moves here."""
    asked = list(dict.fromkeys(request["Labels"]))
    wanted = [label for label in asked if is_label(label)]
    async with call.transaction() as tx:
        store = ParameterStore(tx, call.account_id, call.region)
        newest = await _locked(store, request["Name"])
        asked_number = request.get("ParameterVersion")
        number = newest.number if asked_number is None else asked_number
        await _check_version(store, newest, number, request["Name"])
        labels = await store.labels(newest.path)
        there = {label for label, on in labels.items() if on == number}
        if len(there | set(wanted)) > LABELS:
            raise ParameterVersionLabelLimitExceeded(
                f"A parameter version can have maximum {LABELS} labels."
                "Move one or more labels to another version and try again."
            )
        for label in wanted:
            await store.set_label(newest.path, label, number)
        if wanted:
            await tell_change(call.house, tx, call.account_id, call.region, newest, "LabelParameterVersion")
    return {"InvalidLabels": [label for label in asked if not is_label(label)], "ParameterVersion": number}


@operation("ssm", "UnlabelParameterVersion", writes=True, resources=_named, line=in_line)
async def unlabel_parameter_version(call: Call, request: Shape) -> Shape:
    """Take labels off one version; those that do not sit on it are answered as invalid."""
    number = request["ParameterVersion"]
    removed: list[str] = []
    invalid: list[str] = []
    async with call.transaction() as tx:
        store = ParameterStore(tx, call.account_id, call.region)
        newest = await _locked(store, request["Name"])
        await _check_version(store, newest, number, request["Name"])
        labels = await store.labels(newest.path)
        for label in dict.fromkeys(request["Labels"]):
            if labels.get(label) == number:
                await store.remove_label(newest.path, label)
                removed.append(label)
            else:
                invalid.append(label)
        if removed:
            await tell_change(call.house, tx, call.account_id, call.region, newest, "LabelParameterVersion")
    return {"RemovedLabels": removed, "InvalidLabels": invalid}


async def _locked(store: ParameterStore, asked: str) -> Version:
    """The newest version, kept from changing. Raises ParameterNotFound, AccessDeniedException."""
    check_not_reserved(asked)
    path = plain_name(asked).path
    await store.lock(path)
    newest = await store.newest(path)
    if newest is None:
        raise ParameterNotFound.named(asked)
    return newest


async def _check_version(store: ParameterStore, newest: Version, number: int, asked: str) -> None:
    if number != newest.number and not await store.has_version(newest.path, number):
        raise ParameterVersionNotFound(
            f"Systems Manager could not find version {number} of {asked}. Verify the version and try again."
        )
