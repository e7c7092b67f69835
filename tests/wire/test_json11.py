"""Bodies of JSON 1.1: what is refused before anything else is looked at."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.errors import SerializationException
from pilothouse.wire.json11 import decode


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"{}}",
        b"nonsense",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": -Infinity}',
        b'{"a": 1e400}',
        b'{"a": 01}',
        b"{'a': 1}",
        b'{"a": 1,}',
        b'{"a": 1} {"b": 2}',
        b'{"a": "\xff"}',
        b'{"a": "\\ud800"}',
        b'{"a": "line\nbreak"}',
        b'\xef\xbb\xbf{"a": 1}',
        b'"text"',
        b"[]",
        b"7",
        b"null",
        b'{"a": 1, "a": 2}',
        b'{"a": 1, "\\u0061": 2}',
        b'{"x": {"a": 1, "b": [{"c": 1, "c": 1}]}}',
        b'{"a": "' + b"\\" * 1001 + b'"}',
        b'{"a"' + b":" * 30_000,
        b"[" * 100_000,
        b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
    ],
)
def test_what_is_not_one_plain_object_is_refused(body: bytes) -> None:
    with pytest.raises(SerializationException):
        decode(body)


def nested(levels: int) -> bytes:
    return b'{"a":' * levels + b"1" + b"}" * levels


def test_limits() -> None:
    assert decode(nested(32))
    with pytest.raises(SerializationException, match="32 levels"):
        decode(nested(33))
    assert decode(b'{"a":' + b"[" * 31 + b"]" * 31 + b"}")
    with pytest.raises(SerializationException, match="32 levels"):
        decode(b'{"a":' + b"[" * 32 + b"]" * 32 + b"}")
    many = json.dumps({str(number): 1 for number in range(20_001)}).encode()
    with pytest.raises(SerializationException, match="20000"):
        decode(many)
    assert len(decode(many, 20_001)) == 20_001


def test_many_shallow_lists_are_not_deep() -> None:
    assert decode(json.dumps({"a": [[1]] * 5_000}).encode())


def test_an_empty_body_is_an_empty_object() -> None:
    assert decode(b"") == {}


def test_colons_and_braces_within_strings_do_not_count() -> None:
    text = '{"a": "' + "{[:" * 100 + '\\"}]:", "b\\":": {"c": ":"}}'

    assert decode(text.encode()) == json.loads(text)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), ANYTHING))
def test_what_json_can_say_is_read(members: dict[str, object]) -> None:
    body = json.dumps(members, ensure_ascii=False).encode("utf-8", "replace")

    assert decode(body) == json.loads(body)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("body", [b'"\\"' * 300_000, b'{"a":"' + b'\\"' * 500_000, b"{[" * 500_000])
def test_a_hostile_body_is_read_in_one_pass(body: bytes) -> None:
    with pytest.raises(SerializationException):
        decode(body)


_TEXT = st.text(st.sampled_from('a:"\\é{'), max_size=5)
_VALUES = st.recursive(_TEXT | st.integers(), lambda inner: st.lists(inner, max_size=4), max_leaves=8)


@given(st.lists(st.tuples(_TEXT, _VALUES), max_size=6), st.booleans())
def test_a_name_that_stands_twice_is_seen_whatever_the_strings_hold(
    items: list[tuple[str, object]], escaped: bool
) -> None:
    members = ",".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in items)
    body = "{" + (members.replace(":", "\\u003a").replace('"\\u003a ', '": ') if escaped else members) + "}"
    if len({name for name, _ in items}) == len(items):
        decode(body.encode())
    else:
        with pytest.raises(SerializationException, match="twice"):
            decode(body.encode())
