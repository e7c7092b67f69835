"""Filters of DescribeParameters and GetParametersByPath: what a request may ask, and which parameters match. No I/O.

Filters are ANDed, the values of one filter ORed. Source: Parameter Store's filter reference.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from pilothouse.capabilities.parameters.names import Hierarchy, below, check_path, is_reserved_path, parent
from pilothouse.errors import ApiError, ValidationException

_OPTIONS: Final[dict[str, tuple[str, ...]]] = {
    "Name": ("Equals", "BeginsWith", "Contains"),
    "Path": ("OneLevel", "Recursive"),
    "Type": ("Equals", "BeginsWith"),
    "KeyId": ("Equals", "BeginsWith"),
    "Tier": ("Equals",),
    "DataType": ("Equals",),
    "Label": ("Equals",),
    "tag": ("Equals", "BeginsWith"),
}
"""Options of each key, the default first."""

_OPTIONS_SAID: Final = {"Path": "Recursive, OneLevel", "Tier": "Equals", "DataType": "Equals", "Label": "Equals"}
_VALUES: Final = {
    "Type": ("String", "StringList", "SecureString"),
    "Tier": ("Standard", "Advanced", "Intelligent-Tiering"),
}
_BY_PATH_KEYS: Final = frozenset({"Type", "KeyId", "Label"})
_NAME_PART: Final = re.compile(r"[A-Za-z0-9_./-]*")
_GLOBAL_PATH: Final = (
    'Filters for common parameters can\'t be prefixed with "aws" or "ssm" (case-insensitive). When using global '
    "parameters, please specify within a global namespace."
)


class InvalidFilterKey(ApiError):
    """The operation has no such filter, or it is given twice."""


class InvalidFilterOption(ApiError):
    """The filter does not have the option, or not the value."""


class InvalidFilterValue(ApiError):
    """The filter has no values."""


class Filterable(Protocol):
    """What filters look at, besides tags."""

    @property
    def path(self) -> str:
        """The name without its leading slash."""

    @property
    def kind(self) -> str:
        """The parameter's type."""

    @property
    def key_ref(self) -> str | None:
        """The KeyId as it was given."""


class Described(Filterable, Protocol):
    """What the filters of DescribeParameters look at."""

    @property
    def tier(self) -> str:
        """The parameter's tier."""

    @property
    def data_type(self) -> str:
        """The parameter's data type."""


@dataclass(frozen=True, slots=True)
class Filter:
    """One checked filter. `key` is `Name`, `Type` ... or `tag:KEY`; no values (tags only) means that the tag exists."""

    key: str
    option: str
    values: tuple[str, ...]

    @property
    def tag(self) -> str | None:
        """The tag key that the filter asks for."""
        return self.key[4:] if self.key.startswith("tag:") else None


def for_describe(filters: Sequence[Mapping[str, Any]]) -> tuple[Filter, ...]:
    """Check the ParameterFilters of DescribeParameters.

    Raises InvalidFilterKey, InvalidFilterOption, InvalidFilterValue, ValidationException.
    """
    for each in filters:
        if each["Key"] == "Label":
            raise _bad_key("Label", "Path, Name, Type, KeyId, Tier")
    return _checked(filters)


def for_by_path(filters: Sequence[Mapping[str, Any]]) -> tuple[Filter, ...]:
    """Check the ParameterFilters of GetParametersByPath. Raises as `for_describe`."""
    for each in filters:
        if each["Key"] not in _BY_PATH_KEYS:
            raise _bad_key(each["Key"], "Type, KeyId")
    return _checked(filters)


def legacy(filters: Sequence[Mapping[str, Any]]) -> tuple[Filter, ...]:
    """The older `Filters` member of DescribeParameters: Name means begins-with, the others equal."""
    return tuple(
        Filter(each["Key"], "BeginsWith" if each["Key"] == "Name" else "Equals", tuple(each["Values"]))
        for each in filters
    )


def _checked(filters: Sequence[Mapping[str, Any]]) -> tuple[Filter, ...]:
    checked: dict[str, Filter] = {}
    for each in filters:
        key = each["Key"]
        if key in checked:
            raise InvalidFilterKey(
                f"The following filter is duplicated in the request: {key}. A request can contain only one occurrence "
                "of a specific filter."
            )
        checked[key] = _one(key, each.get("Option"), tuple(each.get("Values") or ()))
    return tuple(checked.values())


def _one(key: str, option: str | None, values: tuple[str, ...]) -> Filter:
    subject = "tag" if key.startswith("tag:") else key
    if not values and subject != "tag":
        raise InvalidFilterValue(f"The following filter values are missing : null for filter key {key}.")
    options = _OPTIONS[subject]
    if option is not None and option not in options:
        said = _OPTIONS_SAID.get(subject, "BeginsWith, Equals")
        raise InvalidFilterOption(
            f"The following filter option is not valid: {option}. Valid options include: [{said}]."
        )
    for value in values:
        if subject in _VALUES and value not in _VALUES[subject]:
            said = ", ".join(_VALUES[subject])
            raise InvalidFilterOption(
                f"The following filter value is not valid: {value}. Valid values include: [{said}]."
            )
        if subject == "Path" and is_reserved_path(check_path(value)):
            raise ValidationException(_GLOBAL_PATH)
    return Filter(key, option or options[0], values)


def _bad_key(key: str, valid: str) -> InvalidFilterKey:
    return InvalidFilterKey(f"The following filter key is not valid: {key}. Valid filter keys include: [{valid}].")


def exact_paths(filters: Sequence[Filter]) -> tuple[str, ...] | None:
    """The only paths that can match, if a filter names them; names that nothing can have are left out."""
    for each in filters:
        if each.key == "Name" and each.option == "Equals":
            paths = (value.removeprefix("/") for value in each.values)
            return tuple(sorted({path for path in paths if _NAME_PART.fullmatch(path)}))
    return None


def narrowest(filters: Sequence[Filter]) -> Hierarchy:
    """The smallest part of the tree that holds every match."""
    for each in filters:
        if len(each.values) != 1:
            continue
        if each.key == "Path":
            return below(check_path(each.values[0]), recursive=each.option == "Recursive")
        prefix = each.values[0].removeprefix("/")
        if each.key == "Name" and each.option == "BeginsWith" and _NAME_PART.fullmatch(prefix):
            return Hierarchy(prefix=prefix)
    return Hierarchy()


def matches_value(filters: Sequence[Filter], parameter: Filterable) -> bool:
    """Whether a parameter fits the filters of GetParametersByPath, labels aside."""
    for each in filters:
        if each.key == "Type" and not _text_fits(each, parameter.kind):
            return False
        if each.key == "KeyId" and not _text_fits(each, parameter.key_ref):
            return False
    return True


def matches(filters: Sequence[Filter], parameter: Described, tags: Mapping[str, str]) -> bool:
    """Whether a parameter with these tags fits the filters of DescribeParameters."""
    return all(_fits(each, parameter, tags) for each in filters)


def _fits(each: Filter, parameter: Described, tags: Mapping[str, str]) -> bool:
    match each.key:
        case "Name":
            return _name_fits(each, parameter.path)
        case "Path":
            return any(_lies_below(parameter.path, value, each.option) for value in each.values)
        case "Type":
            return _text_fits(each, parameter.kind)
        case "KeyId":
            return _text_fits(each, parameter.key_ref)
        case "Tier":
            return _text_fits(each, parameter.tier)
        case "DataType":
            return _text_fits(each, parameter.data_type)
        case _:
            value = tags.get(each.tag or "")
            return value is not None and (not each.values or _text_fits(each, value))


def _name_fits(each: Filter, path: str) -> bool:
    if each.option == "Contains":
        return any(value in f"/{path}" for value in each.values)
    values = (value.removeprefix("/") for value in each.values)
    if each.option == "BeginsWith":
        return path.startswith(tuple(values))
    return path in values


def _lies_below(path: str, above: str, option: str) -> bool:
    above = above.strip("/")
    if option == "OneLevel":
        return parent(path) == above
    return not above or path.startswith(f"{above}/")


def _text_fits(each: Filter, text: str | None) -> bool:
    if text is None:
        return False
    return text.startswith(each.values) if each.option == "BeginsWith" else text in each.values
