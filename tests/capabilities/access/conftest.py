"""Fixtures of the tests of users, roles and keys."""

import pytest

from pilothouse.runtime.clock import TestClock


@pytest.fixture
def same_clock(monkeypatch: pytest.MonkeyPatch, clock: TestClock) -> None:
    """Clients sign by the house's clock."""
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda *_: clock.now().replace(tzinfo=None))
