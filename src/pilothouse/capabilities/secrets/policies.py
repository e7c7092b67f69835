"""PutResourcePolicy, GetResourcePolicy, DeleteResourcePolicy, ListResourcePolicies, ValidateResourcePolicy."""

import json
from collections.abc import Collection
from typing import Any, Final

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities.secrets.changes import changed
from pilothouse.capabilities.secrets.conditions import of_request
from pilothouse.capabilities.secrets.finding import Found, found, locked, verdict_of
from pilothouse.capabilities.secrets.model import (
    InvalidNextTokenException,
    InvalidParameterException,
    MalformedPolicyDocumentException,
    PublicPolicyException,
    ResourceNotFoundException,
    Secret,
    check_name,
)
from pilothouse.capabilities.secrets.naming import named
from pilothouse.capabilities.secrets.store import SecretStore, guarded
from pilothouse.errors import ValidationException
from pilothouse.identity.authorise import context_of
from pilothouse.identity.permissions import Source
from pilothouse.identity.policy import Ask, MalformedPolicy, Policy, Verdict, parse
from pilothouse.identity.resources import place_of
from pilothouse.storage import Transaction
from pilothouse.storage.pages import InvalidPageToken

_NAME: Final = "default"
_CARRIED: Final = 100
_NARROWING: Final = frozenset(
    {
        "aws:principalaccount", "aws:principalarn", "aws:principalorgid", "aws:principalorgpaths", "aws:userid",
        "aws:username", "aws:sourceaccount", "aws:sourcearn", "aws:sourceip", "aws:sourcevpc", "aws:sourcevpce",
        "aws:sourceowner", "aws:sourceorgid", "aws:sourceorgpaths", "kms:calleraccount", "secretsmanager:resource/type",
    }
)  # fmt: skip
"""Conditions that leave some of everybody, where they name values without wildcards."""
_EQUAL: Final = ("stringequals", "stringlike", "arnequals", "arnlike", "ipaddress", "stringequalsignorecase")
_BROAD_IP: Final = ("0.0.0.0/0", "::/0")


class OnSecrets:
    """What the authoriser asks of resource policies; see `PoliciesOn`."""

    needed = False

    async def guarded(self, tx: Transaction, account_id: str) -> Collection[str] | None:
        arns = await guarded(tx, account_id, _CARRIED + 1)
        return None if len(arns) > _CARRIED else arns

    async def of(self, tx: Transaction, arn: str) -> list[Source]:
        place = place_of(arn)
        if place is None:
            return []
        store = SecretStore(tx, place.account_id, place.region)
        secret = await store.secret(place.tail[:-7])
        policy = None if secret is None or secret.arn != arn else await store.policy(secret.name)
        return [] if policy is None else [Source(kind="resource", name=_NAME, document=policy, owner=arn)]


@operation("secretsmanager", "PutResourcePolicy", writes=True, resources=named, conditions=of_request)
async def put_resource_policy(call: Call, request: Shape) -> Shape:
    """The secret's resource policy, in place of an earlier one."""
    _check_policy_name(request)
    _check_id(request["SecretId"])
    policy = _read(request["ResourcePolicy"])
    if request.get("BlockPublicPolicy") and is_public(request["ResourcePolicy"], policy):
        raise PublicPolicyException(
            "You can't attach a resource policy that allows broad access to the secret while BlockPublicPolicy is on."
        )
    async with call.transaction() as tx:
        store, secret = await locked(call, tx, request["SecretId"], "PutResourcePolicy")
        await store.set_policy(secret, request["ResourcePolicy"])
        await changed(call.house, tx, secret, "PutPolicy")
    return _about(secret, request)


@operation("secretsmanager", "GetResourcePolicy", resources=named, conditions=of_request)
async def get_resource_policy(call: Call, request: Shape) -> Shape:
    """The secret's resource policy as it was put."""
    _check_policy_name(request)
    _check_id(request["SecretId"])
    async with call.reading() as tx:
        store, secret = await found(call, tx, request["SecretId"], "GetResourcePolicy")
        policy = await store.policy(secret.name)
    return _about(secret, request) | {"ResourcePolicy": policy}


@operation("secretsmanager", "DeleteResourcePolicy", writes=True, resources=named, conditions=of_request)
async def delete_resource_policy(call: Call, request: Shape) -> Shape:
    """Take the resource policy from the secret; without one nothing happens."""
    _check_policy_name(request)
    _check_id(request["SecretId"])
    async with call.transaction() as tx:
        store, secret = await locked(call, tx, request["SecretId"], "DeleteResourcePolicy")
        if await store.policy(secret.name) is not None:
            await store.set_policy(secret, None)
            await changed(call.house, tx, secret, "DeletePolicy")
    return _about(secret, request)


@operation("secretsmanager", "ListResourcePolicies", resources=named, conditions=of_request)
async def list_resource_policies(call: Call, request: Shape) -> Shape:
    """The names of the secret's policies: there is one, or none."""
    async with call.reading() as tx:
        store, secret = await found(call, tx, request["SecretId"], "ListResourcePolicies")
        if token := request.get("NextToken"):
            try:
                call.house.pages.position(["ListResourcePolicies", secret.arn], token)
            except InvalidPageToken as error:
                raise InvalidNextTokenException("The NextToken is not valid for this request.") from error
        policy = await store.policy(secret.name)
    return {"ResourcePolicies": [] if policy is None else [{"PolicyName": _NAME}]}


@operation("secretsmanager", "ValidateResourcePolicy", resources=named, conditions=of_request)
async def validate_resource_policy(call: Call, request: Shape) -> Shape:
    """What is to be said against a policy, before it is put."""
    text = request["ResourcePolicy"]
    secret: Secret | None = None
    if "SecretId" in request:
        if not request["SecretId"].startswith("arn:"):
            check_name(request["SecretId"])
        async with call.reading() as tx:
            _, secret = await _found(call, tx, request["SecretId"])
    policy = _read(text)
    errors = []
    if is_public(text, policy):
        errors.append(
            {"CheckName": "BROAD_ACCESS", "ErrorMessage": "The policy allows broad access: everybody can use it."}
        )
    if secret is not None and _locks_out(call, secret, text):
        errors.append(
            {
                "CheckName": "LOCKOUT",
                "ErrorMessage": "The policy would not let you put another policy on the secret in the future.",
            }
        )
    return {"PolicyValidationPassed": not errors, "ValidationErrors": errors}


async def _found(call: Call, tx: Transaction, secret_id: str) -> Found:
    return await found(call, tx, secret_id, "ValidateResourcePolicy")


def _locks_out(call: Call, secret: Secret, text: str) -> bool:
    ask = Ask(
        principal_arn=call.principal.arn,
        principal_account=call.principal.account_id,
        principal_kind=call.principal.kind,
        action="secretsmanager:PutResourcePolicy",
        resource=secret.arn,
        context=context_of(call, {}),
        role_arn=call.principal.role_arn,
    )
    return verdict_of(text, ask) is Verdict.DENY


def _read(text: str) -> Policy:
    """Raises MalformedPolicyDocumentException."""
    try:
        return parse(text, kind="resource")
    except MalformedPolicy as error:
        raise MalformedPolicyDocumentException(f"This resource policy contains errors: {error}") from error


def is_public(text: str, policy: Policy) -> bool:
    """Whether an allowing statement is about everybody, and no condition leaves some known ones."""
    listed = json.loads(text)["Statement"]
    documents = listed if isinstance(listed, list) else [listed]
    for statement, document in zip(policy.statements, documents, strict=True):
        everybody = statement.not_principals or (statement.principals is not None and statement.principals.everybody)
        if statement.allows and everybody and not _narrows(document.get("Condition") or {}):
            return True
    return False


def _narrows(condition: dict[str, Any]) -> bool:
    for operator, keys in condition.items():
        if operator.lower() not in _EQUAL:
            continue
        for key, given in keys.items():
            values = given if isinstance(given, list) else [given]
            fixed = all("*" not in str(value) and "?" not in str(value) for value in values)
            if key.lower() in _NARROWING and fixed and not any(value in _BROAD_IP for value in values):
                return True
    return False


def _about(secret: Secret, request: Shape) -> Shape:
    return {"ARN": secret.arn, "Name": secret.name, "PolicyName": request.get("PolicyName")}


def _check_policy_name(request: Shape) -> None:
    if request.get("PolicyName", _NAME) != _NAME:
        raise InvalidParameterException("The PolicyName must be default.")


def _check_id(secret_id: str) -> None:
    """To these operations a name that no secret can have is one that is not there."""
    try:
        if not secret_id.startswith("arn:"):
            check_name(secret_id)
    except ValidationException as error:
        raise ResourceNotFoundException from error
