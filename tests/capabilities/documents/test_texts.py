"""JSON and YAML: the same content either way, with its order."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilothouse.capabilities.documents import texts
from pilothouse.capabilities.documents.checking import checked
from pilothouse.errors import ApiError

words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
odd = st.sampled_from(
    ["yes", "No", "null", "~", "", "1", "-0", "0x1F", "1_000", "12:30", "1e5", ".5", ".inf", "2024-01-01", "<<", "=",
     "a: b", "- x", " lead", "trail ", "a\nb", "a\n\nb\n", "\n", "  in\n  out\n", "#!/bin/sh\necho 'hi'\n", "tab\there",
     "a #b", "{{ x }}", "!Ref", "&a", "*a", "%", "@", "`", "a\r\nb", "é\u2028ü", "\x85", "\ufeff", "x\n \ny", "\x7f"]
)  # fmt: skip
scalars = st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.floats(-1e15, 1e15) | words | odd
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words | odd, inner, max_size=4),
    max_leaves=15,
)


@settings(max_examples=500, deadline=None)
@given(st.dictionaries(words | odd, values, max_size=5))
def test_there_and_back(content: dict[str, Any]) -> None:
    for format_, text in (("JSON", texts.to_json(content)), ("YAML", texts.to_yaml(content))):
        again = texts.parse(text, format_)
        assert again == content, text
        assert json.dumps(again) == json.dumps(content), "the order of keys"


def test_scripts_stay_lines_in_yaml() -> None:
    assert texts.to_yaml({"b": "#!/bin/sh\necho hi\n", "a": ["x", "y: z"]}) == (
        "b: |\n  #!/bin/sh\n  echo hi\na:\n- x\n- 'y: z'\n"
    )


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("yes", True), ("Off", False), ("null", None), ("~", None), ("", None), ("12", 12), ("-3", -3), ("2.2", 2.2),
        ("0644", "0644"), ("0x10", "0x10"), ("12:30", "12:30"), ("2024-01-01", "2024-01-01"), ("1e3", "1e3"),
        ("'yes'", "yes"), ('"12"', "12"), ("!!str 12", "12"),
    ],
)  # fmt: skip
def test_what_plain_words_mean_in_yaml(written: str, meant: Any) -> None:
    found = texts.parse(f"a: {written}", "YAML")["a"]
    assert (found, type(found)) == (meant, type(meant))


def test_an_alias_is_what_it_stands_for() -> None:
    assert texts.parse("a: &one {x: [1]}\nb: *one\n", "YAML") == {"a": {"x": [1]}, "b": {"x": [1]}}


MEMBERS = ("parameters", "mainSteps", "runtimeConfig", "sessionType", "inputs", "properties", "packages", "files",
           "description")  # fmt: skip
REFUSALS = {"InvalidDocumentContent", "InvalidDocumentSchemaVersion", "MaxDocumentSizeExceeded"}


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["Command", "Policy", "Session", "Automation", "Package", "ChangeCalendar", "CloudFormation"]),
    st.sampled_from(["JSON", "YAML", "TEXT"]),
    values.map(json.dumps)
    | st.text(max_size=50)
    | st.fixed_dictionaries(
        {"schemaVersion": st.sampled_from(["2.2", "1.2", "1.0", "0.3", "2.0", 2.2])},
        optional=dict.fromkeys(MEMBERS, values),
    ).map(json.dumps),
)  # fmt: skip
def test_whatever_comes_is_taken_or_refused(kind: str, format_: str, text: str) -> None:
    code = None
    try:
        checked(kind, format_, text)
    except ApiError as error:
        code = error.code
    assert code is None or code in REFUSALS
