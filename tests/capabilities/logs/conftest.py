"""A group with a stream, and what puts events into it."""

from collections.abc import Callable
from typing import Any

import pytest

from pilothouse.runtime.clock import TestClock
from tests.capabilities.commands.conftest import _signatures_follow_the_clock, until
from tests.conftest import Aws

__all__ = ["_signatures_follow_the_clock", "until"]

GROUP, STREAM = "/aws/ssm/AWS-RunShellScript", "command/mi-1/stdout"
Putting = Callable[..., dict[str, Any]]


@pytest.fixture
def logs(aws: Aws) -> Any:
    """A client, in whose account there is a group with a stream."""
    client = aws("logs")
    client.create_log_group(logGroupName=GROUP)
    client.create_log_stream(logGroupName=GROUP, logStreamName=STREAM)
    return client


@pytest.fixture
def put(logs: Any, clock: TestClock) -> Putting:
    """`put("a", (-60_000, "b"), stream="s")`: messages of now, or with milliseconds from now."""

    def one(*messages: str | tuple[int, str], stream: str = STREAM) -> dict[str, Any]:
        now = clock.millis()
        told = [(0, each) if isinstance(each, str) else each for each in messages]
        events = [{"timestamp": now + ahead, "message": message} for ahead, message in told]
        answer: dict[str, Any] = logs.put_log_events(logGroupName=GROUP, logStreamName=stream, logEvents=events)
        return answer

    return one
