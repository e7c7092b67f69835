"""Scripts that runbooks bring along as attachments: files and archives, with checksums, of the version that runs."""

import hashlib
import io
import json
import zipfile
from typing import Any

import pytest
from tests.capabilities.automation.conftest import FINAL, Runbooks, step
from tests.conftest import Aws

from pilothouse.capabilities.automation.scripts.filter import FilterUnavailable, instructions

BUCKET = "scripts-of-runbooks"
LAUNCH = """
from datetime import date

def go(events, context):
    print("launched", events["name"])
    return {"said": f"hello {events['name']}", "who": __name__}
"""


@pytest.fixture(autouse=True)
def _scripts_can_be_run() -> None:
    try:
        instructions()
    except FilterUnavailable as error:
        pytest.skip(str(error))


def run(runbooks: Runbooks, name: str, **members: Any) -> dict[str, Any]:
    """The execution when it has ended. The clock is left alone: scripts take time of this machine."""
    got = runbooks.comes_to(runbooks.start(name, **members), *FINAL)
    if "cannot be run on this server" in got.get("FailureMessage", ""):
        pytest.skip(got["FailureMessage"])
    return got


@pytest.fixture
def put(aws: Aws) -> Any:
    """Puts a file into a bucket of this server; its URL."""
    s3 = aws("s3")
    if BUCKET not in {each["Name"] for each in s3.list_buckets()["Buckets"]}:
        s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})

    def put(name: str, content: bytes) -> str:
        s3.put_object(Bucket=BUCKET, Key=name, Body=content)
        return f"s3://{BUCKET}/{name}"

    return put


def archive(**files: str) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, text in files.items():
            opened.writestr(name.replace("__", "/").replace("_py", ".py").replace("_txt", ".txt"), text)
    return made.getvalue()


def runbook(file: str, handler: str, checksum: str = "") -> dict[str, Any]:
    content: dict[str, Any] = {"schemaVersion": "0.3", "mainSteps": [{
        "name": "run", "action": "aws:executeScript",
        "inputs": {"Runtime": "python3.11", "Handler": handler, "Attachment": file, "InputPayload": {"name": "ada"}},
        "outputs": [{"Name": "said", "Selector": "$.Payload.said", "Type": "String"}],
    }]}  # fmt: skip
    if checksum:
        content["files"] = {file: {"checksums": {"sha256": checksum}}}
    return content


def make(runbooks: Runbooks, name: str, content: dict[str, Any], *urls: str) -> str:
    attachments = [{"Key": "S3FileUrl", "Values": [url], "Name": url.rpartition("/")[2]} for url in urls]
    runbooks.ssm.create_document(
        Name=name, Content=json.dumps(content), DocumentType="Automation", DocumentFormat="JSON",
        **({"Attachments": attachments} if attachments else {}),
    )  # fmt: skip
    return name


@pytest.mark.parametrize("handler", ["go", "launch.go"])
def test_a_file_is_run(runbooks: Runbooks, put: Any, handler: str) -> None:
    url = put("launch.py", LAUNCH.encode())
    checksum = hashlib.sha256(LAUNCH.encode()).hexdigest()
    got = run(runbooks, make(runbooks, f"file-{handler}", runbook("launch.py", handler, checksum), url))
    assert got["AutomationExecutionStatus"] == "Success", got.get("FailureMessage")
    assert step(got, "run")["Outputs"]["said"] == ["hello ada"]
    assert json.loads(step(got, "run")["Outputs"]["Payload"][0])["who"] == "launch"
    assert step(got, "run")["Response"] == "launched ada\n"


def test_an_archive_is_unpacked_and_run(runbooks: Runbooks, put: Any) -> None:
    files = {
        "main_py": "from part.greeting import greet\ndef go(events, context):\n    return {'said': greet(events)}\n",
        "part____init___py": "",
        "part__greeting_py": "def greet(e):\n    return open('words_txt'.replace('_', '.')).read() + e['name']\n",
        "words_txt": "good day ",
    }
    url = put("tools.zip", archive(**files))
    got = run(runbooks, make(runbooks, "archive", runbook("tools.zip", "main.go"), url))
    assert got["AutomationExecutionStatus"] == "Success", got.get("FailureMessage")
    assert step(got, "run")["Outputs"]["said"] == ["good day ada"]


def test_the_version_that_was_started_is_run(runbooks: Runbooks, put: Any) -> None:
    name = make(runbooks, "versions", runbook("launch.py", "go"), put("launch.py", LAUNCH.encode()))
    newer = LAUNCH.replace("hello", "newer").encode()
    runbooks.ssm.update_document(
        Name=name, Content=json.dumps({**runbook("launch.py", "go"), "description": "2"}), DocumentVersion="$LATEST",
        Attachments=[{"Key": "S3FileUrl", "Values": [put("newer.py", newer)], "Name": "launch.py"}],
    )  # fmt: skip
    said = [
        step(run(runbooks, name, DocumentVersion=version), "run")["Outputs"]["said"] for version in ("1", "2")
    ]  # fmt: skip
    assert said == [["hello ada"], ["newer ada"]]


def test_what_is_wrong_is_said(runbooks: Runbooks, put: Any) -> None:
    ssm = runbooks.ssm
    url = put("launch.py", LAUNCH.encode())
    with pytest.raises(ssm.exceptions.InvalidDocumentContent, match="checksum"):
        make(runbooks, "tampered", runbook("launch.py", "go", "0" * 64), url)
    other = {**runbook("launch.py", "go"), "files": {"other.py": {"checksums": {"sha256": "0" * 64}}}}
    with pytest.raises(ssm.exceptions.InvalidDocumentContent, match=r"files: it has no launch\.py"):
        make(runbooks, "unnamed", other)
    both = runbook("launch.py", "go")
    both["mainSteps"][0]["inputs"]["Script"] = "def go(e, c): pass"
    with pytest.raises(ssm.exceptions.InvalidDocumentContent, match="must not stand beside Script"):
        make(runbooks, "both", both, url)

    evil = archive(main_py="def go(e, c):\n    import os\n    return {'said': str(sorted(os.listdir('/tmp')))}\n")
    evil = evil.replace(b"main.py", b"../a.py")
    broken = {
        "missing": (runbook("launch.py", "go"), (), "no attachment named launch.py"),
        "nameless": (
            runbook("tools.zip", "go"),
            (
                put(
                    "tools.zip",
                    archive(main_py=""),
                ),
            ),
            "as in launch.go",
        ),
        "elsewhere": (runbook("launch.py", "other.go"), (url,), "is of a file other"),
        "no-archive": (runbook("bad.zip", "main.go"), (put("bad.zip", b"PK no archive"),), "not a zip file"),
        "no-text": (runbook("bad.py", "go"), (put("bad.py", b"\xff\xfe\x00"),), "neither a text"),
        "no-handler": (runbook("launch.py", "come"), (url,), "no function named come"),
        "climbs": (runbook("evil.zip", "main.go"), (put("evil.zip", evil),), "No module named 'main'"),
    }
    for name, (content, urls, why) in broken.items():
        got = run(runbooks, make(runbooks, f"broken-{name}", content, *urls))
        assert got["AutomationExecutionStatus"] == "Failed", name
        assert why in got["FailureMessage"], (name, got["FailureMessage"])
