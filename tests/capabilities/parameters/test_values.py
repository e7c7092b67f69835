"""Data types, tiers, patterns."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.capabilities.parameters import values
from pilothouse.capabilities.parameters.model import (
    InvalidAllowedPatternException,
    ParameterPatternMismatchException,
)
from pilothouse.errors import ValidationException

GOOD = [
    ("text", ""), ("aws:ec2:image", "anything"), ("aws:ssm:integration", "x"), ("binary", "x"),
    ("aws:region", "eu-west-1"), ("aws:region", "us-gov-west-1"), ("aws:account:id", "123456789012"),
    ("boolean", "true"), ("boolean", "false"), ("integer", "-7"), ("integer", "+0012"), ("float", "1"),
    ("float", "-1.5e-7"), ("float", ".5"), ("hostname", "a"), ("hostname", "web-1.example.com."),
    ("email", "first.last+tag@example.com"), ("ipv4-address", "10.0.0.1"), ("ipv6-address", "2001:db8::1"),
    ("url", "https://example.com:8443/x?y=z#a"), ("url", "postgresql://u:p@db/x"), ("json", '{"a": [1, 1e999]}'),
    ("jsonc", '{"a": "//no", /* c */ "b": [1,], } // end'), ("jsonc", "1"),
]  # fmt: skip
BAD = [
    ("aws:region", "mars"), ("aws:account:id", "12345678901"), ("boolean", "True"), ("boolean", "yes"),
    ("integer", "1.0"), ("integer", "١"), ("integer", ""), ("float", "nan"), ("float", "1_0"), ("float", "."),
    ("hostname", "-a"), ("hostname", "a..b"), ("hostname", "a_b"), ("hostname", "x" * 64), ("email", "a@"),
    ("email", "a b@c.d"), ("email", ".a@c.d"), ("ipv4-address", "256.0.0.1"), ("ipv4-address", "10.1"),
    ("ipv6-address", "fe80::1%eth0"), ("ipv6-address", ":::"), ("url", "example.com"), ("url", "http://a b"),
    ("url", "http://x:99999/"), ("url", "http://"), ("json", "{a: 1}"), ("json", "NaN"), ("json", "[" * 5000),
    ("json", '{"a": 1,}'), ("jsonc", '{"a": "b}'), ("jsonc", "/* never closed"), ("jsonc", "{,}x"),
]  # fmt: skip


@pytest.mark.parametrize(("data_type", "value"), GOOD)
def test_values_of_their_type(data_type: str, value: str) -> None:
    values.check_data_type(data_type, "String", value)


@pytest.mark.parametrize(("data_type", "value"), BAD)
def test_values_that_are_not_of_the_type(data_type: str, value: str) -> None:
    with pytest.raises(ValidationException) as caught:
        values.check_data_type(data_type, "SecureString", value)
    assert caught.value.message == f"The parameter value is not valid for the data type {data_type}."


def test_each_member_of_a_list_is_of_the_type() -> None:
    values.check_data_type("integer", "StringList", "1,2,3")
    with pytest.raises(ValidationException):
        values.check_data_type("integer", "StringList", "1,b,3")


trees = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)),
    max_leaves=8,
)


@given(trees, st.sampled_from(["", "//c\n", "/* , ] */", " "]))
def test_every_json_text_is_json_and_with_comments_jsonc(tree: object, comment: str) -> None:
    text = json.dumps(tree)
    values.check_data_type("json", "String", text)
    values.check_data_type("jsonc", "String", comment + text + comment)


@given(st.text('"\\/*,[]{} a\n', max_size=300))
def test_whatever_is_json_is_jsonc(text: str) -> None:
    try:
        values.check_data_type("json", "String", text)
    except ValidationException:
        return
    values.check_data_type("jsonc", "String", text)


@pytest.mark.parametrize("hostile", ['"\\' * 4096, '"' * 8192, "/*" * 4096, "," * 8192, "[1," * 2730])
def test_hostile_texts_are_refused(hostile: str) -> None:
    with pytest.raises(ValidationException):
        values.check_data_type("jsonc", "String", hostile)


@pytest.mark.parametrize(
    ("asked", "was", "size", "data_type", "policies", "tier"),
    [
        (None, None, 4096, "text", False, "Standard"),
        (None, None, 4097, "text", False, None),
        (None, None, 1, "json", False, None),
        (None, None, 1, "text", True, None),
        (None, "Standard", 1, "text", False, "Standard"),
        (None, "Standard", 4097, "text", False, None),
        (None, "Advanced", 8192, "json", True, "Advanced"),
        ("Standard", None, 4096, "text", False, "Standard"),
        ("Standard", "Advanced", 1, "text", False, None),
        ("Advanced", "Standard", 1, "text", False, "Advanced"),
        ("Advanced", None, 8193, "text", False, None),
        ("Intelligent-Tiering", None, 1, "text", False, "Standard"),
        ("Intelligent-Tiering", None, 4097, "text", False, "Advanced"),
        ("Intelligent-Tiering", None, 1, "url", False, "Advanced"),
        ("Intelligent-Tiering", None, 1, "text", True, "Advanced"),
        ("Intelligent-Tiering", "Advanced", 1, "text", False, "Advanced"),
        ("Intelligent-Tiering", None, 8193, "text", False, None),
    ],
)
def test_tiers(asked: str | None, was: str | None, size: int, data_type: str, policies: bool, tier: str | None) -> None:
    if tier is None:
        with pytest.raises(ValidationException):
            values.choose_tier(asked, was, "x" * size, data_type, policies=policies)
    else:
        assert values.choose_tier(asked, was, "x" * size, data_type, policies=policies) == tier


@pytest.mark.parametrize("value", ["{{x}}", "a{{ssm:b}}c", "{{}}", "{{a\nb}}"])
def test_nesting_is_refused(value: str) -> None:
    with pytest.raises(ValidationException):
        values.check_text(value)


@pytest.mark.parametrize("value", ['{"a": {"b": {}}}', "{{", "}}{{", "{x}"])
def test_braces_alone_are_no_nesting(value: str) -> None:
    values.check_text(value)


def test_a_pattern_that_would_backtrack_answers_at_once() -> None:
    with pytest.raises(ParameterPatternMismatchException):
        values.check_pattern("(a+)+$", "a" * 4000 + "!")


@pytest.mark.parametrize(
    ("pattern", "value"),
    [
        ("a{0,1000}" * 20, "b"),  # seconds to compile
        ("(a?){500}" * 20 + "x", "a" * 4096),  # a minute to match
        (r"\p{L}{1,200}", "b"),
        (".{1,1000}", "a" * 8192),
    ],
)
def test_a_pattern_that_is_too_much_work_is_refused(pattern: str, value: str) -> None:
    with pytest.raises(InvalidAllowedPatternException, match="repeats too much"):
        values.check_pattern(pattern, value)


@pytest.mark.parametrize(
    ("pattern", "value"),
    [(".{1,1000}", "é" * 1000), (r"[\p{L}\p{N}_-]+", "é" * 4096), ("(a|b)+(c?)", "ab" * 4096), (".*", "é" * 524288)],
)
def test_usual_patterns_take_long_values(pattern: str, value: str) -> None:
    values.check_pattern(pattern, value)
