"""SQL of kms_key, kms_material and kms_alias."""

from typing import NamedTuple

from pilothouse.capabilities.keys.model import KeyState
from pilothouse.storage import Transaction


class Key(NamedTuple):
    """A key's state and the version of its material that encrypts now."""

    key_id: str
    state: str
    material_version: int


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

    async def newest(self, key_id: str) -> Key | None:
        """What encrypts under the key now."""
        row = await self._tx.row(
            """select key_id, state, material_version from kms_key
               where account_id = :account_id and region = :region and key_id = :key_id""",
            **self._scope, key_id=key_id,
        )  # fmt: skip
        return None if row is None else Key(*row.values())

    async def state(self, key_id: str) -> str | None:
        """A key's state; None if there is no such key."""
        found: str | None = await self._tx.value(
            "select state from kms_key where account_id = :account_id and region = :region and key_id = :key_id",
            **self._scope, key_id=key_id,
        )  # fmt: skip
        return found

    async def wrapped(self, key_id: str, version: int) -> bytes | None:
        """One version of a key's material. It never changes."""
        found: bytes | None = await self._tx.value(
            """select wrapped from kms_material
               where account_id = :account_id and region = :region and key_id = :key_id and version = :version""",
            **self._scope, key_id=key_id, version=version,
        )  # fmt: skip
        return found

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
