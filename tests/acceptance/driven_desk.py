"""Somebody with the aws CLI, at a server whose clock is put forward, with agents that keep to the machine's."""

import json
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import pytest

from tests.acceptance.aws_cli import AwsCli, Refused
from tests.acceptance.installation import AgentProcess, DrivenInstallation

T = TypeVar("T")
RUN_SHELL = "AWS-RunShellScript"


class DrivenDesk:
    """What they type, and how they wait."""

    def __init__(self, house: DrivenInstallation, aws: AwsCli) -> None:
        self.house, self.aws = house, aws

    def ssm(self, *words: str) -> Any:
        return self.aws("ssm", *words)

    def refusal(self, *words: str) -> tuple[str, str]:
        """Code and text of what the server does not do."""
        with pytest.raises(Refused) as refused:
            self.ssm(*words)
        return refused.value.code, str(refused.value).partition(" operation: ")[2]

    def until(self, look: Callable[[], T], what: str, *, hurry: bool = True) -> T:
        """What is looked for, once it is there. `hurry`: the server's clock goes on by a second at each look."""
        end = time.monotonic() + 60
        while not (found := look()):
            assert time.monotonic() < end, f"{what} did not come about"
            if hurry:
                self.house.advance(seconds=1)
            time.sleep(0.05)
        return found

    def passes(self, node: AgentProcess, **by: float) -> None:
        """So much time passes, and all that was due until then has begun: a run that is due a second later has."""
        at = self.house.now() + timedelta(**by) + timedelta(seconds=1)
        later = self.ssm(
            "create-association", "--name", RUN_SHELL, "--parameters", json.dumps({"commands": ["true"]}),
            "--targets", f"Key=InstanceIds,Values={node.node_id}", "--apply-only-at-cron-interval",
            "--schedule-expression", f"at({at:%Y-%m-%dT%H:%M:%S})",
        )["AssociationDescription"]["AssociationId"]  # fmt: skip
        self.house.advance(**by)
        asked = "describe-association-executions", "--association-id", later
        self.until(lambda: self.ssm(*asked)["AssociationExecutions"], "a run after that time")
        self.ssm("delete-association", "--association-id", later)

    def heard(self, node: AgentProcess) -> None:
        """All that the node has said is stored: hours may pass, and it does not look as if it had been silent."""
        sent = self.ssm(
            "send-command", "--document-name", RUN_SHELL, "--parameters", "commands=true", "--instance-ids",
            node.node_id,
        )["Command"]["CommandId"]  # fmt: skip
        asked = "get-command-invocation", "--command-id", sent, "--instance-id", node.node_id
        self.until(lambda: self.ssm(*asked)["Status"] == "Success", "the end of a command", hurry=False)

    def tag(self, key: str, value: str, *nodes: AgentProcess) -> None:
        for node in nodes:
            self.ssm(
                "add-tags-to-resource", "--resource-type", "ManagedInstance", "--resource-id", node.node_id,
                "--tags", f"Key={key},Value={value}",
            )  # fmt: skip
