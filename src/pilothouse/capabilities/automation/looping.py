"""`aws:loop`: the steps within it, once for each value, or as long as a condition holds.

A loop is a step whose row tells how far it is; the steps within are rows that name it and their iteration. What comes
next in an iteration is decided as everywhere (`model.decide`).
"""

from typing import TYPE_CHECKING, Any, Final

from pilothouse.capabilities.automation.actions.interface import Done, Failed, StepFailed
from pilothouse.capabilities.automation.conditions import ConditionInvalid, holds
from pilothouse.capabilities.automation.model import BAD, End, Go, Plan, Status, decide
from pilothouse.capabilities.automation.references import ReferenceInvalid, fill
from pilothouse.capabilities.automation.runs import StepRun
from pilothouse.capabilities.automation.selecting import SelectorInvalid, as_text, typed

if TYPE_CHECKING:
    from pilothouse.capabilities.automation.running import Drive

MOST: Final = 100
"""Iterations of one loop."""
_HIDDEN: Final = frozenset({"OutputPayload"})


def shown_value(loop: StepRun) -> str:
    """The value of the iteration that goes on, as text."""
    value = loop.contents.outputs.get("CurrentIteratorValue")
    return "" if value is None else as_text(value)


async def begin(drive: "Drive", run: StepRun, plan: Plan) -> None:
    """The first iteration is about to begin."""
    inputs = run.contents.inputs
    state: dict[str, Any] = {"iteration": 1}
    if "Iterators" in inputs:
        items = inputs["Iterators"]
        kind = inputs.get("IteratorDataType") or "String"
        try:
            state["items"] = [typed(kind, each) for each in items]
        except SelectorInvalid as error:
            await drive.finish(run, plan, _invalid(f"An iterator {error}."))
            return
        if len(items) > MOST:
            await drive.finish(run, plan, _invalid(f"There are {len(items)} iterators; {MOST} at most."))
            return
        if not items:
            await drive.finish(run, plan, Done(outputs={"AggregatedResults": {}}))
            return
    else:
        state["most"] = min(inputs.get("MaxIterations") or MOST, MOST)
    run.contents.state = state
    _tell(run)


def _invalid(message: str) -> Failed:
    return Failed(message=message, stage="InputValidation")


def _tell(run: StepRun) -> None:
    """What references may name while the iteration goes on."""
    state = run.contents.state
    outputs: dict[str, Any] = {"CurrentIteration": state["iteration"]}
    if "items" in state:
        outputs["CurrentIteratorValue"] = state["items"][state["iteration"] - 1]
    run.contents.outputs = outputs


async def work(drive: "Drive", run: StepRun, plan: Plan, why: str | None) -> bool:
    """One move within the loop; whether there was one. `why`: it is to be stopped."""
    if why is not None:
        run.turn, run.deadline = ("timeout" if why == "timeout" else "cancel"), None
    iteration = run.contents.state.get("iteration", 1)
    scope = drive.scope(run.step_id, iteration)
    flow = drive.flow_within(plan)
    last = scope[-1] if scope else None
    if run.turn in ("timeout", "cancel"):
        return await _stop(drive, run, plan, last, asked=why is not None)
    decision = decide(flow, [each.ran for each in scope])
    if isinstance(decision, Go):
        inner = flow.named(decision.name)
        if inner is None:
            await drive.finish(run, plan, Failed(message=f"The loop has no step named {decision.name}."))
        else:
            await drive.start(inner, scope, run.step_id, iteration)
        return True
    if isinstance(decision, End):
        await _ended(drive, run, plan, decision, scope)
        return True
    assert last is not None
    inner = flow.named(last.name)
    return inner is not None and await drive.work(last, inner)


async def _stop(drive: "Drive", run: StepRun, plan: Plan, last: StepRun | None, *, asked: bool) -> bool:
    """The step that goes on within is stopped first."""
    inner = None if last is None else drive.flow_within(plan).named(last.name)
    if last is not None and inner is not None and not last.status.final:
        if inner.within is not None:
            moved = await work_inner_loop(drive, last, inner, run.turn if asked else None)
        elif asked:
            await drive.halt(last, inner, run.turn)
            moved = True
        else:
            moved = await drive.work(last, inner)
        if not last.status.final:
            return moved and not asked
    if run.turn == "timeout":
        await drive.finish(run, plan, Failed(message="The loop did not end within its time."), Status.TIMED_OUT)
    else:
        await drive.finish(run, plan, Failed(message="The step was cancelled."), Status.CANCELLED)
    return True


async def work_inner_loop(drive: "Drive", run: StepRun, plan: Plan, why: str | None) -> bool:
    """A loop within the one that is stopped."""
    return await work(drive, run, plan, why)


async def _ended(drive: "Drive", run: StepRun, plan: Plan, end: End, scope: list[StepRun]) -> None:
    """An iteration has ended: on to the next one, or the loop ends."""
    if end.status in BAD:
        cause = next((each for each in reversed(scope) if each.name == end.cause), scope[-1])
        message = f"The step {cause.name} failed in iteration {cause.iteration}: {cause.contents.failure}"
        await drive.finish(run, plan, Failed(message=message, outputs=_results(drive, run)))
        return
    if end.status is Status.CANCELLED:
        await drive.finish(run, plan, Failed(message="A step within was cancelled."), Status.CANCELLED)
        return
    state = dict(run.contents.state)
    try:
        more = _more(drive, run, state, scope)
    except StepFailed as error:
        await drive.finish(run, plan, Failed(message=error.message, kind=error.kind, stage=error.stage))
        return
    if not more:
        await drive.finish(run, plan, Done(outputs=run.contents.outputs | _results(drive, run)))
        return
    state["iteration"] += 1
    run.contents.state = state
    _tell(run)


def _more(drive: "Drive", run: StepRun, state: dict[str, Any], scope: list[StepRun]) -> bool:
    if "items" in state:
        return bool(state["iteration"] < len(state["items"]))
    try:
        again = holds(fill(run.contents.inputs["LoopCondition"], drive.known(scope[-1] if scope else run).value))
    except (ReferenceInvalid, ConditionInvalid) as error:
        raise StepFailed(f"The LoopCondition cannot be looked at: {error}.") from error
    return again and bool(state["iteration"] < state["most"])


def _results(drive: "Drive", run: StepRun) -> dict[str, Any]:
    """The outputs of the steps within, by step: a list with one entry for each time that it ran."""
    found: dict[str, list[Any]] = {}
    for each in drive.steps:
        if each.parent_step_id == run.step_id:
            outputs = {name: value for name, value in each.contents.outputs.items() if name not in _HIDDEN}
            found.setdefault(each.name, []).append(outputs)
    return {"AggregatedResults": found}
