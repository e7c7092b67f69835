"""What comes next: held against a walk of its own that knows nothing of histories, over runbooks that nobody wrote."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilothouse.capabilities.automation.conditions import ConditionInvalid, holds
from pilothouse.capabilities.automation.model import (
    Children,
    End,
    Flow,
    Go,
    Plan,
    Ran,
    Status,
    Stop,
    Wait,
    decide,
    end_of_children,
    to_start,
)
from pilothouse.capabilities.automation.references import Known, ReferenceInvalid, fill, references
from pilothouse.capabilities.automation.runbooks import runbook_of
from pilothouse.capabilities.automation.selecting import SelectorInvalid, select, typed
from pilothouse.runtime.clock import from_millis

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
RESULTS = (Status.SUCCESS, Status.FAILED, Status.TIMED_OUT)


@st.composite
def flows(draw: st.DrawFn) -> Flow:
    """Steps that may go anywhere ahead, also after a failure."""
    count = draw(st.integers(1, 7))
    steps = []
    for number in range(count):
        ahead = [f"s{other}" for other in range(number + 1, count)]
        anywhere = st.sampled_from([f"step:{each}" for each in ahead]) if ahead else st.nothing()
        steps.append(
            Plan(
                name=f"s{number}",
                action="aws:sleep",
                on_failure=draw(st.sampled_from(["Abort", "Continue"]) | anywhere),
                on_cancel=draw(st.just("Abort") | anywhere),
                next_step=draw(st.none() | (st.sampled_from(ahead) if ahead else st.nothing())),
                is_end=draw(st.booleans()),
                is_critical=draw(st.booleans()),
            )
        )
    return Flow.of(steps)


def walked(flow: Flow, result_of: Callable[[str], Status]) -> tuple[list[str], Status]:
    """By the words of the result matrix: the steps that run, and how the whole ends."""
    ran: list[str] = []
    bad: list[str] = []
    last_aborted_by_time = False
    at: str | None = flow.steps[0].name
    while at is not None:
        plan = flow.named(at)
        assert plan is not None
        ran.append(at)
        result = result_of(at)
        following = plan.next_step
        if following is None and flow.places[at] + 1 < len(flow.steps):
            following = flow.steps[flow.places[at] + 1].name
        last_aborted_by_time = False
        if result is not Status.SUCCESS:
            if plan.is_critical:
                bad.append(at)
                last_aborted_by_time = result is Status.TIMED_OUT and plan.on_failure == "Abort"
            if plan.on_failure == "Abort":
                following = None
            elif plan.on_failure != "Continue":
                following = plan.on_failure.removeprefix("step:")
        at = None if plan.is_end else following
    if not bad:
        return ran, Status.SUCCESS
    return ran, Status.TIMED_OUT if last_aborted_by_time else Status.FAILED


@settings(max_examples=200, deadline=None)
@given(flows(), st.lists(st.sampled_from(RESULTS), min_size=7, max_size=7))
def test_the_steps_that_run_are_those_of_the_matrix(flow: Flow, results: list[Status]) -> None:
    outcome = {plan.name: results[number] for number, plan in enumerate(flow.steps)}
    ran: list[Ran] = []
    while isinstance(decision := decide(flow, ran), Go):
        assert isinstance(decide(flow, [*ran, Ran(decision.name, Status.IN_PROGRESS)]), Wait)
        ran.append(Ran(decision.name, outcome[decision.name]))
        assert len(ran) <= len(flow.steps)
    assert isinstance(decision, End)
    assert ([each.name for each in ran], decision.status) == walked(flow, outcome.__getitem__)


@settings(max_examples=200, deadline=None)
@given(flows(), st.lists(st.sampled_from(RESULTS), min_size=7, max_size=7), st.integers(0, 6))
def test_a_stop_ends_and_begins_only_the_cleanup(flow: Flow, results: list[Status], after: int) -> None:
    outcome = {plan.name: results[number] for number, plan in enumerate(flow.steps)}
    ran: list[Ran] = []
    while len(ran) < after and isinstance(decision := decide(flow, ran), Go):
        ran.append(Ran(decision.name, outcome[decision.name]))
    if isinstance(decision := decide(flow, ran), End):
        return
    assert isinstance(decision, Go)
    stopped = flow.named(decision.name)
    assert stopped is not None
    ran.append(Ran(stopped.name, Status.CANCELLED))
    begun = []
    while isinstance(decision := decide(flow, ran, Stop.CANCEL), Go):
        begun.append(decision.name)
        ran.append(Ran(decision.name, outcome[decision.name]))
        assert len(begun) <= len(flow.steps)
    assert decision.status is Status.CANCELLED
    assert begun[:1] == ([stopped.on_cancel_step] if stopped.on_cancel_step else [])


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 30), st.integers(1, 8), st.integers(0, 5), st.lists(st.booleans(), min_size=30, max_size=30),
    st.randoms(use_true_random=False),
)  # fmt: skip
def test_children_start_within_their_rate(
    total: int, concurrency: int, most: int, fails: list[bool], chance: Any
) -> None:
    started, live, errors, ended = 0, [], 0, 0
    while (
        end := end_of_children(Children(total=total, started=started, live=len(live), errors=errors), most, Stop.NO)
    ) is None:
        count = to_start(
            Children(total=total, started=started, live=len(live), errors=errors), concurrency, most, Stop.NO
        )
        assert errors <= most or count == 0
        live += range(started, started + count)
        started += count
        assert len(live) <= concurrency
        assert live, "nothing goes on, and it does not end"
        over = live.pop(chance.randrange(len(live)))
        errors += fails[over]
        ended += 1
    assert end is (Status.FAILED if errors > most else Status.SUCCESS)
    assert errors > most or ended == total


KNOWN = Known(
    account_id="111122223333", region="eu-west-1", execution_id="e-1", now=from_millis(1_790_000_000_000),
    parameters={"p": "v", "list": ["a", "b"], "with.dot": "d", "map": {"k": {"n": 7}}}, variables={"x": True},
    outputs={"step": {"Out": "o", "A.b": "c", "Maps": [{"k": "v"}]}}, loop={"CurrentIteration": 2},
)  # fmt: skip


@pytest.mark.parametrize(
    ("written", "filled"),
    [
        ("{{ p }}", "v"),
        ("{{list}}", ["a", "b"]),
        ("{{ list[1] }}", "b"),
        ("a {{ list }} b", 'a ["a","b"] b'),
        ("{{ with.dot }}", "d"),
        ("{{ map.k.n }}", 7),
        ("{{ variable:x }}", True),
        ("is {{ variable:x }}", "is true"),
        ("{{ step.Out }}{{ step.A.b }}", "oc"),
        ("{{ step.Maps[0].k }}", "v"),
        ("{{ loop.CurrentIteration }}", 2),
        ("{{ global:DATE }}", "2026-09-21"),
        ("{{ global:ACCOUNT_ID }}/{{ automation:EXECUTION_ID }}", "111122223333/e-1"),
        ({"a": ["{{ p }}", 1]}, {"a": ["v", 1]}),
        ("no braces", "no braces"),
    ],
)
def test_references_are_filled(written: Any, filled: Any) -> None:
    assert fill(written, KNOWN.value) == filled


@pytest.mark.parametrize("written", ["{{ q }}", "{{ step.None }}", "{{ list[9] }}", "{{ other.Out }}", "{{ x:y }}"])
def test_what_is_not_there_is_said(written: str) -> None:
    with pytest.raises(ReferenceInvalid):
        fill(written, KNOWN.value)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60), st.text(max_size=60))
def test_what_is_filled_in_is_never_looked_at_again(text: str, value: str) -> None:
    nothing = Known(account_id="", region="", execution_id="", now=from_millis(0), parameters={"p": value})
    assert fill(["{{ p }}", f"{{{{ p }}}}{'x'}"], nothing.value) == [value, f"{value}x"]
    list(references(text))


def test_values_do_not_grow_beyond_all_bounds() -> None:
    large = Known(account_id="", region="", execution_id="", now=from_millis(0), parameters={"p": "x" * 200_000})
    with pytest.raises(ReferenceInvalid, match="larger"):
        fill("{{ p }}{{ p }}", large.value)


@pytest.mark.parametrize("condition", [{}, {"And": []}, {"Variable": "x"}, {"Variable": "x", "NumericEquals": 1}, 3])
def test_conditions_that_are_none(condition: Any) -> None:
    with pytest.raises(ConditionInvalid):
        holds(condition)


def test_selectors_give_what_they_find() -> None:
    response = {"Items": [{"Id": "a", "N": 1}, {"Id": "b", "N": 2}], "One": {"V": "x"}}
    assert select("$.One.V", response) == "x"
    assert select("$.Items[*].Id", response) == ["a", "b"]
    assert select("$..Id", response) == ["a", "b"]
    assert select("$.Items[?(@.N==2)].Id", response) == ["b"]
    assert typed("Integer", select("$.Items[?(@.N==2)].N", response)) == 2
    for selector in ("Items", "$.None", "$.Items[?(@.Id =~ /a/)]", "$.Items[?match(@.Id, 'a')]", "$..["):
        with pytest.raises(SelectorInvalid):
            select(selector, response)


def test_a_runbook_is_read_as_it_is_written() -> None:
    steps = [{"name": "a", "action": "aws:sleep", "isEnd": "true", "isCritical": "False", "maxAttempts": "3"}]
    (plan,) = runbook_of({"mainSteps": steps}).flow.steps
    assert (plan.is_end, plan.is_critical, plan.max_attempts, plan.on_failure) == (True, False, 3, "Abort")
