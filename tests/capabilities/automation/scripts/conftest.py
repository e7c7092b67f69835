"""Scripts need no server."""

import pytest


@pytest.fixture(autouse=True)
def _signatures_follow_the_clock() -> None:
    """Nothing is signed here."""
