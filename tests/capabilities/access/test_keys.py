"""What is known of access keys, through boto3."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from pilothouse.capabilities import access
from tests.capabilities.access.policies import User, allow, error
from tests.conftest import Aws, Server


def eventually(look: Callable[[], Any]) -> Any:
    """What background work brings about."""
    for _ in range(400):
        found = look()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError("it did not come about")


@pytest.mark.usefixtures("same_clock")
def test_the_last_use_of_a_key_is_told(aws: Aws, server: Server) -> None:
    iam, user = aws("iam"), User(aws, "ann")
    key = user.key["AccessKeyId"]
    told = iam.get_access_key_last_used(AccessKeyId=key)
    assert told["UserName"] == "ann"
    assert told["AccessKeyLastUsed"] == {"ServiceName": "N/A", "Region": "N/A"}
    user("sts").get_caller_identity()
    used_at = server.clock.now()

    def last() -> Any:
        return iam.get_access_key_last_used(AccessKeyId=key)["AccessKeyLastUsed"]

    def told_of(service: str) -> Callable[[], bool]:
        return lambda: last()["ServiceName"] == service

    server.advance(minutes=2)
    eventually(told_of("sts"))
    told = last()
    assert used_at - timedelta(minutes=1) < told.pop("LastUsedDate") < used_at + timedelta(minutes=1)
    assert told == {"ServiceName": "sts", "Region": "eu-west-1"}
    error(user("ssm").describe_parameters)  # within the quarter of an hour
    server.advance(minutes=14)
    assert last()["ServiceName"] == "sts"
    error(user("ssm").describe_parameters)
    server.advance(minutes=2)
    eventually(told_of("ssm"))
    assert last()["LastUsedDate"] > used_at + timedelta(minutes=15)


def test_a_wrong_signature_is_no_use_and_others_keys_are_not_told(aws: Aws, server: Server) -> None:
    iam, user, other = aws("iam"), User(aws, "ann"), User(aws, "bob")
    wrong = aws("sts", access_key=user.key["AccessKeyId"], secret="x" * 40)
    assert error(wrong.get_caller_identity)["Code"] == "SignatureDoesNotMatch"
    other("sts").get_caller_identity()
    server.advance(minutes=2)

    def use_of(user: User) -> Any:
        return iam.get_access_key_last_used(AccessKeyId=user.key["AccessKeyId"])["AccessKeyLastUsed"]

    eventually(lambda: use_of(other)["ServiceName"] == "sts")
    assert use_of(user)["ServiceName"] == "N/A"
    theirs = server.run(access.create_account(server.application.house, "theirs"))
    for unknown in (theirs.access_key_id, "AKIAAAAAAAAAAAAAAAAA"):
        missing = error(iam.get_access_key_last_used, AccessKeyId=unknown)
        assert missing["Message"] == f"The Access Key with id {unknown} cannot be found."
    other.may(allow("iam:GetAccessKeyLastUsed", other.arn))
    other("iam").get_access_key_last_used(AccessKeyId=other.key["AccessKeyId"])
    refused = error(other("iam").get_access_key_last_used, AccessKeyId=user.key["AccessKeyId"])
    assert refused["Code"] == "AccessDenied"
    root = iam.get_access_key_last_used(AccessKeyId=server.application.root.access_key_id)
    assert "UserName" not in root
