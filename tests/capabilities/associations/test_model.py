"""Counts follow the moves, whatever comes in whatever order; an end by the node's own word stays."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from pilothouse.capabilities.associations.model import (
    MOVES,
    Execution,
    Reason,
    Result,
    Run,
    State,
    Status,
    node_status,
)

ENDS = (Status.SUCCESS, Status.FAILED, Status.TIMED_OUT, Status.CANCELLED, Status.SKIPPED)
STATUS = {State.HELD: Status.PENDING, State.LET_GO: Status.PENDING, State.RUNNING: Status.IN_PROGRESS}

results = st.tuples(st.sampled_from(list(State)), st.sampled_from(ENDS), st.booleans())
moves = st.lists(st.tuples(st.integers(0, 4), results), max_size=60)


def result_of(state: State, end: Status) -> Result:
    status = STATUS.get(state, end)
    return Result(status=status, details=status, executed_at=1)


@settings(deadline=None)
@given(st.lists(st.sampled_from([State.HELD, State.LET_GO]), min_size=5, max_size=5), moves, st.integers(0, 3))
def test_counts_are_those_of_the_runs(begin: list[State], moves: list[tuple[int, tuple]], limit: int) -> None:
    execution = Execution(
        execution_id="e", association_id="a", account_id="1", region="r", version=1, reason=Reason.ASKED,
        created_at=0, concurrency_limit=2, error_limit=limit,
    )  # fmt: skip
    runs = []
    for number, state in enumerate(begin):
        run = Run(
            execution_id="e", node_id=f"n{number}", association_id="a", state=state,
            result=result_of(state, Status.SUCCESS), changed_at=0,
        )  # fmt: skip
        execution.add(run)
        runs.append(run)
    for number, (state, end, by_node) in moves:
        before = runs[number]
        after = execution.moved(before, state, result_of(state, end), at=1, by_node=by_node)
        assert after is before or (state in MOVES[before.state] and not before.by_node)
        runs[number] = after
        execution.settle()
        states = [run.state for run in runs]
        assert execution.held == states.count(State.HELD)
        assert execution.running == states.count(State.RUNNING)
        assert execution.slots == states.count(State.LET_GO) + states.count(State.RUNNING)
        ended = [run.result.status for run in runs if run.state is State.ENDED]
        assert execution.ended == {status: ended.count(status) for status in set(ended)}
        assert sum(execution.by_status().values()) == len(runs)
        assert execution.final == (len(ended) == len(runs))
        assert (execution.status in (Status.PENDING, Status.IN_PROGRESS)) == (not execution.final)
        if execution.final and (Status.FAILED in ended or Status.TIMED_OUT in ended):
            assert execution.status == Status.FAILED
        assert execution.room == 0 or execution.errors <= limit


def test_a_word_of_the_node_replaces_what_the_server_assumed() -> None:
    execution = Execution(
        execution_id="e",
        association_id="a",
        account_id="1",
        region="r",
        version=1,
        reason=Reason.SCHEDULE,
        created_at=0,
    )
    run = Run(
        execution_id="e", node_id="n", association_id="a", state=State.LET_GO,
        result=result_of(State.LET_GO, Status.SUCCESS), changed_at=0,
    )  # fmt: skip
    execution.add(run)
    assumed = execution.moved(run, State.ENDED, result_of(State.ENDED, Status.SKIPPED), at=1)
    told = execution.moved(assumed, State.ENDED, result_of(State.ENDED, Status.FAILED), at=2, by_node=True)
    assert execution.ended == {Status.FAILED: 1}
    again = execution.moved(told, State.ENDED, result_of(State.ENDED, Status.SUCCESS), at=3, by_node=True)
    assert again is told
    assert replace(told, changed_at=2) == again


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from([*ENDS, Status.PENDING, Status.IN_PROGRESS]), st.integers(1, 3)))
def test_a_node_stands_as_its_worst_association(counts: dict[str, int]) -> None:
    found = node_status(counts)
    failed = counts.keys() & {Status.FAILED, Status.TIMED_OUT, Status.CANCELLED}
    assert (found == Status.FAILED) == bool(failed)
    assert (found is None) == (not counts)
