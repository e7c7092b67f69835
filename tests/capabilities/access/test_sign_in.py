"""Sign-in with a password, as a browser asks for it, and what the credentials are good for."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from pilothouse.capabilities import access
from pilothouse.wire.http import Request
from tests.capabilities.access.people import PASSWORD, Device, enter, person, post, refused, signed
from tests.capabilities.access.policies import allow, document, error
from tests.conftest import Aws, Server

REFUSAL = ("SignInRefusedException", "The account, the user name, the password or the code is not right.")


def test_a_password_gives_credentials_that_sign_as_the_user(aws: Aws, server: Server) -> None:
    arn = person(aws, "ada")
    account = server.application.root.account_id
    aws("iam").put_user_policy(
        UserName="ada", PolicyName="p", PolicyDocument=document(allow(["ssm:DescribeParameters", "iam:ListUsers"]))
    )
    answer = enter(server, "ada", DurationSeconds=900)
    assert (answer["Arn"], answer["AccountId"]) == (arn, account)
    assert answer["Credentials"]["AccessKeyId"].startswith("ASIA")
    assert signed(aws, "sts", answer).get_caller_identity()["Arn"] == arn
    signed(aws, "ssm", answer).describe_parameters()
    signed(aws, "iam", answer).list_users()
    assert error(signed(aws, "ssm", answer).get_parameter, Name="/x")["Code"] == "AccessDeniedException"
    assert error(signed(aws, "sts", answer).get_session_token)["Code"] == "AccessDenied"
    server.advance(seconds=901)
    assert error(signed(aws, "sts", answer).get_caller_identity)["Code"] == "ExpiredToken"


def test_the_account_is_named_by_its_id_its_alias_or_its_name(aws: Aws, server: Server) -> None:
    other = server.run(access.create_account(server.application.house, "branch"))
    theirs: Any = lambda service: aws(service, access_key=other.access_key_id, secret=other.secret)  # noqa: E731
    person(theirs, "ada", password="of the Branch 1")
    theirs("iam").create_account_alias(AccountAlias="branch-office")
    for account in (other.account_id, "branch", "branch-office"):
        assert enter(server, "ada", "of the Branch 1", Account=account)["AccountId"] == other.account_id
    assert refused(server, "ada", "of the Branch 1") == REFUSAL
    person(aws, "ada")
    assert enter(server, "ADA")["AccountId"] == server.application.root.account_id
    assert refused(server, "ada", Account="branch") == REFUSAL


def test_whatever_is_wrong_the_refusal_is_the_same(aws: Aws, server: Server) -> None:
    person(aws, "ada")
    aws("iam").create_user(UserName="keys-only")
    assert refused(server, "ada", "wrong") == REFUSAL
    assert refused(server, "nobody") == REFUSAL
    assert refused(server, "keys-only", "of nobody") == REFUSAL
    assert refused(server, "ada", Account="nowhere") == REFUSAL
    assert refused(server, "ada", Account="999999999999") == REFUSAL


def test_sign_ins_end_with_the_password_and_when_the_user_says_so(aws: Aws, server: Server) -> None:
    person(aws, "ada")
    iam = aws("iam")
    first, second = enter(server, "ada"), enter(server, "ada")
    signed(aws, "pilothouse", first).sign_out_everywhere()
    for each in (first, second):
        assert error(signed(aws, "sts", each).get_caller_identity)["Code"] == "InvalidClientTokenId"
    again = enter(server, "ada")
    iam.update_login_profile(UserName="ada", PasswordResetRequired=False)
    signed(aws, "sts", again).get_caller_identity()
    iam.update_login_profile(UserName="ada", Password="another Good 1")
    assert error(signed(aws, "sts", again).get_caller_identity)["Code"] == "InvalidClientTokenId"
    last = enter(server, "ada", "another Good 1")
    iam.delete_login_profile(UserName="ada")
    assert error(signed(aws, "sts", last).get_caller_identity)["Code"] == "InvalidClientTokenId"
    assert error(aws("pilothouse").sign_out_everywhere)["Code"] == "NoSuchEntityException"


def test_a_second_factor_is_asked_for_and_each_code_counts_once(aws: Aws, server: Server) -> None:
    person(aws, "ada")
    device = Device(aws, server, "phone")
    condition = {"Bool": {"aws:MultiFactorAuthPresent": "true"}}
    aws("iam").put_user_policy(
        UserName="ada", PolicyName="p", PolicyDocument=document(allow("ssm:*", Condition=condition))
    )
    assert error(signed(aws, "ssm", enter(server, "ada")).describe_parameters)["Code"] == "AccessDeniedException"
    device.enable(aws, "ada")
    assert refused(server, "ada")[0] == "MfaRequiredException"
    assert refused(server, "ada", "wrong") == REFUSAL
    assert refused(server, "ada", "wrong", TokenCode=device.code(1)) == REFUSAL
    assert refused(server, "ada", TokenCode="000000") == REFUSAL
    server.advance(seconds=31)
    code = device.code()
    answer = enter(server, "ada", TokenCode=code)
    signed(aws, "ssm", answer).describe_parameters()
    assert refused(server, "ada", TokenCode=code) == REFUSAL
    server.advance(seconds=31)
    with ThreadPoolExecutor(6) as pool:
        code = device.code()
        tried = [
            pool.submit(post, server, "sign-in", f"198.51.100.{n}", UserName="ada", Password=PASSWORD, TokenCode=code)
            for n in range(6)
        ]
        assert sorted(each.result()[0] for each in tried) == [200, 400, 400, 400, 400, 400]


def test_a_password_that_must_be_changed_is_changed_at_the_sign_in(aws: Aws, server: Server) -> None:
    person(aws, "ada", PasswordResetRequired=True)
    assert refused(server, "ada")[0] == "PasswordChangeRequiredException"
    assert refused(server, "ada", "wrong", NewPassword="another Good 1") == REFUSAL
    assert refused(server, "ada", NewPassword="tiny")[0] == "PasswordPolicyViolationException"
    assert refused(server, "ada", NewPassword=PASSWORD)[0] == "PasswordPolicyViolationException"
    enter(server, "ada", NewPassword="another Good 1")
    assert refused(server, "ada") == REFUSAL
    assert "PasswordExpires" not in enter(server, "ada", "another Good 1", NewPassword="is not Heeded 1")
    aws("iam").update_account_password_policy(MaxPasswordAge=30)
    assert "PasswordExpires" in enter(server, "ada", "another Good 1")


@pytest.mark.usefixtures("same_clock")
def test_a_password_ages(aws: Aws, server: Server) -> None:
    person(aws, "ada")
    aws("iam").update_account_password_policy(MaxPasswordAge=30)
    server.advance(days=31)
    assert refused(server, "ada")[0] == "PasswordChangeRequiredException"
    aws("iam").update_account_password_policy(MaxPasswordAge=30, HardExpiry=True)
    found = refused(server, "ada", NewPassword="another Good 1")
    assert (found[0], "administrator" in found[1]) == ("PasswordChangeRequiredException", True)
    aws("iam").update_login_profile(UserName="ada", Password="another Good 1")
    enter(server, "ada", "another Good 1")


@pytest.mark.parametrize("name", ["ada", "nobody"])
def test_after_five_failures_one_must_wait_longer_and_longer(aws: Aws, server: Server, name: str) -> None:
    person(aws, "ada")
    for _ in range(5):
        assert refused(server, name, "guess") == REFUSAL
    waits = []
    for _ in range(4):
        status, answer = post(server, "sign-in", UserName=name, Password=PASSWORD)
        assert (status, answer["__type"].rpartition("#")[2]) == (400, "TooManyAttemptsException")
        waits.append(answer["RetryAfterSeconds"])
        server.advance(seconds=answer["RetryAfterSeconds"] + 1)
        assert refused(server, name, "guess") == REFUSAL
    assert all(most - 5 <= wait <= most for wait, most in zip(waits, [15, 30, 60, 120], strict=True)), waits
    if name == "ada":
        enter(server, "ada", address="192.0.2.77")
        server.advance(seconds=241)
        enter(server, "ada")
        assert refused(server, "ada", "guess") == REFUSAL


def test_what_is_only_missing_does_not_count_and_does_not_hide_failures(aws: Aws, server: Server) -> None:
    person(aws, "ada")
    device = Device(aws, server, "phone")
    device.enable(aws, "ada")
    for _ in range(8):
        assert refused(server, "ada")[0] == "MfaRequiredException"
    for _ in range(5):
        assert refused(server, "ada", TokenCode="000000") == REFUSAL
        server.advance(seconds=2)
    assert refused(server, "ada")[0] == "TooManyAttemptsException"


def test_guesses_at_the_same_time_do_not_slip_through(aws: Aws, server: Server) -> None:
    person(aws, "ada")
    with ThreadPoolExecutor(12) as pool:
        tried = [pool.submit(refused, server, "ada", f"guess {number}") for number in range(24)]
        codes = [each.result()[0] for each in tried]
    assert codes.count("SignInRefusedException") == 5
    assert set(codes) == {"SignInRefusedException", "TooManyAttemptsException"}


def test_guesses_from_everywhere_slow_a_name_but_not_where_it_signed_in_before(aws: Aws, server: Server) -> None:
    person(aws, "ada")
    enter(server, "ada", address="192.0.2.1")
    for number in range(30):
        assert refused(server, "ada", "guess", address=f"198.51.100.{number}") == REFUSAL
    assert refused(server, "ada", address="192.0.2.99")[0] == "TooManyAttemptsException"
    enter(server, "ada", address="192.0.2.1")


def test_one_address_cannot_try_many_names(aws: Aws, server: Server) -> None:
    person(aws, "ada")
    for number in range(60):
        assert refused(server, f"name{number}", "Summer 2026!") == REFUSAL
    assert refused(server, "name60", "Summer 2026!")[0] == "TooManyAttemptsException"
    assert refused(server, "ada")[0] == "TooManyAttemptsException"
    enter(server, "ada", address="192.0.2.1")


def test_a_site_of_ipv6_is_one_address(aws: Aws, server: Server) -> None:
    person(aws, "ada")
    for number in range(5):
        assert refused(server, "ada", "guess", address=f"2001:db8::{number}") == REFUSAL
    assert refused(server, "ada", address="2001:db8::ffff:1")[0] == "TooManyAttemptsException"
    enter(server, "ada", address="2001:db8:0:1::1")


def test_the_trail_says_who_signed_in_and_who_failed(aws: Aws, server: Server) -> None:
    arn = person(aws, "ada")
    enter(server, "ada")
    refused(server, "ada", "a Guess 77")
    refused(server, "my-Secret-Password", "x")
    name = {"AttributeKey": "EventName", "AttributeValue": "SignIn"}
    trail = aws("cloudtrail", region="us-east-1")
    found = [json.loads(each["CloudTrailEvent"]) for each in trail.lookup_events(LookupAttributes=[name])["Events"]]
    assert sorted(each.get("errorCode", "") for each in found) == ["", "SignInRefusedException"]
    assert {each["userIdentity"]["arn"] for each in found} == {arn}
    assert {each["sourceIPAddress"] for each in found} == {"203.0.113.5"}
    for secret in (PASSWORD, "a Guess 77", "my-Secret-Password"):
        assert secret not in json.dumps(found)


def test_the_path_takes_json_by_post_alone(server: Server) -> None:
    def ask(**more: Any) -> int:
        whole: dict[str, Any] = {
            "method": "POST", "path": "/ph/v1/sign-in", "query": "", "headers": {"content-type": "application/json"},
            "body": b"{}", "peer": "203.0.113.5", "secure": True,
        } | more  # fmt: skip
        return server.run(server.application.front.respond(Request(**whole))).status

    assert ask() == 400
    assert ask(method="GET") == 405
    for media_type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        assert ask(headers={"content-type": media_type}) == 415
    assert ask(headers={}) == 415
    assert ask(body=b'{"UserName": 5, "Password": []}') == 400
