"""The invocation machine and the command's status, against random orders of events and against the written rules."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.capabilities.commands.model import (
    FINAL,
    MOVES,
    STATUS,
    Counts,
    Details,
    Invocation,
    command_status,
    concurrency_limit,
    error_limit,
    may_move,
)


def invocation(details: Details = Details.PENDING) -> Invocation:
    return Invocation(
        command_id="c", node_id="n", account_id="1", region="r", node_name="", document_name="D", requested_at=1,
        details=details,
    )  # fmt: skip


@dataclass(frozen=True)
class Event:
    node: int
    to: Details
    on_node: bool | None


EVENTS = st.lists(
    st.builds(
        Event,
        node=st.integers(0, 4),
        to=st.sampled_from(Details),
        on_node=st.sampled_from([True, False, None]),
    ),
    max_size=60,
)


@given(EVENTS)
def test_counts_follow_every_order_of_events_and_ends_are_for_good(events: list[Event]) -> None:
    counts = Counts(target_count=5, waiting=5)
    nodes = [invocation() for _ in range(5)]
    for event in events:
        before = nodes[event.node]
        after = nodes[event.node] = before.moved(event.to, counts, at=2, on_node=event.on_node)
        assert after.details in {before.details, event.to}
        if before.final:
            assert after is before
        assert counts.waiting == sum(each.waits for each in nodes)
        assert counts.slots == sum(each.slot for each in nodes)
        assert counts.completed == sum(each.final for each in nodes)
        for details in FINAL:
            assert counts.of(details) == sum(each.details is details for each in nodes)
        assert all(not (each.final and (each.slot or each.on_node)) for each in nodes)
        status = command_status(counts, 0, cancel_asked=False)
        assert status.final == all(each.final for each in nodes)


def test_only_final_details_have_no_way_out() -> None:
    assert {
        Details.SUCCESS, Details.FAILED, Details.EXECUTION_TIMED_OUT, Details.DELIVERY_TIMED_OUT, Details.CANCELLED,
        Details.TERMINATED, Details.UNDELIVERABLE, Details.INVALID_PLATFORM, Details.ACCESS_DENIED,
    } == FINAL  # fmt: skip
    assert set(STATUS) == set(Details)
    assert all(not may_move(details, to) for details in FINAL for to in Details)
    assert Details.TERMINATED not in MOVES[Details.IN_PROGRESS]
    assert Details.IN_PROGRESS not in MOVES[Details.CANCELLING]


D = Details


@pytest.mark.parametrize(
    ("ended", "limit", "cancelled", "status", "details"),
    [
        ({}, 0, False, "Success", "NoInstancesInTag"),
        ({D.CANCELLED: 1, D.SUCCESS: 9}, 0, True, "Cancelled", "Cancelled"),
        ({D.SUCCESS: 10}, 0, True, "Success", "Success"),
        ({D.EXECUTION_TIMED_OUT: 2, D.TERMINATED: 8}, 1, False, "TimedOut", "ExecutionTimedOut"),
        ({D.EXECUTION_TIMED_OUT: 1, D.FAILED: 1, D.TERMINATED: 8}, 1, False, "Failed", "Failed"),
        ({D.FAILED: 3, D.TERMINATED: 7}, 2, False, "Failed", "Failed"),
        ({D.UNDELIVERABLE: 2, D.INVALID_PLATFORM: 1}, 0, False, "Failed", "Failed"),
        ({D.ACCESS_DENIED: 2}, 0, False, "Failed", "AccessDenied"),
        ({D.DELIVERY_TIMED_OUT: 1, D.SUCCESS: 9}, 0, False, "TimedOut", "DeliveryTimedOut"),
        ({D.DELIVERY_TIMED_OUT: 1, D.SUCCESS: 9}, 1, False, "Failed", "Incomplete"),
        ({D.SUCCESS: 1, D.UNDELIVERABLE: 9}, 0, False, "Success", "Success"),
        ({D.SUCCESS: 9, D.FAILED: 1}, 10, False, "Failed", "Incomplete"),
        ({D.SUCCESS: 9, D.CANCELLED: 1}, 0, False, "Failed", "Incomplete"),
    ],
)
def test_rules_of_the_command_status(
    ended: dict[Details, int], limit: int, cancelled: bool, status: str, details: str
) -> None:
    counts = Counts(target_count=sum(ended.values()), ended=dict(ended))
    found = command_status(counts, limit, cancel_asked=cancelled)
    assert (found.status, found.details, found.final) == (status, details, True)


def test_open_commands() -> None:
    waiting, started = Counts(target_count=2, waiting=2), Counts(target_count=2, waiting=1, slots=1, started=1)
    assert command_status(waiting, 0, cancel_asked=False).status == "Pending"
    assert command_status(started, 0, cancel_asked=False).status == "InProgress"
    assert command_status(started, 0, cancel_asked=True).status == "Cancelling"
    one_ended = Counts(target_count=2, waiting=1, ended={D.CANCELLED: 1})
    assert command_status(one_ended, 0, cancel_asked=False).status == "InProgress"


@pytest.mark.parametrize(
    ("written", "targets", "limit"), [("50", 10, 50), ("1%", 10, 1), ("10%", 55, 6), ("100%", 7, 7), ("7", 0, 7)]
)
def test_concurrency_is_rounded_up(written: str, targets: int, limit: int) -> None:
    assert concurrency_limit(written, targets) == limit


@pytest.mark.parametrize(("written", "targets", "limit"), [("0", 10, 0), ("10%", 50, 5), ("10%", 59, 5), ("3", 1, 3)])
def test_errors_are_rounded_down(written: str, targets: int, limit: int) -> None:
    assert error_limit(written, targets) == limit
