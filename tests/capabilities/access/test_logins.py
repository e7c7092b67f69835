"""Passwords of users, through boto3."""

from typing import Any

import pytest

from tests.capabilities.access.people import PASSWORD, enter, person, refused
from tests.capabilities.access.policies import User, allow, deny, error
from tests.conftest import Aws, Server

REFUSED = "PasswordPolicyViolation"


def test_a_password_is_made_looked_at_replaced_and_removed(aws: Aws, server: Server) -> None:
    iam = aws("iam")
    iam.create_user(UserName="ada")
    missing = ("NoSuchEntity", "Login Profile for User ada cannot be found.")
    for call, more in ((iam.get_login_profile, {}), (iam.update_login_profile, {"Password": PASSWORD}),
                       (iam.delete_login_profile, {})):  # fmt: skip
        found = error(call, UserName="ada", **more)
        assert (found["Code"], found["Message"]) == missing
    made = iam.create_login_profile(UserName="ada", Password=PASSWORD, PasswordResetRequired=False)["LoginProfile"]
    assert made == iam.get_login_profile(UserName="ada")["LoginProfile"]
    assert (made["UserName"], made["PasswordResetRequired"]) == ("ada", False)
    assert error(iam.create_login_profile, UserName="ada", Password=PASSWORD)["Code"] == "EntityAlreadyExists"
    assert "PasswordLastUsed" not in iam.get_user(UserName="ada")["User"]
    enter(server, "ada")
    assert "PasswordLastUsed" in iam.get_user(UserName="ada")["User"]
    assert "PasswordLastUsed" in next(each for each in iam.list_users()["Users"] if each["UserName"] == "ada")
    iam.update_login_profile(UserName="ada", Password="another Good 1")
    assert refused(server, "ada")[0] == "SignInRefusedException"
    enter(server, "ada", "another Good 1")
    iam.update_login_profile(UserName="ada", PasswordResetRequired=True)
    assert iam.get_login_profile(UserName="ada")["LoginProfile"]["PasswordResetRequired"] is True
    iam.update_user(UserName="ada", NewUserName="countess")
    found = error(iam.delete_user, UserName="countess")
    assert (found["Code"], found["Message"]) == (
        "DeleteConflict",
        "Cannot delete entity, must delete login profile first.",
    )
    iam.delete_login_profile(UserName="countess")
    iam.delete_user(UserName="countess")
    iam.create_user(UserName="countess")
    assert error(iam.get_login_profile, UserName="countess")["Code"] == "NoSuchEntity"


@pytest.mark.parametrize("password", ["Sh0rt!x", "alllowercase1", "ALLUPPERCASE1", "12345678!", "Grace-Hopper1"])
def test_without_rules_a_password_has_eight_characters_of_three_kinds_and_is_not_the_name(
    aws: Aws, password: str
) -> None:
    iam = aws("iam")
    iam.create_user(UserName="grace-hopper1")
    found = error(iam.create_login_profile, UserName="grace-hopper1", Password=password)
    assert found["Code"] == REFUSED
    assert found["Message"].startswith("Password does not conform to the account password policy.")
    assert password not in found["Message"]
    iam.create_login_profile(UserName="grace-hopper1", Password="Eight ch4rs")


def test_the_rules_of_the_account_count(aws: Aws) -> None:
    iam = aws("iam")
    iam.create_user(UserName="ada")
    rules: dict[str, Any] = {
        "RequireSymbols": "Abcdefgh12", "RequireNumbers": "Abcdefgh!!",
        "RequireUppercaseCharacters": "abcdefgh1!", "RequireLowercaseCharacters": "ABCDEFGH1!",
    }  # fmt: skip
    for rule, password in rules.items():
        iam.update_account_password_policy(**{rule: True})
        assert error(iam.create_login_profile, UserName="ada", Password=password)["Code"] == REFUSED, rule
    iam.update_account_password_policy(MinimumPasswordLength=20)
    assert error(iam.create_login_profile, UserName="ada", Password="Abcdefgh1!Abcdefgh1")["Code"] == REFUSED
    iam.update_account_password_policy(MinimumPasswordLength=6)
    iam.create_login_profile(UserName="ada", Password="simple")


def test_a_user_changes_the_own_password_if_let(aws: Aws, server: Server) -> None:
    ada = User(aws, "ada")
    aws("iam").create_login_profile(UserName="ada", Password=PASSWORD)
    change = {"OldPassword": PASSWORD, "NewPassword": "another Good 1"}
    assert error(ada("iam").change_password, **change)["Code"] == "AccessDenied"
    aws("iam").update_account_password_policy(AllowUsersToChangePassword=True, PasswordReusePrevention=3)
    ada.may(deny("iam:ChangePassword"))
    assert error(ada("iam").change_password, **change)["Code"] == "AccessDenied"
    ada.may(allow("ssm:*"))
    wrong = error(ada("iam").change_password, OldPassword="guess", NewPassword="another Good 1")
    assert (wrong["Code"], wrong["Message"]) == ("AccessDenied", "The old password was incorrect.")
    assert error(ada("iam").change_password, OldPassword=PASSWORD, NewPassword="tiny")["Code"] == REFUSED
    ada("iam").change_password(**change)
    enter(server, "ada", "another Good 1")
    assert refused(server, "ada")[0] == "SignInRefusedException"
    for old, new in (("another Good 1", "third Good 1"), ("third Good 1", "fourth Good 1")):
        ada("iam").change_password(OldPassword=old, NewPassword=new)
    for used in ("another Good 1", "third Good 1", "fourth Good 1"):
        found = error(ada("iam").change_password, OldPassword="fourth Good 1", NewPassword=used)
        assert found["Code"] == REFUSED, used
    ada("iam").change_password(OldPassword="fourth Good 1", NewPassword=PASSWORD)
    aws("iam").delete_account_password_policy()
    ada.may(allow("iam:ChangePassword", ada.arn))
    ada("iam").change_password(OldPassword=PASSWORD, NewPassword="fifth Good 1")
    assert error(aws("iam").change_password, **change)["Code"] == "InvalidUserType"


def test_guesses_at_the_old_password_must_wait(aws: Aws, server: Server) -> None:
    ada = User(aws, "ada")
    ada.may(allow("iam:ChangePassword"))
    aws("iam").create_login_profile(UserName="ada", Password=PASSWORD)
    iam = ada("iam")
    for _ in range(5):
        assert error(iam.change_password, OldPassword="guess", NewPassword="x Good 12")["Code"] == "AccessDenied"
    assert "too many" in error(iam.change_password, OldPassword=PASSWORD, NewPassword="x Good 12")["Message"]
    server.advance(seconds=16)
    iam.change_password(OldPassword=PASSWORD, NewPassword="x Good 12")


def test_no_password_and_no_hash_is_found_in_the_database(aws: Aws, server: Server) -> None:
    person(aws, "ada")
    aws("iam").update_login_profile(UserName="ada", Password="another Good 1")
    enter(server, "ada", "another Good 1")
    refused(server, "another Good 1".replace(" ", "-"), "another Good 1")

    async def everything() -> str:
        tables = ("iam_login_profile", "iam_former_password", "sign_in_attempt", "audit_record")
        async with server.application.house.database.reading() as tx:
            rows = [dict(row) for table in tables for row in await tx.rows(f"select * from {table}")]
        assert len(rows) > 4
        return " ".join(str(value) for row in rows for value in row.values())

    found = server.run(everything())
    for secret in ("argon2", PASSWORD, "another Good 1", "another-Good-1"):
        assert secret not in found
