"""What the commands of one session share: waiting, signals, and what they say of the connection."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Final, TypeVar

import uvloop

from pilothouse.cli.link.channel import Channel

T = TypeVar("T")

FAILED: Final = 255
"""Exit code where the session itself failed, as with ssh; smaller ones are the remote program's."""
_SOON: Final = 1.5
_FAREWELL: Final = 3.0


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run it to its end."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


async def first_of(*events: asyncio.Event) -> None:
    """Until one of them is set."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(event.wait()) for event in events]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()


class Leaving(asyncio.Event):
    """Set when the user, or the system, wants this process to end."""

    number = 0

    def by(self, number: int) -> None:
        self.number = number
        self.set()


@contextlib.contextmanager
def heeded(*numbers: int, done: Callable[[int], None]) -> Iterator[None]:
    """These signals are told instead of ending the process."""
    loop = asyncio.get_running_loop()
    for number in numbers:
        loop.add_signal_handler(number, done, number)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


ENDS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def says_when_lost(channel: Channel, hint: str, end: str = "\n") -> None:
    """Have the user read that the connection is lost, if that lasts, and when it is back."""
    said = False

    def look() -> None:
        nonlocal said
        if not said and not channel.is_connected and not channel.over.is_set():
            said = True
            say(f"The connection to the server is lost; trying again. {hint}", end)

    def linked(there: bool) -> None:
        nonlocal said
        if not there:
            asyncio.get_running_loop().call_later(_SOON, look)
        elif said:
            said = False
            say("The connection is back; the session goes on.", end)

    channel.linked = linked
    channel.told = lambda text: say(text.strip(), end)


def say(text: str, end: str = "\n") -> None:
    """A line on standard error. `end`: a terminal that is raw needs a carriage return."""
    shown = "".join(each if each.isprintable() or each == "\n" else " " for each in text)
    sys.stderr.write(f"{end if end != chr(10) else ''}pilothouse: {shown}{end}")
    sys.stderr.flush()


async def farewell(channel: Channel) -> bool:
    """Wait a moment for the server's word that the session is over."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_FAREWELL):
            await channel.over.wait()
    return channel.over.is_set()
