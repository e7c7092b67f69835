"""Databases with certificates of a test's own: with `ssl` true a password goes to who proves its name alone."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.agent.fake_server import make_certificates
from tests.capabilities.secrets.conftest import Ended, rotate, value
from tests.capabilities.secrets.servers import DatabaseServer, mariadb, mongodb, postgresql, redis_server

SERVERS = {"postgresql": postgresql, "mariadb": mariadb, "mongodb": mongodb, "redis": redis_server}


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/test.db"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("certificates")
    make_certificates(made)
    return made


@pytest.fixture(params=SERVERS)
def database(request: pytest.FixtureRequest, certificates: Path) -> Iterator[DatabaseServer]:
    with SERVERS[request.param](tls=certificates) as found:
        yield found


@pytest.fixture(params=["unknown", "trusted"])
def ca_file(request: pytest.FixtureRequest, certificates: Path) -> str:
    return str(certificates / "ca.pem") if request.param == "trusted" else ""


def test_a_certificate_is_verified(
    secrets: Any, ended: Ended, database: DatabaseServer, aws: Any, ca_file: str
) -> None:
    kind = {"postgres": "postgresql", "mongo": "mongodb"}.get(database.engine, database.engine)
    members = database.members(database.master, database.password, ssl=True)
    secrets.create_secret(Name="x", SecretString=json.dumps(members))
    ours = aws("pilothouse")
    told = ours.verify_database_secret(SecretId="x")
    assert told["Connected"] is bool(ca_file), told
    rotate(secrets, "x", f"pilothouse:{kind}")
    rotation = ended("x")
    if not ca_file:
        assert (rotation["State"], rotation["Step"]) == ("Failed", "setSecret")
        assert rotation["Error"].startswith("the certificate of 127.0.0.1 is not trusted (unable to get local issuer")
        assert database.password not in json.dumps(rotation, default=str)
        assert value(secrets, "x") == members
        return
    assert rotation["State"] == "Succeeded", rotation["Log"]
    assert value(secrets, "x")["password"] != database.password
    assert ours.verify_database_secret(SecretId="x")["Connected"] is True
