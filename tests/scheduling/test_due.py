"""What is due happens once for each time: with several processes, when they are killed, and by clocks that are set."""

import asyncio
import os
import random
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pilothouse.app import migrations_of_the_house
from pilothouse.runtime.bus import Bus
from pilothouse.runtime.clock import TestClock
from pilothouse.scheduling import due
from pilothouse.scheduling.due import Scheduler
from pilothouse.scheduling.firing import Due, Fire
from pilothouse.storage import Database, StorageUnavailable
from pilothouse.storage.engines import open_database
from tests.scheduling.firing_process import PERIOD

WHERE = {"account_id": "123456789012", "region": "eu-west-1"}
HOUR = 3_600_000


class World:
    """A house without rooms, and what was fired in it."""

    def __init__(self, database: Database) -> None:
        self.clock = TestClock()
        self.house: Any = SimpleNamespace(database=database, clock=self.clock, bus=Bus(), process_id="one")
        self.fired: list[Due] = []
        self.happened = asyncio.Event()

    async def note(self, house: Any, tx: Any, fired: Due) -> int | None:
        tx.after_commit(lambda: self._noted(fired))
        return None

    def _noted(self, fired: Due) -> None:
        self.fired.append(fired)
        self.happened.set()

    async def put(self, kind: str, key: str, at: int | None) -> None:
        async with self.house.database.transaction() as tx:
            await due.put(self.house, tx, kind, key, at, **WHERE)

    async def next_one(self) -> Due:
        async with asyncio.timeout(20):
            while not self.fired:
                self.happened.clear()
                await self.happened.wait()
        return self.fired.pop(0)


class Running:
    """Schedulers that run for the length of a block."""

    def __init__(self, world: World, functions: Mapping[str, Fire], count: int = 1) -> None:
        self._world, self._functions, self._count = world, functions, count

    async def __aenter__(self) -> None:
        self._group = asyncio.TaskGroup()
        await self._group.__aenter__()
        scheduler = Scheduler(self._functions)
        self._tasks = [self._group.create_task(scheduler.run(self._world.house)) for _ in range(self._count)]

    async def __aexit__(self, *error: Any) -> None:
        for task in self._tasks:
            task.cancel()
        await self._group.__aexit__(*error)


async def test_an_earlier_time_wakes_those_who_sleep(database: Database) -> None:
    world = World(database)
    start = world.clock.millis()
    async with Running(world, {"alarm": world.note}):
        await world.put("alarm", "late", start + 10 * HOUR)
        await world.put("alarm", "soon", start + HOUR)
        await world.put("alarm", "never", start + HOUR)
        await world.put("alarm", "never", None)
        world.clock.advance(hours=1)
        first = await world.next_one()
        assert (first.key, first.at) == ("soon", start + HOUR)
        assert first.late_ms < HOUR
        world.clock.advance(hours=12)
        second = await world.next_one()
        assert second.key == "late"
        assert second.late_ms >= 3 * HOUR
        await world.put("alarm", "past", start)
        assert (await world.next_one()).key == "past"
    assert world.fired == []


async def test_two_schedulers_and_a_clock_set_back_fire_each_time_once(database: Database) -> None:
    world = World(database)
    start = world.clock.millis()
    seen: list[tuple[str, int]] = []
    done = asyncio.Event()

    async def tick(house: Any, tx: Any, fired: Due) -> int | None:
        def note() -> None:
            seen.append((fired.key, fired.at))
            done.set()

        tx.after_commit(note)
        return fired.at + HOUR

    keys = [f"k{number}" for number in range(20)]
    for key in keys:
        await world.put("tick", key, start + HOUR)
    async with asyncio.timeout(60), Running(world, {"tick": tick}, count=2):
        for hours, total in ((3, 3), (-2, 3), (1, 3), (2, 4)):
            world.clock.advance(hours=hours)
            while len(seen) < total * len(keys):
                done.clear()
                await done.wait()
    assert sorted(seen) == sorted((key, start + n * HOUR) for key in keys for n in range(1, 5))


async def test_what_storage_failed_at_stays_due_and_the_others_go_on(database: Database) -> None:
    """As the one of two transactions that waited for each other, which the database ended."""
    world = World(database)
    start = world.clock.millis()
    tries: list[int] = []
    others = asyncio.Event()

    async def waits_in_a_circle(house: Any, tx: Any, fired: Due) -> int | None:
        tries.append(world.clock.millis())
        if len(tries) == 1:
            raise StorageUnavailable("DeadlockDetectedError")
        return await world.note(house, tx, fired)

    async def takes_long(house: Any, tx: Any, fired: Due) -> int | None:
        if database.engine != "sqlite":  # there one goes after the other
            async with asyncio.timeout(20):
                while not tries:
                    await asyncio.sleep(0.01)
        others.set()
        return await world.note(house, tx, fired)

    for key in "abcd":
        await world.put("takes_long", key, start)
    await world.put("circle", "x", start)
    async with Running(world, {"circle": waits_in_a_circle, "takes_long": takes_long}):
        fired = {(await world.next_one()).key for _ in range(5)}
    assert fired == set("abcdx")
    assert others.is_set()
    assert len(tries) == 2


async def test_what_fails_is_tried_again_and_does_not_stop_the_others(database: Database) -> None:
    world = World(database)
    start = world.clock.millis()
    tries: list[int] = []
    tried = asyncio.Event()

    async def fails(house: Any, tx: Any, fired: Due) -> int | None:
        tries.append(world.clock.millis())
        await tx.execute("insert into scheduled values ('x', 'x', '', '', 0, 99999999999999, 0)")
        if len(tries) < 3:
            tried.set()
            raise RuntimeError
        await tx.execute("delete from scheduled where kind = 'x'")
        return await world.note(house, tx, fired)

    async with Running(world, {"fails": fails, "alarm": world.note}):
        await world.put("fails", "a", start)
        await world.put("alarm", "b", start)
        assert (await world.next_one()).key == "b"
        async with asyncio.timeout(20):
            while not world.fired:
                await tried.wait()
                tried.clear()
                await asyncio.sleep(0)
                for _ in range(100):
                    async with database.reading() as tx:
                        row = await tx.row("select look_at, due_at from scheduled where key = 'a'")
                    if row is None or row["look_at"] > world.clock.millis():
                        break
                    await asyncio.sleep(0.01)
                world.clock.advance(seconds=10)
                await asyncio.sleep(0.01)
                if len(tries) == 3:
                    break
        fired = await world.next_one()
    assert (fired.key, fired.at) == ("a", start)
    assert len(tries) == 3
    async with database.reading() as tx:
        assert await tx.value("select count(*) from scheduled") == 0


class Processes:
    """Two processes that fire, one of which is killed now and then."""

    def __init__(self, url: str, clock: Path) -> None:
        self._url, self._clock = url, clock
        self.living: list[asyncio.subprocess.Process] = []
        self._started = 0

    async def start(self) -> None:
        self._started += 1
        made = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.scheduling.firing_process", self._url, str(self._clock), f"p{self._started}",
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert made.stdout is not None
        assert await made.stdout.readline() == b"ready\n"
        self.living.append(made)

    async def kill(self) -> None:
        victim = self.living.pop(0)
        os.kill(victim.pid, signal.SIGKILL)
        await victim.wait()


async def fire_and_kill(url: str, clock: Path, *, keys: int, periods: int, kills: int) -> tuple[list[Any], set[Any]]:
    """Everything that was fired, and all that was due."""
    clock.write_text("0")
    database = await open_database(url)
    await database.migrate(migrations_of_the_house())
    house: Any = SimpleNamespace(bus=Bus())
    async with database.transaction() as tx:
        await tx.execute(
            "create table fired (fired_key text not null, due_at bigint not null, late_ms bigint not null,"
            " process text not null)"
        )
        for number in range(keys):
            await due.put(house, tx, "tick", f"k{number}", PERIOD + number % 7, **WHERE)
    processes = Processes(url, clock)
    chance = random.Random(7)
    at_kill = sorted(chance.sample(range(1, periods), kills))
    await asyncio.gather(processes.start(), processes.start())
    try:
        for period in range(1, periods + 1):
            fresh = clock.with_name("fresh")
            fresh.write_text(str(period * PERIOD + 10))
            fresh.replace(clock)
            if period in at_kill:
                await asyncio.sleep(chance.random() * 0.05)
                await processes.kill()
                await processes.start()
            async with asyncio.timeout(60):
                while True:
                    async with database.reading() as tx:
                        if await tx.value("select count(*) from fired") >= keys * period:
                            break
                    await asyncio.sleep(0.005)
        async with database.reading() as tx:
            fired = [(row["fired_key"], row["due_at"]) for row in await tx.rows("select fired_key, due_at from fired")]
    finally:
        while processes.living:
            await processes.kill()
        await database.close()
    expected = {(f"k{n}", p * PERIOD + n % 7) for n in range(keys) for p in range(1, periods + 1)}
    return fired, expected


@pytest.mark.timeout(120)
async def test_killed_processes_leave_no_gap_and_no_double(database_url: str, tmp_path: Path) -> None:
    fired, expected = await fire_and_kill(database_url, tmp_path / "clock", keys=40, periods=6, kills=3)
    assert len(fired) == len(expected)
    assert set(fired) == expected
