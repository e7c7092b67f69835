"""SQL of OpenID Connect providers."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from pilothouse.capabilities.access.model import OidcProvider
from pilothouse.capabilities.access.tagged import Tagged
from pilothouse.storage import Row, Transaction

_SELECT = "select url, client_ids, thumbprints, created_at from iam_oidc_provider where account_id = :account_id"


@dataclass(frozen=True, slots=True)
class OidcStore:
    """The providers of one account, in one transaction."""

    tx: Transaction
    account_id: str

    async def lock(self) -> None:
        """Wait for others who change the account's providers."""
        await self.tx.lock("iam oidc providers", self.account_id)

    async def find(self, url: str) -> OidcProvider | None:
        """By its URL without https://."""
        row = await self.tx.row(_SELECT + " and url = :url", account_id=self.account_id, url=url)
        return None if row is None else self._provider(row)

    async def all(self) -> list[OidcProvider]:
        """By URL; an account has 100 at most."""
        rows = await self.tx.rows(_SELECT + " order by url", account_id=self.account_id)
        return [self._provider(row) for row in rows]

    def _provider(self, row: Row) -> OidcProvider:
        return OidcProvider(
            account_id=self.account_id,
            url=row["url"],
            client_ids=tuple(json.loads(row["client_ids"])),
            thumbprints=tuple(json.loads(row["thumbprints"])),
            created_at=row["created_at"],
        )

    async def count(self) -> int:
        found: int = await self.tx.value(
            "select count(*) from iam_oidc_provider where account_id = :account_id", account_id=self.account_id
        )
        return found

    async def add(self, provider: OidcProvider, given: dict[str, str]) -> None:
        await self.tx.execute(
            "insert into iam_oidc_provider (account_id, url, client_ids, thumbprints, created_at)"
            " values (:account_id, :url, :client_ids, :thumbprints, :created_at)",
            account_id=self.account_id,
            url=provider.url,
            client_ids=json.dumps(provider.client_ids),
            thumbprints=json.dumps(provider.thumbprints),
            created_at=provider.created_at,
        )
        await Tagged(self.tx, self.account_id, "oidc-provider").put(provider.url, given)

    async def change(self, provider: OidcProvider, client_ids: Sequence[str], thumbprints: Sequence[str]) -> None:
        await self.tx.execute(
            "update iam_oidc_provider set client_ids = :client_ids, thumbprints = :thumbprints"
            " where account_id = :account_id and url = :url",
            account_id=self.account_id,
            url=provider.url,
            client_ids=json.dumps(list(client_ids)),
            thumbprints=json.dumps(list(thumbprints)),
        )

    async def remove(self, provider: OidcProvider) -> None:
        await self.tx.execute(
            "delete from iam_oidc_provider where account_id = :account_id and url = :url",
            account_id=self.account_id,
            url=provider.url,
        )
        await Tagged(self.tx, self.account_id, "oidc-provider").remove_all(provider.url)

    async def tags(self, provider: OidcProvider) -> dict[str, str]:
        return await Tagged(self.tx, self.account_id, "oidc-provider").of(provider.url)
