"""What subscribers get: asked to confirm, signed, in order, again when they failed, and nothing they do not want."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3

from pilothouse.capabilities.topics.store import TopicStore, hold, release
from pilothouse.runtime.clock import TestClock
from pilothouse.runtime.settings import OutboundSettings, Settings, TopicSettings
from pilothouse.wire.http import Response
from tests.capabilities.access.policies import error
from tests.capabilities.events.conftest import Receiver, eventually
from tests.capabilities.topics.conftest import Subscriber
from tests.conftest import Server
from tests.crypto.test_stolen_database import stolen

Visit = Callable[[str], Response]


def test_from_the_subscription_to_its_end(sns: Any, subscriber: Subscriber, receiver: Receiver, visit: Visit) -> None:
    topic = sns.create_topic(Name="ops")["TopicArn"]
    there = {"TopicArn": topic, "Protocol": "http", "Endpoint": receiver.url}
    assert sns.subscribe(**there)["SubscriptionArn"] == "pending confirmation"
    asked = eventually(lambda: subscriber.of("SubscriptionConfirmation"))[0]
    assert asked["SignatureVersion"] == "1"
    assert asked["Message"].startswith(f"You have chosen to subscribe to the topic {topic}.\nTo confirm")
    headers = receiver.taken[0][0]
    assert (headers["x-amz-sns-topic-arn"], headers["x-amz-sns-message-id"]) == (topic, asked["MessageId"])
    assert headers["content-type"] == "text/plain; charset=UTF-8"
    assert sns.list_subscriptions()["Subscriptions"][0]["SubscriptionArn"] == "PendingConfirmation"
    sns.publish(TopicArn=topic, Message="before")
    assert visit(asked["SubscribeURL"].replace("Token=", "Token=0")).status == 400
    confirmed = visit(asked["SubscribeURL"])
    assert confirmed.status == 200
    [shown] = sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
    assert shown["SubscriptionArn"].encode() in confirmed.body
    assert (shown["Endpoint"], shown["Protocol"]) == (receiver.url, "http")
    assert sns.subscribe(**there)["SubscriptionArn"] == shown["SubscriptionArn"]

    sns.set_topic_attributes(TopicArn=topic, AttributeName="SignatureVersion", AttributeValue="2")
    sent = sns.publish(
        TopicArn=topic, Message="größer", Subject="Hello",
        MessageAttributes={
            "n": {"DataType": "Number", "StringValue": "5"}, "b": {"DataType": "Binary", "BinaryValue": b"\0"},
        },
    )  # fmt: skip
    assert subscriber.messages(1) == ["größer"]
    [told] = subscriber.of("Notification")
    assert (told["MessageId"], told["Subject"], told["SignatureVersion"]) == (sent["MessageId"], "Hello", "2")
    assert told["MessageAttributes"] == {
        "n": {"Type": "Number", "Value": "5"}, "b": {"Type": "Binary", "Value": "AA=="}
    }  # fmt: skip
    assert receiver.taken[-1][0]["x-amz-sns-subscription-arn"] == shown["SubscriptionArn"]

    assert visit(told["UnsubscribeURL"]).status == 200
    ended = eventually(lambda: subscriber.of("UnsubscribeConfirmation"))[0]
    assert sns.list_subscriptions()["Subscriptions"] == []
    assert error(sns.get_subscription_attributes, SubscriptionArn=shown["SubscriptionArn"])["Code"] == "NotFound"
    sns.publish(TopicArn=topic, Message="meanwhile")
    assert visit(ended["SubscribeURL"]).status == 200
    sns.publish(TopicArn=topic, Message="after")
    assert subscriber.messages(2) == ["größer", "after"]


def test_each_gets_what_it_wants_in_order(sns: Any, subscriber: Subscriber, receiver: Receiver, visit: Visit) -> None:
    topic = sns.create_topic(Name="ops")["TopicArn"]
    raw = subscriber.subscribe(topic, "?raw", RawMessageDelivery="true", FilterPolicy='{"kind": ["a", "b"]}')
    subscriber.subscribe(topic, "?body", FilterPolicy='{"n": [{"numeric": [">", 5]}]}', FilterPolicyScope="MessageBody")

    def entry(number: int, kind: str, message: str) -> dict[str, Any]:
        attributes = {"kind": {"DataType": "String", "StringValue": kind}}
        return {"Id": f"i{number}", "Message": message, "MessageAttributes": attributes}

    entries = [entry(number, "abc"[number % 3], f'{{"n": {number}}}') for number in range(9)]
    bad = {"Id": "bad", "Message": "x", "Subject": "\n"}
    answer = sns.publish_batch(TopicArn=topic, PublishBatchRequestEntries=[*entries, bad])
    assert [each["Id"] for each in answer["Successful"]] == [each["Id"] for each in entries]
    assert answer["Failed"] == [
        {"Id": "bad", "Code": "InvalidParameter", "Message": "Invalid parameter: Subject", "SenderFault": True}
    ]
    raws = eventually(lambda: len(found := _raw(receiver)) == 6 and found)
    assert [body for _, body in raws] == [f'{{"n": {number}}}'.encode() for number in (0, 1, 3, 4, 6, 7)]
    assert raws[0][0]["x-amz-sns-subscription-arn"] == raw
    eventually(lambda: len([each for each in receiver.taken if b"UnsubscribeURL" in each[1]]) == 3)
    sns.set_subscription_attributes(SubscriptionArn=raw, AttributeName="FilterPolicy", AttributeValue="{}")
    text = '{"default": "other", "http": "for http"}'
    sns.publish(TopicArn=topic, Message=text, MessageStructure="json")
    eventually(lambda: _raw(receiver)[-1][1] == b"for http")
    attributes = eventually(lambda: _settled(sns, raw))
    assert (attributes["DeliveryState"], attributes["RawMessageDelivery"]) == ("Active", "true")


def _raw(receiver: Receiver) -> list[tuple[dict[str, str], bytes]]:
    return [each for each in list(receiver.taken) if "x-amz-sns-rawdelivery" in each[0]]


def _settled(sns: Any, arn: str) -> dict[str, str] | None:
    found: dict[str, str] = sns.get_subscription_attributes(SubscriptionArn=arn)["Attributes"]
    return found if found["MessagesWaiting"] == "0" else None


def test_one_that_fails_gets_all_later_but_what_it_calls_bad(
    server: Server, sns: Any, subscriber: Subscriber, receiver: Receiver
) -> None:
    topic = sns.create_topic(Name="ops")["TopicArn"]
    arn = subscriber.subscribe(topic)

    def state(wanted: str) -> dict[str, str]:
        def look() -> dict[str, str] | None:
            found: dict[str, str] = sns.get_subscription_attributes(SubscriptionArn=arn)["Attributes"]
            return found if found["DeliveryState"] == wanted else None

        found: dict[str, str] = eventually(look)
        return found

    receiver.status = 503
    for number in range(5):
        sns.publish(TopicArn=topic, Message=str(number))
    found = state("Retrying")
    assert (found["LastStatusCode"], found["MessagesWaiting"]) == ("503", "5")
    server.advance(hours=25)
    assert "tried each hour now" in state("Failing")["LastDeliveryError"]
    receiver.status = 200
    server.advance(hours=1)
    assert subscriber.messages(5) == list("01234")
    state("Active")

    receiver.status = 400
    sns.publish(TopicArn=topic, Message="bad")

    def dropped() -> bool:
        server.advance(seconds=10)
        found: str = sns.get_subscription_attributes(SubscriptionArn=arn)["Attributes"]["MessagesDropped"]
        return found == "1"

    eventually(dropped)
    receiver.status = 410
    sns.publish(TopicArn=topic, Message="kept")
    assert "wants no more" in state("Disabled")["LastDeliveryError"]
    receiver.status = 200
    assert sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=receiver.url)["SubscriptionArn"] == arn
    assert subscriber.messages(6) == [*"01234", "kept"]

    receiver.status = 500
    sns.publish(TopicArn=topic, Message="too old")
    server.advance(days=8)
    eventually(lambda: _settled(sns, arn))
    assert sns.get_subscription_attributes(SubscriptionArn=arn)["Attributes"]["MessagesDropped"] == "2"


def test_who_does_not_confirm_is_forgotten(
    server: Server, sns: Any, receiver: Receiver, subscriber: Subscriber
) -> None:
    topic = sns.create_topic(Name="ops")["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=receiver.url)
    asked = eventually(lambda: subscriber.of("SubscriptionConfirmation"))[0]
    server.advance(hours=49)
    late = error(sns.confirm_subscription, TopicArn=topic, Token=asked["Token"])
    assert late["Code"] in {"InvalidParameter", "NotFound"}
    eventually(lambda: sns.list_subscriptions()["Subscriptions"] == [])


def test_one_that_shall_not_end_by_a_link(
    sns: Any, receiver: Receiver, subscriber: Subscriber, visit: Visit, server: Server, tmp_path: Path
) -> None:
    topic = sns.create_topic(Name="ops")["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=receiver.url)
    asked = eventually(lambda: subscriber.of("SubscriptionConfirmation"))[0]
    arn = sns.confirm_subscription(TopicArn=topic, Token=asked["Token"], AuthenticateOnUnsubscribe="true")
    sns.publish(TopicArn=topic, Message="x")
    [told] = eventually(lambda: subscriber.of("Notification"))
    assert visit(told["UnsubscribeURL"]).status == 403
    sns.unsubscribe(SubscriptionArn=arn["SubscriptionArn"])
    assert sns.list_subscriptions()["Subscriptions"] == []
    assert error(sns.confirm_subscription, TopicArn=topic, Token=asked["Token"])["Code"] == "NotFound"
    assert b"PRIVATE KEY" not in stolen(server, tmp_path)


def test_what_another_process_holds_waits_until_that_ends(
    server: Server, sns: Any, subscriber: Subscriber, receiver: Receiver
) -> None:
    topic = sns.create_topic(Name="ops")["TopicArn"]
    arn = subscriber.subscribe(topic)
    eventually(lambda: _settled(sns, arn))
    house = server.application.house

    async def held_by_another() -> bool:
        now = house.clock.millis()
        async with house.database.transaction() as tx:
            [seen] = await TopicStore(tx, topic.split(":")[4], "eu-west-1").confirmed("ops")
            assert await hold(tx, seen, "late", now, now + 1) is None, "this process holds it still"
            await release(tx, house.process_id)
            return await hold(tx, seen, "other", now, now + 3_600_000) is not None

    assert server.run(held_by_another())
    sns.publish(TopicArn=topic, Message="x")
    server.advance(seconds=30)
    assert subscriber.of("Notification") == []

    async def ended() -> None:
        async with house.database.transaction() as tx:
            await house.tell(tx, "process.ended", process_id="other")

    server.run(ended())
    server.advance(seconds=2)
    assert subscriber.messages(1) == ["x"]


def test_what_waits_outlives_the_server(database_url: str, tmp_path: Path, receiver: Receiver) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    url = TopicSettings(url="https://outside.example")
    settings = Settings(
        data=data, database=database_url, topics=url, outbound=OutboundSettings(allow=("127.0.0.1/32",))
    )

    def open_server() -> tuple[Server, Any]:
        opened = Server(settings, TestClock())
        root = opened.application.root
        made = boto3.client(
            "sns", region_name="eu-west-1", endpoint_url="http://pilothouse.test",
            aws_access_key_id=root.access_key_id, aws_secret_access_key=root.secret,
        )  # fmt: skip
        made.meta.events.register("before-send.sns", opened.answer)
        return opened, made

    server, sns = open_server()
    try:
        topic = sns.create_topic(Name="ops")["TopicArn"]
        sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=receiver.url)
        asked = eventually(lambda: receiver.events)[0]
        assert asked["SubscribeURL"].startswith("https://outside.example/?Action=ConfirmSubscription&")
        assert asked["SigningCertURL"].startswith("https://outside.example/SimpleNotificationService-")
        sns.confirm_subscription(TopicArn=topic, Token=asked["Token"])
        receiver.status = 503
        for number in range(3):
            sns.publish(TopicArn=topic, Message=str(number))
    finally:
        server.close()
    receiver.status = 200
    server, _ = open_server()
    try:
        server.advance(minutes=1)
        eventually(lambda: [each["Message"] for each in receiver.events[1:]] == ["0", "1", "2"])
    finally:
        server.close()
