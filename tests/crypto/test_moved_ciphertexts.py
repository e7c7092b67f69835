"""Who can write to the database and has no master key gets no plaintext by moving ciphertexts or putting older back."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from botocore.exceptions import ClientError

from pilothouse.app import sealed_in_the_house
from pilothouse.capabilities import access
from tests.conftest import Aws, Server

REFUSALS = {"InternalServerError", "InternalServiceError", "InvalidKeyId"}
Read = Callable[[Aws], Any]


def parameter(name: str, region: str = "eu-west-1") -> Read:
    return lambda aws: aws("ssm", region=region).get_parameter(Name=name, WithDecryption=True)


def secret(name: str, stage: str = "AWSCURRENT") -> Read:
    return lambda aws: aws("secretsmanager").get_secret_value(SecretId=name, VersionStage=stage)


def brought_back(name: str) -> Read:
    def read(aws: Aws) -> Any:
        aws("pilothouse").restore_trashed_parameter(Name=name)
        return parameter(name)(aws)

    return read


@dataclass(frozen=True, slots=True)
class Case:
    """What is done to a table, and a read that must be refused afterwards."""

    name: str
    table: str
    statement: str
    read: Read


def _older(path: str, more: str = "") -> str:
    return f"""update parameter set sealed = older.sealed {more} from parameter_version older
               where parameter.path = '{path}' and older.path = '{path}' and older.version = 1"""


def _of_another(path: str, other: str) -> str:
    return f"""update parameter set sealed = another.sealed from parameter another
               where parameter.path = '{path}' and another.path = '{other}'
                 and another.account_id = parameter.account_id"""


CASES = (
    Case("another parameter's", "parameter", _of_another("a", "b"), parameter("/a")),
    Case("another advanced one's", "parameter", _of_another("c", "d"), parameter("/c")),
    Case("of the other tier", "parameter", _of_another("c", "a"), parameter("/c")),
    Case("of the other tier, back", "parameter", _of_another("a", "c"), parameter("/a")),
    Case("an older one", "parameter", _older("a"), parameter("/a")),
    Case("an older one with its time", "parameter", _older("a", ", modified_at = older.modified_at"), parameter("/a")),
    Case("an older one with its number", "parameter", _older("a", ", version = older.version"), parameter("/a")),
    Case("an older advanced one", "parameter", _older("c"), parameter("/c")),
    Case("an older advanced one with its time", "parameter", _older("c", ", modified_at = older.modified_at"),
         parameter("/c")),
    Case("a newer one", "parameter_version",
         """update parameter_version set sealed = newest.sealed from parameter newest
            where newest.path = 'c' and parameter_version.path = 'c' and parameter_version.version = 1""",
         parameter("/c:1")),
    Case("a whole row under another name", "parameter",
         "update parameter set path = 'e', name = '/e' where path = 'a'", parameter("/e")),
    Case("a whole advanced row under another name", "parameter",
         "update parameter set path = 'e', name = '/e' where path = 'c'", parameter("/e")),
    Case("a whole row in another region", "parameter",
         "update parameter set region = 'us-east-1' where path = 'a'", parameter("/a", "us-east-1")),
    Case("of another account", "parameter",
         """update parameter set sealed = theirs.sealed from parameter theirs
            where parameter.path = 'a' and theirs.path = 'a' and theirs.account_id <> parameter.account_id""",
         parameter("/a")),
    Case("of another in the trash", "parameter_trash_version",
         """update parameter_trash_version set sealed = another.sealed from parameter_trash_version another
            where another.path <> parameter_trash_version.path""", brought_back("/gone")),
    Case("an older version of a secret", "secret_version",
         """update secret_version set sealed = another.sealed from secret_version another
            where secret_version.name = another.name and secret_version.version_id <> another.version_id""",
         secret("s")),
    Case("the previous one as well", "secret_version",
         """update secret_version set sealed = another.sealed from secret_version another
            where secret_version.name = another.name and secret_version.version_id <> another.version_id""",
         secret("s", "AWSPREVIOUS")),
    Case("another secret's", "secret_version",
         """update secret_version set sealed = another.sealed from secret_version another
            where secret_version.name = 's' and another.name = 't' and another.number = secret_version.number""",
         secret("s")),
    Case("older material of the key", "kms_material",
         """update kms_material set wrapped = another.wrapped from kms_material another
            where kms_material.key_id = another.key_id and kms_material.version <> another.version""",
         parameter("/a")),
    Case("material of another key", "kms_material",
         """update kms_material set wrapped = another.wrapped from kms_material another
            where kms_material.key_id <> another.key_id and kms_material.version = another.version""",
         secret("t")),
)  # fmt: skip


def planted(aws: Aws, server: Server) -> None:
    ssm, secrets, kms = aws("ssm"), aws("secretsmanager"), aws("kms")
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    tiers = {"/a": "Standard", "/b": "Standard", "/c": "Advanced", "/d": "Advanced"}
    for version in (1, 2):
        for name, tier in tiers.items():
            ssm.put_parameter(
                Name=name, Value=f"plaintext {version} of {name}", Type="SecureString", Tier=tier, KeyId=key,
                Overwrite=version > 1,
            )  # fmt: skip
        if version == 1:
            kms.rotate_key_on_demand(KeyId=key)
    for name in ("/gone", "/gone-too"):
        ssm.put_parameter(Name=name, Value=f"plaintext of {name}", Type="SecureString", KeyId=key)
        ssm.delete_parameter(Name=name)
    for name in ("s", "t"):
        secrets.create_secret(Name=name, SecretString=f"plaintext 1 of {name}")
        secrets.put_secret_value(SecretId=name, SecretString=f"plaintext 2 of {name}")
    other = server.run(access.create_account(server.application.house, "other"))
    theirs = aws("ssm", access_key=other.access_key_id, secret=other.secret)
    for version in (1, 2):
        theirs.put_parameter(
            Name="/a", Value=f"plaintext {version} of theirs", Type="SecureString", Overwrite=version > 1
        )


async def _rows(house: Any, table: str) -> list[dict[str, Any]]:
    async with house.database.reading() as tx:
        return [dict(row) for row in await tx.rows(f"select * from {table}")]


async def _changed(house: Any, statement: str) -> int:
    async with house.database.transaction() as tx:
        count: int = await tx.execute(statement)
        return count


async def _put_back(house: Any, table: str, rows: list[dict[str, Any]]) -> None:
    async with house.database.transaction() as tx:
        await tx.execute(f"delete from {table}")
        for row in rows:
            names = ", ".join(row)
            await tx.execute(f"insert into {table} ({names}) values ({', '.join(f':{name}' for name in row)})", **row)


def test_no_moved_ciphertext_opens(aws: Aws, server: Server) -> None:
    planted(aws, server)
    house = server.application.house
    for case in CASES:
        rows = server.run(_rows(house, case.table))
        assert server.run(_changed(house, case.statement)) > 0, case.name
        with pytest.raises(ClientError) as caught:
            case.read(aws)
        said = caught.value.response
        assert said["Error"]["Code"] in REFUSALS, (case.name, said)
        assert "plaintext" not in str(said), case.name
        assert "Traceback" not in str(said), case.name
        server.run(_put_back(house, case.table, rows))
    for name in ("/a", "/b", "/c", "/d", "/c:1"):
        assert "plaintext" in parameter(name)(aws)["Parameter"]["Value"]
    for name in ("s", "t"):
        assert secret(name)(aws)["SecretString"] == f"plaintext 2 of {name}"


def test_a_webhooks_secret_signs_for_its_own_webhook_alone(aws: Aws, server: Server) -> None:
    own = aws("pilothouse")
    mine, _ = (own.create_webhook(Url="https://receiver.example/hook")["WebhookId"] for _ in range(2))
    swap = (
        "update webhook set secret = another.secret from webhook another where another.webhook_id <> webhook.webhook_id"
    )
    assert server.run(_changed(server.application.house, swap)) == 2
    assert "does not open" in str(own.test_webhook(WebhookId=mine))


def test_what_the_vault_seals_is_bound_to_every_part_of_its_row(server: Server) -> None:
    """Each announced column: another value of any part of its row's key is another place."""
    for each in sealed_in_the_house():
        row = dict.fromkeys((*each.keys, *each.columns), "1")
        for key in each.keys:
            assert each.context(row | {key: "2"}) != each.context(row), (each.table, key)
    contexts = [each.context(dict.fromkeys((*each.keys, *each.columns), "1")) for each in sealed_in_the_house()]
    assert len(set(contexts)) >= len({each.table for each in sealed_in_the_house()})
