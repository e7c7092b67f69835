"""Status changes of commands and invocations as events, each once."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.capabilities.commands.conftest import SILENT, Fleet, Send, Until
from tests.capabilities.events.conftest import Reader
from tests.conftest import Server
from tests.gateway.scripted_agent import Script, report

COMMAND = "EC2 Command Status-change Notification"
INVOCATION = "EC2 Command Invocation Status-change Notification"
FAILING = Script(replies=[report("InProgress"), report("Failed")])


@pytest.fixture
def reader(server: Server, fleet: Fleet) -> Iterator[Reader]:
    made = Reader(server).ready()
    yield made
    made.leave()


@pytest.fixture
def told(server: Server, reader: Reader, until: Until) -> Callable[..., Any]:
    """How often each (kind, status) was told of a command, once so many events are there."""

    def told(command: dict[str, Any], count: int) -> Counter[tuple[str, str]]:
        def mine() -> list[dict[str, Any]]:
            return [each for each in reader.events if each["detail"].get("command-id") == command["CommandId"]]

        until(lambda: server.advance(seconds=1) or len(mine()) >= count)
        return Counter((each["detail-type"], each["detail"]["status"]) for each in mine())

    return told


def test_a_command_on_two_nodes(fleet: Fleet, send: Send, told: Any, reader: Reader) -> None:
    good, bad = fleet.node(), fleet.node(script=FAILING)
    command = send(good.id, bad.id, MaxErrors="5")
    assert told(command, 6) == {
        (COMMAND, "InProgress"): 1, (COMMAND, "Failed"): 1,
        (INVOCATION, "InProgress"): 2, (INVOCATION, "Success"): 1, (INVOCATION, "Failed"): 1,
    }  # fmt: skip
    ended = next(each for each in reader.events if each["detail"]["status"] == "Success")
    assert ended["source"] == "aws.ssm"
    assert ended["detail"]["instance-id"] == good.id
    assert ended["resources"] == [f"arn:aws:ssm:eu-west-1:{ended['account']}:managed-instance/{good.id}"]
    whole = next(each for each in reader.events if each["detail-type"] == COMMAND)
    assert whole["detail"]["parameters"] == {"commands": ["hostname"]}


def test_what_was_never_sent_is_told_as_well(ssm: Any, fleet: Fleet, send: Send, told: Any) -> None:
    away = [node.id for node in fleet.nodes(3, online=False)]
    cancelled = send(*away)
    ssm.cancel_command(CommandId=cancelled["CommandId"])
    assert told(cancelled, 4) == {(COMMAND, "Cancelled"): 1, (INVOCATION, "Cancelled"): 3}

    gone = send(*away[:2])
    ssm.deregister_managed_instance(InstanceId=away[0])
    ssm.deregister_managed_instance(InstanceId=away[1])
    assert told(gone, 4) == {(COMMAND, "InProgress"): 1, (COMMAND, "Failed"): 1, (INVOCATION, "Failed"): 2}


def test_one_that_errors_end_and_one_that_time_ends(
    server: Server, fleet: Fleet, send: Send, told: Any
) -> None:  # fmt: skip
    first = fleet.node(script=FAILING)
    others = fleet.nodes(2, online=False)
    stopped = send(first.id, *(node.id for node in others), MaxConcurrency="1", MaxErrors="0")
    assert told(stopped, 6) == {
        (COMMAND, "InProgress"): 1, (COMMAND, "Failed"): 1, (INVOCATION, "InProgress"): 1, (INVOCATION, "Failed"): 3
    }  # fmt: skip
    silent = fleet.node(script=SILENT)
    late = send(silent.id, TimeoutSeconds=30)
    assert told(late, 2) == {(COMMAND, "InProgress"): 1, (INVOCATION, "InProgress"): 1}
    server.advance(hours=2)
    assert told(late, 4)[INVOCATION, "TimedOut"] == 1


def test_nothing_that_fits_is_success_at_once(send: Send, told: Any) -> None:
    command = send(Targets=[{"Key": "tag:none", "Values": ["x"]}])
    assert told(command, 1) == {(COMMAND, "Success"): 1}
