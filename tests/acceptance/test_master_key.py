"""Master key and root keys change while a server answers: no read fails, kill -9 at any step leaves a sound house."""

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.acceptance.installation import BIN, Installation, eventually, installation
from tests.crypto.test_refused_starts import files_of, tables_of

BREAK_OFF = """
import asyncio, os, signal, sys
from pathlib import Path
from pilothouse.app import opened_ring
from pilothouse.crypto import rotation
from pilothouse.runtime.settings import load

async def main(data, count):
    async with opened_ring(load(data), create=False) as ring:
        new = rotation.next_local_key(data)
        steps = rotation.change_steps(ring, data, new, lambda: rotation.place_local_key(data), keep_old=False)
        for _, step in steps[:count]:
            await step()
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
"""


def master_key(house: Installation, *words: str, **environment: str) -> dict[str, Any]:
    """The command's answer."""
    done = subprocess.run(
        [BIN / "pilothouse", "master-key", *words, "--data", house.data, "--output", "json"],
        env={**os.environ, **environment}, capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def refused_start(house: Installation) -> str:
    """The one sentence of a server that does not start."""
    done = subprocess.run(
        [BIN / "pilothouse", "serve", "--data", house.data, "--http", "127.0.0.1:0", "--https", "127.0.0.1:0",
         *house._options],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    return done.stderr.splitlines()[-1]


def age_root_keys(house: Installation) -> None:
    """As if the time had passed after which a new root key is used. The server may not have looked at the ring yet."""
    statement = "update root_key set created_at = created_at - 40000"
    if house._options:
        asyncio.run(_execute(house._options[1], statement))
        return
    connection = sqlite3.connect(house.data / "pilothouse.db", timeout=30)
    with connection:
        connection.execute(statement)
    connection.close()


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(statement)
    await connection.close()


class Traffic(threading.Thread):
    """Reads of every kind and puts, in turns until it is told to stop. Nothing is tried twice."""

    def __init__(self, house: Installation, values: dict[str, str], lane: int, key: str, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self._house, self._values = house, values
        self.connect()
        self._path, self._key = f"/traffic/{lane}", key
        self._stop_asking = stop
        self.value = ""
        self._secret = f"secret-{lane}"
        self._secrets.create_secret(Name=self._secret, SecretString="of lane", KmsKeyId=key)
        self._blob = self._kms.encrypt(KeyId=key, Plaintext=b"of lane")["CiphertextBlob"]
        self.rounds = 0
        self.failures: list[str] = []

    def connect(self) -> None:
        """With connections of its own."""
        self._ssm, self._secrets, self._kms = (
            self._house.boto(service, values=self._values, retries={"max_attempts": 0})
            for service in ("ssm", "secretsmanager", "kms")
        )

    def run(self) -> None:
        while not self._stop_asking.is_set():
            try:
                if self.rounds % 5 == 0:
                    self.value = f"value {self._path} {self.rounds}"
                    self._ssm.put_parameter(
                        Name=f"{self._path}/x", Value=self.value, Type="SecureString", KeyId=self._key, Overwrite=True
                    )
                self.failures += [f"{found} is not {wanted}" for found, wanted in self.read() if found != wanted]
            except Exception as error:
                self.failures.append(repr(error))
            self.rounds += 1
            time.sleep(0.05)

    def read(self) -> list[tuple[Any, Any]]:
        one = self._ssm.get_parameter(Name=f"{self._path}/x", WithDecryption=True)["Parameter"]["Value"]
        page = self._ssm.get_parameters_by_path(Path=self._path, WithDecryption=True)["Parameters"]
        return [
            (one, self.value),
            ([each["Value"] for each in page], [self.value]),
            (self._secrets.get_secret_value(SecretId=self._secret)["SecretString"], "of lane"),
            (self._kms.decrypt(CiphertextBlob=self._blob)["Plaintext"], b"of lane"),
        ]


def test_no_read_and_no_put_fails_while_all_keys_change(house: Installation) -> None:
    values = house.environment()
    kms = house.boto("kms", values=values)
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    stop = threading.Event()
    lanes = [Traffic(house, values, lane, key, stop) for lane in range(3)]
    for lane in lanes:
        lane.start()
    kms.rotate_key_on_demand(KeyId=key)
    first = master_key(house, "rotate")
    kms.rotate_key_on_demand(KeyId=key)
    master_key(house, "rotate", "--root-key")
    age_root_keys(house)
    resealed = master_key(house, "reseal")
    kms.rotate_key_on_demand(KeyId=key)
    eventually(lambda: all(lane.rounds > 20 for lane in lanes), what="enough rounds of reads and puts")
    stop.set()
    for lane in lanes:
        lane.join(30)
    assert [failure for lane in lanes for failure in lane.failures] == []
    assert (resealed["RootKey"], resealed["Broken"]) == (2, 0)
    status = eventually(lambda: moved(house), what="everything under the new root key")
    assert (status["Fingerprint"], status["OtherMasterKeys"]) == (first["Fingerprint"], [])
    assert status["RootKeys"][1]["InUse"]
    assert len(kms.list_key_rotations(KeyId=key)["Rotations"]) == 3
    house.kill()
    house.start()
    for lane in lanes:
        lane.connect()
        assert [found == wanted for found, wanted in lane.read()] == [True] * 4


def moved(house: Installation) -> dict[str, Any]:
    """What `status` says once nothing lies under the first root key: the server too moves what lies there."""
    status = master_key(house, "status")
    return status if status["RootKeys"][0]["Values"] == 0 else {}


def test_the_server_and_the_command_may_be_killed_at_any_moment(house: Installation) -> None:
    values = house.environment()
    kms, ssm = house.boto("kms", values=values), house.boto("ssm", values=values)
    ssm.put_parameter(Name="kept", Value="of before", Type="SecureString")
    blobs = [
        kms.encrypt(KeyId=kms.create_key()["KeyMetadata"]["KeyId"], Plaintext=b"%d" % number)["CiphertextBlob"]
        for number in range(120)
    ]
    environment = {**os.environ, **({"PILOTHOUSE_DATABASE": house._options[1]} if house._options else {})}
    for count in (2, 3, 4):  # a change is broken off after so many steps, and the server with it
        done = subprocess.run(
            [sys.executable, "-c", BREAK_OFF, house.data, str(count)], env=environment, capture_output=True, check=False
        )
        assert done.returncode == -signal.SIGKILL, done.stderr
        house.kill()
        house.start()
    beside(house, "rotate")
    master_key(house, "rotate", "--root-key")
    age_root_keys(house)
    beside(house, "reseal")
    assert ssm.get_parameter(Name="kept", WithDecryption=True)["Parameter"]["Value"] == "of before"
    assert [kms.decrypt(CiphertextBlob=blob)["Plaintext"] for blob in blobs] == [b"%d" % n for n in range(120)]
    assert eventually(lambda: moved(house), what="everything under the new root key")["OtherMasterKeys"] == []
    assert not (house.data / "master.key.next").exists()


def beside(house: Installation, *words: str) -> None:
    """Run the command while the server is killed and started again, the command too at first; it ends well."""
    command = [BIN / "pilothouse", "master-key", *words, "--data", house.data, "--output", "json"]
    for wait in (1.0, 1.6):
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
            time.sleep(wait)
            running.kill()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        time.sleep(1.3)
        house.kill()
        house.start()
        _, told = running.communicate(timeout=60)
        assert running.returncode == 0, told


def test_a_lost_key_file_is_not_made_anew(house: Installation, database_url: str) -> None:
    house.boto("ssm").put_parameter(Name="kept", Value="of before", Type="SecureString")
    house.kill()
    key, aside = house.data / "master.key", house.folder / "aside.key"
    database = database_url if house._options else f"sqlite:///{house.data}/pilothouse.db"
    before = tables_of(database)
    key.rename(aside)
    for content, says in ((None, "does not exist"), (b"bm5u" * 10 + b"bm4=\n", "is not the one"), (b"bm5u", "3 bytes")):
        if content is not None:
            key.touch(0o600)
            key.write_bytes(content)
        files = files_of(house.data)
        said = refused_start(house)
        assert said.startswith("pilothouse: ")
        assert says in said
        assert "bm5u" not in said
        assert (files_of(house.data), tables_of(database)) == (files, before)
    aside.replace(key)  # with its mode
    house.start()
    assert house.boto("ssm").get_parameter(Name="kept", WithDecryption=True)["Parameter"]["Value"] == "of before"


def test_the_key_moves_to_the_environment_and_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    new = "bm5ubm5ubm5ubm5ubm5ubm5ubm5ubm5ubm5ubm5ubm4="
    with installation(tmp_path) as house:
        assert "restart" in master_key(house, "rotate", "--to", "environment", PILOTHOUSE_NEW_MASTER_KEY=new)["Next"]
        house.kill()
        monkeypatch.setenv("PILOTHOUSE_MASTER_KEY", new)
        house.start()
        master_key(house, "rotate", "--finish")
        assert not (house.data / "master.key").exists()
        assert master_key(house, "status")["MasterKey"] == "environment"
        master_key(house, "rotate", "--to", "file")
        house.kill()
        house.start()
        assert master_key(house, "status")["MasterKey"] == "file"
        assert house.boto("sts").get_caller_identity()["Account"]
