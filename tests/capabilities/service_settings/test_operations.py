"""Service settings through the client: defaults, changes, resets, refusals."""

import pytest
from botocore.exceptions import ClientError

from pilothouse.capabilities import access, service_settings
from pilothouse.capabilities.service_settings.model import SETTINGS, check_value
from pilothouse.errors import ValidationException

TIER = "/ssm/parameter-store/default-parameter-tier"
BYTES = "/ph/parameter-store/max-value-bytes"


def setting(ssm, setting_id=TIER):
    return ssm.get_service_setting(SettingId=setting_id)["ServiceSetting"]


def code(failing, **members):
    with pytest.raises(ClientError) as refused:
        failing(**members)
    return refused.value.response["Error"]["Code"]


def test_a_setting_that_nobody_changed_has_its_default(aws, server):
    account = server.application.root.account_id
    found = setting(aws("ssm"))
    assert found.pop("LastModifiedDate").year == 2026
    assert found == {
        "SettingId": TIER,
        "SettingValue": "Standard",
        "LastModifiedUser": "System",
        "ARN": f"arn:aws:ssm:eu-west-1:{account}:servicesetting{TIER}",
        "Status": "Default",
    }


def test_update_and_reset(aws, server, clock):
    ssm = aws("ssm")
    before = clock.millis()
    answer = ssm.update_service_setting(SettingId=TIER, SettingValue="Intelligent-Tiering")
    assert set(answer) == {"ResponseMetadata"}
    found = setting(ssm)
    assert (found["SettingValue"], found["Status"]) == ("Intelligent-Tiering", "Customized")
    assert found["LastModifiedUser"] == f"arn:aws:iam::{server.application.root.account_id}:root"
    assert before <= found["LastModifiedDate"].timestamp() * 1000 <= clock.millis()
    ssm.update_service_setting(SettingId=TIER, SettingValue="Advanced")
    assert setting(ssm)["SettingValue"] == "Advanced"
    reset = ssm.reset_service_setting(SettingId=TIER)["ServiceSetting"]
    assert (reset["SettingValue"], reset["Status"], reset["LastModifiedUser"]) == ("Standard", "Default", "System")
    assert setting(ssm) == reset


def test_a_setting_is_found_by_its_arn_in_its_account_and_region(aws):
    ssm = aws("ssm")
    arn = setting(ssm)["ARN"]
    ssm.update_service_setting(SettingId=arn, SettingValue="Advanced")
    assert setting(ssm, arn) == setting(ssm)
    assert setting(ssm)["SettingValue"] == "Advanced"
    for wrong in (arn.replace("eu-west-1", "eu-west-2"), arn[:24] + "999999999999" + arn[36:], arn + "x", "arn:"):
        assert code(ssm.get_service_setting, SettingId=wrong) == "ServiceSettingNotFound"


def test_settings_belong_to_one_account_and_region(aws, server):
    aws("ssm").update_service_setting(SettingId=TIER, SettingValue="Advanced")
    other = server.run(access.create_account(server.application.house, "other"))
    there = aws("ssm", access_key=other.access_key_id, secret=other.secret)
    assert setting(there)["Status"] == "Default"
    assert setting(aws("ssm", region="eu-west-2"))["Status"] == "Default"


@pytest.mark.parametrize("name", ["get_service_setting", "reset_service_setting", "update_service_setting"])
@pytest.mark.parametrize("unknown", ["/ssm/nothing", "ssm/parameter-store/default-parameter-tier", TIER + "/", "x"])
def test_an_unknown_setting(aws, name, unknown):
    members = {"SettingValue": "x"} if name == "update_service_setting" else {}
    assert code(getattr(aws("ssm"), name), SettingId=unknown, **members) == "ServiceSettingNotFound"


def test_a_value_that_a_setting_cannot_have_changes_nothing(aws):
    ssm = aws("ssm")
    for setting_id, wrong in ((TIER, "standard"), (BYTES, "8191"), (BYTES, "1048577"), (BYTES, "08192"), (BYTES, "x")):
        assert code(ssm.update_service_setting, SettingId=setting_id, SettingValue=wrong) == "ValidationException"
        assert setting(ssm, setting_id)["Status"] == "Default"


@pytest.mark.parametrize("setting_id", SETTINGS)
def test_every_default_is_a_value_or_nothing(setting_id):
    default = SETTINGS[setting_id].default
    if default:
        check_value(setting_id, default)
    with pytest.raises(ValidationException, match=setting_id):
        check_value(setting_id, "(no such value!")


def test_others_read_the_value_in_force(aws, server):
    account = server.application.root.account_id

    async def value():
        async with server.application.house.database.reading() as tx:
            return await service_settings.value(tx, account, "eu-west-1", BYTES)

    assert server.run(value()) == "8192"
    aws("ssm").update_service_setting(SettingId=BYTES, SettingValue="1048576")
    assert server.run(value()) == "1048576"
