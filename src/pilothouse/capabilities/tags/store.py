"""SQL of resource_tag, and of tables of the same form that others keep."""

from collections.abc import Collection, Iterable, Mapping, Sequence

from pilothouse.grouping import TagFilter
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

    async def with_all(
        self, resource_type: str, filters: Sequence[TagFilter], *, begin: str, after: str, limit: int | None
    ) -> list[str]:
        """Ids in order, after an id, of the resources that have all of the tags; `begin`: how their ids begin."""
        scope = {**self._scope, "resource_type": resource_type}
        return await with_all(
            self._tx, "resource_tag", "resource_id", scope, filters, begin=begin, after=after, limit=limit
        )


async def with_all(
    tx: Transaction,
    table: str,
    named: str,
    scope: Mapping[str, str],
    filters: Sequence[TagFilter],
    *,
    begin: str = "",
    after: str = "",
    limit: int | None = None,
) -> list[str]:
    """The names in the column `named` of a table of tags, in order, that stand beside all of the tags.

    `scope`: columns and what they hold. The first tag is found by the index of keys and values, the others among the
    tags of what has it. `|| ''` keeps planners that know nothing yet of a table that grew from other ways: through all
    names in their order, or through all who have the other tags.
    """
    in_order = f"t0.{named} || ''"
    where, values = _having(scope, filters[0], 0)
    for number, each in enumerate(filters[1:], 1):
        inner, more = _having(scope, each, number)
        same = f"{inner} and t{number}.{named} = t0.{named}"
        where += f" and (select count(*) from {table} t{number} where {same}) > 0"  # noqa: S608 - pieces of our own
        values |= more
    if begin:
        where += f" and {in_order} >= :begin and {in_order} < :past"
        values |= {"begin": begin, "past": begin[:-1] + chr(ord(begin[-1]) + 1)}
    if after:
        where += f" and {in_order} > :after"
        values["after"] = after
    if limit is not None:
        values["most"] = limit
    rows = await tx.rows(
        f"""select t0.{named} as name from {table} t0 where {where} order by {in_order}
            {"limit :most" if limit is not None else ""}""",  # noqa: S608 - pieces of our own
        **scope, **values,
    )  # fmt: skip
    return [row["name"] for row in rows]


def _having(scope: Mapping[str, str], tag: TagFilter, number: int) -> tuple[str, dict[str, object]]:
    where = " and ".join(f"t{number}.{column} = :{column}" for column in scope)
    key = f"t{number}.tag_key || ''" if number else "t0.tag_key"
    where += f" and {key} = :key{number}"
    values: dict[str, object] = {f"key{number}": tag.key}
    if tag.values:
        where += f" and t{number}.tag_value in (:values{number})"
        values[f"values{number}"] = list(tag.values)
    return where, values
