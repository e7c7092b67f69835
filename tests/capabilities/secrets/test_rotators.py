"""Rotators on real databases: each user's password changes, failures are told, the old credential stays good.

What the house keeps of a rotation is tried on both engines elsewhere; here one is enough.
"""

import json
import threading
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pymysql
import pytest

from pilothouse.capabilities.secrets.rotation_model import Step
from tests.capabilities.secrets.answers import refused
from tests.capabilities.secrets.conftest import Ended, rotate, steps_of, value
from tests.capabilities.secrets.servers import ON_MYSQL, DatabaseServer, MongoServer, logs_in, on_postgres

STEPS = [each.value for each in Step]


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/test.db"


@pytest.fixture
def postgres_user(postgres: DatabaseServer) -> Iterator[str]:
    name = f'app "{uuid.uuid4().hex[:8]}"'
    quoted = name.replace('"', '""')
    on_postgres(postgres, f"create role \"{quoted}\" login password 'First-password1'")
    yield name
    on_postgres(postgres, f'drop role if exists "{quoted}_clone"; drop role "{quoted}"')


def named(secrets: Any, ours: DatabaseServer, user: str, **more: Any) -> str:
    """A secret for a user whose name no secret could have."""
    secrets.create_secret(
        Name="app/db", SecretString=json.dumps(ours.members(user, "First-password1", **more)), Description="of the app"
    )
    return "app/db"


@pytest.fixture
def mongo_user(mongo: MongoServer) -> str:
    """One who may change its own password, and read a collection."""
    name = f"app-{uuid.uuid4().hex[:8]}"
    mongo.users.add(name, "First-password1", "changeOwnPassword", "readOfHers")
    return name


@pytest.mark.parametrize("kind", ["postgresql", "postgresql-alternating"])
def test_postgresql(secrets: Any, ended: Ended, postgres: DatabaseServer, postgres_user: str, kind: str) -> None:
    master = secrets.create_secret(
        Name="master", SecretString=json.dumps(postgres.members("master", postgres.password))
    )
    secret = named(secrets, postgres, postgres_user, masterarn=master["ARN"])
    passwords = set()
    for _ in range(3):
        rotate(secrets, secret, f"arn:aws:lambda:eu-west-1:123456789012:function:pilothouse-{kind}")
        rotation = ended(secret)
        assert (rotation["State"], steps_of(rotation)) == ("Succeeded", STEPS), rotation["Log"]
        new, old = value(secrets, secret), value(secrets, secret, "AWSPREVIOUS")
        assert logs_in(new)
        assert logs_in(old) is kind.endswith("alternating")
        passwords |= {new["password"], old["password"]} - {"First-password1"}  # which the test gave
    text = json.dumps(rotation, default=str)
    assert postgres.log is not None
    statements = postgres.log.read_text("utf-8", "replace")
    assert "ALTER ROLE".lower() in statements.lower()
    assert not [each for each in passwords if each in text or each in statements]
    assert new["username"] == (f"{postgres_user}_clone" if kind.endswith("alternating") else postgres_user)


@pytest.mark.parametrize(
    "kind",
    [
        "postgresql",
        "postgresql-alternating",
        "mariadb",
        "mariadb with a master",
        "mariadb-alternating",
        "mongodb",
        "mongodb with a master",
        "mongodb-alternating",
    ],
)
def test_who_logs_in_with_the_current_value_is_let_in_while_it_is_rotated(
    secrets: Any, ended: Ended, request: pytest.FixtureRequest, kind: str
) -> None:
    """Also where a user has one password: whoever reads it waits until it has changed."""
    short = next(each for each in ("postgres", "maria", "mongo") if kind.startswith(each))
    ours: DatabaseServer = request.getfixturevalue(short)
    more = {}
    if "master" in kind or "alternating" in kind:
        members = json.dumps(ours.members(ours.master, ours.password))
        more["masterarn"] = secrets.create_secret(Name="master", SecretString=members)["ARN"]
    secret = named(secrets, ours, request.getfixturevalue(f"{short}_user"), **more)
    stop = threading.Event()
    seen: list[bool] = []
    looked = threading.Semaphore(0)

    def client() -> None:
        while not stop.is_set():
            seen.append(logs_in(value(secrets, secret)))
            looked.release()

    thread = threading.Thread(target=client)
    thread.start()
    try:
        for _ in range(4):
            rotate(secrets, secret, f"pilothouse:{kind.partition(' ')[0]}")
            assert ended(secret)["State"] == "Succeeded"
            while looked.acquire(blocking=False):  # those of before do not count
                pass
            for _ in range(2):  # one that began before, and one after
                assert looked.acquire(timeout=60)
    finally:
        stop.set()
        thread.join(60)
    assert len(seen) >= 8
    assert all(seen)


def test_mariadb(secrets: Any, ended: Ended, maria: DatabaseServer, maria_user: str) -> None:
    master = secrets.create_secret(Name="master", SecretString=json.dumps(maria.members(maria.master, maria.password)))
    secret = named(secrets, maria, maria_user, masterarn=master["ARN"])
    for function in ("pilothouse:mariadb", "pilothouse:mysql", "pilothouse:mariadb-alternating"):
        rotate(secrets, secret, function)
        rotation = ended(secret)
        assert (rotation["State"], steps_of(rotation)) == ("Succeeded", STEPS), rotation["Log"]
        assert logs_in(value(secrets, secret))
        assert logs_in(value(secrets, secret, "AWSPREVIOUS"))
    assert value(secrets, secret)["username"] == f"{maria_user}_clone"
    alone = maria.members(maria_user, value(secrets, secret, "AWSPREVIOUS")["password"])
    secrets.put_secret_value(SecretId=secret, SecretString=json.dumps(alone))
    rotate(secrets, secret, "pilothouse:mariadb")  # without anybody who may alter users
    assert ended(secret)["State"] == "Succeeded"
    assert logs_in(value(secrets, secret))


def test_a_user_of_mariadb_whom_no_password_lets_in_is_refused(
    secrets: Any, ended: Ended, maria: DatabaseServer
) -> None:
    """By the number with which MariaDB also answers for some users that are not there."""
    with closing(
        pymysql.connect(
            host="127.0.0.1", port=maria.port, user=maria.master, password=maria.password, autocommit=True
        )
    ) as connection, connection.cursor() as cursor:  # fmt: skip
        name = f"socket-{uuid.uuid4().hex[:8]}"
        how = "account lock" if ON_MYSQL else "identified via unix_socket"
        cursor.execute(f"create user %s@'%%' {how}", (name,))
        try:
            rotate(secrets, named(secrets, maria, name), "pilothouse:mariadb")
            rotation = ended("app/db")
        finally:
            cursor.execute("drop user %s@'%%'", (name,))
    assert (rotation["State"], rotation["Step"]) == ("Failed", "setSecret")
    assert f"the server refused the login of {name}" in rotation["Error"]


def test_redis(secrets: Any, ended: Ended, redis: DatabaseServer) -> None:
    secret = named(secrets, redis, "default")
    secrets.put_secret_value(SecretId=secret, SecretString=json.dumps(redis.members("default", redis.password)))
    for _ in range(2):
        rotate(secrets, secret, "pilothouse:redis")
        assert ended(secret)["State"] == "Succeeded"
        assert logs_in(value(secrets, secret))
        assert logs_in(value(secrets, secret, "AWSPREVIOUS"))


@pytest.mark.parametrize("kind", ["postgresql", "postgresql-alternating"])
def test_a_server_that_asks_this_host_for_no_password_gets_the_new_one_all_the_same(
    secrets: Any, ended: Ended, postgres: DatabaseServer, postgres_user: str, kind: str
) -> None:
    """Others are asked for it: so a login that any password opens proves nothing."""
    master = secrets.create_secret(
        Name="master", SecretString=json.dumps(postgres.members("master", postgres.password))
    )
    secret = named(secrets, postgres, postgres_user, masterarn=master["ARN"])
    on_postgres(
        postgres,
        """do $$ begin
        execute format('copy (values (''host all all 127.0.0.1/32 trust'')) to %L', current_setting('hba_file'));
        perform pg_reload_conf(); end $$""",
    )
    try:
        while not logs_in(postgres.members(postgres_user, "any password")):
            pass
        rotate(secrets, secret, f"pilothouse:{kind}")
        rotation = ended(secret)
    finally:
        on_postgres(
            postgres,
            """do $$ begin
            execute format('copy (values (''host all all 127.0.0.1/32 scram-sha-256'')) to %L',
                current_setting('hba_file'));
            perform pg_reload_conf(); end $$""",
        )
    while logs_in(postgres.members("master", "any password")):
        pass
    assert rotation["State"] == "Succeeded", rotation["Log"]
    assert logs_in(value(secrets, secret))
    assert logs_in(value(secrets, secret, "AWSPREVIOUS")) is kind.endswith("alternating")


def test_mongodb(secrets: Any, ended: Ended, mongo: MongoServer, mongo_user: str) -> None:
    """By itself, by another, and with a second one that gets the same roles."""
    mongo.users.asked.clear()
    secret = named(secrets, mongo, mongo_user)
    rotate(secrets, secret, "pilothouse:mongodb")
    rotation = ended(secret)
    assert (rotation["State"], steps_of(rotation)) == ("Succeeded", STEPS), rotation["Log"]
    assert logs_in(value(secrets, secret))
    assert not logs_in(value(secrets, secret, "AWSPREVIOUS"))
    master = secrets.create_secret(Name="master", SecretString=json.dumps(mongo.members(mongo.master, mongo.password)))
    alone = value(secrets, secret) | {"masterarn": master["ARN"], "engine": "docdb"}
    secrets.put_secret_value(SecretId=secret, SecretString=json.dumps(alone))
    template = "arn:aws:lambda:eu-west-1:123456789012:function:SecretsManagerMongoDBRotation"
    for function in (f"{template}SingleUser", f"{template}MultiUser", "pilothouse:mongodb-alternating"):
        rotate(secrets, secret, function)
        rotation = ended(secret)
        assert (rotation["State"], steps_of(rotation)) == ("Succeeded", STEPS), rotation["Log"]
        assert logs_in(value(secrets, secret) | {"engine": "mongo"})
        if function.endswith("MultiUser"):
            assert value(secrets, secret)["username"] == f"{mongo_user}_clone"
    assert logs_in(value(secrets, secret, "AWSPREVIOUS") | {"engine": "mongo"})
    names = (mongo_user, f"{mongo_user}_clone")
    first, second = (mongo.users.by_name["admin", each].roles for each in names)
    assert first == second
    assert mongo.users.asked.count("createUser") == 1


def test_a_mongodb_that_does_not_answer_the_beginning_of_tls_is_spoken_to_without(
    secrets: Any, ended: Ended, mongo: MongoServer, mongo_user: str
) -> None:
    mongo.users.waits_for_more = True
    try:
        rotate(secrets, named(secrets, mongo, mongo_user), "pilothouse:mongodb")
        rotation = ended("app/db")
    finally:
        mongo.users.waits_for_more = False
    assert rotation["State"] == "Succeeded", rotation["Log"]
    assert logs_in(value(secrets, "app/db"))


def test_a_member_of_a_replica_set_that_is_not_the_primary_is_told(
    secrets: Any, ended: Ended, mongo: MongoServer, mongo_user: str
) -> None:
    secret = named(secrets, mongo, mongo_user)
    mongo.users.is_primary = False
    try:
        rotate(secrets, secret, "pilothouse:mongodb")
        rotation = ended(secret)
    finally:
        mongo.users.is_primary = True
    assert (rotation["State"], rotation["Step"]) == ("Failed", "setSecret")
    assert "127.0.0.1 is not the primary of its replica set" in rotation["Error"]
    assert logs_in(value(secrets, secret))


def test_what_goes_wrong_is_told_and_the_old_credential_stays(
    secrets: Any, ended: Ended, aws: Any, postgres: DatabaseServer, postgres_user: str
) -> None:
    """A wrong password, a server that is away, a permission that is missing."""
    right = postgres.members(postgres_user, "First-password1")
    cases = {
        "wrong": (right | {"password": "canary-wrong"}, "postgresql", "setSecret", "refused the login"),
        "down": (right | {"port": 1}, "postgresql", "setSecret", "cannot connect to 127.0.0.1:1"),
        "shape": ({"password": "canary-x"}, "postgresql", "createSecret", "lacks the text host, username"),
        "master": (right, "postgresql-alternating", "setSecret", "names no masterarn"),
    }
    for name, (members, function, step, why) in cases.items():
        made = secrets.create_secret(Name=name, SecretString=json.dumps(members))["VersionId"]
        pending = rotate(secrets, name, f"pilothouse:{function}")
        rotation = ended(name)
        assert (rotation["State"], rotation["Step"]) == ("Failed", step), rotation
        assert why in rotation["Error"]
        assert "canary" not in json.dumps(rotation, default=str)
        stages = secrets.describe_secret(SecretId=name)["VersionIdsToStages"]
        assert stages == {made: ["AWSCURRENT"], pending: ["AWSPENDING"]}
        with refused(
            "InvalidRequestException", "A previous rotation isn't complete. That rotation will be reattempted."
        ):
            secrets.rotate_secret(SecretId=name)
    assert logs_in(value(secrets, "master"))
    ours = aws("pilothouse")
    with refused("InvalidRequestException"):
        ours.retry_secret_rotation(SecretId=named(secrets, postgres, postgres_user))
    lacking = secrets.create_secret(Name="lacking", SecretString=json.dumps(right))["ARN"]
    secrets.put_secret_value(SecretId="master", SecretString=json.dumps(right | {"masterarn": lacking}))
    secrets.update_secret_version_stage(
        SecretId="master", VersionStage="AWSPENDING", RemoveFromVersionId=stages and pending
    )
    rotate(secrets, "master", "pilothouse:postgresql-alternating")
    rotation = ended("master")
    assert (rotation["State"], rotation["Step"]) == ("Failed", "setSecret")
    assert "lacks the permission" in rotation["Error"]
    assert logs_in(right)
    on_postgres(postgres, f'alter role "{postgres_user.replace(chr(34), chr(34) * 2)}" createrole')
    ours.retry_secret_rotation(SecretId="master")
    assert ended("master")["State"] == "Succeeded"
    assert logs_in(value(secrets, "master"))


def test_a_managed_credential_is_the_services_alone(
    secrets: Any, ended: Ended, aws: Any, postgres: DatabaseServer, postgres_user: str
) -> None:
    ours = aws("pilothouse")
    asked = {
        "Name": "managed", "Engine": "postgresql", "Host": "127.0.0.1", "Port": postgres.port,
        "Username": postgres_user, "Password": "First-password1",
    }  # fmt: skip
    with refused("InvalidRequestException", None):
        ours.create_database_secret(**asked | {"Password": "wrong"})
    made = ours.create_database_secret(**asked)
    assert ended("managed")["State"] == "Succeeded"
    assert not logs_in(postgres.members(postgres_user, "First-password1"))
    assert logs_in({**value(secrets, "managed"), "engine": "postgres"})
    described = secrets.describe_secret(SecretId="managed")
    assert described["OwningService"] == "pilothouse-databases"
    assert described["VersionIdsToStages"][made["VersionId"]] == ["AWSCURRENT"]
    told = ours.verify_database_secret(SecretId="managed")
    assert (told["Connected"], told["Username"]) == (True, postgres_user)
    previous = ours.verify_database_secret(SecretId="managed", VersionStage="AWSPREVIOUS")
    assert not previous["Connected"]
    assert "refused the login" in previous["Error"]
    with refused("InvalidRequestException", None):
        secrets.put_secret_value(SecretId="managed", SecretString="x")
    found = secrets.list_secrets(Filters=[{"Key": "owning-service", "Values": ["pilothouse"]}])["SecretList"]
    assert [each["Name"] for each in found] == ["managed"]
