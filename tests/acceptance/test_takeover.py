"""Two server processes on one PostgreSQL: when the one that delivers to a webhook is killed, the other goes on."""

import asyncio
import json
import shutil
import threading
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from pilothouse.capabilities.events.deliveries import HOLD_SECONDS
from tests.acceptance.installation import Installation, eventually, installation
from tests.acceptance.test_events import webhooks
from tests.capabilities.events.conftest import Receiver


async def _asked(url: str, statement: str) -> Any:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


def put(house: Installation, *numbers: int) -> None:
    ssm = house.boto("ssm")
    for number in numbers:
        ssm.put_parameter(Name=f"/kept/{number}", Value="x", Type="String")


def names(receiver: Receiver) -> list[str]:
    """What came, each where it came first: what was on its way when a sender died may come twice."""
    return list(dict.fromkeys(event["detail"]["name"] for event in receiver.events))


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_webhook_is_taken_over_from_a_killed_server(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PILOTHOUSE_OUTBOUND_ALLOW", "127.0.0.1/32")
    receiver, busy, go_on = Receiver(), threading.Event(), threading.Event()
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    try:
        with installation(tmp_path / "one", "--database", database_url) as one:
            shutil.copytree(one.data, tmp_path / "two" / "data")
            with installation(tmp_path / "two", "--database", database_url) as two:
                webhook_id = json.loads(webhooks(one, "create", receiver.url, "--path", "/kept"))["WebhookId"]
                for number in range(10):
                    put((one, two)[number % 2], number)
                eventually(lambda: len(names(receiver)) == 10, what="delivery by one of them")

                def hold_up() -> None:
                    busy.set()
                    go_on.wait(60)

                receiver.during = hold_up
                put(one, 10)
                assert busy.wait(60)
                holder = asyncio.run(_asked(database_url, "select holder from webhook"))
                killed, other = (one, two) if (one.data / "process-id").read_text() == holder else (two, one)
                assert (other.data / "process-id").read_text() != holder
                killed.kill()
                put(other, 11, 12, 13)
                eventually(lambda: json.loads(webhooks(other, "show", webhook_id))["EventsBehind"] == 4, what="events")
                receiver.during = lambda: None
                go_on.set()
                passed = f"update webhook set held_until = held_until - {HOLD_SECONDS * 1000} returning webhook_id"
                assert asyncio.run(_asked(database_url, passed)) == webhook_id
                eventually(lambda: len(names(receiver)) == 14, what="delivery by the other")
                killed.start()
                put(killed, 14)
                eventually(lambda: len(names(receiver)) == 15, what="delivery after the restart")
                assert names(receiver) == [f"/kept/{number}" for number in range(15)]
                assert json.loads(webhooks(other, "show", webhook_id))["EventsMissed"] == 0
    finally:
        go_on.set()
        receiver.close()
