"""Everything that an installation leaves on disk, read by somebody without the master key: no secret in any form.

The server writes its log at the level debug and is killed, so SQLite's log and shared memory lie there as well.
"""

import asyncio
import base64
import json
import os
import urllib.parse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from pilothouse.app import opened_house, sealed_in_the_house
from pilothouse.crypto.store import SealedStore
from pilothouse.crypto.vault import front
from pilothouse.runtime.settings import load
from tests.acceptance.installation import Installation, eventually, installation
from tests.acceptance.test_events import webhooks
from tests.acceptance.test_kill_transfer import Clients
from tests.capabilities.keys.test_importing import external, wrapped

CONTROL = "in-the-clear-41d8"


@pytest.fixture
def house(database_url: str, tmp_path: Path) -> Iterator[Installation]:
    """A server that logs all it has to say."""
    options = ("--database", database_url) if database_url.startswith("postgresql") else ()
    with installation(tmp_path, "--log-level", "debug", *options) as made:
        yield made


def forms(secret: bytes) -> set[bytes]:
    """As itself, in hex, in base64 at each of three offsets, in the two-byte encodings, quoted for JSON and URLs."""
    found = {secret, secret.hex().encode(), secret.hex().upper().encode()}
    for offset in range(3):
        whole = base64.b64encode(bytes(offset) + secret)
        part = whole[4 if offset else 0 : len(whole) - 4]
        found |= {part, part.replace(b"+", b"-").replace(b"/", b"_")}
    try:
        text = secret.decode()
    except UnicodeDecodeError:
        return found
    found |= {text.encode("utf-16-le"), text.encode("utf-16-be"), json.dumps(text)[1:-1].encode()}
    return found | {urllib.parse.quote(text, safe="").encode()}


def planted(house: Installation) -> dict[str, bytes]:
    """A secret of every kind, put through the front door, and what each is called here."""
    clients = Clients(house)
    ssm, secrets, kms = house.boto("ssm"), house.boto("secretsmanager"), house.boto("kms")
    found: dict[str, bytes] = {}

    def secret(name: str) -> str:
        found[name] = f"Ω canary {name} {os.urandom(6).hex()}".encode()
        return found[name].decode()

    key = kms.create_key()["KeyMetadata"]["KeyId"]
    for tier in ("Standard", "Advanced"):
        ssm.put_parameter(Name=f"/{tier}", Value=secret(f"{tier} older"), Type="SecureString", Tier=tier)
        ssm.put_parameter(
            Name=f"/{tier}", Value=secret(tier), Type="SecureString", Tier=tier, Overwrite=True, KeyId=key
        )
    ssm.put_parameter(Name="/deleted", Value=secret("deleted"), Type="SecureString")
    ssm.delete_parameter(Name="/deleted")
    entries = [{"Name": "/imported", "Value": secret("imported"), "Type": "SecureString"}]
    clients.own.import_parameters(Entries=entries)
    clients.own.move_parameters(Source="/imported", Destination="/moved")
    secrets.create_secret(Name="s", SecretString=secret("secret string"))
    secrets.put_secret_value(SecretId="s", SecretBinary=secret("secret binary").encode())
    secrets.replicate_secret_to_regions(SecretId="s", AddReplicaRegions=[{"Region": "us-east-2"}])
    secrets.create_secret(Name="rotated", SecretString=secret("before a rotation"))
    secrets.rotate_secret(SecretId="rotated", RotationLambdaARN="pilothouse:random")
    made = eventually(lambda: _other_than(secrets, found["before a rotation"].decode()))
    found["made by a rotation"] = made.encode()
    unreached = {"host": "127.0.0.1", "port": 1, "username": "u", "password": secret("of a database")}
    secrets.create_secret(Name="unreached", SecretString=json.dumps(unreached))
    secrets.rotate_secret(SecretId="unreached", RotationLambdaARN="pilothouse:postgresql")
    eventually(lambda: clients.own.list_secret_rotations(SecretId="unreached")["Rotations"][0]["FailedAttempts"])
    found["random password"] = secrets.get_random_password()["RandomPassword"].encode()
    secrets.batch_get_secret_value(SecretIdList=["s", "rotated"])
    kms.encrypt(KeyId=key, Plaintext=secret("encrypted"))
    told = kms.generate_data_key(KeyId=key, KeySpec="AES_256")
    found["data key"] = told["Plaintext"]
    found["imported material"] = os.urandom(32)
    kms.import_key_material(
        **wrapped(kms, external(kms), found["imported material"]), ExpirationModel="KEY_MATERIAL_DOES_NOT_EXPIRE"
    )
    for spec, usage in (
        ("RSA_2048", "SIGN_VERIFY"),
        ("ECC_NIST_P256", "SIGN_VERIFY"),
        ("HMAC_256", "GENERATE_VERIFY_MAC"),
    ):
        kms.create_key(KeySpec=spec, KeyUsage=usage)
    kms.rotate_key_on_demand(KeyId=key)
    pair = kms.generate_data_key_pair(KeyId=key, KeyPairSpec="ECC_NIST_P256")
    found["private key of a pair"] = pair["PrivateKeyPlaintext"]
    activation = ssm.create_activation(IamRole="role")
    found["activation code"] = activation["ActivationCode"].encode()
    made = json.loads(webhooks(house, "create", "https://receiver.example/hook"))
    text = made["Secret"].removeprefix("whsec_")
    found |= {"webhook's secret": base64.b64decode(text), "webhook's secret as text": text.encode()}
    found["root's secret"] = house.environment()["AWS_SECRET_ACCESS_KEY"].encode()
    ssm.put_parameter(Name="/open", Value=CONTROL, Type="String", Description=f"{CONTROL}-too")
    for name in ("/Standard", "/Advanced"):
        ssm.get_parameter_history(Name=name, WithDecryption=True)
        ssm.get_parameter(Name=name, WithDecryption=True)
    secrets.get_secret_value(SecretId="s")
    with pytest.raises(ssm.exceptions.ClientError):  # an error that knows a value
        ssm.put_parameter(Name="/bad", Value=secret("refused"), Type="SecureString", AllowedPattern="^[0-9]$")
    return found


def _other_than(secrets: Any, old: str) -> str:
    """The value of the secret `rotated`, once it is another one."""
    new = str(secrets.get_secret_value(SecretId="rotated")["SecretString"])
    return "" if new == old else new


async def _opened(house: Installation, database: str) -> dict[str, bytes]:
    """What the owner of the master key has beyond: root keys, all that is sealed under them."""
    found: dict[str, bytes] = {}
    settings = replace(load(house.data), database=database)
    async with opened_house(settings, create=False) as opened:
        for version in opened.vault.versions:
            found[f"root key {version}"] = opened.vault.root(version)
        async with opened.database.reading() as tx:
            for each in sealed_in_the_house():
                for row in await SealedStore(tx, each).after(None, front(1000), 1000):
                    place = f"{each.table}.{each.column} {[row[key] for key in each.keys]}"
                    found[place] = opened.vault.open(bytes(row[each.column]), each.context(row))
    return found


def _left_on_disk(house: Installation) -> dict[str, bytes]:
    return {
        str(file.relative_to(house.folder)): file.read_bytes()
        for file in sorted(house.folder.rglob("*"))
        if file.is_file() and file.name != "master.key"
    }


async def _tables(url: str) -> dict[str, bytes]:
    """Each table as the binary form of COPY gives it, and as text."""
    connection = await asyncpg.connect(url)
    found: dict[str, bytes] = {}
    try:
        for (table,) in await connection.fetch("select tablename from pg_tables where schemaname = 'public'"):
            for form in ("binary", "text"):
                parts: list[bytes] = []

                async def keep(part: bytes, parts: list[bytes] = parts) -> None:
                    parts.append(bytes(part))

                await connection.copy_from_query(f'select * from "{table}"', output=keep, format=form)
                found[f"{table} ({form})"] = b"".join(parts)
    finally:
        await connection.close()
    return found


def test_no_secret_lies_in_any_file_or_table(house: Installation, database_url: str) -> None:
    secrets = planted(house)
    house.kill()
    stolen = _left_on_disk(house)
    if database_url.startswith("postgresql"):
        stolen |= asyncio.run(_tables(database_url))
    else:
        assert any(name.endswith("-wal") and content for name, content in stolen.items())
    assert any(CONTROL.encode() in content for content in stolen.values()), "the search sees nothing"
    assert b"server.ready" in stolen["server.log"]
    secrets |= asyncio.run(_opened(house, database_url if database_url.startswith("postgresql") else ""))
    assert sum(name.startswith("kms_material") for name in secrets) >= 7
    seen = [
        (name, place)
        for name, secret in secrets.items()
        if len(secret) >= 12
        for form in forms(secret)
        for place, content in stolen.items()
        if form in content
    ]
    assert seen == []
