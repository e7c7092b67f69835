"""Rules of resource policies: which resources, which documents, how many, and what they say together."""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from pilothouse.errors import ApiError
from pilothouse.identity.policy import Ask, MalformedPolicy, Policy, Verdict, parse

MOST: Final = 50
"""Policies on one resource."""
KINDS: Final = frozenset({"parameter", "document", "opsitemgroup"})
_ARN: Final = re.compile(r"arn:aws:ssm:([a-z0-9-]+):([0-9]{12}):([a-z]+)/(.+)", re.DOTALL)


class ResourcePolicyInvalidParameterException(ApiError):
    """A member cannot be what it is, or the resource cannot be shared."""

    def __init__(self, message: str, *names: str) -> None:
        super().__init__(message, ParameterNames=list(names))


class ResourcePolicyLimitExceededException(ApiError):
    """The resource has as many policies as it may have."""


class ResourcePolicyConflictException(ApiError):
    """The policy is no more what the hash says."""


class ResourcePolicyNotFoundException(ApiError):
    """The resource has no such policy."""


class ResourceNotFoundException(ApiError):
    """There is no such resource."""


class MalformedResourcePolicyDocumentException(ApiError):
    """The policy is not one, or says what a policy on this resource may not say."""


class Place(NamedTuple):
    """A resource in an ARN."""

    kind: str
    tail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A policy on a resource."""

    policy_id: str
    policy_hash: str
    text: str


def place(arn: str, account_id: str, region: str) -> Place:
    """What an ARN names. Raises ResourcePolicyInvalidParameterException, and ResourceNotFoundException for another
    account or region."""
    found = _ARN.fullmatch(arn)
    if found is None or found[3] not in KINDS:
        raise ResourcePolicyInvalidParameterException(
            f"{arn} is not the ARN of a resource that can have a resource policy.", "ResourceArn"
        )
    if (found[1], found[2]) != (region, account_id):
        raise missing(arn)
    return Place(found[3], found[4])


def missing(arn: str) -> ResourceNotFoundException:
    """The error for a resource that is not there."""
    return ResourceNotFoundException(f"The resource {arn} was not found.")


def checked(text: str, arn: str, actions: Iterable[str]) -> Policy:
    """The policy, if it may stand on the resource: for named accounts, this resource, and these actions.

    Raises MalformedResourcePolicyDocumentException.
    """
    try:
        policy = parse(text, kind="resource")
    except MalformedPolicy as error:
        raise MalformedResourcePolicyDocumentException(str(error)) from error
    allowed = {action.lower() for action in actions}
    for statement, document in zip(policy.statements, _statements(text), strict=True):
        asked = document.get("Action", [])
        for action in asked if isinstance(asked, list) else [asked]:
            if action.lower() not in allowed:
                raise _malformed(statement.number, f"the action {action} cannot be shared")
        if "NotAction" in document or "NotResource" in document or "NotPrincipal" in document:
            raise _malformed(statement.number, "NotAction, NotResource and NotPrincipal are not supported")
        if not any(pattern.fits(arn, lambda key: None) for pattern in statement.resources or ()):
            raise _malformed(statement.number, f"Resource is not {arn}")
        if statement.allows and (statement.principals is None or statement.principals.everybody):
            raise _malformed(statement.number, "a resource is shared with accounts, not with everybody")
    return policy


def _statements(text: str) -> list[dict[str, Any]]:
    listed = json.loads(text)["Statement"]
    return listed if isinstance(listed, list) else [listed]


def _malformed(number: int, why: str) -> MalformedResourcePolicyDocumentException:
    return MalformedResourcePolicyDocumentException(f"Statement {number}: {why}.")


def hash_of(policy_id: str, text: str) -> str:
    """The mark of one content of a policy, 64 hexadecimal digits."""
    return hashlib.sha256(f"{policy_id}\n{text}".encode()).hexdigest()


def verdict_of(texts: Sequence[str], ask: Ask) -> Verdict:
    """What several policies on one resource say together; an explicit deny wins."""
    verdicts = {parse(text, kind="resource").verdict(ask) for text in texts}
    if Verdict.DENY in verdicts:
        return Verdict.DENY
    return Verdict.ALLOW if Verdict.ALLOW in verdicts else Verdict.NEUTRAL
