"""SQL of document_share: the accounts that may use a document, or all of them."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from pilothouse.storage import Transaction

EVERYBODY: Final = "all"


@dataclass(frozen=True, slots=True)
class Shared:
    """A document of another account, and which of its versions are shared."""

    owner: str
    name: str
    version: str
    publicly: bool


class ShareStore:
    """The shares that one account gives in a region."""

    def __init__(self, tx: Transaction, account_id: str, region: str) -> None:
        self._tx = tx
        self._scope = {"account_id": account_id, "region": region}

    async def shared_version(self, name: str, guest: str) -> str | None:
        """Which versions of the document the guest may use: what is said of it itself counts before what all may."""
        rows = await self._tx.rows(
            """select guest, shared_version from document_share
               where account_id = :account_id and region = :region and name = :name and guest in (:guests)""",
            **self._scope, name=name, guests=[guest, EVERYBODY],
        )  # fmt: skip
        found = {row["guest"]: row["shared_version"] for row in rows}
        return found.get(guest, found.get(EVERYBODY))

    async def guests(self, name: str, *, after: str = "", count: int = 10_000) -> Mapping[str, str]:
        """Guest to shared version, in the order of guests."""
        rows = await self._tx.rows(
            """select guest, shared_version from document_share
               where account_id = :account_id and region = :region and name = :name and guest > :after
               order by guest limit :count""",
            **self._scope, name=name, after=after, count=count,
        )  # fmt: skip
        return {row["guest"]: row["shared_version"] for row in rows}

    async def share(self, name: str, guests: Collection[str], version: str) -> None:
        """Let these accounts use the document; one that may already gets these versions."""
        await self._tx.many(
            """insert into document_share (account_id, region, name, guest, shared_version)
               values (:account_id, :region, :name, :guest, :shared_version)
               on conflict (account_id, region, name, guest) do update set shared_version = excluded.shared_version""",
            [{**self._scope, "name": name, "guest": guest, "shared_version": version} for guest in sorted(guests)],
        )

    async def unshare(self, name: str, guests: Collection[str]) -> None:
        """Take the document from these accounts."""
        await self._tx.execute(
            """delete from document_share
               where account_id = :account_id and region = :region and name = :name and guest in (:guests)""",
            **self._scope, name=name, guests=list(guests),
        )  # fmt: skip

    async def with_me(self) -> list[Shared]:
        """The documents that others share with this account, or with all."""
        rows = await self._tx.rows(
            """select account_id, name, guest, shared_version from document_share
               where region = :region and guest in (:guests) and account_id <> :account_id
               order by account_id, name, guest desc""",
            **self._scope, guests=[self._scope["account_id"], EVERYBODY],
        )  # fmt: skip
        found = {}
        for row in rows:  # what is said of the account itself comes last, and counts
            publicly = row["guest"] == EVERYBODY
            found[row["account_id"], row["name"]] = Shared(
                row["account_id"], row["name"], row["shared_version"], publicly
            )
        return list(found.values())
