"""GetSessionToken and the small operations of STS, through boto3."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest

from pilothouse.runtime.clock import TestClock
from pilothouse.runtime.settings import Settings
from tests.capabilities.access.policies import User, allow, deny, document, error
from tests.conftest import Aws, Server


def as_session(aws: Aws, service: str, answer: Any) -> Any:
    given = answer["Credentials"]
    return aws(service, access_key=given["AccessKeyId"], secret=given["SecretAccessKey"], token=given["SessionToken"])


def _left(server: Server, answer: Any) -> timedelta:
    """How long the credentials hold, to the next five minutes."""
    seconds = (answer["Credentials"]["Expiration"] - server.clock.now()).total_seconds()
    return timedelta(minutes=5 * round(seconds / 300))


def test_a_session_may_what_its_user_may_now(aws: Aws, server: Server) -> None:
    user = User(aws, "ann")
    made = user("sts").get_session_token()
    assert made["Credentials"]["AccessKeyId"].startswith("ASIA")
    assert _left(server, made) == timedelta(hours=12)
    told = as_session(aws, "sts", made).get_caller_identity()
    assert told["Arn"] == user.arn
    ssm = as_session(aws, "ssm", made)
    assert error(ssm.describe_parameters)["Code"] == "AccessDeniedException"
    user.may(allow("ssm:*"))
    ssm.describe_parameters()
    user.may(deny("ssm:*"))
    assert error(ssm.describe_parameters)["Code"] == "AccessDeniedException"
    user.may(
        allow("ssm:*", Condition={"Bool": {"aws:MultiFactorAuthPresent": "false"}}),
        deny("ssm:*", Condition={"DateLessThan": {"aws:TokenIssueTime": "2020-01-01T00:00:00Z"}}),
    )
    ssm.describe_parameters()
    assert error(user("ssm").describe_parameters)["Code"] == "AccessDeniedException"


@pytest.mark.parametrize("end", ["disabled", "deleted", "user gone"])
def test_a_session_ends_with_its_key(aws: Aws, end: str) -> None:
    user, iam = User(aws, "ann"), aws("iam")
    key = {"UserName": "ann", "AccessKeyId": user.key["AccessKeyId"]}
    sts = as_session(aws, "sts", user("sts").get_session_token())
    sts.get_caller_identity()
    if end == "disabled":
        iam.update_access_key(**key, Status="Inactive")
    else:
        iam.delete_access_key(**key)
    if end == "user gone":
        iam.delete_user(UserName="ann")
        iam.create_user(UserName="ann")
        iam.create_access_key(UserName="ann")
    assert error(sts.get_caller_identity)["Code"] == "InvalidClientTokenId"
    if end == "disabled":
        iam.update_access_key(**key, Status="Active")
        sts.get_caller_identity()


@pytest.mark.usefixtures("same_clock")
def test_a_session_ends_by_itself(aws: Aws, server: Server) -> None:
    user = User(aws, "ann")
    ssm = as_session(aws, "ssm", user("sts").get_session_token(DurationSeconds=900))
    server.advance(seconds=898)
    assert error(ssm.describe_parameters)["Code"] == "AccessDeniedException"
    server.advance(seconds=3)
    assert error(ssm.describe_parameters)["Code"] == "ExpiredTokenException"


def test_a_session_reaches_neither_iam_nor_most_of_sts(aws: Aws) -> None:
    user = User(aws, "ann")
    user.may(allow("*"))
    for made in (user("sts").get_session_token(), aws("sts").get_session_token()):
        assert error(as_session(aws, "iam", made).list_users)["Code"] == "InvalidClientTokenId"
        refused = error(as_session(aws, "sts", made).get_session_token)
        assert refused["Code"] == "AccessDenied"
        assert refused["Message"] == "Cannot call GetSessionToken with session credentials"
        as_session(aws, "ssm", made).describe_parameters()
    trust = document({"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": user.arn}})
    role = aws("iam").create_role(RoleName="r", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    sts = as_session(aws, "sts", user("sts").get_session_token())
    assumed = sts.assume_role(RoleArn=role, RoleSessionName="s1")
    refused = error(as_session(aws, "sts", assumed).get_session_token)
    assert refused["Message"] == "Cannot call GetSessionToken with session credentials"


def test_roots_sessions_are_short(aws: Aws, server: Server) -> None:
    sts = aws("sts")
    assert _left(server, sts.get_session_token()) == timedelta(hours=1)
    made = sts.get_session_token(DurationSeconds=900)
    assert _left(server, made) == timedelta(minutes=15)
    assert as_session(aws, "sts", made).get_caller_identity()["Arn"].endswith(":root")
    long = error(sts.get_session_token, DurationSeconds=129_601)
    assert long["Code"] == "ValidationError"
    refused = error(sts.get_session_token, SerialNumber="arn:aws:iam::123456789012:mfa/x", TokenCode="123456")
    assert "unable to validate MFA code" in refused["Message"]


def test_whose_a_key_is(aws: Aws, server: Server) -> None:
    user, account = User(aws, "ann"), server.application.root.account_id
    sts = aws("sts")
    assert sts.get_access_key_info(AccessKeyId=user.key["AccessKeyId"])["Account"] == account
    assert error(sts.get_access_key_info, AccessKeyId="AKIAAAAAAAAAAAAAAAAA")["Code"] == "ValidationError"
    assert error(user("sts").get_access_key_info, AccessKeyId=user.key["AccessKeyId"])["Code"] == "AccessDenied"
    refused = error(sts.decode_authorization_message, EncodedMessage="x")
    assert refused["Code"] == "InvalidAuthorizationMessageException"


@pytest.fixture
def dev_server(database_url: str, tmp_path: Path, clock: TestClock) -> Iterator[Server]:
    data = tmp_path / "dev"
    data.mkdir(mode=0o700)
    opened = Server(Settings(data=data, database=database_url, dev=True), clock)
    try:
        yield opened
    finally:
        opened.close()


def test_made_up_keys_have_sessions_only_where_they_count(dev_server: Server) -> None:
    def client(service: str, **keys: str) -> Any:
        made = boto3.client(service, region_name="eu-west-1", endpoint_url="http://pilothouse.test", **keys)
        made.meta.events.register(f"before-send.{service}", dev_server.answer)
        return made

    sts = client("sts", aws_access_key_id="111122223333", aws_secret_access_key="test")
    given = sts.get_session_token()["Credentials"]
    session = client(
        "sts",
        aws_access_key_id=given["AccessKeyId"],
        aws_secret_access_key=given["SecretAccessKey"],
        aws_session_token=given["SessionToken"],
    )
    assert session.get_caller_identity()["Arn"] == "arn:aws:iam::111122223333:root"
    object.__setattr__(dev_server.application.house.settings, "dev", False)
    assert error(session.get_caller_identity)["Code"] == "InvalidClientTokenId"
