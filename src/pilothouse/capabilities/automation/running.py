"""The engine: what is done with one execution of a runbook in one transaction.

`Drive.run` takes turns until nothing more can be done now: each turn asks `model.decide` what comes next, and does it.
Everything that was done is written with the transaction, so a process that dies goes back to before it, or not at all.
What waits stands as the earliest moment at which there is something to do again.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from pilothouse.call import House
from pilothouse.capabilities.automation import looping, telling
from pilothouse.capabilities.automation.acting import actor_of
from pilothouse.capabilities.automation.actions import ACTIONS
from pilothouse.capabilities.automation.actions.interface import (
    Done,
    Failed,
    Outcome,
    Perform,
    StepFailed,
    WaitFor,
    WaitUntil,
    type_of,
)
from pilothouse.capabilities.automation.doing import DoneStep, common, uuid_of
from pilothouse.capabilities.automation.filling import filled_inputs
from pilothouse.capabilities.automation.model import (
    CLEANUP_MS,
    MOST_STEPS,
    End,
    Flow,
    Go,
    Plan,
    Status,
    Stop,
    decide,
)
from pilothouse.capabilities.automation.references import Known, ReferenceInvalid
from pilothouse.capabilities.automation.runbooks import LOOP, Runbook, typed_parameter
from pilothouse.capabilities.automation.runs import INTERACTIVE, Execution, StepRun
from pilothouse.capabilities.automation.selecting import SelectorInvalid, select, shown, typed
from pilothouse.capabilities.automation.store import AutomationStore
from pilothouse.errors import ApiError
from pilothouse.identity.principals import Principal
from pilothouse.runtime.clock import from_millis
from pilothouse.storage import Transaction

CALLS: Final = "automation.calls"
"""Bus topic: a step is to be performed."""
TURNS: Final = 60
"""In one transaction, so that others get at the database."""
TURNS_WITH_LOCKS: Final = 20
"""In one that keeps locks while others go on: the more there are, the likelier they wait in a circle."""
_LONGEST_PAUSE_MS: Final = 30_000
_TEXT: Final = (
    "Step fails when it is Execute/Cancelling action. {} "
    "Please refer to Automation Service Troubleshooting Guide for more diagnosis details."
)


class Drive:
    """What is done with one execution in one transaction."""

    def __init__(
        self, house: House, tx: Transaction, execution: Execution, runbook: Runbook, steps: list[StepRun]
    ) -> None:  # fmt: skip
        self.house = house
        self.tx = tx
        self.execution = execution
        self.runbook = runbook
        self.steps = steps
        self.now = house.clock.millis()
        self._store = AutomationStore(tx, house.vault)
        self._changed: dict[str, StepRun] = {}
        self._who: Principal | None = None
        self._parameters: Mapping[str, Any] | None = None

    async def run(self) -> int | None:
        """Do all that can be done now; when there is something to do next, None for never."""
        turns, most = 0, TURNS if self.tx.serial else TURNS_WITH_LOCKS
        while turns < most and not self.execution.status.final and await self._turn():
            turns += 1
        await self._store.save_steps(list(self._changed.values()))
        await self._store.save(self.execution)
        if self.execution.status.final:
            return None
        return self.now + 1 if turns == most else self.next_look()

    def next_look(self) -> int | None:
        """The earliest moment at which there is something to do."""
        live = [each for each in self.steps if not each.status.final]
        moments = [at for each in live for at in (each.due_at, each.deadline) if at is not None]
        return min(moments, default=None)

    # Turns

    async def _turn(self) -> bool:
        """One move; whether there was one."""
        flow = self.runbook.flow
        scope = self.scope("", 0)
        if self.execution.status is Status.PENDING:
            await self._move_execution(Status.IN_PROGRESS)
        decision = decide(flow, [each.ran for each in scope], self.execution.stop_asked)
        if isinstance(decision, End):
            return await self._end(decision)
        if isinstance(decision, Go):
            return await self._go(decision.name, scope)
        plan = flow.named(scope[-1].name)
        if plan is None:
            raise LookupError(f"the runbook has no step named {scope[-1].name}")
        moved = await self.work(scope[-1], plan)
        await self._mirror(scope[-1])
        return moved

    def scope(self, parent_step_id: str, iteration: int) -> list[StepRun]:
        """The steps that were begun there, in their order."""
        return [
            each for each in self.steps if each.parent_step_id == parent_step_id and each.iteration == iteration
        ]  # fmt: skip

    async def _go(self, name: str, scope: list[StepRun]) -> bool:
        """The next step begins, unless somebody has to let it."""
        execution = self.execution
        plan = self.runbook.flow.named(name)
        cancelled = next((each for each in scope if each.status is Status.CANCELLED), None)
        if plan is None or len(self.steps) >= MOST_STEPS:
            execution.contents.failure = (
                f"There is no step named {name}." if plan is None else f"More than {MOST_STEPS} steps were begun."
            )
            return await self._end(End(Status.FAILED))
        until = None
        if cancelled is not None:
            until = (cancelled.ended_at or self.now) + CLEANUP_MS
            if self.now >= until:
                return await self._end(End(Status.CANCELLED, cancelled.name))
        elif execution.mode == INTERACTIVE and execution.granted_step != name:
            execution.current_step, execution.current_action = name, plan.action
            await self._move_execution(Status.WAITING)
            return False
        execution.granted_step = ""
        execution.current_step, execution.current_action = name, plan.action
        run = await self.start(plan, scope, "", 0, until=until)
        await self._mirror(run)
        return True

    async def _mirror(self, run: StepRun) -> None:
        """The execution stands as its step does that goes on."""
        execution = self.execution
        if execution.stop_asked is Stop.CANCEL:
            await self._move_execution(Status.CANCELLING)
        elif run.status is Status.WAITING:
            await self._move_execution(Status.WAITING)
        elif execution.status is Status.WAITING:
            await self._move_execution(Status.IN_PROGRESS)

    async def _move_execution(self, to: Status) -> None:
        if self.execution.move(to, self.now):
            await telling.execution_moved(self.house, self.tx, self.execution)

    async def _end(self, end: End) -> bool:
        contents = self.execution.contents
        if end.status not in (Status.SUCCESS, Status.CANCELLED) and not contents.failure:
            cause = next((each for each in reversed(self.scope("", 0)) if each.name == end.cause), None)
            contents.failure = cause.contents.failure if cause is not None else "The execution failed."
        known = self.known(None)
        for each in self.runbook.outputs:
            try:
                contents.outputs[each] = shown(known.value(each))
            except ReferenceInvalid:
                contents.outputs[each] = []
        if end.status is Status.SUCCESS or not self.execution.current_step:
            self.execution.current_step = self.execution.current_action = ""
        await self._move_execution(end.status)
        return False

    # One step

    async def start(
        self, plan: Plan, scope: list[StepRun], parent_step_id: str, iteration: int, *, until: int | None = None
    ) -> StepRun:
        """Make the step a row, and begin it."""
        first = not parent_step_id and all(each.name != plan.name for each in scope)
        run = StepRun(
            step_id=uuid_of(self.execution.execution_id, plan.name) if first else self.house.ids.uuid(),
            execution_id=self.execution.execution_id,
            position=len(self.steps),
            name=plan.name,
            action=plan.action,
            parent_step_id=parent_step_id,
            iteration=iteration,
            started_at=self.now,
            deadline=until,
        )
        parent = next((each for each in self.steps if each.step_id == parent_step_id), None)
        if parent is not None:
            run.contents.iterator_value = looping.shown_value(parent)
        self.steps.append(run)
        self._changed[run.step_id] = run
        await telling.step_moved(self.house, self.tx, self.execution, run)
        await self._begin(run, plan, until)
        return run

    async def _begin(self, run: StepRun, plan: Plan, until: int | None = None) -> None:
        """One attempt."""
        action = ACTIONS.get(plan.action)
        run.turn, run.calls, run.due_at, run.call_at, run.wait_keys = "", 0, None, None, ()
        run.contents.state = {}
        seconds = plan.timeout_seconds or (None if action is None else action.timeout_seconds)
        deadline = None if seconds is None else self.now + seconds * 1000
        run.deadline = deadline if until is None else min(until, deadline or until)
        if action is None:
            await self._failed(run, plan, Failed(message=f"The action {plan.action} is not available here."))
            return
        try:
            run.contents.inputs = filled_inputs(action, plan.inputs, self.known(run).value)
        except StepFailed as error:
            await self._failed(run, plan, Failed(message=error.message, kind=error.kind, stage=error.stage))
            return
        if plan.action == LOOP:
            await looping.begin(self, run, plan)
        else:
            await self.apply(run, plan, await self._asked(run, plan, "begin"))

    async def work(self, run: StepRun, plan: Plan) -> bool:
        """What can be done now with a step that goes on; whether that was anything."""
        self._changed[run.step_id] = run
        why = self._why_stop(run)
        if why is not None and plan.action != LOOP:
            await self.halt(run, plan, why)
            return True
        if plan.action == LOOP:
            return await looping.work(self, run, plan, why)
        if run.due_at is None or run.due_at > self.now:
            return False
        run.due_at = None
        if run.turn == "again":
            await self._begin(run, plan)
        else:
            await self.apply(run, plan, await self._asked(run, plan, "resume"))
        return True

    def _why_stop(self, run: StepRun) -> str | None:
        """Whether the step is to be stopped now, and because of what."""
        if run.turn in ("cancel", "timeout"):
            return None
        stop = self.execution.stop_asked
        people = run.status is Status.WAITING
        if run.turn == "stop" or stop is Stop.CANCEL or (stop is Stop.COMPLETE and people):
            cleaning = any(
                each.status is Status.CANCELLED and not each.parent_step_id for each in self.steps
            )  # of that it is the cleanup
            if run.turn == "stop" or not cleaning:
                return "cancel"
        return "timeout" if run.deadline is not None and self.now >= run.deadline else None

    async def halt(self, run: StepRun, plan: Plan, why: str) -> None:
        """Stop the step; it may go on for a while."""
        self._changed[run.step_id] = run
        performs = run.call_at is not None
        waits = run.turn == "again"
        run.turn = "timeout" if why == "timeout" else "cancel"
        run.deadline = run.due_at = run.call_at = None
        outcome: Outcome | None = None
        if not performs and not waits:
            outcome = await self._asked(run, plan, "cancel")
        if isinstance(outcome, WaitUntil | WaitFor):
            if why == "cancel":
                await self._move(run, Status.CANCELLING)
            await self.apply(run, plan, outcome)
        else:
            await self._halted(run, plan)

    async def _halted(self, run: StepRun, plan: Plan) -> None:
        if run.turn == "cancel":
            run.contents.failure = run.contents.failure or "The step was cancelled."
            await self._move(run, Status.CANCELLED)
            return
        seconds = plan.timeout_seconds or ACTIONS[plan.action].timeout_seconds or 0
        late = Failed(message=f"The step did not end within {seconds} seconds.")
        await self._failed(run, plan, late, Status.TIMED_OUT)

    async def _asked(self, run: StepRun, plan: Plan, what: str) -> Outcome | None:
        """What the action says, whatever goes wrong with it."""
        action = ACTIONS[plan.action]
        step = DoneStep(
            house=self.house, tx=self.tx, now=self.now, look=self.known(run).value, who=self.who,
            **common(self.execution, run, plan),
        )  # fmt: skip
        try:
            if what == "begin":
                return await action.begin(step)
            if what == "resume":
                return await action.resume(step, run.contents.state)
            return await action.cancel(step, run.contents.state)
        except StepFailed as error:
            return Failed(message=error.message, kind=error.kind, stage=error.stage)
        except ApiError as error:
            return failed_by(error.code, error.message)

    async def who(self) -> Principal:
        """As whom the steps act."""
        if self._who is None:
            self._who = await actor_of(self.house, self.tx, self.execution)
        return self._who

    async def apply(self, run: StepRun, plan: Plan, outcome: Outcome | None) -> None:
        """What an action gave, or what performing it gave."""
        self._changed[run.step_id] = run
        if run.turn in ("cancel", "timeout") and not isinstance(outcome, WaitUntil | WaitFor):
            await self._halted(run, plan)
        elif isinstance(outcome, Done):
            await self._done(run, plan, outcome)
        elif isinstance(outcome, Failed):
            await self._failed(run, plan, outcome)
        elif isinstance(outcome, WaitUntil):
            run.contents.state, run.due_at, run.wait_keys = dict(outcome.state), outcome.at, ()
        elif isinstance(outcome, WaitFor):
            run.contents.state, run.due_at, run.wait_keys = dict(outcome.state), outcome.at, tuple(outcome.keys)
            if outcome.for_people:
                await self._move(run, Status.WAITING)
        elif isinstance(outcome, Perform):
            run.contents.state = {"repeatable": outcome.repeatable, "of": dict(outcome.state)}
            run.call_at, run.calls, run.wait_keys = self.now, 0, ()
            self.tx.after_commit(lambda: self.house.bus.wake(CALLS, run.step_id))

    async def _done(self, run: StepRun, plan: Plan, done: Done) -> None:
        contents = run.contents
        outputs = dict(done.outputs)
        if done.payload is not None:
            outputs.setdefault("OutputPayload", done.payload)
        for each in plan.outputs:
            try:
                outputs[each.name] = typed(each.kind, select(each.selector, done.payload))
            except SelectorInvalid as error:
                message = f"The output {each.name} cannot be taken from {each.selector}: {error}."
                await self._failed(run, plan, Failed(message=message, stage="PostVerification"))
                return
        for name, value in done.assign.items():
            kind = str(self.runbook.variables.get(name, {}).get("type") or "String")
            try:
                self.execution.contents.variables[name] = typed(kind, value)
            except SelectorInvalid as error:
                await self._failed(run, plan, Failed(message=f"The variable {name} cannot take the value: {error}."))
                return
        contents.outputs, contents.failure, contents.failure_stage, contents.failure_type = outputs, "", "", ""
        contents.response, contents.response_code = done.response, done.response_code or "0"
        contents.warning = done.warning
        run.goes_to = done.goes_to
        await self._move(run, Status.SUCCESS)

    async def _failed(self, run: StepRun, plan: Plan, failed: Failed, status: Status = Status.FAILED) -> None:
        contents = run.contents
        contents.outputs = dict(failed.outputs)
        contents.failure = _TEXT.format(failed.message)
        contents.failure_stage, contents.failure_type = failed.stage, failed.kind.value
        contents.response, contents.response_code = failed.response, failed.response_code
        again = run.attempt < plan.max_attempts and plan.action != LOOP and failed.stage != "InputValidation"
        if again and not self._cleaning_up():
            run.turn, run.deadline, run.call_at, run.wait_keys = "again", None, None, ()
            run.due_at = self.now + min(_LONGEST_PAUSE_MS, 1000 << min(run.attempt - 1, 8))
            run.attempt += 1
            if run.status is Status.WAITING:
                await self._move(run, Status.IN_PROGRESS)
            return
        await self._move(run, status)

    def _cleaning_up(self) -> bool:
        return any(each.status is Status.CANCELLED for each in self.steps)

    async def finish(self, run: StepRun, plan: Plan, outcome: Done | Failed, status: Status | None = None) -> None:
        """End a step otherwise than by what its action gave: a loop."""
        if isinstance(outcome, Done):
            await self._done(run, plan, outcome)
        elif status is Status.CANCELLED:
            run.contents.failure = outcome.message
            await self._move(run, Status.CANCELLED)
        else:
            await self._failed(run, plan, outcome, status or Status.FAILED)

    async def _move(self, run: StepRun, to: Status) -> None:
        if run.move(to, self.now):
            await telling.step_moved(self.house, self.tx, self.execution, run)

    # What is known

    def known(self, run: StepRun | None) -> Known:
        """What references of a step may name; None: those of the runbook's outputs."""
        execution = self.execution
        if self._parameters is None:
            self._parameters = {
                name: typed_parameter(self.runbook.parameters.get(name, {}), given)
                for name, given in execution.contents.parameters.items()
            }
        loop = None
        if run is not None and run.parent_step_id:
            loop = next(each.contents.outputs for each in self.steps if each.step_id == run.parent_step_id)
        moment: datetime = from_millis(self.now)
        return Known(
            account_id=execution.account_id,
            region=execution.region,
            execution_id=execution.execution_id,
            now=moment,
            parameters=self._parameters,
            variables=execution.contents.variables,
            outputs={each.name: each.contents.outputs for each in self.steps if each.contents.outputs},
            loop=loop,
        )

    def plan_of(self, run: StepRun) -> Plan:
        """What the document says of the step."""
        return plan_in(self.runbook.flow, self.steps, run)

    def flow_within(self, plan: Plan) -> Flow:
        """The steps of a loop."""
        return plan.within or Flow(())


def plan_in(flow: Flow, steps: list[StepRun], run: StepRun) -> Plan:
    """What the document says of a step, which may be in a loop. Raises LookupError."""
    if run.parent_step_id:
        around = next(each for each in steps if each.step_id == run.parent_step_id)
        flow = plan_in(flow, steps, around).within or Flow(())
    plan = flow.named(run.name)
    if plan is None:
        raise LookupError(f"the runbook has no step named {run.name}")
    return plan


def failed_by(code: str, message: str) -> Failed:
    """The outcome that an error of an API is."""
    return Failed(message=f"{code}: {message}", kind=type_of(code), response_code=code)
