"""Resource policies: whom else the owner of a resource lets use it.

Owns the tables resource_policy and resource_policy_guest. Does not know the resources: their owners announce how to
find one (`shareable` in their `CAPABILITY`), ask `allows` before they serve another account, and tell an event with the
operation Delete when a resource goes (or call `remove_all`). Within the account the authoriser asks by itself.
"""

from collections.abc import Collection, Mapping
from typing import Any, Final

from pilothouse.call import Capability, House
from pilothouse.capabilities.resource_policies import operations
from pilothouse.capabilities.resource_policies.model import (
    KINDS,
    ResourcePolicyInvalidParameterException,
    verdict_of,
)
from pilothouse.capabilities.resource_policies.store import ResourcePolicyStore
from pilothouse.identity.permissions import Source
from pilothouse.identity.policy import Ask, Verdict
from pilothouse.identity.resources import place_of
from pilothouse.storage import Transaction

_CARRIED: Final = 100
"""ARNs of resources with policies that principals carry about; with more of them each resource is looked up."""

__all__ = ["CAPABILITY", "ResourcePolicyInvalidParameterException", "allows", "is_shared", "remove_all", "shared_with"]


async def allows(tx: Transaction, owner_account: str, region: str, resource_arn: str, ask: Ask) -> bool:
    """Whether the policies on the resource let the asker in: one allows it and none denies it."""
    texts = await ResourcePolicyStore(tx, owner_account, region).texts(resource_arn)
    return verdict_of(texts, ask) is Verdict.ALLOW


async def is_shared(tx: Transaction, account_id: str, region: str, resource_arn: str) -> bool:
    """Whether there is a policy on the resource; nobody puts one or takes it away until the transaction ends."""
    store = ResourcePolicyStore(tx, account_id, region)
    await store.lock(resource_arn)
    return bool(await store.texts(resource_arn))


async def shared_with(tx: Transaction, region: str, account_id: str) -> list[str]:
    """The ARNs of the resources whose policies name the account, in order; what it may do there `allows` says."""
    return await ResourcePolicyStore(tx, account_id, region).shared_with()


async def remove_all(tx: Transaction, account_id: str, region: str, resource_arn: str) -> None:
    """Remove every policy of a resource that goes: one made later under its name is nobody else's."""
    store = ResourcePolicyStore(tx, account_id, region)
    await store.lock(resource_arn)  # waits for who is putting one
    await store.remove_all(resource_arn)


class _OnResources:
    """What the authoriser asks of the policies here: within the account they count beside those of users and roles."""

    needed = False

    async def guarded(self, tx: Transaction, account_id: str) -> Collection[str] | None:
        found = await ResourcePolicyStore(tx, account_id, "").guarded(_CARRIED + 1)
        return None if len(found) > _CARRIED else found

    async def of(self, tx: Transaction, arn: str) -> list[Source]:
        place = place_of(arn)
        if place is None:
            return []
        kept = await ResourcePolicyStore(tx, place.account_id, place.region).kept(arn)
        return [Source(kind="resource", name=each.policy_id, document=each.text, owner=arn) for each in kept]


async def _told(house: House, tx: Transaction, facts: Mapping[str, Any]) -> None:
    if facts["detail"].get("operation") == "Delete":
        for arn in facts["resources"]:
            await remove_all(tx, facts["account_id"], facts["region"], arn)


CAPABILITY = Capability.of(
    "resource_policies", operations, listeners={"event": _told}, policies_on=dict.fromkeys(KINDS, _OnResources())
)
