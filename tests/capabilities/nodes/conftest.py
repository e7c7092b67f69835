"""A fleet to register machines in, asked through the capability's own operations."""

import base64
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pilothouse.call import Call, House, Shape
from pilothouse.capabilities import nodes, tags
from pilothouse.crypto.vault import Vault
from pilothouse.gateway import presence
from pilothouse.identity.principals import ANONYMOUS, Principal
from pilothouse.runtime.bus import Bus
from pilothouse.runtime.clock import TestClock
from pilothouse.runtime.ids import Ids
from pilothouse.runtime.settings import ROLES, Settings
from pilothouse.storage import Database
from pilothouse.storage.blobs import open_blobs
from pilothouse.storage.pages import Pages

ACCOUNT = "111122223333"
REGION = "eu-west-1"
FINGERPRINT = "f8fda139-417f-43e1-886d-bd79daff37ac"

_OPERATIONS = {each.name: each for each in nodes.CAPABILITY.operations}


def spki(key: RSAPrivateKey) -> str:
    """The public half as agents send it."""
    return base64.b64encode(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()


class Fleet:
    """One account in one region, unless a call says otherwise."""

    def __init__(self, house: House, key: RSAPrivateKey, other_key: RSAPrivateKey) -> None:
        self.house = house
        self.key = key
        self.other_key = other_key

    async def ask(
        self, name: str, *, by: Any = None, account: Any = ACCOUNT, region: Any = REGION, **request: Any
    ) -> Shape:
        """Answer an operation as dispatch does: a writing one in a transaction that commits after it returned."""
        operation = _OPERATIONS[name]
        root = Principal(
            kind="root", account_id=account, arn=f"arn:aws:iam::{account}:root", user_id=account, access_key_id="AKIA"
        )
        call = Call(
            principal=by or root, account_id=account, region=region, request_id=self.house.ids.uuid(), house=self.house
        )
        if not operation.writes:
            return await operation.handler(call, request)
        async with self.house.database.transaction() as tx:
            call.bound = tx
            return await operation.handler(call, request)

    async def activate(self, **members: Any) -> Shape:
        """An activation for ten nodes with the role `NodeRole`, unless told otherwise."""
        return await self.ask("CreateActivation", **{"IamRole": "NodeRole", "RegistrationLimit": 10} | members)

    async def register_with(self, activation: Shape, **members: Any) -> str:
        """What a machine does with the activation's id and code."""
        answer = await self.ask(
            "RegisterManagedInstance",
            by=ANONYMOUS,
            account="",
            region="",
            **{
                "ActivationId": activation["ActivationId"],
                "ActivationCode": activation["ActivationCode"],
                "PublicKey": spki(self.key),
                "PublicKeyType": "Rsa",
                "Fingerprint": FINGERPRINT,
            }
            | members,
        )
        node_id: str = answer["InstanceId"]
        return node_id

    async def register(self, **members: Any) -> str:
        """A node from an activation of its own."""
        return await self.register_with(await self.activate(**members))

    async def principal(self, node_id: str, *, own_key: bool = False) -> Principal:
        """The node as it signs with its role credentials, or with its own key."""
        async with self.house.database.reading() as tx:
            signed = (await nodes.registered(tx, node_id)).principal
        access_key_id = node_id if own_key else "ASIAEXAMPLE"
        return Principal(
            kind="node",
            account_id=signed.account_id,
            arn=signed.arn,
            user_id=signed.user_id,
            access_key_id=access_key_id,
            node_id=node_id,
        )

    async def ping(self, node_id: str, **members: Any) -> Shape:
        """UpdateInstanceInformation: the short form and what is given."""
        return await self.ask(
            "UpdateInstanceInformation",
            by=await self.principal(node_id),
            **{
                "InstanceId": node_id,
                "AgentName": "amazon-ssm-agent",
                "AgentVersion": "3.3.0.0",
                "PlatformType": "Linux",
            }
            | members,
        )

    async def open_channel(self, node_id: str) -> None:
        """The node's control channel opens on a process that lives."""
        async with self.house.database.transaction() as tx:
            now = self.house.clock.millis()
            await presence.beat(tx, "process", ROLES, now)
            await presence.opened(
                tx, ACCOUNT, REGION, node_id, process_id="process", channel_id="channel-" + node_id, now_ms=now
            )

    async def close_channel(self, node_id: str) -> None:
        async with self.house.database.transaction() as tx:
            await presence.closed(tx, node_id, "channel-" + node_id)

    async def tag(self, node_id: str, **with_tags: str) -> None:
        async with self.house.database.transaction() as tx:
            await tags.put(tx, ACCOUNT, REGION, "ManagedInstance", node_id, with_tags)

    async def shown(self, node_id: str, **where: str) -> Shape:
        """The node as DescribeInstanceInformation shows it."""
        answer = await self.ask(
            "DescribeInstanceInformation", Filters=[{"Key": "InstanceIds", "Values": [node_id]}], **where
        )
        (found,) = answer["InstanceInformationList"]
        return dict(found)

    async def listed(self, *filters: tuple[str, list[str]], page: int = 50) -> list[str]:
        """Ids that fit the filters, collected over all pages."""
        request: Shape = {"Filters": [{"Key": key, "Values": values} for key, values in filters], "MaxResults": page}
        found: list[str] = []
        while True:
            answer = await self.ask("DescribeInstanceInformation", **request)
            here = [each["InstanceId"] for each in answer["InstanceInformationList"]]
            assert len(here) <= page
            found += here
            if answer["NextToken"] is None:
                return found
            assert len(here) == page, "no page before the last is short"
            request["NextToken"] = answer["NextToken"]


@pytest.fixture(scope="session")
def keys() -> tuple[RSAPrivateKey, RSAPrivateKey]:
    """Two key pairs; making one takes long."""
    return generate_private_key(65537, 2048), generate_private_key(65537, 2048)


@pytest.fixture
async def fleet(
    database: Database, clock: TestClock, keys: tuple[RSAPrivateKey, RSAPrivateKey], tmp_path: Any
) -> Fleet:
    """The nodes' operations over a fresh database, once for each engine."""
    vault = Vault(bytes(32))
    return Fleet(
        House(
            database=database,
            clock=clock,
            ids=Ids(),
            bus=Bus(),
            vault=vault,
            pages=Pages(vault.subkey("page tokens")),
            settings=Settings(data=tmp_path),
            blobs=open_blobs("", tmp_path),
        ),
        *keys,
    )
