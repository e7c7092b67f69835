"""What our own service says of inventory; and that the index says what the items say, whatever is put."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pilothouse
from pilothouse.capabilities.inventory.finding import Finder, read
from pilothouse.capabilities.inventory.index import sweep
from pilothouse.capabilities.inventory.putting import Sent, put_items
from tests.capabilities.commands.conftest import Fleet, Node
from tests.capabilities.inventory.conftest import Put, application, ids, item, refused
from tests.conftest import Server

Nodes = Callable[..., list[Node]]


@pytest.fixture(scope="module")
def own(server: Server) -> Any:
    """A client of our own service."""
    session = botocore.session.Session()
    models = Path(pilothouse.__file__).parent / "wire" / "own-models"
    session.get_component("data_loader").search_paths.append(str(models))
    root = server.application.root
    made = session.create_client(
        "pilothouse", region_name="eu-west-1", endpoint_url="http://pilothouse.test",
        aws_access_key_id=root.access_key_id, aws_secret_access_key=root.secret,
    )  # fmt: skip
    made.meta.events.register("before-send.pilothouse", server.answer)
    return made


def test_entries_that_fit_are_shown_with_their_nodes(ssm: Any, own: Any, nodes: Nodes, put: Put, fleet: Fleet) -> None:
    one, two = nodes(2, platform="Linux")
    fleet.tell(two, ComputerName="db2")
    put(one, item("AWS:Application", application("openssl", "3.0.9"), application("bash", "5")))
    put(two, item("AWS:Application", application("openssl", "3.0.13"), application("openssl", "1.1")))

    def found(*filters: tuple[str, str, str], **more: Any) -> list[tuple[str, str]]:
        asked = [{"Key": key, "Type": how, "Values": [value]} for key, how, value in filters]
        answer = own.search_inventory(TypeName="AWS:Application", Filters=asked, **more)
        return [(each["InstanceId"], each["Entry"]["Version"]) for each in answer["Matches"]]

    assert found(("Name", "Equal", "openssl")) == [(one.id, "3.0.9"), (two.id, "3.0.13"), (two.id, "1.1")]
    old = ("AWS:Application.Version", "LessThan", "3.0.10")
    assert found(("Name", "Equal", "openssl"), old) == [(one.id, "3.0.9"), (two.id, "1.1")]
    assert found(("Name", "Equal", "openssl"), ("AWS:InstanceInformation.ComputerName", "Equal", "db2")) == [
        (two.id, "3.0.13"), (two.id, "1.1"),
    ]  # fmt: skip
    page = own.search_inventory(TypeName="AWS:Application", MaxResults=1)
    assert {each["InstanceId"] for each in page["Matches"]} == {one.id}
    rest = own.search_inventory(TypeName="AWS:Application", MaxResults=1, NextToken=page["NextToken"])
    assert {each["ComputerName"] for each in rest["Matches"]} == {"db2"}
    assert "NextToken" not in rest
    assert refused(lambda: own.search_inventory(TypeName="AWS:Nothing")) == "InvalidTypeNameException"


def test_what_came_and_went_is_kept_for_some_versions(ssm: Any, own: Any, nodes: Nodes, put: Put) -> None:
    (node,) = nodes(1)
    for number in range(8):
        put(node, item("AWS:Application", application("bash", str(number)), application("same", "1")))
    put(node, item("AWS:Application", application("bash", "7"), application("same", "1")))  # nothing changed
    asked = {"InstanceId": node.id, "TypeName": "AWS:Application"}
    versions = own.list_inventory_versions(**asked, MaxResults=10)["Versions"]
    assert [each["Number"] for each in versions] == [8, 7, 6, 5, 4, 3]
    assert versions[0]["Added"] == [application("bash", "7")]
    assert versions[0]["Removed"] == [application("bash", "6")]
    assert "Added" not in versions[-1]
    first = own.list_inventory_versions(**asked, MaxResults=2)
    assert [each["Number"] for each in first["Versions"]] == [8, 7]
    assert first["Versions"][1]["Added"] == [application("bash", "6")]
    second = own.list_inventory_versions(**asked, MaxResults=2, NextToken=first["NextToken"])["Versions"]
    assert [each["Number"] for each in second] == [6, 5]


_texts = st.sampled_from(["a", "b", "ab", "1.2", "1.10", "", "\u00e9", "x" * 501, "x" * 502])
_entry = st.fixed_dictionaries(
    {}, optional={"Name": _texts, "Version": _texts, "InstalledTime": _texts, "Summary": _texts}
)
_filter = st.tuples(
    st.sampled_from(["Name", "Version", "InstalledTime", "Summary"]),
    st.sampled_from(["Equal", "NotEqual", "BeginWith", "LessThan", "GreaterThan"]),
    st.lists(_texts, min_size=1, max_size=2),
)


@settings(max_examples=25, deadline=None)
@given(
    puts=st.lists(st.tuples(st.integers(0, 2), st.lists(_entry, max_size=4)), min_size=1, max_size=6),
    asked=st.lists(st.lists(_filter, min_size=1, max_size=3), min_size=3, max_size=6),
)
def test_the_index_says_what_the_items_say(three: tuple[Server, list[str]], puts: Any, asked: Any) -> None:
    server, node_ids = three
    house, where = server.application.house, (server.application.root.account_id, "eu-west-1")

    async def look() -> None:
        held: dict[str, list[dict[str, str]]] = {}
        for each in node_ids:
            puts.insert(0, (node_ids.index(each), []))
        for place, content in puts:
            sent = Sent(
                type_name="AWS:Application", schema_version="1.1", capture_time="2026-03-10T12:00:00Z",
                content_hash="", content=content,
            )  # fmt: skip
            async with house.database.transaction() as tx:
                await put_items(house, tx, *where, node_ids[place], [sent])
            held[node_ids[place]] = content
        for filters in asked:
            given = [{"Key": f"AWS:Application.{key}", "Type": how, "Values": values} for key, how, values in filters]
            wanted = read(given, exists=False)
            async with house.database.reading() as tx:
                found = await Finder(house, tx, *where).ids(wanted)
            plain = wanted.wanted["AWS:Application"]
            expected = {
                node_id
                for node_id, content in held.items()
                if any(all(each.fits(entry.get(each.attribute)) for each in plain) for entry in content)
            }
            assert found == expected, given

    server.run(look())


@pytest.fixture(scope="module")
def three(server: Server, fleet: Fleet) -> tuple[Server, list[str]]:
    return server, [node.id for node in fleet.nodes(3, online=False)]


def test_what_nobody_has_leaves_the_index_in_an_hour(ssm: Any, nodes: Nodes, put: Put, server: Server) -> None:
    (node,) = nodes(1)
    house = server.application.house

    async def entries() -> set[str]:
        async with house.database.reading() as tx:
            rows = await tx.rows(
                "select value from inventory_attribute where attribute = 'Name'"
                " and entry_id in (select entry_id from inventory_entry)"
            )
        return {row["value"] for row in rows}

    put(node, item("AWS:Application", application("stays", "1"), application("goes", "1"), application("back", "1")))
    put(node, item("AWS:Application", application("stays", "1")))
    server.run(sweep.run(house))
    assert {"stays", "goes", "back"} <= server.run(entries())
    put(node, item("AWS:Application", application("stays", "1"), application("back", "1")))
    server.advance(hours=1, seconds=1)
    server.run(sweep.run(house))
    assert server.run(entries()) & {"stays", "goes", "back"} == {"stays", "back"}
    assert ids(ssm, ("AWS:Application.Name", "Equal", "back")) == [node.id]


def test_nodes_that_send_the_same_at_once_wait_for_one_another(ssm: Any, fleet: Fleet, server: Server) -> None:
    some = fleet.nodes(8, online=False)
    house, where = server.application.house, (server.application.root.account_id, "eu-west-1")

    async def send(place: int, node: Node) -> None:
        content = [application(f"shared{number}", "1") for number in range(60)]
        sent = Sent(
            type_name="AWS:Application", schema_version="1.1", capture_time="2026-03-10T12:00:00Z", content_hash="",
            content=content[place:] + content[:place],
        )  # fmt: skip
        async with house.database.transaction() as tx:
            await put_items(house, tx, *where, node.id, [sent])

    async def all_at_once() -> None:
        async with asyncio.TaskGroup() as group:
            for place, node in enumerate(some):
                group.create_task(send(place, node))

    server.run(all_at_once())
    assert ids(ssm, ("AWS:Application.Name", "Equal", "shared59")) == sorted(node.id for node in some)
    for node in some:
        ssm.deregister_managed_instance(InstanceId=node.id)
