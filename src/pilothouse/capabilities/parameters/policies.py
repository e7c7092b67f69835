"""Parameter policies: the JSON text of a request, checked and taken apart. Carrying them out is not in here."""

from datetime import datetime
from typing import Any, Final

import msgspec

from pilothouse.capabilities.parameters.model import (
    IncompatiblePolicyException,
    InvalidPolicyAttributeException,
    InvalidPolicyTypeException,
    PoliciesLimitExceededException,
    Policy,
)

_MOST: Final = 10
_ATTRIBUTES: Final = {
    "Expiration": {"Timestamp"},
    "ExpirationNotification": {"Before", "Unit"},
    "NoChangeNotification": {"After", "Unit"},
}
_UNITS: Final = {"Days", "Hours"}


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
    if kinds.count("Expiration") > 1:
        raise IncompatiblePolicyException("A parameter can have only one Expiration policy.")
    if "ExpirationNotification" in kinds and "Expiration" not in kinds:
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
    if kind == "Expiration":
        _check_expiration(attributes["Timestamp"], now)
    else:
        _check_span(kind, attributes)
    return Policy(text=msgspec.json.encode(entry).decode(), kind=kind)


def _check_expiration(text: str, now: datetime) -> None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidPolicyAttributeException(
            "The Timestamp of an Expiration policy must be an ISO instant."
        ) from error
    if moment.tzinfo is None:
        raise InvalidPolicyAttributeException("The Timestamp of an Expiration policy must have an offset or end in Z.")
    if moment <= now:
        raise InvalidPolicyAttributeException("The Timestamp of an Expiration policy must lie in the future.")


def _check_span(kind: str, attributes: dict[str, str]) -> None:
    amount = attributes["Before" if kind == "ExpirationNotification" else "After"]
    if not (amount.isascii() and amount.isdigit() and 0 < len(amount) <= 9 and int(amount) > 0):
        raise InvalidPolicyAttributeException(f"The span of a {kind} policy must be a positive whole number.")
    if attributes["Unit"] not in _UNITS:
        raise InvalidPolicyAttributeException(f"The Unit of a {kind} policy must be Days or Hours.")
