"""CreateWebhook, ListWebhooks, DescribeWebhook, UpdateWebhook, DeleteWebhook, RotateWebhookSecret, RedeliverEvents,
TestWebhook: of the service `pilothouse`."""

from collections.abc import Iterable
from typing import Any

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities.events.deliveries import CHANGED, post
from pilothouse.capabilities.events.model import (
    ACTIVE,
    DISABLED,
    MOST_WEBHOOKS,
    OLD_SECRET_MS,
    Cursor,
    Event,
    InvalidEventPatternException,
    InvalidWebhookUrlException,
    Webhook,
    WebhookLimitExceededException,
    WebhookNotFoundException,
    seal_context,
)
from pilothouse.capabilities.events.ordering import order
from pilothouse.capabilities.events.patterns import MalformedPattern, parse
from pilothouse.capabilities.events.signing import shown
from pilothouse.capabilities.events.store import EventStore, WebhookStore, give_places
from pilothouse.errors import ValidationException
from pilothouse.runtime.clock import from_millis, to_millis
from pilothouse.runtime.outbound import OutboundFailed, Refused, check_url
from pilothouse.storage import Transaction
from pilothouse.storage.pages import InvalidPageToken

_SECRET_BYTES = 32
_PAGE = 50


def arn(account_id: str, region: str, webhook_id: str) -> str:
    """The name by which policies know a webhook."""
    return f"arn:aws:pilothouse:{region}:{account_id}:webhook/{webhook_id}"


def _named(call: Call, request: Shape) -> Iterable[str]:
    return [arn(call.account_id, call.region, request.get("WebhookId", "*"))]


@operation("pilothouse", "CreateWebhook", writes=True, resources=_named)
async def create_webhook(call: Call, request: Shape) -> Shape:
    """A webhook for what happens from now on. Its secret is in this answer only."""
    url, pattern, path = request["Url"], request.get("Pattern", ""), request.get("Path", "")
    _check(call, url, pattern, path)
    webhook_id, secret, now = f"wh-{call.ids.uuid()}", call.ids.random_bytes(_SECRET_BYTES), call.clock.millis()
    async with call.transaction() as tx:
        store = WebhookStore(tx, call.account_id, call.region)
        await store.lock()
        if await store.count() >= MOST_WEBHOOKS:
            raise WebhookLimitExceededException(f"There are {MOST_WEBHOOKS} webhooks in this region already.")
        end = await _end(call, tx)
        await store.add(
            Webhook(
                webhook_id=webhook_id,
                account_id=call.account_id,
                region=call.region,
                url=url,
                pattern=pattern,
                path=path,
                description=request.get("Description", ""),
                secret=call.house.vault.seal(secret, seal_context(webhook_id)),
                old_secret=None,
                old_until=None,
                state=ACTIVE,
                created_at=now,
                updated_at=now,
                generation=1,
                place=end.place,
                mark=end.mark,
                missed=0,
                failures=0,
                failing_since=None,
                next_at=0,
                last_error="",
                last_status=None,
                last_success_at=None,
                last_event_id=None,
                holder=None,
                held_until=None,
            )
        )
        _wake(call, tx, webhook_id)
    return {"WebhookId": webhook_id, "Secret": shown(secret)}


@operation("pilothouse", "ListWebhooks")
async def list_webhooks(call: Call, request: Shape) -> Shape:
    """The webhooks of the account and region, by id."""
    bound_to = ["webhooks", call.account_id, call.region]
    after = ""
    if token := request.get("NextToken"):
        try:
            [after] = call.house.pages.position(bound_to, token)
        except InvalidPageToken as error:
            raise ValidationException("The specified token is not valid.") from error
    most = request.get("MaxResults") or _PAGE
    async with call.reading() as tx:
        found = await WebhookStore(tx, call.account_id, call.region).page(after, most + 1)
    answer: Shape = {"Webhooks": [_shape(each) for each in found[:most]]}
    if len(found) > most:
        answer["NextToken"] = call.house.pages.token(bound_to, [found[most - 1].webhook_id])
    return answer


@operation("pilothouse", "DescribeWebhook", resources=_named)
async def describe_webhook(call: Call, request: Shape) -> Shape:
    """A webhook, how it fares, and how many events wait for it."""
    await order(call.house)
    async with call.reading() as tx:
        webhook = await _one(WebhookStore(tx, call.account_id, call.region), request["WebhookId"])
        kept = await EventStore(tx, call.account_id, call.region).kept()
    return {"Webhook": _shape(webhook) | {"EventsBehind": max(kept.last - webhook.place, 0)}}


@operation("pilothouse", "UpdateWebhook", writes=True, resources=_named)
async def update_webhook(call: Call, request: Shape) -> Shape:
    """Change what is given; deliveries are tried again at once, from where they stopped."""
    async with call.transaction() as tx:
        store = WebhookStore(tx, call.account_id, call.region)
        webhook = await _one(store, request["WebhookId"])
        url = request.get("Url", webhook.url)
        pattern, path = request.get("Pattern", webhook.pattern), request.get("Path", webhook.path)
        _check(call, url, pattern, path)
        enabled = request.get("Enabled", webhook.state != DISABLED)
        await store.change(
            webhook.webhook_id, call.clock.millis(), url=url, pattern=pattern, path=path,
            description=request.get("Description", webhook.description), state=ACTIVE if enabled else DISABLED,
        )  # fmt: skip
        _wake(call, tx, webhook.webhook_id)
        return {"Webhook": _shape(await _one(store, webhook.webhook_id))}


@operation("pilothouse", "DeleteWebhook", writes=True, resources=_named)
async def delete_webhook(call: Call, request: Shape) -> Shape:
    """Remove it; nothing more is delivered but what is on its way."""
    async with call.transaction() as tx:
        if not await WebhookStore(tx, call.account_id, call.region).remove(request["WebhookId"]):
            raise _not_found(request["WebhookId"])
    return {}


@operation("pilothouse", "RotateWebhookSecret", writes=True, resources=_named)
async def rotate_webhook_secret(call: Call, request: Shape) -> Shape:
    """A new secret, in this answer only. For a day deliveries carry a signature of the one before as well."""
    secret, now = call.ids.random_bytes(_SECRET_BYTES), call.clock.millis()
    async with call.transaction() as tx:
        store = WebhookStore(tx, call.account_id, call.region)
        webhook = await _one(store, request["WebhookId"])
        await store.change(
            webhook.webhook_id, now, old_secret=webhook.secret, old_until=now + OLD_SECRET_MS,
            secret=call.house.vault.seal(secret, seal_context(webhook.webhook_id)),
        )  # fmt: skip
        _wake(call, tx, webhook.webhook_id)
    return {"WebhookId": webhook.webhook_id, "Secret": shown(secret)}


@operation("pilothouse", "RedeliverEvents", writes=True, resources=_named)
async def redeliver_events(call: Call, request: Shape) -> Shape:
    """Deliver again what happened since a time, or leave out what happened before it and was not delivered yet."""
    async with call.transaction() as tx:
        store = WebhookStore(tx, call.account_id, call.region)
        webhook = await _one(store, request["WebhookId"])
        end = await _end(call, tx)
        cursor = await EventStore(tx, call.account_id, call.region).before(to_millis(request["Since"]))
        state = DISABLED if webhook.state == DISABLED else ACTIVE
        await store.change(
            webhook.webhook_id, call.clock.millis(), place=cursor.place, mark=cursor.mark, state=state
        )  # fmt: skip
        _wake(call, tx, webhook.webhook_id)
    return {"WebhookId": webhook.webhook_id, "Events": end.place - cursor.place}


@operation("pilothouse", "TestWebhook", resources=_named)
async def test_webhook(call: Call, request: Shape) -> Shape:
    """Send one event made for it, now, and tell what the receiver said. Its place does not change."""
    async with call.reading() as tx:
        webhook = await _one(WebhookStore(tx, call.account_id, call.region), request["WebhookId"])
    event = Event.made(
        call.ids.uuid(), call.clock.millis(), account_id=call.account_id, region=call.region, source="pilothouse",
        detail_type="Pilothouse Webhook Test", resources=[arn(call.account_id, call.region, webhook.webhook_id)],
        detail={"webhook-id": webhook.webhook_id},
    )  # fmt: skip
    try:
        status = await post(call.house, webhook, event.event_id, event.envelope.encode())
    except Refused as refused:
        answer: Shape = {"Delivered": False, "EventId": event.event_id, "Error": str(refused)}
        return answer if refused.status is None else answer | {"StatusCode": refused.status}
    return {"Delivered": True, "EventId": event.event_id, "StatusCode": status}


def _check(call: Call, url: str, pattern: str, path: str) -> None:
    try:
        check_url(url, call.house.outbound.allowed)
    except OutboundFailed as error:
        raise InvalidWebhookUrlException(f"The URL cannot be used: {error}.") from error
    try:
        parse(pattern)
    except MalformedPattern as error:
        raise InvalidEventPatternException(f"Event pattern is not valid. Reason: {error}") from error
    if path and not path.startswith("/"):
        raise ValidationException("The path must begin with a slash.")


async def _end(call: Call, tx: Transaction) -> Cursor:
    """After the last event committed so far, with its place given."""
    while not tx.serial and await give_places(tx, 1000):
        pass
    return await EventStore(tx, call.account_id, call.region).end()


async def _one(store: WebhookStore, webhook_id: str) -> Webhook:
    webhook = await store.one(webhook_id)
    if webhook is None:
        raise _not_found(webhook_id)
    return webhook


def _not_found(webhook_id: str) -> WebhookNotFoundException:
    return WebhookNotFoundException(f"There is no webhook {webhook_id} in this account and region.")


def _wake(call: Call, tx: Transaction, webhook_id: str) -> None:
    tx.after_commit(lambda: call.house.bus.wake(CHANGED, webhook_id))


def _shape(webhook: Webhook) -> Shape:
    found: dict[str, Any] = {
        "WebhookId": webhook.webhook_id,
        "Arn": arn(webhook.account_id, webhook.region, webhook.webhook_id),
        "Url": webhook.url,
        "State": webhook.state,
        "CreatedDate": from_millis(webhook.created_at),
        "LastModifiedDate": from_millis(webhook.updated_at),
        "Failures": webhook.failures,
        "EventsMissed": webhook.missed,
    }
    texts = {
        "Pattern": webhook.pattern,
        "Path": webhook.path,
        "Description": webhook.description,
        "LastError": webhook.last_error,
        "LastEventId": webhook.last_event_id,
    }
    times = {
        "LastSuccessDate": webhook.last_success_at,
        "FailingSince": webhook.failing_since,
        "NextAttemptDate": webhook.next_at,
    }
    found |= {name: text for name, text in texts.items() if text}
    found |= {name: from_millis(at) for name, at in times.items() if at}
    if webhook.last_status is not None:
        found["LastStatusCode"] = webhook.last_status
    return found
