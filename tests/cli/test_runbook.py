"""`pilothouse runbook` on files: what it says of them, without any server."""

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pilothouse.cli.main import application
from pilothouse.cli.shared import Failed

RUNBOOK: dict[str, Any] = {
    "schemaVersion": "0.3",
    "parameters": {"env": {"type": "String", "default": "test"}},
    "mainSteps": [
        {"name": "fork", "action": "aws:branch", "inputs": {"Default": "slow", "Choices": [
            {"Variable": "{{ env }}", "StringEquals": "test", "NextStep": "fast"}]}},
        {"name": "slow", "action": "aws:sleep", "inputs": {"Duration": "PT1H"}, "onFailure": "step:fast"},
        {"name": "fast", "action": "aws:executeAwsApi",
         "inputs": {"Service": "ssm", "Api": "GetParameter", "Name": "/{{ env }}/x"}},
    ],
}  # fmt: skip


def run(*words: str) -> Any:
    return CliRunner().invoke(application("runbook"), ["runbook", *words], catch_exceptions=True)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "runbook.json"
    made.write_text(json.dumps(RUNBOOK, indent=2))
    return made


def test_a_good_runbook_and_a_bad_one(file: Path) -> None:
    assert "3 steps, no problems" in run("check", str(file)).stdout
    file.write_text(file.read_text().replace('"fast"', '"fats"', 1).replace("PT1H", "soon"))
    done = run("check", str(file))
    assert isinstance(done.exception, Failed)
    assert "step fork: mainSteps[0].inputs.Choices[0].NextStep: there is no step named fats" in done.stdout
    assert "step slow: mainSteps[1].inputs.Duration: it must be a duration" in done.stdout
    assert done.stdout.count("Line ") == 2


def test_a_dry_run_follows_what_is_known(file: Path) -> None:
    said = run("run", str(file), "--dry-run").stdout
    assert "goes to fast" in said
    assert "Name: /test/x" in said
    assert "slow" not in said
    said = run("run", str(file), "--dry-run", "--parameter", "env=prod").stdout
    assert "Duration: PT1H" in said
    assert "Name: /prod/x" in said
    assert isinstance(run("run", str(file)).exception, Failed)


def test_pictures(file: Path, tmp_path: Path) -> None:
    said = run("draw", str(file)).stdout
    assert said.startswith("flowchart TD\n")
    assert 's0 -->|"choice 0"| s2' in said
    assert 's1 -.->|"on failure"| s2' in said
    picture = tmp_path / "flow.svg"
    run("draw", str(file), "--svg", str(picture))
    texts = {each.text for each in ElementTree.parse(picture).iter() if each.tag.endswith("text")}
    assert {"fork", "slow", "fast", "end"} <= texts
