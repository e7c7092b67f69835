"""A command sent at one server, nodes at two: wake-ups travel by the bus. The clocks stand still, so no sweep helps."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pilothouse.runtime.clock import TestClock
from pilothouse.runtime.settings import Settings
from tests.capabilities.commands.conftest import Fleet, Send, Until, command_of, statuses
from tests.conftest import Aws, Server

pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@pytest.fixture
def other(server: Server, database_url: str, tmp_path: Path) -> Iterator[Server]:
    """A second server of the installation, on a copy of the data directory."""
    data = tmp_path / "other"
    shutil.copytree(server.settings.data, data, ignore=shutil.ignore_patterns("process-id"))
    opened = Server(Settings(data=data, database=database_url), TestClock())
    try:
        yield opened
    finally:
        opened.close()


@pytest.fixture
def everywhere(server: Server, other: Server, aws: Aws, until: Until) -> list[str]:
    """Ids of six nodes with open channels, three at each server, and all found out by both buses."""
    here, there = Fleet(server, aws), Fleet(other, aws)
    made = [*here.nodes(3, tags={"at": "any"}), *there.nodes(3, tags={"at": "any"})]
    _linked(server, until)
    return [node.id for node in made]


def _linked(at: Server, until: Until) -> None:
    """Both servers listen: a connection of a link has asked for nothing but that and wake-ups."""
    sql = (
        "select count(*) from pg_stat_activity where datname = current_database()"
        " and (query like 'LISTEN%' or query like 'select pg_notify%')"
    )

    async def count() -> int:
        async with at.application.house.database.reading() as tx:
            return int(await tx.value(sql))

    until(lambda: at.run(count()) == 2)


def test_every_node_gets_it_wherever_it_is(ssm: Any, send: Send, everywhere: list[str], until: Until) -> None:
    command = send(Targets=[{"Key": "tag:at", "Values": ["any"]}], MaxConcurrency="1")
    until(lambda: command_of(ssm, command["CommandId"])["Status"] == "Success")
    assert statuses(ssm, command["CommandId"]) == ["Success"] * 6


def test_a_node_that_is_deregistered_at_one_server_loses_its_channel_at_the_other(
    ssm: Any, everywhere: list[str], until: Until, other: Server
) -> None:
    ssm.deregister_managed_instance(InstanceId=everywhere[-1])

    async def held() -> bool:
        return everywhere[-1] in other.application.edge.channels

    until(lambda: not other.run(held()))
