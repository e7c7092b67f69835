"""One server for the tests of a module, once for each engine."""

from tests.capabilities.commands.conftest import Fleet, Node
from tests.capabilities.one_server import clock, database_url, fleet, server, ssm

__all__ = ["Fleet", "Node", "clock", "database_url", "fleet", "server", "ssm"]
