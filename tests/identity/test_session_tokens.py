"""Temporary credentials prove themselves, end on time, and cannot be made up."""

import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.crypto.vault import Vault
from pilothouse.errors import ExpiredTokenException, UnrecognizedClientException
from pilothouse.identity.session_tokens import TemporaryCredentials, credential_of, mint_for_node
from pilothouse.runtime.ids import Ids

VAULT = Vault(b"m" * 32)


def _minted(expires_at: int = 1_000_000) -> TemporaryCredentials:
    house: Any = SimpleNamespace(vault=VAULT, ids=Ids())
    return mint_for_node(
        house,
        account_id="111122223333",
        region="eu-west-1",
        arn="arn:aws:sts::111122223333:assumed-role/node/mi-0123456789abcdef0",
        user_id="AROAX:mi-0123456789abcdef0",
        node_id="mi-0123456789abcdef0",
        expires_at=expires_at,
    )


def test_the_holder_is_known_again() -> None:
    minted = _minted()
    found = credential_of(VAULT, minted.access_key_id, minted.token, 999_999)
    assert found.secret == minted.secret
    assert (found.principal.kind, found.principal.node_id) == ("node", "mi-0123456789abcdef0")
    assert found.principal.region == "eu-west-1"
    assert found.principal.access_key_id == minted.access_key_id


def test_at_its_expiry_it_has_expired() -> None:
    minted = _minted()
    with pytest.raises(ExpiredTokenException):
        credential_of(VAULT, minted.access_key_id, minted.token, 1_000_000)


def test_a_token_goes_with_its_own_key_only() -> None:
    minted, other = _minted(), _minted()
    with pytest.raises(UnrecognizedClientException):
        credential_of(VAULT, other.access_key_id, minted.token, 0)
    with pytest.raises(UnrecognizedClientException):
        credential_of(VAULT, minted.access_key_id, None, 0)


@given(st.text(max_size=100))
def test_no_text_passes_for_a_token(text: str) -> None:
    with pytest.raises(UnrecognizedClientException):
        credential_of(VAULT, "ASIAAAAAAAAAAAAAAAAA", text, 0)


def test_another_installation_refuses_it() -> None:
    minted = _minted()
    with pytest.raises(UnrecognizedClientException):
        credential_of(Vault(b"n" * 32), minted.access_key_id, minted.token, 0)


def test_no_repr_shows_the_secret() -> None:
    minted = _minted()
    found = credential_of(VAULT, minted.access_key_id, minted.token, 0)
    assert minted.secret not in repr(minted) + repr(found)
    assert minted.token not in repr(minted)
    assert minted.secret in str(dataclasses.asdict(minted))


def test_it_fits_into_a_header() -> None:
    assert len(_minted().token) < 2048
