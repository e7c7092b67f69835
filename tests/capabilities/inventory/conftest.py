"""The server and nodes of the compliance tests, and short words for putting and asking."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.capabilities.commands.conftest import Fleet, Node, _signatures_follow_the_clock, refused, until
from tests.capabilities.compliance.conftest import Refused, as_node
from tests.capabilities.one_server import clock, database_url, fleet, server, ssm
from tests.conftest import Server

WHEN = "2026-03-10T12:00:00Z"
Put = Callable[..., Any]


def item(type_name: str, *content: dict[str, str], version: str = "1.0", **more: Any) -> dict[str, Any]:
    """An item of PutInventory."""
    return {"TypeName": type_name, "SchemaVersion": version, "CaptureTime": WHEN, "Content": list(content), **more}


def application(name: str, version: str, **more: str) -> dict[str, str]:
    return {"Name": name, "Version": version, "Publisher": "somebody", "Architecture": "x86_64", **more}


@pytest.fixture
def put(server: Server) -> Put:
    """PutInventory of a node about itself."""

    def put(node: Node, *items: dict[str, Any]) -> Any:
        return as_node(server, node, "PutInventory", InstanceId=node.id, Items=list(items))

    return put


@pytest.fixture
def nodes(fleet: Fleet, ssm: Any) -> Iterator[Callable[..., list[Node]]]:
    """New nodes, away unless the test says otherwise. They go when the test ends, so that it sees its own only."""
    made: list[Node] = []

    def make(count: int, **of: Any) -> list[Node]:
        some = sorted(fleet.nodes(count, online=False, **of), key=lambda node: node.id)
        made.extend(some)
        return some

    yield make
    for node in made:
        if node.id in [each["Id"] for each in _entities(ssm)]:
            ssm.deregister_managed_instance(InstanceId=node.id)


def _entities(ssm: Any, **asked: Any) -> list[dict[str, Any]]:
    return [each for page in ssm.get_paginator("get_inventory").paginate(**asked) for each in page["Entities"]]


def ids(ssm: Any, *filters: tuple[str, str, str], **asked: Any) -> list[str]:
    """Ids of the nodes that fit (key, operator, value)."""
    given = [{"Key": key, "Type": how, "Values": value.split(",")} for key, how, value in filters]
    return [each["Id"] for each in _entities(ssm, **({"Filters": given} if given else {}), **asked)]


def rows(ssm: Any, *aggregators: Any, **asked: Any) -> dict[str, list[dict[str, str]]]:
    """What is counted, by the key of the data, over all pages."""
    found: dict[str, list[dict[str, str]]] = {}
    for entity in _entities(ssm, Aggregators=list(aggregators), **asked):
        for name, data in entity["Data"].items():
            found.setdefault(name, []).extend(data["Content"])
    return found


__all__ = [
    "Refused",
    "_signatures_follow_the_clock",
    "clock",
    "database_url",
    "fleet",
    "refused",
    "server",
    "ssm",
    "until",
]
