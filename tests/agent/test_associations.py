"""The agent keeps to associations: as a real process, with a server that comes and goes."""

import json
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.agent.conftest import Agent
from tests.agent.fake_server import FakeServer, steps_command

ONE = "11111111-1111-1111-1111-111111111111"
TWO = "22222222-2222-2222-2222-222222222222"
NOBODYS = "00000000-0000-0000-0000-000000000000"

DOCUMENT = {
    "schemaVersion": "2.2",
    "parameters": {"line": {"type": "String"}, "file": {"type": "String"}},
    "mainSteps": [
        {
            "action": "aws:runShellScript", "name": "note",
            "inputs": {"runCommand": ["echo {{ line }} $SSM_ASSOCIATION_ID >> {{ file }}"]},
        }
    ],
}  # fmt: skip


@pytest.fixture
async def quick(server: FakeServer, agent: Agent) -> Agent:
    agent.environment["PILOTHOUSE_AGENT_ASSOCIATION_FIRST"] = "0"
    return agent


def association(association_id: str, file: Path, **more: Any) -> dict[str, Any]:
    extension = more.pop("Extension", {})
    return {
        "AssociationId": association_id, "AssociationVersion": "1", "Name": "Note", "DocumentVersion": "1",
        "Checksum": "1", "Parameters": {"line": ["ran"], "file": [str(file)]}, "DetailedStatus": "Waiting",
        "Extension": extension, **more,
    }  # fmt: skip


def pending(association_id: str, file: Path, execution_id: str, **more: Any) -> dict[str, Any]:
    extension = {"ExecutionId": execution_id, **more.pop("Extension", {})}
    return association(association_id, file, DetailedStatus="Pending", Extension=extension, **more)


def serve(server: FakeServer, *items: dict[str, Any], document: Any = DOCUMENT) -> None:
    server.documents["Note:1"] = json.dumps(document)
    server.associations = list(items)


def said(server: FakeServer, association_id: str) -> list[str]:
    return [
        each["ExecutionResult"]["Status"] for each in server.reports if each["AssociationId"] == association_id
    ]  # fmt: skip


async def refresh(server: FakeServer, agent: Agent, *ids: str) -> dict[str, Any]:
    step = {"action": "aws:refreshAssociation", "name": "now", "inputs": {"associationIds": list(ids)}}
    job = await server.send(agent.instance_id, steps_command([step]))
    steps: dict[str, Any] = (await server.final_reply(job)).steps
    return dict(steps["now"])


async def test_what_is_pending_runs_once(server: FakeServer, quick: Agent, tmp_path: Path) -> None:
    file = tmp_path / "lines"
    execution_id = str(uuid.uuid4())
    serve(server, pending(ONE, file, execution_id), association(TWO, file))
    await quick.online()
    await server.until(lambda: said(server, ONE) == ["InProgress", "Success"])
    last = server.reports[-1]
    assert last["Extension"] == {"ExecutionId": execution_id}
    assert last["ExecutionResult"]["ExecutionSummary"] == (
        "1 out of 1 plugin processed, 1 success, 0 failed, 0 timedout, 0 skipped. "
    )
    step = await refresh(server, quick, NOBODYS)  # the server wanted it to look; nothing is to be done twice
    assert (step["status"], step["standardOutput"]) == ("Success", "Associations were looked at")
    step = await refresh(server, quick, TWO)
    assert TWO in step["standardOutput"]
    await server.until(lambda: said(server, TWO) == ["InProgress", "Success"])
    assert file.read_text().splitlines() == [f"ran {ONE}", f"ran {TWO}"]
    server.associations = []
    assert (await refresh(server, quick))["status"] == "Success"
    assert list((quick.state / "associations" / "kept").glob("*.json")) == []


async def test_a_failing_script_says_why(server: FakeServer, quick: Agent, tmp_path: Path) -> None:
    broken = {**DOCUMENT, "mainSteps": [{
        "action": "aws:runShellScript", "name": "fail", "inputs": {"runCommand": ["echo no room >&2", "exit 3"]},
    }]}  # fmt: skip
    serve(server, pending(ONE, tmp_path / "lines", str(uuid.uuid4())), document=broken)
    await quick.online()
    await server.until(lambda: said(server, ONE) == ["InProgress", "Failed"])
    result = server.reports[-1]["ExecutionResult"]
    assert result["ErrorCode"] == "ExecutionError"
    assert result["ExecutionSummary"].startswith("1 out of 1 plugin processed, 0 success, 1 failed")
    assert "no room" in result["ExecutionSummary"]
    serve(server, pending(ONE, tmp_path / "lines", str(uuid.uuid4()), Checksum="2"), document={"schemaVersion": "9"})
    await refresh(server, quick, NOBODYS)
    await server.until(lambda: said(server, ONE)[2:] == ["Failed"])
    assert server.reports[-1]["ExecutionResult"]["ErrorCode"] == "InvalidAssoc"


async def test_output_goes_to_the_bucket(server: FakeServer, quick: Agent, tmp_path: Path) -> None:
    """Below prefix, node, association and the time of the run, as the official agent has it."""
    says = {**DOCUMENT, "mainSteps": [{
        "action": "aws:runShellScript", "name": "say", "inputs": {"runCommand": ["echo kept"]},
    }]}  # fmt: skip
    place = {"S3Location": {"OutputS3BucketName": "out", "OutputS3KeyPrefix": "pre/fix"}}
    serve(server, pending(ONE, tmp_path / "lines", str(uuid.uuid4()), OutputLocation=place), document=says)
    await quick.online()
    await server.until(lambda: said(server, ONE) == ["InProgress", "Success"])
    ((bucket, key),) = server.objects.stored
    prefix, moment, step = key.partition(f"{ONE}/")[0], key.split("/")[4], "/".join(key.split("/")[5:])
    assert (bucket, prefix, step) == ("out", f"pre/fix/{quick.instance_id}/", "awsrunShellScript/say/stdout")
    assert server.objects.stored[bucket, key] == b"kept\n"
    url = server.reports[-1]["ExecutionResult"]["OutputUrl"]["S3OutputUrl"]["OutputUrl"]
    assert url == f"out/pre/fix/{quick.instance_id}/{ONE}/{moment}"


@pytest.mark.timeout(90)
async def test_schedules_go_on_while_the_server_is_away(server: FakeServer, quick: Agent, tmp_path: Path) -> None:
    """Each time of the schedule that was run is reported once, in order, also over a kill -9."""
    file = tmp_path / "lines"
    since = time.time_ns() // 1_000_000
    table = {"kind": "rate", "since": since, "seconds": 1, "offset_days": 0}
    serve(server, association(ONE, file, Extension={"Since": since, "Timetable": json.dumps(table)}))
    await quick.online()
    await server.until(lambda: "Success" in said(server, ONE))
    server.away = True
    before = len(file.read_text().splitlines())
    await server.until(lambda: len(file.read_text().splitlines()) >= before + 2, "runs without a server")
    quick.kill()
    quick.start()
    again = len(file.read_text().splitlines())
    await server.until(lambda: len(file.read_text().splitlines()) >= again + 2, "runs of the next life")
    server.away = False
    await server.until(lambda: said(server, ONE).count("Success") >= again + 2, timeout=40)
    server.associations = [association(ONE, file)]  # no schedule any more
    await server.online(quick.instance_id)
    await refresh(server, quick, NOBODYS)

    def all_is_said() -> bool:
        begun, ended = (said(server, ONE).count(status) for status in ("InProgress", "Success"))
        return begun == ended == len(file.read_text().splitlines())

    await server.until(all_is_said, "a report of each run", timeout=40)
    ends = [each for each in server.reports if each["ExecutionResult"]["Status"] == "Success"]
    dues = [each["Extension"]["DueAt"] for each in ends]
    assert dues == sorted(set(dues))
    assert all((due - since) % 1000 == 0 for due in dues)
    assert {each["Extension"]["ExecutionId"] for each in ends} == {
        each["Extension"]["ExecutionId"] for each in server.reports
    }  # fmt: skip
