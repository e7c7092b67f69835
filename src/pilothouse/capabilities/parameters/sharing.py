"""Parameters of one account that another reads: what may be shared, and who may read it.

A reader names the parameter by its full ARN, in its own region. Without a policy of the owner that lets it in the
answer is the same for a parameter that is there and one that is not.
"""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Final

from pilothouse.call import Call, Shareable
from pilothouse.capabilities import resource_policies
from pilothouse.capabilities.parameters.model import SECURE, Version
from pilothouse.capabilities.parameters.names import arn, plain_name
from pilothouse.capabilities.parameters.store import ParameterStore
from pilothouse.errors import AccessDeniedException, ValidationException
from pilothouse.identity.authorise import context_of
from pilothouse.identity.policy import Ask
from pilothouse.storage import Transaction

ACTIONS: Final = frozenset(
    {"ssm:DescribeParameters", "ssm:GetParameter", "ssm:GetParameters", "ssm:GetParameterHistory"}
)
"""What a parameter's policy may allow: the read-only permission, with history, that parameters are shared under."""
_DEFAULT_KEYS: Final = ("alias/aws/ssm", ":alias/aws/ssm")


async def find(tx: Transaction, account_id: str, region: str, tail: str) -> Shareable | None:
    """The parameter that a resource policy is about."""
    try:
        path = plain_name(f"/{tail}").path
    except ValidationException:
        return None
    newest = await ParameterStore(tx, account_id, region).newest(path)
    if newest is None:
        return None
    refusal = None
    if newest.tier != "Advanced":
        refusal = "Only parameters of the advanced tier can be shared."
    elif newest.kind == SECURE and (newest.key_ref or "").endswith(_DEFAULT_KEYS):
        refusal = "A SecureString parameter that is encrypted with the default key alias/aws/ssm can't be shared."
    return Shareable(arn=arn(account_id, region, path), refusal=refusal, actions=ACTIONS)


def owner_of(text: str, account_id: str) -> str | None:
    """The account in the ARN of another account's parameter; None for names and for what is the account's own."""
    if not text.startswith("arn:"):
        return None
    parts = text.split(":", 6)
    if len(parts) < 6 or parts[2] != "ssm" or not parts[5].startswith("parameter/") or parts[4] == account_id:
        return None
    return parts[4] if len(parts[4]) == 12 and parts[4].isascii() and parts[4].isdigit() else None


async def as_owner(call: Call, tx: Transaction, owner: str, text: str, action: str) -> Call:
    """The call as one on the owner's parameter, if the owner's policy lets the caller in.

    Raises AccessDeniedException.
    """
    resource = ":".join(text.split(":", 6)[:6])
    if not await _lets_in(call, tx, owner, resource, action):
        raise AccessDeniedException(
            f"User: {call.principal.arn} is not authorized to perform: {action} on resource: {resource} "
            f"because no resource-based policy allows the {action} action"
        )
    return replace(call, account_id=owner, bound=None)


async def shared_in(call: Call, tx: Transaction, after: str) -> AsyncIterator[tuple[Call, Version]]:
    """Other accounts' parameters that the caller may describe, by ARN beyond `after`; the call is their owner's."""
    for resource in await resource_policies.shared_with(tx, call.region, call.account_id):
        owner = owner_of(resource, call.account_id)
        if resource <= after or owner is None:
            continue
        if not await _lets_in(call, tx, owner, resource, "ssm:DescribeParameters"):
            continue
        path = plain_name(f"/{resource.split(':parameter/', 1)[1]}").path
        newest = await ParameterStore(tx, owner, call.region).newest(path)
        if newest is not None:
            yield replace(call, account_id=owner, bound=None), newest


async def _lets_in(call: Call, tx: Transaction, owner: str, resource: str, action: str) -> bool:
    if resource.split(":")[3] != call.region:
        return False
    ask = Ask(
        principal_arn=call.principal.arn,
        principal_account=call.principal.account_id,
        principal_kind=call.principal.kind,
        action=action,
        resource=resource,
        role_arn=call.principal.role_arn,
        context=context_of(call, {}),
    )
    return await resource_policies.allows(tx, owner, call.region, resource, ask)
