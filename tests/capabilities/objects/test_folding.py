"""Pages of keys, folded at a delimiter, against a list that looks at every key."""

from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from pilothouse.capabilities.objects.folding import after_all, folded, page_of


@dataclass(frozen=True)
class Entry:
    key: str


LETTERS = st.text(alphabet="ab/ü-\ud7ff\ue000\U0010ffff", max_size=6)
KEYS = st.sets(LETTERS.filter(bool), max_size=25)


def told(keys: Sequence[str], prefix: str, delimiter: str, after: str) -> list[str]:
    """What is to be listed, in order: keys, and common prefixes once, where there is a key beyond `after` in them."""
    found: list[str] = []
    for key in sorted(keys):
        if key <= after or not key.startswith(prefix):
            continue
        common = folded(key, prefix, delimiter)
        if common is not None and common == after:
            continue  # it was the last one of the page before
        if (common or key) not in found:
            found.append(common or key)
    return found


@settings(max_examples=400)
@given(
    keys=KEYS,
    prefix=LETTERS,
    delimiter=st.sampled_from(["", "/", "a", "b/", "ü"]),
    after=LETTERS,
    size=st.integers(1, 4),
)
async def test_pages_together_are_the_whole_list(keys: set[str], prefix: str, delimiter: str, after: str, size: int):
    ordered = sorted(keys)

    async def fetch(start: str, inclusive: bool, end: str | None, count: int) -> Sequence[Entry]:
        found = [key for key in ordered if (key >= start if inclusive else key > start) and (end is None or key < end)]
        return [Entry(key) for key in found[:count]]

    wanted = told(ordered, prefix, delimiter, after)
    listed: list[str] = []
    place = after
    for _ in range(len(keys) + 2):
        page = await page_of(fetch, prefix=prefix, delimiter=delimiter, after=place, most=size)
        assert len(page) <= size
        listed += sorted([*(each.key for each in page.entries), *page.prefixes])
        if not page.more:
            break
        place = page.last
    assert listed == wanted


@given(prefix=st.text(min_size=1, max_size=4), rest=st.text(max_size=4), other=st.text(max_size=6))
def test_what_lies_beyond_a_prefix_lies_beyond_all_that_begins_with_it(prefix: str, rest: str, other: str):
    beyond = after_all(prefix)
    if beyond is None:
        assert set(prefix) == {"\U0010ffff"}
        return
    beyond.encode()  # it can be stored
    assert prefix + rest < beyond
    assert (prefix.encode() + rest.encode() < beyond.encode()) is True
    if prefix <= other < beyond:
        assert other.startswith(prefix)
