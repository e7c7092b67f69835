"""A master key in a transit engine: what is wrapped opens again, and each refusal says what to do."""

import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from pilothouse.app import opened_ring
from pilothouse.crypto import outside
from pilothouse.crypto.master_key import MasterKey, MasterKeyUnreachable, MasterKeyUnusable, find_master
from pilothouse.crypto.ring import Ring, add_version, open_ring, state_of
from pilothouse.crypto.rotation import change_steps, rewrap
from pilothouse.runtime.clock import SystemClock, TestClock
from pilothouse.runtime.ids import Ids
from pilothouse.runtime.settings import Settings
from pilothouse.storage import Database
from tests.conftest import Server
from tests.crypto.test_refused_starts import files_of, refused, tables_of
from tests.crypto.test_root_key_changes import client
from tests.crypto.transit_server import TOKEN


@pytest.fixture
def engine() -> Iterator[str]:
    """The address of a transit engine in a process of its own."""
    with subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("transit_server.py"))], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.terminate()


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outside, "_WAITS", (0.01, 0.01))


def key_at(engine: str, data: Path, *, token: str = TOKEN, name: str = "pilothouse") -> MasterKey:
    found = find_master(data, f"transit:{engine},key={name}", environment={"PILOTHOUSE_TRANSIT_TOKEN": token})
    assert found is not None
    return found


def post(engine: str, path: str) -> None:
    urllib.request.urlopen(
        urllib.request.Request(f"{engine}/v1/{path}", data=b"", headers={"X-Vault-Token": TOKEN}, method="POST")
    ).close()


async def test_what_is_wrapped_opens_in_its_place_alone(engine: str, tmp_path: Path) -> None:
    key = key_at(engine, tmp_path)
    wrapped = await key.wrap(b"root", "a")
    assert wrapped.startswith(b"vault:v1:")
    assert await key.unwrap(wrapped, "a") == b"root"
    with pytest.raises(MasterKeyUnusable, match="another place"):
        await key.unwrap(wrapped, "b")
    with pytest.raises(MasterKeyUnusable, match="400"):
        await key.unwrap(wrapped[:-8] + b"AAAAAAA=", "a")


async def test_rewrapping_after_a_rotation_there(engine: str, tmp_path: Path) -> None:
    key = key_at(engine, tmp_path)
    wrapped = await key.wrap(b"root", "a")
    post(engine, "transit/keys/pilothouse/rotate")
    anew = await key.rewrap(wrapped, "a")
    assert anew.startswith(b"vault:v2:")
    assert await key.unwrap(anew, "a") == await key.unwrap(wrapped, "a") == b"root"


async def test_a_wrong_token_is_refused_and_never_shown(engine: str, tmp_path: Path) -> None:
    with pytest.raises(MasterKeyUnusable, match="the token is wrong") as caught:
        await key_at(engine, tmp_path, token="s.other-token").wrap(b"root", "a")
    assert not isinstance(caught.value, MasterKeyUnreachable)
    assert "s.other-token" not in str(caught.value)


async def test_a_sealed_engine_is_unreachable_until_it_is_unsealed(engine: str, tmp_path: Path) -> None:
    post(engine, "sys/seal")
    with pytest.raises(MasterKeyUnreachable, match="unseal"):
        await key_at(engine, tmp_path).wrap(b"root", "a")
    post(engine, "sys/unseal")
    assert await key_at(engine, tmp_path).wrap(b"root", "a")


async def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(MasterKeyUnreachable, match="check the address"):
        await key_at("http://127.0.0.1:9", tmp_path).wrap(b"root", "a")


async def test_an_unknown_key_and_a_missing_token(engine: str, tmp_path: Path) -> None:
    with pytest.raises(MasterKeyUnusable, match="400"):
        await key_at(engine, tmp_path, name="other").wrap(b"root", "a")
    with pytest.raises(MasterKeyUnusable, match="there is no token"):
        await key_at(engine, tmp_path, token="").wrap(b"root", "a")


async def test_an_installation_moves_to_the_engine_and_follows_its_rotation(
    engine: str, database: Database, tmp_path: Path
) -> None:
    async def opened(setting: str) -> Ring:
        environment = {"PILOTHOUSE_TRANSIT_TOKEN": TOKEN}
        return await open_ring(
            database,
            tmp_path,
            lambda: find_master(tmp_path, setting, environment=environment),
            SystemClock(),
            Ids(),
            create=True,
        )

    ring = await opened("")
    sealed = ring.vault.seal(b"x", "a")
    new = key_at(engine, tmp_path)
    for _, step in change_steps(ring, tmp_path, new, lambda: None, keep_old=False):
        await step()
    assert not (tmp_path / "master.key").exists()
    post(engine, "transit/keys/pilothouse/rotate")
    moved = await opened(new.name)
    assert await rewrap(moved) == 1
    assert (await state_of(database)).wrappings[0].wrapped.startswith(b"vault:v2:")
    assert (await opened(new.name)).vault.open(sealed, "a") == b"x"
    with pytest.raises(MasterKeyUnusable, match="No new key was made"):
        await opened("")


@pytest.fixture
def settings(engine: str, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Of an installation whose master key the engine keeps."""
    monkeypatch.setenv("PILOTHOUSE_TRANSIT_TOKEN", TOKEN)
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    return Settings(
        data=data, database=database_url, http="127.0.0.1:0", https="127.0.0.1:0",
        master_key=f"transit:{engine},key=pilothouse",
    )  # fmt: skip


def test_a_server_reads_and_writes_on_while_the_engine_is_away(settings: Settings, engine: str) -> None:
    async def add() -> int:
        async with opened_ring(settings, create=False, clock=server.clock) as ring:
            return await add_version(ring, Ids())

    async def looked() -> None:
        server.clock.advance(seconds=40)

    server = Server(settings, TestClock())
    try:
        ssm = client(server, "ssm")
        ssm.put_parameter(Name="/a", Value="a secret", Type="SecureString")
        assert server.run(add()) == 2
        post(engine, "sys/seal")
        server.run(looked())  # it cannot have the new root key, and goes on with those it holds
        with pytest.raises(Exception, match="unseal"):
            server.run(add())
        assert ssm.get_parameter(Name="/a", WithDecryption=True)["Parameter"]["Value"] == "a secret"
        ssm.put_parameter(Name="/b", Value="another", Type="SecureString")
        client(server, "kms").create_key()
        post(engine, "sys/unseal")
        assert ssm.get_parameter(Name="/b", WithDecryption=True)["Parameter"]["Value"] == "another"
    finally:
        server.close()


def test_a_start_that_the_engine_does_not_let_through_changes_nothing(
    settings: Settings, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Server(settings, TestClock()).close()
    before = files_of(settings.data), tables_of(settings.database)
    post(engine, "sys/seal")
    assert "unseal" in refused(settings)
    post(engine, "sys/unseal")
    monkeypatch.setenv("PILOTHOUSE_TRANSIT_TOKEN", "s.has-ended")
    assert "the token is wrong, has ended" in refused(settings)
    monkeypatch.delenv("PILOTHOUSE_TRANSIT_TOKEN")
    assert "there is no token" in refused(settings)
    assert (files_of(settings.data), tables_of(settings.database)) == before
    monkeypatch.setenv("PILOTHOUSE_TRANSIT_TOKEN", TOKEN)
    Server(settings, TestClock()).close()


def test_a_first_start_that_the_engine_does_not_let_through_leaves_nothing(settings: Settings, engine: str) -> None:
    post(engine, "sys/seal")
    before = tables_of(settings.database)
    assert "unseal" in refused(settings)
    assert files_of(settings.data) == {}
    assert tables_of(settings.database) == before
