"""SQL of resource_tag."""

from collections.abc import Collection, Iterable, Mapping

from pilothouse.storage import Transaction


class TagStore:
    """The tags of one account and region."""

    def __init__(self, tx: Transaction, account_id: str, region: str) -> None:
        self._tx = tx
        self._scope = {"account_id": account_id, "region": region}

    async def lock(self, resource_type: str, resource_id: str) -> None:
        """Tags of this resource stay as they are until the transaction ends, but for what it does itself."""
        await self._tx.lock("tag", *self._scope.values(), resource_type, resource_id)

    async def of(self, resource_type: str, resource_id: str) -> dict[str, str]:
        """Every tag of the resource, by key."""
        rows = await self._tx.rows(
            """select tag_key, tag_value from resource_tag
               where account_id = :account_id and region = :region
                 and resource_type = :resource_type and resource_id = :resource_id
               order by tag_key""",
            **self._scope, resource_type=resource_type, resource_id=resource_id,
        )  # fmt: skip
        return {row["tag_key"]: row["tag_value"] for row in rows}

    async def of_each(self, resource_type: str, resource_ids: Collection[str]) -> dict[str, dict[str, str]]:
        """Tags of several resources; one without tags has no entry.

        The bounds keep PostgreSQL to a part of the index, also while it has no statistics of a young table.
        """
        if not resource_ids:
            return {}
        rows = await self._tx.rows(
            """select resource_id, tag_key, tag_value from resource_tag
               where account_id = :account_id and region = :region
                 and resource_type = :resource_type and resource_id in (:resource_ids)
                 and resource_id >= :first and resource_id <= :last
               order by resource_id, tag_key""",
            **self._scope, resource_type=resource_type, resource_ids=list(resource_ids),
            first=min(resource_ids), last=max(resource_ids),
        )  # fmt: skip
        found: dict[str, dict[str, str]] = {}
        for row in rows:
            found.setdefault(row["resource_id"], {})[row["tag_key"]] = row["tag_value"]
        return found

    async def put(self, resource_type: str, resource_id: str, tags: Mapping[str, str]) -> None:
        """Add tags; one with the same key is overwritten."""
        await self._tx.many(
            """insert into resource_tag (account_id, region, resource_type, resource_id, tag_key, tag_value)
               values (:account_id, :region, :resource_type, :resource_id, :tag_key, :tag_value)
               on conflict (account_id, region, resource_type, resource_id, tag_key)
               do update set tag_value = excluded.tag_value""",
            [
                {**self._scope, "resource_type": resource_type, "resource_id": resource_id,
                 "tag_key": key, "tag_value": value}
                for key, value in tags.items()
            ],
        )  # fmt: skip

    async def remove(self, resource_type: str, resource_id: str, keys: Iterable[str]) -> None:
        """Remove tags by key; one that is not there is fine."""
        await self._tx.execute(
            """delete from resource_tag
               where account_id = :account_id and region = :region
                 and resource_type = :resource_type and resource_id = :resource_id and tag_key in (:keys)""",
            **self._scope, resource_type=resource_type, resource_id=resource_id, keys=list(keys),
        )  # fmt: skip

    async def remove_all(self, resource_type: str, resource_id: str) -> None:
        """Remove every tag of the resource."""
        await self._tx.execute(
            """delete from resource_tag
               where account_id = :account_id and region = :region
                 and resource_type = :resource_type and resource_id = :resource_id""",
            **self._scope, resource_type=resource_type, resource_id=resource_id,
        )  # fmt: skip

    async def ids_with(self, resource_type: str, key: str, values: Collection[str] | None) -> set[str]:
        """Ids of the resources that have the tag key, with one of the values unless they are None."""
        if values is None:
            rows = await self._tx.rows(
                """select resource_id from resource_tag
                   where account_id = :account_id and region = :region
                     and resource_type = :resource_type and tag_key = :tag_key""",
                **self._scope, resource_type=resource_type, tag_key=key,
            )  # fmt: skip
        else:
            rows = await self._tx.rows(
                """select resource_id from resource_tag
                   where account_id = :account_id and region = :region
                     and resource_type = :resource_type and tag_key = :tag_key and tag_value in (:tag_values)""",
                **self._scope, resource_type=resource_type, tag_key=key, tag_values=list(values),
            )  # fmt: skip
        return {row["resource_id"] for row in rows}
