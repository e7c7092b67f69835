"""SQL of managed policies, their versions, and who holds them or is bounded by them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from pilothouse.capabilities.access.model import ManagedPolicy
from pilothouse.capabilities.access.provided import OWNER, provided
from pilothouse.capabilities.access.tagged import Tagged
from pilothouse.storage import Row, Transaction

_SELECT = (
    "select name, path, policy_id, description, default_version, last_version, created_at, updated_at from iam_policy"
    " where account_id = :account_id"
)

Use = Literal["attached", "boundary"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A managed policy in use, with what it says now."""

    use: Use
    arn: str
    name: str
    document: str


@dataclass(frozen=True, slots=True)
class PolicyStore:
    """The managed policies of one account, in one transaction."""

    tx: Transaction
    account_id: str

    async def lock(self, arn: str) -> None:
        """Wait for others who change the policy or whom it is attached to."""
        await self.tx.lock("iam policy", arn.lower())

    async def find(self, arn: str) -> ManagedPolicy | None:
        """One of the account's own, or one that every account has."""
        known = provided(arn)
        if known is not None:
            return known[0]
        row = await self.tx.row(
            _SELECT + " and name_key = :name_key",
            account_id=self.account_id,
            name_key=arn.rpartition("/")[2].lower(),
        )
        found = None if row is None else self._policy(row)
        return found if found is not None and found.arn == arn else None

    async def named(self, name: str) -> bool:
        """Whether the name is taken, whatever its path."""
        found = await self.tx.value(
            "select 1 from iam_policy where account_id = :account_id and name_key = :name_key",
            account_id=self.account_id,
            name_key=name.lower(),
        )
        return found is not None

    def _policy(self, row: Row) -> ManagedPolicy:
        return ManagedPolicy(
            account_id=self.account_id,
            name=row["name"],
            path=row["path"],
            policy_id=row["policy_id"],
            description=row["description"],
            default_version=row["default_version"],
            last_version=row["last_version"],
            created_at=row["created_at"],
            updated_at=row["updated_at"],
        )

    async def own(self) -> list[ManagedPolicy]:
        """By name; an account has 1500 at most."""
        rows = await self.tx.rows(_SELECT + " order by name_key", account_id=self.account_id)
        return [self._policy(row) for row in rows]

    async def count(self) -> int:
        found: int = await self.tx.value(
            "select count(*) from iam_policy where account_id = :account_id", account_id=self.account_id
        )
        return found

    async def add(self, policy: ManagedPolicy, document: str, given: dict[str, str]) -> None:
        await self.tx.execute(
            "insert into iam_policy (account_id, name_key, name, path, policy_id, description, default_version,"
            " last_version, created_at, updated_at) values (:account_id, :name_key, :name, :path, :policy_id,"
            " :description, :default_version, :last_version, :created_at, :updated_at)",
            **asdict(policy),
            name_key=policy.name.lower(),
        )
        await self.add_version(policy, policy.default_version, document, policy.created_at)
        await Tagged(self.tx, self.account_id, "policy").put(policy.policy_id, given)

    async def change(self, policy: ManagedPolicy) -> None:
        """Store which version counts and which was the last one."""
        await self.tx.execute(
            "update iam_policy set default_version = :default_version, last_version = :last_version,"
            " updated_at = :updated_at where account_id = :account_id and policy_id = :policy_id",
            account_id=self.account_id,
            policy_id=policy.policy_id,
            default_version=policy.default_version,
            last_version=policy.last_version,
            updated_at=policy.updated_at,
        )

    async def remove(self, policy: ManagedPolicy) -> None:
        for removal in (
            "delete from iam_policy_version where account_id = :account_id and policy_id = :policy_id",
            "delete from iam_policy where account_id = :account_id and policy_id = :policy_id",
        ):
            await self.tx.execute(removal, account_id=self.account_id, policy_id=policy.policy_id)
        await Tagged(self.tx, self.account_id, "policy").remove_all(policy.policy_id)

    async def tags(self, policy: ManagedPolicy) -> dict[str, str]:
        if policy.account_id == OWNER:
            return {}
        return await Tagged(self.tx, self.account_id, "policy").of(policy.policy_id)

    async def versions(self, policy: ManagedPolicy) -> list[tuple[int, str, int]]:
        """(number, document, made at), the newest first."""
        known = provided(policy.arn)
        if known is not None:
            return [(policy.default_version, known[1], policy.created_at)]
        rows = await self.tx.rows(
            "select version, document, created_at from iam_policy_version"
            " where account_id = :account_id and policy_id = :policy_id order by version desc",
            account_id=self.account_id,
            policy_id=policy.policy_id,
        )
        return [(row["version"], row["document"], row["created_at"]) for row in rows]

    async def add_version(self, policy: ManagedPolicy, version: int, document: str, now: int) -> None:
        await self.tx.execute(
            "insert into iam_policy_version (account_id, policy_id, version, document, created_at)"
            " values (:account_id, :policy_id, :version, :document, :now)",
            account_id=self.account_id,
            policy_id=policy.policy_id,
            version=version,
            document=document,
            now=now,
        )

    async def remove_version(self, policy: ManagedPolicy, version: int) -> None:
        await self.tx.execute(
            "delete from iam_policy_version"
            " where account_id = :account_id and policy_id = :policy_id and version = :version",
            account_id=self.account_id,
            policy_id=policy.policy_id,
            version=version,
        )

    async def uses(self, arn: str, use: Use) -> int:
        """How many users and roles of the account hold the policy so."""
        found: int = await self.tx.value(
            "select count(*) from iam_attachment where account_id = :account_id and policy_arn = :arn and use = :use",
            account_id=self.account_id,
            arn=arn,
            use=use,
        )
        return found

    async def holders(self, arn: str, uses: Sequence[Use]) -> list[tuple[str, str]]:
        """(kind, id) of the users and roles that hold the policy in one of these ways."""
        found: list[tuple[str, str]] = []
        for use in uses:
            rows = await self.tx.rows(
                "select owner_kind, owner_id from iam_attachment"
                " where account_id = :account_id and policy_arn = :arn and use = :use order by owner_id",
                account_id=self.account_id,
                arn=arn,
                use=use,
            )
            found += [(row["owner_kind"], row["owner_id"]) for row in rows]
        return sorted(set(found))

    async def attached(self, owner_id: str) -> list[tuple[str, str]]:
        """(name, ARN) of the attached policies, by name."""
        rows = await self.tx.rows(
            "select policy_name, policy_arn from iam_attachment"
            " where account_id = :account_id and owner_id = :owner_id and use = 'attached' order by policy_name",
            account_id=self.account_id,
            owner_id=owner_id,
        )
        return [(row["policy_name"], row["policy_arn"]) for row in rows]

    async def boundary(self, owner_id: str) -> str | None:
        """The ARN of the owner's boundary."""
        found: str | None = await self.tx.value(
            "select policy_arn from iam_attachment"
            " where account_id = :account_id and owner_id = :owner_id and use = 'boundary'",
            account_id=self.account_id,
            owner_id=owner_id,
        )
        return found

    async def attach(self, policy: ManagedPolicy, owner_kind: str, owner_id: str, use: Use) -> None:
        await self.tx.execute(
            "insert into iam_attachment (account_id, owner_id, use, policy_arn, policy_name, owner_kind)"
            " values (:account_id, :owner_id, :use, :arn, :name, :owner_kind) on conflict do nothing",
            account_id=self.account_id,
            owner_id=owner_id,
            use=use,
            arn=policy.arn,
            name=policy.name,
            owner_kind=owner_kind,
        )

    async def detach(self, arn: str, owner_id: str, use: Use) -> bool:
        return bool(
            await self.tx.execute(
                "delete from iam_attachment where account_id = :account_id and owner_id = :owner_id"
                " and use = :use and policy_arn = :arn",
                account_id=self.account_id,
                owner_id=owner_id,
                use=use,
                arn=arn,
            )
        )

    async def held(self, owner_id: str) -> list[Held]:
        """Attached policies and the boundary of an owner, with the documents that count now."""
        rows = await self.tx.rows(
            "select a.use as held_as, a.policy_arn, a.policy_name, v.document from iam_attachment a"
            " left join iam_policy p on p.account_id = a.account_id and p.name_key = lower(a.policy_name)"
            " and substr(a.policy_arn, 1, 17) <> 'arn:aws:iam::aws:'"
            " left join iam_policy_version v on v.account_id = p.account_id and v.policy_id = p.policy_id"
            " and v.version = p.default_version"
            " where a.account_id = :account_id and a.owner_id = :owner_id order by a.policy_name",
            account_id=self.account_id,
            owner_id=owner_id,
        )
        found = []
        for row in rows:
            known = provided(row["policy_arn"])
            document = row["document"] if known is None else known[1]
            found.append(Held(use=row["held_as"], arn=row["policy_arn"], name=row["policy_name"], document=document))
        return found
