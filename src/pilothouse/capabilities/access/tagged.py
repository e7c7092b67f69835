"""Tags of one kind of things that IAM keeps, by their ids. IAM knows no regions."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from pilothouse.call import Shape
from pilothouse.capabilities import tags
from pilothouse.storage import Transaction

_EVERYWHERE: Final = "aws-global"
"""Stands where tags have a region."""


@dataclass(frozen=True, slots=True)
class Tagged:
    """The tags of one kind in one account, in one transaction."""

    tx: Transaction
    account_id: str
    kind: str
    """`user` and the like."""

    async def of(self, unique_id: str) -> dict[str, str]:
        return await tags.of(self.tx, self.account_id, _EVERYWHERE, f"iam:{self.kind}", unique_id)

    async def put(self, unique_id: str, given: Mapping[str, str]) -> None:
        await tags.put(self.tx, self.account_id, _EVERYWHERE, f"iam:{self.kind}", unique_id, given)

    async def remove(self, unique_id: str, keys: Collection[str]) -> None:
        await tags.remove(self.tx, self.account_id, _EVERYWHERE, f"iam:{self.kind}", unique_id, keys)

    async def remove_all(self, unique_id: str) -> None:
        await tags.remove_all(self.tx, self.account_id, _EVERYWHERE, f"iam:{self.kind}", unique_id)


def told_tags(given: Mapping[str, str]) -> Shape:
    """The member of an answer, left out where there are none."""
    return {"Tags": [{"Key": key, "Value": value} for key, value in given.items()]} if given else {}
