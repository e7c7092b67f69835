"""Fixtures: a server that may call, and trusts, an issuer of the tests' own. They are imported by name."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pilothouse.runtime.clock import TestClock
from pilothouse.runtime.settings import OutboundSettings, Settings
from tests.capabilities.access.issuer import Issuer, issuing
from tests.conftest import Server


@pytest.fixture
def issuer(tmp_path: Path, clock: TestClock) -> Iterator[Issuer]:
    folder = tmp_path / "issuer"
    folder.mkdir(mode=0o700)
    with issuing(folder) as found:
        found.clock = clock
        yield found


@pytest.fixture
def server(database_url: str, tmp_path: Path, clock: TestClock, issuer: Issuer) -> Iterator[Server]:
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    outbound = OutboundSettings(allow=("127.0.0.1/32",), ca_file=str(tmp_path / "issuer" / "ca.pem"))
    opened = Server(Settings(data=data, database=database_url, outbound=outbound), clock)
    try:
        yield opened
    finally:
        opened.close()
