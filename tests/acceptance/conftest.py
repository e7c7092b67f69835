"""A real installation for each test, once for each engine."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.installation import Installation, installation


@pytest.fixture
def house(database_url: str, tmp_path: Path) -> Iterator[Installation]:
    """A running server with its data in a temporary directory."""
    options = ("--database", database_url) if database_url.startswith("postgresql") else ()
    with installation(tmp_path, *options) as made:
        yield made
