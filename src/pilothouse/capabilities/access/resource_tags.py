"""The tags of what IAM keeps, for policies with `aws:ResourceTag` and `iam:ResourceTag`. Groups have none."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from pilothouse.call import TagsOf
from pilothouse.capabilities.access.instance_profiles import PROFILE
from pilothouse.capabilities.access.login_model import mfa_arn
from pilothouse.capabilities.access.model import policy_arn
from pilothouse.capabilities.access.owners import ROLE, USER, Entity, Kind
from pilothouse.capabilities.access.policy_store import PolicyStore
from pilothouse.capabilities.access.tagged import Tagged
from pilothouse.storage import Transaction

_Find = Callable[[Transaction, str, str], Awaitable[str | None]]
"""(transaction, account id, path and name) to the id that tags hang on."""


def _named(kind: Kind[Entity]) -> _Find:
    async def find(tx: Transaction, account_id: str, tail: str) -> str | None:
        entity = await kind.store(tx, account_id).find(tail.rpartition("/")[2])
        return None if entity is None else entity.unique_id

    return find


async def _policy(tx: Transaction, account_id: str, tail: str) -> str | None:
    path, _, name = f"/{tail}".rpartition("/")
    policy = await PolicyStore(tx, account_id).find(policy_arn(account_id, f"{path}/", name))
    return None if policy is None else policy.policy_id


async def _device(tx: Transaction, account_id: str, tail: str) -> str | None:
    path, _, name = f"/{tail}".rpartition("/")
    return mfa_arn(account_id, f"{path}/", name)


async def _provider(tx: Transaction, account_id: str, tail: str) -> str | None:
    return tail


def _tags(kind: str, find: _Find) -> TagsOf:
    async def tags(tx: Transaction, account_id: str, region: str, tail: str) -> Mapping[str, str]:
        found = await find(tx, account_id, tail)
        return {} if found is None else await Tagged(tx, account_id, kind).of(found)

    return tags


TAGS_OF: Final[Mapping[str, TagsOf]] = {
    f"iam:{kind}": _tags(kind, find)
    for kind, find in {
        "user": _named(USER),
        "role": _named(ROLE),
        "instance-profile": _named(PROFILE),
        "policy": _policy,
        "mfa": _device,
        "oidc-provider": _provider,
    }.items()
}
