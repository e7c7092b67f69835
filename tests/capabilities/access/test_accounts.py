"""Accounts, their root keys, and who STS says one is."""

from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from pilothouse.capabilities import access
from pilothouse.runtime.clock import TestClock
from pilothouse.runtime.settings import Settings
from tests.conftest import Aws, Server


def _code(call: Any, **members: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**members)
    code: str = caught.value.response["Error"]["Code"]
    return code


def test_root_is_told_who_it_is(aws: Aws, server: Server) -> None:
    told = aws("sts").get_caller_identity()
    account_id = server.application.root.account_id
    assert (told["Account"], told["UserId"]) == (account_id, account_id)
    assert told["Arn"] == f"arn:aws:iam::{account_id}:root"


def test_a_further_account_sees_nothing_of_the_first(aws: Aws, server: Server) -> None:
    made = server.run(access.create_account(server.application.house, "other"))
    aws("ssm").put_parameter(Name="/a", Value="v", Type="String")
    other = aws("ssm", access_key=made.access_key_id, secret=made.secret)
    assert _code(other.get_parameter, Name="/a") == "ParameterNotFound"
    told = aws("sts", access_key=made.access_key_id, secret=made.secret).get_caller_identity()
    assert told["Account"] == made.account_id != server.application.root.account_id


def test_one_account_for_one_name(server: Server) -> None:
    server.run(access.create_account(server.application.house, "team"))
    with pytest.raises(access.AccountExists, match="team"):
        server.run(access.create_account(server.application.house, "team"))


def test_an_unknown_key_and_a_wrong_secret_are_told_apart(aws: Aws, server: Server) -> None:
    root = server.application.root
    unknown = aws("ssm", access_key="AKIAAAAAAAAAAAAAAAAA", secret="x" * 40)
    wrong = aws("ssm", access_key=root.access_key_id, secret="x" * 40)
    assert _code(unknown.describe_parameters) == "UnrecognizedClientException"
    assert _code(wrong.describe_parameters) == "InvalidSignatureException"
    assert (
        _code(aws("sts", access_key=root.access_key_id, secret="x" * 40).get_caller_identity) == "SignatureDoesNotMatch"
    )


def test_a_disabled_key_is_refused_at_once(aws: Aws, server: Server) -> None:
    made = server.run(access.create_account(server.application.house, "other"))
    ssm = aws("ssm", access_key=made.access_key_id, secret=made.secret)
    ssm.describe_parameters()

    async def disable() -> None:
        async with server.application.house.database.transaction() as tx:
            await tx.execute(
                "update access_key set status = 'Inactive' where access_key_id = :id", id=made.access_key_id
            )

    server.run(disable())
    assert _code(ssm.describe_parameters) == "UnrecognizedClientException"


def test_dev_keys_work_in_dev_mode_only(aws: Aws, server: Server, tmp_path: Path) -> None:
    assert _code(aws("sts", access_key="111122223333", secret="test").get_caller_identity) == "InvalidClientTokenId"
    data = tmp_path / "dev"
    data.mkdir(mode=0o700)
    dev = Server(Settings(data=data, dev=True), TestClock())
    try:
        sts = aws("sts", access_key="111122223333", secret="test")
        sts.meta.events.unregister("before-send.sts", server.answer)
        sts.meta.events.register("before-send.sts", dev.answer)
        assert sts.get_caller_identity()["Arn"] == "arn:aws:iam::111122223333:root"
        for key, secret, token, account_id in (
            ("test", "test", None, "000000000000"),
            ("testing", "testing", "testing", "123456789012"),
        ):
            habit = aws("sts", access_key=key, secret=secret, token=token)
            assert _code(habit.get_caller_identity) == "InvalidClientTokenId"
            habit.meta.events.unregister("before-send.sts", server.answer)
            habit.meta.events.register("before-send.sts", dev.answer)
            assert habit.get_caller_identity()["Account"] == account_id
        wrong = aws("sts", access_key="test", secret="another")
        wrong.meta.events.unregister("before-send.sts", server.answer)
        wrong.meta.events.register("before-send.sts", dev.answer)
        assert _code(wrong.get_caller_identity) == "SignatureDoesNotMatch"
    finally:
        dev.close()


def test_the_secret_of_a_key_is_not_in_the_database(server: Server) -> None:
    made = server.run(access.create_account(server.application.house, "other"))

    async def everything() -> str:
        async with server.application.house.database.reading() as tx:
            return repr([dict(row) for row in await tx.rows("select * from access_key")])

    stored = server.run(everything())
    assert made.access_key_id in stored
    assert made.secret not in stored
