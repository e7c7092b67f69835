"""`pilothouse secrets`: who read a secret, what nobody reads, and what rotators of every kind did, on real servers."""

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any

import pymysql
import pytest
import redis as redis_client
from botocore.exceptions import ClientError
from typer.testing import CliRunner

from pilothouse.cli.secrets import app
from tests.acceptance.installation import DrivenInstallation, Installation, eventually, running
from tests.capabilities.secrets.conftest import Function, function  # noqa: F401 - a fixture
from tests.capabilities.secrets.servers import DatabaseServer, logs_in, maria, redis  # noqa: F401 - fixtures

STEPS = ["createSecret", "setSecret", "testSecret", "finishSecret"]
OLD = "Canary-of-the-old-password1"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    made = Installation(tmp_path_factory.mktemp("views"))
    made.data.mkdir(mode=0o700)
    hook = made.data / "hook"
    hook.write_text("whsec_" + "c2VjcmV0LW9mLXRoaXJ0eS10d28tYnl0ZXMtLi4u")
    settings = f'[outbound]\nallow = ["127.0.0.1/32"]\n[secrets]\nhook_secret_file = "{hook}"\n'
    (made.data / "pilothouse.toml").write_text(settings)
    with running(made):
        yield made


def shown(house: Installation, *words: str) -> list[str]:
    """The lines that a command prints."""
    done = CliRunner().invoke(app, list(words), env={**house.known(), "COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    assert "canary" not in done.output.lower()
    return done.stdout.splitlines()


class TestReaders:
    """Who read a secret, and who tried."""

    @pytest.fixture
    def ann(self, house: Installation) -> Callable[[str], Any]:
        """Clients of a user who may read parameters, and no secret."""
        iam, name = house.boto("iam"), f"ann-{uuid.uuid4().hex[:6]}"
        iam.create_user(UserName=name)
        rights = {"Effect": "Allow", "Action": ["ssm:GetParameter", "secretsmanager:BatchGetSecretValue"]}
        policy = {"Version": "2012-10-17", "Statement": [{**rights, "Resource": "*"}]}
        iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=json.dumps(policy))
        key = iam.create_access_key(UserName=name)["AccessKey"]
        own = {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
        return lambda service: house.boto(service, values={**house.known(), **own})

    def test_every_way_to_read_is_shown_and_every_refusal(self, house: Installation, ann: Any) -> None:
        secrets, name = house.boto("secretsmanager"), f"read/{uuid.uuid4().hex[:6]}"
        first = secrets.create_secret(Name=name, SecretString=OLD)["VersionId"]
        secrets.create_secret(Name=f"{name}/other", SecretString=OLD)
        secrets.put_secret_value(SecretId=name, SecretString="canary 2")
        reference = f"/aws/reference/secretsmanager/{name}"
        secrets.get_secret_value(SecretId=name)
        secrets.get_secret_value(SecretId=name, VersionStage="AWSPREVIOUS")
        secrets.get_secret_value(SecretId=name, VersionId=first)
        secrets.get_secret_value(SecretId=f"{name}/other")
        secrets.batch_get_secret_value(SecretIdList=[name])
        house.boto("ssm").get_parameter(Name=reference, WithDecryption=True)
        with pytest.raises(ClientError, match="AccessDenied"):
            ann("secretsmanager").get_secret_value(SecretId=name)
        with pytest.raises(ClientError, match="AccessDenied"):
            ann("ssm").get_parameter(Name=reference, WithDecryption=True)
        assert ann("secretsmanager").batch_get_secret_value(SecretIdList=[name])["Errors"]
        wanted = [("ann", "AWSCURRENT", "AccessDeniedException")] * 3 + [
            ("root", "AWSCURRENT", "read"),
            ("root", "AWSCURRENT", "read"),
            ("root", first, "read"),
            ("root", "AWSPREVIOUS", "read"),
            ("root", "AWSCURRENT", "read"),
        ]

        def told() -> list[tuple[str, str, str]]:
            rows = [line.split() for line in shown(house, "readers", name)[1:]]
            return [(row[2].partition("-")[0], row[4], row[5]) for row in rows]

        eventually(lambda: len(told()) >= len(wanted))  # reads come into the trail a moment later
        assert told() == wanted
        assert len(shown(house, "readers", name, "--limit", "2")) == 3


class TestUnused:
    """What nobody read for so many days."""

    @pytest.fixture
    def old(self, database_url: str, tmp_path: Any) -> Iterator[DrivenInstallation]:
        """A server whose clock is forty days behind."""
        options = ("--database", database_url) if database_url.startswith("postgresql") else ()
        made = DrivenInstallation(tmp_path, *options)
        days = timedelta(days=60) // timedelta(seconds=1)
        (made.data / "pilothouse.toml").write_text(f"skew_seconds = {days}\nnode_skew_seconds = {days}\n")
        made.advance(days=-40)
        with running(made):
            yield made

    def test_a_secret_is_unused_from_the_end_of_the_day_of_its_last_read(self, old: DrivenInstallation) -> None:
        secrets = old.boto("secretsmanager")
        for name in ("never", "long-ago", "lately"):
            secrets.create_secret(Name=name, SecretString=OLD)
        old.advance(days=5)
        secrets.get_secret_value(SecretId="long-ago")
        old.advance(days=33)
        secrets.get_secret_value(SecretId="lately")
        old.advance(days=2)
        secrets.create_secret(Name="new", SecretString=OLD)

        def names(*words: str) -> list[str]:
            return [line.split()[0] for line in shown(old, "list", *words)[1:]]

        assert names() == ["never", "long-ago", "lately", "new"]
        assert names("--unused-for", "30") == ["never", "long-ago"]
        assert names("--unused-for", "38") == ["never"]
        assert names("--unused-for", "41") == []
        assert names("l", "--unused-for", "1") == ["long-ago", "lately"]
        told = json.loads("\n".join(shown(old, "list", "--unused-for", "30", "--output", "json")))
        assert ["LastAccessedDate" in each for each in told] == [False, True]


class TestRotations:
    """What rotators did, step by step, without a value."""

    def rotated(self, house: Installation, rotator: str, value: dict[str, Any], **more: Any) -> list[str]:
        """The lines of the first rotation of a secret with this value."""
        secrets, name = house.boto("secretsmanager"), f"rotated/{uuid.uuid4().hex[:6]}"
        if more:
            value = value | {"masterarn": secrets.create_secret(Name=f"{name}/m", SecretString=json.dumps(more))["ARN"]}
        made = secrets.create_secret(Name=name, SecretString=json.dumps(value))
        token = secrets.rotate_secret(SecretId=name, RotationLambdaARN=rotator)["VersionId"]

        def ended() -> list[str] | None:
            lines = shown(house, "rotations", name)
            goes_on = lines[0].endswith("Running") and "is tried again" not in lines[-1]
            return None if goes_on else lines

        lines = eventually(ended)
        assert lines is not None
        assert token in lines[0]
        found = secrets.get_secret_value(SecretId=name)
        assert (found["VersionId"] == made["VersionId"]) is not lines[0].endswith("Succeeded")
        for stage in found["VersionStages"]:
            assert stage != "AWSPENDING"
        password = json.loads(found["SecretString"])["password"]
        assert not any(password in line for line in lines)
        if value.get("port", 1) != 1:
            assert logs_in(json.loads(found["SecretString"]))
        return lines

    def steps(self, lines: list[str]) -> list[str]:
        return [word for line in lines[1:] for word in line.split()[2:3] if word in STEPS]

    def test_a_random_password(self, house: Installation) -> None:
        lines = self.rotated(house, "pilothouse:random", {"password": OLD})
        assert lines[0].endswith(": Succeeded")
        assert "began, by pilothouse:random" in lines[1]
        assert self.steps(lines) == STEPS
        assert lines[2].endswith("createSecret  made a new value")

    @pytest.mark.parametrize("kind", ["mariadb", "mariadb with a master", "mariadb-alternating"])
    def test_users_of_mariadb(self, house: Installation, maria: DatabaseServer, kind: str) -> None:  # noqa: F811
        user = f"view_{uuid.uuid4().hex[:6]}"
        master = maria.members(maria.master, maria.password) if kind != "mariadb" else {}
        with closing(
            pymysql.connect(
                host="127.0.0.1", port=maria.port, user=maria.master, password=maria.password, autocommit=True
            )
        ) as connection, connection.cursor() as cursor:  # fmt: skip
            cursor.execute(f"create user {user}@'%' identified by '{OLD}'")
            try:
                lines = self.rotated(house, f"pilothouse:{kind.partition(' ')[0]}", maria.members(user, OLD), **master)
            finally:
                cursor.execute(f"drop user if exists {user}@'%', {user}_clone@'%'")
        assert lines[0].endswith(": Succeeded")
        assert self.steps(lines) == STEPS

    def test_a_user_of_redis(self, house: Installation, redis: DatabaseServer) -> None:  # noqa: F811
        with redis_client.Redis(port=redis.port, username=redis.master, password=redis.password) as client:
            client.execute_command("ACL", "SETUSER", "view", "on", f">{OLD}", "~*", "+@all")
        lines = self.rotated(house, "pilothouse:redis", redis.members("view", OLD))
        assert lines[0].endswith(": Succeeded")
        assert self.steps(lines) == STEPS

    @pytest.mark.parametrize("rotator", ["mariadb", "mysql-alternating", "redis"])
    def test_a_server_that_is_away(self, house: Installation, rotator: str) -> None:
        value = {
            "engine": rotator.partition("-")[0], "host": "127.0.0.1", "port": 1, "username": "u", "password": OLD,
        }  # fmt: skip
        if rotator != "redis":
            value["engine"] = "mariadb"
        master = value | {"username": "master"} if rotator == "mysql-alternating" else {}
        lines = self.rotated(house, f"pilothouse:{rotator}", value, **master)
        assert lines[0].endswith(": Running")
        assert self.steps(lines) == ["createSecret", "setSecret"]
        assert "setSecret     failed, and is tried again: " in lines[-1]

    def test_a_hook_that_refuses(self, house: Installation, function: Function) -> None:  # noqa: F811
        def act(event: dict[str, Any]) -> None:
            raise RuntimeError(event["Step"])

        function.act = act
        lines = self.rotated(house, f"hook:{function.url}/hook", {"password": OLD})
        assert self.steps(lines) == ["createSecret"]
        assert lines[0].endswith(": Failed")
        assert lines[-1].endswith("createSecret  failed: the receiver answered 400")

    def test_a_test_alone(self, house: Installation) -> None:
        secrets = house.boto("secretsmanager")
        secrets.create_secret(Name="tested", SecretString='{"password":"canary"}')
        assert shown(house, "rotations", "tested") == ["the secret was never rotated"]
        secrets.rotate_secret(SecretId="tested", RotationLambdaARN="pilothouse:random", RotateImmediately=False)
        lines = eventually(lambda: [each for each in shown(house, "rotations", "tested") if "Running" not in each])
        assert "  test to " in lines[0]
        assert self.steps(lines) == ["testSecret"]
