"""Who has the database and the sealed files, but not the master key, has no secret; and cannot put rows elsewhere."""

import asyncio
import re
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from botocore.exceptions import ClientError

import pilothouse
from pilothouse.app import CAPABILITIES, sealed_in_the_house
from pilothouse.capabilities import access
from pilothouse.crypto.resealing import lying_below, lying_under, reseal
from tests.conftest import Aws, Server

CANARY = "canary-7f3a91-"
SEALS_WITHOUT_ROWS = {
    "identity/session_tokens.py": "tokens are stored nowhere",
    "crypto/resealing.py": "seals what the owners announced",
    "gateway/relays.py": "mail between processes, which is stored nowhere",
}


async def _dump(url: str) -> bytes:
    """Every table of a PostgreSQL database, as bytes."""
    connection = await asyncpg.connect(url)
    try:
        tables = await connection.fetch("select tablename from pg_tables where schemaname = 'public'")
        found = b""
        for (table,) in tables:
            for row in await connection.fetch(f'select * from "{table}"'):
                for value in row.values():
                    found += value if isinstance(value, bytes) else str(value).encode()
                    found += b"\n"
        return found
    finally:
        await connection.close()


def stolen(server: Server, tmp_path: Path) -> bytes:
    """The database with its log, and every file of the data directory but the keys."""
    url = server.settings.database
    found = asyncio.run(_dump(url)) if url.startswith("postgresql") else b""
    for file in [*tmp_path.glob("test.db*"), *server.settings.data.iterdir()]:
        if file.is_file() and file.name != "master.key":
            found += file.read_bytes()
    return found


def log(aws: Aws, server: Server, message: str) -> str:
    """Put the message into a stream of a new group."""
    logs = aws("logs")
    logs.create_log_group(logGroupName="g")
    logs.create_log_stream(logGroupName="g", logStreamName="s")
    events = [{"timestamp": server.clock.millis(), "message": message}]
    logs.put_log_events(logGroupName="g", logStreamName="s", logEvents=events)
    return message


def test_a_stolen_database_shows_no_secret(aws: Aws, server: Server, tmp_path: Path) -> None:
    ssm = aws("ssm")
    canaries = [f"{CANARY}{kind}" for kind in ("parameter", "older", "list")]
    ssm.put_parameter(Name="/a", Value=canaries[1], Type="SecureString")
    ssm.put_parameter(Name="/a", Value=canaries[0], Type="SecureString", Overwrite=True)
    ssm.put_parameter(Name="/b", Value=f"{canaries[2]},x", Type="SecureString", Tier="Advanced")
    ssm.put_parameter(Name="/open", Value="seen-3c55", Type="String")
    logged = log(aws, server, f"{CANARY}logged")
    activation = ssm.create_activation(IamRole="role")["ActivationCode"]
    made = server.run(access.create_account(server.application.house, "other"))
    root = server.application.root
    found = stolen(server, tmp_path)
    assert b"seen-3c55" in found, "the scan does not see what lies open"
    vault = server.application.house.vault
    for secret in [*canaries, logged, activation, made.secret, root.secret]:
        assert secret.encode() not in found
    assert vault.root(1) not in found


def test_rows_put_elsewhere_are_refused(aws: Aws, server: Server) -> None:
    ssm = aws("ssm")
    house = server.application.house
    for name in ("/a", "/b"):
        ssm.put_parameter(Name=name, Value=f"value of {name}", Type="SecureString")
    ours = server.application.root.access_key_id
    other = server.run(access.create_account(house, "other"))

    async def move_access_key() -> None:
        async with house.database.transaction() as tx:
            sealed = await tx.value("select secret_sealed from access_key where access_key_id = :key", key=ours)
            await tx.execute(
                "update access_key set secret_sealed = :sealed where access_key_id = :key",
                sealed=sealed,
                key=other.access_key_id,
            )

    server.run(move_access_key())
    taken_over = aws("ssm", access_key=other.access_key_id, secret=server.application.root.secret)
    with pytest.raises(ClientError):
        taken_over.get_parameter(Name="/a")
    assert ssm.get_parameter(Name="/a", WithDecryption=True)["Parameter"]["Value"] == "value of /a"


def test_a_parameter_opens_in_its_own_place_alone(aws: Aws, server: Server) -> None:
    ssm = aws("ssm")
    house = server.application.house
    for name in ("/a", "/b"):
        ssm.put_parameter(Name=name, Value=f"older value of {name}", Type="SecureString")
        ssm.put_parameter(Name=name, Value=f"value of {name}", Type="SecureString", Overwrite=True)

    async def put_there(table: str, version: int) -> None:
        """In the place of /a's newest: the value of /b, or an older one of /a."""
        source = "b" if table == "parameter" else "a"
        async with house.database.transaction() as tx:
            where = "where path = :path" + ("" if table == "parameter" else " and version = :version")
            bound = {"path": source} | ({} if table == "parameter" else {"version": version})
            sealed = await tx.value(f"select sealed from {table} {where}", **bound)
            assert sealed is not None
            await tx.execute("update parameter set sealed = :sealed where path = 'a'", sealed=sealed)

    for table, version in (("parameter", 0), ("parameter_version", 1)):
        server.run(put_there(table, version))
        with pytest.raises(ClientError) as caught:
            ssm.get_parameter(Name="/a", WithDecryption=True)
        assert "value of" not in str(caught.value)
    assert ssm.get_parameter(Name="/b", WithDecryption=True)["Parameter"]["Value"] == "value of /b"


def test_material_opens_for_its_own_key_alone(aws: Aws, server: Server) -> None:
    kms, house = aws("kms"), server.application.house
    mine, theirs = (kms.create_key()["KeyMetadata"]["KeyId"] for _ in range(2))
    blob = kms.encrypt(KeyId=theirs, Plaintext=b"theirs")["CiphertextBlob"]

    async def move() -> None:
        async with house.database.transaction() as tx:
            wrapped = await tx.value("select wrapped from kms_material where key_id = :key", key=mine)
            await tx.execute(
                "update kms_material set wrapped = :wrapped where key_id = :key", wrapped=wrapped, key=theirs
            )

    server.run(move())
    with pytest.raises(ClientError):
        kms.decrypt(CiphertextBlob=blob)
    with pytest.raises(ClientError):
        kms.encrypt(KeyId=theirs, Plaintext=b"more")
    assert kms.encrypt(KeyId=mine, Plaintext=b"mine")


def test_everything_sealed_moves_under_a_new_root_key(aws: Aws, server: Server) -> None:
    ssm, house = aws("ssm"), server.application.house
    ssm.put_parameter(Name="/a", Value=CANARY, Type="SecureString")
    log(aws, server, CANARY)
    sealed = sealed_in_the_house()

    async def move() -> tuple[tuple[int, int], int, int]:
        before = house.vault.root(1)
        house.vault.hold({1: before, 2: house.ids.random_bytes(32)})
        moved = await reseal(house.database, house.vault, sealed)
        async with house.database.reading() as tx:
            return moved, await lying_below(tx, sealed, 2), await lying_under(tx, sealed, 2)

    (done, broken), below, under = server.run(move())
    assert (broken, below) == (0, 0)
    assert done == under >= 3  # the root's secret, the key behind alias/aws/ssm, the answer kept for a retry
    server.run(_forget_first(house))
    assert ssm.get_parameter(Name="/a", WithDecryption=True)["Parameter"]["Value"] == CANARY
    assert aws("logs").filter_log_events(logGroupName="g")["events"][0]["message"] == CANARY


async def _forget_first(house: Any) -> None:
    house.vault.hold({2: house.vault.root(2)})


def test_whoever_seals_announces_it() -> None:
    source = Path(pilothouse.__file__).parent
    announced = {capability.name for capability in CAPABILITIES if capability.sealed} | {"wire"}
    for file in source.rglob("*.py"):
        name = file.relative_to(source).as_posix()
        if name in SEALS_WITHOUT_ROWS or not re.search(r"vault\.seal\(", file.read_text("utf-8")):
            continue
        parts = name.split("/")
        owner = parts[1] if parts[0] == "capabilities" else parts[0]
        assert owner in announced, f"{name} seals, and {owner} does not announce what"


def test_announced_columns_exist(server: Server) -> None:
    async def look() -> None:
        async with server.application.house.database.reading() as tx:
            for each in sealed_in_the_house():
                await tx.rows(f"select {', '.join(each.columns)} from {each.table} limit 1")

    server.run(look())
