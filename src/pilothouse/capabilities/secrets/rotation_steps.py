"""Rotations at work: who begins them, goes on with them step by step, and ends them.

A rotation is a row. Whoever takes it moves its time ahead, does one step outside any transaction, and writes what came
of it in one: the new value, the labels and the row together. So a process that is killed leaves a step that was done
or one that is done again, and rotators can do every step again. The labels are right at every moment: the new version
has AWSPENDING alone until finishSecret moves AWSCURRENT and AWSPREVIOUS in the transaction that ends the rotation.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final

import structlog

from pilothouse.call import House
from pilothouse.capabilities.secrets.changes import changed, happened
from pilothouse.capabilities.secrets.model import (
    CURRENT,
    PENDING,
    PREVIOUS,
    Secret,
    Version,
    after_move,
    references,
)
from pilothouse.capabilities.secrets.rotation_model import NEXT, Rotation, Run, State, Step, rotation_of, with_rotation
from pilothouse.capabilities.secrets.rotation_store import RotationStore
from pilothouse.capabilities.secrets.rotators import Done, StepFailed, Value, Waiting, Work, rotator_of
from pilothouse.capabilities.secrets.rotators.random_password import RandomPassword
from pilothouse.capabilities.secrets.scheduling import next_start, rotated
from pilothouse.capabilities.secrets.sealing import seal_for, unseal_for
from pilothouse.capabilities.secrets.settling import free, hold
from pilothouse.capabilities.secrets.store import SecretStore
from pilothouse.capabilities.secrets.versions import keep_version
from pilothouse.errors import ApiError
from pilothouse.runtime.bus import Woken
from pilothouse.runtime.metrics import SECRET_ROTATIONS
from pilothouse.runtime.waiting import wait
from pilothouse.scheduling.firing import Due
from pilothouse.scheduling.retries import next_try
from pilothouse.storage import StorageUnavailable, Transaction

log = structlog.get_logger()

WAKE: Final = "secrets.rotation"
"""Bus topic: there is something to do."""
ATTEMPTS: Final = 5
"""Of one step, before the rotation has failed."""
_AT_ONCE: Final = 16
_AGAIN_MS: Final = 1000
_STEP_SECONDS: Final = 150.0
_HOLD_MS: Final = 240_000
"""Longer than a step can take."""
_SWEEP_MS: Final = 60_000


async def begin(
    house: House, tx: Transaction, secret: Secret, rotation: Rotation, version_id: str, *, test_only: bool
) -> Secret:
    """A rotation with its version: empty, or for a test with a copy of the current value. The secret is locked."""
    store = SecretStore(tx, secret.account_id, secret.region)
    now = house.clock.millis()
    before = await store.stages(secret.name)
    sealed, is_binary = b"", False
    if test_only and CURRENT in before:
        current = await store.version(secret.name, before[CURRENT])
        assert current is not None
        value = await unseal_for(house, tx, secret, current)
        sealed, is_binary = await seal_for(house, tx, secret, version_id, value), current.is_binary
    secret = replace(secret, versions_made=secret.versions_made + 1, changed_at=now)
    await store.add_version(
        secret.name,
        Version(
            version_id=version_id, number=secret.versions_made, is_binary=is_binary, sealed=sealed,
            key_ref=secret.key_ref, created_at=now, accessed_on=None,
        ),
    )  # fmt: skip
    moved = {stage: holder for stage, holder in before.items() if stage != PENDING} | {PENDING: version_id}
    await keep_version(house, tx, secret, moved, before)
    run = Run(
        run_id=house.ids.uuid(), account_id=secret.account_id, region=secret.region, name=secret.name,
        suffix=secret.suffix, version_id=version_id, function=rotation.function, test_only=test_only,
        state=State.RUNNING, step=Step.TEST if test_only else Step.CREATE, attempts=0, outside_id="", error="",
        started_at=now, ended_at=None, try_at=now,
    )  # fmt: skip
    store_of_runs = RotationStore(tx)
    await store_of_runs.add(run)
    await store_of_runs.note(run.run_id, now, "", f"began, by {rotation.function}")
    await happened(house, tx, secret, "RotationStarted", SecretVersionId=version_id)
    tx.after_commit(lambda: house.bus.wake(WAKE, ""))
    return secret


async def fire(house: House, tx: Transaction, due: Due) -> int | None:
    """A secret's time has come: begin a rotation, or go on with the one that failed. Its schedule goes on."""
    _, _, name = due.key.split("/", 2)
    store = SecretStore(tx, due.account_id, due.region)
    await store.lock(name)
    secret = await store.secret(name)
    rotation = None if secret is None else rotation_of(secret)
    if secret is None or rotation is None or not rotation.enabled or secret.is_replica:
        return None
    now = house.clock.millis()
    following = with_rotation(secret, replace(rotation, since=max(now, due.at)))
    await store.save(following)
    if secret.purge_at is None:
        stages = await store.stages(name)
        latest = await RotationStore(tx).latest(secret)
        if PENDING not in stages or stages[PENDING] == stages.get(CURRENT):
            following = await begin(house, tx, following, rotation, house.ids.uuid(), test_only=False)
        elif latest is not None and latest.state is State.FAILED and latest.version_id == stages[PENDING]:
            await again(house, tx, latest, "tried again, by its schedule")
        elif latest is None or latest.state is not State.RUNNING:
            why = "AWSPENDING is on a version that no rotation made; take it off"
            await happened(house, tx, secret, "RotationFailed", reason=why)
    return next_start(following)


async def again(house: House, tx: Transaction, run: Run, why: str) -> None:
    """Go on with a rotation that failed, at the step that it failed at."""
    now = house.clock.millis()
    store = RotationStore(tx)
    going = replace(run, state=State.RUNNING, attempts=0, outside_id="", error="", ended_at=None, try_at=now)
    if await store.save(going, run.state, None):
        await store.note(run.run_id, now, "", why)
        tx.after_commit(lambda: house.bus.wake(WAKE, ""))


async def cancel(house: House, tx: Transaction, secret: Secret) -> None:
    """Give up the rotation that goes on, unless the current credential may not be good any more: that one ends."""
    store = RotationStore(tx)
    run = await store.latest(secret)
    if run is None or run.state is not State.RUNNING:
        return
    rotator = rotator_of(house, run.function)
    if rotator is not None and not rotator.reversible and run.step is not Step.CREATE and not run.test_only:
        await store.note(run.run_id, house.clock.millis(), "", "goes on: the password may be changed already")
        return
    await _end(house, tx, secret, run, State.CANCELLED, "cancelled", None)


async def go_on(house: House) -> None:
    """Do what is to be done, for ever. One that takes long, such as a function, holds no other back."""
    with house.bus.waiting(WAKE) as woken:
        async with asyncio.TaskGroup() as group:
            room = asyncio.Semaphore(_AT_ONCE)
            while True:
                woken.take()
                try:
                    found = await _round(house, group, room, woken)
                except StorageUnavailable as fault:  # what is being done goes on
                    log.warning("rotation.storage_unavailable", error=str(fault))
                    found = house.clock.millis() + _AGAIN_MS
                until = house.clock.millis() + _SWEEP_MS
                until = until if found is None else min(until, found)
                await wait(house.clock, woken.event, max(0.0, (until - house.clock.millis()) / 1000))


async def _round(house: House, group: asyncio.TaskGroup, room: asyncio.Semaphore, woken: Woken) -> int | None:
    """Begin all that is due; when there is next something."""
    while True:
        await room.acquire()
        held = None
        try:
            async with house.database.reading() as tx:
                store = RotationStore(tx)
                found = await store.due(house.clock.millis(), 1)
                if not found:
                    return await store.next_due()
            async with house.database.transaction() as tx:
                if await RotationStore(tx).hold(found[0], house.process_id, house.clock.millis() + _HOLD_MS):
                    held = found[0]
        finally:
            if held is None:
                room.release()
        if held is not None:
            group.create_task(_take(house, held, room, woken), name=f"rotation {held.run_id}")


async def _take(house: House, run: Run, room: asyncio.Semaphore, woken: Woken) -> None:
    """The steps of one rotation that is held, one after another for as long as they succeed: between setSecret and
    finishSecret a client may have to wait. A fault of ours ends this try only; the row is free again when its hold is
    over."""
    try:
        following: Run | None = run
        while following is not None:
            run = following
            outcome = await _outcome(house, run)
            async with house.database.transaction() as tx:
                following = await _keep(house, tx, run, outcome)
    except StorageUnavailable as fault:
        log.warning("rotation.storage_unavailable", run_id=run.run_id, error=str(fault))
    except Exception:
        log.exception("rotation.broke", run_id=run.run_id, step=run.step.value)
    finally:
        room.release()
        woken.add("")  # it may be due again


Outcome = Done | Waiting | StepFailed | Value | None
"""None: the secret is not what it was, and the rotation has no more to do with it."""


async def _outcome(house: House, run: Run) -> Outcome:
    rotator = rotator_of(house, run.function)
    if rotator is None:
        return StepFailed("Secrets Manager cannot invoke the function any more", final=True)
    try:
        async with house.database.reading() as tx:
            work = await _work(house, tx, run)
        if work is None:
            return None
        async with asyncio.timeout(_STEP_SECONDS):
            if rotator.remote or run.step in (Step.SET, Step.TEST):
                return await rotator.take(work)
            if run.step is Step.CREATE:
                if work.pending is not None:
                    return Done("the new value is there already")
                if work.current is None and not isinstance(rotator, RandomPassword):
                    return StepFailed("the secret has no value", final=True)
                return await rotator.create(work)
            return Done("")
    except StepFailed as failed:
        return failed
    except ApiError as error:  # of the key, for one
        return StepFailed(f"the value cannot be read: {error.code}")
    except TimeoutError:
        return StepFailed(f"the step was not over within {_STEP_SECONDS:g} s")


async def _work(house: House, tx: Transaction, run: Run) -> Work | None:
    """What the step is about; None for a secret that is gone, or whose AWSPENDING is elsewhere."""
    store = SecretStore(tx, run.account_id, run.region)
    secret = await store.secret(run.name)
    if secret is None or secret.suffix != run.suffix or secret.purge_at is not None:
        return None
    stages = await store.stages(run.name)
    if stages.get(PENDING) != run.version_id and stages.get(CURRENT) != run.version_id:
        return None
    values: dict[str, Value | None] = {}
    for name, version_id in ((PENDING, run.version_id), *((each, stages.get(each)) for each in (CURRENT, PREVIOUS))):
        values[name] = await _value(house, tx, secret, version_id)
    return Work(
        house=house, secret=secret, run_id=run.run_id, step=run.step, version_id=run.version_id,
        outside_id=run.outside_id, current=values[CURRENT], pending=values[PENDING], previous=values[PREVIOUS],
        master=await _master(house, tx, secret), quiet=partial(hold, house, secret),
    )  # fmt: skip


async def _value(house: House, tx: Transaction, secret: Secret, version_id: str | None) -> Value | None:
    version = None if version_id is None else await SecretStore(tx, secret.account_id, secret.region).version(
        secret.name, version_id
    )  # fmt: skip
    if version is None or not version.has_value:
        return None
    return Value(await unseal_for(house, tx, secret, version), version.is_binary)


async def _master(house: House, tx: Transaction, secret: Secret) -> Value | None:
    """The value of the secret that whoever set up the rotation was allowed to use."""
    rotation = rotation_of(secret)
    if rotation is None or not rotation.master:
        return None
    reference = references(rotation.master, secret.account_id, secret.region)[0]
    if reference.account_id != secret.account_id:
        return None
    store = SecretStore(tx, secret.account_id, secret.region)
    master = await store.secret(reference.name)
    if master is None or reference.suffix not in (None, master.suffix) or master.purge_at is not None:
        return None
    return await _value(house, tx, master, (await store.stages(master.name)).get(CURRENT))


async def _keep(house: House, tx: Transaction, run: Run, outcome: Outcome) -> Run | None:
    """What follows from a step, in one transaction; the rotation, still held, if its next step can be done at once.

    Nothing follows where somebody else has the rotation by now.
    """
    store = SecretStore(tx, run.account_id, run.region)
    await store.lock(run.name)
    secret = await store.secret(run.name)
    there = secret is not None and secret.suffix == run.suffix and secret.purge_at is None
    stages = await store.stages(run.name) if there else {}
    mine = run.version_id in (stages.get(PENDING), stages.get(CURRENT))
    if secret is not None:
        await free(tx, secret)
    if secret is None or not there or not mine or outcome is None:
        await _abandon(house, tx, run, secret if there else None)
    elif isinstance(outcome, StepFailed):
        await _setback(house, tx, secret, run, outcome)
    elif isinstance(outcome, Waiting):
        await _wait_on(house, tx, run, outcome)
    else:
        return await _advance(house, tx, secret, run, outcome, stages)
    return None


async def _abandon(house: House, tx: Transaction, run: Run, secret: Secret | None) -> None:
    now = house.clock.millis()
    store = RotationStore(tx)
    text = "abandoned: the secret is gone, or AWSPENDING was moved to another version"
    ended = replace(run, state=State.CANCELLED, error=text, ended_at=now, try_at=None)
    if await store.save(ended, State.RUNNING, house.process_id):
        await store.note(run.run_id, now, run.step, text)
        SECRET_ROTATIONS.labels("abandoned").inc()
        if secret is not None:
            await happened(house, tx, secret, "RotationAbandoned", SecretVersionId=run.version_id, reason=text)


async def _wait_on(house: House, tx: Transaction, run: Run, outcome: Waiting) -> None:
    now = house.clock.millis()
    store = RotationStore(tx)
    waiting = replace(run, outside_id=outcome.outside_id, try_at=now + outcome.again_ms)
    if await store.save(waiting, State.RUNNING, house.process_id) and outcome.text:
        await store.note(run.run_id, now, run.step, outcome.text)


async def _setback(house: House, tx: Transaction, secret: Secret, run: Run, failed: StepFailed) -> None:
    """Try the step again later, or the rotation has failed: AWSPENDING stays, and the current value as it is."""
    now = house.clock.millis()
    store = RotationStore(tx)
    attempts = run.attempts + 1
    text = str(failed)
    if not failed.final and attempts < ATTEMPTS:
        chance = house.ids.random_bytes(1)[0] / 256
        at = next_try(attempts * 2, run.started_at, now, chance)
        later = replace(run, attempts=attempts, outside_id="", error=text, try_at=at)
        if await store.save(later, State.RUNNING, house.process_id):
            await store.note(run.run_id, now, run.step, f"failed, and is tried again: {text}")
        return
    ended = replace(run, state=State.FAILED, attempts=attempts, error=text, ended_at=now, try_at=None)
    if not await store.save(ended, State.RUNNING, house.process_id):
        return
    await store.note(run.run_id, now, run.step, f"failed: {text}")
    SECRET_ROTATIONS.labels("failed").inc()
    log.warning("rotation.failed", secret=secret.arn, run_id=run.run_id, step=run.step.value, reason=text)
    if run.test_only:
        await _drop_test(house, tx, secret, run)
    await happened(
        house, tx, secret, "RotationFailed", SecretVersionId=run.version_id, step=run.step.value, reason=text
    )  # fmt: skip


async def _advance(
    house: House, tx: Transaction, secret: Secret, run: Run, outcome: Done | Value, stages: Mapping[str, str]
) -> Run | None:
    """The step is over: the rotation with its next one, still held; None where it ended, or somebody else has it."""
    now = house.clock.millis()
    store = RotationStore(tx)
    rotator = rotator_of(house, run.function)
    text = outcome.text if isinstance(outcome, Done) else "made a new value"
    if isinstance(outcome, Done) and outcome.tried and rotator is not None and not rotator.reversible:
        await _finish_at_once(house, tx, secret, run, outcome)
        return None
    following = None if run.test_only else NEXT[run.step]
    if following is not None:
        moved = replace(run, step=following, attempts=0, outside_id="", error="", try_at=now + _HOLD_MS)
        if not await store.save(moved, State.RUNNING, house.process_id, keep=True):
            return None
        if isinstance(outcome, Value):
            await _put(house, tx, secret, run, outcome)
        await store.note(run.run_id, now, run.step, text)
        return moved
    if run.step is Step.FINISH and rotator is not None and rotator.remote and stages.get(CURRENT) != run.version_id:
        failed = StepFailed("the function ended without moving AWSCURRENT to the new version")
        await _setback(house, tx, secret, run, failed)
        return None
    await _end(house, tx, secret, run, State.SUCCEEDED, text, house.process_id)
    return None


async def _finish_at_once(house: House, tx: Transaction, secret: Secret, run: Run, outcome: Done) -> None:
    """The current credential does not log in any more and the new one does: the rest follows in this transaction, so
    that clients wait no longer than they must."""
    now = house.clock.millis()
    store = RotationStore(tx)
    await store.note(run.run_id, now, run.step, outcome.text)
    await store.note(run.run_id, now, Step.TEST, outcome.tried)
    await _end(house, tx, secret, replace(run, step=Step.FINISH), State.SUCCEEDED, "", house.process_id)


async def _put(house: House, tx: Transaction, secret: Secret, run: Run, value: Value) -> None:
    """The value of the version that has none yet."""
    store = SecretStore(tx, secret.account_id, secret.region)
    version = await store.version(secret.name, run.version_id)
    if version is None or version.has_value:
        return
    sealed = await seal_for(house, tx, secret, run.version_id, value.data)
    await store.give_value(
        secret.name, replace(version, sealed=sealed, is_binary=value.is_binary, key_ref=secret.key_ref)
    )  # fmt: skip
    await changed(house, tx, secret, "PutValue", version=run.version_id, stages=[PENDING])


async def _end(
    house: House, tx: Transaction, secret: Secret, run: Run, state: State, text: str, holder: str | None
) -> None:
    now = house.clock.millis()
    runs = RotationStore(tx)
    if not await runs.save(
        replace(run, state=state, error="", ended_at=now, try_at=None), State.RUNNING, holder
    ):  # fmt: skip
        return
    if run.test_only:
        await _drop_test(house, tx, secret, run)
    elif state is State.SUCCEEDED:
        await _finish(house, tx, secret, run)
        text = text or "AWSCURRENT is on the new version, AWSPREVIOUS on the one before"
    await runs.note(run.run_id, now, run.step, text)
    outcome = "succeeded" if state is State.SUCCEEDED else "abandoned"
    SECRET_ROTATIONS.labels(outcome).inc()
    await happened(
        house, tx, secret, "RotationSucceeded" if state is State.SUCCEEDED else "RotationAbandoned",
        SecretVersionId=run.version_id, testOnly=run.test_only or None,
    )  # fmt: skip


async def _finish(house: House, tx: Transaction, secret: Secret, run: Run) -> None:
    """The new version is the current one."""
    store = SecretStore(tx, secret.account_id, secret.region)
    before = await store.stages(secret.name)
    moved = before
    if before.get(CURRENT) != run.version_id:
        moved = after_move(before, CURRENT, take_from=before.get(CURRENT), give_to=run.version_id)
        moved = {stage: holder for stage, holder in moved.items() if stage != PENDING}
    now = house.clock.millis()
    secret = rotated(replace(secret, changed_at=now, rotated_at=now), now)
    await keep_version(house, tx, secret, moved, before)
    await changed(house, tx, secret, "MoveStage", stage=CURRENT, version=run.version_id)


async def _drop_test(house: House, tx: Transaction, secret: Secret, run: Run) -> None:
    """The version that was made for a test goes, without a trace in the labels."""
    store = SecretStore(tx, secret.account_id, secret.region)
    before = await store.stages(secret.name)
    moved = {stage: holder for stage, holder in before.items() if holder != run.version_id}
    await keep_version(house, tx, secret, moved, before)
    await store.remove_version(secret.name, run.version_id)


async def release(house: House, tx: Transaction, facts: Mapping[str, Any]) -> None:
    """A process is gone: others may go on at once with what it held."""
    if await RotationStore(tx).release(facts["process_id"], house.clock.millis()):
        tx.after_commit(lambda: house.bus.wake(WAKE, ""))
