"""What a document must be: each refusal with its place, and that nothing is accepted which an agent cannot parse."""

import copy
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilothouse.capabilities.documents import Document, InvalidParameters, check_values, for_node, to_node
from pilothouse.capabilities.documents.checking import checked
from pilothouse.errors import ApiError
from tests.capabilities.documents.agent_parser import Refused, parse

GOOD: dict[str, Any] = {
    "schemaVersion": "2.2",
    "description": "All that a document can say.",
    "parameters": {
        "word": {
            "type": "String", "default": "abc", "allowedPattern": "^[a-z]+$", "allowedValues": ["abc", "d"],
            "minChars": 1, "maxChars": 9, "displayType": "textfield", "description": "d",
        },
        "lines": {"type": "StringList", "default": ["a"], "minItems": 1, "maxItems": 3, "displayType": "textarea"},
        "count": {"type": "Integer", "default": 3, "allowedPattern": "^[0-9]+$"},
        "flag": {"type": "Boolean", "default": True},
        "map": {"type": "StringMap", "default": {"a": "b"}, "allowedPattern": "a"},
        "maps": {"type": "MapList", "default": [{"a": "b"}]},
        "apart": {"type": "String", "default": "x", "interpolationType": "ENV_VAR"},
    },
    "mainSteps": [
        {
            "action": "aws:downloadContent", "name": "fetch",
            "inputs": {"sourceType": "HTTP", "sourceInfo": {"url": "https://x/{{ word }}"}, "destinationPath": "d"},
        },
        {
            "action": "aws:runShellScript", "name": "list_1", "timeoutSeconds": 60, "maxAttempts": 1,
            "onFailure": "Abort", "settings": {}, "precondition": {"StringEquals": ["platformType", "Linux"]},
            "inputs": {
                "runCommand": "{{ lines }}", "workingDirectory": "{{ word }}", "timeoutSeconds": "{{ count }}",
                "environment": {"A": "{{ word }}", "B": "b"}, "onFailure": "exit",
            },
        },
        {
            "action": "aws:runShellScript", "name": "lines-2",
            "precondition": {"StringEquals": ["{{ word }}", "abc"]},
            "inputs": {"runCommand": ["echo {{ word }} {{ apart }}", "{{ count }}", ""], "timeoutSeconds": 60},
        },
        {
            "action": "aws:configurePackage", "name": "pack",
            "inputs": {"name": "p", "action": "Install", "version": 1.5, "additionalArguments": "{{ map }}"},
        },
        {
            "action": "aws:runDocument", "name": "inner",
            "inputs": {"documentType": "SSMDocument", "documentPath": "AWS-RunShellScript",
                       "documentParameters": {"commands": "{{ lines }}"}},
        },
        {"action": "aws:refreshAssociation", "name": "again", "inputs": {"associationIds": [], "finallyStep": True}},
    ],
}  # fmt: skip
OLD: dict[str, Any] = {
    "schemaVersion": "1.2",
    "parameters": {"commands": {"type": "StringList"}, "time": {"type": "String", "default": 60}},
    "runtimeConfig": {
        "aws:runShellScript": {
            "properties": [{"id": "0.aws:runShellScript", "runCommand": "{{ commands }}", "timeoutSeconds": "{{time}}"}]
        },
        "aws:updateSsmAgent": {"properties": {"agentName": "amazon-ssm-agent", "allowDowngrade": "false"}},
    },
}


def changed(*changes: tuple[str, Any], of: dict[str, Any] = GOOD) -> str:
    """The document with values put at places such as `mainSteps.0.name`; `...` takes one away."""
    made = copy.deepcopy(of)
    for place, value in changes:
        at: Any = made
        *path, last = [int(part) if part.isdigit() else part for part in place.split("/")]
        for part in path:
            at = at[part]
        if value is ...:
            del at[last]
        else:
            at[last] = value
    return json.dumps(made)


def refusal(text: str, kind: str = "Command", format_: str = "JSON") -> str:
    with pytest.raises(ApiError) as error:
        checked(kind, format_, text)
    return f"{error.value.code}: {error.value.message}"


@pytest.mark.parametrize("document", [GOOD, OLD])
def test_a_good_document(document: dict[str, Any]) -> None:
    assert checked("Command", "JSON", json.dumps(document)) == document


STEP = "mainSteps/1"
INPUTS = "mainSteps/1/inputs"


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ("mainSteps", [], "mainSteps: "),
        ("mainSteps", ..., "mainSteps: "),
        ("mainSteps/0", None, "mainSteps[0]: "),
        ("runtimeConfig", {}, "runtimeConfig: "),
        ("MainSteps", [], "MainSteps: it must be written mainSteps"),
        ("extra", 1, "extra: "),
        ("description", 5, "description: "),
        ("parameters", [], "parameters: "),
        ("parameters/word", None, "parameters.word: "),
        ("parameters/a_b", {"type": "String"}, "parameters.a_b: "),
        ("parameters/word/type", "Text", "parameters.word.type: "),
        ("parameters/word/type", ..., "parameters.word.type: "),
        ("parameters/word/description", ["x"], "parameters.word.description: "),
        ("parameters/word/default", ["x"], "parameters.word.default: "),
        ("parameters/lines/default", "x", "parameters.lines.default: "),
        ("parameters/count/default", "x", "parameters.count.default: "),
        ("parameters/flag/default", "maybe", "parameters.flag.default: "),
        ("parameters/maps/default", ["x"], "parameters.maps.default: "),
        ("parameters/word/allowedValues", "x", "parameters.word.allowedValues: "),
        ("parameters/word/allowedValues", [["x"]], "parameters.word.allowedValues: "),
        ("parameters/word/allowedPattern", "(?=x)", "parameters.word.allowedPattern: "),
        ("parameters/word/allowedPattern", r"(x)\1", "parameters.word.allowedPattern: "),
        ("parameters/word/allowedPattern", "(?<a>x)", "parameters.word.allowedPattern: "),
        ("parameters/word/allowedPattern", r"\C", "parameters.word.allowedPattern: "),
        ("parameters/word/AllowedPattern", "x", "parameters.word.AllowedPattern: "),
        ("parameters/word/maxChars", 0, "parameters.word.maxChars: "),
        ("parameters/word/maxChars", "many", "parameters.word.maxChars: "),
        ("parameters/word/maxChars", -1, "parameters.word.maxChars: "),
        ("parameters/word/displayType", "box", "parameters.word.displayType: "),
        ("parameters/word/interpolationType", "TEXT", "parameters.word.interpolationType: "),
        ("parameters/lines/interpolationType", "ENV_VAR", "parameters.lines.interpolationType: "),
        (f"{STEP}/action", "aws:doNothing", "mainSteps[1].action: there is no plugin aws:doNothing"),
        (f"{STEP}/action", ..., "mainSteps[1].action: "),
        (f"{STEP}/name", ..., "mainSteps[1].name: "),
        (f"{STEP}/name", "../../etc/passwd", "mainSteps[1].name: "),
        (f"{STEP}/name", "a/b", "mainSteps[1].name: "),
        (f"{STEP}/name", "", "mainSteps[1].name: "),
        (f"{STEP}/name", "x" * 129, "mainSteps[1].name: "),
        (f"{STEP}/name", "line\n", "mainSteps[1].name: "),
        (f"{STEP}/name", "fetch", "mainSteps[1].name: another step"),
        (f"{STEP}/Name", "x", "mainSteps[1].Name: "),
        (f"{STEP}/timeoutSeconds", "soon", "mainSteps[1].timeoutSeconds: "),
        (f"{STEP}/maxAttempts", 1.5, "mainSteps[1].maxAttempts: "),
        (f"{STEP}/maxAttempts", 2**40, "mainSteps[1].maxAttempts: "),
        (f"{STEP}/onFailure", ["exit"], "mainSteps[1].onFailure: "),
        (f"{STEP}/inputs", "x", "mainSteps[1].inputs: "),
        (f"{STEP}/precondition", ["x"], "mainSteps[1].precondition: "),
        (f"{STEP}/precondition", {"StringLike": ["platformType", "Linux"]}, "mainSteps[1].precondition: "),
        (f"{STEP}/precondition", {"StringEquals": "Linux"}, "mainSteps[1].precondition.StringEquals: "),
        (f"{STEP}/precondition", {"StringEquals": ["platformType"]}, "mainSteps[1].precondition.StringEquals: "),
        (f"{STEP}/precondition", {"StringEquals": ["platformType", "BeOS"]}, "mainSteps[1].precondition.StringEquals"),
        (f"{STEP}/precondition", {"StringEquals": ["a", "b"]}, "mainSteps[1].precondition.StringEquals: "),
        (f"{STEP}/precondition", {"StringEquals": ["{{ word }}", "{{ word }}"]}, "mainSteps[1].precondition"),
        (f"{STEP}/precondition", {"StringEquals": ["{{ lines }}", "a"]}, "mainSteps[1].precondition.StringEquals: "),
        (f"{STEP}/precondition", {"StringEquals": ["{{ssm:x}}", "{{ word }}"]}, "mainSteps[1].precondition"),
        (f"{INPUTS}/runCommand", ..., "mainSteps[1].inputs.runCommand: "),
        (f"{INPUTS}/runCommand", {}, "mainSteps[1].inputs.runCommand: "),
        (f"{INPUTS}/runCommand", ["x", ["y"]], "mainSteps[1].inputs.runCommand[1]: "),
        (f"{INPUTS}/runCommand", ["x", None], "mainSteps[1].inputs.runCommand[1]: "),
        (f"{INPUTS}/runCommand", ["{{ lines }}", "x"], "mainSteps[1].inputs.runCommand[0]: "),
        (f"{INPUTS}/runCommand", ["{{ map }}"], "mainSteps[1].inputs.runCommand[0]: "),
        (f"{INPUTS}/runCommand", "{{ map }}", "mainSteps[1].inputs.runCommand: "),
        (f"{INPUTS}/RunCommand", ["x"], "mainSteps[1].inputs.RunCommand: "),
        (f"{INPUTS}/workingDirectory", ["x"], "mainSteps[1].inputs.workingDirectory: "),
        (f"{INPUTS}/workingDirectory", "{{ lines }}", "mainSteps[1].inputs.workingDirectory: "),
        (f"{INPUTS}/timeoutSeconds", "{{ tiem }}", "mainSteps[1].inputs.timeoutSeconds: "),
        (f"{INPUTS}/environment", {"A": {}}, "mainSteps[1].inputs.environment.A: "),
        (f"{INPUTS}/environment", {"A=B": "c"}, "mainSteps[1].inputs.environment.A=B: "),
        (f"{INPUTS}/environment", ["A"], "mainSteps[1].inputs.environment: "),
        (f"{INPUTS}/onFailure", "abort", "mainSteps[1].inputs.onFailure: "),
        (f"{INPUTS}/onSuccess", True, "mainSteps[1].inputs.onSuccess: "),
        (f"{INPUTS}/finallyStep", "true", "mainSteps[1].inputs.finallyStep: "),
        ("mainSteps/0/inputs/sourceType", "FTP", "mainSteps[0].inputs.sourceType: "),
        ("mainSteps/0/inputs/sourceInfo", ..., "mainSteps[0].inputs.sourceInfo: "),
        ("mainSteps/5/inputs/finallyStep", "perhaps", "mainSteps[5].inputs.finallyStep: "),
    ],
)  # fmt: skip
def test_refusals_name_the_place(place: str, value: Any, said: str) -> None:
    assert refusal(changed((place, value))).startswith(f"InvalidDocumentContent: {said}")


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ("mainSteps", [], "mainSteps: "),
        ("runtimeConfig", {}, "runtimeConfig: "),
        ("runtimeConfig/aws:nothing", {"properties": {}}, "runtimeConfig.aws:nothing: "),
        ("runtimeConfig/aws:runShellScript", None, "runtimeConfig.aws:runShellScript: "),
        ("runtimeConfig/aws:runShellScript/properties", [], "runtimeConfig.aws:runShellScript.properties: "),
        ("runtimeConfig/aws:runShellScript/properties", "x", "runtimeConfig.aws:runShellScript.properties: "),
        ("runtimeConfig/aws:runShellScript/properties/0/runCommand", 1.5, None),
        ("runtimeConfig/aws:runShellScript/properties/0/id", 5, "runtimeConfig.aws:runShellScript.properties[0].id: "),
        ("runtimeConfig/aws:runShellScript/Properties", [], "runtimeConfig.aws:runShellScript.Properties: "),
    ],
)
def test_refusals_of_the_old_schema(place: str, value: Any, said: str | None) -> None:
    text = changed((place, value), of=OLD)
    if said is None:
        checked("Command", "JSON", text)
    else:
        assert refusal(text).startswith(f"InvalidDocumentContent: {said}")


def test_a_value_apart_needs_a_plugin_with_variables() -> None:
    step = {"action": "aws:psModule", "name": "ps", "inputs": {"runCommand": ["Import-It {{ apart }}"]}}
    assert "apart is for environment variables" in refusal(changed(("mainSteps/0", step)))


@pytest.mark.parametrize(
    ("text", "format_", "said"),
    [
        ('{"a": 1, "a": 2}', "JSON", "The key a is there twice."),
        ('{"a": NaN}', "JSON", "NaN"),
        ('{"a": 1e999}', "JSON", "too large"),
        (f'{{"a": {"9" * 5000}}}', "JSON", "too long"),
        ('{"a": "\\ud800"}', "JSON", "half of a pair"),
        ('{"a": "\\u0000"}', "JSON", "NUL"),
        ("[" * 60_000, "JSON", "nested too deeply"),
        ("[" * 40 + "]" * 40, "JSON", "32 levels"),
        ("a: 1\na: 2\n", "YAML", "The key a is there twice. at Line: 2, Column: 1"),
        ("a: [1\n", "YAML", "at Line: 2"),
        ("a: !!python/object/apply:os.system [ls]", "YAML", "tag"),
        ("a: !Ref b", "YAML", "tag"),
        ("a: *b", "YAML", "nothing named b"),
        ("a: &a [*a]", "YAML", "nothing named a"),
        ("{a: 1}\n---\nb: 2", "YAML", "more than one document"),
        ("? [a]\n: b", "YAML", "A key must be a text."),
        ("a: {<<: {b: 1}}", "YAML", "Merge keys"),
        ("[" * 3_000, "YAML", "32 levels"),
        (
            "a: &a [1,1,1,1,1,1,1,1,1,1]\n"
            + "".join(f"{y}: &{y} [{','.join([f'*{x}'] * 10)}]\n" for x, y in zip("abcdefg", "bcdefgh", strict=True)),
            "YAML",
            "20000 values",
        ),
    ],
)
def test_texts_that_are_not_well_formed(text: str, format_: str, said: str) -> None:
    found = refusal(text, format_=format_)
    assert found.startswith(f"InvalidDocumentContent: {format_} not well-formed. ")
    assert said in found


@pytest.mark.parametrize(
    ("kind", "document", "said"),
    [
        ("Session", {"schemaVersion": "1.0", "sessionType": "Shell"}, "sessionType"),
        ("Session", {"schemaVersion": "1.0", "sessionType": "Standard_Stream"}, "inputs"),
        ("Session", {"schemaVersion": "1.0", "sessionType": "Standard_Stream",
                     "inputs": {"idleSessionTimeout": "61"}}, "inputs.idleSessionTimeout"),
        ("Session", {"schemaVersion": "1.0", "sessionType": "Standard_Stream",
                     "inputs": {"cloudWatchStreamingEnabled": "true"}}, "inputs.cloudWatchStreamingEnabled"),
        ("Session", {"schemaVersion": "1.0", "sessionType": "Standard_Stream", "inputs": {"runAsEnabled": "ja"}},
         "inputs.runAsEnabled"),
        ("Session", {"schemaVersion": "1.0", "sessionType": "Port", "properties": {}}, "properties.portNumber"),
        ("Session", {"schemaVersion": "1.0", "sessionType": "InteractiveCommands",
                     "properties": {"linux": {"commands": ["a", 5]}}}, "properties.linux.commands[1]"),
        ("Automation", {"schemaVersion": "0.3", "mainSteps": [{"name": "a"}]}, "mainSteps[0].action"),
        ("Automation", {"schemaVersion": "0.3", "mainSteps": [
            {"name": "a", "action": "aws:sleep", "inputs": {"Duration": "{{ Wait }}"}}]}, "mainSteps[0]"),
        ("Package", {"schemaVersion": "2.0", "packages": {"x": {"_any": {"_any": {"file": "a.zip"}}}}, "files": {}},
         "packages.x._any._any.file"),
    ],
)  # fmt: skip
def test_other_types(kind: str, document: dict[str, Any], said: str) -> None:
    assert re.sub(r"Line [0-9]+: ", "", refusal(json.dumps(document), kind)).startswith(
        f"InvalidDocumentContent: {said}: "
    )


def test_schema_versions_belong_to_types() -> None:
    for kind, version in (("Command", "0.3"), ("Command", "2.1"), ("Session", "2.2"), ("Automation", "2.2"),
                          ("Policy", "1.2"), ("Command", "1.0")):  # fmt: skip
        found = refusal(json.dumps({"schemaVersion": version}), kind)
        assert found.startswith("InvalidDocumentSchemaVersion: The version of the document schema is not supported")


def test_texts_of_other_programs_are_kept_as_they_are() -> None:
    assert checked("ChangeCalendar", "TEXT", "BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n") is None
    assert checked("CloudFormation", "YAML", "A: !Ref b") is None
    assert checked("ApplicationConfiguration", "JSON", '{"any": ["thing"]}') == {"any": ["thing"]}
    assert "format TEXT" in refusal("{}", "ChangeCalendar", "JSON")
    assert "BEGIN:VCALENDAR" in refusal("hello", "ChangeCalendar", "TEXT")
    assert "JSON or YAML" in refusal("hello", "Command", "TEXT")


JUNK = st.sampled_from([
    None, True, False, 0, 1, -5, 3.5, 2.0, "", "x", "60", "true", "exit", "{{ word }}", "{{lines}}", "{{ map }}",
    "{{ count }}", "{{ flag }}", "{{ none }}", "a {{ apart }} b", "{{ssm:x}}", "platformType", "Linux", "String",
    "StringList", "ENV_VAR", "aws:runShellScript", "aws:nothing", "2.0", "1.2", "(", "[a", [], [1], ["a", "b"],
    ["platformType", "linux"], ["{{ lines }}"], ["{{ lines }}", "x"], [None], {}, {"a": 1}, {"a": None},
    {"StringEquals": ["{{ word }}", 1]},
])  # fmt: skip


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    if isinstance(value, dict | list):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _places(part, (*path, key))


@st.composite
def documents(draw: st.DrawFn) -> Any:
    """A good document with a few things in it that are changed, renamed, doubled or gone."""
    made = copy.deepcopy(draw(st.sampled_from([GOOD, GOOD, OLD])))
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(list(_places(made))))
        at = made
        for part in path[:-1]:
            at = at[part]
        match draw(st.sampled_from(["put", "put", "put", "remove", "rename", "double"])):
            case "put":
                at[path[-1]] = copy.deepcopy(draw(JUNK))
            case "remove":
                del at[path[-1]]
            case "rename" if isinstance(at, dict):
                at[draw(st.sampled_from([str.upper, str.title, str.swapcase]))(path[-1])] = copy.deepcopy(draw(JUNK))
            case "double" if isinstance(at, list):
                at.append(copy.deepcopy(at[path[-1]]))
        if not made:
            break
    return made


@settings(max_examples=500, deadline=None)
@given(documents(), st.sampled_from(["JSON", "YAML"]))
def test_what_is_accepted_an_agent_can_parse(content: Any, format_: str) -> None:
    """With the defaults, and with values for what has none."""
    try:
        parsed = checked("Command", format_, json.dumps(content))
    except ApiError:
        return
    document = Document(
        name="Mine", owner="1", kind="Command", version="1", latest_version="1", default_version="1",
        format=format_, text=json.dumps(content), content=parsed, created_at=1,
    )  # fmt: skip
    needed = {name for name, each in document.parameters.items() if each.get("default") is None}
    values = {name: ['{"a": "b"}'] if name.startswith("map") else ["abc"] for name in needed}
    try:
        check_values(document, values)
    except InvalidParameters:
        return
    try:
        parse(for_node(document), to_node(document, values))
    except Refused as refused:
        raise AssertionError(f"an agent refuses it: {refused}") from refused
