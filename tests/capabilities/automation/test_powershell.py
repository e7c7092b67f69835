"""Scripts of PowerShell in runbooks, by a stand-in for the program: see stand_in_pwsh."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.capabilities.automation.conftest import Runbooks, step
from tests.capabilities.automation.stand_in_pwsh import installed
from tests.capabilities.automation.test_attached_scripts import _scripts_can_be_run, archive, make, put, run
from tests.conftest import Server, open_server

from pilothouse.runtime.clock import TestClock
from pilothouse.runtime.settings import AutomationSettings, SettingsInvalid

__all__ = ["_scripts_can_be_run", "put"]
HELLO = """
$payload = $env:InputPayload | ConvertFrom-Json
Write-Information "saying hello to $payload.name"
return @{ said = "hello $payload.name" }
"""


@pytest.fixture(scope="module")
def server(database_url: str, tmp_path_factory: pytest.TempPathFactory, clock: TestClock) -> Iterator[Server]:
    """It has PowerShell."""
    settings = AutomationSettings(powershell=installed(tmp_path_factory.mktemp("powershell") / "7"))
    with open_server(database_url, tmp_path_factory.mktemp("server"), clock, automation=settings) as opened:
        yield opened


def powershell(text: str = "", runtime: str = "PowerShell 7.4", file: str = "", **inputs: Any) -> dict[str, Any]:
    inputs = {"Runtime": runtime, "InputPayload": {"name": "ada"}, **inputs}
    inputs |= {"Script": text} if text else {}
    inputs |= {"Attachment": file} if file else {}
    outputs = [{"Name": "said", "Selector": "$.Payload.said", "Type": "String"}]
    return {"schemaVersion": "0.3", "mainSteps": [
        {"name": "run", "action": "aws:executeScript", "inputs": inputs, "outputs": outputs},
    ]}  # fmt: skip


@pytest.mark.parametrize("runtime", ["PowerShell Core 6.0", "PowerShell 7.0", "PowerShell 7.4"])
def test_what_a_script_returns_is_the_payload(runbooks: Runbooks, runtime: str) -> None:
    got = run(runbooks, make(runbooks, f"hello-{runtime[-3:]}", powershell(HELLO, runtime)))
    assert got["AutomationExecutionStatus"] == "Success", got.get("FailureMessage")
    assert step(got, "run")["Outputs"]["said"] == ["hello ada"]
    assert json.loads(step(got, "run")["Outputs"]["Payload"][0]) == {"said": "hello ada"}
    assert step(got, "run")["Response"] == "saying hello to ada\n"


def test_the_last_of_the_pipeline_is_it(runbooks: Runbooks) -> None:
    text = '"first"\n"second"\nreturn @{ said = "third" }'
    got = run(runbooks, make(runbooks, "pipeline", powershell(text)))
    assert step(got, "run")["Outputs"]["said"] == ["third"]
    assert step(got, "run")["Response"] == "first\nsecond\n"


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('throw "no luck"', "no luck"),
        ('Write-Error "no luck either"', "no luck either"),
        ("exit 3", "ended itself with status 3"),
        ("# python\nimport os; os._exit(4)", "ended itself with status 4, without a result"),
    ],
)
def test_what_fails_says_why(runbooks: Runbooks, line: str, why: str) -> None:
    name = f"fails-{hashlib.sha256(line.encode()).hexdigest()[:8]}"
    got = run(runbooks, make(runbooks, name, powershell(line)))
    assert got["AutomationExecutionStatus"] == "Failed"
    assert why in got["FailureMessage"]


def test_an_archive_has_a_main_script(runbooks: Runbooks, put: Any) -> None:
    files = {
        "Main.ps1": f". ./Modules/Words.ps1\n{HELLO}", "other.ps1": 'throw "not me"',
        "Modules__Words.ps1": 'Write-Host "words"',
    }  # fmt: skip
    content = archive(**files)
    described = powershell(file="tools.zip")
    described["files"] = {"tools.zip": {"checksums": {"sha256": hashlib.sha256(content).hexdigest()}}}
    got = run(runbooks, make(runbooks, "archive", described, put("tools.zip", content)))
    assert got["AutomationExecutionStatus"] == "Success", got.get("FailureMessage")
    assert step(got, "run")["Outputs"]["said"] == ["hello ada"]
    assert step(got, "run")["Response"] == "words\nsaying hello to ada\n"


def test_a_script_uses_what_is_attached(runbooks: Runbooks, put: Any) -> None:
    content = archive(**{"Words.ps1": 'Write-Host "attached"'})
    described = powershell(f". ./Words.ps1\n{HELLO}", file="words.zip")
    got = run(runbooks, make(runbooks, "beside", described, put("words.zip", content)))
    assert step(got, "run")["Response"] == "attached\nsaying hello to ada\n"


def test_what_is_wrong_is_said(runbooks: Runbooks, put: Any) -> None:
    ssm = runbooks.ssm
    with pytest.raises(ssm.exceptions.InvalidDocumentContent, match=r"attached as a \.zip"):
        make(runbooks, "plain-file", powershell(file="main.ps1"))
    with pytest.raises(ssm.exceptions.InvalidDocumentContent, match="needs a script, or an Attachment"):
        make(runbooks, "nothing", powershell())
    two = put("two.zip", archive(**{"a.ps1": "", "b.ps1": ""}))
    got = run(runbooks, make(runbooks, "which", powershell(file="two.zip"), two))
    assert "no Main.ps1 at its top" in got["FailureMessage"]
    large = powershell(HELLO, InputPayload={"name": "{{ text }}" * 256})
    large["parameters"] = {"text": {"type": "String"}}
    got = run(runbooks, make(runbooks, "large", large), Parameters={"text": ["x" * 512]})
    assert "InputPayload has 131083 bytes" in got["FailureMessage"]


def test_the_setting_is_a_path() -> None:
    with pytest.raises(SettingsInvalid, match="absolute path"):
        AutomationSettings(powershell="pwsh")


def test_path_leads_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pilothouse.capabilities.automation.scripts import powershell as ours

    program = installed(tmp_path / "7")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "pwsh").symlink_to(program)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert ours.found("") == program
    assert ours.found(str(tmp_path / "gone")) is None
