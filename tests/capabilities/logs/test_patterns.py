"""The language of filter patterns: the service's own examples, and random patterns beside a slow reading of them."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilothouse.capabilities.logs.patterns import compiled
from pilothouse.errors import InvalidParameterException

TRAIL = json.dumps({
    "eventType": "UpdateTrail", "sourceIPAddress": "111.111.111.111", "arrayKey": ["value", "another value"],
    "objectList": [{"name": "a", "id": 1}, {"name": "b", "id": 2}], "SomeObject": None, "ThisFlag": True,
    "nested": {"dotted.name": 5, "latency": 1.5e3},
})  # fmt: skip
APACHE = '127.0.0.1 - frank [10/Oct/2000:13:25:15 -0700] "GET /index.html HTTP/1.0" 404 1534'


@pytest.mark.parametrize(
    ("pattern", "message", "fits"),
    [
        ("", "anything", True),
        ("ERROR", "[ERROR] A fatal exception", True),
        ("ERROR", "Exiting with ERRORCODE: -1", True),
        ("error", "[ERROR] A fatal exception", False),
        ("ERROR Exception", "[ERROR] Unhandled Exception", True),
        ("ERROR Exception", "[ERROR] none", False),
        ("ERROR -Exiting", "Exiting with ERRORCODE: -1", False),
        ('"ERROR" -"Exiting"', "[ERROR] A fatal exception", True),
        ('"the request"', "Failed to process the request", True),
        ('"the  request"', "Failed to process the request", False),
        ('"a \\"quoted\\" word"', 'here is a "quoted" word', True),
        ("?ERROR ?WARN", "WARN message", True),
        ("?ERROR ?WARN", "INFO message", False),
        ("?ERROR REQUEST", "INFO REQUEST", True),
        ("%AUTHORIZED%", "[ERROR 401] UNAUTHORIZED REQUEST", True),
        ("%4[0-9]{2}%", "status 404", True),
        ("%^4[0-9]{2}%", "status 404", False),
        ("%a% -%b%", "ab", False),
        ('{ $.eventType = "UpdateTrail" }', TRAIL, True),
        ("{ $.sourceIPAddress != 123.123.* }", TRAIL, True),
        ("{$.sourceIPAddress=111.*}", TRAIL, True),
        ('{ $.arrayKey[0] = "value" }', TRAIL, True),
        ("{ $.objectList[1].id = 2 }", TRAIL, True),
        ("{ $.objectList[*].id = 2 }", TRAIL, True),
        ("{ $.objectList[*].id = 3 }", TRAIL, False),
        ("{ $.*.latency = 1500 }", TRAIL, True),
        ("{ $.SomeObject IS NULL }", TRAIL, True),
        ("{ $.SomeOther IS NULL }", TRAIL, False),
        ("{ $.SomeOther NOT EXISTS }", TRAIL, True),
        ("{ $.SomeObject NOT EXISTS }", TRAIL, False),
        ("{ $.ThisFlag IS TRUE }", TRAIL, True),
        ("{ $.ThisFlag IS FALSE }", TRAIL, False),
        ("{ $.arrayKey = 1 }", TRAIL, False),
        ("{ $.arrayKey != 1 }", TRAIL, False),
        ('{ $.nested.["dotted.name"] > 4 }', TRAIL, True),
        ("{ $.nested.latency >= 1.5e3 && $.nested.latency < 10e3 }", TRAIL, True),
        ("{ $.eventType = %^Update[A-Z]% }", TRAIL, True),
        ('{ $.eventType = "*Trail" }', TRAIL, True),
        ('{ $.eventType = "Up*Trail" }', TRAIL, False),
        ("{ $.eventType = * }", TRAIL, True),
        ("{ $.gone = * }", TRAIL, False),
        ("{ ($.ThisFlag IS FALSE || $.eventType = UpdateTrail) && $.objectList[0].id = 1 }", TRAIL, True),
        ("{ $.ThisFlag IS TRUE || $.eventType = no && $.objectList[0].id = 9 }", TRAIL, True),
        ("{ $.eventType = UpdateTrail }", "no JSON", False),
        ("{ $.eventType = UpdateTrail }", "[" * 100_000, False),
        ("[ip, user, name, time, request, status = 4*, bytes > 1000]", APACHE, True),
        ("[ip, user, name, time, request, status = 4*, bytes > 1534]", APACHE, False),
        ("[ip, user, name, time, request = *html*, status = 404 && status != 403, bytes]", APACHE, True),
        ("[ip, user, name]", APACHE, False),
        ("[ip, user, ...]", APACHE, True),
        ("[..., request=*.html*, status_code=4*,]", APACHE, True),
        ('[ip, ..., time = "10/Oct/2000*", request, status, bytes]', APACHE, True),
        ("[..., status = %[45][0-9]+%, bytes]", APACHE, True),
        ("[w1=ERROR || w1=WARN, w2]", "WARN message", True),
        ("[w1=ERROR || w1=WARN, w2]", "INFO message", False),
        ("[w1=!ERROR&&w1=!WARN, w2]", "INFO message", True),
        ("[w1, w2]", 'one "two and more"', True),
        ("[w1, w2, w3]", '"open [brackets stay', True),
        ("[w1, ...]", "[ " * 300_000, True),
    ],
)
def test_a_pattern_says_what_fits(pattern: str, message: str, fits: bool) -> None:
    assert compiled(pattern)(message) is fits


@pytest.mark.parametrize(
    "pattern",
    [
        "ERROR:", '"open', "%open", "%a!%", "%(a)%", "%[%", "{ $.a }", "{ $.a = }", "{ $.a = 1", "{ a = 1 }",
        "{ $.a > text }", "{ ($.a = 1 }", "{ $.a = 1 $.b = 2 }", "{ $.a = %x% && $.b = %x% && $.c = %x% }",
        "[..., a, ...]", "[a = 1 b]", "[a = ]", "{" + "(" * 60 + "$.a = 1" + ")" * 60 + "}", "-", "{}",
    ],
)  # fmt: skip
def test_a_malformed_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidParameterException):
        compiled(pattern)


Condition = tuple[Any, ...]
KEYS = ("a", "b", "c")
TEXTS = ("x", "xy", "yx", "5", "-5", "true", "x y")
conditions: st.SearchStrategy[Condition] = st.recursive(
    st.one_of(
        st.tuples(st.just("text"), st.sampled_from(KEYS), st.sampled_from(("=", "!=")), st.sampled_from(TEXTS),
                  st.booleans(), st.booleans()),
        st.tuples(st.just("number"), st.sampled_from(KEYS), st.sampled_from(("=", "!=", "<", "<=", ">", ">=")),
                  st.integers(-6, 6)),
        st.tuples(st.just("is"), st.sampled_from(KEYS), st.sampled_from(("NULL", "TRUE", "FALSE"))),
        st.tuples(st.just("not exists"), st.sampled_from(KEYS)),
    ),
    lambda inner: st.tuples(st.sampled_from(("&&", "||")), st.lists(inner, min_size=2, max_size=3)),
    max_leaves=6,
)  # fmt: skip
documents = st.dictionaries(
    st.sampled_from(KEYS),
    st.one_of(st.none(), st.booleans(), st.integers(-6, 6), st.floats(-6, 6), st.sampled_from(TEXTS), st.just([1])),
)


def written(condition: Condition) -> str:
    kind = condition[0]
    if kind in ("&&", "||"):
        return "(" + f" {kind} ".join(written(each) for each in condition[1]) + ")"
    if kind == "text":
        _, key, operator, text, front, behind = condition
        return f'$.{key} {operator} "{"*" * front}{text}{"*" * behind}"'
    if kind == "number":
        return f"$.{condition[1]} {condition[2]} {condition[3]}"
    return f"$.{condition[1]} IS {condition[2]}" if kind == "is" else f"$.{condition[1]} NOT EXISTS"


def holds(condition: Condition, document: dict[str, Any]) -> bool:
    """The same, as slow and as plain as can be."""
    kind = condition[0]
    if kind == "&&":
        return all(holds(each, document) for each in condition[1])
    if kind == "||":
        return any(holds(each, document) for each in condition[1])
    key = condition[1]
    if kind == "not exists":
        return key not in document
    if kind == "is":
        return key in document and document[key] is {"NULL": None, "TRUE": True, "FALSE": False}[condition[2]]
    value = document.get(key)
    if value is None or isinstance(value, list):
        return False
    said = str(value).lower() if isinstance(value, bool) else str(value)
    if kind == "text":
        _, _, operator, text, front, behind = condition
        places = range(len(said) - len(text) + 1)
        fitting = [
            at for at in places
            if said[at : at + len(text)] == text and (front or at == 0) and (behind or at + len(text) == len(said))
        ]  # fmt: skip
        return bool(fitting) == (operator == "=")
    _, _, operator, wanted = condition
    number: float | None = None
    if not isinstance(value, bool):
        try:
            number = float(value)
        except ValueError:
            number = None
    if operator in ("=", "!="):
        return (number == wanted) == (operator == "=")
    if number is None:
        return False
    return {"<": number < wanted, "<=": number <= wanted, ">": number > wanted, ">=": number >= wanted}[operator]


@given(conditions, documents)
@settings(max_examples=400, deadline=None)
def test_json_patterns_say_what_a_slow_reading_says(condition: Condition, document: dict[str, Any]) -> None:
    assert compiled("{" + written(condition) + "}")(json.dumps(document)) == holds(condition, document)


words = st.sampled_from(("ab", "abc", "b", "c d", "ABC", "x"))
terms = st.lists(st.tuples(st.sampled_from(("", "-", "?")), words), min_size=1, max_size=4)


@given(terms, st.text("abcdxABC ", max_size=12))
@settings(max_examples=300, deadline=None)
def test_terms_say_what_a_slow_reading_says(some: list[tuple[str, str]], message: str) -> None:
    wanted = [word for sign, word in some if not sign]
    absent = [word for sign, word in some if sign == "-"]
    either = [word for sign, word in some if sign == "?"]
    fits = all(word in message for word in wanted) and not any(word in message for word in absent)
    if not wanted and not absent:
        fits = any(word in message for word in either)
    pattern = " ".join(f'{sign}"{word}"' if " " in word else f"{sign}{word}" for sign, word in some)
    assert compiled(pattern)(message) is fits


@given(st.text(max_size=60))
@settings(max_examples=500, deadline=None)
def test_any_text_is_a_pattern_or_refused(text: str) -> None:
    for pattern in (text, "{" + text + "}", "[" + text + "]"):
        try:
            compiled(pattern)("some message")
        except InvalidParameterException:
            continue
