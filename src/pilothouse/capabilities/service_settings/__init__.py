"""Service settings: switches of an account in a region, that govern other capabilities.

Owns the table service_setting and the list of the settings there are. What a setting means is for the capability that
asks for its value.
"""

from pilothouse.call import Call, Capability
from pilothouse.capabilities.service_settings import operations
from pilothouse.capabilities.service_settings.model import SETTINGS, Changed
from pilothouse.capabilities.service_settings.store import SettingStore
from pilothouse.storage import Transaction

__all__ = ["CAPABILITY", "change", "reset", "value"]


async def value(tx: Transaction, account_id: str, region: str, setting_id: str) -> str:
    """The value of a setting in force: the account's own, or the default.

    One question to the database each time: ask only where a request goes beyond what the default allows.
    """
    setting = SETTINGS[setting_id]
    changed = await SettingStore(tx, account_id, region).changed(setting_id)
    return setting.default if changed is None else changed.value


async def change(call: Call, tx: Transaction, setting_id: str, value: str) -> None:
    """Give a setting of the caller's account a value that it allows, for an operation that stands for this."""
    store = SettingStore(tx, call.account_id, call.region)
    await store.lock(setting_id)
    await store.change(
        setting_id, Changed(value=value, modified_at=call.clock.millis(), modified_by=call.principal.arn)
    )


async def reset(call: Call, tx: Transaction, setting_id: str) -> None:
    """Give a setting of the caller's account its default again."""
    store = SettingStore(tx, call.account_id, call.region)
    await store.lock(setting_id)
    await store.reset(setting_id)


CAPABILITY = Capability.of("service_settings", operations)
