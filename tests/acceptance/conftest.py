"""A real installation for each test, once for each engine."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.installation import DrivenInstallation, Installation, installation, running, stored_in


@pytest.fixture
def house(database_url: str, tmp_path: Path) -> Iterator[Installation]:
    """A running server with its data in a temporary directory."""
    with installation(tmp_path, *stored_in(database_url)) as made:
        yield made


@pytest.fixture
def driven(database_url: str, tmp_path: Path) -> Iterator[DrivenInstallation]:
    """The same, by a clock that the test puts forward."""
    with running(DrivenInstallation(tmp_path, *stored_in(database_url))) as made:
        yield made
