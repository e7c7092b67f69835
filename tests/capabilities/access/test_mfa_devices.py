"""Virtual devices as second factors, through boto3, with a device of the tests' own."""

import json

import pytest

from pilothouse.capabilities.access.totp import code_of
from tests.capabilities.access.people import Device, enter, person, signed
from tests.capabilities.access.policies import User, allow, deny, document, error
from tests.conftest import Aws, Server


@pytest.mark.parametrize(
    ("seconds", "code"),
    [(59, "287082"), (1111111109, "081804"), (1234567890, "005924"), (20000000000, "353130")],
)
def test_codes_are_those_of_rfc_6238(seconds: int, code: str) -> None:
    assert code_of(b"12345678901234567890", seconds // 30) == code


def test_a_device_is_made_enabled_taken_away_and_deleted(aws: Aws, server: Server) -> None:
    iam = aws("iam")
    person(aws, "ada")
    device, spare = Device(aws, server, "phone"), Device(aws, server, "spare")
    account = server.application.root.account_id
    assert device.serial == f"arn:aws:iam::{account}:mfa/phone"
    assert device.picture.startswith(b"\x89PNG")
    assert error(iam.create_virtual_mfa_device, VirtualMFADeviceName="phone")["Code"] == "EntityAlreadyExists"
    wrong = {"AuthenticationCode1": "000000", "AuthenticationCode2": "000000"}
    found = error(iam.enable_mfa_device, UserName="ada", SerialNumber=device.serial, **wrong)
    assert (found["Code"], found["Message"]) == (
        "InvalidAuthenticationCode",
        "Authentication code for device is not valid.",
    )
    device.enable(aws, "ada")
    found = error(iam.enable_mfa_device, UserName="ada", SerialNumber=device.serial, **wrong)
    assert found["Code"] == "EntityAlreadyExists"
    listed = iam.list_mfa_devices(UserName="ada")["MFADevices"]
    assert [(each["UserName"], each["SerialNumber"]) for each in listed] == [("ada", device.serial)]
    assert iam.get_mfa_device(SerialNumber=device.serial)["EnableDate"] == listed[0]["EnableDate"]
    assert error(iam.get_mfa_device, SerialNumber=spare.serial)["Code"] == "NoSuchEntity"
    by_state = {
        state: [
            each["SerialNumber"] for each in iam.list_virtual_mfa_devices(AssignmentStatus=state)["VirtualMFADevices"]
        ]
        for state in ("Assigned", "Unassigned", "Any")
    }
    both = [device.serial, spare.serial]
    assert by_state == {
        "Assigned": [device.serial],
        "Unassigned": [spare.serial],
        "Any": both,
    }
    summary = iam.get_account_summary()["SummaryMap"]
    assert (summary["MFADevices"], summary["MFADevicesInUse"]) == (2, 1)
    pages = iam.get_paginator("list_virtual_mfa_devices").paginate(PaginationConfig={"PageSize": 1})
    assert [each["SerialNumber"] for page in pages for each in page["VirtualMFADevices"]] == both
    iam.tag_mfa_device(SerialNumber=device.serial, Tags=[{"Key": "kind", "Value": "phone"}])
    assert iam.list_mfa_device_tags(SerialNumber=device.serial)["Tags"] == [{"Key": "kind", "Value": "phone"}]
    iam.untag_mfa_device(SerialNumber=device.serial, TagKeys=["kind"])
    assert error(iam.delete_virtual_mfa_device, SerialNumber=device.serial)["Code"] == "DeleteConflict"
    iam.delete_login_profile(UserName="ada")
    found = error(iam.delete_user, UserName="ada")
    assert found["Message"] == "Cannot delete entity, must delete MFA device first."
    iam.deactivate_mfa_device(UserName="ada", SerialNumber=device.serial)
    assert error(iam.deactivate_mfa_device, UserName="ada", SerialNumber=device.serial)["Code"] == "NoSuchEntity"
    for each in both:
        iam.delete_virtual_mfa_device(SerialNumber=each)
    iam.delete_user(UserName="ada")
    assert iam.list_virtual_mfa_devices()["VirtualMFADevices"] == []


def test_a_clock_that_is_off_is_learned(aws: Aws, server: Server) -> None:
    person(aws, "ada")
    device = Device(aws, server, "phone")
    device.enable(aws, "ada", ahead=10)
    server.advance(seconds=31)
    enter(server, "ada", TokenCode=device.code(10))
    server.advance(seconds=31)
    aws("iam").resync_mfa_device(
        UserName="ada", SerialNumber=device.serial,
        AuthenticationCode1=device.code(12), AuthenticationCode2=device.code(13),
    )  # fmt: skip
    server.advance(seconds=31)
    enter(server, "ada", TokenCode=device.code(13))
    too_far = error(
        aws("iam").resync_mfa_device, UserName="ada", SerialNumber=device.serial,
        AuthenticationCode1=device.code(40), AuthenticationCode2=device.code(41),
    )  # fmt: skip
    assert too_far["Code"] == "InvalidAuthenticationCode"


@pytest.mark.usefixtures("same_clock")
def test_session_tokens_and_roles_can_demand_a_code(aws: Aws, server: Server) -> None:
    ada = User(aws, "ada")
    ada.may(
        allow(["iam:ListUsers", "sts:AssumeRole"]),
        deny("ssm:*", Condition={"BoolIfExists": {"aws:MultiFactorAuthPresent": "false"}}),
        allow("ssm:*"),
        policy="p",
    )
    device, other = Device(aws, server, "phone"), Device(aws, server, "other")
    device.enable(aws, "ada")
    trust = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": ada.arn}}
    aws("iam").create_role(
        RoleName="ops",
        AssumeRolePolicyDocument=document(trust | {"Condition": {"Bool": {"aws:MultiFactorAuthPresent": "true"}}}),
    )
    with_code = allow("ssm:*", Condition={"NumericLessThan": {"aws:MultiFactorAuthAge": "600"}})
    aws("iam").put_role_policy(RoleName="ops", PolicyName="p", PolicyDocument=document(with_code))
    sts = ada("sts")
    role = {"RoleArn": f"arn:aws:iam::{server.application.root.account_id}:role/ops", "RoleSessionName": "s1"}
    assert error(sts.assume_role, **role)["Code"] == "AccessDenied"
    assert error(ada("ssm").describe_parameters)["Code"] == "AccessDeniedException"
    plain = sts.get_session_token()
    assert error(signed(aws, "iam", plain).list_users)["Code"] == "InvalidClientTokenId"
    for more, text in (
        ({"SerialNumber": device.serial}, "must provide both MFA serial number and one time pass code"),
        ({"SerialNumber": other.serial, "TokenCode": device.code(1)}, "unable to validate MFA code"),
        ({"SerialNumber": device.serial, "TokenCode": "000000"}, "invalid MFA one time pass code"),
    ):
        found = error(sts.get_session_token, **more)
        assert found["Code"] == "AccessDenied"
        assert text in found["Message"]
    server.advance(seconds=31)
    code = device.code()
    with_mfa = sts.get_session_token(SerialNumber=device.serial, TokenCode=code)
    assert error(sts.get_session_token, SerialNumber=device.serial, TokenCode=code)["Code"] == "AccessDenied"
    signed(aws, "iam", with_mfa).list_users()
    signed(aws, "ssm", with_mfa).describe_parameters()
    server.advance(seconds=31)
    session = sts.assume_role(**role, SerialNumber=device.serial, TokenCode=device.code())
    signed(aws, "ssm", session).describe_parameters()
    server.advance(seconds=601)
    assert error(signed(aws, "ssm", session).describe_parameters)["Code"] == "AccessDeniedException"
    trail = aws("cloudtrail", region="us-east-1")
    name = {"AttributeKey": "EventName", "AttributeValue": "CreateVirtualMFADevice"}
    events = [json.loads(each["CloudTrailEvent"]) for each in trail.lookup_events(LookupAttributes=[name])["Events"]]
    assert all(device.seed.hex() not in json.dumps(each) for each in events)
