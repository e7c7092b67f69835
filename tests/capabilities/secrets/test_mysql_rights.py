"""What users of MySQL and MariaDB have beside a name and a password, and what their servers allow of passwords.

With PILOTHOUSE_TEST_MYSQL on a MySQL, else on MariaDB.
"""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pymysql
import pytest

from tests.agent.fake_server import make_certificates
from tests.capabilities.secrets.conftest import Ended, rotate, value
from tests.capabilities.secrets.servers import ON_MYSQL, DatabaseServer, logs_in, mariadb
from tests.capabilities.secrets.test_rotators import named


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/test.db"


@pytest.fixture
def master(secrets: Any, maria: DatabaseServer) -> str:
    members = json.dumps(maria.members(maria.master, maria.password))
    return str(secrets.create_secret(Name="master", SecretString=members)["ARN"])


def connected(server: DatabaseServer, user: str, password: str) -> Any:
    return pymysql.connect(
        host="127.0.0.1", port=server.port, user=user, password=password.encode(), autocommit=True
    )  # fmt: skip


@pytest.fixture
def cursor(maria: DatabaseServer) -> Iterator[Any]:
    """Of the one who may do everything."""
    with closing(connected(maria, maria.master, maria.password)) as connection, connection.cursor() as found:
        yield found


def test_the_second_user_has_the_first_one_s_default_role(
    secrets: Any, ended: Ended, maria: DatabaseServer, maria_user: str, master: str, cursor: Any
) -> None:
    role = f"{maria_user}%role"
    to = "to" if ON_MYSQL else "for"
    cursor.execute("create role %s", (role,))
    try:
        cursor.execute("grant select on mysql.help_category to %s", (role,))
        cursor.execute("grant %s to %s@'%%'", (role, maria_user))
        cursor.execute(f"set default role %s {to} %s@'%%'", (role, maria_user))
        rotate(secrets, named(secrets, maria, maria_user, masterarn=master), "pilothouse:mariadb-alternating")
        rotation = ended("app/db")
        assert rotation["State"] == "Succeeded", rotation["Log"]
        second = value(secrets, "app/db")
        with (
            closing(connected(maria, second["username"], second["password"])) as connection,
            connection.cursor() as as_second,
        ):
            for table in ("help_topic", "help_category"):
                as_second.execute(f"select 1 from mysql.{table} limit 1")
            as_second.execute("select current_role()")
            assert role in as_second.fetchone()[0]
    finally:
        cursor.execute("drop role %s", (role,))


def test_the_current_password_stays_good_after_a_rotation_that_was_given_up(
    secrets: Any, ended: Ended, maria: DatabaseServer, maria_user: str, master: str, cursor: Any
) -> None:
    """It left a password of its own on the user, and the current one in the second place."""
    if ON_MYSQL:
        cursor.execute("alter user %s@'%%' identified by 'Given-up1' retain current password", (maria_user,))
    else:
        cursor.execute(
            "alter user %s@'%%' identified via mysql_native_password using password('Given-up1') "
            "or mysql_native_password using password('First-password1')",
            (maria_user,),
        )
    assert logs_in(maria.members(maria_user, "Given-up1"))
    assert logs_in(maria.members(maria_user, "First-password1"))
    rotate(secrets, named(secrets, maria, maria_user, masterarn=master), "pilothouse:mariadb")
    rotation = ended("app/db")
    assert rotation["State"] == "Succeeded", rotation["Log"]
    assert logs_in(value(secrets, "app/db"))
    assert logs_in(value(secrets, "app/db", "AWSPREVIOUS"))


@pytest.mark.parametrize("kind", ["mariadb", "mariadb with a master", "mariadb-alternating"])
def test_a_password_of_any_letters_logs_in(
    secrets: Any, ended: Ended, maria: DatabaseServer, maria_user: str, master: str, cursor: Any, kind: str
) -> None:
    hard = "Łąka'\"\\%s {}; -- €1"
    cursor.execute("alter user %s@'%%' identified by %s", (maria_user, hard))
    members = maria.members(maria_user, hard) | ({} if kind == "mariadb" else {"masterarn": master})
    secrets.create_secret(Name="x", SecretString=json.dumps(members))
    rotate(secrets, "x", f"pilothouse:{kind.partition(' ')[0]}")
    rotation = ended("x")
    assert rotation["State"] == "Succeeded", rotation["Log"]
    assert logs_in(value(secrets, "x"))
    assert logs_in(members) is (kind != "mariadb")


@pytest.fixture
def strict(tmp_path: Path) -> Iterator[DatabaseServer]:
    """A MariaDB with certificates, which looks at passwords itself: it takes no hashes."""
    make_certificates(tmp_path)
    with mariadb(tmp_path, "--plugin-load-add=simple_password_check") as found:
        yield found


def test_a_server_that_wants_to_see_passwords_is_told_of(secrets: Any, ended: Ended, strict: DatabaseServer) -> None:
    members = strict.members(strict.master, strict.password)
    secrets.create_secret(Name="x", SecretString=json.dumps(members))
    rotate(secrets, "x", "pilothouse:mariadb")
    rotation = ended("x")
    assert (rotation["State"], rotation["Step"]) == ("Failed", "setSecret")
    assert "MariaDB's strict_password_validation where it checks passwords itself" in rotation["Error"]
    assert logs_in(members)


def test_the_second_user_needs_tls_where_the_first_does(secrets: Any, ended: Ended, strict: DatabaseServer) -> None:
    members = strict.members(strict.master, strict.password)
    with closing(connected(strict, strict.master, strict.password)) as connection, connection.cursor() as cursor:
        cursor.execute("set global strict_password_validation = off")
        cursor.execute("create user app@'%' identified by 'First-password1' require ssl")
        master = secrets.create_secret(Name="master", SecretString=json.dumps(members))["ARN"]
        first = strict.members("app", "First-password1", masterarn=master)
        rotate(
            secrets,
            secrets.create_secret(Name="x", SecretString=json.dumps(first))["Name"],
            "pilothouse:mariadb-alternating",
        )
        rotation = ended("x")
        assert rotation["State"] == "Succeeded", rotation["Log"]
        cursor.execute("select user, ssl_type from mysql.user where user like 'app%'")
        assert dict(cursor.fetchall()) == {"app": "ANY", "app_clone": "ANY"}
