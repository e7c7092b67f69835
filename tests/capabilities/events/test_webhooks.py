"""Webhooks: made, delivered to in order, signed, patient with receivers that fail, and never told too little."""

import asyncio
import hmac
import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from pilothouse.capabilities.events import store
from pilothouse.capabilities.events.model import FAILING, RETRYING, Cursor, Kept, resumed, setback
from tests.capabilities.events.conftest import Receiver, eventually
from tests.conftest import Server
from tests.crypto.test_stolen_database import _dump as dump


def verified(secret: str, headers: dict[str, str], body: bytes) -> bool:
    """As a receiver does it."""
    key = b64decode(secret.removeprefix("whsec_"))
    to_sign = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = "v1," + b64encode(hmac.digest(key, to_sign, "sha256")).decode()
    return any(hmac.compare_digest(expected, each) for each in headers["webhook-signature"].split(" "))


def names(receiver: Receiver) -> list[str]:
    return [event["detail"]["name"] for event in receiver.events]


def test_events_arrive_in_order_and_signed(client: Any, receiver: Receiver, told: Callable[..., None]) -> None:
    told("/before")
    made = client.create_webhook(Url=receiver.url, Path="/prod", Pattern='{"detail": {"n": [{"numeric": ["<", 20]}]}}')
    for n in range(30):
        told(f"/prod/{n}", n=n)
        told(f"/dev/{n}", n=n)
    eventually(lambda: len(receiver.taken) >= 20)
    assert names(receiver) == [f"/prod/{n}" for n in range(20)]
    headers, body = receiver.taken[0]
    assert verified(made["Secret"], headers, body)
    assert not verified(made["Secret"], headers, body + b" ")
    assert headers["webhook-id"] == json.loads(body)["id"]
    assert headers["content-type"] == "application/json"
    shown = eventually(lambda: _described(client, made, lambda hook: hook.get("LastStatusCode") == 200))
    assert (shown["State"], shown["Failures"], shown["EventsMissed"]) == ("Active", 0, 0)
    assert "Secret" not in shown


def test_a_look_that_took_long_brings_nothing_twice(
    client: Any, receiver: Receiver, told: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[Any] = []
    look = store.deliverable

    async def slow(tx: Any) -> Any:
        """What the look before saw, as if it had been on its way since."""
        looks.append(await look(tx))
        return looks[-2] if len(looks) > 1 else looks[-1]

    def change_again() -> None:
        """While the receiver is at it: something more happens, and it is seen that something is due."""
        if len(receiver.taken) < 5:
            before = len(looks)
            told(f"/{len(receiver.taken) + 1}")
            eventually(lambda: len(looks) > before)

    made = client.create_webhook(Url=receiver.url)
    monkeypatch.setattr(store, "deliverable", slow)
    receiver.during = change_again
    told("/0")
    eventually(lambda: len(receiver.taken) >= 6)
    eventually(lambda: _described(client, made, lambda hook: hook["EventsBehind"] == 0))
    assert names(receiver) == [f"/{n}" for n in range(6)]


def _described(client: Any, made: dict[str, Any], wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any] | None:
    found: dict[str, Any] = client.describe_webhook(WebhookId=made["WebhookId"])["Webhook"]
    return found if wanted(found) else None


@pytest.mark.parametrize("status", [500, 404, 302])
def test_a_receiver_that_fails_gets_all_in_order_later(
    server: Server, client: Any, receiver: Receiver, told: Callable[..., None], status: int
) -> None:
    receiver.status = status
    made = client.create_webhook(Url=receiver.url)
    for n in range(5):
        told(f"/{n}")
    hook = eventually(lambda: _described(client, made, lambda hook: hook["State"] == "Retrying"))
    assert (hook["LastStatusCode"], hook["EventsBehind"]) == (status, 5)
    assert f"answered {status}" in hook["LastError"]
    receiver.status = 200
    server.advance(minutes=11)
    eventually(lambda: len(receiver.taken) == 5)
    assert names(receiver) == [f"/{n}" for n in range(5)]


def test_after_a_day_a_webhook_is_failing_and_heals_when_it_is_changed(
    server: Server, client: Any, receiver: Receiver, told: Callable[..., None]
) -> None:
    receiver.status = 503
    made = client.create_webhook(Url=receiver.url)
    told("/a")
    eventually(lambda: _described(client, made, lambda hook: hook["State"] == "Retrying"))
    server.advance(hours=25)
    hook = eventually(lambda: _described(client, made, lambda hook: hook["State"] == "Failing"))
    assert "tried each hour" in hook["LastError"]
    receiver.status = 200
    client.update_webhook(WebhookId=made["WebhookId"], Description="mended")
    eventually(lambda: names(receiver) == ["/a"])


def test_one_that_heals_and_fails_again_begins_to_fail_anew(
    server: Server, client: Any, receiver: Receiver, told: Callable[..., None]
) -> None:
    def one_only() -> None:
        if receiver.taken:
            receiver.status = 503

    receiver.status = 503
    made = client.create_webhook(Url=receiver.url)
    told("/a")
    told("/b")
    eventually(lambda: _described(client, made, lambda hook: hook["State"] == "Retrying"))
    server.advance(hours=25)
    eventually(lambda: _described(client, made, lambda hook: hook["State"] == "Failing"))
    receiver.status, receiver.during = 200, one_only
    server.advance(hours=1)
    hook = eventually(lambda: _described(client, made, lambda hook: hook["State"] == "Retrying"))
    assert (hook["Failures"], names(receiver)) == (1, ["/a"])


def test_a_receiver_that_is_gone_is_told_no_more(
    server: Server, client: Any, receiver: Receiver, told: Callable[..., None]
) -> None:
    receiver.status = 410
    made = client.create_webhook(Url=receiver.url)
    told("/a")
    eventually(lambda: _described(client, made, lambda hook: hook["State"] == "Disabled"))
    receiver.status = 200
    client.update_webhook(WebhookId=made["WebhookId"], Enabled=True)
    eventually(lambda: names(receiver) == ["/a"])


def test_events_are_delivered_again_since_a_time(client: Any, receiver: Receiver, told: Callable[..., None]) -> None:
    made = client.create_webhook(Url=receiver.url)
    told("/a")
    told("/b")
    eventually(lambda: len(receiver.taken) == 2)
    again = client.redeliver_events(WebhookId=made["WebhookId"], Since=0)
    assert again["Events"] == 2
    eventually(lambda: names(receiver) == ["/a", "/b", "/a", "/b"])
    assert receiver.taken[0][0]["webhook-id"] == receiver.taken[2][0]["webhook-id"]


def test_a_rotated_secret_and_the_one_before_both_verify(
    server: Server, client: Any, receiver: Receiver, told: Callable[..., None]
) -> None:
    made = client.create_webhook(Url=receiver.url)
    rotated = client.rotate_webhook_secret(WebhookId=made["WebhookId"])
    assert rotated["Secret"] != made["Secret"]
    told("/a")
    eventually(lambda: receiver.taken)
    assert verified(made["Secret"], *receiver.taken[0])
    assert verified(rotated["Secret"], *receiver.taken[0])
    server.advance(hours=25)
    told("/b")
    eventually(lambda: len(receiver.taken) == 2)
    assert not verified(made["Secret"], *receiver.taken[1])
    assert verified(rotated["Secret"], *receiver.taken[1])


def test_a_test_event_tells_what_the_receiver_said(client: Any, receiver: Receiver) -> None:
    made = client.create_webhook(Url=receiver.url)
    assert client.test_webhook(WebhookId=made["WebhookId"])["StatusCode"] == 200
    assert receiver.events[0]["detail-type"] == "Pilothouse Webhook Test"
    receiver.status = 500
    told = client.test_webhook(WebhookId=made["WebhookId"])
    assert (told["Delivered"], told["StatusCode"]) == (False, 500)


def test_a_refused_address_is_refused_at_once_or_said(client: Any, told: Callable[..., None]) -> None:
    for url in ("http://169.254.169.254/latest", "https://10.0.0.1/", "ftp://example.com/", "http://[::ffff:a00:1]/"):
        with pytest.raises(ClientError, match="InvalidWebhookUrlException"):
            client.create_webhook(Url=url)
    made = client.create_webhook(Url="http://0xa9fea9fe/")
    told("/a")
    hook = eventually(lambda: _described(client, made, lambda hook: hook["State"] == "Retrying"))
    assert "is not a public address" in hook["LastError"]


def test_webhooks_are_listed_and_deleted(client: Any, receiver: Receiver) -> None:
    ids = sorted(client.create_webhook(Url=receiver.url)["WebhookId"] for _ in range(3))
    first = client.list_webhooks(MaxResults=2)
    rest = client.list_webhooks(MaxResults=2, NextToken=first["NextToken"])
    assert [hook["WebhookId"] for hook in first["Webhooks"] + rest["Webhooks"]] == ids
    assert "NextToken" not in rest
    client.delete_webhook(WebhookId=ids[0])
    for call in (client.delete_webhook, client.describe_webhook, client.test_webhook, client.rotate_webhook_secret):
        with pytest.raises(ClientError, match="WebhookNotFoundException"):
            call(WebhookId=ids[0])


@pytest.mark.parametrize(
    ("members", "code"),
    [({"Pattern": "{"}, "InvalidEventPatternException"), ({"Path": "prod"}, "ValidationException"),
     ({"Url": "x"}, "InvalidWebhookUrlException")],
)  # fmt: skip
def test_a_malformed_webhook_is_refused(client: Any, receiver: Receiver, members: dict[str, str], code: str) -> None:
    with pytest.raises(ClientError, match=code):
        client.create_webhook(**{"Url": receiver.url, **members})


def test_no_secret_is_readable_in_a_stolen_database(
    server: Server, client: Any, receiver: Receiver, told: Callable[..., None], tmp_path: Path
) -> None:
    made = client.create_webhook(Url=receiver.url)
    rotated = client.rotate_webhook_secret(WebhookId=made["WebhookId"])
    told("/a")
    eventually(lambda: receiver.taken)
    url = server.settings.database or ""
    stolen = asyncio.run(dump(url)) if url.startswith("postgresql") else b""
    stolen += b"".join(each.read_bytes() for each in tmp_path.glob("test.db*"))
    assert made["WebhookId"].encode() in stolen
    for secret in (made["Secret"], rotated["Secret"]):
        text = secret.removeprefix("whsec_")
        raw = b64decode(text)
        for form in (text.encode(), raw, raw.hex().encode(), repr(raw).encode()):
            assert form not in stolen


@pytest.mark.parametrize(
    ("cursor", "kept", "mark", "wanted"),
    [
        (Cursor(5, "a"), Kept(1, 9), "a", Cursor(5, "a")),
        (Cursor(5, "a"), Kept(1, 9), "b", Cursor(0, "")),  # another history: from the beginning
        (Cursor(12, "a"), Kept(1, 9), None, Cursor(0, "")),  # a database put back
        (Cursor(12, "a"), Kept(0, 0), None, Cursor(0, "")),
        (Cursor(3, "a"), Kept(4, 9), None, Cursor(3, "a")),  # just pruned, nothing missed
        (Cursor(2, "a"), Kept(4, 9), None, None),
        (Cursor(0, ""), Kept(0, 0), None, Cursor(0, "")),
        (Cursor(0, ""), Kept(1, 9), None, Cursor(0, "")),
        (Cursor(0, ""), Kept(2, 9), None, None),
    ],
)
def test_where_a_reader_goes_on(cursor: Cursor, kept: Kept, mark: str | None, wanted: Cursor | None) -> None:
    assert resumed(cursor, kept, mark) == wanted


def test_waits_grow_and_end_in_an_hour(client: Any) -> None:
    hook = type("Hook", (), {"failing_since": 1_000})()
    waits = [setback(hook, n, 2_000, 0.0, "x").next_at - 2_000 for n in range(1, 13)]
    assert waits[:4] == [1_000, 2_000, 4_000, 8_000]
    assert waits[-1] == 600_000
    assert setback(hook, 1, 2_000, 1.0, "x").next_at == 2_500
    assert setback(hook, 9, 2_000, 0.0, "x").state == RETRYING
    late = setback(hook, 99, 1_000 + 86_400_000, 0.0, "x")
    assert (late.state, late.next_at) == (FAILING, 1_000 + 86_400_000 + 3_600_000)
