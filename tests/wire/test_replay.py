"""Kept answers on both engines."""

import asyncio

import pytest

from pilothouse.call import Operation, operation
from pilothouse.crypto.vault import SealBroken, Vault
from pilothouse.storage import Database
from pilothouse.wire.replay import KEPT_FOR, ReplayStore, replay_key

VAULT = Vault(bytes(32))
LATER = int(KEPT_FOR.total_seconds() * 1000)


@operation("ssm", "PutParameter", writes=True)
async def put_parameter(call: object, request: object) -> dict[str, object]:
    return {}


PUT: Operation = put_parameter.__operation__  # type: ignore[attr-defined]


async def test_an_answer_is_kept_for_its_time_and_then_forgotten(database: Database) -> None:
    async with database.transaction() as tx:
        store = ReplayStore(tx, VAULT)
        assert await store.answer("k", 1_000) is None
        store.keep("k", b"answer", 1_000)
    async with database.transaction() as tx:
        store = ReplayStore(tx, VAULT)
        assert await store.answer("k", LATER + 999) == b"answer"
        assert await store.answer("k", LATER + 1_000) is None
        store.keep("k", b"another", LATER + 1_000)
        assert await store.answer("k", LATER + 1_000) == b"another"
    async with database.transaction() as tx:
        store = ReplayStore(tx, VAULT)
        assert await store.forget(LATER + 1_000, 10) == 0
        assert await store.forget(3 * LATER, 10) == 1


async def test_the_second_of_two_equal_calls_waits_for_the_first(database: Database) -> None:
    runs: list[int] = []

    async def run(number: int) -> bytes:
        async with database.transaction() as tx:
            store = ReplayStore(tx, VAULT)
            kept = await store.answer("k", 1_000)
            if kept is not None:
                return kept
            runs.append(number)
            await asyncio.sleep(0.05)
            store.keep("k", b"answer of %d" % number, 1_000)
            return b"answer of %d" % number

    answers = await asyncio.gather(*(run(number) for number in range(8)))

    assert len(runs) == 1
    assert set(answers) == {b"answer of %d" % runs[0]}


async def test_a_kept_answer_does_not_open_under_another_call(database: Database) -> None:
    async with database.transaction() as tx:
        store = ReplayStore(tx, VAULT)
        store.keep("k", b"answer", 1_000)
        await tx.execute("update replayed_call set key = 'other'")
        with pytest.raises(SealBroken):
            await store.answer("other", 1_000)


def test_everything_that_makes_a_call_is_in_the_key() -> None:
    keys = {
        replay_key("arn", "region", PUT, "id", b"body"),
        replay_key("arn2", "region", PUT, "id", b"body"),
        replay_key("arn", "region2", PUT, "id", b"body"),
        replay_key("arn", "region", PUT, "id2", b"body"),
        replay_key("arn", "region", PUT, "id", b"body2"),
        replay_key("arnr", "egion", PUT, "id", b"body"),
    }

    assert len(keys) == 6
