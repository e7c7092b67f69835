"""Rules of tags: how many, which keys, each key once."""

from collections.abc import Mapping, Sequence
from typing import Final

from pilothouse.errors import ApiError, ValidationException

RESOURCE_TYPES: Final = frozenset(
    {
        "Document",
        "ManagedInstance",
        "MaintenanceWindow",
        "Parameter",
        "PatchBaseline",
        "OpsItem",
        "OpsMetadata",
        "Automation",
        "Association",
        "CloudConnector",
    }
)
"""ResourceTypeForTagging of the service model."""

_LIMIT: Final = 50
_LIMITS: Final = {"Automation": 5}


class InvalidResourceType(ApiError):
    """There are no tags on resources of this type."""

    def __init__(self, message: str = "Invalid Resource Type") -> None:
        super().__init__(message)


class InvalidResourceId(ApiError):
    """No such resource."""

    def __init__(self, message: str = "Invalid Resource Id") -> None:
        super().__init__(message)


class TooManyTagsError(ApiError):
    """More tags than a resource may have."""


def limit(resource_type: str) -> int:
    """Most tags that one resource of the type may have."""
    return _LIMITS.get(resource_type, _LIMIT)


def check_count(resource_type: str, count: int) -> None:
    """Raises TooManyTagsError when a resource would have `count` tags and may not."""
    most = limit(resource_type)
    if count > most:
        raise TooManyTagsError(f"A resource of type {resource_type} can have at most {most} tags.")


def by_key(tags: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """A request's `Tags` list as key to value. Raises ValidationException for `aws:` keys and for a key given twice."""
    found: dict[str, str] = {}
    for tag in tags:
        key = tag["Key"]
        if key.lower().startswith("aws:"):
            raise ValidationException(f"Tag keys that begin with aws: are reserved: {key}")
        if key in found:
            raise ValidationException(f"Duplicate tag key: {key}")
        found[key] = tag["Value"]
    return found
