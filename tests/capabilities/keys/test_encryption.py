"""Encryption under an account's keys: references, context, place, state."""

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.call import House
from pilothouse.capabilities import keys
from pilothouse.capabilities.keys.model import KeyState, alias_arn, key_arn, parse_reference, take_apart
from pilothouse.capabilities.keys.store import KeyStore
from pilothouse.crypto.vault import SealBroken, Vault
from pilothouse.runtime.bus import Bus
from pilothouse.runtime.clock import TestClock
from pilothouse.runtime.ids import Ids
from pilothouse.runtime.settings import Settings
from pilothouse.storage import Database
from pilothouse.storage.blobs import open_blobs
from pilothouse.storage.engines import open_database
from pilothouse.storage.pages import Pages

ACCOUNT, REGION = "123456789012", "eu-west-1"
HERE = (ACCOUNT, REGION)
CONTEXT = {"PARAMETER_ARN": "arn:aws:ssm:eu-west-1:123456789012:parameter/x", "b": "c"}


def house_with(database: Database, master_key: bytes) -> House:
    vault = Vault(master_key)
    return House(
        database=database,
        clock=TestClock(),
        ids=Ids(),
        bus=Bus(),
        vault=vault,
        pages=Pages(vault.subkey("page tokens")),
        settings=Settings(data=Path("/nonexistent")),
        blobs=open_blobs("", Path()),
    )


@pytest.fixture
def house(database: Database) -> House:
    return house_with(database, os.urandom(32))


async def encrypted(house: House, plaintext: bytes = b"secret", **more: Any) -> tuple[bytes, str]:
    async with house.database.transaction() as tx:
        return await keys.encrypt(house, tx, *HERE, more.pop("key", "alias/aws/ssm"), plaintext, CONTEXT, **more)


async def decrypted(house: House, blob: bytes, context: dict[str, str] = CONTEXT, **more: Any) -> bytes:
    async with house.database.reading() as tx:
        return await keys.decrypt(house, tx, *more.pop("scope", HERE), blob, context, **more)


async def test_the_default_key_is_made_once_and_found_by_every_form_of_reference(house: House) -> None:
    blob, key_id = await encrypted(house)
    forms = [
        "alias/aws/ssm",
        alias_arn(ACCOUNT, REGION, "alias/aws/ssm"),
        key_id,
        key_id.upper(),
        key_arn(ACCOUNT, REGION, key_id),
    ]
    for form in forms:
        again, used = await encrypted(house, key=form)
        assert used == key_id
        assert await decrypted(house, again) == b"secret"
    assert await decrypted(house, blob) == b"secret"
    _, other = await encrypted(house, key="alias/aws/secretsmanager")
    assert other != key_id


@pytest.mark.parametrize(
    "reference",
    [
        "alias/none",
        "alias/aws/other",
        "nonsense",
        "00000000-0000-0000-0000-000000000000",
        "arn:aws:kms:eu-west-1:210987654321:alias/aws/ssm",
        "arn:aws:kms:us-east-1:123456789012:alias/aws/ssm",
        "arn:aws:kms:eu-west-1:123456789012:key/nonsense",
        "arn:aws:ssm:eu-west-1:123456789012:parameter/x",
    ],
)
async def test_a_reference_to_nothing_is_not_found(house: House, reference: str) -> None:
    with pytest.raises(keys.NotFoundException):
        await encrypted(house, key=reference)


async def test_context_place_and_account_must_be_those_of_the_encryption(house: House) -> None:
    blob, _ = await encrypted(house, place="row 1 version 2")
    assert await decrypted(house, blob, place="row 1 version 2") == b"secret"
    assert await decrypted(house, blob, dict(reversed(CONTEXT.items()))) == b"secret"
    with pytest.raises(keys.InvalidCiphertextException):
        await decrypted(house, blob, place="row 1 version 1")
    with pytest.raises(keys.InvalidCiphertextException):
        await decrypted(house, blob, {})
    with pytest.raises(keys.InvalidCiphertextException):
        await decrypted(house, blob, CONTEXT | {"b": "d"})
    with pytest.raises(keys.NotFoundException):
        await decrypted(house, blob, scope=("210987654321", REGION))


async def test_every_flipped_byte_and_every_cut_is_refused(house: House) -> None:
    blob, _ = await encrypted(house, place="here")
    for at in range(len(blob)):
        flipped = blob[:at] + bytes([blob[at] ^ 1]) + blob[at + 1 :]
        with pytest.raises((keys.InvalidCiphertextException, keys.NotFoundException)):
            await decrypted(house, flipped)
    for length in range(len(blob)):
        with pytest.raises(keys.InvalidCiphertextException):
            await decrypted(house, blob[:length])


async def test_a_key_that_is_not_enabled_does_nothing(house: House) -> None:
    blob, key_id = await encrypted(house)
    for state, error in (
        (KeyState.DISABLED, keys.DisabledException),
        (KeyState.PENDING_DELETION, keys.KMSInvalidStateException),
    ):
        async with house.database.transaction() as tx:
            await KeyStore(tx, *HERE).set_state(key_id, state)
        with pytest.raises(error):
            await decrypted(house, blob)
        with pytest.raises(error):
            await encrypted(house)
    async with house.database.transaction() as tx:
        await KeyStore(tx, *HERE).set_state(key_id, KeyState.ENABLED)
    assert await decrypted(house, blob) == b"secret"


async def test_material_opens_only_in_its_own_row_and_under_its_own_master_key(database: Database) -> None:
    master_key = os.urandom(32)
    house = house_with(database, master_key)
    blob, _ = await encrypted(house)
    with pytest.raises(SealBroken):
        await decrypted(house_with(database, os.urandom(32)), blob)
    _, other = await encrypted(house, key="alias/aws/secretsmanager")
    assert await decrypted(house_with(database, master_key), blob) == b"secret"  # as after a restart
    async with database.transaction() as tx:
        await tx.execute(
            "update kms_material set wrapped = (select wrapped from kms_material where key_id = :other)", other=other
        )
    with pytest.raises(SealBroken):
        await decrypted(house_with(database, master_key), blob)


async def test_a_key_made_by_several_at_once_is_one(house: House) -> None:
    made = await asyncio.gather(*(encrypted(house) for _ in range(12)))
    assert len({key_id for _, key_id in made}) == 1
    for blob, _ in made:
        assert await decrypted(house, blob) == b"secret"


async def test_equal_plaintexts_have_unequal_ciphertexts(house: House) -> None:
    blobs = {(await encrypted(house))[0] for _ in range(20)}
    assert len(blobs) == 20
    assert len({take_apart(blob).nonce for blob in blobs}) == 20


@given(st.text(max_size=80))
def test_any_text_is_a_reference_or_not_found(text: str) -> None:
    try:
        reference = parse_reference(text, *HERE)
    except keys.NotFoundException:
        return
    assert (reference.key_id is None) != (reference.alias is None)


@given(st.binary(max_size=120))
def test_any_bytes_are_a_blob_or_invalid(blob: bytes) -> None:
    try:
        parts = take_apart(blob)
    except keys.InvalidCiphertextException:
        return
    assert parts.header + parts.nonce + parts.ciphertext == blob


async def test_a_key_disabled_by_another_process_opens_nothing_from_then_on(house: House, database_url: str) -> None:
    blob, key_id = await encrypted(house)
    for state in (KeyState.DISABLED, KeyState.ENABLED, KeyState.DISABLED):
        other = await open_database(database_url)
        async with other.transaction() as tx:
            await KeyStore(tx, *HERE).set_state(key_id, state)
        await other.close()
        if state is KeyState.ENABLED:
            assert await decrypted(house, blob) == await decrypted(house, blob) == b"secret"
            with pytest.raises(keys.NotFoundException):
                await decrypted(house, blob, scope=(ACCOUNT, "eu-west-2"))
        else:
            with pytest.raises(keys.DisabledException):
                await decrypted(house, blob)
