"""SQL of resource_policy and resource_policy_guest."""

from collections.abc import Iterable

from pilothouse.capabilities.resource_policies.model import Kept
from pilothouse.storage import Transaction


class ResourcePolicyStore:
    """The policies on one account's resources in one region."""

    def __init__(self, tx: Transaction, account_id: str, region: str) -> None:
        self._tx = tx
        self._scope = {"account_id": account_id, "region": region}

    async def lock(self, arn: str) -> None:
        """The resource's policies stay as they are until the transaction ends, but for what it does itself."""
        await self._tx.lock("resource-policy", *self._scope.values(), arn)

    async def texts(self, arn: str) -> list[str]:
        """Every policy on the resource."""
        rows = await self._tx.rows(
            """select policy from resource_policy
               where account_id = :account_id and region = :region and resource_arn = :arn""",
            **self._scope, arn=arn,
        )  # fmt: skip
        return [row["policy"] for row in rows]

    async def guarded(self, most: int) -> list[str]:
        """ARNs of the account's resources, of all regions, that have policies."""
        rows = await self._tx.rows(
            "select distinct resource_arn from resource_policy where account_id = :account_id limit :most",
            account_id=self._scope["account_id"], most=most,
        )  # fmt: skip
        return [row["resource_arn"] for row in rows]

    async def kept(self, arn: str, *, after: str = "", count: int = 1000) -> list[Kept]:
        """The resource's policies by id."""
        rows = await self._tx.rows(
            """select policy_id, policy_hash, policy from resource_policy
               where account_id = :account_id and region = :region and resource_arn = :arn and policy_id > :after
               order by policy_id limit :count""",
            **self._scope, arn=arn, after=after, count=count,
        )  # fmt: skip
        return [Kept(policy_id=row["policy_id"], policy_hash=row["policy_hash"], text=row["policy"]) for row in rows]

    async def put(self, arn: str, kept: Kept, guests: Iterable[str], at: int) -> None:
        """Put a policy on the resource, in place of the one with its id."""
        await self.remove(arn, kept.policy_id)
        await self._tx.execute(
            """insert into resource_policy
                 (account_id, region, resource_arn, policy_id, policy_hash, policy, modified_at)
               values (:account_id, :region, :arn, :policy_id, :policy_hash, :policy, :at)""",
            **self._scope, arn=arn, policy_id=kept.policy_id, policy_hash=kept.policy_hash, policy=kept.text, at=at,
        )  # fmt: skip
        await self._tx.many(
            """insert into resource_policy_guest (account_id, region, resource_arn, policy_id, guest_id)
               values (:account_id, :region, :arn, :policy_id, :guest)""",
            [{**self._scope, "arn": arn, "policy_id": kept.policy_id, "guest": guest} for guest in guests],
        )

    async def remove(self, arn: str, policy_id: str) -> None:
        """Take one policy from the resource."""
        await self._tx.execute(
            """delete from resource_policy
               where account_id = :account_id and region = :region
                 and resource_arn = :arn and policy_id = :policy_id""",
            **self._scope, arn=arn, policy_id=policy_id,
        )  # fmt: skip
        await self._tx.execute(
            """delete from resource_policy_guest
               where account_id = :account_id and region = :region
                 and resource_arn = :arn and policy_id = :policy_id""",
            **self._scope, arn=arn, policy_id=policy_id,
        )  # fmt: skip

    async def remove_all(self, arn: str) -> None:
        """Take every policy from the resource."""
        for kept in await self.kept(arn):
            await self.remove(arn, kept.policy_id)

    async def shared_with(self) -> list[str]:
        """The ARNs of others' resources in the region whose policies name this account."""
        rows = await self._tx.rows(
            """select distinct resource_arn from resource_policy_guest
               where guest_id = :account_id and region = :region and account_id <> :account_id
               order by resource_arn""",
            **self._scope,
        )  # fmt: skip
        return [row["resource_arn"] for row in rows]
