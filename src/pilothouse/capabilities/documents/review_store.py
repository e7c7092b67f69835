"""SQL of document_review: what reviewers said of a version, in the order in which they did."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from pilothouse.storage import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """One step of a review: it was asked for, or somebody answered."""

    position: int
    status: str
    comments: Sequence[Any]
    reviewer: str
    created_at: int
    updated_at: int


class ReviewStore:
    """The reviews of one document."""

    def __init__(self, tx: Transaction, account_id: str, region: str, name: str) -> None:
        self._tx = tx
        self._scope = {"account_id": account_id, "region": region, "name": name}

    async def of(self, number: int, *, after: int = 0, count: int = 1000) -> list[Review]:
        """The reviews of a version, the oldest first."""
        rows = await self._tx.rows(
            """select position, status, comments, reviewer, created_at, updated_at from document_review
               where account_id = :account_id and region = :region and name = :name and number = :number
                 and position > :after
               order by position limit :count""",
            **self._scope, number=number, after=after, count=count,
        )  # fmt: skip
        return [Review(**{**row, "comments": msgspec.json.decode(row["comments"])}) for row in rows]

    async def put(self, number: int, review: Review) -> None:
        """Add a review, or change one."""
        await self._tx.execute(
            """insert into document_review
                 (account_id, region, name, number, position, status, comments, reviewer, created_at, updated_at)
               values (:account_id, :region, :name, :number, :position, :status, :comments, :reviewer, :created_at,
                       :updated_at)
               on conflict (account_id, region, name, number, position) do update set
                 status = excluded.status, comments = excluded.comments, reviewer = excluded.reviewer,
                 updated_at = excluded.updated_at""",
            **self._scope, number=number, position=review.position, status=review.status,
            comments=msgspec.json.encode(review.comments).decode(), reviewer=review.reviewer,
            created_at=review.created_at, updated_at=review.updated_at,
        )  # fmt: skip

    async def set_status(self, number: int, status: str) -> None:
        """What the version is now."""
        await self._tx.execute(
            """update document_version set review_status = :status
               where account_id = :account_id and region = :region and name = :name and number = :number""",
            **self._scope, number=number, status=status,
        )  # fmt: skip

    async def newest_with(self, status: str) -> int | None:
        """The newest version that is in this state."""
        found: int | None = await self._tx.value(
            """select max(number) from document_version
               where account_id = :account_id and region = :region and name = :name and review_status = :status""",
            **self._scope, status=status,
        )  # fmt: skip
        return found
