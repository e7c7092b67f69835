"""Windows whose starts a driven clock brings, and nodes that do what they are told."""

import base64
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.capabilities.commands.conftest import (  # noqa: F401 -- fixtures
    Fleet,
    Node,
    Until,
    until,
)
from tests.capabilities.events.conftest import Receiver
from tests.capabilities.one_server import *  # noqa: F403 -- fixtures
from tests.conftest import Server, open_server

from pilothouse.runtime.clock import TestClock
from pilothouse.runtime.settings import MaintenanceWindowSettings, OutboundSettings

SECRET = "whsec_" + base64.b64encode(b"a secret of thirty-two bytes ....").decode()
_ROLES = itertools.count(1)


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    """Who is called for tasks of type LAMBDA."""
    made = Receiver()
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def server(
    database_url: str, tmp_path_factory: pytest.TempPathFactory, clock: TestClock, receiver: Receiver
) -> Iterator[Server]:
    """One server for the tests of a module; each has windows and nodes of its own."""
    folder: Path = tmp_path_factory.mktemp("server")
    secret = folder / "calls.secret"
    secret.write_text(SECRET)
    called = MaintenanceWindowSettings(lambda_url=f"{receiver.url}/functions", secret_file=str(secret))
    outbound = OutboundSettings(allow=("127.0.0.1/32",))
    with open_server(database_url, folder, clock, outbound=outbound, maintenance_windows=called) as opened:
        yield opened


@pytest.fixture
def role() -> str:
    """The value of the tag `role` that the test's nodes have."""
    return f"db-{next(_ROLES)}"


@pytest.fixture
def nodes(server: Server, fleet: Fleet, role: str) -> Iterator[Callable[..., Node]]:
    """A new node with the test's role. They leave when the test ends."""
    made: list[Node] = []
    fleet.renew()

    def make(**of: Any) -> Node:
        node = fleet.node(tags={"role": role}, **of)
        if of.get("online", True):
            made.append(node)
        return node

    yield make
    for each in made:
        each.disconnect()


class Windows:
    """What a test does with windows, through boto3."""

    def __init__(self, ssm: Any, server: Server, role: str, until: Until) -> None:  # noqa: F811
        self.ssm = ssm
        self.server = server
        self.role = role
        self.until = until

    def make(self, **members: Any) -> str:
        """A window that starts every day, from a day from now on, unless the test says otherwise."""
        request = {
            "Name": "nightly", "Schedule": "rate(1 day)", "Duration": 3, "Cutoff": 1, "AllowUnassociatedTargets": False,
        } | members  # fmt: skip
        window_id: str = self.ssm.create_maintenance_window(**request)["WindowId"]
        return window_id

    def target(self, window_id: str, **members: Any) -> str:
        """The test's nodes as a target."""
        request = {
            "ResourceType": "INSTANCE", "Targets": [{"Key": "tag:role", "Values": [self.role]}],
        } | members  # fmt: skip
        made = self.ssm.register_target_with_maintenance_window(WindowId=window_id, **request)
        target_id: str = made["WindowTargetId"]
        return target_id

    def task(self, window_id: str, *target_ids: str, **members: Any) -> str:
        """A command on the targets."""
        request = {
            "TaskType": "RUN_COMMAND", "TaskArn": "AWS-RunShellScript", "MaxConcurrency": "10", "MaxErrors": "0",
            "Targets": [{"Key": "WindowTargetIds", "Values": list(target_ids)}],
            "TaskInvocationParameters": {"RunCommand": {"Parameters": {"commands": ["true"]}}},
        } | members  # fmt: skip
        request = {name: value for name, value in request.items() if value is not None}
        made = self.ssm.register_task_with_maintenance_window(WindowId=window_id, **request)
        task_id: str = made["WindowTaskId"]
        return task_id

    def executions(self, window_id: str, **members: Any) -> list[dict[str, Any]]:
        found = self.ssm.describe_maintenance_window_executions(WindowId=window_id, **members)["WindowExecutions"]
        return [dict(each) for each in found]

    def started(self, window_id: str, count: int = 1) -> dict[str, Any]:
        """The newest execution, once there are so many."""
        found: list[dict[str, Any]] = self.until(
            lambda: each if len(each := self.executions(window_id)) == count else None
        )
        return found[0]

    def status(self, execution: dict[str, Any]) -> str:
        got = self.ssm.get_maintenance_window_execution(WindowExecutionId=execution["WindowExecutionId"])
        return str(got["Status"])

    def ended(self, execution: dict[str, Any], status: str) -> dict[str, Any]:
        """The execution, once it stands so."""
        self.until(lambda: self.status(execution) == status)
        got = self.ssm.get_maintenance_window_execution(WindowExecutionId=execution["WindowExecutionId"])
        return dict(got)

    def tasks(self, execution: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Each task of the execution as GetMaintenanceWindowExecutionTask tells it, by its id there."""
        ids = self.ssm.get_maintenance_window_execution(WindowExecutionId=execution["WindowExecutionId"])["TaskIds"]
        return {
            each: self.ssm.get_maintenance_window_execution_task(
                WindowExecutionId=execution["WindowExecutionId"], TaskId=each
            )
            for each in ids
        }

    def invocations(self, execution: dict[str, Any]) -> list[dict[str, Any]]:
        """Of all tasks of the execution."""
        found = []
        for task_id in self.tasks(execution):
            found += self.ssm.describe_maintenance_window_execution_task_invocations(
                WindowExecutionId=execution["WindowExecutionId"], TaskId=task_id
            )["WindowExecutionTaskInvocationIdentities"]
        return found


@pytest.fixture
def windows(ssm: Any, server: Server, role: str, until: Until) -> Windows:  # noqa: F811
    return Windows(ssm, server, role, until)
