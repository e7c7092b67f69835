"""Somebody who makes maintenance windows with the aws CLI, and looks at what they do."""

import json
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

from tests.acceptance.aws_cli import AwsCli
from tests.acceptance.driven_desk import RUN_SHELL, DrivenDesk
from tests.acceptance.installation import AgentProcess, DrivenInstallation

FINAL = ("SUCCESS", "FAILED", "TIMED_OUT", "CANCELLED", "SKIPPED_OVERLAPPING")
EXECUTION_TIME = "172800"
"""Scripts have two days: the server's clock is ahead of theirs."""


class WindowDesk(DrivenDesk):
    """What a user does with windows."""

    _names = count(1)

    def __init__(self, house: DrivenInstallation, aws: AwsCli, nodes: list[AgentProcess], folder: Path) -> None:
        super().__init__(house, aws)
        self.nodes = nodes
        self.node = nodes[0]
        self.folder = folder
        self.made: list[str] = []

    def words(self, schedule: str, *words: str, duration: int = 2, cutoff: int = 1) -> tuple[str, ...]:
        """`create-maintenance-window` of a window."""
        return (
            "create-maintenance-window", "--name", f"window-{next(self._names)}", "--schedule", schedule,
            "--duration", str(duration), "--cutoff", str(cutoff), "--no-allow-unassociated-targets", *words,
        )  # fmt: skip

    def create(self, schedule: str, *words: str, duration: int = 2, cutoff: int = 1) -> str:
        window_id = self.ssm(*self.words(schedule, *words, duration=duration, cutoff=cutoff))["WindowId"]
        self.made.append(window_id)
        return str(window_id)

    def soon(self, **more: Any) -> str:
        """A window that starts once, in ten minutes."""
        at = self.house.now() + timedelta(minutes=10)
        return self.create(f"at({at:%Y-%m-%dT%H:%M:%S})", **more)

    def get(self, window_id: str) -> dict[str, Any]:
        return dict(self.ssm("get-maintenance-window", "--window-id", window_id))

    def target(self, window_id: str, targets: str = "", *words: str) -> str:
        """The first node is registered, if nothing else is said."""
        made = self.ssm(
            "register-target-with-maintenance-window", "--window-id", window_id, "--resource-type", "INSTANCE",
            "--targets", targets or f"Key=InstanceIds,Values={self.node.node_id}", *words,
        )  # fmt: skip
        return str(made["WindowTargetId"])

    def task(
        self, window_id: str, target_id: str, *words: str, lines: tuple[str, ...] = ("true",), document: str = RUN_SHELL
    ) -> str:
        parameters = {"commands": list(lines), "executionTimeout": [EXECUTION_TIME]}
        return self.register(
            window_id, "RUN_COMMAND", document, "--targets", f"Key=WindowTargetIds,Values={target_id}",
            "--max-concurrency", "5", "--max-errors", "0", "--task-invocation-parameters",
            json.dumps({"RunCommand": {"Parameters": parameters, "TimeoutSeconds": int(EXECUTION_TIME)}}), *words,
        )  # fmt: skip

    def register(self, window_id: str, kind: str, arn: str, *words: str) -> str:
        made = self.ssm(
            "register-task-with-maintenance-window", "--window-id", window_id, "--task-type", kind, "--task-arn", arn,
            *words,
        )  # fmt: skip
        return str(made["WindowTaskId"])

    def executions(self, window_id: str) -> list[dict[str, Any]]:
        return list(
            self.ssm("describe-maintenance-window-executions", "--window-id", window_id)["WindowExecutions"]
        )  # fmt: skip

    def started(self, window_id: str, number: int = 1) -> str:
        """The id of its newest execution, once there are so many."""

        def look() -> str:
            found = self.executions(window_id)
            return str(found[0]["WindowExecutionId"]) if len(found) == number else ""

        return self.until(look, f"execution {number} of the window")

    def execution(self, execution_id: str) -> dict[str, Any]:
        return dict(self.ssm("get-maintenance-window-execution", "--window-execution-id", execution_id))

    def ended(self, execution_id: str) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            found = self.execution(execution_id)
            return found if found["Status"] in FINAL else None

        return self.until(look, f"the end of execution {execution_id}") or {}

    def played(self, window_id: str) -> str:
        """The id of the execution of a window that starts soon, once it has ended."""
        self.house.advance(minutes=10)
        execution_id = self.started(window_id)
        self.ended(execution_id)
        return execution_id

    def tasks(self, execution_id: str) -> list[dict[str, Any]]:
        """By their priorities."""
        asked = "describe-maintenance-window-execution-tasks", "--window-execution-id", execution_id
        found = []
        for each in self.ssm(*asked)["WindowExecutionTaskIdentities"]:
            of = "--window-execution-id", execution_id, "--task-id", each["TaskExecutionId"]
            found.append({**each, **self.ssm("get-maintenance-window-execution-task", *of)})
        return sorted(found, key=lambda each: int(each["Priority"]))

    def statuses(self, execution_id: str) -> list[str]:
        return [str(each["Status"]) for each in self.tasks(execution_id)]

    def invocations(self, task: dict[str, Any]) -> list[dict[str, Any]]:
        of = "--window-execution-id", task["WindowExecutionId"], "--task-id", task["TaskExecutionId"]
        asked = "describe-maintenance-window-execution-task-invocations"
        return list(self.ssm(asked, *of)["WindowExecutionTaskInvocationIdentities"])

    def command(self, task: dict[str, Any]) -> dict[str, Any]:
        """The command of the only invocation of a task."""
        (invocation,) = self.invocations(task)
        (found,) = self.ssm("list-commands", "--command-id", invocation["ExecutionId"])["Commands"]
        return dict(found)

    def gated(self, name: str) -> tuple[str, ...]:
        """Lines that write `begun`, and `ended` once they are let go on."""
        file = self.folder / name
        return f"echo begun >> {file}", f"while [ ! -e {file}.go ]; do sleep 0.1; done", f"echo ended >> {file}"

    def said(self, name: str) -> list[str]:
        file = self.folder / name
        return file.read_text().split() if file.exists() else []

    def let_go(self, name: str) -> None:
        (self.folder / f"{name}.go").touch()
