"""Status changes of executions and steps as events, each once."""

from collections import Counter

from tests.capabilities.automation.conftest import Runbooks
from tests.capabilities.automation.test_steps import VARIABLES, good
from tests.capabilities.events.conftest import Reader
from tests.conftest import Server

EXECUTION = "EC2 Automation Execution Status-change Notification"
STEP = "EC2 Automation Step Status-change Notification"


def test_an_execution_and_its_steps_are_told(runbooks: Runbooks, server: Server) -> None:
    reader = Reader(server).ready()
    name = runbooks.make({"name": "hold", "action": "aws:pause"}, good("go"), **VARIABLES)
    execution_id = runbooks.start(name)
    runbooks.comes_to(execution_id, "Waiting")
    runbooks.ssm.send_automation_signal(AutomationExecutionId=execution_id, SignalType="Resume")
    runbooks.comes_to(execution_id, "Success")

    def mine() -> list[dict[str, object]]:
        return [each for each in reader.events if each["detail"].get("ExecutionId") == execution_id]

    expected = {
        (EXECUTION, "", "Pending"): 1, (EXECUTION, "", "InProgress"): 2, (EXECUTION, "", "Waiting"): 1,
        (EXECUTION, "", "Success"): 1,
        (STEP, "hold", "InProgress"): 1, (STEP, "hold", "Waiting"): 1, (STEP, "hold", "Success"): 1,
        (STEP, "go", "InProgress"): 1, (STEP, "go", "Success"): 1,
    }  # fmt: skip
    runbooks.until(lambda: server.advance(seconds=1) or len(mine()) >= sum(expected.values()))
    reader.leave()
    told = [(each["detail-type"], each["detail"]) for each in reader.events if each in mine()]
    assert Counter((kind, detail.get("StepName", ""), detail["Status"]) for kind, detail in told) == expected
    ended = next(detail for kind, detail in told if kind == EXECUTION and detail["Status"] == "Success")
    assert ended["Definition"] == name
    assert ended["DefinitionVersion"] == "1"
    assert ended["ExecutedBy"].endswith(":root")
    assert {"StartTime", "EndTime", "Time"} <= set(ended)
    assert mine()[0]["resources"] == [
        f"arn:aws:ssm:eu-west-1:{mine()[0]['account']}:automation-execution/{execution_id}"
    ]
