"""`pilothouse secrets` against a real server: what it shows, hides, and puts."""

import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from typer.testing import CliRunner

from pilothouse.cli.secrets import app
from pilothouse.cli.shared import Failed
from tests.acceptance.installation import Installation, eventually, installation


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installation(tmp_path_factory.mktemp("secrets")) as made:
        yield made


@pytest.fixture(scope="module")
def environment(house: Installation) -> dict[str, str]:
    return {**house.environment(), "COLUMNS": "160"}


@dataclass
class Run:
    stdout: str
    stderr: str


@pytest.fixture
def run(environment: dict[str, str]) -> Any:
    """The command in this process; its start takes longer than most of what it does."""

    def given(*words: object, code: int = 0, **more: str) -> Run:
        done = CliRunner().invoke(app, [str(word) for word in words], env=environment | more)
        failed = done.exception
        if isinstance(failed, Failed):
            assert failed.code == code
            return Run(done.stdout, str(failed))
        assert done.exit_code == code, (done.output, failed)
        return Run(done.stdout, done.stderr)

    return given


def test_a_value_is_edited_in_memory_and_compared_without_being_shown(
    house: Installation, run: Any, tmp_path: Path
) -> None:
    secrets = house.boto("secretsmanager")
    secrets.create_secret(Name="app/db", SecretString='{"user":"u","password":"canary-old"}')
    editor = tmp_path / "editor"
    seen = tmp_path / "seen"
    editor.write_text(
        f'#!/bin/sh\nstat -c "%a %n" "$1" > {seen}; stat -f -c %T "$1" >> {seen}\n'
        'sed -i "s/canary-old/canary-new/; s/}/,\\"more\\":1}/" "$1"\n'
    )
    editor.chmod(0o755)
    assert "has a new version" in run("edit", "app/db", EDITOR=str(editor)).stdout
    mode, file = seen.read_text().splitlines()[0].split()
    assert (mode, seen.read_text().splitlines()[1]) == ("600", "tmpfs")
    assert not os.path.exists(file)
    assert secrets.get_secret_value(SecretId="app/db")["SecretString"] == (
        '{"user":"u","password":"canary-new","more":1}'
    )
    hidden = run("diff", "app/db").stdout
    assert hidden.splitlines() == ["~ password: (hidden) -> (hidden)", "+ more: (hidden)"]
    assert '"canary-old" -> "canary-new"' in run("diff", "app/db", "--reveal").stdout
    assert "nothing was changed" in run("edit", "app/db", EDITOR="true").stdout
    assert "nothing was put" in run("edit", "app/db", EDITOR="false", code=1).stderr
    history = run("history", "app/db").stdout
    assert "AWSPREVIOUS" in history
    assert "canary" not in history
    readers = run("readers", "app/db").stdout
    assert "root" in readers
    assert "AWSCURRENT" in readers
    assert "app/db" in run("list").stdout
    assert "app/db" not in run("list", "--unused-for", "1").stdout
    assert "--create" in run("edit", "new/one", code=1, EDITOR="true").stderr


def test_secrets_travel_sealed_to_a_key(house: Installation, run: Any, tmp_path: Path) -> None:
    secrets = house.boto("secretsmanager")
    secrets.create_secret(
        Name="e/text", SecretString="canary-text", Description="d", Tags=[{"Key": "k", "Value": "v"}]
    )  # fmt: skip
    secrets.create_secret(Name="e/bytes", SecretBinary=b"\x00canary")
    key = X25519PrivateKey.generate()
    private, public, other = tmp_path / "private", tmp_path / "public", tmp_path / "other"
    pem, spki = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    form, none = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    private.write_bytes(key.private_bytes(pem, form, none))
    public.write_bytes(key.public_key().public_bytes(pem, spki))
    other.write_bytes(X25519PrivateKey.generate().private_bytes(pem, form, none))
    file = tmp_path / "export"
    file.write_text(run("export", "e/*", "--public-key", public).stdout)
    assert "canary" not in file.read_text()
    assert "another key" in run("import", file, "--private-key", other, code=1).stderr
    assert "is there already" in run("import", file, "--private-key", private, code=1).stderr
    for name in ("e/text", "e/bytes"):
        secrets.delete_secret(SecretId=name, ForceDeleteWithoutRecovery=True)
    run("import", file, "--private-key", private)
    assert secrets.get_secret_value(SecretId="e/text")["SecretString"] == "canary-text"
    assert secrets.get_secret_value(SecretId="e/bytes")["SecretBinary"] == b"\x00canary"
    assert secrets.describe_secret(SecretId="e/text")["Tags"] == [{"Key": "k", "Value": "v"}]
    assert "left as it is" in run("import", file, "--private-key", private, "--on-existing", "skip").stdout
    assert stat.S_ISREG(file.stat().st_mode)


def test_a_failed_rotation_is_shown_and_cleaned(house: Installation, run: Any) -> None:
    secrets = house.boto("secretsmanager")
    secrets.create_secret(Name="r", SecretString=json.dumps({"password": "canary-r"}))
    secrets.rotate_secret(SecretId="r", RotationLambdaARN="pilothouse:postgresql")
    eventually(lambda: "Failed" in run("rotations", "r").stdout)
    shown = run("rotations", "r").stdout
    assert "createSecret  failed: the value of the secret lacks the text host, username" in shown
    assert "canary" not in shown
    run("retry", "r")
    assert "is off" in run("clean", "r").stdout
    assert "nothing is pending" in run("clean", "r").stdout
    assert "cannot be asked" not in run("database", "verify", "r", code=1).stderr
