"""What the how-to on backups says of a copy of the database from before the master key was changed."""

import shutil
from pathlib import Path

from pilothouse.app import opened_ring
from pilothouse.crypto.master_key import read_key
from pilothouse.crypto.rotation import change_steps, next_local_key, place_local_key
from pilothouse.runtime.clock import TestClock
from pilothouse.runtime.settings import Settings
from tests.conftest import Server
from tests.crypto.test_refused_starts import files_of, refused, tables_of
from tests.crypto.test_root_key_changes import client

DATABASE = ("pilothouse.db", "pilothouse.db-wal", "pilothouse.db-shm")


def put_back(copy: Path, data: Path, *names: str) -> None:
    """These files as they are in the copy; those that it has not are removed."""
    for name in names:
        (data / name).unlink(missing_ok=True)
        if (copy / name).exists():
            shutil.copy2(copy / name, data / name)


def test_an_older_copy_of_the_database_opens_with_its_own_master_key(tmp_path: Path) -> None:
    data, copy = tmp_path / "data", tmp_path / "copy"
    data.mkdir(mode=0o700)
    settings = Settings(data=data, http="127.0.0.1:0", https="127.0.0.1:0")
    first = Server(settings, TestClock())
    client(first, "ssm").put_parameter(Name="/a", Value="a secret", Type="SecureString")
    root = first.application.root
    first.close()
    shutil.copytree(data, copy)

    async def change() -> None:
        async with opened_ring(settings, create=True) as ring:
            new = next_local_key(data)
            for _, step in change_steps(ring, data, new, lambda: place_local_key(data), keep_old=False):
                await step()

    running = Server(settings, TestClock())
    running.run(change())
    running.close()

    put_back(copy, data, *DATABASE)
    before = files_of(data), tables_of(f"sqlite:///{data}/pilothouse.db")
    sentence = refused(settings)
    for key in (data / "master.key", copy / "master.key"):
        assert f"fingerprint {read_key(key).fingerprint[:8]}" in sentence
    assert (files_of(data), tables_of(f"sqlite:///{data}/pilothouse.db")) == before

    put_back(copy, data, "master.key")
    back = Server(settings, TestClock())
    made = back.application.root
    assert made.access_key_id != root.access_key_id
    for credential in (made, root):
        there = client(back, "ssm", credential)
        assert there.get_parameter(Name="/a", WithDecryption=True)["Parameter"]["Value"] == "a secret"
    back.close()

    put_back(copy, data, *DATABASE, "root.sealed")
    again = Server(settings, TestClock())
    assert again.application.root.access_key_id == root.access_key_id
    again.run(change())
    again.close()
