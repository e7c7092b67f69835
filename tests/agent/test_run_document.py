"""aws:runDocument on a real agent process, and how documents as text are read."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse_agent.documents import text
from tests.agent.conftest import Agent, only_step
from tests.agent.fake_server import FakeServer, steps_command
from tests.agent.test_commands import exists, processes_of


def document(*lines: str, **members: Any) -> dict[str, Any]:
    """A document of one script."""
    step = {"name": "script", "action": "aws:runShellScript", "inputs": {"runCommand": list(lines)}}
    return {"schemaVersion": "2.2", "mainSteps": [step], **members}


def running(path: str, kind: str = "SSMDocument", **inputs: Any) -> dict[str, Any]:
    inputs = {"documentType": kind, "documentPath": path, **inputs}
    return {"action": "aws:runDocument", "inputs": inputs}


async def results(server: FakeServer, agent: Agent, *steps: dict[str, Any], **members: Any) -> dict[str, Any]:
    """Each step's result."""
    named = [{"name": f"step{number}", **step} for number, step in enumerate(steps)]
    job = await server.send(agent.instance_id, steps_command(named, **members))
    await server.final_reply(job)
    return {name: step for reply in server.replies_of(job) for name, step in reply.steps.items()}


async def test_documents_of_the_server_and_of_the_disk(server: FakeServer, agent: Agent, tmp_path: Path) -> None:
    greeting = {"word": {"type": "String", "default": "nobody", "allowedValues": ["nobody", "you", "two words"]}}
    server.documents["Greet"] = json.dumps(document("echo hello {{ word }}", "pwd", parameters=greeting))
    server.documents["Greet:3"] = json.dumps(document("echo third; echo bad >&2; exit 3"))
    server.documents["arn:aws:ssm:eu-test-1:111122223333:document/Shared"] = json.dumps(document("echo shared"))
    (tmp_path / "local.yaml").write_text(
        "schemaVersion: 2.2\nparameters: {n: {type: Integer, default: 7}}\nmainSteps:\n"
        "- name: skipped\n  action: aws:runShellScript\n  precondition: {StringEquals: [platformType, Windows]}\n"
        "  inputs: {runCommand: [echo no]}\n"
        "- name: counts\n  action: aws:runShellScript\n  inputs:\n    runCommand: ['echo {{ n }}']\n"
    )
    await agent.online()
    seen = await results(
        server,
        agent,
        running("Greet"),
        running("Greet", documentParameters={"word": "you", "other": "ignored"}),
        running("Greet", documentParameters='{"word": "two words"}'),
        running("Greet", documentParameters={"word": "them"}),
        running("Greet:3"),
        running("arn:aws:ssm:eu-test-1:111122223333:document/Shared"),
        running(str(tmp_path / "local.yaml"), "LocalPath"),
        running(str(tmp_path / "missing.yaml"), "LocalPath"),
        running("Unknown"),
        running("AWS-Noop"),
        running("Greet", "Elsewhere"),
    )
    assert [(step["status"], step["code"]) for step in seen.values()] == [
        ("Success", 0), ("Success", 0), ("Success", 0), ("Failed", 1), ("Failed", 1), ("Success", 0), ("Success", 0),
        ("Failed", 1), ("Failed", 1), ("Success", 0), ("Failed", 1),
    ]  # fmt: skip
    assert seen["step0"]["standardOutput"].splitlines()[0] == "hello nobody"
    assert seen["step0"]["standardOutput"].splitlines()[1].endswith("/downloads")
    assert seen["step1"]["standardOutput"].startswith("hello you\n")
    assert seen["step2"]["standardOutput"].startswith("hello two words\n")
    assert "word is not among its allowedValues" in seen["step3"]["standardError"]
    assert seen["step4"]["standardOutput"] == "third\n"
    assert seen["step4"]["standardError"] == "bad\nfailed to run commands: exit status 3\n"
    assert seen["step5"]["standardOutput"] == "shared\n"
    assert seen["step6"]["standardOutput"] == "7\n"
    assert "missing.yaml cannot be read: No such file" in seen["step7"]["standardError"]
    assert "The specified document does not exist." in seen["step8"]["standardError"]
    assert seen["step9"]["name"] == "aws:runDocument"


async def test_documents_inside_documents_end_at_the_third(server: FakeServer, agent: Agent) -> None:
    for number in range(1, 5):
        inner = {"name": "next", **running(f"Level{number + 1}")}
        say = {"name": "say", "action": "aws:runShellScript", "inputs": {"runCommand": [f"echo level {number}"]}}
        server.documents[f"Level{number}"] = json.dumps({"schemaVersion": "2.2", "mainSteps": [say, inner]})
    server.documents["Reboot"] = json.dumps(document("exit 194"))
    await agent.online()
    seen = await results(server, agent, running("Level1"), running("Reboot"))
    assert seen["step0"]["status"] == "Failed"
    assert seen["step0"]["standardOutput"] == "level 1\nlevel 2\nlevel 3\n"
    assert "Maximum depth permitted - 3 and current depth - 4" in seen["step0"]["standardError"]
    assert "not possible inside aws:runDocument" in seen["step1"]["standardError"]


async def test_an_inner_document_outlives_the_agent_and_is_cancelled(
    server: FakeServer, agent: Agent, tmp_path: Path
) -> None:
    one = {"name": "one", "action": "aws:runShellScript", "inputs": {"runCommand": [f"echo one >> {tmp_path}/times"]}}
    slow = [f"echo two >> {tmp_path}/times", f"echo began; sleep 300 & touch {tmp_path}/ready; sleep 301"]
    two = {"name": "two", "action": "aws:runShellScript", "inputs": {"runCommand": slow}}
    server.documents["Slow"] = json.dumps({"schemaVersion": "2.2", "mainSteps": [one, two, {**one, "name": "three"}]})
    await agent.online()
    job = await server.send(agent.instance_id, steps_command([{"name": "outer", **running("Slow")}]))
    await exists(tmp_path / "ready")
    agent.kill()
    await server.until(lambda: not server.is_online(agent.instance_id))
    server.documents.clear()  # the plan is on the node
    await agent.online()
    await server.cancel(agent.instance_id, job)
    final = await server.final_reply(job)
    assert final.content["documentStatus"] == "Cancelled"
    assert only_step(final.content)["code"] == 137
    assert (tmp_path / "times").read_text() == "one\ntwo\n"
    assert not processes_of(job)


async def test_values_that_reach_scripts_as_variables(server: FakeServer, agent: Agent) -> None:
    """interpolationType ENV_VAR: the value is data, whatever it holds."""
    hostile = "a b; echo $(id -u) `id` '\"> & {{ssm:no}}"
    await agent.online()
    seen = await results(
        server,
        agent,
        {"lines": ['printf "%s" "{{ text }}"', 'printf "|%s" "$SSM_text" "${SSM_plain-unset}"']},
        parameters={
            "text": {"type": "String", "interpolationType": "ENV_VAR"},
            "plain": {"type": "String", "default": "x"},
        },
        Parameters={"text": hostile.replace("{{ssm:no}}", "")},
    )
    value = hostile.replace("{{ssm:no}}", "")
    assert seen["step0"]["standardOutput"] == f"{value}|{value}|unset"


async def test_power_shell_where_it_is_and_where_it_is_not(server: FakeServer, agent: Agent, tmp_path: Path) -> None:
    step = {"action": "aws:runPowerShellScript", "lines": ["Write-Output hello", "exit 3"]}
    agent.environment["PATH"] = "/usr/bin:/bin"
    await agent.online()
    seen = await results(server, agent, step)
    assert "PowerShell (pwsh) is not installed" in seen["step0"]["standardError"]
    assert await agent.stop() == 0

    pwsh = tmp_path / "pwsh"  # a stand-in that shows how it is called
    pwsh.write_text('#!/bin/sh\necho "$1 $2 $3"; tail -c +4 "$4"; exit 3\n')
    pwsh.chmod(0o755)
    agent.environment["PATH"] = f"{tmp_path}:/usr/bin:/bin"
    await agent.online()
    seen = await results(server, agent, step)
    assert seen["step0"]["standardOutput"] == "-NoLogo -NonInteractive -File\nWrite-Output hello\nexit 3\n"
    assert (seen["step0"]["status"], seen["step0"]["code"]) == ("Failed", 3)


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ('{"a": [1, "x", null]}', {"a": [1, "x", None]}),
        ("a: [1, x, null]", {"a": [1, "x", None]}),
        ("day: 2026-11-29\nyes: on", {"day": "2026-11-29", "true": True}),
        ("a: &x [1]\nb: *x", {"a": [1], "b": [1]}),
    ],
)
def test_text_is_json_or_yaml(given: str, value: Any) -> None:
    assert text.read(given.encode()) == value


@pytest.mark.parametrize(
    "given",
    [
        "a: !!python/object/apply:os.system [id]",
        "a: &a [*a]",
        "\n".join(["a: &a0 [x, x]", *(f"b{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9))]),
        "[" * 1_200,
        "a: {",
        "a: b: c",
        "x" * (text.MOST_BYTES + 1),
    ],
)
def test_text_that_is_refused(given: str) -> None:
    with pytest.raises(text.Unreadable):
        text.read(given.encode())


@given(st.binary(max_size=200) | st.text(alphabet="ab:-[]{}&*!|>'\"#%@ \n0.", max_size=200).map(str.encode))
def test_any_text_is_a_value_or_refused(data: bytes) -> None:
    with contextlib.suppress(text.Unreadable):
        json.dumps(text.read(data))
