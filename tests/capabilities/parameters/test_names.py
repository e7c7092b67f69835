"""Names: every rule with its text, and properties over all names."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.capabilities.parameters import names
from pilothouse.capabilities.parameters.model import HierarchyLevelLimitExceededException, ParameterNotFound
from pilothouse.errors import AccessDeniedException, ApiError, ValidationException

HERE = ("123456789012", "eu-west-1")
ARN = "arn:aws:ssm:eu-west-1:123456789012:parameter/"
PREFIXED = 'Parameter name: can\'t be prefixed with "aws" or "ssm" (case-insensitive).'
SUB_PATHS = (
    'Parameter name: can\'t be prefixed with "ssm" (case-insensitive). If formed as a path, it can consist of '
    "sub-paths divided by slash symbol; each sub-path can be formed as a mix of letters, numbers and the following 3 "
    "symbols .-_"
)

levels = st.text("abcXYZ019_.-", min_size=1, max_size=8)
paths = st.lists(levels, min_size=1, max_size=15).map("/".join)
good_names = st.one_of(levels, paths.map("/{}".format)).filter(
    lambda name: not name.removeprefix("/").lower().startswith(("aws", "ssm"))
)


@pytest.mark.parametrize("name", ["aws_x", "AwsThing", "SSM_x", "/ssm", "/aws_x", "ssm", "aws"])
def test_one_level_in_the_reserved_namespace(name: str) -> None:
    with pytest.raises(ValidationException) as caught:
        names.new_name(name, *HERE)
    assert caught.value.message == PREFIXED


@pytest.mark.parametrize(
    "name",
    [
        "/ssm_test/path/to/var", "/SSM/PATH/x", "/ssm/x", "a/b/c", "a/b", "/a//b//c", "/a/", "a/", "/", "//", "a b",
        "/a/b c", "a@b", "{x}", "a:b", "ä", "", " ", "a\n b", "a\x00", "/a/b\u0660",
    ],
)  # fmt: skip
def test_malformed_names(name: str) -> None:
    with pytest.raises(ValidationException) as caught:
        names.new_name(name, *HERE)
    assert caught.value.message == SUB_PATHS


@pytest.mark.parametrize("name", ["/aws/path/x", "/aws_test/path/x", "/AWS/x", "/aws/service/x"])
def test_paths_of_the_provider(name: str) -> None:
    with pytest.raises(AccessDeniedException) as caught:
        names.new_name(name, *HERE)
    assert caught.value.message == f"No access to reserved parameter name: {name}."


def test_fifteen_levels_and_no_more() -> None:
    assert names.new_name("/" + "/".join("abcdefghijklmno"), *HERE).path.count("/") == 14
    with pytest.raises(HierarchyLevelLimitExceededException):
        names.new_name("/" + "/".join("abcdefghijklmnop"), *HERE)


def test_the_name_fits_with_its_arn_into_1011_characters() -> None:
    longest = 1011 - len(ARN)
    assert names.new_name("x" * longest, *HERE).path == "x" * longest
    assert names.new_name("/" + "x" * longest, *HERE).path == "x" * longest
    with pytest.raises(ValidationException):
        names.new_name("x" * (longest + 1), *HERE)


@given(good_names, st.sampled_from(["", " ", "\t", "  "]), st.sampled_from(["", " ", "\n"]))
def test_a_name_is_trimmed_and_found_under_every_spelling(name: str, before: str, after: str) -> None:
    made = names.new_name(before + name + after, *HERE)
    assert made.text == name
    assert not made.path.startswith("/")
    arn = names.arn(*HERE, made.path)
    assert arn == ARN + name.removeprefix("/")
    assert names.asked(name, *HERE) == names.Asked(made.path, name, None)
    assert names.asked(arn, *HERE) == names.Asked(made.path, None, None)
    assert names.resource(*HERE, name) == names.resource(*HERE, arn) == arn


@given(good_names, st.from_regex(r"[A-Za-z0-9_.-]+", fullmatch=True))
def test_one_selector_may_follow_a_name_or_an_arn(name: str, selector: str) -> None:
    path = name.removeprefix("/")
    assert names.asked(f"{name}:{selector}", *HERE) == names.Asked(path, name, selector)
    assert names.asked(f"{ARN}{path}:{selector}", *HERE) == names.Asked(path, None, selector)
    assert names.resource(*HERE, f"{name}:{selector}") == ARN + path
    assert names.resource(*HERE, f"{ARN}{path}:{selector}") == ARN + path
    with pytest.raises(ParameterNotFound) as caught:
        names.asked(f"{name}:{selector}:2", *HERE)
    assert caught.value.message == f"Parameter {name}:{selector}:2 not found."


@pytest.mark.parametrize(
    "arn",
    [
        "arn:aws:ssm:eu-west-1:210987654321:parameter/x",
        "arn:aws:ssm:us-east-1:123456789012:parameter/x",
        "arn:aws:ssm:eu-west-1:123456789012:document/x",
        "arn:aws:s3:eu-west-1:123456789012:parameter/x",
        "arn:aws:ssm:eu-west-1:123456789012:parameter/",
        "arn:aws:ssm:eu-west-1:123456789012:parameter/x:1:2",
    ],
)
def test_arns_that_name_nothing_here(arn: str) -> None:
    with pytest.raises(ParameterNotFound):
        names.asked(arn, *HERE)


@given(st.text(max_size=60))
def test_any_text_is_a_name_or_a_refusal(text: str) -> None:
    assert names.resource(*HERE, text)
    try:
        asked = names.asked(text, *HERE)
    except (ValidationException, ParameterNotFound):
        return
    assert re.fullmatch(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*", asked.path)


@given(st.text(max_size=60))
def test_a_new_name_can_be_asked_for(text: str) -> None:
    try:
        made = names.new_name(text, *HERE)
    except ApiError:
        return
    assert names.asked(text, *HERE).path == made.path


@given(st.lists(paths, unique=True, max_size=30), levels)
def test_hierarchies_hold_exactly_what_lies_below(all_paths: list[str], above: str) -> None:
    walked = names.below(above, recursive=True)
    inside = {path for path in all_paths if walked.start("") <= path < walked.end}
    assert inside == {path for path in all_paths if path.startswith(above + "/")}


@given(st.lists(paths, unique=True, min_size=1, max_size=30), st.data())
def test_the_start_after_a_path_leaves_out_only_what_came_before(all_paths: list[str], data: st.DataObject) -> None:
    after = data.draw(st.sampled_from(all_paths))
    start = names.Hierarchy().start(after)
    assert {path for path in all_paths if path >= start} == {path for path in all_paths if path > after}
