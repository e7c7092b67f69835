"""Executions with targets or places: they start an execution for each, within their rate, and end when these have.

Exactly: before each start the children are counted in the same transaction, so there are never more at once than
MaxConcurrency says, and none starts once more of them failed than MaxErrors says. Those that go on are not touched.
"""

from dataclasses import dataclass
from typing import Final

from pilothouse.call import House
from pilothouse.capabilities import commands
from pilothouse.capabilities.automation import telling
from pilothouse.capabilities.automation.model import Status, Stop, end_of_children, to_start
from pilothouse.capabilities.automation.queueing import DUE
from pilothouse.capabilities.automation.runs import LOCATIONS, Execution
from pilothouse.capabilities.automation.starting import child_of
from pilothouse.capabilities.automation.store import AutomationStore
from pilothouse.errors import ApiError
from pilothouse.scheduling import due
from pilothouse.storage import Transaction

STOP: Final = "automation.stop"
"""An execution is to be stopped as the one is that started it, by its id."""
AT_ONCE: Final = 50
"""Starts in one transaction."""


@dataclass(frozen=True, slots=True)
class Group:
    """Children that share a rate: all of an execution, or those of one entry of TargetLocations."""

    first: int
    last: int
    """Of their positions; the last one is not among them."""
    concurrency: int
    most_errors: int


def groups_of(execution: Execution) -> list[Group]:
    """In the order of their children."""
    terms, children = execution.contents.terms, execution.contents.children
    if execution.kind != LOCATIONS:
        return [_group(0, len(children), terms.get("MaxConcurrency"), terms.get("MaxErrors"))]
    found, first = [], 0
    for number, location in enumerate(terms["TargetLocations"]):
        last = first + sum(each["group"] == number for each in children)
        found.append(_group(
            first, last, location.get("TargetLocationMaxConcurrency") or terms.get("MaxConcurrency"),
            location.get("TargetLocationMaxErrors") or terms.get("MaxErrors"),
        ))  # fmt: skip
        first = last
    return found


def _group(first: int, last: int, concurrency: str | None, most_errors: str | None) -> Group:
    total = last - first
    return Group(
        first, last, commands.concurrency_limit(concurrency or "10", total),
        commands.error_limit(most_errors or "0", total),
    )  # fmt: skip


async def drive(house: House, tx: Transaction, execution: Execution) -> int | None:
    """Do all that can be done now; when there is something to do next, None for when a child has ended."""
    store = AutomationStore(tx, house.vault)
    now, stop = house.clock.millis(), execution.stop_asked
    if execution.status is Status.PENDING and execution.move(Status.IN_PROGRESS, now):
        await telling.execution_moved(house, tx, execution)
    if stop is not Stop.NO and execution.move(Status.CANCELLING, now):
        await telling.execution_moved(house, tx, execution)
    if stop is Stop.CANCEL:
        for child_id in await store.open_children(execution.execution_id):
            where = {"account_id": execution.account_id, "region": execution.region}
            await due.put(house, tx, STOP, child_id, now, **where)
    room, ends, again = AT_ONCE, [], False
    for group in groups_of(execution):
        standing = await store.standing(execution.execution_id, group.first, group.last)
        ready = to_start(standing, group.concurrency, group.most_errors, stop)
        count = min(ready, room)
        room -= count
        for number in range(group.first + standing.started, group.first + standing.started + count):
            if not await _start(house, tx, execution, number):
                again = True  # it has failed at once: that counts before the next one starts
                break
        again = again or ready > count
        ends.append(None if count else end_of_children(standing, group.most_errors, stop))
        if ends[-1] is Status.FAILED and not execution.contents.failure:
            execution.contents.failure = (
                f"{standing.errors} of {standing.started} executions failed; MaxErrors allows {group.most_errors}."
            )
    if None not in ends:
        execution.move(next((each for each in ends if each is not Status.SUCCESS), None) or Status.SUCCESS, now)
        await telling.execution_moved(house, tx, execution)
    await store.save(execution)
    return now + 1 if again and not execution.status.final else None


async def _start(house: House, tx: Transaction, execution: Execution, number: int) -> bool:
    """Whether the child goes on, and did not fail at once."""
    store = AutomationStore(tx, house.vault)
    try:
        child = await child_of(house, tx, execution, number)
    except ApiError as error:
        child = await child_of(house, tx, execution, number, failure=f"{error.code}: {error.message}")
    await store.add(child)
    if child.status.final:
        await telling.execution_moved(house, tx, child)
        return False
    await due.put(
        house, tx, DUE, child.execution_id, house.clock.millis(), account_id=child.account_id, region=child.region
    )  # fmt: skip
    return True
