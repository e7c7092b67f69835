"""The places where machines are, by the settings, and their drivers, which are called in threads of their own.

A driver blocks. Each place has a few threads for it, so one that hangs holds up nothing but itself; they are daemons,
so it does not hold up the end of the process either.
"""

import asyncio
import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from pilothouse.capabilities.machines.driver import Driver, DriverFailed
from pilothouse.capabilities.machines.libvirt_driver import LibvirtDriver
from pilothouse.runtime.settings import MachineSettings

T = TypeVar("T")

THREADS: Final = 4
"""Of a place."""
WAITING: Final = 64
"""Calls of a place that wait for a thread, at most."""
LONG_SECONDS: Final = 6 * 3600
"""For what copies a disk."""


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where machines of an account and region are."""

    account_id: str
    region: str
    name: str
    uri: str

    @property
    def key(self) -> tuple[str, str, str]:
        return self.account_id, self.region, self.name


def places_of(settings: MachineSettings) -> list[Place]:
    """All of them."""
    return [Place(account_id, region, name, uri) for name, account_id, region, uri in settings.places]


def places_for(settings: MachineSettings, account_id: str, region: str) -> list[Place]:
    """Those of an account in a region. What is copied from elsewhere goes to the first."""
    return [each for each in places_of(settings) if (each.account_id, each.region) == (account_id, region)]


class _Threads:
    """A few threads that make blocking calls."""

    def __init__(self, name: str) -> None:
        self._calls: queue.Queue[Callable[[], None] | None] = queue.Queue(WAITING)
        self._name = name
        self._threads: list[threading.Thread] = []

    async def run(self, call: Callable[[], T], seconds: float) -> T:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def tell(how: Callable[[Any], None], what: Any) -> None:
            if not future.done():
                how(what)

        def work() -> None:
            try:
                result = call()
            except BaseException as error:
                told: tuple[Callable[[Any], None], Any] = (future.set_exception, error)
            else:
                told = (future.set_result, result)
            try:
                loop.call_soon_threadsafe(tell, *told)
            except RuntimeError:
                return  # the loop has ended, and nobody waits any more

        if len(self._threads) < THREADS:
            thread = threading.Thread(target=self._turn, name=f"machines {self._name}", daemon=True)
            thread.start()
            self._threads.append(thread)
        try:
            self._calls.put_nowait(work)
        except queue.Full as error:
            raise DriverFailed(f"the connection {self._name} is busy: too many calls wait for it") from error
        try:
            async with asyncio.timeout(seconds):
                return await future
        except TimeoutError as error:
            raise DriverFailed(f"the connection {self._name} did not answer within {seconds:g} s") from error

    def close(self) -> None:
        """The threads end when they have made the calls that they have."""
        for _ in self._threads:
            try:
                self._calls.put_nowait(None)
            except queue.Full:
                return

    def _turn(self) -> None:
        while (call := self._calls.get()) is not None:
            call()


class Link:
    """A place's driver, to be awaited."""

    def __init__(self, place: Place, driver: Driver, seconds: float) -> None:
        self.place = place
        self._driver = driver
        self._seconds = seconds
        self._threads = _Threads(place.name)

    async def ask(self, call: Callable[[Driver], T], *, long: bool = False) -> T:
        """What the driver says. Raises DriverFailed. `long`: it may copy a disk."""
        driver = self._driver
        return await self._threads.run(lambda: call(driver), LONG_SECONDS if long else self._seconds)

    async def close(self) -> None:
        """Let go of the place; not longer than it is wanted."""
        try:
            await self._threads.run(self._driver.close, 1)
        except DriverFailed:
            pass
        finally:
            self._threads.close()


DRIVERS: dict[str, Callable[[str], Driver]] = {}
"""By the scheme of a URI; whatever is not here is libvirt's."""


def driver_for(uri: str) -> Driver:
    """A driver for the place."""
    return DRIVERS.get(uri.partition(":")[0], LibvirtDriver)(uri)


class Links:
    """The links of one process."""

    def __init__(self, settings: MachineSettings) -> None:
        self.places: Mapping[tuple[str, str, str], Place] = {each.key: each for each in places_of(settings)}
        self._seconds = settings.call_seconds
        self._links: dict[tuple[str, str, str], Link] = {}

    def to(self, account_id: str, region: str, name: str) -> Link:
        """The link to a place. Raises DriverFailed if the settings know it no more."""
        key = (account_id, region, name)
        if key not in self._links:
            place = self.places.get(key)
            if place is None:
                raise DriverFailed(f"the settings have no connection {name} for this account and region any more")
            self._links[key] = Link(place, driver_for(place.uri), self._seconds)
        return self._links[key]

    async def close(self) -> None:
        """Let go of all."""
        for link in self._links.values():
            await link.close()
