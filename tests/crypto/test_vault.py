"""Sealed values open only in their place, unaltered, under their master key."""

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.crypto.master_key import MasterKeyUnusable, check_installation, load_vault
from pilothouse.crypto.vault import SealBroken, Vault
from pilothouse.storage import Database

VAULT = Vault(b"m" * 32)


@given(st.binary(max_size=200), st.text(max_size=40))
def test_round_trip(plaintext: bytes, context: str) -> None:
    assert VAULT.open(VAULT.seal(plaintext, context), context) == plaintext


@given(st.binary(min_size=1, max_size=60), st.data())
def test_every_altered_byte_is_refused(plaintext: bytes, data: st.DataObject) -> None:
    sealed = VAULT.seal(plaintext, "a")
    at = data.draw(st.integers(0, len(sealed) - 1))
    altered = sealed[:at] + bytes([sealed[at] ^ data.draw(st.integers(1, 255))]) + sealed[at + 1 :]
    with pytest.raises(SealBroken):
        VAULT.open(altered, "a")


def test_another_place_or_key_is_refused() -> None:
    sealed = VAULT.seal(b"x", "parameter/1/a/1")
    with pytest.raises(SealBroken):
        VAULT.open(sealed, "parameter/1/a/2")
    with pytest.raises(SealBroken):
        Vault(b"n" * 32).open(sealed, "parameter/1/a/1")
    with pytest.raises(SealBroken):
        VAULT.open(b"", "a")


def test_two_seals_of_one_value_differ() -> None:
    assert VAULT.seal(b"x", "a") != VAULT.seal(b"x", "a")


def test_repr_shows_no_key() -> None:
    assert "mmmm" not in repr(VAULT)


def test_the_key_file_is_made_once_and_private(tmp_path: Path) -> None:
    made = load_vault(tmp_path, create=True, environment={})
    assert load_vault(tmp_path, create=False, environment={}).fingerprint() == made.fingerprint()
    assert (tmp_path / "master.key").stat().st_mode & 0o777 == 0o600


def test_the_environment_wins(tmp_path: Path) -> None:
    key = base64.b64encode(b"e" * 32).decode()
    assert (
        load_vault(tmp_path, create=False, environment={"PILOTHOUSE_MASTER_KEY": key}).fingerprint()
        == Vault(b"e" * 32).fingerprint()
    )


@pytest.mark.parametrize("text", ["", "short", "!!!", base64.b64encode(b"x" * 31).decode()])
def test_malformed_keys_are_refused_by_name(tmp_path: Path, text: str) -> None:
    with pytest.raises(MasterKeyUnusable, match="PILOTHOUSE_MASTER_KEY"):
        load_vault(tmp_path, create=False, environment={"PILOTHOUSE_MASTER_KEY": text})


def test_a_missing_key_is_not_replaced_silently(tmp_path: Path) -> None:
    with pytest.raises(MasterKeyUnusable, match="does not exist"):
        load_vault(tmp_path, create=False, environment={})


async def test_a_wrong_key_is_refused_and_changes_nothing(database: Database) -> None:
    await check_installation(database, VAULT, 1)
    await check_installation(database, VAULT, 2)
    with pytest.raises(MasterKeyUnusable, match="nothing was changed"):
        await check_installation(database, Vault(b"n" * 32), 3)
    async with database.reading() as tx:
        assert await tx.value("select key_fingerprint from installation") == VAULT.fingerprint()
