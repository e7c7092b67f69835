"""Policies for access requests: who approves, and what is approved by itself.

A ManualApprovalPolicy is JSON or YAML of our own form, schema 1.0. An AutoApprovalPolicy is text in the policy language
Cedar, as in the cloud service.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import cedarpy

from pilothouse.capabilities.documents.model import InvalidDocumentContent
from pilothouse.capabilities.documents.places import at, known_names, mapping, optional_text, text

_TOP: Final = frozenset({"schemaVersion", "description", "accessDurationHours", "targets", "levels", "notificationArn"})
_LONGEST: Final = 336
_MOST: Final = 5
_KINDS: Final = ("user", "group", "role")


def check_manual(content: Mapping[str, Any]) -> None:
    """Raises InvalidDocumentContent."""
    known_names("", content, _TOP, others=False)
    optional_text("description", content.get("description"))
    optional_text("notificationArn", content.get("notificationArn"))
    hours = content.get("accessDurationHours")
    if not isinstance(hours, int) or isinstance(hours, bool) or not 1 <= hours <= _LONGEST:
        raise at("accessDurationHours", f"it must be a number of hours, from 1 to {_LONGEST}")
    for number, target in enumerate(_list("targets", content.get("targets"), _MOST)):
        place = f"targets[{number}]"
        key, values = mapping(place, target).get("Key"), target.get("Values")
        is_text = isinstance(values, list) and bool(values) and all(isinstance(each, str) for each in values)
        is_tag = isinstance(key, str) and key.startswith("tag:") and len(key) > len("tag:")
        if not is_text or not (is_tag or (key == "InstanceIds" and values == ["*"])):
            raise at(place, 'it must be the Key tag:NAME with Values, or the Key InstanceIds with the Values ["*"]')
    for number, level in enumerate(_list("levels", content.get("levels"), _MOST)):
        place = f"levels[{number}].approvers"
        for position, approver in enumerate(_list(place, mapping(f"levels[{number}]", level).get("approvers"), _MOST)):
            named = mapping(f"{place}[{position}]", approver)
            if named.get("type") not in _KINDS:
                raise at(f"{place}[{position}].type", f"it must be one of {', '.join(_KINDS)}")
            text(f"{place}[{position}].name", named.get("name"))


def check_auto(policy: str) -> None:
    """Raises InvalidDocumentContent."""
    try:
        cedarpy.policies_to_json_str(policy)
    except ValueError as error:
        raise InvalidDocumentContent(f"The policy is not of the language Cedar: {error}") from error


def _list(place: str, found: Any, most: int) -> Sequence[Any]:
    if not isinstance(found, list) or not 1 <= len(found) <= most:
        raise at(place, f"it must be a list of 1 to {most}")
    return found
