"""SQL of service_setting."""

from pilothouse.capabilities.service_settings.model import Changed
from pilothouse.storage import Transaction


class SettingStore:
    """The settings that one account changed in one region."""

    def __init__(self, tx: Transaction, account_id: str, region: str) -> None:
        self._tx = tx
        self._scope = {"account_id": account_id, "region": region}

    async def lock(self, setting_id: str) -> None:
        """The setting stays as it is until the transaction ends, but for what it does itself."""
        await self._tx.lock("service-setting", *self._scope.values(), setting_id)

    async def changed(self, setting_id: str) -> Changed | None:
        """What the account made of the setting; None: it has its default."""
        row = await self._tx.row(
            """select setting_value, modified_at, modified_by from service_setting
               where account_id = :account_id and region = :region and setting_id = :setting_id""",
            **self._scope, setting_id=setting_id,
        )  # fmt: skip
        if row is None:
            return None
        return Changed(value=row["setting_value"], modified_at=row["modified_at"], modified_by=row["modified_by"])

    async def change(self, setting_id: str, changed: Changed) -> None:
        """Give the setting a value."""
        await self._tx.execute(
            """insert into service_setting
                 (account_id, region, setting_id, setting_value, modified_at, modified_by)
               values (:account_id, :region, :setting_id, :value, :modified_at, :modified_by)
               on conflict (account_id, region, setting_id) do update set
                 setting_value = excluded.setting_value, modified_at = excluded.modified_at,
                 modified_by = excluded.modified_by""",
            **self._scope, setting_id=setting_id, value=changed.value, modified_at=changed.modified_at,
            modified_by=changed.modified_by,
        )  # fmt: skip

    async def reset(self, setting_id: str) -> None:
        """Give the setting its default again."""
        await self._tx.execute(
            """delete from service_setting
               where account_id = :account_id and region = :region and setting_id = :setting_id""",
            **self._scope, setting_id=setting_id,
        )  # fmt: skip
