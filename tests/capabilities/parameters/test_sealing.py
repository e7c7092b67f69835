"""SecureStrings at rest: no plaintext in the database, and no ciphertext opens outside its own row."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import structlog
from botocore.exceptions import ClientError

from pilothouse.capabilities.parameters.model import Value
from pilothouse.capabilities.parameters.names import Name
from pilothouse.capabilities.parameters.puts import Put, next_version

Aws = Callable[..., Any]
CANARY = "canary-8d1f-" * 3


@pytest.fixture
def ssm(aws: Aws) -> Any:
    return aws("ssm")


def change(server: Any, sql: str, **values: Any) -> None:
    """Tamper with the tables, as someone with the database in hand could."""

    async def run() -> None:
        async with server.application.house.database.transaction() as tx:
            assert await tx.execute(sql, **values) > 0

    server.run(run())


def rows(server: Any, sql: str) -> list[dict[str, Any]]:
    async def run() -> list[dict[str, Any]]:
        async with server.application.house.database.reading() as tx:
            return [dict(row) for row in await tx.rows(sql)]

    found: list[dict[str, Any]] = server.run(run())
    return found


def assert_broken(call: Callable[..., Any], **request: Any) -> None:
    """A fault of ours, and no word of the value."""
    with pytest.raises(ClientError) as caught:
        call(**request)
    assert caught.value.response["Error"]["Code"] == "InternalServerError"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 500
    assert "canary" not in str(caught.value.response)


def test_no_table_and_no_file_holds_the_plaintext(ssm: Any, server: Any, tmp_path: Path) -> None:
    ssm.put_parameter(Name="/s", Value=CANARY, Type="SecureString", Description="public words")
    ssm.put_parameter(Name="/s", Value=CANARY + "2", Overwrite=True)
    ssm.put_parameter(Name="/big", Value=CANARY * 200, Type="SecureString", Tier="Advanced")
    assert ssm.get_parameter(Name="/s", WithDecryption=True)["Parameter"]["Value"] == CANARY + "2"
    for table in ("parameter", "parameter_version", "kms_key", "kms_material", "kms_alias"):
        assert CANARY.encode() not in repr(rows(server, f"select * from {table}")).encode()
    assert "public words" in repr(rows(server, "select * from parameter"))
    if server.application.house.database.engine == "sqlite":
        contents = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
        assert any(b"public words" in content for content in contents)
        assert not any(b"canary-8d1f-" in content for content in contents)


def test_a_ciphertext_in_another_parameter_s_row_does_not_open(ssm: Any, server: Any) -> None:
    ssm.put_parameter(Name="/mine", Value=CANARY, Type="SecureString")
    ssm.put_parameter(Name="/theirs", Value="x", Type="SecureString")
    change(
        server,
        """update parameter set sealed = (select sealed from parameter where path = 'mine'),
                  modified_at = (select modified_at from parameter where path = 'mine')
           where path = 'theirs'""",
    )
    assert_broken(ssm.get_parameter, Name="/theirs", WithDecryption=True)
    assert_broken(ssm.get_parameters, Names=["/mine", "/theirs"], WithDecryption=True)
    assert_broken(ssm.get_parameters_by_path, Path="/", WithDecryption=True)
    assert ssm.get_parameter(Name="/mine", WithDecryption=True)["Parameter"]["Value"] == CANARY


def test_an_older_ciphertext_put_back_does_not_open(ssm: Any, server: Any) -> None:
    ssm.put_parameter(Name="/s", Value=CANARY, Type="SecureString")
    ssm.put_parameter(Name="/s", Value="new", Overwrite=True)
    change(server, "update parameter set sealed = (select sealed from parameter_version where path = 's')")
    assert_broken(ssm.get_parameter, Name="/s", WithDecryption=True)
    assert_broken(ssm.get_parameter_history, Name="/s", WithDecryption=True)
    assert ssm.get_parameter(Name="/s:1", WithDecryption=True)["Parameter"]["Value"] == CANARY


def test_a_version_row_made_the_newest_by_its_number_does_not_open(ssm: Any, server: Any) -> None:
    ssm.put_parameter(Name="/s", Value=CANARY, Type="SecureString")
    change(server, "update parameter set version = 2")
    assert_broken(ssm.get_parameter, Name="/s", WithDecryption=True)


def test_a_ciphertext_of_a_deleted_parameter_of_the_same_name_does_not_open(ssm: Any, server: Any) -> None:
    ssm.put_parameter(Name="/s", Value=CANARY, Type="SecureString")
    (kept,) = rows(server, "select sealed from parameter")
    ssm.delete_parameter(Name="/s")
    server.advance(seconds=1)
    ssm.put_parameter(Name="/s", Value="x", Type="SecureString")
    change(server, "update parameter set sealed = :sealed", sealed=kept["sealed"])
    assert_broken(ssm.get_parameter, Name="/s", WithDecryption=True)


def test_a_cut_or_foreign_ciphertext_does_not_open(ssm: Any, server: Any) -> None:
    ssm.put_parameter(Name="/s", Value=CANARY, Type="SecureString")
    for sealed in (b"", b"\x01", b"x" * 80):
        change(server, "update parameter set sealed = :sealed", sealed=sealed)
        assert_broken(ssm.get_parameter, Name="/s", WithDecryption=True)


def test_a_disabled_key_refuses_and_gives_the_ciphertext_still(ssm: Any, server: Any) -> None:
    ssm.put_parameter(Name="/s", Value=CANARY, Type="SecureString")
    change(server, "update kms_key set state = 'Disabled'")
    for call, request in (
        (ssm.get_parameter, {"Name": "/s", "WithDecryption": True}),
        (ssm.put_parameter, {"Name": "/s", "Value": "v", "Overwrite": True}),
    ):
        with pytest.raises(ClientError, match=r"InvalidKeyId.*is disabled"):
            call(**request)
    assert ssm.get_parameter(Name="/s")["Parameter"]["Value"]


def test_no_log_line_and_no_repr_holds_a_value(ssm: Any, server: Any) -> None:
    with structlog.testing.capture_logs() as lines:
        ssm.put_parameter(Name="/s", Value=CANARY, Type="SecureString")
        ssm.get_parameters(Names=["/s"], WithDecryption=True)
        with pytest.raises(ClientError, match="ParameterPatternMismatch"):
            ssm.put_parameter(Name="/s", Value=CANARY, Overwrite=True, AllowedPattern="[0-9]")
        change(server, "update parameter set version = 2")
        assert_broken(ssm.get_parameter, Name="/s", WithDecryption=True)
    assert "parameter.ciphertext_broken" in [line["event"] for line in lines]
    assert "canary" not in repr(lines)
    put = Put(
        name=Name("/s", "s"), value=CANARY, overwrite=False, kind="String", key_ref=None, description=None,
        allowed_pattern=None, tier=None, policies=None, data_type=None,
    )  # fmt: skip
    version = next_version(put, None, at=1, by="arn:me")
    value = Value("s", "/s", 1, "String", CANARY, None, None, "text", 1)
    assert version.value == CANARY
    assert "canary" not in repr((put, version, value))
