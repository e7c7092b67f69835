"""What operators type: faults are one clear sentence and exit code 1."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import ClientError

from tests.acceptance.installation import Installation, free_ports, installation

BIN = Path(sys.executable).parent


def pilothouse(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does."""
    return subprocess.run(
        [str(BIN / "pilothouse"), *(str(word) for word in words)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def one_sentence(done: subprocess.CompletedProcess[str]) -> str:
    """The text of a fault that is told as it should be."""
    assert done.returncode == 1, done
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("pilothouse: ")]
    assert len(lines) == 1, done.stderr
    return lines[0]


@pytest.fixture
def house(tmp_path: Path) -> Installation:
    with installation(tmp_path) as made:
        yield made  # type: ignore[misc]


def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = pilothouse("serve", "--data", tmp_path / "d", "--http", f"127.0.0.1:{port}", "--https", "127.0.0.1:0")
    assert str(port) in one_sentence(done)


def test_an_unwritable_directory(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    assert str(file) in one_sentence(pilothouse("serve", "--data", file / "below"))


def test_a_data_directory_in_which_nothing_can_be_changed(tmp_path: Path) -> None:
    (tmp_path / "root.sealed").touch()
    (tmp_path / "master-key.lock").mkdir()
    for words in (("status",), ("rotate",)):
        said = one_sentence(pilothouse("master-key", *words, "--data", tmp_path))
        assert "master-key.lock" in said
        assert "run the command again" in said


def test_a_listener_that_is_no_address(tmp_path: Path) -> None:
    assert "HOST:PORT" in one_sentence(pilothouse("serve", "--data", tmp_path / "d", "--http", "7700"))


def test_the_plain_listener_stays_on_loopback(tmp_path: Path) -> None:
    assert "loopback" in one_sentence(pilothouse("serve", "--data", tmp_path / "d", "--http", "0.0.0.0:7700"))


def test_dev_mode_stays_on_loopback(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    done = pilothouse("serve", "--data", tmp_path / "d", "--dev", "--http", "127.0.0.1:0", "--https", f"0.0.0.0:{port}")
    assert "loopback" in one_sentence(done)


def test_a_database_that_does_not_answer(tmp_path: Path) -> None:
    url = f"postgresql://nobody@127.0.0.1:{free_ports(1)[0]}/x"
    assert "PostgreSQL" in one_sentence(pilothouse("serve", "--data", tmp_path / "d", "--database", url))


def test_env_before_the_first_start(tmp_path: Path) -> None:
    assert "serve" in one_sentence(pilothouse("env", "--data", tmp_path))


def test_a_second_server_on_the_same_data(house: Installation) -> None:
    done = pilothouse("serve", "--data", house.data, "--http", "127.0.0.1:0", "--https", "127.0.0.1:0")
    assert "another server" in one_sentence(done)


def test_a_wrong_master_key_is_refused(house: Installation) -> None:
    house.stop()
    other = "bm5ubm5ubm5ubm5ubm5ubm5ubm5ubm5ubm5ubm5ubm4="
    done = pilothouse("serve", "--data", house.data, PILOTHOUSE_MASTER_KEY=other)
    assert "nothing was changed" in one_sentence(done)
    house.start()
    assert house.aws("sts", "get-caller-identity")["Account"]


def test_env_is_shell_and_json(house: Installation) -> None:
    shell = pilothouse("env", "--data", house.data).stdout
    assert f"export AWS_ENDPOINT_URL={house.url}" in shell
    over_tls = json.loads(pilothouse("env", "--data", house.data, "--https", "--output", "json").stdout)
    assert over_tls["AWS_ENDPOINT_URL"] == house.tls_url
    assert over_tls["AWS_CA_BUNDLE"] == str(house.data / "ca.pem")


def test_the_data_directory_is_private(house: Installation) -> None:
    assert house.data.stat().st_mode & 0o777 == 0o700
    for name in ("master.key", "root.sealed", "ca.key", "server.key"):
        assert (house.data / name).stat().st_mode & 0o077 == 0, name


def test_no_root_secret_lies_open_in_the_data_directory(house: Installation) -> None:
    secret = house.environment()["AWS_SECRET_ACCESS_KEY"].encode()
    for file in house.data.rglob("*"):
        assert not file.is_file() or secret not in file.read_bytes(), file


def test_doctor_finds_a_sound_installation_sound(house: Installation) -> None:
    done = pilothouse("doctor", "--data", house.data, "--output", "json")
    assert done.returncode == 0, done.stdout
    assert all(finding["ok"] for finding in json.loads(done.stdout))


def test_doctor_names_what_is_wrong(house: Installation) -> None:
    house.stop()
    house.data.chmod(0o755)
    done = pilothouse("doctor", "--data", house.data, "--output", "json")
    house.start()
    wrong = {finding["check"]: finding["mend"] for finding in json.loads(done.stdout) if not finding["ok"]}
    assert done.returncode == 1
    assert wrong["data directory"].startswith("chmod 700")
    assert "serve" in wrong["server"]


def test_an_account_name_twice(house: Installation) -> None:
    assert pilothouse("accounts", "create", "team", "--data", house.data).returncode == 0
    assert "team" in one_sentence(pilothouse("accounts", "create", "team", "--data", house.data))


def test_sigterm_ends_it_well(house: Installation) -> None:
    assert house.stop() == 0


def test_data_is_reused(house: Installation) -> None:
    before = house.environment()["AWS_ACCESS_KEY_ID"]
    house.aws("ssm", "put-parameter", "--name", "kept", "--type", "String", "--value", "v")
    house.stop()
    house.start()
    assert house.environment()["AWS_ACCESS_KEY_ID"] == before
    assert house.aws("ssm", "get-parameter", "--name", "kept")["Parameter"]["Value"] == "v"


def test_a_lost_root_key_is_replaced_while_the_server_runs(house: Installation) -> None:
    assert pilothouse("accounts", "create", "lost", "--data", house.data).returncode == 0
    before = house.aws("sts", "get-caller-identity")
    old = json.loads(pilothouse("env", "--data", house.data, "--output", "json").stdout)
    made = json.loads(pilothouse("accounts", "rotate-root", "--data", house.data, "--output", "json").stdout)
    new = json.loads(pilothouse("env", "--data", house.data, "--output", "json").stdout)
    assert made["AccountId"] == before["Account"]
    assert (new["AWS_ACCESS_KEY_ID"], new["AWS_SECRET_ACCESS_KEY"]) == (made["AccessKeyId"], made["SecretAccessKey"])
    assert old["AWS_ACCESS_KEY_ID"] != new["AWS_ACCESS_KEY_ID"]

    def account_by(key: str, secret: str) -> str:
        sts = boto3.client(
            "sts", endpoint_url=house.url, region_name="us-east-1", aws_access_key_id=key, aws_secret_access_key=secret
        )
        found: str = sts.get_caller_identity()["Account"]
        return found

    assert account_by(made["AccessKeyId"], made["SecretAccessKey"]) == before["Account"]
    with pytest.raises(ClientError, match="InvalidClientTokenId"):
        account_by(old["AWS_ACCESS_KEY_ID"], old["AWS_SECRET_ACCESS_KEY"])
    other = json.loads(pilothouse("accounts", "rotate-root", "lost", "--data", house.data, "--output", "json").stdout)
    assert account_by(other["AccessKeyId"], other["SecretAccessKey"]) == other["AccountId"] != before["Account"]
    kept = json.loads(pilothouse("env", "--data", house.data, "--output", "json").stdout)
    assert kept["AWS_ACCESS_KEY_ID"] == made["AccessKeyId"]
    assert "no account" in one_sentence(pilothouse("accounts", "rotate-root", "nobody", "--data", house.data))


def test_a_server_loads_nothing_that_few_need() -> None:
    """A library that one capability wants now and then is imported where it is used: idle memory is everybody's."""
    heavy = {
        "asyncpg",
        "awscrt",
        "botocore.session",
        "icalendar",
        "nats",
        "obstore",
        "pydantic",
        "rich.console",
        "segno",
    }
    look = "import sys; from pilothouse.cli.main import application; application('serve'); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True, timeout=60)
    assert not heavy & set(done.stdout.split())
