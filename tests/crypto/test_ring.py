"""The ring of root keys: made once, moved from before the ring, refused under a wrong or missing master key."""

import base64
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from pilothouse.crypto.kept import keep, kept, rekeep
from pilothouse.crypto.master_key import LocalKey, MasterKeyUnusable, find_master, save_key
from pilothouse.crypto.ring import Ring, add_version, open_ring, state_of
from pilothouse.crypto.rotation import (
    CannotRetire,
    change_steps,
    finish_steps,
    next_local_key,
    place_local_key,
    remove_retired,
    retire,
    rewrap,
)
from pilothouse.crypto.vault import SealBroken, Vault
from pilothouse.runtime.clock import TestClock
from pilothouse.runtime.ids import Ids
from pilothouse.storage import Database

CLOCK = TestClock()


async def opened(database: Database, data: Path, clock: TestClock = CLOCK, *, create: bool = True) -> Ring:
    """The ring as a start opens it."""
    return await open_ring(database, data, lambda: find_master(data, "", environment={}), clock, Ids(), create=create)


async def refused(database: Database, data: Path) -> str:
    """The sentence of a start that fails; it leaves everything as it was."""
    files = {file.name: file.read_bytes() for file in data.iterdir() if not file.name.startswith("test.db")}
    before = await state_of(database)
    with pytest.raises(MasterKeyUnusable) as caught:
        await opened(database, data)
    assert await state_of(database) == before
    assert {file.name: file.read_bytes() for file in data.iterdir() if not file.name.startswith("test.db")} == files
    return str(caught.value)


async def test_a_fresh_installation_gets_a_private_key_and_a_random_root(database: Database, tmp_path: Path) -> None:
    first = await opened(database, tmp_path)
    again = await opened(database, tmp_path)
    assert (tmp_path / "master.key").stat().st_mode & 0o777 == 0o600
    assert again.vault.open(first.vault.seal(b"x", "a"), "a") == b"x"
    assert first.vault.root(1) != base64.b64decode((tmp_path / "master.key").read_text())


async def test_a_key_file_that_is_gone_is_not_replaced(database: Database, tmp_path: Path) -> None:
    await opened(database, tmp_path)
    (tmp_path / "master.key").unlink()
    assert "put the installation's own key file back" in await refused(database, tmp_path)


async def test_a_directory_that_knows_another_key_gets_no_new_one(database: Database, tmp_path: Path) -> None:
    (tmp_path / "root.sealed").write_bytes(b"of some key")
    assert "No new key was made" in await refused(database, tmp_path)


async def test_a_wrong_key_is_refused_and_changes_nothing(database: Database, tmp_path: Path) -> None:
    await opened(database, tmp_path)
    save_key(tmp_path / "master.key", LocalKey(b"n" * 32, "file"))
    assert "nothing was changed" in await refused(database, tmp_path)


@pytest.mark.parametrize("text", ["", "short", "!!!", base64.b64encode(b"x" * 31).decode()])
def test_malformed_keys_are_refused_by_name(tmp_path: Path, text: str) -> None:
    with pytest.raises(MasterKeyUnusable, match="PILOTHOUSE_MASTER_KEY"):
        find_master(tmp_path, "", environment={"PILOTHOUSE_MASTER_KEY": text})


@pytest.mark.parametrize(
    "setting", ["disk", "aws-kms", "aws-kms:", "transit:http://10.0.0.1,key=a", "transit:https://a"]
)
def test_malformed_settings_are_refused(tmp_path: Path, setting: str) -> None:
    with pytest.raises(MasterKeyUnusable, match="master_key"):
        find_master(tmp_path, setting, environment={})


async def before_the_ring(database: Database, data: Path, master: bytes) -> Vault:
    """What the first release left: its key file, its row, files sealed straight under the key."""
    old = Vault(master)
    save_key(data / "master.key", LocalKey(master, "file"))
    (data / "root.sealed").write_bytes(old.seal(b"root", "root-credentials"))
    async with database.transaction() as tx:
        await tx.execute("insert into installation values (1, :known, 1)", known=old.fingerprint())
    return old


async def test_an_installation_from_before_the_ring_goes_on(database: Database, tmp_path: Path) -> None:
    old = await before_the_ring(database, tmp_path, b"m" * 32)
    ring = await opened(database, tmp_path)
    assert ring.vault.open(old.seal(b"x", "a"), "a") == b"x"
    assert ring.vault.subkey("page tokens") == old.subkey("page tokens")
    assert await kept(tmp_path / "root.sealed", ring.master) == b"root"
    assert [each.origin for each in (await state_of(database)).roots] == ["master key"]


async def test_an_installation_from_before_the_ring_refuses_another_key(database: Database, tmp_path: Path) -> None:
    await before_the_ring(database, tmp_path, b"m" * 32)
    save_key(tmp_path / "master.key", LocalKey(b"n" * 32, "file"))
    assert "nothing was changed" in await refused(database, tmp_path)


async def change(ring: Ring, data: Path) -> list[tuple[str, Callable[[], Awaitable[None]]]]:
    return change_steps(ring, data, next_local_key(data), lambda: place_local_key(data), keep_old=False)


@pytest.mark.parametrize("stopped_after", range(8))
async def test_a_change_broken_off_after_any_step_starts_again(
    database: Database, tmp_path: Path, stopped_after: int
) -> None:
    ring = await opened(database, tmp_path)
    sealed = ring.vault.seal(b"x", "a")
    await keep(tmp_path / "root.sealed", b"root", ring.master)
    steps = await change(ring, tmp_path)
    for _, step in steps[:stopped_after]:
        await step()
    restarted = await opened(database, tmp_path, create=False)
    assert restarted.vault.open(sealed, "a") == b"x"
    assert await kept(tmp_path / "root.sealed", restarted.master) == b"root"
    for _, step in await change(restarted, tmp_path):
        await step()
    ended = await opened(database, tmp_path, create=False)
    assert ended.vault.open(sealed, "a") == b"x"
    assert await kept(tmp_path / "root.sealed", ended.master) == b"root"
    assert set((await state_of(database)).masters()) == {ended.master.fingerprint}
    assert not (tmp_path / "master.key.next").exists()


async def test_the_old_master_key_opens_nothing_afterwards(database: Database, tmp_path: Path) -> None:
    ring = await opened(database, tmp_path)
    await keep(tmp_path / "root.sealed", b"root", ring.master)
    old = (tmp_path / "master.key").read_bytes()
    for _, step in await change(ring, tmp_path):
        await step()
    (tmp_path / "master.key").write_bytes(old)
    assert "nothing was changed" in await refused(database, tmp_path)
    with pytest.raises(MasterKeyUnusable):
        await kept(tmp_path / "root.sealed", find_master(tmp_path, "", environment={}))  # type: ignore[arg-type]


async def test_a_running_server_finds_a_root_key_made_under_a_new_master_key(
    database: Database, tmp_path: Path
) -> None:
    clock = TestClock()
    running = await opened(database, tmp_path, clock)
    command = await opened(database, tmp_path, clock)
    for _, step in await change(command, tmp_path):
        await step()
    await add_version(command, Ids())
    clock.advance(minutes=1)
    await command.reload()
    sealed = command.vault.seal(b"x", "a")
    assert sealed[0] == 2
    assert await running.vault.opened(sealed, "a") == b"x"
    assert running.master.fingerprint == command.master.fingerprint


async def test_no_root_key_is_made_while_two_master_keys_count(database: Database, tmp_path: Path) -> None:
    ring = await opened(database, tmp_path)
    for _, step in (await change(ring, tmp_path))[:2]:
        await step()
    with pytest.raises(MasterKeyUnusable, match="--finish"):
        await add_version(ring, Ids())
    for _, step in finish_steps(ring, tmp_path, ring.master):
        await step()
    assert await add_version(ring, Ids()) == 2


async def test_a_root_key_goes_in_its_own_time(database: Database, tmp_path: Path) -> None:
    clock = TestClock()
    ring = await opened(database, tmp_path, clock)
    token = ring.vault.seal(b"x", "identity/session-token")
    with pytest.raises(CannotRetire, match="newest"):
        await retire(ring, (), 1, now=True)
    await add_version(ring, Ids())
    with pytest.raises(CannotRetire, match="younger"):
        await retire(ring, (), 1, now=True)
    clock.advance(minutes=2)
    assert not await retire(ring, (), 1, now=False)
    assert ring.vault.open(token, "identity/session-token") == b"x"
    clock.advance(hours=24)
    await remove_retired(ring, ())
    assert ring.vault.versions == (1, 2)
    clock.advance(hours=2)
    await remove_retired(ring, ())
    assert ring.vault.versions == (2,)
    with pytest.raises(SealBroken):
        ring.vault.open(token, "identity/session-token")


async def test_rewrapping_keeps_the_root_keys(database: Database, tmp_path: Path) -> None:
    ring = await opened(database, tmp_path)
    before = (await state_of(database)).wrappings
    assert await rewrap(ring) == 1
    assert (await state_of(database)).wrappings != before
    assert (await opened(database, tmp_path)).vault.root(1) == ring.vault.root(1)


async def test_kept_files_open_under_both_keys_while_they_change(tmp_path: Path) -> None:
    old, new = LocalKey(b"m" * 32, "file"), LocalKey(b"n" * 32, "file")
    file = tmp_path / "root.sealed"
    await keep(file, b"root", old)
    await rekeep(tmp_path, old, (old, new))
    assert await kept(file, old) == await kept(file, new) == b"root"
    await rekeep(tmp_path, new, (new,))
    with pytest.raises(MasterKeyUnusable):
        await kept(file, old)


def test_reprs_show_no_key() -> None:
    key = LocalKey(b"m" * 32, "file")
    assert "mmm" not in repr(key)
    assert "bW1t" not in repr(key)
