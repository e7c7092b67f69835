"""SQL of IAM users, their inline policies, and the access keys of users and root."""

from dataclasses import dataclass

from pilothouse.call import House
from pilothouse.capabilities.access.model import AccessKey, AccountKey, User, seal_context, user_arn
from pilothouse.capabilities.access.tagged import Tagged
from pilothouse.storage import Row, Transaction

_POLICIES = 200


@dataclass(frozen=True, slots=True)
class UserStore:
    """The users of one account, in one transaction."""

    tx: Transaction
    account_id: str

    async def lock(self, name: str) -> None:
        """Wait for others who change the user."""
        await self.tx.lock("iam user", f"{self.account_id} {name.lower()}")

    async def account_made_at(self) -> int:
        """Epoch milliseconds; 0 for accounts that --dev made up."""
        found: int | None = await self.tx.value(
            "select created_at from account where account_id = :account_id", account_id=self.account_id
        )
        return found or 0

    async def find(self, name: str) -> User | None:
        row = await self.tx.row(
            "select name, path, user_id, created_at from iam_user"
            " where account_id = :account_id and name_key = :name_key",
            account_id=self.account_id,
            name_key=name.lower(),
        )
        return None if row is None else self._user(row)

    async def by_id(self, user_id: str) -> User | None:
        row = await self.tx.row(
            "select name, path, user_id, created_at from iam_user"
            " where user_id = :user_id and account_id = :account_id",
            account_id=self.account_id,
            user_id=user_id,
        )
        return None if row is None else self._user(row)

    def _user(self, row: Row) -> User:
        return User(
            account_id=self.account_id,
            name=row["name"],
            path=row["path"],
            user_id=row["user_id"],
            created_at=row["created_at"],
        )

    async def after(self, name_key: str, path: str, most: int) -> list[User]:
        """Users below a path, by name."""
        rows = await self.tx.rows(
            "select name, path, user_id, created_at from iam_user where account_id = :account_id"
            " and name_key > :name_key and substr(path, 1, :length) = :path order by name_key limit :most",
            account_id=self.account_id,
            name_key=name_key,
            path=path,
            length=len(path),
            most=most,
        )
        return [self._user(row) for row in rows]

    async def count(self) -> int:
        found: int = await self.tx.value(
            "select count(*) from iam_user where account_id = :account_id", account_id=self.account_id
        )
        return found

    async def add(self, user: User, given: dict[str, str]) -> None:
        await self.tx.execute(
            "insert into iam_user (account_id, name_key, name, path, user_id, created_at)"
            " values (:account_id, :name_key, :name, :path, :user_id, :created_at)",
            account_id=self.account_id,
            name_key=user.name.lower(),
            name=user.name,
            path=user.path,
            user_id=user.user_id,
            created_at=user.created_at,
        )
        await Tagged(self.tx, self.account_id, "user").put(user.user_id, given)

    async def rename(self, user: User, name: str, path: str) -> None:
        """Its keys and policies follow by its id."""
        await self.tx.execute(
            "update iam_user set name = :name, name_key = :name_key, path = :path"
            " where account_id = :account_id and user_id = :user_id",
            account_id=self.account_id,
            user_id=user.user_id,
            name=name,
            name_key=name.lower(),
            path=path,
        )
        await self.tx.execute(
            "update access_key set principal_arn = :arn where account_id = :account_id and principal_id = :user_id",
            account_id=self.account_id,
            user_id=user.user_id,
            arn=user_arn(self.account_id, path, name),
        )

    async def remove(self, user: User) -> None:
        await self.tx.execute(
            "delete from iam_user where account_id = :account_id and user_id = :user_id",
            account_id=self.account_id,
            user_id=user.user_id,
        )
        await Tagged(self.tx, self.account_id, "user").remove_all(user.user_id)

    async def tags(self, user: User) -> dict[str, str]:
        return await Tagged(self.tx, self.account_id, "user").of(user.user_id)

    async def policies(self, owner_id: str, after: str = "", most: int = _POLICIES) -> list[tuple[str, str]]:
        """(name, document) of the inline policies, by name."""
        rows = await self.tx.rows(
            "select name, document from iam_inline_policy where account_id = :account_id and owner_id = :owner_id"
            " and name > :after order by name limit :most",
            account_id=self.account_id,
            owner_id=owner_id,
            after=after,
            most=most,
        )
        return [(row["name"], row["document"]) for row in rows]

    async def put_policy(self, owner_id: str, name: str, document: str) -> None:
        await self.tx.execute(
            "insert into iam_inline_policy (account_id, owner_id, name, document)"
            " values (:account_id, :owner_id, :name, :document)"
            " on conflict (account_id, owner_id, name) do update set document = excluded.document",
            account_id=self.account_id,
            owner_id=owner_id,
            name=name,
            document=document,
        )

    async def remove_policy(self, owner_id: str, name: str) -> bool:
        return bool(
            await self.tx.execute(
                "delete from iam_inline_policy"
                " where account_id = :account_id and owner_id = :owner_id and name = :name",
                account_id=self.account_id,
                owner_id=owner_id,
                name=name,
            )
        )

    async def keys(self, owner_id: str) -> list[AccessKey]:
        """The access keys of a user, or of root by the account's id."""
        rows = await self.tx.rows(
            "select access_key_id, status, created_at from access_key where account_id = :account_id"
            " and principal_id = :owner_id order by access_key_id",
            account_id=self.account_id,
            owner_id=owner_id,
        )
        return [
            AccessKey(access_key_id=row["access_key_id"], status=row["status"], created_at=row["created_at"])
            for row in rows
        ]

    async def add_key(self, house: House, owner_id: str, arn: str) -> AccountKey:
        made = AccountKey(
            account_id=self.account_id, access_key_id=house.ids.access_key_id(), secret=house.ids.secret_key()
        )
        await self.tx.execute(
            "insert into access_key"
            " (access_key_id, account_id, principal_arn, principal_id, secret_sealed, status, created_at)"
            " values (:access_key_id, :account_id, :arn, :owner_id, :sealed, 'Active', :now)",
            access_key_id=made.access_key_id,
            account_id=self.account_id,
            arn=arn,
            owner_id=owner_id,
            sealed=house.vault.seal(made.secret.encode(), seal_context(self.account_id, made.access_key_id)),
            now=house.clock.millis(),
        )
        return made

    async def set_key_status(self, owner_id: str, access_key_id: str, status: str) -> bool:
        return bool(
            await self.tx.execute(
                "update access_key set status = :status where access_key_id = :access_key_id"
                " and account_id = :account_id and principal_id = :owner_id",
                status=status,
                access_key_id=access_key_id,
                account_id=self.account_id,
                owner_id=owner_id,
            )
        )

    async def remove_key(self, owner_id: str, access_key_id: str) -> bool:
        return bool(
            await self.tx.execute(
                "delete from access_key where access_key_id = :access_key_id"
                " and account_id = :account_id and principal_id = :owner_id",
                access_key_id=access_key_id,
                account_id=self.account_id,
                owner_id=owner_id,
            )
        )
