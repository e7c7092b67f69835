"""Schedules of windows by the vectors, and executions by all that can happen to them."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.capabilities.maintenance_windows.model import (
    AUTOMATION,
    CANCEL_TASK,
    CONTINUE_TASK,
    HOUR_MS,
    LAMBDA,
    RUN_COMMAND,
    TaskTerms,
    Window,
    WindowTerms,
    check_terms,
    text_of_moment,
)
from pilothouse.capabilities.maintenance_windows.run_model import (
    FINAL,
    MOVES,
    Batch,
    Execution,
    Invocation,
    Pseudo,
    Standing,
    Status,
    TaskRun,
    ended,
    may_move,
    outcome,
    plan,
    to_start,
)
from pilothouse.runtime.clock import to_millis

NOW = to_millis(datetime(2026, 3, 10, 12, tzinfo=UTC))


def window(schedule: str, **terms: object) -> Window:
    of = WindowTerms(name="it", schedule=schedule, duration=3, cutoff=1, unassociated=False, **terms)  # type: ignore[arg-type]
    check_terms(of, NOW)
    return Window(
        window_id="mw-1", account_id="1", region="r", terms=of, enabled=True, since=NOW, created_at=NOW, modified_at=NOW
    )


BERLIN = {"zone": "Europe/Berlin"}


@pytest.mark.parametrize(
    ("schedule", "terms", "times"),
    [
        ("cron(0 2 ? * SUN *)", BERLIN, ["03-15T01:00Z", "03-22T01:00Z", "03-29T01:00Z", "04-05T00:00Z"]),
        ("cron(30 23 ? * TUE#3 *)", {}, ["03-17T23:30Z", "04-21T23:30Z", "05-19T23:30Z"]),
        ("cron(30 23 ? * TUE#3 *)", {"offset": 2}, ["03-19T23:30Z", "04-23T23:30Z", "05-21T23:30Z"]),
        ("cron(0 11 ? * TUE#2 *)", {"offset": 2}, ["04-16T11:00Z", "05-14T11:00Z"]),
        ("cron(0 2 L * ? *)", {}, ["03-31T02:00Z", "04-30T02:00Z", "05-31T02:00Z"]),
        ("cron(15 10 ? * 6L *)", {}, ["03-27T10:15Z", "04-24T10:15Z", "05-29T10:15Z"]),
        ("cron(0 9 15W * ? *)", {}, ["03-16T09:00Z", "04-15T09:00Z", "05-15T09:00Z"]),
        ("cron(24 30 09 ? * * *)", {}, ["03-11T09:30:24Z", "03-12T09:30:24Z"]),
        ("cron(0 0/6 * * ? *)", {}, ["03-10T18:00Z", "03-11T00:00Z", "03-11T06:00Z"]),
        ("rate(7 days)", {}, ["03-17T12:00Z", "03-24T12:00Z"]),
        ("rate(7 days)", {"start": "2026-03-12T08:00Z"}, ["03-12T08:00Z", "03-19T08:00Z"]),
        ("at(2026-03-11T15:55:00)", {"zone": "America/Chicago"}, ["03-11T20:55Z", None]),
        ("cron(0 2 ? * SUN *)", {"end": "2026-03-20T00:00Z"}, ["03-15T02:00Z", None]),
        ("at(2026-03-09T15:55:00)", {}, [None]),
    ],
)
def test_windows_start_by_their_schedules(schedule: str, terms: dict[str, object], times: list[str | None]) -> None:
    of = window(schedule, **terms)
    moment: int | None = NOW
    for wanted in times:
        assert moment is not None
        moment = of.next_after(moment)
        assert (None if moment is None else text_of_moment(moment)) == (wanted and f"2026-{wanted}")
    assert replace(of, enabled=False).next_after(NOW) is None


def test_what_has_ended_stays_as_it_is() -> None:
    assert frozenset({"SUCCESS", "FAILED", "TIMED_OUT", "CANCELLED", "SKIPPED_OVERLAPPING"}) == FINAL
    for was in Status:
        for to in Status:
            after = Standing(status=was, started_at=1).moved(to, 5)
            assert (after.status is to) == (may_move(was, to) or was is to)
            assert (after.ended_at is not None) == (after.status in FINAL and was not in FINAL)
    assert not any(to in MOVES.get(each, ()) for each in FINAL for to in Status)


def test_only_pseudo_parameters_are_filled() -> None:
    run = task_run(0, TaskTerms(kind=LAMBDA, task_arn="f"))
    batch = Batch(target_id="arn:t", resource_id="t", window_target_id="wt")
    filled = Pseudo.of(run, invocation_of(run, 0, batch)).filled(
        {"a": ["{{ TARGET_ID }}-{{RESOURCE_ID}}", "{{ssm:name}} {{x}} {{target_id}}"], "b": {"c": 1}}
    )
    assert filled == {"a": ["arn:t-t", "{{ssm:name}} {{x}} {{target_id}}"], "b": {"c": 1}}


def task_run(number: int, task: TaskTerms) -> TaskRun:
    return TaskRun(
        task_execution_id=f"t{number}", execution_id="e", window_id="w", window_task_id=f"wt{number}", account_id="1",
        region="r", position=number, task=task, batches=[],
    )  # fmt: skip


def invocation_of(run: TaskRun, number: int, batch: Batch | None = None) -> Invocation:
    return Invocation(
        invocation_id=f"{run.task_execution_id}i{number}", task_execution_id=run.task_execution_id, execution_id="e",
        window_id="w", account_id="1", region="r", position=number, kind=run.task.kind, batch=batch or Batch(),
    )  # fmt: skip


TASKS = st.lists(
    st.builds(
        TaskTerms, kind=st.sampled_from([RUN_COMMAND, LAMBDA, AUTOMATION]), task_arn=st.just("it"),
        priority=st.integers(0, 3), cutoff_behavior=st.sampled_from([CANCEL_TASK, CONTINUE_TASK, None]),
        max_concurrency=st.sampled_from(["1", "2", "50%"]), max_errors=st.sampled_from(["0", "1", "100%"]),
        targets=st.just([("WindowTargetIds", ["x"])]),
    ),
    min_size=1, max_size=5,
)  # fmt: skip
ENDS = st.sampled_from([Status.SUCCESS, Status.FAILED, Status.TIMED_OUT, Status.CANCELLED])
HAPPENINGS = st.lists(
    st.one_of(
        st.tuples(st.just("pass"), st.integers(0, 90)),
        st.tuples(st.just("end"), st.integers(0, 30), ENDS),
        st.tuples(st.just("cancel")),
    ),
    max_size=40,
)  # fmt: skip


class World:
    """An execution that is driven as `running` drives it, without a database: what each step leads to."""

    def __init__(self, tasks: list[TaskTerms], counts: list[int]) -> None:
        self.now = 0
        self.execution = Execution(
            execution_id="e", window_id="w", account_id="1", region="r", due_at=0, cutoff_at=2 * HOUR_MS,
            ends_at=3 * HOUR_MS,
        )  # fmt: skip
        self.runs = {f"t{number}": task_run(number, task) for number, task in enumerate(tasks)}
        self.invocations = {
            key: [invocation_of(run, each) for each in range(count)]
            for (key, run), count in zip(self.runs.items(), counts, strict=True)
        }  # fmt: skip
        self.log: list[tuple[str, int]] = []

    def move(self, key: str, to: Status) -> None:
        before = self.runs[key].at
        self.runs[key] = replace(self.runs[key], at=before.moved(to, self.now))
        assert self.runs[key].at != before, "a plan asks for what is not legal"

    def go_on(self) -> None:
        for _ in range(100):
            changed = self._work()
            todo = plan(self.execution, list(self.runs.values()), self.now)
            for key, (status, _) in todo.end.items():
                self.move(key, status)
            for key in todo.start:
                self.move(key, Status.IN_PROGRESS)
                self.log.append((key, self.now))
            for key in todo.stop:
                self.move(key, Status.CANCELLING)
                for number, each in enumerate(self.invocations[key]):
                    to = Status.CANCELLED if each.at.status is Status.PENDING else Status.CANCELLING
                    self.invocations[key][number] = replace(each, at=each.at.moved(to, self.now))
            if not (changed or todo.start or todo.end or todo.stop):
                return
        raise AssertionError("it never comes to rest")

    def _work(self) -> bool:
        changed = False
        for key, run in self.runs.items():
            if not run.at.begun:
                continue
            invocations = self.invocations[key]
            for each in to_start(self.execution, run, invocations, self.now):
                invocations[each.position] = replace(each, at=each.at.moved(Status.IN_PROGRESS, self.now))
                assert self.now < self.execution.cutoff_at
                changed = True
            if self.now >= self.execution.ends_at:
                for number, each in enumerate(invocations):
                    if each.at.status is Status.PENDING:
                        invocations[number] = replace(each, at=each.at.moved(Status.TIMED_OUT, self.now))
            status = outcome(each.at for each in invocations)
            if status is not None:
                self.move(key, status)
                changed = True
        return changed

    def open_(self) -> list[Invocation]:
        return [each for run in self.invocations.values() for each in run if each.at.begun]

    def end(self, which: int, status: Status) -> None:
        ready = self.open_()
        if ready:
            each = ready[which % len(ready)]
            self.invocations[each.task_execution_id][each.position] = ended(each, status, self.now)

    def check(self) -> None:
        runs = list(self.runs.values())
        going = {each.task.priority for each in runs if each.at.begun}
        waiting = {each.task.priority for each in runs if each.at.status is Status.PENDING}
        assert len(going) <= 1
        assert not going or not waiting or max(going) < min(waiting) or self.now >= self.execution.cutoff_at
        assert all(at < self.execution.cutoff_at for _, at in self.log)
        order = [self.runs[key].task.priority for key, _ in self.log]
        assert order == sorted(order)
        if self.execution.cancel_asked or self.now >= self.execution.ends_at:
            assert not waiting
        for run in runs:
            if run.task.kind != RUN_COMMAND and run.task.max_concurrency == "1":
                assert sum(each.at.begun for each in self.invocations[run.task_execution_id]) <= 1


@given(TASKS, st.lists(st.integers(1, 4), min_size=5, max_size=5), HAPPENINGS)
def test_executions_keep_their_order_and_come_to_an_end(
    tasks: list[TaskTerms], counts: list[int], happenings: list[tuple[object, ...]]
) -> None:
    world = World(tasks, counts[: len(tasks)])
    world.go_on()
    world.check()
    for what, *of in happenings:
        if what == "pass":
            world.now += int(str(of[0])) * 60_000
        elif what == "end":
            world.end(int(str(of[0])), Status(str(of[1])))
        else:
            world.execution = replace(world.execution, cancel_asked=True)
        world.go_on()
        world.check()
    world.now = max(world.now, world.execution.ends_at)
    world.go_on()
    while world.open_():
        world.end(0, Status.SUCCESS)
        world.go_on()
        world.check()
    assert outcome(each.at for each in world.runs.values()) is not None
