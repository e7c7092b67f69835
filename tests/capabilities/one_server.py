"""One server for all tests of a module, once for each engine: a conftest that imports these fixtures has it so.

The tests of such a module share the clock, which only moves on, and keep apart by names, tags and nodes of their own.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from pilothouse.runtime.clock import TestClock
from tests.capabilities.commands.conftest import Fleet
from tests.conftest import ENGINES, FreshDatabase, Server, clients_of, open_server

__all__ = ["clock", "database_url", "fleet", "server", "ssm"]


@pytest.fixture(scope="module", params=ENGINES)
def database_url(request: pytest.FixtureRequest, fresh: FreshDatabase) -> Iterator[str]:
    """One database for the tests of a module, once for each engine."""
    with fresh(request.param) as url:
        yield url


@pytest.fixture(scope="module")
def clock(database_url: str) -> TestClock:
    """One clock for each server: it only moves on."""
    return TestClock()


@pytest.fixture(scope="module")
def server(database_url: str, tmp_path_factory: pytest.TempPathFactory, clock: TestClock) -> Iterator[Server]:
    """One server for the tests of a module."""
    with open_server(database_url, tmp_path_factory.mktemp("server"), clock) as opened:
        yield opened


@pytest.fixture(scope="module")
def fleet(server: Server) -> Fleet:
    """Nodes with one key: making one takes long."""
    return Fleet(server, clients_of(server))


@pytest.fixture(scope="module")
def ssm(server: Server) -> Any:
    """A client of the root account."""
    return clients_of(server)("ssm")
