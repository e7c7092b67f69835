"""GetServiceSetting, UpdateServiceSetting, ResetServiceSetting."""

from collections.abc import Iterable

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities.service_settings.model import (
    DEFAULTS_SINCE,
    SETTINGS,
    Changed,
    check_value,
    setting_arn,
    setting_id,
)
from pilothouse.capabilities.service_settings.store import SettingStore
from pilothouse.runtime.clock import from_millis


def _setting(call: Call, request: Shape) -> Iterable[str]:
    asked = request["SettingId"]
    return [asked if asked.startswith("arn:") else setting_arn(call.account_id, call.region, asked)]


@operation("ssm", "GetServiceSetting", resources=_setting)
async def get_service_setting(call: Call, request: Shape) -> Shape:
    """A setting by id or ARN: what the account made of it, or its default."""
    setting = setting_id(request["SettingId"], call.account_id, call.region)
    async with call.reading() as tx:
        changed = await SettingStore(tx, call.account_id, call.region).changed(setting)
    return {"ServiceSetting": _shape(call, setting, changed)}


@operation("ssm", "UpdateServiceSetting", writes=True, resources=_setting)
async def update_service_setting(call: Call, request: Shape) -> Shape:
    """Give a setting a value, for the account in the region."""
    setting = setting_id(request["SettingId"], call.account_id, call.region)
    check_value(setting, request["SettingValue"])
    async with call.transaction() as tx:
        store = SettingStore(tx, call.account_id, call.region)
        await store.lock(setting)
        changed = Changed(
            value=request["SettingValue"], modified_at=call.clock.millis(), modified_by=call.principal.arn
        )
        await store.change(setting, changed)
    return {}


@operation("ssm", "ResetServiceSetting", writes=True, resources=_setting)
async def reset_service_setting(call: Call, request: Shape) -> Shape:
    """Give a setting its default again; the answer is the setting with it."""
    setting = setting_id(request["SettingId"], call.account_id, call.region)
    async with call.transaction() as tx:
        store = SettingStore(tx, call.account_id, call.region)
        await store.lock(setting)
        await store.reset(setting)
    return {"ServiceSetting": _shape(call, setting, None)}


def _shape(call: Call, setting: str, changed: Changed | None) -> Shape:
    return {
        "SettingId": setting,
        "SettingValue": changed.value if changed else SETTINGS[setting].default,
        "LastModifiedDate": from_millis(changed.modified_at if changed else DEFAULTS_SINCE),
        "LastModifiedUser": changed.modified_by if changed else "System",
        "ARN": setting_arn(call.account_id, call.region, setting),
        "Status": "Customized" if changed else "Default",
    }
