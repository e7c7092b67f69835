"""kill -9 of the server before and after each thing that each action does: no step is lost, and none is done twice.

A step whose work is part of a transaction, or may be repeated, succeeds, and its effect is there once. One whose work
is neither is not done again, and says that nobody knows; then its effect is there once, or not at all.
"""

import itertools
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pilothouse.capabilities.automation.actions import ACTIONS
from pilothouse.capabilities.automation.actions.interface import Action
from pilothouse.capabilities.automation.scripts.filter import FilterUnavailable, instructions
from tests.acceptance.counting_services import ADDRESS, CountingServices
from tests.acceptance.dying_host import FIRST, read, write
from tests.acceptance.installation import AgentProcess, Installation, eventually, running, stored_in
from tests.acceptance.test_kill_runbooks import FINAL, Client, child, count, push

OWN = "{{ automation:EXECUTION_ID }}"
BEGIN = ("before begin", "after begin")
RESUME = ("before resume", "after resume")
ELSEWHERE = "ap-south-1"
"""A region without machines of ours: there EC2 is that of an endpoint."""
NEVER_WAIT = {"aws:assertAwsResourceProperty", "aws:createTags", "aws:executeAwsApi"}
"""They inherit a `resume` that nothing leads to: what they begin or perform is their end."""


class World(Installation):
    """A server that its runbooks kill, with a host, services elsewhere, and a node."""

    services: CountingServices
    node: AgentProcess
    facts: dict[str, str]

    @property
    def host(self) -> Path:
        return self.folder / "host.json"

    @property
    def moments(self) -> Path:
        return self.folder / "moments.json"

    def program(self) -> list[Path | str]:
        return [sys.executable, "-m", "tests.acceptance.dying_actions", self.moments, self.host]

    def left(self) -> set[str]:
        """The moments that are still to come."""
        return set(json.loads(self.moments.read_text()))

    def client(self, region: str) -> Client:
        """One that asks again while the server is away; of another region than its own if one is named."""
        asking = Client(self)
        if region:
            values = {**self.known(), "AWS_REGION": region}
            config = {"retries": {"max_attempts": 0}, "connect_timeout": 2, "read_timeout": 10}
            asking.ssm = self.boto("ssm", values=values, **config)
        return asking

    def version(self, path: str) -> int:
        """How often a parameter was put."""
        found = self.boto("ssm").get_parameters(Names=[path])["Parameters"]
        return int(found[0]["Version"]) if found else 0

    def ran(self, execution_id: str) -> int:
        """How often the node did what the execution commanded."""
        file = self.folder / "ran"
        return file.read_text().split().count(execution_id) if file.exists() else 0

    def images(self, execution_id: str, kind: str) -> int:
        filters = [{"Name": "name", "Values": [f"{kind}-{execution_id}"]}, {"Name": "state", "Values": ["available"]}]
        return len(self.boto("ec2").describe_images(Filters=filters)["Images"])

    def launched(self) -> int:
        """Machines that run and were made from the image."""
        filters = [{"Name": "image-id", "Values": [self.facts["image"]]}]
        found = self.boto("ec2").describe_instances(Filters=filters)["Reservations"]
        return sum(each["State"]["Name"] == "running" for one in found for each in one["Instances"])

    def tagged(self, execution_id: str) -> int:
        filters = [{"Name": "tag:made", "Values": [execution_id]}]
        return len(self.boto("ec2").describe_instances(Filters=filters)["Reservations"])

    def children(self, execution_id: str) -> int:
        """Executions that it started, if each did what it was to do once."""
        filters = [{"Key": "ParentExecutionId", "Values": [execution_id]}]
        found = self.boto("ssm").describe_automation_executions(Filters=filters)["AutomationExecutionMetadataList"]
        assert self.version(f"/{execution_id}/child") == 2
        return len(found)

    def commands(self, execution_id: str) -> int:
        """Commands that it sent, if the node ran each once."""
        found = self.boto("ssm").list_commands()["Commands"]
        sent = sum(each["Comment"] == execution_id for each in found)
        assert self.ran(execution_id) == sent
        return sent


Found = Mapping[str, Any]
Effect = Callable[[World, str, Found], int]
"""(world, execution, its step) to how often it was done."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A step, the moments at which it kills the server, and what is to be seen at its end."""

    action: str
    inputs: dict[str, Any]
    moments: tuple[str, ...]
    effect: Effect
    done: int = 1
    known: bool = True
    """False: the step fails, for nobody knows whether it was done."""
    region: str = ""


def put(name: str) -> Effect:
    """How often the parameter of that name was put."""
    return lambda world, execution_id, step: world.version(f"/{execution_id}/{name}")


def calm(facts: Mapping[str, str]) -> dict[str, Case]:
    """Steps that end well whenever the server is killed, so all go on at the same time."""
    waits = BEGIN + RESUME
    own = f"/{OWN}"
    rest = {"name": "rest", "action": "aws:sleep", "inputs": {"Duration": "PT1S"}}
    turns = {"Iterators": ["a", "b"], "IteratorDataType": "String", "Steps": [count("turn", f"{own}/loop"), rest]}
    fork = {"Choices": [{"Variable": OWN, "StringEquals": OWN, "NextStep": "after"}], "Default": "never"}
    ready = {"Service": "ssm", "Api": "GetParameter", "Name": "/ready", "PropertySelector": "$.Parameter.Value"}
    calls_child = {"DocumentName": "child", "RuntimeParameters": {"path": f"{own}/child"}}
    command = {
        "DocumentName": "AWS-RunShellScript", "InstanceIds": [facts["node"]], "Comment": OWN,
        "Parameters": {"commands": [f"echo {OWN} >> {facts['ran']}"]},
    }  # fmt: skip
    copy = {"SourceRegion": facts["region"], "SourceImageId": facts["image"], "ImageName": f"copied-{OWN}"}
    image = {"InstanceId": facts["base"], "ImageName": f"created-{OWN}", "NoReboot": True}

    def case(action: str, inputs: dict[str, Any], moments: tuple[str, ...], effect: Effect, **more: Any) -> Case:
        return Case(action=f"aws:{action}", inputs=inputs, moments=moments, effect=effect, **more)

    return {
        "ask": case("approve", {"Approvers": [facts["who"]]}, waits,
                    lambda w, e, s: len(s["Outputs"]["ApproverDecisions"])),
        "assert": case("assertAwsResourceProperty", {**ready, "DesiredValues": ["yes", "no"]}, BEGIN, put("after")),
        "fork": case("branch", fork, BEGIN, put("after")),
        "stop": case("changeInstanceState", {"InstanceIds": [facts["web"]], "DesiredState": "stopped"}, waits,
                     lambda w, e, s: read(w.host)["changes"].count("stop")),
        "copy": case("copyImage", copy, waits, lambda w, e, s: w.images(e, "copied")),
        "image": case("createImage", image, waits, lambda w, e, s: w.images(e, "created")),
        "tag": case("createTags", {"ResourceIds": [facts["web"]], "Tags": [{"Key": "made", "Value": OWN}]}, BEGIN,
                    lambda w, e, s: w.tagged(e)),
        "unimage": case("deleteImage", {"ImageId": facts["old"]}, waits,
                        lambda w, e, s: sum(each.startswith("delete ") for each in read(w.host)["changes"])),
        "call": case("executeAutomation", calls_child, waits, lambda w, e, s: w.children(e)),
        "api": case("executeAwsApi", count("", f"{own}/api")["inputs"], BEGIN, put("api")),
        "loop": case("loop", turns, (*BEGIN, "before resume 2", "after resume 2"), put("loop"), done=2),
        "hold": case("pause", {}, waits, put("after")),
        "command": case("runCommand", command, waits, lambda w, e, s: w.commands(e)),
        "run": case("runInstances", {"ImageId": facts["image"]}, waits, lambda w, e, s: w.launched()),
        "nap": case("sleep", {"Duration": "PT1S"}, waits, put("after")),
        "keep": case("updateVariable", {"Name": "variable:kept", "Value": "{{ variable:kept }}x"}, BEGIN, put("after")),
        "wait": case("waitForAwsResourceProperty", {**ready, "DesiredValues": ["yes"]}, waits, put("after")),
        **{
            f"{name}_begin": case(
                action, inputs, waits, lambda w, e, s, operation=operation: w.services.effects(operation, e))
            for name, (action, inputs, operation) in CALLED.items()
        },
    }  # fmt: skip


CALLED: dict[str, tuple[str, dict[str, Any], str]] = {
    "stack": ("createStack", {"StackName": f"s-{OWN}", "TemplateBody": "{}"}, "CreateStack"),
    "unstack": ("deleteStack", {"StackName": f"s-{OWN}"}, "DeleteStack"),
    "machine": ("executeStateMachine", {"stateMachineArn": "arn:aws:states:a:1:stateMachine:m", "input": OWN},
                "StartExecution"),
}  # fmt: skip
"""What is begun elsewhere with a token, and looked at until it has ended: (action, inputs, operation)."""

SCRIPT = (
    "import boto3\ndef handler(events, context):\n"
    "    boto3.client('ssm').put_parameter(Name=events, Value='x', Type='String', Overwrite=True)\n"
)
ONCE: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "script": ("executeScript", {
        "Runtime": "python3.11", "Handler": "handler", "Script": SCRIPT, "InputPayload": f"/{OWN}/script"}, "", ""),
    "function": ("invokeLambdaFunction", {"FunctionName": "f", "Payload": {"own": OWN}}, "Invoke", ""),
    "hook": ("invokeWebhook", {"IntegrationName": "hook", "Body": OWN}, "hook", ""),
    "send": ("executeAwsApi", {
        "Service": "sqs", "Api": "SendMessage", "QueueUrl": "https://queue", "MessageBody": OWN}, "SendMessage", ""),
    "image": ("createImage", {"InstanceId": "i-any", "ImageName": OWN}, "CreateImage", ELSEWHERE),
}  # fmt: skip
"""What must not be performed twice: (action, inputs, operation or a script's parameter, region)."""

_QUEUE = {
    "Service": "sqs", "Api": "GetQueueAttributes", "QueueUrl": f"https://queue/{OWN}", "DesiredValues": ["there"],
    "PropertySelector": "$.Attributes.QueueArn",
}  # fmt: skip
AGAIN: dict[str, tuple[str, dict[str, Any], str, int, str]] = {
    "stack": (*CALLED["stack"], 0, ""),
    "unstack": (*CALLED["unstack"], 1, ""),
    "machine": (*CALLED["machine"], 0, ""),
    "assert": ("assertAwsResourceProperty", _QUEUE, "GetQueueAttributes", 0, ""),
    "wait": ("waitForAwsResourceProperty", _QUEUE, "GetQueueAttributes", 0, ""),
    "stop": ("changeInstanceState", {"InstanceIds": [f"i-{OWN}"], "DesiredState": "stopped"}, "StopInstances", 0,
             ELSEWHERE),
    "copy": ("copyImage", {"SourceRegion": "eu-west-1", "SourceImageId": "ami-any", "ImageName": OWN}, "CopyImage", 0,
             ELSEWHERE),
    "tag": ("createTags", {"ResourceIds": [f"i-{OWN}"], "Tags": [{"Key": "a", "Value": "b"}]}, "CreateTags", 0,
            ELSEWHERE),
    "unimage": ("deleteImage", {"ImageId": f"ami-{OWN}"}, "DeregisterImage", 1, ELSEWHERE),
    "run": ("runInstances", {"ImageId": "ami-any", "KeyName": OWN}, "RunInstances", 0, ELSEWHERE),
}  # fmt: skip
"""What may be performed again: (action, inputs, operation, the turn in which it is asked, region)."""


def performed_once() -> Iterator[tuple[str, Case]]:
    """Steps during whose work the server must be killed by nothing else: one after the other, to its end."""
    for name, (action, inputs, operation, region) in ONCE.items():

        def effect(world: World, execution_id: str, step: Found, operation: str = operation) -> int:
            if not operation:
                return world.version(f"/{execution_id}/script")
            return world.services.times(operation, execution_id)

        for what, moments, done, known in (
            ("begin", BEGIN, 1, True),
            ("before", ("before perform",), 0, False),
            ("after", ("after perform",), 1, False),
        ):
            yield f"{name}_once_{what}", Case(
                action=f"aws:{action}", inputs=inputs, moments=moments, effect=effect, done=done, known=known,
                region=region,
            )  # fmt: skip


def performed_again() -> Iterator[tuple[str, Case]]:
    """Steps that are performed again: it is asked once more if the server is killed after it, with the same token."""
    for name, (action, inputs, operation, turn, region) in AGAIN.items():
        for when in ("before", "after"):

            def effect(
                world: World, execution_id: str, step: Found, operation: str = operation, when: str = when
            ) -> int:
                times = world.services.times(operation, execution_id)
                assert times >= 2 if when == "after" else times >= 1
                return world.services.effects(operation, execution_id)

            yield f"{name}_again_{when}", Case(
                action=f"aws:{action}", inputs=inputs, moments=(f"{when} perform {turn}",), effect=effect,
                region=region,
            )  # fmt: skip


@pytest.fixture
def world(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """What the runbooks act on; nothing is killed yet."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "elsewhere")
    made = World(tmp_path, *stored_in(database_url))
    machine = FIRST["machines"]["web"]
    machines = {"web": machine, "base": {**machine, "disks": {"vda": "base"}}}
    write(made.host, {**FIRST, "machines": machines, "volumes": {"web": "a", "base": "b"}})
    made.moments.write_text("[]")
    made.services = CountingServices()
    try:
        with running(made):
            who = made.boto("sts").get_caller_identity()
            made.node = made.enrol("node", start=False)
            region = made.known()["AWS_REGION"]
            (made.data / "endpoints.toml").write_text(made.services.endpoints())
            (made.data / "pilothouse.toml").write_text(
                '[automation]\nendpoints = "endpoints.toml"\n'
                f'[outbound]\nallow = ["{ADDRESS}/32"]\n'
                f'[machines]\nlook_seconds = 0.2\nconnections = ["lab {who["Account"]} {region} file:///host"]\n'
            )
            made.stop()
            made.start()
            made.facts = {"who": who["Arn"], "region": region, "node": made.node.node_id}
            made.facts |= {"ran": str(made.folder / "ran"), **machines_of(made)}
            yield made
    finally:
        made.services.close()


def machines_of(world: World) -> dict[str, str]:
    """The ids of the machines, and of two images of one."""
    ec2 = world.boto("ec2")

    def look() -> dict[str, str]:
        found = [each["Instances"][0] for each in ec2.describe_instances()["Reservations"]]
        return {tag["Value"]: each["InstanceId"] for each in found for tag in each["Tags"] if tag["Key"] == "Name"}

    ids = eventually(look)
    images = {
        name: ec2.create_image(InstanceId=ids["base"], Name=name, NoReboot=True)["ImageId"] for name in ("image", "old")
    }
    ec2.get_waiter("image_available").wait(ImageIds=list(images.values()), WaiterConfig={"Delay": 1})
    return {**ids, **images}


def prepare(world: World, cases: Mapping[str, Case]) -> None:
    """The documents and parameters of all, and from then on the moments."""
    ssm = world.boto("ssm")
    ssm.put_parameter(Name="/ready", Value="no", Type="String")
    integration = json.dumps({"url": f"{world.services.url}/hook"})
    ssm.put_parameter(Name="hook", Value=integration, Type="String", DataType="aws:ssm:integration")
    ssm.create_document(Name="child", Content=json.dumps(child()), DocumentType="Automation")
    for name, case in cases.items():
        content = {
            "schemaVersion": "0.3",
            "variables": {"kept": {"type": "String", "default": ""}},
            "mainSteps": [
                {"name": name, "action": case.action, "inputs": case.inputs, "nextStep": "after"},
                count("after", f"/{OWN}/after", isEnd=True),
                count("never", f"/{OWN}/never", isEnd=True),
            ],
        }
        if case.action == "aws:branch":  # it says itself what comes next
            del content["mainSteps"][0]["nextStep"]  # type: ignore[attr-defined]
        world.client(case.region).ssm.create_document(
            Name=name, Content=json.dumps(content), DocumentType="Automation"
        )  # fmt: skip
    world.moments.write_text(json.dumps([f"{name} {each}" for name, case in cases.items() for each in case.moments]))


def can_be_done(case: Case) -> bool:
    """False for scripts where this machine cannot shut them in."""
    try:
        instructions()
    except FilterUnavailable:
        return case.action != "aws:executeScript"
    return True


TOKENS = itertools.count(1)


def start(world: World, name: str, case: Case) -> str:
    token = f"00000000-0000-4000-8000-{next(TOKENS):012x}"
    started = world.client(case.region)("start_automation_execution", DocumentName=name, ClientToken=token)
    return str(started["AutomationExecutionId"])


def execution(world: World, case: Case, execution_id: str) -> dict[str, Any]:
    found = world.client(case.region)("get_automation_execution", AutomationExecutionId=execution_id)
    return dict(found["AutomationExecution"])


def judge(world: World, name: str, case: Case, execution_id: str) -> None:
    """Whether the step was done as often as it was to be, and what comes after it once."""
    found = execution(world, case, execution_id)
    step = next(each for each in found["StepExecutions"] if each["StepName"] == name)
    assert step["StepStatus"] == found["AutomationExecutionStatus"] == ("Success" if case.known else "Failed"), step
    assert case.known or "nobody knows whether it took effect" in step["FailureMessage"]
    assert case.effect(world, execution_id, step) == case.done, step
    names = [f"/{execution_id}/after", f"/{execution_id}/never"]
    after = world.client(case.region).ssm.get_parameters(Names=names)["Parameters"]
    assert [each["Version"] for each in after] == ([1] if case.known else [])
    assert name != "keep" or found["Variables"]["kept"] == ["x"]


def test_the_cases_are_all_that_actions_can_come_to() -> None:
    facts = dict.fromkeys(("node", "ran", "region", "image", "base", "old", "web", "who"), "")
    cases = [*calm(facts).values(), *dict(performed_once()).values(), *dict(performed_again()).values()]
    found = {(case.action, *each.split()[:2]) for case in cases for each in case.moments}

    whats = {name: {"begin"} for name in ACTIONS}
    for name, action in ACTIONS.items():
        if name == "aws:loop" or (type(action).resume is not Action.resume and name not in NEVER_WAIT):
            whats[name].add("resume")
        if type(action).perform is not Action.perform:
            whats[name].add("perform")
    assert found == {(name, when, what) for name in ACTIONS for what in whats[name] for when in ("before", "after")}


def test_no_step_is_lost_or_done_twice(world: World) -> None:
    together, once, again = calm(world.facts), dict(performed_once()), dict(performed_again())
    once = {name: case for name, case in once.items() if can_be_done(case)}
    cases = {**together, **once, **again}
    prepare(world, cases)
    ask = world.client("")
    ids = {name: start(world, name, case) for name, case in together.items()}
    of_node = {f"command {each}" for each in RESUME}

    def left(names: Mapping[str, Case]) -> set[str]:
        push(ask, [ids["ask"], ids["hold"]])
        return {each for each in world.left() if each.split()[0] in names}

    eventually(lambda: left(together) == of_node, what=f"the moments of {sorted(together)}")
    world.node.start()
    ask("put_parameter", Name="/ready", Value="yes", Type="String", Overwrite=True)
    eventually(lambda: not left(together), what="the moments of the command")
    for name, case in (once | again).items():
        ids[name] = start(world, name, case)
        eventually(lambda name=name: not left({name: cases[name]}), what=f"the moments of {name}")  # type: ignore[misc]
        if name in once and case.known:
            eventually(lambda name=name: ended(world, cases, {name: ids[name]}))  # type: ignore[misc]
    assert world.left() == set()
    eventually(lambda: ended(world, cases, ids), what="the end of all")
    for name, case in cases.items():
        judge(world, name, case, ids[name])
    assert len(read(world.host)["machines"]) == 3
    volumes = 3 + 3  # of the machines; of the images, of which one was there before
    eventually(lambda: len(read(world.host)["volumes"]) == volumes, what="a host without what was left half done")


def ended(world: World, cases: Mapping[str, Case], ids: Mapping[str, str]) -> bool:
    return all(
        execution(world, cases[name], each)["AutomationExecutionStatus"] in FINAL for name, each in ids.items()
    )  # fmt: skip
