"""An installation whose master key is in the KMS of another Pilothouse."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance.installation import Installation, installation
from tests.acceptance.test_master_key import master_key, refused_start
from tests.crypto.test_refused_starts import files_of, tables_of


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[Installation]:
    """The other installation, whose KMS keeps the key."""
    (tmp_path / "keeper").mkdir()
    with installation(tmp_path / "keeper") as made:
        yield made


@pytest.fixture
def setting(keeper: Installation, monkeypatch: pytest.MonkeyPatch) -> str:
    """The setting that names a key there; credentials lie in the environment as for every AWS program."""
    key_id = keeper.boto("kms").create_key()["KeyMetadata"]["KeyId"]
    for name, value in keeper.environment().items():
        if name.startswith("AWS_") and name != "AWS_ENDPOINT_URL":
            monkeypatch.setenv(name, value)
    return f"aws-kms:{key_id},endpoint={keeper.url},region=us-east-1"


def with_keeper_awake(monkeypatch: pytest.MonkeyPatch, setting: str, start: Callable[[], None]) -> None:
    """Start the keeper without the setting: its own master key is its file."""
    monkeypatch.delenv("PILOTHOUSE_MASTER_KEY_FROM")
    start()
    monkeypatch.setenv("PILOTHOUSE_MASTER_KEY_FROM", setting)


def test_an_installation_lives_under_a_key_of_another(
    keeper: Installation, setting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kms = keeper.boto("kms")
    key_id = setting.split(":")[1].split(",")[0]
    monkeypatch.setenv("PILOTHOUSE_MASTER_KEY_FROM", setting)
    (tmp_path / "house").mkdir()
    with installation(tmp_path / "house") as house:
        assert not (house.data / "master.key").exists()
        house.boto("ssm").put_parameter(Name="kept", Value="a secret", Type="SecureString")
        assert master_key(house, "status")["MasterKey"] == setting
        assert master_key(house, "rewrap") == {"Rewrapped": 1}
        ssm = house.boto("ssm")
        keeper.stop()
        assert ssm.get_parameter(Name="kept", WithDecryption=True)["Parameter"]["Value"] == "a secret"
        assert ssm.put_parameter(Name="more", Value="another", Type="SecureString")["Version"] == 1
        house.stop()
        before = files_of(house.data), tables_of(f"sqlite:///{house.data}/pilothouse.db")
        assert "cannot be reached" in refused_start(house)
        with_keeper_awake(monkeypatch, setting, keeper.start)
        kms.disable_key(KeyId=key_id)
        assert "refuses: DisabledException" in refused_start(house)
        kms.enable_key(KeyId=key_id)
        only_others = json.dumps({"Version": "2012-10-17", "Statement": [
            {"Effect": "Deny", "Principal": "*", "Action": ["kms:Decrypt", "kms:Encrypt"], "Resource": "*"},
            {"Effect": "Allow", "Principal": "*", "Action": "kms:*", "Resource": "*"},
        ]})  # fmt: skip
        policy = kms.get_key_policy(KeyId=key_id)["Policy"]
        kms.put_key_policy(KeyId=key_id, Policy=only_others)
        assert "refuses: AccessDeniedException" in refused_start(house)
        kms.put_key_policy(KeyId=key_id, Policy=policy)
        assert (files_of(house.data), tables_of(f"sqlite:///{house.data}/pilothouse.db")) == before
        house.start()
        assert house.boto("ssm").get_parameter(Name="kept", WithDecryption=True)["Parameter"]["Value"] == "a secret"


def test_an_installation_moves_to_a_key_of_another_and_back(setting: str, tmp_path: Path) -> None:
    (tmp_path / "house").mkdir()
    with installation(tmp_path / "house") as house:
        house.boto("ssm").put_parameter(Name="kept", Value="a secret", Type="SecureString")
        master_key(house, "rotate", "--to", setting)
        assert f'master_key = "{setting}"' in (house.data / "pilothouse.toml").read_text()
        assert not (house.data / "master.key").exists()
        house.kill()
        house.start()
        assert house.boto("ssm").get_parameter(Name="kept", WithDecryption=True)["Parameter"]["Value"] == "a secret"
        master_key(house, "rotate", "--to", "file")
        assert master_key(house, "status")["OtherMasterKeys"] == []
        house.kill()
        house.start()
        assert house.boto("ssm").get_parameter(Name="kept", WithDecryption=True)["Parameter"]["Value"] == "a secret"
