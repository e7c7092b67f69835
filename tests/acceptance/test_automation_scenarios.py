"""What users of automation expect, played with the aws CLI against a real server and real agents, a test for each."""

import json
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest

from pilothouse.capabilities.automation.scripts.filter import FilterUnavailable, instructions
from tests.acceptance.aws_cli import AwsCli, Refused
from tests.acceptance.installation import AgentProcess, DrivenInstallation, eventually
from tests.acceptance.one_house import aws, database_url, house

__all__ = ["aws", "database_url", "house"]

FINAL = ("Success", "Failed", "TimedOut", "Cancelled")
ANYTHING = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
VARIABLES = {"variables": {"x": {"type": "String", "default": "0"}}}
Steps = list[dict[str, Any]]


@pytest.fixture(scope="module")
def node(house: DrivenInstallation) -> AgentProcess:
    return house.enrol("web-1")


@pytest.fixture
def scripts() -> None:
    """Scripts can be run here."""
    try:
        instructions()
    except FilterUnavailable as error:
        pytest.skip(str(error))


class Runbooks:
    """What a user does with runbooks."""

    _names = count(1)

    def __init__(self, house: DrivenInstallation, aws: AwsCli) -> None:
        self.house, self.aws = house, aws

    def make(self, steps: Steps, **content: Any) -> str:
        name = f"scenario-{next(self._names)}"
        body = {"schemaVersion": "0.3", "mainSteps": steps, **content}
        self.aws(
            "ssm", "create-document", "--name", name, "--document-type", "Automation", "--content", json.dumps(body)
        )  # fmt: skip
        return name

    def start(self, name: str, *words: str, **parameters: str) -> str:
        given = json.dumps({key: [value] for key, value in parameters.items()})
        more = ["--parameters", given] if parameters else []
        started = self.aws("ssm", "start-automation-execution", "--document-name", name, *more, *words)
        return str(started["AutomationExecutionId"])

    def get(self, execution_id: str) -> dict[str, Any]:
        found = self.aws("ssm", "get-automation-execution", "--automation-execution-id", execution_id)
        return dict(found["AutomationExecution"])

    def until(self, execution_id: str, fits: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The execution, once it is so; what waits for a time does not wait long."""

        def look() -> dict[str, Any] | None:
            found = self.get(execution_id)
            if fits(found):
                return found
            status = found["AutomationExecutionStatus"]
            assert status not in FINAL, (status, found.get("FailureMessage"))
            self.house.advance(seconds=1)
            return None

        return eventually(look, within=60, what=f"execution {execution_id}") or {}

    def comes_to(self, execution_id: str, *statuses: str) -> dict[str, Any]:
        return self.until(execution_id, lambda found: found["AutomationExecutionStatus"] in statuses)

    def run(self, steps: Steps, **content: Any) -> dict[str, Any]:
        return self.comes_to(self.start(self.make(steps, **content)), *FINAL)

    def signal(self, execution_id: str, kind: str, keys: dict[str, str] | None = None, **payload: str) -> None:
        given = ["--payload", json.dumps({name: [value] for name, value in payload.items()})] if payload else []
        self.aws(
            "ssm", "send-automation-signal", "--automation-execution-id", execution_id, "--signal-type", kind, *given,
            keys=keys,
        )  # fmt: skip


@pytest.fixture
def runbooks(house: DrivenInstallation, aws: AwsCli) -> Runbooks:
    return Runbooks(house, aws)


@pytest.fixture(scope="module")
def people(aws: AwsCli) -> dict[str, dict[str, str]]:
    """Keys of users who may do everything."""
    found = {}
    for name in ("ada", "bob", "eve"):
        aws("iam", "create-user", "--user-name", name)
        aws("iam", "put-user-policy", "--user-name", name, "--policy-name", "all", "--policy-document",
            json.dumps(ANYTHING))  # fmt: skip
        key = aws("iam", "create-access-key", "--user-name", name)["AccessKey"]
        found[name] = {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
    return found


def good(name: str, **members: Any) -> dict[str, Any]:
    return {
        "name": name, "action": "aws:updateVariable", "inputs": {"Name": "variable:x", "Value": name}, **members
    }  # fmt: skip


def bad(name: str, **members: Any) -> dict[str, Any]:
    inputs = {"Service": "ssm", "Api": "GetParameter", "Name": "/not/there"}
    return {"name": name, "action": "aws:executeAwsApi", "inputs": inputs, **members}


def nap(name: str, duration: str, **members: Any) -> dict[str, Any]:
    return {"name": name, "action": "aws:sleep", "inputs": {"Duration": duration}, **members}


def script(name: str, text: str, **members: Any) -> dict[str, Any]:
    inputs = {"Runtime": "python3.11", "Handler": "handler", "Script": text}
    return {"name": name, "action": "aws:executeScript", "inputs": inputs, **members}


def statuses(execution: dict[str, Any]) -> dict[str, str]:
    return {each["StepName"]: each["StepStatus"] for each in execution["StepExecutions"]}


def step(execution: dict[str, Any], name: str) -> dict[str, Any]:
    return next(dict(each) for each in execution["StepExecutions"] if each["StepName"] == name)


def test_01_a_sleep_then_a_script(runbooks: Runbooks, scripts: None) -> None:
    got = runbooks.run([nap("rest", "PT2S"), script("say", "def handler(e, c):\n    return {'said': 'hello'}\n")])
    assert got["AutomationExecutionStatus"] == "Success", got.get("FailureMessage")
    assert json.loads(step(got, "say")["Outputs"]["Payload"][0]) == {"said": "hello"}
    rested = step(got, "rest")
    assert rested["ExecutionEndTime"] - rested["ExecutionStartTime"] >= 2


def test_02_a_failed_step_ends_it(runbooks: Runbooks) -> None:
    got = runbooks.run([bad("one"), good("two")], **VARIABLES)
    assert (got["AutomationExecutionStatus"], statuses(got)) == ("Failed", {"one": "Failed", "two": "Pending"})
    assert "ParameterNotFound" in got["FailureMessage"]


def test_03_one_that_does_not_matter_does_not(runbooks: Runbooks) -> None:
    got = runbooks.run([bad("one", onFailure="Continue", isCritical=False), good("two")], **VARIABLES)
    assert (got["AutomationExecutionStatus"], statuses(got)) == ("Success", {"one": "Failed", "two": "Success"})


def test_04_a_failure_goes_to_the_cleanup(runbooks: Runbooks) -> None:
    steps = [bad("one", onFailure="step:cleanup"), good("two", isEnd=True), good("cleanup")]
    got = runbooks.run(steps, **VARIABLES)
    assert statuses(got) == {"one": "Failed", "two": "Pending", "cleanup": "Success"}
    assert got["AutomationExecutionStatus"] == "Failed"


def test_05_a_script_that_fails_twice_is_tried_three_times(runbooks: Runbooks, scripts: None, aws: AwsCli) -> None:
    aws("ssm", "put-parameter", "--name", "/scenario/attempts", "--type", "String", "--value", "0")
    text = (
        "import boto3\n"
        "def handler(events, context):\n"
        "    ssm = boto3.client('ssm')\n"
        "    n = int(ssm.get_parameter(Name='/scenario/attempts')['Parameter']['Value']) + 1\n"
        "    ssm.put_parameter(Name='/scenario/attempts', Value=str(n), Type='String', Overwrite=True)\n"
        "    if n < 3:\n"
        "        raise RuntimeError(f'attempt {n}')\n"
        "    return {'attempts': n}\n"
    )
    got = runbooks.run([script("try", text, maxAttempts=3)])
    assert got["AutomationExecutionStatus"] == "Success", got.get("FailureMessage")
    assert json.loads(step(got, "try")["Outputs"]["Payload"][0]) == {"attempts": 3}
    assert step(got, "try")["MaxAttempts"] == 3
    assert aws("ssm", "get-parameter", "--name", "/scenario/attempts")["Parameter"]["Value"] == "3"


def test_06_a_branch_goes_where_the_parameter_says(runbooks: Runbooks) -> None:
    choices = [{"Variable": "{{ env }}", "StringEquals": "prod", "NextStep": "careful"}]
    name = runbooks.make(
        [{"name": "fork", "action": "aws:branch", "inputs": {"Choices": choices, "Default": "quick"}},
         good("careful", isEnd=True), good("quick", isEnd=True)],
        parameters={"env": {"type": "String"}}, **VARIABLES,
    )  # fmt: skip
    for env, taken, left in (("prod", "careful", "quick"), ("test", "quick", "careful")):
        got = runbooks.comes_to(runbooks.start(name, env=env), *FINAL)
        assert got["AutomationExecutionStatus"] == "Success"
        assert statuses(got) == {"fork": "Success", taken: "Success", left: "Pending"}


def test_07_conditions_are_put_together(runbooks: Runbooks) -> None:
    many = {"Variable": "{{ n }}", "NumericGreater": 5}
    choices = [
        {"And": [many, {"Not": {"Variable": "{{ env }}", "StringEquals": "prod"}}], "NextStep": "both"},
        {"Or": [many, {"Variable": "{{ env }}", "StartsWith": "te"}], "NextStep": "either"},
    ]
    name = runbooks.make(
        [{"name": "fork", "action": "aws:branch", "inputs": {"Choices": choices, "Default": "none"}},
         *(good(each, isEnd=True) for each in ("both", "either", "none"))],
        parameters={"env": {"type": "String"}, "n": {"type": "Integer"}}, **VARIABLES,
    )  # fmt: skip
    cases = (("lab", "6", "both"), ("prod", "6", "either"), ("test", "5", "either"), ("prod", "5", "none"))
    for env, n, taken in cases:
        got = runbooks.comes_to(runbooks.start(name, env=env, n=n), *FINAL)
        assert [each for each, status in statuses(got).items() if status == "Success"] == ["fork", taken], (env, n)


def test_08_two_who_are_listed_approve(runbooks: Runbooks, people: dict[str, dict[str, str]]) -> None:
    asks = {"name": "ask", "action": "aws:approve", "inputs": {"Approvers": ["ada", "bob"], "MinRequiredApprovals": 2}}
    name = runbooks.make([asks, good("go")], **VARIABLES)
    execution_id = runbooks.start(name)
    runbooks.comes_to(execution_id, "Waiting")
    with pytest.raises(Refused) as stranger:
        runbooks.signal(execution_id, "Approve", people["eve"])
    assert stranger.value.code == "InvalidAutomationSignalException"
    runbooks.signal(execution_id, "Approve", people["ada"], Comment="go")
    assert runbooks.comes_to(execution_id, "Waiting")
    runbooks.signal(execution_id, "Approve", people["bob"])
    got = runbooks.comes_to(execution_id, "Success")
    assert step(got, "ask")["Outputs"]["ApprovalStatus"] == ["Approved"]
    second = runbooks.start(name)
    runbooks.comes_to(second, "Waiting")
    runbooks.signal(second, "Reject", people["bob"])
    assert statuses(runbooks.comes_to(second, "Failed")) == {"ask": "Failed", "go": "Pending"}


def test_09_a_pause_is_resumed(runbooks: Runbooks) -> None:
    execution_id = runbooks.start(runbooks.make([{"name": "hold", "action": "aws:pause"}, good("go")], **VARIABLES))
    runbooks.comes_to(execution_id, "Waiting")
    runbooks.signal(execution_id, "Resume", StepName="hold")
    assert statuses(runbooks.comes_to(execution_id, "Success")) == {"hold": "Success", "go": "Success"}


def test_10_a_command_s_output_goes_on(runbooks: Runbooks, node: AgentProcess) -> None:
    command = {
        "name": "ask", "action": "aws:runCommand",
        "inputs": {"DocumentName": "AWS-RunShellScript", "InstanceIds": [node.node_id],
                   "Parameters": {"commands": ["echo from $((40 + 2))"]}},
    }  # fmt: skip
    keep = {"name": "keep", "action": "aws:updateVariable",
            "inputs": {"Name": "variable:x", "Value": "{{ ask.Output }} by {{ ask.CommandId }}"}}  # fmt: skip
    got = runbooks.run([command, keep], **VARIABLES)
    assert got["AutomationExecutionStatus"] == "Success", got.get("FailureMessage")
    told = step(got, "ask")["Outputs"]
    assert got["Variables"]["x"] == [f"from 42 by {told['CommandId'][0]}"]


def test_11_an_answer_goes_to_the_next_step(runbooks: Runbooks, aws: AwsCli) -> None:
    aws("ssm", "put-parameter", "--name", "/scenario/version", "--type", "String", "--value", "1.2.3")
    ask = {
        "name": "ask", "action": "aws:executeAwsApi",
        "inputs": {"Service": "ssm", "Api": "GetParameter", "Name": "/scenario/version"},
        "outputs": [{"Name": "Version", "Selector": "$.Parameter.Value", "Type": "String"}],
    }  # fmt: skip
    keep = {"name": "keep", "action": "aws:executeAwsApi", "inputs": {
        "Service": "ssm", "Api": "PutParameter", "Name": "/scenario/copy", "Type": "String",
        "Value": "v{{ ask.Version }}"}}  # fmt: skip
    assert runbooks.run([ask, keep], outputs=["ask.Version"])["Outputs"] == {"ask.Version": ["1.2.3"]}
    assert aws("ssm", "get-parameter", "--name", "/scenario/copy")["Parameter"]["Value"] == "v1.2.3"


def test_12_a_node_is_waited_for(runbooks: Runbooks, house: DrivenInstallation) -> None:
    late = house.enrol("late", start=False)
    wait = {"name": "wait", "action": "aws:waitForAwsResourceProperty", "inputs": {
        "Service": "ssm", "Api": "DescribeInstanceInformation",
        "PropertySelector": "$.InstanceInformationList[0].PingStatus",
        "Filters": [{"Key": "InstanceIds", "Values": [late.node_id]}], "DesiredValues": ["Online"]}}  # fmt: skip
    execution_id = runbooks.start(runbooks.make([wait, good("go")], **VARIABLES))
    runbooks.until(execution_id, lambda found: statuses(found)["wait"] == "InProgress")
    for _ in range(5):
        house.advance(seconds=2)
        assert statuses(runbooks.get(execution_id)) == {"wait": "InProgress", "go": "Pending"}
    late.start()
    assert statuses(runbooks.comes_to(execution_id, "Success")) == {"wait": "Success", "go": "Success"}


def _children(aws: AwsCli, execution_id: str) -> list[dict[str, Any]]:
    found = aws(
        "ssm", "describe-automation-executions", "--filters", f"Key=ParentExecutionId,Values={execution_id}"
    )["AutomationExecutionMetadataList"]  # fmt: skip
    return list(found)


def _summary(house: DrivenInstallation, execution_id: str) -> dict[str, int]:
    """The member is newer than the models of some releases of the CLI."""
    found = house.boto("ssm").get_automation_execution(AutomationExecutionId=execution_id)["AutomationExecution"]
    return dict(found["TargetsSummary"])


def test_13_never_more_than_two_of_five_at_once(runbooks: Runbooks, aws: AwsCli) -> None:
    name = runbooks.make([nap("rest", "PT3S")], parameters={"host": {"type": "String"}})
    execution_id = runbooks.start(
        name, "--target-parameter-name", "host", "--targets", "Key=ParameterValues,Values=a,b,c,d,e",
        "--max-concurrency", "2", "--max-errors", "0",
    )  # fmt: skip
    seen = []

    def over(found: dict[str, Any]) -> bool:
        seen.append(sum(each["AutomationExecutionStatus"] not in FINAL for each in _children(aws, execution_id)))
        return found["AutomationExecutionStatus"] in FINAL

    got = runbooks.until(execution_id, over)
    assert got["AutomationExecutionStatus"] == "Success"
    assert max(seen) == 2
    assert got["ProgressCounters"] == {
        "TotalSteps": 5, "SuccessSteps": 5, "FailedSteps": 0, "CancelledSteps": 0, "TimedOutSteps": 0
    }  # fmt: skip
    assert _summary(runbooks.house, execution_id) == {
        "TotalCount": 5, "StartedCount": 5, "CompletedCount": 5, "SuccessfulCount": 5, "FailedCount": 0
    }  # fmt: skip
    children = _children(aws, execution_id)
    assert sorted(each["Target"] for each in children) == ["a", "b", "c", "d", "e"]
    moments = [(each["ExecutionStartTime"], 1) for each in children] + [
        (each["ExecutionEndTime"], -1) for each in children
    ]
    at_once = most = 0
    for _, change in sorted(moments):  # an end comes before a start at the same moment
        at_once += change
        most = max(most, at_once)
    assert most == 2


def test_14_the_first_failure_starts_no_more(runbooks: Runbooks, aws: AwsCli) -> None:
    name = runbooks.make([bad("one")], parameters={"host": {"type": "String"}})
    execution_id = runbooks.start(
        name, "--target-parameter-name", "host", "--targets", "Key=ParameterValues,Values=a,b,c", "--max-concurrency",
        "1", "--max-errors", "0",
    )  # fmt: skip
    got = runbooks.comes_to(execution_id, *FINAL)
    assert got["AutomationExecutionStatus"] == "Failed"
    assert [each["Target"] for each in _children(aws, execution_id)] == ["a"]
    summary = _summary(runbooks.house, execution_id)
    assert (summary["TotalCount"], summary["StartedCount"], summary["FailedCount"]) == (3, 1, 1)


def test_15_a_loop_over_three(runbooks: Runbooks, aws: AwsCli) -> None:
    inner = {"name": "keep", "action": "aws:updateVariable",
             "inputs": {"Name": "variable:x", "Value": "{{ loop.CurrentIteratorValue }}"}}  # fmt: skip
    ask = {"name": "ask", "action": "aws:executeAwsApi",
           "inputs": {"Service": "sts", "Api": "GetCallerIdentity"},
           "outputs": [{"Name": "Account", "Selector": "$.Account", "Type": "String"}]}  # fmt: skip
    inputs = {"Iterators": ["a", "b", "c"], "IteratorDataType": "String", "Steps": [inner, ask]}
    got = runbooks.run([{"name": "each", "action": "aws:loop", "inputs": inputs}], **VARIABLES)
    assert got["AutomationExecutionStatus"] == "Success", got.get("FailureMessage")
    listed = aws(
        "ssm", "describe-automation-step-executions", "--automation-execution-id", got["AutomationExecutionId"],
        "--filters", "Key=StepName,Values=keep",
    )["StepExecutions"]  # fmt: skip
    assert [
        (each["ParentStepDetails"]["Iteration"], each["ParentStepDetails"]["IteratorValue"]) for each in listed
    ] == [(1, "a"), (2, "b"), (3, "c")]
    results = json.loads(step(got, "each")["Outputs"]["AggregatedResults"][0])
    assert len(results["ask"]) == 3
    assert got["Variables"]["x"] == ["c"]


def test_16_a_stop_heeds_what_is_to_be_done_then(runbooks: Runbooks, aws: AwsCli) -> None:
    steps = [nap("rest", "PT10H", onCancel="step:tidy"), good("never", isEnd=True), good("tidy")]
    execution_id = runbooks.start(runbooks.make(steps, **VARIABLES))
    runbooks.until(execution_id, lambda found: statuses(found)["rest"] == "InProgress")
    aws("ssm", "stop-automation-execution", "--automation-execution-id", execution_id, "--type", "Cancel")
    got = runbooks.comes_to(execution_id, "Cancelled")
    assert statuses(got) == {"rest": "Cancelled", "never": "Pending", "tidy": "Success"}


def test_17_a_wrong_parameter_starts_nothing(runbooks: Runbooks, aws: AwsCli) -> None:
    name = runbooks.make([good("one")], parameters={"n": {"type": "Integer"}}, **VARIABLES)
    for given in ({"n": "many"}, {"m": "1"}, {"n": "1", "m": "1"}):
        with pytest.raises(Refused) as refused:
            runbooks.start(name, **given)
        assert refused.value.code == "InvalidAutomationExecutionParametersException"
    listed = aws("ssm", "describe-automation-executions", "--filters", f"Key=DocumentNamePrefix,Values={name}")
    assert listed["AutomationExecutionMetadataList"] == []


def test_18_the_same_token_is_one_execution(runbooks: Runbooks) -> None:
    name = runbooks.make([good("one")], parameters={"p": {"type": "String", "default": ""}}, **VARIABLES)
    token = ("--client-token", "12345678-1234-4234-8234-123456789012")
    first = runbooks.start(name, *token)
    assert runbooks.start(name, *token) == first
    with pytest.raises(Refused) as refused:
        runbooks.start(name, *token, p="other")
    assert refused.value.code == "IdempotentParameterMismatch"


def test_19_nothing_runs_until_it_is_told_to(runbooks: Runbooks) -> None:
    name = runbooks.make([good("one"), good("two")], **VARIABLES)
    execution_id = runbooks.start(name, "--mode", "Interactive")
    assert statuses(runbooks.comes_to(execution_id, "Waiting")) == {"one": "Pending", "two": "Pending"}
    runbooks.house.advance(hours=1)
    assert statuses(runbooks.get(execution_id)) == {"one": "Pending", "two": "Pending"}
    for number, name in enumerate(("one", "two"), 1):
        runbooks.signal(execution_id, "StartStep", StepName=name)
        done = ["Success"] * number + ["Pending"] * (2 - number)
        runbooks.until(execution_id, lambda found, done=done: list(statuses(found).values()) == done)  # type: ignore[misc]
    runbooks.comes_to(execution_id, "Success")


def test_20_a_role_without_rights_is_told_as_that(runbooks: Runbooks, aws: AwsCli) -> None:
    trust = {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "ssm.amazonaws.com"}, "Action": "sts:AssumeRole"}]}  # fmt: skip
    role = aws(
        "iam", "create-role", "--role-name", "powerless", "--assume-role-policy-document", json.dumps(trust)
    )["Role"]["Arn"]  # fmt: skip
    got = runbooks.run([bad("ask")], assumeRole=role)
    assert got["AutomationExecutionStatus"] == "Failed"
    details = step(got, "ask")["FailureDetails"]
    assert (details["FailureType"], details["FailureStage"]) == ("Permission", "Invocation")
    assert "AccessDeniedException" in step(got, "ask")["FailureMessage"]
