"""Resources as groups and queries by tags know them: what their owners announce, and what others may ask of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from pilothouse.storage import Transaction


class TagFilter(NamedTuple):
    """A tag that a resource must have: the key, with one of the values unless there are none."""

    key: str
    values: tuple[str, ...] = ()

    def fits(self, tags: Mapping[str, str]) -> bool:
        return self.key in tags and (not self.values or tags[self.key] in self.values)


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource that was found."""

    resource_id: str
    """As its owner knows it."""
    arn: str


class Groupable(Protocol):
    """Resources of one type, such as `AWS::SSM::Parameter`."""

    async def tagged(
        self,
        tx: Transaction,
        account_id: str,
        region: str,
        filters: Sequence[TagFilter],
        *,
        after: str = "",
        limit: int | None = None,
    ) -> list[Resource]:
        """Those with all of the tags (at least one is asked for), by id, after an id.

        What it costs depends on how many have the first of the tags, and on no others.
        """

    async def find(self, tx: Transaction, account_id: str, region: str, arn: str) -> Resource | None:
        """The one with the ARN, None if it is not there or of another type."""
