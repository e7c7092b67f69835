"""SQL of what IAM keeps of an account as a whole: its alias, its rules for passwords, and what is counted in it."""

from dataclasses import dataclass

from pilothouse.storage import Transaction


@dataclass(frozen=True, slots=True)
class AccountStore:
    """One account, in one transaction."""

    tx: Transaction
    account_id: str

    async def alias(self) -> str | None:
        found: str | None = await self.tx.value(
            "select alias from iam_account_alias where account_id = :account_id", account_id=self.account_id
        )
        return found

    async def set_alias(self, alias: str) -> bool:
        """In the place of the one that is there; False if another account has it."""
        await self.tx.lock("iam account alias", alias)
        owner = await self.tx.value("select account_id from iam_account_alias where alias = :alias", alias=alias)
        if owner is not None:
            return bool(owner == self.account_id)
        await self.tx.execute(
            "insert into iam_account_alias (account_id, alias) values (:account_id, :alias)"
            " on conflict (account_id) do update set alias = excluded.alias",
            account_id=self.account_id,
            alias=alias,
        )
        return True

    async def remove_alias(self, alias: str) -> bool:
        return bool(
            await self.tx.execute(
                "delete from iam_account_alias where account_id = :account_id and alias = :alias",
                account_id=self.account_id,
                alias=alias,
            )
        )

    async def password_rules(self) -> str | None:
        """As JSON; None: none were set."""
        found: str | None = await self.tx.value(
            "select rules from iam_password_policy where account_id = :account_id", account_id=self.account_id
        )
        return found

    async def set_password_rules(self, rules: str) -> None:
        await self.tx.execute(
            "insert into iam_password_policy (account_id, rules) values (:account_id, :rules)"
            " on conflict (account_id) do update set rules = excluded.rules",
            account_id=self.account_id,
            rules=rules,
        )

    async def remove_password_rules(self) -> bool:
        return bool(
            await self.tx.execute(
                "delete from iam_password_policy where account_id = :account_id", account_id=self.account_id
            )
        )

    async def policy_versions(self) -> int:
        """How many versions the account's managed policies have together."""
        found: int = await self.tx.value(
            "select count(*) from iam_policy_version where account_id = :account_id", account_id=self.account_id
        )
        return found

    async def root_has_keys(self) -> bool:
        found = await self.tx.value(
            "select 1 from access_key where account_id = :account_id and principal_id = :account_id limit 1",
            account_id=self.account_id,
        )
        return found is not None


async def account_of_alias(tx: Transaction, alias: str) -> str | None:
    """The id of the account with that alias."""
    found: str | None = await tx.value("select account_id from iam_account_alias where alias = :alias", alias=alias)
    return found
