"""Parameter policies: the JSON text of a request, checked and taken apart, and when each one is due. No I/O."""

import re
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from pilothouse.capabilities.parameters.model import (
    EXPIRATION,
    EXPIRES_SOON,
    IN_PROGRESS,
    NO_CHANGE,
    PENDING,
    IncompatiblePolicyException,
    InvalidPolicyAttributeException,
    InvalidPolicyTypeException,
    PoliciesLimitExceededException,
    Policy,
)

_MOST: Final = 10
_ATTRIBUTES: Final = {
    EXPIRATION: {"Timestamp"},
    EXPIRES_SOON: {"Before", "Unit"},
    NO_CHANGE: {"After", "Unit"},
}
_UNITS: Final = {"Days": 86_400_000, "Hours": 3_600_000}
"""Milliseconds."""
_INSTANT: Final = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:Z|[+-]\d\d:\d\d(?::\d\d)?)?", re.ASCII
)
_EPOCH: Final = datetime.fromisoformat("1970-01-01T00:00:00Z")
_MILLISECOND: Final = timedelta(milliseconds=1)


def parse_policies(text: str, now: datetime) -> tuple[Policy, ...]:
    """The policies of a put; `[]` and `[{}]` give none.

    Raises InvalidPolicyAttributeException, InvalidPolicyTypeException, PoliciesLimitExceededException,
    IncompatiblePolicyException.
    """
    try:
        entries = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidPolicyAttributeException("Policies must be a JSON array.") from error
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InvalidPolicyAttributeException("Policies must be a JSON array of objects.")
    if entries in ([], [{}]):
        return ()
    if len(entries) > _MOST:
        raise PoliciesLimitExceededException(f"A parameter can have a maximum of {_MOST} policies.")
    policies = tuple(_policy(entry, now) for entry in entries)
    kinds = [policy.kind for policy in policies]
    if kinds.count(EXPIRATION) > 1:
        raise IncompatiblePolicyException("A parameter can have only one Expiration policy.")
    if EXPIRES_SOON in kinds and EXPIRATION not in kinds:
        raise IncompatiblePolicyException("An ExpirationNotification policy needs an Expiration policy.")
    return policies


def to_text(policies: tuple[Policy, ...]) -> str:
    """Policies as they are stored."""
    return msgspec.json.encode([[each.text, each.kind, each.status] for each in policies]).decode()


def from_text(stored: str) -> tuple[Policy, ...]:
    """Stored policies."""
    if stored == "[]":
        return ()
    return tuple(Policy(text=text, kind=kind, status=status) for text, kind, status in msgspec.json.decode(stored))


def inherited(policies: tuple[Policy, ...]) -> tuple[Policy, ...]:
    """The policies of a further version that brings none: what waits for no change begins anew."""
    return tuple(Policy(text=each.text, kind=each.kind) if each.kind == NO_CHANGE else each for each in policies)


def due_times(policies: tuple[Policy, ...], modified_at: int) -> list[tuple[int, int]]:
    """Position of each policy that has not acted yet, and the epoch milliseconds at which it does."""
    if not policies:
        return []
    entries = [msgspec.json.decode(each.text)["Attributes"] for each in policies]
    expires_at = next(
        (_millis(entry["Timestamp"]) for each, entry in zip(policies, entries, strict=True) if each.kind == EXPIRATION),
        0,
    )
    times = []
    for place, (policy, entry) in enumerate(zip(policies, entries, strict=True)):
        if policy.status not in (PENDING, IN_PROGRESS):
            continue
        if policy.kind == EXPIRATION:
            times.append((place, expires_at))
        elif policy.kind == EXPIRES_SOON:
            times.append((place, expires_at - int(entry["Before"]) * _UNITS[entry["Unit"]]))
        else:
            times.append((place, modified_at + int(entry["After"]) * _UNITS[entry["Unit"]]))
    return times


def _millis(instant: str) -> int:
    return (datetime.fromisoformat(instant) - _EPOCH) // _MILLISECOND


def _policy(entry: dict[str, Any], now: datetime) -> Policy:
    kind = entry.get("Type")
    if not isinstance(kind, str) or kind not in _ATTRIBUTES:
        raise InvalidPolicyTypeException(f"The policy type is not valid; it can be {', '.join(sorted(_ATTRIBUTES))}.")
    if entry.get("Version") != "1.0":
        raise InvalidPolicyAttributeException(f"The Version of a {kind} policy must be 1.0.")
    attributes = entry.get("Attributes")
    if not isinstance(attributes, dict) or not all(isinstance(value, str) for value in attributes.values()):
        raise InvalidPolicyAttributeException(f"The Attributes of a {kind} policy must be an object of strings.")
    if set(attributes) != _ATTRIBUTES[kind]:
        expected = " and ".join(sorted(_ATTRIBUTES[kind]))
        raise InvalidPolicyAttributeException(f"A {kind} policy has the attributes {expected}, and no others.")
    if kind == EXPIRATION:
        _check_expiration(attributes["Timestamp"], now)
    else:
        _check_span(kind, attributes)
    return Policy(text=msgspec.json.encode(entry).decode(), kind=kind)


def _check_expiration(text: str, now: datetime) -> None:
    try:
        moment = datetime.fromisoformat(text if _INSTANT.fullmatch(text) else "")
    except ValueError as error:
        raise InvalidPolicyAttributeException(
            "The Timestamp of an Expiration policy must be an ISO instant."
        ) from error
    if moment.tzinfo is None:
        raise InvalidPolicyAttributeException("The Timestamp of an Expiration policy must have an offset or end in Z.")
    if moment <= now:
        raise InvalidPolicyAttributeException("The Timestamp of an Expiration policy must lie in the future.")


def _check_span(kind: str, attributes: dict[str, str]) -> None:
    amount = attributes["Before" if kind == EXPIRES_SOON else "After"]
    if not (amount.isascii() and amount.isdigit() and 0 < len(amount) <= 9 and int(amount) > 0):
        raise InvalidPolicyAttributeException(f"The span of a {kind} policy must be a positive whole number.")
    if attributes["Unit"] not in _UNITS:
        raise InvalidPolicyAttributeException(f"The Unit of a {kind} policy must be Days or Hours.")
