"""Reads that calls share: what is asked in the same moment travels to PostgreSQL as one question.

A question is sent after everyone who waits for it has asked, so each answer is as fresh as if it had been asked alone.
While one is under way the next gathers; the busier the server, the more of them travel together.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from pilothouse.storage.sql import numbered

MOST = 256
"""Questions that travel together at most."""
_AT_ONCE = 2
"""Bundles of one kind that are under way at the same time, so that a slow one does not hold up all that follow."""

STAMP = "pg_current_snapshot()::text || ' ' || extract(epoch from pg_postmaster_start_time())"
"""Which transactions a statement sees as committed: two that say the same see the same rows. Snapshots number the
transactions of one history; the server's start tells apart those of a database that was restored meanwhile."""

_TYPES = {str: "text", int: "bigint"}


class Found(NamedTuple):
    """The rows of one question, and the stamp of the statement that found them."""

    rows: Sequence[Any]
    stamp: str | None


Run = Callable[[str, Sequence[Any]], Awaitable[list[Any]]]
"""(SQL, arguments) to rows, on a connection of the pool. Raises what storage raises."""


class Gathering:
    """The questions of one text that wait for their turn."""

    def __init__(self, answer: Callable[[list[Any]], Awaitable[list[Any]]]) -> None:
        """`answer` takes what was asked by each, and gives the answers, or exceptions, in that order."""
        self._answer = answer
        self._loop = asyncio.get_running_loop()
        self._waiting: list[tuple[Any, asyncio.Future[Any]]] = []
        self._running: set[asyncio.Task[None]] = set()
        self._called = False

    def ask(self, asked: Any) -> asyncio.Future[Any]:
        """The answer to come."""
        future: asyncio.Future[Any] = self._loop.create_future()
        self._waiting.append((asked, future))
        self._call()
        return future

    def _call(self) -> None:
        if not self._called and len(self._running) < _AT_ONCE:
            self._called = True
            self._loop.call_soon(self._start)  # behind what else this turn of the loop asks

    def _start(self) -> None:
        self._called = False
        bundle, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
        if bundle:
            task = self._loop.create_task(self._give(bundle))
            self._running.add(task)
            task.add_done_callback(self._over)

    def _over(self, task: "asyncio.Task[None]") -> None:
        self._running.discard(task)
        if self._waiting:
            self._call()

    async def _give(self, bundle: list[tuple[Any, asyncio.Future[Any]]]) -> None:
        try:
            answers = await self._answer([asked for asked, _ in bundle])
        except BaseException as error:
            for _, future in bundle:
                if not future.done():
                    future.set_exception(error if isinstance(error, Exception) else asyncio.CancelledError())
            if not isinstance(error, Exception):
                raise
            return
        for (_, future), answer in zip(bundle, answers, strict=True):
            if future.done():
                continue  # who was cancelled meanwhile no longer waits
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)


class Looks:
    """The shared reads of one database."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._stamps = Gathering(self._stamp)
        self._rows: dict[tuple[str, tuple[type, ...]], Gathering] = {}

    def stamp(self) -> Awaitable[str]:
        """The stamp of a moment after this call."""
        return self._stamps.ask(None)

    def find(self, sql: str, text: str, arguments: Sequence[Any]) -> Awaitable[Found]:
        """The rows of a query (`text`: with `$n`; `sql`: as the store wrote it) for these arguments."""
        types = tuple(map(type, arguments))
        gathering = self._rows.get((sql, types))
        if gathering is None:
            if len(self._rows) > 1024:
                self._rows.clear()
            gathering = self._rows[sql, types] = Gathering(_Question(self._run, sql, text, types).answers)
        return gathering.ask(arguments)

    async def _stamp(self, asked: list[Any]) -> list[Any]:
        rows = await self._run(f"select {STAMP}", ())
        return [rows[0][0]] * len(asked)


class _Question:
    """One query text, asked for one or for many sets of arguments."""

    def __init__(self, run: Run, sql: str, text: str, types: tuple[type, ...]) -> None:
        self._run = run
        self._text = text
        self._together = together(sql, types)
        self._names: tuple[str, ...] = ()

    async def answers(self, asked: list[Sequence[Any]]) -> list[Any]:
        """What each set of arguments finds. A value that fits no column fails for who brought it alone."""
        if self._together is None:
            return await self._one_by_one(asked)
        try:
            rows = await self._run(self._together, list(zip(*asked, strict=True)))
        except ValueError:
            if len(asked) == 1:
                raise
            return await self._one_by_one(asked)
        if not rows:
            return [Found((), None)] * len(asked)
        names = self._names
        if not names:
            names = self._names = tuple(rows[0].keys())[:-2]
        found: list[list[Any]] = [[] for _ in asked]
        for row in rows:
            found[row[-2] - 1].append(dict(zip(names, row)))  # noqa: B905 - number and stamp are left out
        stamp = rows[0][-1]
        return [Found(each, stamp) for each in found]

    async def _one_by_one(self, asked: list[Sequence[Any]]) -> list[Any]:
        found: list[Any] = []
        for arguments in asked:
            try:
                found.append(Found(await self._run(self._text, arguments), None))
            except ValueError as error:
                found.append(error)
        return found


@lru_cache(maxsize=1024)
def together(sql: str, types: tuple[type, ...]) -> str | None:
    """The query for many sets of arguments at once; None where a type has no array that we would send.

    Each argument is one array; the answer's rows carry the number of their set, counted from 1, and the stamp.
    `offset 0` keeps the planner from turning the look-up of each set into a join: it is planned as if asked alone.
    """
    if not types or any(kind not in _TYPES for kind in types):
        return None
    text, _ = numbered(sql)
    arrays = ", ".join(f"${number}::{_TYPES[kind]}[]" for number, kind in enumerate(types, 1))
    columns = ", ".join(f"a{number}" for number in range(1, len(types) + 1))
    for number in range(len(types), 0, -1):
        text = text.replace(f"${number}", f"asked.a{number}")
    return (
        f"select found.*, asked.asked_number, {STAMP} as asked_stamp"  # noqa: S608 - the store's own text
        f" from unnest({arrays}) with ordinality as asked ({columns}, asked_number)"
        f" cross join lateral ({text} offset 0) as found"
    )
