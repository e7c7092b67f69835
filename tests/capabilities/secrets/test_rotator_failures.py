"""What each rotator of a database says where it cannot go on: a wrong password, a server that is away, a right that is
missing. The step and the reason are told, never a value, and the current credential logs in as before.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import redis as redis_client
from structlog.testing import capture_logs

from pilothouse.runtime.metrics import SECRET_ROTATIONS
from tests.capabilities.secrets.conftest import Ended, rotate, value
from tests.capabilities.secrets.servers import DatabaseServer, MongoServer, logs_in
from tests.capabilities.secrets.test_rotators import postgres_user  # noqa: F401 - a fixture

WRONG = "canary-of-a-wrong-password"
KINDS = {
    "postgresql": "postgres",
    "postgresql-alternating": "postgres",
    "mariadb": "maria",
    "mariadb with a master": "maria",
    "mariadb-alternating": "maria",
    "mongodb": "mongo",
    "mongodb with a master": "mongo",
    "mongodb-alternating": "mongo",
    "redis": "redis",
    "redis with a master": "redis",
}
"""Rotators, and the server that each is tried on."""
WITH_MASTER = [each for each in KINDS if "master" in each or "alternating" in each]


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/test.db"


@pytest.fixture
def ours(request: pytest.FixtureRequest, kind: str) -> DatabaseServer:
    found: DatabaseServer = request.getfixturevalue(KINDS[kind])
    return found


@pytest.fixture
def user(request: pytest.FixtureRequest, kind: str, ours: DatabaseServer) -> str:
    """A user who may do nothing, with the password First-password1."""
    if isinstance(ours, MongoServer):
        ours.users.add("limited", "First-password1")
        return "limited"
    if KINDS[kind] != "redis":
        return str(request.getfixturevalue(f"{KINDS[kind]}_user"))
    with redis_client.Redis(host="127.0.0.1", port=ours.port, username=ours.master, password=ours.password) as client:
        client.execute_command("ACL", "SETUSER", "limited", "reset", "on", ">First-password1", "+ping")
    return "limited"


class Attempt:
    """A rotation that is to fail."""

    def __init__(self, secrets: Any, ended: Ended, kind: str, ours: DatabaseServer, user: str) -> None:
        self._secrets, self._ended, self._kind, self._ours = secrets, ended, kind, ours
        self.right = ours.members(user, "First-password1")

    def fails(self, why: str, *, at: str = "setSecret", master: dict[str, Any] | None = None, **wrong: Any) -> None:
        """`wrong`: what is not right in the secret; `master`: in the one of masterarn."""
        secrets = self._secrets
        members = self.right | wrong
        if self._kind in WITH_MASTER:
            all_rights = self._ours.members(self._ours.master, self._ours.password)
            elsewhere = {name: wrong[name] for name in ("host", "port") if name in wrong}
            given = json.dumps(all_rights | elsewhere | (master or {}))
            members["masterarn"] = secrets.create_secret(Name="master", SecretString=given)["ARN"]
        made = secrets.create_secret(Name="x", SecretString=json.dumps(members))["VersionId"]
        before = SECRET_ROTATIONS.labels("failed")._value.get()
        with capture_logs() as logged:
            pending = rotate(secrets, "x", f"pilothouse:{self._kind.partition(' ')[0]}")
            rotation = self._ended("x")
        assert (rotation["State"], rotation["Step"]) == ("Failed", at), rotation
        assert why in rotation["Error"]
        (told,) = [each for each in logged if each["event"] == "rotation.failed"]
        assert (told["step"], told["reason"]) == (at, rotation["Error"])
        assert SECRET_ROTATIONS.labels("failed")._value.get() == before + 1
        text = json.dumps([rotation, logged], default=str)
        assert not [each for each in (WRONG, "First-password1", self._ours.password) if each in text]
        assert secrets.describe_secret(SecretId="x")["VersionIdsToStages"] == {
            made: ["AWSCURRENT"], pending: ["AWSPENDING"],
        }  # fmt: skip
        assert value(secrets, "x") == members
        assert logs_in(self.right)


@pytest.fixture
def attempt(secrets: Any, ended: Ended, kind: str, ours: DatabaseServer, user: str) -> Attempt:
    return Attempt(secrets, ended, kind, ours, user)


@pytest.mark.parametrize("kind", [each for each in KINDS if each != "redis with a master"])
def test_a_wrong_password_is_told(attempt: Attempt, user: str) -> None:
    attempt.fails(f"the server refused the login of {user}", password=WRONG)


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_that_is_away_is_told(attempt: Attempt) -> None:
    attempt.fails(" 127.0.0.1:1: ", port=1)


@pytest.mark.parametrize("kind", WITH_MASTER)
def test_a_master_that_is_refused_is_told(attempt: Attempt, ours: DatabaseServer) -> None:
    attempt.fails(f"the server refused the login of {ours.master}", master={"password": WRONG})


@pytest.mark.parametrize("kind", [*WITH_MASTER, "mongodb", "redis"])
def test_a_right_that_is_missing_is_told(attempt: Attempt, user: str) -> None:
    """A single user of PostgreSQL or MariaDB may always change itself."""
    attempt.fails(
        f"{user} lacks the permission for this on the server",
        master={"username": user, "password": "First-password1"},
    )


@pytest.mark.parametrize("kind", WITH_MASTER)
def test_a_master_elsewhere_is_told(attempt: Attempt) -> None:
    attempt.fails("host and port of the secret of masterarn are others", master={"port": 1})
