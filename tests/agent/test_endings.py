"""What holds connections ends when it is told to, also in the very turn in which a connection breaks."""

import asyncio
from typing import Any

import pytest

from pilothouse_agent.link.channel import ControlChannel
from pilothouse_agent.link.https import Unreachable
from pilothouse_agent.sessions.channel import DataChannel


class _Held:
    """A connection that breaks when it is told to."""

    def __init__(self) -> None:
        self.broken = asyncio.Event()
        self.tries = 0

    async def serve_once(self) -> None:
        self.tries += 1
        async with asyncio.TaskGroup() as group:
            group.create_task(self._break())
            await asyncio.sleep(3600)

    async def _break(self) -> None:
        await self.broken.wait()
        raise Unreachable("it broke")


@pytest.mark.parametrize("kind", [ControlChannel, DataChannel])
async def test_a_break_in_the_turn_of_the_end_does_not_hide_it(kind: Any) -> None:
    held = _Held()
    channel = object.__new__(kind)  # of all that it holds only this is of use here
    channel._serve_once = held.serve_once
    channel._settings = type("Settings", (), {"reconnect_first": 0.0, "reconnect_cap": 0.0})
    holding = asyncio.create_task(channel.hold())
    while not held.tries:
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    held.broken.set()
    await asyncio.sleep(0)  # the failure is on its way to the group
    holding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(asyncio.shield(holding), 10)
    assert holding.cancelled()
    assert held.tries == 1


class _Answers(_Held):
    """A connection whose task fails while nothing but the end of its tasks is waited for."""

    async def serve_once(self) -> None:
        self.tries += 1
        if self.tries > 3:
            await asyncio.sleep(3600)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._break())
            group.create_task(asyncio.sleep(3600))
            self.broken.set()


@pytest.mark.parametrize("kind", [ControlChannel, DataChannel])
async def test_a_connection_is_opened_again_after_its_tasks_failed(kind: Any) -> None:
    held = _Answers()
    channel = object.__new__(kind)
    channel._serve_once = held.serve_once
    settings = {"reconnect_first": 0.0, "reconnect_cap": 0.0, "session_patience": 60.0}
    channel._settings = type("Settings", (), settings)
    channel._polling = type("Polling", (), {"start": lambda self: None})()
    channel._session_id = "s"
    channel.numbers = type("Numbers", (), {"connections": 0})
    holding = asyncio.create_task(channel.hold())
    async with asyncio.timeout(20):
        while held.tries <= 3:
            await asyncio.sleep(0.01)
            assert not holding.done()
    holding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await holding
