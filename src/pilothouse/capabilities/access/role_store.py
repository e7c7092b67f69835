"""SQL of IAM roles. Their inline policies are where those of users are."""

from dataclasses import asdict, dataclass

from pilothouse.capabilities.access.model import Role
from pilothouse.capabilities.access.tagged import Tagged
from pilothouse.storage import Row, Transaction


@dataclass(frozen=True, slots=True)
class RoleStore:
    """The roles of one account, in one transaction."""

    tx: Transaction
    account_id: str

    async def lock(self, name: str) -> None:
        """Wait for others who change the role."""
        await self.tx.lock("iam role", f"{self.account_id} {name.lower()}")

    async def find(self, name: str) -> Role | None:
        row = await self.tx.row(
            "select name, path, role_id, description, trust, max_session, created_at from iam_role"
            " where account_id = :account_id and name_key = :name_key",
            account_id=self.account_id,
            name_key=name.lower(),
        )
        return None if row is None else self._role(row)

    async def by_id(self, role_id: str) -> Role | None:
        row = await self.tx.row(
            "select name, path, role_id, description, trust, max_session, created_at from iam_role"
            " where account_id = :account_id and role_id = :role_id",
            account_id=self.account_id,
            role_id=role_id,
        )
        return None if row is None else self._role(row)

    def _role(self, row: Row) -> Role:
        return Role(
            account_id=self.account_id,
            name=row["name"],
            path=row["path"],
            role_id=row["role_id"],
            description=row["description"],
            trust=row["trust"],
            max_session=row["max_session"],
            created_at=row["created_at"],
        )

    async def after(self, name_key: str, path: str, most: int) -> list[Role]:
        """Roles below a path, by name."""
        rows = await self.tx.rows(
            "select name, path, role_id, description, trust, max_session, created_at from iam_role"
            " where account_id = :account_id and name_key > :name_key and substr(path, 1, :length) = :path"
            " order by name_key limit :most",
            account_id=self.account_id,
            name_key=name_key,
            path=path,
            length=len(path),
            most=most,
        )
        return [self._role(row) for row in rows]

    async def count(self) -> int:
        found: int = await self.tx.value(
            "select count(*) from iam_role where account_id = :account_id", account_id=self.account_id
        )
        return found

    async def add(self, role: Role, given: dict[str, str]) -> None:
        await self.tx.execute(
            "insert into iam_role"
            " (account_id, name_key, name, path, role_id, description, trust, max_session, created_at)"
            " values (:account_id, :name_key, :name, :path, :role_id, :description, :trust, :max_session, :created_at)",
            **asdict(role),
            name_key=role.name.lower(),
        )
        await Tagged(self.tx, self.account_id, "role").put(role.role_id, given)

    async def use(self, role: Role) -> tuple[int, str]:
        """When and in which region it was used last, as far as that is written; 0 for never."""
        row = await self.tx.row(
            "select used_at, used_region from iam_role where account_id = :account_id and role_id = :role_id",
            account_id=self.account_id,
            role_id=role.role_id,
        )
        return (0, "") if row is None else (row["used_at"], row["used_region"])

    async def set_trust(self, role: Role, trust: str) -> None:
        await self.tx.execute(
            "update iam_role set trust = :trust where account_id = :account_id and role_id = :role_id",
            trust=trust,
            account_id=self.account_id,
            role_id=role.role_id,
        )

    async def describe(self, role: Role, description: str, max_session: int) -> None:
        await self.tx.execute(
            "update iam_role set description = :description, max_session = :max_session"
            " where account_id = :account_id and role_id = :role_id",
            account_id=self.account_id,
            role_id=role.role_id,
            description=description,
            max_session=max_session,
        )

    async def remove(self, role: Role) -> None:
        await self.tx.execute(
            "delete from iam_role where account_id = :account_id and role_id = :role_id",
            account_id=self.account_id,
            role_id=role.role_id,
        )
        await Tagged(self.tx, self.account_id, "role").remove_all(role.role_id)

    async def tags(self, role: Role) -> dict[str, str]:
        return await Tagged(self.tx, self.account_id, "role").of(role.role_id)
