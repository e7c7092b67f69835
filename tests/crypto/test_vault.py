"""Sealed values open only in their place, unaltered, under their master key."""

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.crypto.vault import SealBroken, UnknownVersion, Vault, front

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


def test_older_root_keys_go_on_to_open() -> None:
    vault = Vault(b"m" * 32)
    before = vault.seal(b"x", "a")
    vault.hold({1: b"m" * 32, 2: b"n" * 32, 300: b"o" * 32})
    after = vault.seal(b"y", "a")
    assert (vault.open(before, "a"), vault.open(after, "a")) == (b"x", b"y")
    assert before < front(2) < front(300) <= after < front(301)
    vault.hold({300: b"o" * 32})
    assert vault.open(after, "a") == b"y"
    with pytest.raises(SealBroken):
        vault.open(before, "a")


def test_a_new_root_key_is_not_used_before_it_is_settled() -> None:
    vault = Vault(b"m" * 32)
    signing = vault.subkey("page tokens")
    vault.hold({1: b"m" * 32, 2: b"n" * 32}, settled=1)
    assert Vault(b"m" * 32).open(vault.seal(b"x", "a"), "a") == b"x"
    assert vault.subkey("page tokens") == signing
    vault.hold({1: b"m" * 32, 2: b"n" * 32})
    assert vault.subkeys("page tokens") == (Vault(b"n" * 32).subkey("page tokens"), signing)


async def test_a_value_under_an_unknown_root_key_has_the_ring_asked_for_again() -> None:
    ahead, behind = Vault({1: b"m" * 32, 2: b"n" * 32}), Vault(b"m" * 32)
    sealed = ahead.seal(b"x", "a")
    with pytest.raises(UnknownVersion):
        behind.open(sealed, "a")

    async def reload() -> None:
        behind.hold({1: b"m" * 32, 2: b"n" * 32})

    behind.ask_again(reload)
    assert await behind.opened(sealed, "a") == b"x"


def test_values_of_before_the_ring_open_byte_for_byte() -> None:
    """Sealed by the first release's own code under the master key m * 32."""
    sealed = _as_the_first_release_sealed(b"m" * 32, b"x", "a")
    assert VAULT.open(sealed, "a") == b"x"


def _as_the_first_release_sealed(master: bytes, plaintext: bytes, context: str) -> bytes:
    key = HKDF(algorithm=SHA256(), length=32, salt=b"pilothouse", info=b"seal").derive(master)
    return b"\x01" + bytes(12) + AESGCM(key).encrypt(bytes(12), plaintext, context.encode())
