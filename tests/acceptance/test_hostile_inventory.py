"""What hostile nodes say of themselves, wherever somebody reads it: it is text, or it is refused."""

import csv
import html.parser
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.acceptance.installation import Installation, installation

WHEN = "2026-03-10T12:00:00Z"
NASTY = (
    "=cmd|'/c calc'!A1 \x1b[2J\x1b]0;owned\x07\r<img src=x onerror=alert(1)>\"' \\[red]\\[/red] \u202e{{ssm:x}} $(id)"
)
"""A formula, a terminal's commands, markup of two kinds, text that runs backwards, and what would be filled in."""
SHOWN = NASTY.replace("\x1b", "\\x1b").replace("\x07", "\\x07").replace("\r", "\\x0d").replace("\u202e", "\\x202e")
"""The same where control characters are told by their numbers."""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installation(tmp_path_factory.mktemp("house")) as made:
        yield made


@pytest.fixture(scope="module")
def node_id(house: Installation) -> str:
    """A node all of whose texts are hostile; one that lacks a critical patch."""
    ssm = house.boto("ssm")
    node_id = house.enrol("hostile", start=False).node_id
    baseline = ssm.get_default_patch_baseline(OperatingSystem="DEBIAN")["BaselineId"]
    summary = {
        "BaselineId": baseline, "PatchGroup": NASTY[:256], "OperationType": "Scan", "OperationStartTime": WHEN,
        "OperationEndTime": WHEN, "MissingCount": "1",
    }  # fmt: skip
    lacking = {
        "Id": "nasty.all", "KBId": "nasty.all", "Title": NASTY, "State": "MISSING", "ComplianceLevel": "CRITICAL",
        "Classification": NASTY[:50], "Severity": NASTY[:50],
    }  # fmt: skip
    content = {
        "AWS:PatchCompliance": [lacking], "AWS:PatchSummary": [summary], "AWS:Service": [{"Name": NASTY}],
        "AWS:Application": [{"Name": NASTY, "Version": NASTY}], "Custom:Rack": [{"Name": NASTY, "Room": NASTY}],
    }  # fmt: skip
    put(house, node_id, item("Custom:Rack", {"Name": "before"}))
    put(house, node_id, *(item(name, *entries) for name, entries in content.items()))
    return node_id


def item(type_name: str, *content: Any, **more: Any) -> dict[str, Any]:
    return {"TypeName": type_name, "SchemaVersion": "1.0", "CaptureTime": WHEN, "Content": list(content), **more}


def put(house: Installation, node_id: str, *items: dict[str, Any]) -> None:
    house.boto("ssm").put_inventory(InstanceId=node_id, Items=list(items))


def harmless(text: str) -> bool:
    """Whether a terminal shows it and does nothing else."""
    return all(char.isprintable() or char == "\n" for char in text)


class _Page(html.parser.HTMLParser):
    """What a browser would make of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_of_patches_shows_it_as_text(house: Installation, node_id: str, tmp_path: Path) -> None:
    file = tmp_path / "patches.html"
    assert house.own("patch", "status", "--output", "html", "--file", str(file)).returncode == 0
    page = _Page()
    page.feed(file.read_text())
    assert not page.tags & {"img", "script", "b2", "iframe"}
    assert "onerror" not in page.attributes
    assert SHOWN in page.text
    assert "default-src 'none'" in file.read_text()
    assert harmless(house.own("patch", "status", "--output", "html").stdout)


def test_tables_and_files_of_patches_neither_command_nor_compute(house: Installation, node_id: str) -> None:
    table = house.own("patch", "status").stdout
    assert harmless(table)
    folded = "".join(table.split())
    assert "".join(["\\x1b[2J\\x1b]0;owned"]) in folded
    text = house.own("patch", "status", "--output", "csv").stdout
    assert harmless(text)
    (row,) = csv.DictReader(io.StringIO(text))
    assert (row["Oldest"], row["NodeId"]) == (f"'{SHOWN}", node_id)
    (exact,) = json.loads(house.own("patch", "status", "--output", "json").stdout)
    assert exact["Oldest"] == NASTY


def test_tables_of_compliance_and_inventory_do_not_either(house: Installation, node_id: str) -> None:
    for words in (
        ("compliance", "--node", node_id), ("inventory", "--type", "Custom:Rack"),
        ("inventory", "--type", "AWS:Service"),
        ("inventory", "--type", "AWS:Application", "--node", node_id),
        ("inventory", "--type", "Custom:Rack", "--node", node_id, "--changes"),
    ):  # fmt: skip
        told = house.own(*words)
        assert told.returncode == 0, told.stderr
        assert SHOWN in told.stdout, words
        assert harmless(told.stdout), words
    text = house.own("inventory", "--type", "Custom:Rack", "--output", "csv").stdout
    _, line = csv.reader(io.StringIO(text))
    assert f"'{SHOWN}" in line


def test_the_api_says_it_as_it_came(house: Installation, node_id: str) -> None:
    """Also in the files of a sync, where it is one line of JSON."""
    listed = house.aws("ssm", "list-inventory-entries", "--instance-id", node_id, "--type-name", "Custom:Rack")
    assert listed["Entries"] == [{"Name": NASTY, "Room": NASTY}]
    patches = house.aws("ssm", "describe-instance-patches", "--instance-id", node_id)["Patches"]
    assert [each["Title"] for each in patches] == [NASTY]
    asked = "Key=AWS:Application.Name,Values=x,Type=NotEqual"
    assert [each["Id"] for each in house.aws("ssm", "get-inventory", "--filters", asked)["Entities"]] == [node_id]


def test_what_is_no_inventory_is_refused_whole(house: Installation, node_id: str) -> None:
    """Very long and very many, what is no text, deep values, wrong hashes; nothing of it is kept."""
    ssm = house.boto("ssm", parameter_validation=False)

    def code(*items: dict[str, Any]) -> str:
        with pytest.raises(ClientError) as error:
            ssm.put_inventory(InstanceId=node_id, Items=[item("Custom:Left", {"A": "1"}), *items])
        return str(error.value.response["Error"]["Code"])

    assert code(item("AWS:File", {"Name": "x" * 4_097})) == "ValidationException"
    assert code(item("AWS:File", {"x" * 65: "1"})) == "ValidationException"
    assert code(item("AWS:File", *({"Name": str(number)} for number in range(10_001)))) == "ValidationException"
    assert code(item("AWS:File", {f"a{number}": "1" for number in range(51)})) == "ValidationException"
    assert code(item("AWS:File", {"Name": "a\0b"})) == "ValidationException"
    for wrong in ({"a": "b"}, ["a"], 1, True):
        assert code(item("AWS:File", {"Name": wrong})) in ("SerializationException", "ValidationException"), wrong
    without = {name: value for name, value in item("AWS:File", ContentHash="wrong").items() if name != "Content"}
    assert code(without) == "ItemContentMismatchException"
    assert code(item("AWS:File", ContentHash="x" * 257)) == "ValidationException"
    assert code(item("Custom:<script>", {"A": "1"})) in ("InvalidTypeNameException", "ValidationException")
    deep = b'{"InstanceId":"' + node_id.encode() + b'","Items":[' + b'{"Content":[' * 50_000 + b"]}" * 50_000 + b"]}"
    ssm.meta.events.register("before-call.ssm.PutInventory", lambda params, **_: params.update(body=deep))
    assert code() == "SerializationException"
    assert ssm.list_inventory_entries(InstanceId=node_id, TypeName="Custom:Left")["Entries"] == []
    house.boto("ssm", parameter_validation=False).put_inventory(
        InstanceId=node_id, Items=[item("AWS:File", {"Name": "f", "Size": None})]
    )
    assert ssm.list_inventory_entries(InstanceId=node_id, TypeName="AWS:File")["Entries"] == [{"Name": "f"}]
    put(house, node_id, item("AWS:File", *({"Name": f"f{number}"} for number in range(10_000))))
    last = "Key=AWS:File.Name,Values=f9999"
    assert [each["Id"] for each in house.aws("ssm", "get-inventory", "--filters", last)["Entities"]] == [node_id]
