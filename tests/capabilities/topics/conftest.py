"""Subscribers on a loopback port, who check what they get as SNS's own validators do."""

from base64 import b64decode
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from pilothouse.wire.http import Request, Response
from tests.capabilities.events.conftest import Receiver, eventually, receiver, server
from tests.conftest import Aws, Server

__all__ = ["receiver", "server"]

SIGNED = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
    "UnsubscribeConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
}


@pytest.fixture
def sns(aws: Aws) -> Any:
    return aws("sns")


@pytest.fixture
def visit(server: Server) -> Callable[[str], Response]:
    """What an unsigned GET of a URL of the server answers."""

    def visit(url: str) -> Response:
        split = urlsplit(url)
        assert split.netloc == "pilothouse.test"
        request = Request("GET", split.path, split.query, {"host": split.netloc}, b"", "127.0.0.1", False)
        return server.run(server.application.front.respond(request))

    return visit


class Subscriber:
    """An endpoint of a topic."""

    def __init__(self, sns: Any, receiver: Receiver, visit: Callable[[str], Response]) -> None:
        self._sns, self._receiver, self._visit = sns, receiver, visit

    def subscribe(self, topic: str, path: str = "", **attributes: str) -> str:
        """Subscribed and confirmed; the ARN."""
        before = len(self._receiver.taken)
        arn: str = self._sns.subscribe(
            TopicArn=topic, Protocol="http", Endpoint=self._receiver.url + path, ReturnSubscriptionArn=True,
            Attributes=attributes,
        )["SubscriptionArn"]  # fmt: skip
        asked = eventually(lambda: self.of("SubscriptionConfirmation", since=before))[0]
        assert self._visit(asked["SubscribeURL"]).status == 200
        return arn

    def of(self, kind: str, *, since: int = 0) -> list[dict[str, Any]]:
        """The bodies of one type so far, each with a signature that fits."""
        found = []
        for headers, body in list(zip(self._receiver.taken, self._receiver.events, strict=False))[since:]:
            if headers[0]["x-amz-sns-message-type"] == kind:
                self.check(body)
                found.append(body)
        return found

    def messages(self, count: int) -> list[str]:
        """The texts of the first notifications, when they have come."""
        found = eventually(lambda: (all_of := self.of("Notification")) and len(all_of) >= count and all_of)
        return [body["Message"] for body in found]

    def check(self, body: dict[str, Any]) -> None:
        """As validators do it, with the certificate that the message names."""
        answer = self._visit(body["SigningCertURL"])
        assert answer.status == 200
        key = x509.load_pem_x509_certificate(answer.body).public_key()
        assert isinstance(key, rsa.RSAPublicKey)
        text = "".join(f"{name}\n{body[name]}\n" for name in SIGNED[body["Type"]] if name in body)
        digest = hashes.SHA256() if body["SignatureVersion"] == "2" else hashes.SHA1()
        key.verify(b64decode(body["Signature"]), text.encode(), padding.PKCS1v15(), digest)


@pytest.fixture
def subscriber(sns: Any, receiver: Receiver, visit: Callable[[str], Response]) -> Subscriber:
    return Subscriber(sns, receiver, visit)
