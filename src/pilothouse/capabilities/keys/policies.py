"""PutKeyPolicy, GetKeyPolicy, ListKeyPolicies."""

from collections.abc import Collection
from dataclasses import replace

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities.keys import finding
from pilothouse.capabilities.keys.errors import (
    LimitExceededException,
    MalformedPolicyDocumentException,
    NotFoundException,
)
from pilothouse.capabilities.keys.model import Key
from pilothouse.capabilities.keys.permissions import Use, default_policy, policy_verdict
from pilothouse.capabilities.keys.store import KeyStore
from pilothouse.errors import ValidationException
from pilothouse.identity.permissions import Source
from pilothouse.identity.policy import MalformedPolicy, Verdict, parse
from pilothouse.identity.resources import place_of
from pilothouse.storage import Transaction

_NAME = "default"
_MOST_BYTES = 32768
_INVALID_PRINCIPALS = "Policy contains a statement with one or more invalid principals."


@operation("kms", "PutKeyPolicy", asks_itself=True, writes=True)
async def put_key_policy(call: Call, request: Shape) -> Shape:
    """Another key policy."""
    _check_name(request)
    async with call.transaction() as tx:
        key = await finding.locked(call, tx, request["KeyId"], "kms:PutKeyPolicy", request)
        bypass = request.get("BypassPolicyLockoutSafetyCheck", False)
        policy = checked(call, key, request["Policy"], bypass=bypass)
        await KeyStore(tx, key.account_id, key.region).save(replace(key, policy=policy))
    return {}


@operation("kms", "GetKeyPolicy", asks_itself=True)
async def get_key_policy(call: Call, request: Shape) -> Shape:
    """The key policy as it was put."""
    async with call.reading() as tx:
        key = await finding.asked(call, tx, request["KeyId"], "kms:GetKeyPolicy", request)
    if request.get("PolicyName", _NAME) != _NAME:
        raise NotFoundException("No such policy exists")
    return {"Policy": text_of(key), "PolicyName": _NAME}


@operation("kms", "ListKeyPolicies", asks_itself=True)
async def list_key_policies(call: Call, request: Shape) -> Shape:
    """The names of a key's policies: there is one."""
    async with call.reading() as tx:
        await finding.asked(call, tx, request["KeyId"], "kms:ListKeyPolicies", request)
    return {"PolicyNames": [_NAME], "Truncated": False}


def text_of(key: Key) -> str:
    """The key's policy."""
    return key.policy or default_policy(key.account_id, managed=key.manager == "AWS")


class OnKeys:
    """What Explain is told of key policies; the operations on keys ask them by themselves."""

    needed = True

    async def guarded(self, tx: Transaction, account_id: str) -> Collection[str] | None:
        return ()

    async def of(self, tx: Transaction, arn: str) -> list[Source]:
        place = place_of(arn)
        key = None if place is None else await KeyStore(tx, place.account_id, place.region).key(place.tail)
        return [] if key is None else [Source(kind="resource", name=_NAME, document=text_of(key), owner=arn)]


def checked(call: Call, key: Key, policy: str, *, bypass: bool) -> str:
    """A policy that a key may have. Raises MalformedPolicyDocumentException, LimitExceededException.

    Unless `bypass`, it must leave the caller the right to change it again. With `--dev` any text is taken, as emulators
    do: one that is no policy stands for the default one.
    """
    if call.house.settings.dev:
        return policy
    if len(policy.encode()) > _MOST_BYTES:
        raise LimitExceededException(f"A key policy has at most {_MOST_BYTES} bytes.")
    try:
        parse(policy, kind="resource")
    except MalformedPolicy as error:
        if error.reason.startswith("Invalid principal"):
            raise MalformedPolicyDocumentException(_INVALID_PRINCIPALS) from error
        raise MalformedPolicyDocumentException(str(error)) from error
    use = Use(by=call.principal, action="kms:PutKeyPolicy")
    if not bypass and policy_verdict(key, use, policy) is not Verdict.ALLOW:
        raise MalformedPolicyDocumentException(
            "The new key policy will not allow you to update the key policy in the future."
        )
    return policy


def _check_name(request: Shape) -> None:
    if request.get("PolicyName", _NAME) != _NAME:
        raise ValidationException("PolicyName must be default.")
