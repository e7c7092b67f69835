"""One installation by a driven clock for all tests of a module, once for each engine, with the unmodified CLI.

A module that imports these fixtures has it so. `DAYS_AHEAD` in it says how far the clock may go ahead (one day, else).
"""

from collections.abc import Iterator

import pytest

from tests.acceptance.aws_cli import AwsCli
from tests.acceptance.installation import DrivenInstallation, running, stored_in
from tests.capabilities.one_server import database_url

__all__ = ["aws", "database_url", "house"]


@pytest.fixture(scope="module")
def house(
    request: pytest.FixtureRequest, database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DrivenInstallation]:
    """The installation: its tests share what is in it, and a clock that only moves on."""
    days = getattr(request.module, "DAYS_AHEAD", 1)
    with running(DrivenInstallation(tmp_path_factory.mktemp("house"), *stored_in(database_url), days=days)) as made:
        yield made


@pytest.fixture(scope="module")
def aws(house: DrivenInstallation) -> Iterator[AwsCli]:
    """The CLI, as the root account."""
    made = AwsCli(house.known())
    yield made
    made.close()
