"""Substitution, preconditions and plans."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse_agent.documents.plan import InvalidDocument, Plan, plan
from pilothouse_agent.documents.preconditions import Verdict, judge
from pilothouse_agent.documents.substitution import StoredParameter, UnresolvedReference, fill, references
from pilothouse_agent.plugins.supervised import timeout_of

names = st.from_regex(r"[a-zA-Z0-9]{1,8}", fullmatch=True)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(json_values)
def test_without_parameters_nothing_changes_but_references(value: Any) -> None:
    if not list(references(value)):
        assert fill(value, {}) == value


@given(names, json_values, st.sampled_from(["", " ", "  ", "\t"]))
def test_a_lone_placeholder_keeps_the_type(name: str, value: Any, space: str) -> None:
    assert fill(f"{{{{{space}{name}{space}}}}}", {name: value}) == value


@given(names, json_values, st.text(st.characters(exclude_characters="{}"), min_size=1))
def test_inside_a_text_everything_is_text(name: str, value: Any, around: str) -> None:
    written = (value if isinstance(value, str) else json.dumps(value)).replace("$$", "$")
    assert fill(f"{around}{{{{{name}}}}}{around}", {name: value}) == f"{around}{written}{around}"


@given(st.text(), st.text())
def test_values_are_never_looked_at_again(first: str, second: str) -> None:
    """A value that looks like a placeholder or reference is text."""
    filled = fill("a {{one}} b {{two}}", {"one": "{{two}}" + first, "two": "{{ssm:x}}" + second})
    assert filled == f"a {{{{two}}}}{first} b {{{{ssm:x}}}}{second}".replace("$$", "$") or "$$" in first + second


@given(st.text())
def test_backslashes_and_dollars_come_through(value: str) -> None:
    assert fill(["{{v}}"], {"v": value}) == [value]
    assert fill("x{{v}}", {"v": value}) == "x" + value.replace("$$", "$")


def test_unknown_placeholders_and_odd_names_stay() -> None:
    assert fill("a {{other}} {{o_d}} {{}} {{ a b }}", {"o": "1"}) == "a {{other}} {{o_d}} {{}} {{ a b }}"
    assert fill("{{o_d}}", {"o_d": "1"}) == "1"  # only a default can be there: given values have other names


UNREADABLE: tuple[Any, ...] = ("4", 172_801, "", None, "1e400", "nan", [])

STORED = {
    "one": StoredParameter(kind="String", value="uno"),
    "one:3": StoredParameter(kind="String", value="tres"),
    "list": StoredParameter(kind="StringList", value="a,b"),
}


def test_references() -> None:
    value = ["{{ssm:one}}/{{ ssm:one:3 }}", "{{ssm:list}}", {"k": "{{ssm:list}}"}]
    assert list(references(value)) == ["one", "one:3", "list", "list"]
    assert fill(value, {}, STORED) == ["uno/tres", "a", "b", {"k": "a,b"}]
    with pytest.raises(UnresolvedReference, match="StringList"):
        fill("x {{ssm:list}}", {}, STORED)
    with pytest.raises(UnresolvedReference, match="missing"):
        fill("{{ssm:missing}}", {}, STORED)


@pytest.mark.parametrize(
    ("precondition", "schema", "verdict"),
    [
        (None, "2.0", Verdict.RUN),
        ({"StringEquals": ["platformType", "Linux"]}, "2.2", Verdict.RUN),
        ({"StringEquals": ["LINUX", "platformType"]}, "2.2", Verdict.RUN),
        ({"StringEquals": ["platformType", "Windows"]}, "2.2", Verdict.SKIP),
        ({"StringEquals": ["platformType", "Linux"]}, "2.0", Verdict.FAIL),
        ({"StringEquals": ["{{ mode }}", "fast"]}, "2.2", Verdict.RUN),
        ({"StringEquals": ["slow", "{{ mode }}"]}, "2.2", Verdict.SKIP),
        ({"StringEquals": ["a", "b"]}, "2.2", Verdict.FAIL),
        ({"StringEquals": ["{{ mode }}", "{{ mode }}"]}, "2.2", Verdict.FAIL),
        ({"StringEquals": ["{{ssm:x}}", "platformType"]}, "2.2", Verdict.FAIL),
        ({"StringEquals": ["pre{{ssm:x}}", "{{ mode }}"]}, "2.2", Verdict.FAIL),
        ({"StringEquals": ["platformType"]}, "2.2", Verdict.FAIL),
        ({"StringLike": ["platformType", "Linux"]}, "2.2", Verdict.FAIL),
        ("platformType", "2.2", Verdict.FAIL),
    ],
)
def test_preconditions(precondition: Any, schema: str, verdict: Verdict) -> None:
    assert judge(precondition, schema, {"mode": "fast"}, "step")[0] is verdict


async def no_store(names: list[str]) -> Mapping[str, StoredParameter]:
    raise AssertionError(f"asked for {names}")


async def made(document: Any, given: Any = None) -> Plan:
    return await plan(document, given, no_store)


def steps(*raw: dict[str, Any], schema: str = "2.2", **members: Any) -> dict[str, Any]:
    return {"schemaVersion": schema, "mainSteps": list(raw), **members}


async def test_defaults_values_and_odd_names() -> None:
    document = steps(
        {"name": "a", "action": "aws:runShellScript", "inputs": {"runCommand": ["{{x}}-{{ y }}-{{o_d}}"]}},
        parameters={"x": {"default": "dx"}, "y": {"default": 7}, "o_d": {"default": "odd"}},
    )
    planned = await made(document, {"x": "given", "o_d": "dropped"})
    assert planned.steps[0].runs == [{"runCommand": ["given-7-odd"]}]
    assert Plan.from_json(json.loads(json.dumps(planned.to_json()))) == planned


@given(st.text(max_size=60))
async def test_what_reaches_a_script_by_environment_is_no_part_of_it(value: str) -> None:
    lines = ["echo {{ p }} {{p}}", "{{ p }}", "$SSM_p"]
    document = steps(
        {"name": "a", "action": "aws:runShellScript", "inputs": {"runCommand": lines, "workingDirectory": "{{ p }}"}},
        {"name": "b", "action": "aws:runPowerShellScript", "inputs": {"runCommand": ["echo {{ p }}"]}},
        parameters={"p": {"type": "String", "interpolationType": "ENV_VAR"}},
    )
    planned = await made(document, {"p": value})
    assert planned.steps[0].runs[0]["runCommand"] == ["echo ${SSM_p} ${SSM_p}", "${SSM_p}", "$SSM_p"]
    assert planned.steps[0].runs[0]["workingDirectory"] == value
    assert planned.steps[1].runs[0]["runCommand"] == ["echo ${env:SSM_p}"]
    assert [step.environment for step in planned.steps] == [{"SSM_p": value}] * 2


async def test_lists_of_properties_are_runs_of_one_step() -> None:
    properties = [{"id": "0", "runCommand": ["a"]}, {"id": "1", "runCommand": ["b"]}]
    document = {"schemaVersion": "1.2", "runtimeConfig": {"aws:runShellScript": {"properties": properties}}}
    (step,) = (await made(document)).steps
    assert (step.key, step.runs) == ("aws:runShellScript", properties)


@pytest.mark.parametrize("pattern", ["^ok$", "ok$", r"^[o$]k\$?$"])
async def test_a_pattern_ends_at_the_end(pattern: str) -> None:
    document = steps({"name": "a", "action": "x"}, parameters={"p": {"allowedPattern": pattern}})
    await made(document, {"p": "ok"})
    with pytest.raises(InvalidDocument, match="allowedPattern"):
        await made(document, {"p": "ok\n"})


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        {"schemaVersion": 2.2, "mainSteps": []},
        steps(),
        steps("x"),  # type: ignore[arg-type]
        steps({"action": "aws:runShellScript"}),
        steps({"name": "../../etc", "action": "aws:runShellScript"}),
        steps({"name": "a", "action": "x"}, {"name": "a", "action": "x"}),
        steps({"name": "a", "action": "x", "maxAttempts": "3"}),
        steps({"name": "a", "action": "x", "inputs": "{{ text }}"}),
        steps({"name": "a", "action": "x"}, parameters=["x"]),
        {"schemaVersion": "1.2", "runtimeConfig": []},
        {"schemaVersion": "1.2", "runtimeConfig": {"aws:runShellScript": "x"}},
        {"schemaVersion": "1.2", "runtimeConfig": {"aws:runShellScript": {"properties": ["x"]}}},
    ],
)
async def test_documents_that_are_refused(document: Any) -> None:
    with pytest.raises(InvalidDocument):
        await made(document)


@given(json_values, json_values)
async def test_any_document_is_a_plan_or_refused(document: Any, parameters: Any) -> None:
    async def empty(names: list[str]) -> Mapping[str, StoredParameter]:
        return {}

    for shape in (
        document,
        {"schemaVersion": "2.2", "mainSteps": [document]},
        {"schemaVersion": "1.2", "runtimeConfig": document},
    ):
        try:
            await plan(shape, parameters, empty)
        except InvalidDocument:
            continue


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5", 5), (172_800, 172_800), ("7.9", 7), *((odd, 3600) for odd in UNREADABLE)],
)
def test_timeouts(text: Any, seconds: int) -> None:
    assert timeout_of(text) == seconds
