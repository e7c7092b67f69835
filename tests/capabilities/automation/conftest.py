"""Runbooks that a driven clock lets go on, and nodes that do what they are told."""

import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.capabilities.commands.conftest import (  # noqa: F401 -- fixtures
    Fleet,
    Node,
    Until,
    _signatures_follow_the_clock,
    until,
)
from tests.capabilities.one_server import *  # noqa: F403 -- fixtures
from tests.conftest import Server

_NAMES = itertools.count(1)
FINAL = ("Success", "Failed", "TimedOut", "Cancelled")


@pytest.fixture
def nodes(server: Server, fleet: Fleet) -> Iterator[Callable[..., Node]]:
    """Makes a node. They leave when the test ends."""
    made: list[Node] = []
    fleet.renew()

    def make(**of: Any) -> Node:
        node = fleet.node(**of)
        if of.get("online", True):
            made.append(node)
        return node

    yield make
    for each in made:
        each.disconnect()


class Runbooks:
    """What a test does with runbooks, through boto3."""

    def __init__(self, ssm: Any, server: Server, until: Until) -> None:  # noqa: F811
        self.ssm = ssm
        self.server = server
        self.until = until

    def make(self, *steps: dict[str, Any], **content: Any) -> str:
        """A runbook of these steps."""
        name = f"runbook-{next(_NAMES)}"
        body = {"schemaVersion": "0.3", "mainSteps": list(steps), **content}
        self.ssm.create_document(
            Name=name, Content=json.dumps(body), DocumentType="Automation", DocumentFormat="JSON"
        )  # fmt: skip
        return name

    def start(self, name: str, parameters: dict[str, Any] | None = None, **members: Any) -> str:
        """An execution of it."""
        if parameters is not None:
            members["Parameters"] = {
                key: value if isinstance(value, list) else [value] for key, value in parameters.items()
            }
        execution_id: str = self.ssm.start_automation_execution(DocumentName=name, **members)[
            "AutomationExecutionId"
        ]  # fmt: skip
        return execution_id

    def get(self, execution_id: str) -> dict[str, Any]:
        found = self.ssm.get_automation_execution(AutomationExecutionId=execution_id)["AutomationExecution"]
        return dict(found)

    def comes_to(self, execution_id: str, *statuses: str) -> dict[str, Any]:
        """The execution, once it stands so."""

        def look() -> dict[str, Any] | None:
            found = self.get(execution_id)
            status = found["AutomationExecutionStatus"]
            assert status in statuses or status not in FINAL, (status, found.get("FailureMessage"))
            return found if status in statuses else None

        got: dict[str, Any] = self.until(look)
        return got

    def ended(self, execution_id: str) -> dict[str, Any]:
        """The execution, once it has ended; pauses are let pass."""

        def look() -> dict[str, Any] | None:
            found = self.get(execution_id)
            if found["AutomationExecutionStatus"] in FINAL:
                return found
            self.server.advance(seconds=2)
            return None

        got: dict[str, Any] = self.until(look)
        return got

    def run(self, name: str, parameters: dict[str, Any] | None = None, **members: Any) -> dict[str, Any]:
        """Start it, and wait for its end."""
        return self.ended(self.start(name, parameters, **members))


@pytest.fixture
def runbooks(ssm: Any, server: Server, until: Until) -> Runbooks:  # noqa: F811
    return Runbooks(ssm, server, until)


def statuses(execution: dict[str, Any]) -> dict[str, str]:
    """Of its steps, by name."""
    return {each["StepName"]: each["StepStatus"] for each in execution["StepExecutions"]}


def step(execution: dict[str, Any], name: str) -> dict[str, Any]:
    return next(dict(each) for each in execution["StepExecutions"] if each["StepName"] == name)
