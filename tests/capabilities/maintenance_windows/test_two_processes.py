"""Two servers on one PostgreSQL: a window starts once for each of its times, whichever of them takes it."""

import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tests.capabilities.commands.conftest import (  # noqa: F401 -- the fixture
    Until,
    _signatures_follow_the_clock,
)
from tests.capabilities.maintenance_windows.conftest import Windows
from tests.conftest import Server

from pilothouse.runtime.clock import TestClock
from pilothouse.runtime.settings import LimitSettings, Settings

pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
HOURS = 5
WINDOWS = 8


@pytest.fixture
def other(server: Server, database_url: str, clock: TestClock, tmp_path: Path) -> Iterator[Server]:
    """A second server of the installation, with a clock that stands where the first one's does."""
    data = tmp_path / "other"
    shutil.copytree(server.settings.data, data)
    own = TestClock()
    own.advance(milliseconds=clock.millis() - own.millis())
    opened = Server(Settings(data=data, database=database_url, limits=LimitSettings(failures_per_minute=0)), own)
    try:
        yield opened
    finally:
        opened.close()


def test_a_window_starts_once_for_each_of_its_times(
    server: Server, other: Server, windows: Windows, until: Until
) -> None:
    made = [windows.make(Schedule="rate(1 hour)", Duration=1, Cutoff=0) for _ in range(WINDOWS)]
    for count in range(1, HOURS + 1):
        for each in (server, other) if count % 2 else (other, server):
            each.advance(hours=1)
        until(lambda count=count: all(len(windows.executions(each)) >= count for each in made))
    for window_id in made:
        starts = [each["StartTime"] for each in windows.executions(window_id)]
        assert len(starts) == HOURS
        gaps = {round((later - earlier).total_seconds() / 60) for later, earlier in pairwise(starts)}
        assert gaps == {60}

    async def fired() -> Any:
        async with server.application.house.database.reading() as tx:
            return await tx.rows("select window_id, due_at from maintenance_window_execution")

    times = [(row["window_id"], row["due_at"]) for row in server.run(fired())]
    assert len(times) == len(set(times)) == WINDOWS * HOURS
