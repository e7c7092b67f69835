"""SQL of kms_key, kms_material and kms_alias."""

from typing import NamedTuple

from pilothouse.capabilities.keys.model import KeyState
from pilothouse.storage import Transaction


class Material(NamedTuple):
    """A key's state and one version of its wrapped material."""

    key_id: str
    state: str
    version: int
    wrapped: bytes


class KeyStore:
    """The keys of one account and region."""

    def __init__(self, tx: Transaction, account_id: str, region: str) -> None:
        self._tx = tx
        self._scope = {"account_id": account_id, "region": region}

    async def lock_alias(self, alias: str) -> None:
        """Nobody else gives the alias a key until the transaction ends."""
        await self._tx.lock("kms_alias", *self._scope.values(), alias)

    async def key_of(self, alias: str) -> str | None:
        """The id of the key behind an alias."""
        found: str | None = await self._tx.value(
            "select key_id from kms_alias where account_id = :account_id and region = :region and alias = :alias",
            **self._scope, alias=alias,
        )  # fmt: skip
        return found

    async def newest_material(self, key_id: str) -> Material | None:
        """What encrypts under the key now."""
        row = await self._tx.row(
            """select k.key_id, k.state, m.version, m.wrapped
               from kms_key k
               join kms_material m on m.account_id = k.account_id and m.region = k.region
                and m.key_id = k.key_id and m.version = k.material_version
               where k.account_id = :account_id and k.region = :region and k.key_id = :key_id""",
            **self._scope, key_id=key_id,
        )  # fmt: skip
        return None if row is None else Material(*row.values())

    async def material(self, key_id: str, version: int) -> Material | None:
        """What decrypts a blob made under this version of the key's material."""
        row = await self._tx.row(
            """select k.key_id, k.state, m.version, m.wrapped
               from kms_key k
               join kms_material m on m.account_id = k.account_id and m.region = k.region and m.key_id = k.key_id
               where k.account_id = :account_id and k.region = :region and k.key_id = :key_id
                 and m.version = :version""",
            **self._scope, key_id=key_id, version=version,
        )  # fmt: skip
        return None if row is None else Material(*row.values())

    async def add_key(self, key_id: str, *, manager: str, description: str, wrapped: bytes, at: int) -> None:
        """A new enabled key with its first material."""
        await self._tx.execute(
            """insert into kms_key
                 (account_id, region, key_id, state, manager, description, material_version, created_at)
               values (:account_id, :region, :key_id, :state, :manager, :description, 1, :at)""",
            **self._scope, key_id=key_id, state=KeyState.ENABLED.value, manager=manager, description=description, at=at,
        )  # fmt: skip
        await self._tx.execute(
            """insert into kms_material (account_id, region, key_id, version, wrapped, created_at)
               values (:account_id, :region, :key_id, 1, :wrapped, :at)""",
            **self._scope, key_id=key_id, wrapped=wrapped, at=at,
        )  # fmt: skip

    async def set_state(self, key_id: str, state: KeyState) -> None:
        """Move a key to another state."""
        await self._tx.execute(
            """update kms_key set state = :state
               where account_id = :account_id and region = :region and key_id = :key_id""",
            **self._scope, key_id=key_id, state=state.value,
        )  # fmt: skip

    async def add_alias(self, alias: str, key_id: str, *, at: int) -> None:
        """Name a key."""
        await self._tx.execute(
            """insert into kms_alias (account_id, region, alias, key_id, created_at)
               values (:account_id, :region, :alias, :key_id, :at)""",
            **self._scope, alias=alias, key_id=key_id, at=at,
        )  # fmt: skip
