"""Values do not stand in what is recorded, however they came."""

import json
import re

from hypothesis import example, given
from hypothesis import strategies as st

from pilothouse.capabilities.sessions.masking import MASK, Masks
from pilothouse.capabilities.sessions.screens import plain

_BETWEEN = [b"", b"\x1b[31m", b"\x1b[0m", b"\r", b"\x07", b"\x1b]0;title\x07", b"\x00", b" \r", b"\x1b[3", b"\x1b"]
_VALUES = st.lists(st.text("abc\n\xe9", min_size=4, max_size=9).map(str.encode), min_size=1, max_size=4)
_PIECES = st.lists(
    st.one_of(st.sampled_from([*_BETWEEN, b"\r\n", b"x", b"$ "]), st.binary(max_size=3), st.integers(0, 1000)),
    max_size=12,
)  # fmt: skip
_CUTS = st.lists(st.integers(0, 300), max_size=30)


def recorded(values: list[bytes], output: bytes, cuts: list[int]) -> bytes:
    """What is recorded of output that came in these pieces."""
    masks, held, done, at = Masks(values), b"", b"", 0
    for cut in [*sorted(cuts), len(output)]:
        if cut >= at:
            part, held = masks.feed(held, output[at:cut])
            done, at = done + part, cut
    return done + masks.rest(held)


def shown(lines: bytes) -> str:
    return "\n".join(plain(line) for line in lines.decode("utf-8", "replace").split("\n"))


def output_of(values: list[bytes], pieces: list[bytes | int], between: bytes) -> bytes:
    """Numbers stand for values, some with something between their bytes, some as terminals have them."""
    parts = []
    for piece in pieces:
        if isinstance(piece, bytes):
            parts.append(piece)
            continue
        value = values[piece % len(values)]
        at = piece % (len(value) + 1)
        parts.append(value[:at] + between + value[at:] if piece % 3 else value.replace(b"\n", b"\r\n"))
    return b"".join(parts)


@given(_VALUES, _PIECES, st.sampled_from(_BETWEEN[:7]), _CUTS)
@example([b"abcd", b"cdef"], [b"ab", b"cdef"], b"", [2, 3])
@example([b"aaaa"], [0, 0, b"aa"], b"", list(range(10)))
def test_no_split_leaves_a_value(
    values: list[bytes], pieces: list[bytes | int], between: bytes, cuts: list[int]
) -> None:
    output = output_of(values, pieces, between)
    found = recorded(values, output, cuts)
    for value in values:
        stripped = value.strip(b"\r\n")
        if len(stripped) >= 4:
            assert stripped not in found
            assert stripped.decode() not in shown(found)
    if not any(value.strip(b"\r\n") in output or value.decode().strip() in shown(output) for value in values):
        whole = Masks(values).feed(b"", output)[0]
        assert output.startswith(whole) or MASK in whole


@given(st.lists(st.binary(max_size=40), max_size=12), st.lists(st.integers(0, 300), max_size=9))
def test_other_output_is_as_it_was(pieces: list[bytes], cuts: list[int]) -> None:
    output = re.sub(rb"[Zz]", b"", b"".join(pieces))
    assert recorded([b"ZZZZZZ", b"Zquux\nZquux"], output, cuts) == output


def test_forms_in_which_programs_print_a_value() -> None:
    key = b"-----BEGIN KEY-----\nMIIEvQIBADANBgkq\nhkiG9w0BAQEFAASC\n-----END KEY-----\n"
    secret = b'{"username":"admin","password":"pa\\"ss/word","port":5432}'
    for value, output in (
        (key, key.replace(b"\n", b"\r\n")),
        (key, b"MIIEvQIBADANBgkq"),
        (key, json.dumps({"Value": key.decode()}).encode()),
        (secret, secret),
        (secret, json.dumps({"SecretString": secret.decode()}, indent=4).encode()),
        (secret, b'pa"ss/word'),
        ("geh\xf6rt mir".encode(), json.dumps("geh\xf6rt mir").encode()),
        (b"x" * 2000, b"x" * 2000),
        (b"hunter2", b"hun\x1b[31mte\x1b[0mr2"),
        (b"hunter2", b"\x1b]0;hunter2\x07"),
        (b"a-long-password", b"a-long-pa \rssword"),
    ):
        for cut in range(len(output)):
            found = recorded([value], output, [cut])
            assert MASK in found
            for hidden in (b"MIIE", b"word", b"hunter2", b"hun", b"xxxx", b"geh", b"a-long"):
                assert hidden not in found, (output, cut, found)


def test_little_is_held_back_and_for_no_longer_than_needed() -> None:
    masks = Masks([b"hunter2", b"hunter2000"])
    assert masks.feed(b"", b"$ ") == (b"$ ", b"")
    assert masks.feed(b"", b"$ hun") == (b"$ ", b"hun")
    assert masks.feed(b"hun", b"t!") == (b"hunt!", b"")
    assert masks.feed(b"", b"hunter2") == (b"", b"hunter2")
    assert masks.feed(b"hunter2", b"\r\n$ ") == (MASK + b"\r\n$ ", b"")
    assert masks.feed(b"hunter20", b"00") == (MASK, b"")
    assert (masks.rest(b"hun"), masks.rest(b"hunter")) == (b"hun", MASK)
    flood = b"hun\x1b]0;" + b"y" * 9000
    part, held = masks.feed(b"", flood)
    assert not held
    assert b"hun" not in part
    assert part.endswith(b"y" * 10)


def test_values_are_in_no_repr() -> None:
    assert "hunter2" not in repr(Masks([b"hunter2"]))
    assert Masks([]).feed(b"", b"abc") == (b"abc", b"")
