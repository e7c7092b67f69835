"""SQL of IAM groups and of who is in them. Their inline policies are where those of users are."""

from dataclasses import asdict, dataclass

from pilothouse.capabilities.access.model import Group, User
from pilothouse.storage import Row, Transaction

_SELECT = "select name, path, group_id, created_at from iam_group where account_id = :account_id"


@dataclass(frozen=True, slots=True)
class GroupStore:
    """The groups of one account, in one transaction."""

    tx: Transaction
    account_id: str

    async def lock(self, name: str) -> None:
        """Wait for others who change the group."""
        await self.tx.lock("iam group", f"{self.account_id} {name.lower()}")

    async def find(self, name: str) -> Group | None:
        row = await self.tx.row(
            _SELECT + " and name_key = :name_key", account_id=self.account_id, name_key=name.lower()
        )
        return None if row is None else self._group(row)

    async def by_id(self, group_id: str) -> Group | None:
        row = await self.tx.row(_SELECT + " and group_id = :group_id", account_id=self.account_id, group_id=group_id)
        return None if row is None else self._group(row)

    def _group(self, row: Row) -> Group:
        return Group(
            account_id=self.account_id,
            name=row["name"],
            path=row["path"],
            group_id=row["group_id"],
            created_at=row["created_at"],
        )

    async def after(self, name_key: str, path: str, most: int) -> list[Group]:
        """Groups below a path, by name."""
        rows = await self.tx.rows(
            _SELECT + " and name_key > :name_key and substr(path, 1, :length) = :path order by name_key limit :most",
            account_id=self.account_id,
            name_key=name_key,
            path=path,
            length=len(path),
            most=most,
        )
        return [self._group(row) for row in rows]

    async def count(self) -> int:
        found: int = await self.tx.value(
            "select count(*) from iam_group where account_id = :account_id", account_id=self.account_id
        )
        return found

    async def add(self, group: Group) -> None:
        await self.tx.execute(
            "insert into iam_group (account_id, name_key, name, path, group_id, created_at)"
            " values (:account_id, :name_key, :name, :path, :group_id, :created_at)",
            **asdict(group),
            name_key=group.name.lower(),
        )

    async def rename(self, group: Group, name: str, path: str) -> None:
        await self.tx.execute(
            "update iam_group set name = :name, name_key = :name_key, path = :path"
            " where account_id = :account_id and group_id = :group_id",
            account_id=self.account_id,
            group_id=group.group_id,
            name=name,
            name_key=name.lower(),
            path=path,
        )

    async def remove(self, group: Group) -> None:
        await self.tx.execute(
            "delete from iam_group where account_id = :account_id and group_id = :group_id",
            account_id=self.account_id,
            group_id=group.group_id,
        )

    async def put_in(self, group: Group, user: User) -> None:
        await self.tx.execute(
            "insert into iam_membership (account_id, user_id, group_id) values (:account_id, :user_id, :group_id)"
            " on conflict do nothing",
            account_id=self.account_id,
            user_id=user.user_id,
            group_id=group.group_id,
        )

    async def take_out(self, group: Group, user: User) -> bool:
        return bool(
            await self.tx.execute(
                "delete from iam_membership"
                " where account_id = :account_id and user_id = :user_id and group_id = :group_id",
                account_id=self.account_id,
                user_id=user.user_id,
                group_id=group.group_id,
            )
        )

    async def of(self, user: User) -> list[Group]:
        """The groups of a user, by name; ten at most."""
        rows = await self.tx.rows(
            "select g.name, g.path, g.group_id, g.created_at from iam_membership m"
            " join iam_group g on g.group_id = m.group_id"
            " where m.account_id = :account_id and m.user_id = :user_id order by g.name_key",
            account_id=self.account_id,
            user_id=user.user_id,
        )
        return [self._group(row) for row in rows]

    async def members(self, group: Group, after: str, most: int) -> list[str]:
        """Names of the users in the group, in the order of their lower case."""
        rows = await self.tx.rows(
            "select u.name from iam_membership m join iam_user u on u.user_id = m.user_id"
            " where m.account_id = :account_id and m.group_id = :group_id and u.name_key > :after"
            " order by u.name_key limit :most",
            account_id=self.account_id,
            group_id=group.group_id,
            after=after,
            most=most,
        )
        return [row["name"] for row in rows]
