"""A small house for the client edge: embedded storage, a few accounts' keys, operations made up for the test."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import structlog
import uvloop
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSPreparedRequest, AWSRequest
from botocore.credentials import Credentials as Keys
from cryptography.hazmat.primitives.asymmetric import rsa

from pilothouse.call import Call, Caller, House, Operation, Shape, operation
from pilothouse.crypto.vault import Vault
from pilothouse.errors import AccessDeniedException, ExpiredTokenException, UnrecognizedClientException
from pilothouse.identity.credentials import Credential
from pilothouse.identity.principals import Principal
from pilothouse.runtime.bus import Bus
from pilothouse.runtime.clock import TestClock
from pilothouse.runtime.ids import Ids
from pilothouse.runtime.settings import Settings
from pilothouse.storage.blobs import open_blobs
from pilothouse.storage.engines import open_database
from pilothouse.storage.migrations import PackageMigrations
from pilothouse.storage.pages import Pages
from pilothouse.wire.dispatch import Dispatch
from pilothouse.wire.front import Front
from pilothouse.wire.http import Request, Response
from pilothouse.wire.sigv4 import Authenticator

ACCOUNT = "123456789012"
HOST = "pilothouse.test"
KEY, SECRET = "AKIAABCDEFGHIJKLMNOP", "s3cr3t-of-the-root-user-of-the-account-00"
SESSION_KEY, SESSION_SECRET, SESSION_TOKEN = "ASIAABCDEFGHIJKLMNOP", "secret-of-a-session", "token-of-the-session"
NODE_KEY, NODE_SECRET, NODE_TOKEN = "ASIANODENODENODENODE", "secret-of-a-node-role", "token-of-the-node"
NODE_ID = "mi-0123456789abcdef0"

ROOT = Principal(
    kind="root", account_id=ACCOUNT, arn=f"arn:aws:iam::{ACCOUNT}:root", user_id=ACCOUNT, access_key_id=KEY
)
SESSION = Principal(
    kind="session",
    account_id=ACCOUNT,
    arn=f"arn:aws:sts::{ACCOUNT}:assumed-role/admin/me",
    user_id="AROA:me",
    access_key_id=SESSION_KEY,
)
NODE = Principal(
    kind="node",
    account_id=ACCOUNT,
    arn=f"arn:aws:sts::{ACCOUNT}:assumed-role/node/{NODE_ID}",
    user_id=f"AROA:{NODE_ID}",
    access_key_id=NODE_KEY,
    node_id=NODE_ID,
)


@dataclass
class KeyRing:
    """Access keys in memory, by the rules of `identity.credentials.Credentials`."""

    keys: dict[str, tuple[Principal, str, str | None]] = field(
        default_factory=lambda: {
            KEY: (ROOT, SECRET, None),
            SESSION_KEY: (SESSION, SESSION_SECRET, SESSION_TOKEN),
            NODE_KEY: (NODE, NODE_SECRET, NODE_TOKEN),
        }
    )
    expired: set[str] = field(default_factory=set)
    looked_up: int = 0

    async def find(self, access_key_id: str, session_token: str | None) -> Credential:
        self.looked_up += 1
        known = self.keys.get(access_key_id)
        if known is None or known[2] != session_token:
            raise UnrecognizedClientException
        if access_key_id in self.expired:
            raise ExpiredTokenException
        return Credential(known[0], known[1])


@dataclass
class NodeKeys:
    """The registered public keys of nodes."""

    private: rsa.RSAPrivateKey = field(default_factory=lambda: rsa.generate_private_key(65537, 2048))
    asked: int = 0

    async def verify(self, node_id: str, to_sign: bytes, signature: bytes) -> Principal:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric import padding
        from cryptography.hazmat.primitives.hashes import SHA256

        from pilothouse.errors import InvalidSignatureException

        self.asked += 1
        if node_id != NODE_ID:
            raise AccessDeniedException("The node is not registered.")
        try:
            self.private.public_key().verify(
                signature, to_sign, padding.PSS(mgf=padding.MGF1(SHA256()), salt_length=32), SHA256()
            )
        except InvalidSignature as error:
            raise InvalidSignatureException from error
        return NODE


class EmptyStreams:
    """Answers that are over before their first event."""

    def told(self, request: Request, *_: object) -> Response:
        return Response(200, {}, b"")


@dataclass
class World:
    """The house and its front, and the means to sign for it."""

    house: House
    front: Front
    clock: TestClock
    key_ring: KeyRing
    node_keys: NodeKeys
    operations: dict[tuple[str, str], Operation]
    denied: set[str]

    def answers(self, service: str, name: str, **how: Any) -> Callable[[Any], Any]:
        """Put a function into the operation table."""

        def put(handler: Callable[[Call, Shape], Any]) -> Any:
            marked = operation(service, name, **how)(handler)
            self.operations[service, name] = marked.__operation__  # type: ignore[attr-defined]
            return marked

        return put

    async def call(
        self, service: str, name: str, body: bytes = b"{}", *, signer: str = "ssm", **headers: str
    ) -> Response:
        """A signed JSON call through the front."""
        return await self.front.respond(signed_json(service, name, body, self.clock, scope=signer, **headers))


PREFIXES = {
    "ssm": "AmazonSSM",
    "secretsmanager": "secretsmanager",
    "kms": "TrentService",
    "cloudtrail": "com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101",
    "logs": "Logs_20140328",
    "ec2messages": "EC2WindowsMessageDeliveryService",
}


def plain(aws: AWSRequest | AWSPreparedRequest) -> Request:
    """A botocore request as the edge sees it."""
    prepared = aws.prepare() if isinstance(aws, AWSRequest) else aws
    path, _, query = prepared.url.partition("//")[2].partition("/")[2].partition("?")
    headers = {
        name.lower(): value if isinstance(value, str) else value.decode() for name, value in prepared.headers.items()
    }
    headers.setdefault("host", HOST)
    body = prepared.body or b""
    return Request(
        method=prepared.method or "POST",
        path=f"/{path}",
        query=query,
        headers=headers,
        body=body if isinstance(body, bytes) else body.encode(),
        peer="192.0.2.7",
        secure=True,
    )


def sign(
    aws: AWSRequest,
    service: str,
    clock: TestClock,
    *,
    key: str = KEY,
    secret: str = SECRET,
    token: str | None = None,
    region: str = "eu-west-1",
    expires: int | None = None,
) -> Request:
    """Sign by botocore at the house's time; with `expires` into the query."""
    import botocore.auth

    keys = Keys(key, secret, token)
    signer = SigV4Auth(keys, service, region) if expires is None else SigV4QueryAuth(keys, service, region, expires)
    real = botocore.auth.get_current_datetime
    botocore.auth.get_current_datetime = lambda *_: clock.now()
    try:
        signer.add_auth(aws)
    finally:
        botocore.auth.get_current_datetime = real
    return plain(aws)


def signed_json(
    service: str, name: str, body: bytes, clock: TestClock, *, scope: str | None = None, **headers: str
) -> Request:
    """A signed JSON 1.1 call; `_` in header names stands for `-`."""
    aws = AWSRequest(
        method="POST",
        url=f"http://{HOST}/",
        data=body,
        headers={
            "Content-Type": "application/x-amz-json-1.1",
            "X-Amz-Target": f"{PREFIXES[service]}.{name}",
            **{header.replace("_", "-"): value for header, value in headers.items()},
        },
    )
    return sign(aws, scope or service, clock)


def signed_form(service: str, body: str, clock: TestClock, **how: Any) -> Request:
    """A signed query-protocol call."""
    aws = AWSRequest(
        method="POST",
        url=f"http://{HOST}/",
        data=body.encode(),
        headers={"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"},
    )
    return sign(aws, service, clock, **how)


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop that the server runs on in earnest."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(autouse=True)
def log_lines() -> Iterator[list[Any]]:
    """What is logged during the test, kept off the screen."""
    with structlog.testing.capture_logs() as lines:
        yield lines


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A house of its own for each test."""
    clock = TestClock()
    vault = Vault(bytes(32))
    database = await open_database(f"sqlite:///{tmp_path}/wire.db")
    await database.migrate([PackageMigrations("wire", "pilothouse.wire")])
    house = House(
        database=database,
        clock=clock,
        ids=Ids(),
        bus=Bus(),
        vault=vault,
        pages=Pages(vault.subkey("page tokens")),
        settings=Settings(data=Path()),
        blobs=open_blobs("", Path()),
    )
    operations: dict[tuple[str, str], Operation] = {}
    denied: set[str] = set()

    async def authorise(call: Call, asked: Operation, request: Shape) -> None:
        if asked.name in denied:
            raise AccessDeniedException(f"User: {call.principal.arn} is not authorized to perform: {asked.action}")
        if call.principal.kind == "anonymous" and Caller.ANYONE not in asked.callers:
            raise AssertionError("an unsigned call reached the authoriser of a signed operation")

    key_ring, node_keys = KeyRing(), NodeKeys()
    authenticator = Authenticator(key_ring, clock, node_keys.verify)
    dispatch = Dispatch(house, operations, authenticator, authorise, EmptyStreams())
    try:
        yield World(house, Front(dispatch), clock, key_ring, node_keys, operations, denied)
    finally:
        await database.close()
