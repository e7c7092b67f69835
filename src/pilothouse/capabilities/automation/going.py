"""What makes executions go on: their time has come, what a step waits for has happened, or a step was performed.

The row of what is due is what everybody takes turns by who changes an execution: the scheduler has claimed it, others
put it due first. So nobody needs a further lock, and nobody waits for one while holding another's.
"""

from pilothouse.call import House
from pilothouse.capabilities.automation import fanning
from pilothouse.capabilities.automation.actions.interface import Outcome
from pilothouse.capabilities.automation.model import Stop
from pilothouse.capabilities.automation.queueing import DUE
from pilothouse.capabilities.automation.runbooks import Runbook, read
from pilothouse.capabilities.automation.running import Drive
from pilothouse.capabilities.automation.runs import RUNBOOK, Execution, StepRun
from pilothouse.capabilities.automation.store import AutomationStore
from pilothouse.scheduling import due
from pilothouse.scheduling.firing import Due
from pilothouse.storage import Transaction


async def put_due(house: House, tx: Transaction, execution_id: str, account_id: str, region: str) -> None:
    """There is something to do for the execution now. It is ours until the transaction ends."""
    await due.put(house, tx, DUE, execution_id, house.clock.millis(), account_id=account_id, region=region)


async def execution_due(house: House, tx: Transaction, due_: Due) -> int | None:
    """There is something to do for an execution."""
    execution = await AutomationStore(tx, house.vault).execution(due_.key)
    if execution is None or execution.status.final:
        return None
    following = await _go_on(house, tx, execution)
    return None if following is None else max(following, due_.at + 1)


async def _go_on(house: House, tx: Transaction, execution: Execution) -> int | None:
    if execution.kind != RUNBOOK:
        return await fanning.drive(house, tx, execution)
    return await (await _drive(house, tx, execution)).run()


async def _drive(house: House, tx: Transaction, execution: Execution) -> Drive:
    store = AutomationStore(tx, house.vault)
    runbook = await runbook_of(store, execution)
    return Drive(house, tx, execution, runbook, await store.steps(execution.execution_id))


async def runbook_of(store: AutomationStore, execution: Execution) -> Runbook:
    """What the execution does."""
    return read(await store.runbook(execution.digest))


async def something_happened(house: House, tx: Transaction, due_: Due) -> int | None:
    """Whoever waits for it goes on."""
    store = AutomationStore(tx, house.vault)
    kind, _, named = due_.key.partition(":")
    if kind == "children":
        await put_due(house, tx, named, due_.account_id, due_.region)
        return None
    for execution_id, step_id in await store.waiting_for(due_.key):
        await put_due(house, tx, execution_id, due_.account_id, due_.region)
        await store.step_due(step_id, house.clock.millis())
    return None


async def stop_due(house: House, tx: Transaction, due_: Due) -> int | None:
    """The one that started it is being stopped."""
    await stop(house, tx, due_.key, Stop.CANCEL)
    return None


async def stop(house: House, tx: Transaction, execution_id: str, how: Stop) -> bool:
    """Ask the execution to stop; whether it had not ended yet."""
    store = AutomationStore(tx, house.vault)
    execution = await store.execution(execution_id)
    if execution is None:
        return False
    await put_due(house, tx, execution_id, execution.account_id, execution.region)
    execution = await store.execution(execution_id)
    if execution is None or execution.status.final:
        return False
    if execution.stop_asked is not Stop.CANCEL:
        execution.stop_asked, execution.stop_at = how, house.clock.millis()
        await store.save(execution)
    return True


async def performed(house: House, tx: Transaction, step: StepRun, outcome: Outcome) -> None:
    """A step was performed outside of transactions: what came of it. One that is not ours any more is left alone."""
    store = AutomationStore(tx, house.vault)
    execution = await store.execution(step.execution_id)
    if execution is None:
        return
    await put_due(house, tx, step.execution_id, execution.account_id, execution.region)
    execution = await store.execution(step.execution_id)
    if execution is None or execution.status.final:
        return
    drive = await _drive(house, tx, execution)
    run = next((each for each in drive.steps if each.step_id == step.step_id), None)
    if run is None or run.status.final or run.call_at is None or run.calls != step.calls + 1:
        return
    plan = drive.plan_of(run)
    run.call_at, run.calls = None, 0
    await drive.apply(run, plan, outcome)
    following = await drive.run()
    await due.put(
        house, tx, DUE, execution.execution_id, following, account_id=execution.account_id, region=execution.region
    )  # fmt: skip
