"""A lost, wrong or damaged master key: the server does not start, says what to do, and nothing at all is changed."""

import asyncio
import base64
import hashlib
import json
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import asyncpg
import pytest

from pilothouse.app import StartFailed, opened_application, opened_ring
from pilothouse.crypto.ring import add_version
from pilothouse.runtime.ids import Ids
from pilothouse.runtime.settings import Settings
from pilothouse.serving import run
from pilothouse.storage.engines import open_database

OTHER = base64.b64encode(b"n" * 32)
DATABASE_FILES = (".db", ".db-wal", ".db-shm")


@dataclass(frozen=True, slots=True)
class Case:
    """What is done to a sound installation, and what the refusal says."""

    name: str
    harm: Callable[[Path], object]
    says: tuple[str, ...]
    variable: str | None = None


def _key(content: bytes, mode: int = 0o600) -> Callable[[Path], None]:
    def harm(data: Path) -> None:
        (data / "master.key").write_bytes(content)
        (data / "master.key").chmod(mode)

    return harm


def _directory_in_its_place(data: Path) -> None:
    (data / "master.key").unlink()
    (data / "master.key").mkdir()


def _link_to_nothing(data: Path) -> None:
    (data / "master.key").unlink()
    (data / "master.key").symlink_to(data / "not mounted")


def _nothing_but_a_link(data: Path) -> None:
    _everything_lost(data)
    (data / "master.key").symlink_to(data / "not mounted")


def _root_credential_damaged(data: Path) -> None:
    found = json.loads((data / "root.sealed").read_text())
    wrapped = found["wrappings"][0]["wrapped"]
    found["wrappings"][0]["wrapped"] = wrapped[:40] + "AAAA" + wrapped[44:]
    (data / "root.sealed").write_text(json.dumps(found))


def _root_credential_a_directory(data: Path) -> None:
    (data / "root.sealed").unlink()
    (data / "root.sealed").mkdir()


def _everything_lost(data: Path) -> None:
    for file in data.iterdir():
        file.unlink()


def _nothing(data: Path) -> None:
    """The harm is elsewhere."""


CASES = (
    Case("lost", lambda data: (data / "master.key").unlink(), ("does not exist", "backup", "PILOTHOUSE_MASTER_KEY")),
    Case("with the directory", _everything_lost, ("does not exist", "backup", "No new key was made")),
    Case("another", _key(OTHER), ("not the one", "nothing was changed", "put that key back")),
    Case("truncated", _key(OTHER[:20]), ("master.key", "15 bytes", "32")),
    Case("cut in a group", _key(OTHER[:21]), ("master.key", "base64")),
    Case("empty", _key(b""), ("master.key", "0 bytes", "32")),
    Case("not base64", _key(b"no key at all!"), ("master.key", "base64")),
    Case("raw bytes", _key(b"\xff" * 32), ("master.key", "cannot be read")),
    Case("a directory", _directory_in_its_place, ("master.key", "cannot be read")),
    Case("a link to nothing", _link_to_nothing, ("master.key", "cannot be read", "backup")),
    Case("a link alone", _nothing_but_a_link, ("master.key", "cannot be read", "backup")),
    Case("root.sealed damaged", _root_credential_damaged, ("root.sealed", "damaged", "remove it")),
    Case("root.sealed a directory", _root_credential_a_directory, ("root.sealed", "cannot be read", "remove it")),
    Case("open to all", lambda data: (data / "master.key").chmod(0o644), ("0644", "chmod 600")),
    Case("written by a group", lambda data: (data / "master.key").chmod(0o660), ("0660", "chmod 600")),
    Case("another in the environment", _nothing, ("environment", "not the one", "nothing was changed"), OTHER.decode()),
    Case("damaged in the environment", _nothing, ("PILOTHOUSE_MASTER_KEY", "base64"), "no key"),
    Case("empty in the environment", _nothing, ("PILOTHOUSE_MASTER_KEY", "0 bytes"), ""),
)


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    """Of an installation that was started once and is stopped."""
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    made = Settings(data=data, database=database_url, http="127.0.0.1:0", https="127.0.0.1:0")

    async def once() -> None:
        async with opened_application(made):
            pass

    asyncio.run(once())
    return made


def files_of(folder: Path) -> dict[str, tuple[int, str]]:
    """Mode and digest of every file, without those of a SQLite database."""
    return {
        str(file.relative_to(folder)): (
            file.lstat().st_mode,
            hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else "",
        )
        for file in sorted(folder.rglob("*"))
        if not file.name.endswith(DATABASE_FILES)
    }


def tables_of(url: str) -> dict[str, list[str]]:
    """Every row of every table, and the tables' definitions."""
    if url.startswith("postgresql"):
        return asyncio.run(_postgresql_tables(url))
    with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
        names = [name for (name,) in connection.execute("select name from sqlite_master where type = 'table'")]
        found = {name: sorted(map(repr, connection.execute(f"select * from '{name}'"))) for name in names}
        found["sqlite_master"] = sorted(map(repr, connection.execute("select name, sql from sqlite_master")))
    connection.close()
    return found


async def _postgresql_tables(url: str) -> dict[str, list[str]]:
    connection = await asyncpg.connect(url)
    try:
        names = await connection.fetch("select tablename from pg_tables where schemaname = 'public'")
        return {
            name: sorted(repr(tuple(row)) for row in await connection.fetch(f'select * from "{name}"'))
            for (name,) in names
        }
    finally:
        await connection.close()


def refused(settings: Settings) -> str:
    """The sentence of the start that fails."""
    with pytest.raises(StartFailed) as caught:
        asyncio.run(run(settings))
    return str(caught.value)


def test_a_start_without_the_right_key_changes_nothing(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = tables_of(settings.database)
    assert tables["root_key_wrapping"]
    for number, case in enumerate(CASES):
        data = tmp_path / f"data-{number}"
        data.mkdir(mode=0o700)
        for file in settings.data.iterdir():
            (data / file.name).write_bytes(file.read_bytes())
            (data / file.name).chmod(file.stat().st_mode)
        case.harm(data)
        before = files_of(data)
        if case.variable is not None:
            monkeypatch.setenv("PILOTHOUSE_MASTER_KEY", case.variable)
        sentence = refused(replace(settings, data=data))
        monkeypatch.delenv("PILOTHOUSE_MASTER_KEY", raising=False)
        for part in case.says:
            assert part in sentence, (case.name, sentence)
        assert "bm5u" not in sentence, case.name
        assert files_of(data) == before, case.name
        assert tables_of(settings.database) == tables, case.name


@pytest.mark.parametrize(
    "harm",
    [
        "update root_key_wrapping set wrapped = other.wrapped from root_key_wrapping other"
        " where other.version = 3 - root_key_wrapping.version",
        "delete from root_key_wrapping where version = 2",
        "update root_key_wrapping set version = 3 where version = 2",
    ],
    ids=["exchanged", "one missing", "of another version"],
)
def test_root_keys_in_the_wrong_place_are_refused(settings: Settings, harm: str) -> None:
    async def two_then(statement: str) -> None:
        async with opened_ring(settings, create=False) as ring:
            await add_version(ring, Ids())
            async with ring.database.transaction() as tx:
                await tx.execute(statement)

    asyncio.run(two_then(harm))
    before = files_of(settings.data), tables_of(settings.database)
    assert "nothing was changed" in refused(settings)
    assert (files_of(settings.data), tables_of(settings.database)) == before


def test_an_installation_of_an_earlier_release_is_not_touched_with_another_key(settings: Settings) -> None:
    async def back() -> None:
        database = await open_database(settings.database)
        async with database.transaction() as tx:
            await tx.execute("drop table root_key")
            await tx.execute("drop table root_key_wrapping")
            await tx.execute("delete from schema_migration where capability = 'crypto' and number > 1")
        await database.close()

    asyncio.run(back())
    tables = tables_of(settings.database)
    key = (settings.data / "master.key").read_bytes()
    _key(OTHER)(settings.data)
    before = files_of(settings.data)
    assert "nothing was changed" in refused(settings)
    (settings.data / "master.key").unlink()
    assert "does not exist" in refused(settings)
    _key(OTHER)(settings.data)
    assert files_of(settings.data) == before
    assert tables_of(settings.database) == tables
    assert key != OTHER


def test_no_database_is_made_for_a_directory_whose_key_is_lost(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "root.sealed").write_bytes(b"of some key")
    before = files_of(tmp_path)
    assert "does not exist" in refused(Settings(data=data, http="127.0.0.1:0", https="127.0.0.1:0"))
    assert files_of(tmp_path) == before
    assert not (data / "pilothouse.db").exists()
