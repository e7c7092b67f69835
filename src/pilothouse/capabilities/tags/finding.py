"""Resources whose tags are kept here, as groups find them."""

from collections.abc import Sequence

from pilothouse.call import FindResource
from pilothouse.capabilities.tags.store import TagStore
from pilothouse.grouping import Resource, TagFilter
from pilothouse.storage import Transaction


class Tagged:
    """Resources of one type; see `grouping.Groupable`."""

    def __init__(self, tagged_as: str, service: str, kind: str, find: FindResource, *, ids: str = "") -> None:
        """`tagged_as`: what their tags hang on. `service` and `kind` stand in their ARNs, the kind with what divides it
        from the id: `parameter/`. `find` says which are there. `ids`: how the ids of this type begin."""
        self._tagged_as = tagged_as
        self._service, self._kind = service, kind
        self._find = find
        self._ids = ids

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
        store = TagStore(tx, account_id, region)
        found = await store.with_all(self._tagged_as, filters, begin=self._ids, after=after, limit=limit)
        prefix = self._prefix(account_id, region)
        return [Resource(each, f"{prefix}{each}") for each in found]

    async def find(self, tx: Transaction, account_id: str, region: str, arn: str) -> Resource | None:
        prefix = self._prefix(account_id, region)
        resource_id = arn.removeprefix(prefix)
        if resource_id == arn or not resource_id.startswith(self._ids):
            return None
        found = await self._find(tx, account_id, region, resource_id)
        return None if found is None else Resource(found, f"{prefix}{found}")

    def _prefix(self, account_id: str, region: str) -> str:
        return f"arn:aws:{self._service}:{region}:{account_id}:{self._kind}"
