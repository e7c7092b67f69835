"""Filters: every refusal with its text, and matching against a plain reading of the rules."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.capabilities.parameters import filters
from pilothouse.capabilities.parameters.filters import (
    Filter,
    InvalidFilterKey,
    InvalidFilterOption,
    InvalidFilterValue,
)
from pilothouse.capabilities.parameters.model import Version
from pilothouse.errors import ApiError, ValidationException

PATH_TEXT = (
    "The parameter doesn't meet the parameter name requirements. The parameter name must begin with a forward slash "
    '"/". It can\'t be prefixed with "aws" or "ssm" (case-insensitive). It must use only letters, numbers, or the '
    "following symbols: . (period), - (hyphen), _ (underscore). Special characters are not allowed. All sub-paths, if "
    'specified, must use the forward slash symbol "/". Valid example: /get/parameters2-/by1./path0_.'
)
GLOBAL_TEXT = (
    'Filters for common parameters can\'t be prefixed with "aws" or "ssm" (case-insensitive). When using global '
    "parameters, please specify within a global namespace."
)


def one(key: str, *values: str, option: str | None = None) -> dict[str, Any]:
    made: dict[str, Any] = {"Key": key}
    if values:
        made["Values"] = list(values)
    if option is not None:
        made["Option"] = option
    return made


REFUSED: list[tuple[list[dict[str, Any]], type[ApiError], str]] = [
    (
        [one("Label", "x")],
        InvalidFilterKey,
        "The following filter key is not valid: Label. Valid filter keys include: [Path, Name, Type, KeyId, Tier].",
    ),
    ([one("Name")], InvalidFilterValue, "The following filter values are missing : null for filter key Name."),
    (
        [one("Name", "x"), one("Name", "y")],
        InvalidFilterKey,
        "The following filter is duplicated in the request: Name. A request can contain only one occurrence of a "
        "specific filter.",
    ),
    (
        [one("Name", "x", option="X")],
        InvalidFilterOption,
        "The following filter option is not valid: X. Valid options include: [BeginsWith, Equals].",
    ),
    (
        [one("Type", "String", option="Contains")],
        InvalidFilterOption,
        "The following filter option is not valid: Contains. Valid options include: [BeginsWith, Equals].",
    ),
    (
        [one("Path", "/x", option="Equals")],
        InvalidFilterOption,
        "The following filter option is not valid: Equals. Valid options include: [Recursive, OneLevel].",
    ),
    (
        [one("Tier", "X")],
        InvalidFilterOption,
        "The following filter value is not valid: X. Valid values include: [Standard, Advanced, Intelligent-Tiering].",
    ),
    (
        [one("Type", "X")],
        InvalidFilterOption,
        "The following filter value is not valid: X. Valid values include: [String, StringList, SecureString].",
    ),
    ([one("Path", "//")], ValidationException, PATH_TEXT),
    ([one("Path", "/###")], ValidationException, PATH_TEXT),
    ([one("Path", "x")], ValidationException, PATH_TEXT),
    ([one("Path", "/aws")], ValidationException, GLOBAL_TEXT),
    ([one("Path", "/AWS/service")], ValidationException, GLOBAL_TEXT),
    ([one("Path", "/ssm/x")], ValidationException, GLOBAL_TEXT),
]


@pytest.mark.parametrize(("asked", "error", "text"), REFUSED)
def test_refused_filters(asked: list[dict[str, Any]], error: type[ApiError], text: str) -> None:
    with pytest.raises(error) as caught:
        filters.for_describe(asked)
    assert caught.value.message == text


@pytest.mark.parametrize("key", ["Name", "Path", "Tier", "DataType", "tag:x"])
def test_by_path_knows_type_key_and_label_only(key: str) -> None:
    with pytest.raises(InvalidFilterKey) as caught:
        filters.for_by_path([one(key, "/x")])
    assert caught.value.message == (
        f"The following filter key is not valid: {key}. Valid filter keys include: [Type, KeyId]."
    )


def test_a_label_only_equals() -> None:
    assert filters.for_by_path([one("Label", "x"), one("Type", "String")])[0].option == "Equals"
    with pytest.raises(InvalidFilterOption):
        filters.for_by_path([one("Label", "x", option="BeginsWith")])


def test_a_tag_filter_needs_no_values() -> None:
    assert filters.for_describe([one("tag:Env")]) == (Filter("tag:Env", "Equals", ()),)


def version(path: str, **about: Any) -> Version:
    known: dict[str, Any] = {
        "kind": "String", "key_ref": None, "data_type": "text", "tier": "Standard", "description": None,
        "allowed_pattern": None, "policies": (), "modified_at": 0, "modified_by": "", "number": 1,
    }  # fmt: skip
    return Version(path=path, name=path, **(known | about))


segments = st.text("ab.", min_size=1, max_size=3)
paths = st.lists(segments, min_size=1, max_size=4).map("/".join)
written = st.builds(lambda slash, path: slash + path, st.sampled_from(["", "/"]), paths)


def fits(path: str, key: str, option: str, *values: str) -> bool:
    return filters.matches((Filter(key, option, values),), version(path), {})


@given(paths, st.lists(written, min_size=1, max_size=3))
def test_names_match_without_regard_to_a_leading_slash(path: str, values: list[str]) -> None:
    bare = [value.lstrip("/") for value in values]
    assert fits(path, "Name", "Equals", *values) == (path in bare)
    assert fits(path, "Name", "BeginsWith", *values) == any(path.startswith(value) for value in bare)
    assert fits(path, "Name", "Contains", *values) == any(value in "/" + path for value in values)


@given(paths, paths)
def test_paths_match_by_level(path: str, above: str) -> None:
    split, over = path.split("/"), above.split("/")
    below = split[: len(over)] == over and len(split) > len(over)
    assert fits(path, "Path", "Recursive", f"/{above}") == below
    assert fits(path, "Path", "OneLevel", f"/{above}/") == (below and len(split) == len(over) + 1)
    assert fits(path, "Path", "Recursive", "/")
    assert fits(path, "Path", "OneLevel", "/") == (len(split) == 1)


def some_filter(key: str, option: str, values: list[str]) -> Filter:
    return Filter(key, option, tuple(f"/{value}" if key == "Path" else value for value in values))


value_lists = st.lists(paths, min_size=1)
chosen_filters = st.lists(
    st.one_of(
        st.builds(some_filter, st.just("Name"), st.sampled_from(["Equals", "BeginsWith"]), value_lists),
        st.builds(
            some_filter, st.just("Path"), st.sampled_from(["OneLevel", "Recursive"]), st.lists(paths, min_size=1)
        ),
        st.builds(some_filter, st.just("Type"), st.just("Equals"), st.just(["String"])),
    ),
    max_size=3,
    unique_by=lambda each: each.key,
)


@given(st.lists(paths, max_size=20), chosen_filters)
def test_the_narrowed_search_holds_every_match(all_paths: list[str], chosen: list[Filter]) -> None:
    matching = {path for path in all_paths if filters.matches(chosen, version(path), {})}
    exact = filters.exact_paths(chosen)
    if exact is not None:
        assert matching <= set(exact)
    part = filters.narrowest(chosen)
    for path in matching:
        if part.parent is not None:
            assert path.rpartition("/")[0] == part.parent
        else:
            assert part.start("") <= path < part.end


@pytest.mark.parametrize(
    ("chosen", "about", "tags", "expected"),
    [
        (Filter("Type", "BeginsWith", ("String",)), {"kind": "StringList"}, {}, True),
        (Filter("Type", "Equals", ("String",)), {"kind": "StringList"}, {}, False),
        (Filter("KeyId", "Equals", ("alias/aws/ssm",)), {"key_ref": "alias/aws/ssm"}, {}, True),
        (Filter("KeyId", "Equals", ("alias/aws/ssm",)), {}, {}, False),
        (Filter("Tier", "Equals", ("Standard", "Advanced")), {"tier": "Advanced"}, {}, True),
        (Filter("Tier", "Equals", ("Intelligent-Tiering",)), {}, {}, False),
        (Filter("DataType", "Equals", ("text",)), {}, {}, True),
        (Filter("tag:E", "Equals", ("a", "b")), {}, {"E": "b"}, True),
        (Filter("tag:E", "BeginsWith", ("a",)), {}, {"E": "ab"}, True),
        (Filter("tag:E", "Equals", ("a",)), {}, {"E": "ab"}, False),
        (Filter("tag:E", "Equals", ()), {}, {"E": ""}, True),
        (Filter("tag:E", "Equals", ()), {}, {"e": "x"}, False),
    ],
)
def test_other_filters(chosen: Filter, about: dict[str, Any], tags: dict[str, str], expected: bool) -> None:
    assert filters.matches((chosen,), version("x", **about), tags) is expected
