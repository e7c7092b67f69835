"""kill -9 of the server at each boundary of the steps of a rotation, with real databases: the rotation ends, and at no
moment is there no credential that logs in.

One rotation is killed at one boundary after the other: each start of the server has the next one armed.
"""

import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pymysql
import pytest
from botocore.exceptions import BotoCoreError

from tests.acceptance.installation import Installation, eventually, stored_in
from tests.capabilities.secrets.servers import (
    ON_MYSQL,
    DatabaseServer,
    logs_in,
    maria,  # noqa: F401 - fixtures
    on_postgres,
    postgres,  # noqa: F401
)

ARMED = """
import os, signal, sys
from pilothouse.capabilities.secrets import rotation_steps
from pilothouse.capabilities.secrets.rotators import mysql, mysql_rights
from pilothouse.cli.main import main

where = sys.argv.pop(1)

def die(place):
    if place == where:
        os.kill(os.getpid(), signal.SIGKILL)

outcome, hold, rows = rotation_steps._outcome, rotation_steps.hold, mysql.rows

async def outcome_or_death(house, run):
    die(f"before {run.step}")
    found = await outcome(house, run)
    die(f"after {run.step}")
    return found

async def hold_or_death(house, secret):
    await hold(house, secret)
    die("while readers wait")

def rows_or_death(cursor, statement, *values):
    found = rows(cursor, statement, *values)
    die(f"after {statement.partition(' ')[0]} in the database")
    return found

rotation_steps._outcome, rotation_steps.hold = outcome_or_death, hold_or_death
mysql.rows = mysql_rights.rows = rows_or_death
sys.exit(main())
"""
SET = ["createSecret", "setSecret"]
"""Where the old password does not log in any more, the rest follows in the transaction of setSecret; so it does where
setSecret is done again and finds that the new one logs in."""
TEST = ["testSecret", "finishSecret"]
KINDS = {
    "postgresql": (SET, ["while readers wait"], False),
    "mariadb": (SET, ["while readers wait", f"after {'alter' if ON_MYSQL else 'set'} in the database"], False),
    "mariadb with a master": (SET, ["after alter in the database"], True),
    "mariadb with a master, not killed before testSecret": (TEST, [], True),
    "postgresql-alternating": (SET + TEST, [], True),
    "mariadb-alternating": (SET + TEST, ["after create in the database", "after grant in the database"], True),
}
"""Steps; where else to kill in setSecret; whether the old password is good until the end."""
RUNS = [(kind, "sqlite") for kind in KINDS]
RUNS += [(kind, "postgresql") for kind in ("postgresql", "mariadb with a master", "postgresql-alternating")]
"""Rotators, and where the server keeps what it has done: on PostgreSQL one for each way to go on after a kill."""


def boundaries(steps: list[str], inside: list[str]) -> Iterator[str]:
    for step in steps:
        yield f"before {step}"
        if step == "setSecret":
            yield from inside
        yield f"after {step}"


@pytest.fixture
def house(database_url: str, tmp_path: Path) -> Iterator[Installation]:
    made = Installation(tmp_path, *stored_in(database_url))
    made.data.mkdir(mode=0o700)
    (made.data / "pilothouse.toml").write_text('[outbound]\nallow = ["127.0.0.1/32"]\n')
    (tmp_path / "armed.py").write_text(ARMED)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def database(request: pytest.FixtureRequest, kind: str) -> Iterator[DatabaseServer]:
    """With a user `killed` who may read one table."""
    if kind.startswith("postgresql"):
        found: DatabaseServer = request.getfixturevalue("postgres")
        on_postgres(found, "create role killed login password 'First-password1'")
        yield found
        on_postgres(found, "drop role if exists killed_clone; drop role killed")
        return
    found = request.getfixturevalue("maria")
    with closing(as_master(found)) as connection, connection.cursor() as cursor:
        cursor.execute("create user killed@'%' identified by 'First-password1'")
        cursor.execute("grant select on mysql.help_topic to killed@'%'")
        yield found
        cursor.execute("drop user if exists killed@'%', killed_clone@'%'")


def as_master(server: DatabaseServer) -> Any:
    return pymysql.connect(
        host="127.0.0.1", port=server.port, user=server.master, password=server.password, autocommit=True
    )


@pytest.mark.parametrize(("kind", "database_url"), RUNS, indirect=["database_url"])
def test_a_kill_at_any_boundary_loses_no_credential(house: Installation, database: DatabaseServer, kind: str) -> None:
    steps, inside, old_is_good = KINDS[kind]
    places = list(boundaries(steps, inside))
    house.start()
    secrets = house.boto("secretsmanager")
    more = {}
    if old_is_good:
        members = json.dumps(database.members(database.master, database.password))
        more["masterarn"] = secrets.create_secret(Name="master", SecretString=members)["ARN"]
    old = database.members("killed", "First-password1", **more)
    first = secrets.create_secret(Name="x", SecretString=json.dumps(old))["VersionId"]
    assert house.stop() == 0
    token = str(uuid.uuid4())
    for at, place in enumerate(places):
        house.launch(sys.executable, house.folder / "armed.py", place)
        if not at:
            rotate(house, f"pilothouse:{kind.partition(' ')[0]}", token)
        died(house, place)
        if old_is_good or at <= places.index("while readers wait"):
            assert logs_in(old), place
    house.start()

    def ended() -> Any:
        last = house.boto("pilothouse").list_secret_rotations(SecretId="x")["Rotations"][0]
        return last if last["State"] != "Running" else None

    rotation = eventually(ended)
    assert (rotation["State"], rotation["VersionId"]) == ("Succeeded", token), rotation["Log"]
    assert secrets.describe_secret(SecretId="x")["VersionIdsToStages"] == {
        token: ["AWSCURRENT"], first: ["AWSPREVIOUS"],
    }  # fmt: skip
    new = json.loads(secrets.get_secret_value(SecretId="x")["SecretString"])
    assert logs_in(new)
    assert logs_in(old) is old_is_good
    if kind == "mariadb-alternating":
        with closing(as_master(database)) as connection, connection.cursor() as cursor:
            cursor.execute("show grants for killed_clone@'%'")
            assert any("help_topic" in str(row[0]) for row in cursor.fetchall()), "the second user lacks rights"


def rotate(house: Installation, function: str, token: str) -> None:
    """Ask until the server is there; it may be killed before the answer has left."""

    def asked() -> bool:
        try:
            house.boto("secretsmanager", retries={"total_max_attempts": 1}).rotate_secret(
                SecretId="x", ClientRequestToken=token, RotationLambdaARN=function
            )
        except (BotoCoreError, OSError):
            assert house.process is not None
            return house.process.poll() is not None
        return True

    eventually(asked)


def died(house: Installation, place: str) -> None:
    """Wait until the server has killed itself."""
    assert house.process is not None
    try:
        assert house.process.wait(60) == -9, house.server_log.read_text()[-2000:]
    except subprocess.TimeoutExpired:
        pytest.fail(f"nothing came to the boundary: {place}")
    house.process = None
