"""Lookups find what is rare at once, pages stay where they are, and records of before have their types as well."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from botocore.exceptions import ClientError

from pilothouse.app import migrations_of_the_house
from pilothouse.capabilities.audit import store, verify
from pilothouse.capabilities.audit.model import Record
from pilothouse.capabilities.audit.sealing import trail_of
from pilothouse.capabilities.audit.trail import put_in_chain
from pilothouse.storage import Database, Migrations
from pilothouse.storage.engines import open_database
from tests.capabilities.audit.test_chain import act
from tests.conftest import Aws, Server

HAY = 2100


def hay(server: Server) -> None:
    """Many reads of one secret in the account."""
    house = server.application.house
    account = server.application.root.account_id

    async def write() -> None:
        acts = [act(house) for _ in range(HAY)]
        for each in acts:
            each.call.account_id = account
        await asyncio.gather(*(trail_of(house).keep(each) for each in acts))

    server.run(write())


def test_what_is_rare_stands_on_the_first_page(aws: Aws, server: Server) -> None:
    aws("ssm").put_parameter(Name="/needle", Value="1", Type="String")
    hay(server)
    trail = aws("cloudtrail")
    (made,) = trail.lookup_events(LookupAttributes=[{"AttributeKey": "ResourceName", "AttributeValue": "needle"}])[
        "Events"
    ]
    for key, value in {
        "EventId": made["EventId"],
        "EventName": "PutParameter",
        "EventSource": "ssm.amazonaws.com",
        "ReadOnly": "false",
        "AccessKeyId": server.application.root.access_key_id,
        "ResourceType": "AWS::SSM::Parameter",
    }.items():
        page = trail.lookup_events(LookupAttributes=[{"AttributeKey": key, "AttributeValue": value}])
        assert [each["EventName"] for each in page["Events"]] == ["PutParameter"], key
        assert "NextToken" not in page
    reads = [{"AttributeKey": "ReadOnly", "AttributeValue": "true"}]
    assert len(trail.lookup_events(LookupAttributes=reads)["Events"]) == 50
    for most in (51, 1000):
        with pytest.raises(ClientError, match="InvalidMaxResultsException"):
            trail.lookup_events(MaxResults=most)


def test_pages_do_not_move_while_records_come(aws: Aws, server: Server) -> None:
    def put(name: str) -> None:
        server.advance(seconds=1)
        aws("ssm").put_parameter(Name=name, Value="1", Type="String")

    def names(page: dict[str, Any]) -> list[str]:
        return [each["Resources"][0]["ResourceName"].rpartition("/")[2] for each in page["Events"]]

    for number in range(6):
        put(f"/n{number}")
    trail = aws("cloudtrail")
    for attributes in ([], [{"AttributeKey": "ResourceType", "AttributeValue": "AWS::SSM::Parameter"}]):
        first = trail.lookup_events(LookupAttributes=attributes, MaxResults=2)
        newest = int(names(first)[0][1:])
        assert names(first) == [f"n{newest}", f"n{newest - 1}"]
        put(f"/n{newest + 1}")
        second = trail.lookup_events(LookupAttributes=attributes, MaxResults=2, NextToken=first["NextToken"])
        assert names(second) == [f"n{newest - 2}", f"n{newest - 3}"]


@dataclass(frozen=True)
class Before:
    """The migrations of a capability as they were before the number."""

    all: Migrations
    number: int

    @property
    def capability(self) -> str:
        return self.all.capability

    def files(self) -> Sequence[tuple[int, str, str]]:
        return [each for each in self.all.files() if each[0] < self.number]


async def test_records_of_before_are_found_by_type_and_stay_whole(empty_database_url: str, tmp_path: Path) -> None:
    database: Database = await open_database(empty_database_url)
    everything = migrations_of_the_house()
    key = bytes(32)
    resources = [{"ARN": "arn:aws:ssm:r:1:parameter/a", "accountId": "1", "type": "AWS::SSM::Parameter"}]
    context = {"encryptionContext": {"type": "AWS::KMS::Key"}}  # looks like a resource, and is none
    body = msgspec.json.encode({"requestParameters": context, "resources": resources}).decode()
    try:
        await database.migrate([Before(each, 2) if each.capability == "audit" else each for each in everything])
        record = Record(
            event_id="e", account_id="1", region="r", at=1, event_source="ssm.amazonaws.com", event_name="PutParameter",
            username="root", access_key_id="", read_only=0, names='["a"]', body=body,
        ).sealed(key)  # fmt: skip
        async with database.transaction() as tx:
            await put_in_chain(tx, key, [record])
            store.add(tx, record)
        await database.migrate(everything)
        async with database.reading() as tx:
            (found,) = await store.found(
                tx, "1", "r", "name", "/AWS::SSM::Parameter", (0, 10), (10, "~"), 5
            )  # fmt: skip
        assert found.event_id == "e"
        assert (await verify(database, tmp_path, key)).faults == []
        async with database.transaction() as tx:
            await tx.execute("delete from audit_name where name = '/AWS::SSM::Parameter'")
        assert (await verify(database, tmp_path, key)).faults != []
    finally:
        await database.close()
