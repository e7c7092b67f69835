"""Background work of parameters: policies act when they are due.

A policy that is due is marked InProgress first, then acts in a transaction of its own; the row that says it is due goes
in that same transaction. A process that dies between the two leaves the row, and the next round acts on it.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final

import structlog

from pilothouse.call import House, job
from pilothouse.capabilities.parameters import changes
from pilothouse.capabilities.parameters.model import (
    EXPIRATION,
    FAILED,
    FINISHED,
    IN_PROGRESS,
    NO_CHANGE,
    Policy,
    Version,
)
from pilothouse.capabilities.parameters.store import Due, ParameterStore, due_by
from pilothouse.storage import StorageUnavailable, Transaction

log = structlog.get_logger()

_BATCH: Final = 100
_BATCHES: Final = 20
"""At most so many in one round; what is left over is due in the next."""
_REASONS: Final = {
    EXPIRATION: "The parameter has reached the time of its Expiration policy and was deleted.",
    NO_CHANGE: "The parameter has not been changed for the time of its NoChangeNotification policy.",
}
_EXPIRES_SOON: Final = "The parameter expires within the time of its ExpirationNotification policy."


@job("parameters.policies", every=timedelta(seconds=20))
async def act_on_policies(house: House) -> None:
    """Delete what has expired and tell what is to be told."""
    for _ in range(_BATCHES):
        async with house.database.reading() as tx:
            due = await due_by(tx, house.clock.millis(), _BATCH)
        for each in due:
            await _act(house, each)
        if len(due) < _BATCH:
            return


async def _act(house: House, due: Due) -> None:
    try:
        if await _marked(house, due, IN_PROGRESS):
            await _carried_out(house, due)
    except StorageUnavailable:
        raise
    except Exception:
        log.exception("parameter.policy_failed", account=due.account_id, region=due.region, parameter=due.path)
        await _marked(house, due, FAILED)


async def _marked(house: House, due: Due, status: str) -> bool:
    """Set the status of the policies that are due; whether there are any still."""
    async with house.database.transaction() as tx:
        store = ParameterStore(tx, due.account_id, due.region)
        await store.lock(due.path)
        places = await store.due(due.path, house.clock.millis())
        version = await store.newest(due.path)
        if version is None or not places:
            return False
        if status == FAILED:
            for place in places:
                policy = version.policies[place]
                await changes.tell_action(
                    house, tx, due.account_id, due.region, version, policy,
                    failed=True, reason="The policy could not be carried out.",
                )  # fmt: skip
        await store.set_policies(due.path, _with_status(version.policies, places, status), done=_ended(status, places))
    return True


async def _carried_out(house: House, due: Due) -> None:
    async with house.database.transaction() as tx:
        store = ParameterStore(tx, due.account_id, due.region)
        await store.lock(due.path)
        places = await store.due(due.path, house.clock.millis())
        version = await store.newest(due.path)
        if version is None:
            return  # deleted meanwhile
        for place in places:
            await _tell(house, tx, due, version, version.policies[place])
        if any(version.policies[place].kind == EXPIRATION for place in places):
            await changes.remove(house, tx, due.account_id, due.region, due.path)
        elif places:
            await store.set_policies(due.path, _with_status(version.policies, places, FINISHED), done=places)


async def _tell(house: House, tx: Transaction, due: Due, version: Version, policy: Policy) -> None:
    reason = _REASONS.get(policy.kind, _EXPIRES_SOON)
    await changes.tell_action(house, tx, due.account_id, due.region, version, policy, failed=False, reason=reason)


def _ended(status: str, places: Sequence[int]) -> Sequence[int]:
    return places if status == FAILED else ()


def _with_status(policies: tuple[Policy, ...], places: Sequence[int], status: str) -> tuple[Policy, ...]:
    return tuple(replace(policy, status=status) if place in places else policy for place, policy in enumerate(policies))
