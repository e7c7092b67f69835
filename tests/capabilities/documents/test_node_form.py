"""What nodes get of a document: members of the types that agents want, and scripts without the values kept apart."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.capabilities.documents import Document, for_node
from pilothouse.capabilities.documents.checking import checked
from pilothouse.capabilities.documents.shell_words import refer_in_powershell, refer_in_shell

WRITTEN = """
schemaVersion: 2.2
parameters:
  version: {type: String, default: 1.5, minChars: "1", allowedValues: [1.5, yes]}
  lines: {type: StringList, default: [1, on]}
  stored: {type: StringList, default: "{{ssm:lines}}"}
  apart: {type: String, interpolationType: ENV_VAR}
mainSteps:
- action: aws:runShellScript
  name: one
  timeoutSeconds: "60"
  precondition: {StringEquals: ["{{ version }}", yes]}
  inputs: {runCommand: "echo {{ version }}", timeoutSeconds: 30, workingDirectory: null}
- action: aws:runShellScript
  name: two
  inputs: {runCommand: "{{ lines }}"}
- action: aws:runShellScript
  name: three
  inputs: {runCommand: [1, "echo {{ apart }}"], environment: {A: 5}}
- {action: "aws:runShellScript", name: wrapped, inputs: {runCommand: ["{{ stored }}"]}}
- action: aws:runPowerShellScript
  name: four
  inputs: {runCommand: ['Write-Output "{{apart}}"']}
"""


def of_text(text: str, format_: str = "YAML", kind: str = "Command") -> Any:
    document = Document(
        name="Mine", owner="1", kind=kind, version="1", latest_version="1", default_version="1", format=format_,
        text=text, content=checked(kind, format_, text), created_at=1,
    )  # fmt: skip
    return for_node(document)


def test_members_have_the_types_that_agents_want() -> None:
    found = of_text(WRITTEN)
    assert found["schemaVersion"] == "2.2"
    assert found["parameters"]["version"] == {
        "type": "String", "default": "1.5", "minChars": 1, "allowedValues": ["1.5", "true"],
    }  # fmt: skip
    assert found["parameters"]["lines"]["default"] == ["1", "true"]
    assert found["parameters"]["stored"]["default"] == ["{{ssm:lines}}"]
    one, two, three, wrapped, four = found["mainSteps"]
    assert (one["timeoutSeconds"], one["precondition"]) == (60, {"StringEquals": ["{{ version }}", "true"]})
    assert one["inputs"]["runCommand"] == ["echo {{ version }}"]
    assert one["inputs"]["timeoutSeconds"] == "30"
    assert two["inputs"]["runCommand"] == "{{ lines }}"
    assert wrapped["inputs"]["runCommand"] == "{{ stored }}"
    assert three["inputs"]["runCommand"] == ["1", 'echo "${SSM_apart}"']
    assert three["inputs"]["environment"] == {"A": "5", "SSM_apart": "{{ apart }}"}
    assert four["inputs"]["runCommand"] == ['Write-Output "${env:SSM_apart}"']
    assert four["inputs"]["environment"] == {"SSM_apart": "{{ apart }}"}


def test_commands_of_sessions_are_one_text() -> None:
    session = {"schemaVersion": "1.0", "sessionType": "InteractiveCommands",
               "properties": {"linux": {"commands": ["a", "b"]}}}  # fmt: skip
    assert of_text(json.dumps(session), "JSON", "Session")["properties"] == {"linux": {"commands": "a\nb"}}


def test_a_good_text_stays_as_it_is() -> None:
    content = {
        "schemaVersion": "1.2",
        "parameters": {"commands": {"type": "StringList"}},
        "runtimeConfig": {"aws:runShellScript": {"properties": [{"id": "0", "runCommand": "{{ commands }}"}]}},
    }
    assert of_text(json.dumps(content), "JSON") == content


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("echo {{ v }}", 'echo "${SSM_v}"'),
        ('echo "a {{v}} b"', 'echo "a ${SSM_v} b"'),
        ("echo 'a {{ v }} b'", "echo 'a '\"${SSM_v}\"' b'"),
        ('echo "it\'s {{ v }}"', 'echo "it\'s ${SSM_v}"'),
        (r'echo "\"{{ v }}\""', r'echo "\"${SSM_v}\""'),
        ("cat <<END\n{{ v }}'\nEND\necho {{ v }}", "cat <<END\n${SSM_v}'\nEND\necho \"${SSM_v}\""),
        (
            "cat <<-'E' <<B\n\t{{ v }}\n\tE\n{{v}}\nB\n{{v}}",
            "cat <<-'E' <<B\n\t${SSM_v}\n\tE\n${SSM_v}\nB\n\"${SSM_v}\"",
        ),
        ("echo x # don't {{ v }}\necho {{ v }}", "echo x # don't ${SSM_v}\necho \"${SSM_v}\""),
        ("echo ${#x} {{ v }}", 'echo ${#x} "${SSM_v}"'),
        (r"echo \{{ v }}", r'echo \"${SSM_v}"'),
        ("echo {{ other }} {{\n v }}", 'echo {{ other }} "${SSM_v}"'),
        ("cat <<'{{ v }}'\n{{ v }}", "cat <<'${SSM_v}'\n${SSM_v}"),
    ],
)  # fmt: skip
def test_references_in_scripts(line: str, meant: str) -> None:
    assert refer_in_shell([line], ["v"]) == [meant]


pieces = st.sampled_from(["{{ v }}", "{{v}}", "{{\tw\n}}", "{{", "}}", "'", '"', "\\", "#", "\n", " ", "<<E", "<<'E'",
                          "E", "<<-", "`", "$(", ")", "x", ";", "<"])  # fmt: skip


@given(st.lists(st.lists(pieces, max_size=12).map("".join), max_size=5))
def test_no_placeholder_is_left(lines: list[str]) -> None:
    for refer in (refer_in_shell, refer_in_powershell):
        found = refer(lines, ["v", "w"])
        assert len(found) == len(lines)
        assert not [line for line in found if re.search(r"\{\{\s*[vw]\s*\}\}", line)]
