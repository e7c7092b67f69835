"""Service settings: switches of an account in a region, that govern other capabilities.

Owns the table service_setting and the list of the settings there are. What a setting means is for the capability that
asks for its value.
"""

from pilothouse.call import Capability
from pilothouse.capabilities.service_settings import operations
from pilothouse.capabilities.service_settings.model import SETTINGS
from pilothouse.capabilities.service_settings.store import SettingStore
from pilothouse.storage import Transaction

__all__ = ["CAPABILITY", "value"]


async def value(tx: Transaction, account_id: str, region: str, setting_id: str) -> str:
    """The value of a setting in force: the account's own, or the default.

    One question to the database each time: ask only where a request goes beyond what the default allows.
    """
    setting = SETTINGS[setting_id]
    changed = await SettingStore(tx, account_id, region).changed(setting_id)
    return setting.default if changed is None else changed.value


CAPABILITY = Capability.of("service_settings", operations)
