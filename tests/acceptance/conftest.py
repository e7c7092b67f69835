"""A real installation for each test, once for each engine."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.installation import DrivenInstallation, Installation, installation, running


@pytest.fixture
def house(database_url: str, tmp_path: Path) -> Iterator[Installation]:
    """A running server with its data in a temporary directory."""
    options = ("--database", database_url) if database_url.startswith("postgresql") else ()
    with installation(tmp_path, *options) as made:
        yield made


@pytest.fixture
def driven(database_url: str, tmp_path: Path) -> Iterator[DrivenInstallation]:
    """The same, by a clock that the test puts forward."""
    options = ("--database", database_url) if database_url.startswith("postgresql") else ()
    with running(DrivenInstallation(tmp_path, *options)) as made:
        yield made
