"""The tables of how nodes stand, and of what they have seen in their repositories."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from pilothouse.capabilities.patches.model import STATES, NodePatch, Standing
from pilothouse.storage import Row, Transaction

_PLACE: Final = "account_id = :account_id and region = :region"
_COUNTS: Final = tuple(state.lower() for state in STATES)
_PLAIN: Final = (
    "node_id", "patch_group", "baseline_id", "snapshot_id", "operation", "started_at", "ended_at", "critical",
    "security", "other", "not_applicable_unreported", "override_list", "owner_information", "reboot_option",
    "no_reboot_at",
)  # fmt: skip
_STANDING: Final = (*_PLAIN, *_COUNTS)
_PATCH: Final = NodePatch.__struct_fields__
_FILTERS: Final = {"Equal": "=", "NotEqual": "<>", "LessThan": "<", "GreaterThan": ">"}
COUNTED: Final = {
    "InstalledCount": "installed",
    "InstalledOtherCount": "installed_other",
    "InstalledPendingRebootCount": "installed_pending_reboot",
    "InstalledRejectedCount": "installed_rejected",
    "MissingCount": "missing",
    "FailedCount": "failed",
    "NotApplicableCount": "not_applicable",
    "UnreportedNotApplicableCount": "not_applicable_unreported",
    "CriticalNonCompliantCount": "critical",
    "SecurityNonCompliantCount": "security",
    "OtherNonCompliantCount": "other",
    "AvailableSecurityUpdateCount": "available_security_update",
}
"""Members of InstancePatchState, which are also the keys of filters, to their columns."""


def _list(names: Sequence[str]) -> str:
    return ", ".join(names)


def _put(table: str, keys: Sequence[str], names: Sequence[str]) -> str:
    values = ", ".join(f":{name}" for name in (*keys, *names))
    changes = ", ".join(f"{name} = excluded.{name}" for name in names)
    return f"""insert into {table} ({_list((*keys, *names))}) values ({values})
        on conflict ({_list(keys)}) do update set {changes}"""  # noqa: S608


_PUT_STANDING: Final = _put(
    "patch_standing", ("account_id", "region", "node_id"), [name for name in _STANDING if name != "node_id"]
)


def _patch(row: Row) -> NodePatch:
    return NodePatch(**{name: row[name] for name in _PATCH})


def _standing(row: Row) -> Standing:
    plain = {name: row[name] for name in _PLAIN}
    return Standing(**plain, counts={state: row[state.lower()] for state in STATES})


class StateStore:
    """How the nodes of an account and region stand, within one transaction."""

    def __init__(self, tx: Transaction, account_id: str, region: str) -> None:
        self._tx = tx
        self._scope = {"account_id": account_id, "region": region}

    async def lock(self, node_id: str) -> None:
        """Nobody else changes what is said of the node."""
        await self._tx.lock("patch states", node_id)

    async def put(self, standing: Standing) -> None:
        values = {name: getattr(standing, name) for name in _PLAIN}
        counts = {state.lower(): standing.counts.get(state, 0) for state in STATES}
        await self._tx.execute(_PUT_STANDING, **self._scope, **values, **counts)

    async def replace_patches(self, node_id: str, patches: Sequence[NodePatch]) -> None:
        """What the node says of each patch, in place of what it said before."""
        await self.forget_patches(node_id)
        rows = {
            (each.patch_id, each.title): {**self._scope, "node_id": node_id, **msgspec.structs.asdict(each)}
            for each in patches
        }
        names = ("account_id", "region", "node_id", *_PATCH)
        sql = f"insert into patch_of_node ({_list(names)}) values ({_list([f':{name}' for name in names])})"  # noqa: S608
        await self._tx.many(sql, list(rows.values()))

    async def forget_patches(self, node_id: str) -> None:
        sql = f"delete from patch_of_node where {_PLACE} and node_id = :node_id"  # noqa: S608
        await self._tx.execute(sql, **self._scope, node_id=node_id)

    async def forget(self, node_id: str) -> None:
        """The node is gone."""
        await self.forget_patches(node_id)
        sql = f"delete from patch_standing where {_PLACE} and node_id = :node_id"  # noqa: S608
        await self._tx.execute(sql, **self._scope, node_id=node_id)

    async def one(self, node_id: str) -> Standing | None:
        found = await self.of([node_id])
        return found[0] if found else None

    async def of(self, node_ids: Sequence[str]) -> list[Standing]:
        """Of those of the nodes that have reported, by node."""
        sql = f"""select {_list(_STANDING)} from patch_standing
                  where {_PLACE} and node_id in (:ids) order by node_id"""  # noqa: S608
        return [_standing(row) for row in await self._tx.rows(sql, **self._scope, ids=list(node_ids))]

    async def page(
        self, patch_group: str | None, filters: Sequence[tuple[str, str, int]], after: str, limit: int
    ) -> list[Standing]:
        """Of a group's nodes, or all, those that fit all filters (member, operator, number), by node, after one."""
        where, values = "", {}
        if patch_group is not None:
            where, values = "and patch_group = :patch_group", {"patch_group": patch_group}
        for number, (member, how, wanted) in enumerate(filters):
            where += f" and {COUNTED[member]} {_FILTERS[how]} :wanted{number}"
            values[f"wanted{number}"] = wanted  # type: ignore[assignment]
        rows = await self._tx.rows(
            f"""select {_list(_STANDING)} from patch_standing
                where {_PLACE} and node_id > :after {where} order by node_id limit :limit""",  # noqa: S608
            **self._scope, after=after, limit=limit, **values,
        )  # fmt: skip
        return [_standing(row) for row in rows]

    async def group_counts(self, patch_group: str) -> dict[str, int]:
        """How many nodes of the group have reported, and how many have some of each count."""
        some = ", ".join(f"coalesce(sum(case when {name} > 0 then 1 else 0 end), 0) as {name}" for name in _ALL)
        row = await self._tx.row(
            f"""select count(*) as nodes, {some} from patch_standing
                where {_PLACE} and patch_group = :patch_group""",  # noqa: S608
            **self._scope, patch_group=patch_group,
        )  # fmt: skip
        assert row is not None
        return {name: int(row[name]) for name in ("nodes", *_ALL)}

    async def patches(
        self, node_id: str, wanted: Mapping[str, Sequence[str]], after: Sequence[str], limit: int
    ) -> list[NodePatch]:
        """Of a node's patches those whose columns hold one of the values, by id and title, after one."""
        where = "".join(f" and {name} in (:{name})" for name in wanted)
        rows = await self._tx.rows(
            f"""select {_list(_PATCH)} from patch_of_node
                where {_PLACE} and node_id = :node_id and (patch_id > :id or (patch_id = :id and title > :after))
                {where} order by patch_id, title limit :limit""",  # noqa: S608
            **self._scope, node_id=node_id, id=after[0], after=after[1], limit=limit,
            **{name: list(values) for name, values in wanted.items()},
        )  # fmt: skip
        return [_patch(row) for row in rows]

    async def missing_of(self, node_ids: Sequence[str]) -> list[tuple[str, NodePatch]]:
        """What is missing on the nodes, or failed, by node."""
        rows = await self._tx.rows(
            f"""select node_id, {_list(_PATCH)} from patch_of_node
                where {_PLACE} and node_id in (:ids) and state in ('MISSING', 'FAILED')
                order by node_id, patch_id, title""",  # noqa: S608
            **self._scope, ids=list(node_ids),
        )  # fmt: skip
        return [(row["node_id"], _patch(row)) for row in rows]


_ALL: Final = tuple(COUNTED.values())


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """A version of a package that a node has seen in a repository."""

    operating_system: str
    product: str
    name: str
    arch: str
    version: str
    """With epoch and release, as the system's package manager writes it."""
    about: dict[str, Any]
    """The patch as `choosing.Patch` has it."""
    released_at: int | None
    first_seen_at: int

    @property
    def place(self) -> list[str | int]:
        """Where it stands in lists."""
        return [self.operating_system, self.product, self.name, self.arch, self.version]


_KNOWN_KEYS: Final = ("account_id", "region", "operating_system", "product", "name", "arch", "version")


class CatalogueStore:
    """What the nodes of an account and region have seen in their repositories, within one transaction."""

    def __init__(self, tx: Transaction, account_id: str, region: str) -> None:
        self._tx = tx
        self._scope = {"account_id": account_id, "region": region}

    async def put(self, known: Sequence[Known], at: int) -> None:
        """Seen now; those that were seen before keep when that was first."""
        names = ("about", "released_at", "first_seen_at", "last_seen_at")
        values = ", ".join(f":{name}" for name in (*_KNOWN_KEYS, *names))
        await self._tx.many(
            f"""insert into patch_known ({_list((*_KNOWN_KEYS, *names))}) values ({values})
                on conflict ({_list(_KNOWN_KEYS)}) do update set about = excluded.about,
                  released_at = excluded.released_at, last_seen_at = excluded.last_seen_at""",  # noqa: S608
            [
                {
                    **self._scope,
                    **{name: getattr(each, name) for name in _KNOWN_KEYS[2:]},
                    "about": msgspec.json.encode(each.about).decode(),
                    "released_at": each.released_at,
                    "first_seen_at": at,
                    "last_seen_at": at,
                }
                for each in known
            ],
        )

    async def page(self, system: str | None, after: Sequence[str] | None, limit: int) -> list[Known]:
        """In the order of system, product, name, architecture and version, after one of them."""
        where, values = "", {}
        if system is not None:
            where, values = "and operating_system = :system", {"system": system}
        if after is not None:
            names = _KNOWN_KEYS[2:]
            where += f" and ({_list(names)}) > ({_list([f':after_{name}' for name in names])})"
            values |= {f"after_{name}": each for name, each in zip(names, after, strict=True)}
        rows = await self._tx.rows(
            f"""select {_list(_KNOWN_KEYS[2:])}, about, released_at, first_seen_at from patch_known
                where {_PLACE} {where} order by {_list(_KNOWN_KEYS[2:])} limit :limit""",  # noqa: S608
            **self._scope, limit=limit, **values,
        )  # fmt: skip
        return [_known(row) for row in rows]

    async def seen_first(self, names: Sequence[str]) -> dict[tuple[str, str], int]:
        """(name, version) of packages to when they were released, or first seen where nobody says that."""
        rows = await self._tx.rows(
            f"""select name, version, min(coalesce(released_at, first_seen_at)) as since from patch_known
                where {_PLACE} and name in (:names) group by name, version""",  # noqa: S608
            **self._scope, names=list(names),
        )  # fmt: skip
        return {(row["name"], row["version"]): row["since"] for row in rows}


def _known(row: Row) -> Known:
    plain = {name: row[name] for name in (*_KNOWN_KEYS[2:], "released_at", "first_seen_at")}
    return Known(about=msgspec.json.decode(row["about"]), **plain)
