"""What is judged of nodes, and how many items make which standing. Times are epoch milliseconds."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from pilothouse.errors import ApiError

COMPLIANT: Final = "COMPLIANT"
NON_COMPLIANT: Final = "NON_COMPLIANT"
STATUSES: Final = (COMPLIANT, NON_COMPLIANT)
SEVERITIES: Final = ("CRITICAL", "HIGH", "MEDIUM", "LOW", "INFORMATIONAL", "UNSPECIFIED")
"""The worst first."""
UNSPECIFIED: Final = SEVERITIES[-1]
ASSOCIATION: Final = "Association"
PATCH: Final = "Patch"
RESOURCE_TYPE: Final = "ManagedInstance"

MOST_TYPES: Final = 500
ITEM_BYTES: Final = 200 << 10
TOTAL_BYTES: Final = 1 << 20

_RANK: Final = {severity: rank for rank, severity in enumerate(SEVERITIES)}
_TYPE: Final = re.compile(r"[A-Za-z0-9_\-]\w+|Custom:[a-zA-Z0-9_\-]\w+", re.ASCII)


class InvalidResourceId(ApiError):
    """No such node here."""


class InvalidResourceType(ApiError):
    """Only managed nodes are judged."""


class InvalidItemContentException(ApiError):
    """Items that cannot be told apart."""


class ItemSizeLimitExceededException(ApiError):
    """An item that is too large."""


class TotalSizeLimitExceededException(ApiError):
    """Items that are too large together."""


class ComplianceTypeCountLimitExceededException(ApiError):
    """As many types as an account may have in a region."""


class InvalidFilter(ApiError):
    """A filter that cannot be asked for."""


class InvalidNextToken(ApiError):
    """The page token is not of this list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """What found out what is judged, and when."""

    at: int
    execution_id: str = ""
    execution_type: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One thing that is judged of a node. The status of what does not apply to it is empty, and counts for nothing."""

    item_id: str
    severity: str
    status: str
    title: str = ""
    details: Mapping[str, str] = field(default_factory=dict)
    execution: Execution | None = None
    """What found this one out, where that is not what found all of them."""


Counts = dict[str, dict[str, int]]
"""Status to severity to the number of items; what is none is not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a node stands in one type."""

    node_id: str
    compliance_type: str
    counts: Mapping[str, Mapping[str, int]]
    execution: Execution
    content_hash: str = ""

    @property
    def status(self) -> str:
        return NON_COMPLIANT if self.counts.get(NON_COMPLIANT) else COMPLIANT

    @property
    def overall_severity(self) -> str:
        """The worst among the items that do not comply; UNSPECIFIED where all do."""
        return worst(self.counts.get(NON_COMPLIANT, {}))

    @property
    def severity(self) -> str:
        """Under which severity the node is counted among those of its status."""
        return worst(self.counts.get(self.status, {}))


def worst(severities: Iterable[str]) -> str:
    """The highest severity; UNSPECIFIED of none."""
    return min(severities, key=_RANK.__getitem__, default=UNSPECIFIED)


def counted(pairs: Iterable[tuple[str, str, int]]) -> Counts:
    """(status, severity, items) as counts."""
    counts: Counts = {}
    for status, severity, many in pairs:
        if status in STATUSES:
            counts.setdefault(status, {})[severity] = many
    return counts


def is_type(text: str) -> bool:
    """Whether it can be the name of a type."""
    return len(text) <= 100 and _TYPE.fullmatch(text) is not None


def check_items(items: Sequence[Item], sizes: Iterable[int]) -> None:
    """Raises the error of the first rule that they break; `sizes` are bytes of each, as they came."""
    seen: set[str] = set()
    for item in items:
        if not item.item_id:
            raise InvalidItemContentException("An item has no Id.")
        if len(item.item_id) > 100:
            raise InvalidItemContentException("The Id of an item can have at most 100 characters.")
        if item.item_id in seen:
            raise InvalidItemContentException(f"Two items have the Id {item.item_id}.")
        seen.add(item.item_id)
    total = 0
    for item, size in zip(items, sizes, strict=True):
        if size > ITEM_BYTES:
            raise ItemSizeLimitExceededException(f"The item {item.item_id} has {size} bytes; {ITEM_BYTES} are allowed.")
        total += size
    if total > TOTAL_BYTES:
        raise TotalSizeLimitExceededException(f"The items have {total} bytes together; {TOTAL_BYTES} are allowed.")
