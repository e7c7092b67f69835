"""SQL of instance profiles and of which role is in one."""

from dataclasses import asdict, dataclass

from pilothouse.capabilities.access.model import InstanceProfile, Role
from pilothouse.capabilities.access.tagged import Tagged
from pilothouse.storage import Row, Transaction

_SELECT = "select name, path, profile_id, role_id, created_at from iam_instance_profile where account_id = :account_id"


@dataclass(frozen=True, slots=True)
class ProfileStore:
    """The instance profiles of one account, in one transaction."""

    tx: Transaction
    account_id: str

    async def lock(self, name: str) -> None:
        """Wait for others who change the profile."""
        await self.tx.lock("iam instance profile", f"{self.account_id} {name.lower()}")

    async def find(self, name: str) -> InstanceProfile | None:
        row = await self.tx.row(
            _SELECT + " and name_key = :name_key", account_id=self.account_id, name_key=name.lower()
        )
        return None if row is None else self._profile(row)

    async def by_id(self, profile_id: str) -> InstanceProfile | None:
        row = await self.tx.row(
            _SELECT + " and profile_id = :profile_id", account_id=self.account_id, profile_id=profile_id
        )
        return None if row is None else self._profile(row)

    def _profile(self, row: Row) -> InstanceProfile:
        return InstanceProfile(
            account_id=self.account_id,
            name=row["name"],
            path=row["path"],
            profile_id=row["profile_id"],
            role_id=row["role_id"],
            created_at=row["created_at"],
        )

    async def after(self, name_key: str, path: str, most: int) -> list[InstanceProfile]:
        """Profiles below a path, by name."""
        rows = await self.tx.rows(
            _SELECT + " and name_key > :name_key and substr(path, 1, :length) = :path order by name_key limit :most",
            account_id=self.account_id,
            name_key=name_key,
            path=path,
            length=len(path),
            most=most,
        )
        return [self._profile(row) for row in rows]

    async def of(self, role: Role, after: str = "", most: int = 1000) -> list[InstanceProfile]:
        """The profiles that hold the role, by name."""
        rows = await self.tx.rows(
            _SELECT + " and role_id = :role_id and name_key > :after order by name_key limit :most",
            account_id=self.account_id,
            role_id=role.role_id,
            after=after,
            most=most,
        )
        return [self._profile(row) for row in rows]

    async def count(self) -> int:
        found: int = await self.tx.value(
            "select count(*) from iam_instance_profile where account_id = :account_id", account_id=self.account_id
        )
        return found

    async def add(self, profile: InstanceProfile, given: dict[str, str]) -> None:
        await self.tx.execute(
            "insert into iam_instance_profile (account_id, name_key, name, path, profile_id, role_id, created_at)"
            " values (:account_id, :name_key, :name, :path, :profile_id, :role_id, :created_at)",
            **asdict(profile),
            name_key=profile.name.lower(),
        )
        await Tagged(self.tx, self.account_id, "instance-profile").put(profile.profile_id, given)

    async def hold(self, profile: InstanceProfile, role_id: str) -> None:
        """Put a role in it, or none."""
        await self.tx.execute(
            "update iam_instance_profile set role_id = :role_id"
            " where account_id = :account_id and profile_id = :profile_id",
            account_id=self.account_id,
            profile_id=profile.profile_id,
            role_id=role_id,
        )

    async def remove(self, profile: InstanceProfile) -> None:
        await self.tx.execute(
            "delete from iam_instance_profile where account_id = :account_id and profile_id = :profile_id",
            account_id=self.account_id,
            profile_id=profile.profile_id,
        )
        await Tagged(self.tx, self.account_id, "instance-profile").remove_all(profile.profile_id)

    async def tags(self, profile: InstanceProfile) -> dict[str, str]:
        return await Tagged(self.tx, self.account_id, "instance-profile").of(profile.profile_id)
