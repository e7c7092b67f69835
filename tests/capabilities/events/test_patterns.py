"""Event patterns: a table, and an independent matcher that says the same of random patterns and events."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.capabilities.events.patterns import MalformedPattern, parse

EVENT = {
    "source": "aws.ssm",
    "detail-type": "Parameter Store Change",
    "resources": ["arn:a", "arn:b"],
    "detail": {"name": "/prod/db", "operation": "Update", "size": 12, "flag": True, "none": None, "empty": [],
               "list": [1, "two", [3]], "objects": [{"k": "a"}, {"k": "b"}], "star": "a*b"},
}  # fmt: skip

TABLE: list[tuple[dict[str, Any], bool]] = [
    ({"source": ["aws.ssm"]}, True),
    ({"source": ["aws"]}, False),
    ({"source": ["aws.ssm"], "detail": {"operation": ["Create"]}}, False),
    ({"resources": ["arn:b"]}, True),
    ({"missing": ["x"]}, False),
    ({"detail": {"size": [12.0]}}, True),
    ({"detail": {"size": ["12"]}}, False),
    ({"detail": {"flag": [True]}}, True),
    ({"detail": {"flag": [1]}}, False),
    ({"detail": {"none": [None]}}, True),
    ({"detail": {"none": [{"exists": True}]}}, True),
    ({"detail": {"name": [{"prefix": "/prod/"}]}}, True),
    ({"detail": {"name": [{"prefix": {"equals-ignore-case": "/PROD"}}]}}, True),
    ({"detail": {"name": [{"suffix": "db"}]}}, True),
    ({"detail": {"name": [{"suffix": "d"}]}}, False),
    ({"detail": {"operation": [{"equals-ignore-case": "uPdAtE"}]}}, True),
    ({"detail": {"operation": [{"anything-but": "Delete"}]}}, True),
    ({"detail": {"operation": [{"anything-but": ["Update", "Delete"]}]}}, False),
    ({"detail": {"name": [{"anything-but": {"prefix": "/prod"}}]}}, False),
    ({"detail": {"name": [{"anything-but": {"suffix": ["x", "y"]}}]}}, True),
    ({"detail": {"name": [{"anything-but": {"wildcard": "/*/db"}}]}}, False),
    ({"detail": {"gone": [{"anything-but": "x"}]}}, False),
    ({"detail": {"size": [{"numeric": [">", 0, "<=", 12]}]}}, True),
    ({"detail": {"size": [{"numeric": ["=", 12.5]}]}}, False),
    ({"detail": {"name": [{"numeric": [">", 0]}]}}, False),
    ({"detail": {"gone": [{"exists": False}]}}, True),
    ({"detail": {"empty": [{"exists": False}]}}, True),
    ({"gone": {"deep": [{"exists": False}]}}, True),
    ({"detail": {"name": [{"exists": False}]}}, False),
    ({"detail": {"name": [{"wildcard": "/*/db"}]}}, True),
    ({"detail": {"name": [{"wildcard": "/prod/db"}]}}, True),
    ({"detail": {"name": [{"wildcard": "*x*"}]}}, False),
    ({"detail": {"star": [{"wildcard": "a\\*b"}]}}, True),
    ({"detail": {"name": [{"wildcard": "/prod\\*db"}]}}, False),
    ({"detail": {"list": [3]}}, True),
    ({"detail": {"objects": {"k": ["b"]}}}, True),
    ({"$or": [{"source": ["x"]}, {"detail": {"operation": ["Update"]}}]}, True),
    ({"$or": [{"source": ["x"]}, {"source": ["y"]}]}, False),
]


@pytest.mark.parametrize(("pattern", "wanted"), TABLE, ids=[json.dumps(pattern) for pattern, _ in TABLE])
def test_what_a_pattern_wants(pattern: dict[str, Any], wanted: bool) -> None:
    assert parse(json.dumps(pattern)).matches(EVENT) is wanted


@pytest.mark.parametrize(
    "text",
    ["{", "[]", "{}", '"x"', '{"a": "x"}', '{"a": []}', '{"a": {}}', '{"a": [[1]]}', '{"a": [{"prefix": ""}]}',
     '{"a": [{"prefix": 1}]}', '{"a": [{"what": 1}]}', '{"a": [{"prefix": "a", "suffix": "b"}]}',
     '{"a": [{"numeric": []}]}', '{"a": [{"numeric": ["<", 1, ">", 0]}]}', '{"a": [{"numeric": [">", 5, "<", 5]}]}',
     '{"a": [{"numeric": ["=", "1"]}]}', '{"a": [{"numeric": ["=", 6000000000]}]}', '{"a": [{"exists": 1}]}',
     '{"a": [{"wildcard": "a**b"}]}', '{"a": [{"wildcard": "a\\\\b"}]}', '{"a": [{"anything-but": []}]}',
     '{"a": [{"anything-but": [null]}]}', '{"a": [NaN]}', '{"$or": [{"a": [1]}]}', "x" * 5000,
     '{"a":' * 30 + '["x"]' + "}" * 30, "[" * 4000],
)  # fmt: skip
def test_what_is_no_pattern(text: str) -> None:
    with pytest.raises(MalformedPattern):
        parse(text)


def test_no_pattern_wants_everything() -> None:
    assert parse("").matches(EVENT)


# An independent matcher: the event as a table of paths and plain values, rules by regular expressions.

LETTERS = st.text("ab*", min_size=1, max_size=4)
PLAIN = st.one_of(LETTERS, st.integers(-3, 3), st.booleans(), st.none())
NAMES = st.sampled_from(["x", "y", "z"])
EVENTS = st.recursive(
    st.dictionaries(NAMES, st.one_of(PLAIN, st.lists(PLAIN, max_size=3)), max_size=3),
    lambda inner: st.dictionaries(NAMES, st.one_of(PLAIN, st.lists(PLAIN, max_size=3), inner), max_size=3),
    max_leaves=4,
)
TEXT_RULES = st.one_of(
    *(st.fixed_dictionaries({kind: LETTERS}) for kind in ("prefix", "suffix", "equals-ignore-case")),
    st.fixed_dictionaries({"wildcard": LETTERS.filter(lambda text: "**" not in text)}),
)
RULES = st.one_of(
    PLAIN,
    TEXT_RULES,
    st.fixed_dictionaries({"exists": st.booleans()}),
    st.fixed_dictionaries({"anything-but": st.one_of(LETTERS, st.lists(st.integers(-3, 3), min_size=1), TEXT_RULES)}),
    st.tuples(st.sampled_from(["=", "<", "<=", ">", ">="]), st.integers(-3, 3)).map(lambda rule: {"numeric": [*rule]}),
)
PATTERNS = st.recursive(
    st.dictionaries(NAMES, st.lists(RULES, min_size=1, max_size=3), min_size=1, max_size=3),
    lambda inner: st.dictionaries(
        NAMES, st.one_of(st.lists(RULES, min_size=1, max_size=3), inner), min_size=1, max_size=3
    ),
    max_leaves=4,
)


def table(event: Any, at: tuple[str, ...] = ()) -> dict[tuple[str, ...], list[Any]]:
    found: dict[tuple[str, ...], list[Any]] = {}
    for name, value in event.items():
        if isinstance(value, dict):
            found |= table(value, (*at, name))
        elif value != []:
            found[(*at, name)] = value if isinstance(value, list) else [value]
    return found


def same(found: Any, wanted: Any) -> bool:
    return json.dumps(found) == json.dumps(wanted)


def one(rule: Any, found: Any) -> bool:
    if not isinstance(rule, dict):
        return same(found, rule)
    [(kind, value)] = rule.items()
    if kind == "exists":
        return bool(value)
    if kind == "anything-but":
        return not any(one(each, found) for each in (value if isinstance(value, list) else [value]))
    if kind == "numeric":
        number = isinstance(found, int) and not isinstance(found, bool)
        return number and bool(
            eval(f"{found} {value[0].replace('=', '==') if value[0] == '=' else value[0]} {value[1]}")
        )
    if not isinstance(found, str):
        return False
    escaped = re.escape(value)
    expression = {
        "prefix": f"{escaped}.*",
        "suffix": f".*{escaped}",
        "equals-ignore-case": f"(?i:{escaped})",
        "wildcard": ".*".join(re.escape(part) for part in value.split("*")),
    }[kind]
    return re.fullmatch(expression, found) is not None


def naive(pattern: Any, values: dict[tuple[str, ...], list[Any]], at: tuple[str, ...] = ()) -> bool:
    for name, rules in pattern.items():
        here = (*at, name)
        if isinstance(rules, dict):
            if not naive(rules, values, here):
                return False
        elif here in values:
            if not any(one(rule, found) for rule in rules for found in values[here]):
                return False
        elif {"exists": False} not in rules:
            return False
    return True


@given(PATTERNS, EVENTS)
def test_an_independent_matcher_agrees(pattern: dict[str, Any], event: dict[str, Any]) -> None:
    assert parse(json.dumps(pattern)).matches(event) is naive(pattern, table(event))
