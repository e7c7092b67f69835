"""SQL of resource_group and resource_group_member."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import msgspec

from pilothouse.capabilities.resource_groups.model import Group, Item
from pilothouse.grouping import Resource
from pilothouse.storage import Row, Transaction

_GROUP: Final = "name, description, query_type, query, configuration, criticality, owner, display_name"
_OWN: Final = "account_id = :account_id and region = :region and name = :name"


class GroupStore:
    """The groups of one account and region."""

    def __init__(self, tx: Transaction, account_id: str, region: str) -> None:
        self._tx = tx
        self._scope = {"account_id": account_id, "region": region}

    async def lock(self, name: str) -> None:
        """The group and its members stay as they are until the transaction ends, but for what it does itself."""
        await self._tx.lock("resource-group", *self._scope.values(), name)

    async def find(self, name: str) -> Group | None:
        """The group of that name."""
        row = await self._tx.row(f"select {_GROUP} from resource_group where {_OWN}", **self._scope, name=name)  # noqa: S608
        return None if row is None else _group(row)

    async def after(self, name: str, limit: int) -> list[Group]:
        """Groups by name, those that follow a name."""
        rows = await self._tx.rows(
            f"""select {_GROUP} from resource_group
                where account_id = :account_id and region = :region and name > :name
                order by name limit :limit""",  # noqa: S608
            **self._scope, name=name, limit=limit,
        )  # fmt: skip
        return [_group(row) for row in rows]

    async def save(self, group: Group) -> None:
        """A new group, or what became of one."""
        await self._tx.execute(
            f"""insert into resource_group (account_id, region, {_GROUP})
                values (:account_id, :region, :name, :description, :query_type, :query, :configuration, :criticality,
                        :owner, :display_name)
                on conflict (account_id, region, name) do update set
                  description = excluded.description, query_type = excluded.query_type, query = excluded.query,
                  configuration = excluded.configuration, criticality = excluded.criticality, owner = excluded.owner,
                  display_name = excluded.display_name""",  # noqa: S608
            **self._scope, **_columns(group),
        )  # fmt: skip

    async def remove(self, name: str) -> None:
        """Remove the group with the list of its members."""
        await self._tx.execute(f"delete from resource_group_member where {_OWN}", **self._scope, name=name)  # noqa: S608
        await self._tx.execute(f"delete from resource_group where {_OWN}", **self._scope, name=name)  # noqa: S608

    async def put(self, name: str, members: Mapping[str, Sequence[Resource]]) -> None:
        """Name resources, by their types, as members of the group."""
        await self._tx.many(
            """insert into resource_group_member (account_id, region, name, resource_type, resource_id, resource_arn)
               values (:account_id, :region, :name, :resource_type, :resource_id, :resource_arn)
               on conflict (account_id, region, name, resource_type, resource_id)
               do update set resource_arn = excluded.resource_arn""",
            [
                {**self._scope, "name": name, "resource_type": kind, "resource_id": each.resource_id,
                 "resource_arn": each.arn}
                for kind, found in members.items()
                for each in found
            ],
        )  # fmt: skip

    async def take_out(self, name: str, arns: Collection[str]) -> None:
        """They are members of the group no more."""
        await self._tx.execute(
            f"delete from resource_group_member where {_OWN} and resource_arn in (:arns)",  # noqa: S608
            **self._scope, name=name, arns=list(arns),
        )  # fmt: skip

    async def named_among(self, name: str, arns: Collection[str]) -> set[str]:
        """Those of the ARNs that are named as members."""
        rows = await self._tx.rows(
            f"select resource_arn from resource_group_member where {_OWN} and resource_arn in (:arns)",  # noqa: S608
            **self._scope, name=name, arns=list(arns),
        )  # fmt: skip
        return {row["resource_arn"] for row in rows}

    async def types(self, name: str) -> set[str]:
        """The types of the members that are named."""
        rows = await self._tx.rows(
            f"select distinct resource_type from resource_group_member where {_OWN}",  # noqa: S608
            **self._scope, name=name,
        )  # fmt: skip
        return {row["resource_type"] for row in rows}

    async def members(
        self, name: str, resource_type: str, *, after: str = "", limit: int | None = None
    ) -> list[Resource]:
        """The members of a type that are named, by id, after an id."""
        rows = await self._tx.rows(
            f"""select resource_id, resource_arn from resource_group_member
                where {_OWN} and resource_type = :resource_type and resource_id > :after
                order by resource_id {"limit :limit" if limit is not None else ""}""",  # noqa: S608
            **self._scope, name=name, resource_type=resource_type, after=after,
            **({"limit": limit} if limit is not None else {}),
        )  # fmt: skip
        return [Resource(row["resource_id"], row["resource_arn"]) for row in rows]


def _group(row: Row) -> Group:
    said: Any = row["configuration"]
    configuration = None if said is None else msgspec.json.decode(said, type=tuple[Item, ...])
    return Group(**{**row, "configuration": configuration})


def _columns(group: Group) -> dict[str, Any]:
    said = group.configuration
    return {
        "name": group.name,
        "description": group.description,
        "query_type": group.query_type,
        "query": group.query,
        "configuration": None if said is None else msgspec.json.encode(said).decode(),
        "criticality": group.criticality,
        "owner": group.owner,
        "display_name": group.display_name,
    }
