"""Tags of one kind of things that IAM keeps, by their ids. IAM knows no regions."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pilothouse.call import Shape
from pilothouse.capabilities import tags
from pilothouse.capabilities.access.model import InvalidInputException
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


def tags_of(given: Sequence[Mapping[str, str]] | None) -> dict[str, str]:
    """A request's `Tags`, whose keys differ by more than case. Raises InvalidInputException, ValidationException."""
    keys = {tag["Key"].lower() for tag in given or ()}
    if len(keys) < len(given or ()):
        raise InvalidInputException("Duplicate tag keys found. Please note that Tag keys are case insensitive.")
    return tags.by_key(given or ())


def told_tags(given: Mapping[str, str]) -> Shape:
    """The member of an answer, left out where there are none."""
    return {"Tags": [{"Key": key, "Value": value} for key, value in given.items()]} if given else {}
