"""SQL of document_share: the accounts that may use a document, or all of them."""

from collections.abc import Collection, Mapping

from pilothouse.capabilities.documents.store import EVERYBODY
from pilothouse.storage import Transaction


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
