"""Rules of groups: names, queries by tags, configurations that say what may be a member."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import msgspec

from pilothouse.errors import ApiError, BadRequestException
from pilothouse.grouping import TagFilter

TYPE: Final = "AWS::ResourceGroups::Group"
TAGGED_AS: Final = "ResourceGroup"
ALL: Final = "AWS::AllSupported"
GENERIC: Final = "AWS::ResourceGroups::Generic"
CONFIGURATIONS: Final = frozenset(
    {
        GENERIC,
        "AWS::AppRegistry::Application",
        "AWS::AppRegistry::ApplicationResourceGroup",
        "AWS::CloudFormation::Stack",
        "AWS::EC2::CapacityReservationPool",
        "AWS::EC2::HostManagement",
        "AWS::NetworkFirewall::RuleGroup",
        "AWS::ResourceGroups::ApplicationGroup",
    }
)
"""Types that lists may be asked for; groups here have the first only."""
_ALLOWED, _PROTECTED = "allowed-resource-types", "deletion-protection"
_TYPES_MOST, _FILTERS_MOST, _VALUES_MOST, _KEY_MOST, _VALUE_MOST = 20, 50, 20, 128, 256
TAGS_MOST: Final = 50
_RESOURCE_TYPE: Final = re.compile(r"AWS::[a-zA-Z0-9]+::\w+", re.ASCII)
_ARN: Final = re.compile(r"arn:aws:resource-groups:([a-z0-9-]+):([0-9]{12}):group/(.+)")


class NotFoundException(ApiError):
    """There is no such group."""


@dataclass(frozen=True, slots=True)
class Query:
    """Which resources are in a group: by type, and by tags that they must all have."""

    types: frozenset[str] | None
    """None: all."""
    filters: tuple[TagFilter, ...]

    def takes(self, resource_type: str) -> bool:
        return self.types is None or resource_type in self.types


class Parameter(NamedTuple):
    """A parameter of an item."""

    name: str
    values: list[str]


class Item(NamedTuple):
    """An item of a configuration."""

    type: str
    parameters: list[Parameter] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A group. It has a query, or a configuration, or neither and no members."""

    name: str
    description: str | None = None
    query_type: str | None = None
    query: str | None = None
    """As it was given."""
    configuration: tuple[Item, ...] | None = None
    criticality: int | None = None
    owner: str | None = None
    display_name: str | None = None

    def parsed(self) -> Query | None:
        """The query; it was checked when it was saved."""
        return None if self.query is None else parsed(self.query_type or "", self.query)

    def _values(self, parameter: str) -> list[str]:
        return [
            value
            for item in self.configuration or ()
            for each in item.parameters or ()
            if each.name == parameter
            for value in each.values
        ]

    @property
    def is_protected(self) -> bool:
        """Whether it cannot be deleted while it has members."""
        return bool(self._values(_PROTECTED))

    def may_hold(self, resource_type: str) -> bool:
        """Whether resources of the type may be named as members."""
        allowed = self._values(_ALLOWED)
        return bool(self.configuration) and (not allowed or resource_type in allowed)


class _Filter(msgspec.Struct, rename="pascal", forbid_unknown_fields=True):
    key: str
    values: tuple[str, ...] = ()


class _Query(msgspec.Struct, rename="pascal", forbid_unknown_fields=True):
    tag_filters: list[_Filter]
    resource_type_filters: tuple[str, ...] = (ALL,)


def parsed(query_type: str, text: str) -> Query:
    """A query by tags. Raises BadRequestException."""
    if query_type != "TAG_FILTERS_1_0":
        raise _invalid(
            "The specified CloudFormation stack doesn't exist: Pilothouse knows no stacks. Use a query of the type "
            "TAG_FILTERS_1_0"
        )
    try:
        read = msgspec.json.decode(text, type=_Query)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
        raise _invalid("Query format not valid: check JSON syntax") from error
    _check_many("ResourceTypeFilters", read.resource_type_filters, 1, _TYPES_MOST)
    _check_many("TagFilters", read.tag_filters, 1, _FILTERS_MOST)
    for each in read.tag_filters:
        if not each.key:
            raise _invalid("The TagFilter element cannot have empty or null Key field")
        if len(each.key) > _KEY_MOST:
            raise _invalid(f"The maximum length for a tag Key is {_KEY_MOST}")
        if len(each.values) > _VALUES_MOST:
            raise _invalid(f"The TagFilter Values list must contain between 0 and {_VALUES_MOST} elements")
        if any(len(value) > _VALUE_MOST for value in each.values):
            raise _invalid(f"The maximum length for a tag Value is {_VALUE_MOST}")
        if "\x00" in each.key or any("\x00" in value for value in each.values):
            raise _invalid("A tag cannot hold the character U+0000")
    filters = tuple(dict.fromkeys(TagFilter(each.key, each.values) for each in read.tag_filters))
    return Query(_types(read.resource_type_filters), filters)


def _types(named: Sequence[str]) -> frozenset[str] | None:
    if ALL in named:
        return None
    for each in named:
        if not _RESOURCE_TYPE.fullmatch(each):
            raise _invalid(f"The resource type {each[:_VALUE_MOST]} is not valid")
    return frozenset(named)


def _check_many(name: str, found: Sequence[object], least: int, most: int) -> None:
    if not least <= len(found) <= most:
        raise _invalid(f"The {name} list must contain between {least} and {most} elements")


def _invalid(why: str) -> BadRequestException:
    return BadRequestException(f"Query not valid: {why}")


def check_name(name: str) -> None:
    """Raises BadRequestException."""
    if name.lower().startswith("aws"):
        raise BadRequestException("Group name must not start with 'AWS'")


def check_tags(given: Mapping[str, str]) -> None:
    """Raises BadRequestException."""
    if any(key.lower().startswith("aws:") for key in given):
        raise BadRequestException("Tag keys must not start with 'aws:'")


def check_configuration(items: Sequence[Item]) -> None:
    """Raises BadRequestException."""
    if len({each.type for each in items}) < len(items):
        raise _unconfigured("each item must have a type of its own")
    for item in items:
        if item.type != GENERIC:
            raise _unconfigured(f"the type {item.type} is not known in Pilothouse; use {GENERIC}")
        if len({each.name for each in item.parameters or ()}) < len(item.parameters or ()):
            raise _unconfigured("each parameter must have a name of its own")
        for parameter in item.parameters or ():
            if parameter.name == _PROTECTED:
                if parameter.values != ["UNLESS_EMPTY"]:
                    raise _unconfigured(f"the value of {_PROTECTED} must be UNLESS_EMPTY")
            elif parameter.name == _ALLOWED:
                if not parameter.values or not all(_RESOURCE_TYPE.fullmatch(each) for each in parameter.values):
                    raise _unconfigured(f"the values of {_ALLOWED} must be resource types")
            else:
                raise _unconfigured(f"{GENERIC} has no parameter {parameter.name}")


def _unconfigured(why: str) -> BadRequestException:
    return BadRequestException(f"Configuration not valid: {why}.")


def name_in(text: str, account_id: str, region: str) -> str | None:
    """The name in a group's name or ARN; None for an ARN of another account or region."""
    if not text.startswith("arn:"):
        return text
    found = _ARN.fullmatch(text)
    return found[3] if found is not None and (found[1], found[2]) == (region, account_id) else None


def arn_of(account_id: str, region: str, name: str) -> str:
    """`arn:aws:resource-groups:REGION:ACCOUNT:group/NAME`"""
    return f"arn:aws:resource-groups:{region}:{account_id}:group/{name}"


def not_found(named: str) -> NotFoundException:
    """The error for a group that is not there."""
    return NotFoundException(f"Cannot find group: {named}")
