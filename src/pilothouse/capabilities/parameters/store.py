"""SQL of parameter, parameter_version, parameter_label, parameter_due and parameter_count.

The newest version is in `parameter`, the older ones in `parameter_version`. Lists are in the order of `path`.
"""

from collections.abc import Collection, Sequence
from typing import Final, NamedTuple
from zlib import crc32

from pilothouse.capabilities.parameters.model import Policy, Value, Version
from pilothouse.capabilities.parameters.names import Hierarchy, parent
from pilothouse.capabilities.parameters.policies import due_times, from_text, to_text
from pilothouse.storage import Row, Transaction

_OF_VALUE: Final = "path, name, version, type, value, sealed, key_ref, data_type, modified_at"
_ABOUT: Final = (
    "version, type, key_ref, data_type, tier, description, allowed_pattern, policies, modified_at, modified_by"
)

NEWEST_VALUE: Final = f"""select {_OF_VALUE} from parameter
  where account_id = :account_id and region = :region and path = :path"""  # noqa: S608
NEWEST_VALUES: Final = f"""select {_OF_VALUE} from parameter
  where account_id = :account_id and region = :region and path in (:paths) order by path"""  # noqa: S608
OLDER_VALUE: Final = """select path, cast(:name as text) as name, version, type, value, sealed, key_ref, data_type,
    modified_at
  from parameter_version
  where account_id = :account_id and region = :region and path = :path and version = :version"""
VALUES_BELOW: Final = f"""select {_OF_VALUE} from parameter
  where account_id = :account_id and region = :region and path >= :start and path < :end
  order by path limit :count"""  # noqa: S608
VALUES_OF_PARENT: Final = f"""select {_OF_VALUE} from parameter
  where account_id = :account_id and region = :region and parent = :parent and path >= :start
  order by path limit :count"""  # noqa: S608

NEWEST: Final = f"""select path, name, {_ABOUT}, value, sealed from parameter
  where account_id = :account_id and region = :region and path = :path"""  # noqa: S608
NEWEST_OF: Final = f"""select path, name, {_ABOUT}, value, sealed from parameter
  where account_id = :account_id and region = :region and path in (:paths) order by path"""  # noqa: S608
OLDER: Final = f"""select path, cast(:name as text) as name, {_ABOUT}, value, sealed from parameter_version
  where account_id = :account_id and region = :region and path = :path and version > :after and version < :before
  order by version limit :count"""  # noqa: S608
ABOUT_BELOW: Final = f"""select path, name, {_ABOUT} from parameter
  where account_id = :account_id and region = :region and path >= :start and path < :end
  order by path limit :count"""  # noqa: S608
ABOUT_OF_PARENT: Final = f"""select path, name, {_ABOUT} from parameter
  where account_id = :account_id and region = :region and parent = :parent and path >= :start
  order by path limit :count"""  # noqa: S608
ABOUT_SOME: Final = f"""select path, name, {_ABOUT} from parameter
  where account_id = :account_id and region = :region and path in (:paths) and path > :after
  order by path limit :count"""  # noqa: S608

KEEP_NEWEST_AS_OLDER: Final = f"""insert into parameter_version (account_id, region, path, {_ABOUT}, value, sealed)
  select account_id, region, path, {_ABOUT}, value, sealed from parameter
  where account_id = :account_id and region = :region and path = :path"""  # noqa: S608
ADD: Final = """insert into parameter
  (account_id, region, path, parent, name, version, type, value, sealed, key_ref, data_type, tier, description,
   allowed_pattern, policies, modified_at, modified_by)
  values (:account_id, :region, :path, :parent, :name, :version, :type, :value, :sealed, :key_ref, :data_type, :tier,
          :description, :allowed_pattern, :policies, :modified_at, :modified_by)"""
REPLACE: Final = """update parameter set
  version = :version, type = :type, value = :value, sealed = :sealed, key_ref = :key_ref, data_type = :data_type,
  tier = :tier, description = :description, allowed_pattern = :allowed_pattern, policies = :policies,
  modified_at = :modified_at, modified_by = :modified_by
  where account_id = :account_id and region = :region and path = :path"""


SLOTS: Final = 32
COUNT: Final = """insert into parameter_count (account_id, region, tier, slot, parameters)
  values (:account_id, :region, :tier, :slot, :by)
  on conflict (account_id, region, tier, slot) do update
    set parameters = parameter_count.parameters + excluded.parameters"""


_LOCKS: Final = 4096
"""Locks that parameters share: a database has room for so many in one transaction, not for one for each name."""


def _lock_of(path: str) -> int:
    return crc32(path.encode()) % _LOCKS


def slot_of(tx: Transaction) -> int:
    """The slot that a transaction counts in, whatever it makes and deletes: their sum is what counts.

    It holds no other until it ends, so two that make several parameters each never wait for each other's.
    """
    return id(tx) // 64 % SLOTS


class Due(NamedTuple):
    """A parameter of which a policy is due."""

    account_id: str
    region: str
    path: str


async def due_by(tx: Transaction, now: int, count: int) -> list[Due]:
    """Parameters with policies that are due, of every account and region, the longest due first."""
    rows = await tx.rows(
        """select account_id, region, path from parameter_due where due_at <= :now
           order by due_at, account_id, region, path limit :count""",
        now=now, count=count,
    )  # fmt: skip
    return list(dict.fromkeys(Due(*row.values()) for row in rows))


class Labelled(NamedTuple):
    """A label and the version it sits on."""

    path: str
    label: str
    number: int


class ParameterStore:
    """The parameters of one account and region."""

    def __init__(self, tx: Transaction, account_id: str, region: str) -> None:
        self._tx = self.tx = tx
        self._account_id = account_id
        self._region = region

    async def lock(self, path: str) -> None:
        """Nobody else changes the parameter until the transaction ends."""
        await self._tx.lock("parameter", self._account_id, self._region, str(_lock_of(path)))

    async def lock_all(self, paths: Collection[str]) -> None:
        """As `lock`, for several parameters that are about to be changed, made or deleted.

        The parameters in one order for everybody, then what they count in: so nobody waits in a circle.
        """
        for number in sorted({_lock_of(path) for path in paths}):
            await self._tx.lock("parameter", self._account_id, self._region, str(number))
        if self._tx.serial or not paths:
            return
        slot = slot_of(self._tx)
        await self._tx.many(
            COUNT,
            [
                {"account_id": self._account_id, "region": self._region, "tier": tier, "slot": slot, "by": 0}
                for tier in ("Advanced", "Standard")
            ],
        )

    async def newest_value(self, path: str) -> Value | None:
        """The newest version's value."""
        row = await self._tx.row(NEWEST_VALUE, account_id=self._account_id, region=self._region, path=path)
        return None if row is None else Value(*row.values())

    async def newest_values(self, paths: Collection[str]) -> dict[str, Value]:
        """The newest values of several parameters, by path."""
        rows = await self._tx.rows(NEWEST_VALUES, account_id=self._account_id, region=self._region, paths=list(paths))
        return {row["path"]: Value(*row.values()) for row in rows}

    async def older_value(self, path: str, name: str, number: int) -> Value | None:
        """The value of a version that is no longer the newest."""
        row = await self._tx.row(
            OLDER_VALUE, account_id=self._account_id, region=self._region, path=path, name=name, version=number
        )
        return None if row is None else Value(*row.values())

    async def values_in(self, hierarchy: Hierarchy, *, after: str, count: int) -> list[Value]:
        """The newest values of a hierarchy, in the order of their paths."""
        rows = await self._list(hierarchy, VALUES_BELOW, VALUES_OF_PARENT, after, count)
        return [Value(*row.values()) for row in rows]

    async def about_in(self, hierarchy: Hierarchy, *, after: str, count: int) -> list[Version]:
        """The newest versions of a hierarchy without their values, in the order of their paths."""
        rows = await self._list(hierarchy, ABOUT_BELOW, ABOUT_OF_PARENT, after, count)
        return [_version(row) for row in rows]

    async def about(self, paths: Collection[str], *, after: str, count: int) -> list[Version]:
        """The newest versions of some parameters without their values, in the order of their paths."""
        rows = await self._tx.rows(
            ABOUT_SOME,
            account_id=self._account_id, region=self._region, paths=list(paths), after=after, count=count,
        )  # fmt: skip
        return [_version(row) for row in rows]

    async def _list(self, hierarchy: Hierarchy, below: str, of_parent: str, after: str, count: int) -> Sequence[Row]:
        scope = {"account_id": self._account_id, "region": self._region, "count": count}
        start = hierarchy.start(after)
        if hierarchy.parent is not None:
            return await self._tx.rows(of_parent, **scope, parent=hierarchy.parent, start=start)
        return await self._tx.rows(below, **scope, start=start, end=hierarchy.end)

    async def newest(self, path: str) -> Version | None:
        """The newest version with everything that describes it."""
        row = await self._tx.row(NEWEST, account_id=self._account_id, region=self._region, path=path)
        return None if row is None else _version(row, row["value"], row["sealed"])

    async def newest_of(self, paths: Collection[str]) -> list[Version]:
        """As `newest`, of several parameters, in the order of their paths."""
        rows = await self._tx.rows(NEWEST_OF, account_id=self._account_id, region=self._region, paths=list(paths))
        return [_version(row, row["value"], row["sealed"]) for row in rows]

    async def older(self, newest: Version, *, after: int, count: int) -> list[Version]:
        """Versions before the newest and after the number `after`, ascending."""
        rows = await self._tx.rows(
            OLDER,
            account_id=self._account_id, region=self._region, path=newest.path, name=newest.name,
            after=after, before=newest.number, count=count,
        )  # fmt: skip
        return [_version(row, row["value"], row["sealed"]) for row in rows]

    async def has_version(self, path: str, number: int) -> bool:
        """Whether an older version is still kept."""
        found = await self._tx.value(
            """select 1 from parameter_version
               where account_id = :account_id and region = :region and path = :path and version = :version""",
            account_id=self._account_id, region=self._region, path=path, version=number,
        )  # fmt: skip
        return found is not None

    async def add(self, version: Version) -> None:
        """The first version of a new parameter."""
        self._tx.later(ADD, **self._columns(version), parent=parent(version.path), name=version.name)
        await self._count(version.path, version.tier, 1)
        if version.policies:
            await self._plan(version)

    async def replace(self, version: Version, *, previous: Version, drop: int | None) -> None:
        """A further version: the newest (`previous`) moves to the older ones; `drop` and those before it go."""
        scope = {"account_id": self._account_id, "region": self._region, "path": version.path}
        self._tx.later(KEEP_NEWEST_AS_OLDER, **scope)
        self._tx.later(REPLACE, **self._columns(version))
        if drop is not None:
            await self._tx.execute(
                """delete from parameter_version
                   where account_id = :account_id and region = :region and path = :path and version <= :drop""",
                **scope, drop=drop,
            )  # fmt: skip
        if previous.tier != version.tier:
            for tier, by in sorted([(previous.tier, -1), (version.tier, 1)]):  # one order of locks for everybody
                await self._count(version.path, tier, by)
        if previous.policies or version.policies:
            await self._forget_due(version.path)
            await self._plan(version)

    async def delete(self, path: str) -> bool:
        """Remove a parameter with its versions and labels; whether there was one."""
        scope = {"account_id": self._account_id, "region": self._region, "path": path}
        where = "account_id = :account_id and region = :region and path = :path"
        gone = await self._tx.row(f"delete from parameter where {where} returning tier, policies", **scope)  # noqa: S608
        if gone is not None:
            await self._count(path, gone["tier"], -1)
            if from_text(gone["policies"]):
                await self._forget_due(path)
            await self._tx.execute(f"delete from parameter_version where {where}", **scope)  # noqa: S608
            await self._tx.execute(f"delete from parameter_label where {where}", **scope)  # noqa: S608
        return gone is not None

    async def due(self, path: str, now: int) -> list[int]:
        """The places of the parameter's policies that are due."""
        rows = await self._tx.rows(
            """select place from parameter_due
               where account_id = :account_id and region = :region and path = :path and due_at <= :now
               order by place""",
            account_id=self._account_id, region=self._region, path=path, now=now,
        )  # fmt: skip
        return [row["place"] for row in rows]

    async def set_policies(self, path: str, policies: tuple[Policy, ...], *, done: Sequence[int]) -> None:
        """Keep the policies of the newest version with their new status; those at the places `done` wait no more."""
        scope = {"account_id": self._account_id, "region": self._region, "path": path}
        await self._tx.execute(
            """update parameter set policies = :policies
               where account_id = :account_id and region = :region and path = :path""",
            **scope, policies=to_text(policies),
        )  # fmt: skip
        if done:
            await self._tx.execute(
                """delete from parameter_due
                   where account_id = :account_id and region = :region and path = :path and place in (:places)""",
                **scope, places=list(done),
            )  # fmt: skip

    async def _plan(self, version: Version) -> None:
        for place, at in due_times(version.policies, version.modified_at):
            await self._tx.execute(
                """insert into parameter_due (account_id, region, path, place, due_at)
                   values (:account_id, :region, :path, :place, :at)""",
                account_id=self._account_id, region=self._region, path=version.path, place=place, at=at,
            )  # fmt: skip

    async def _forget_due(self, path: str) -> None:
        await self._tx.execute(
            "delete from parameter_due where account_id = :account_id and region = :region and path = :path",
            account_id=self._account_id, region=self._region, path=path,
        )  # fmt: skip

    async def _count(self, path: str, tier: str, by: int) -> None:
        await self._tx.execute(
            COUNT, account_id=self._account_id, region=self._region, tier=tier, slot=slot_of(self._tx), by=by
        )

    async def count(self, tier: str) -> int:
        """How many parameters of the tier there are."""
        found: int | None = await self._tx.value(
            """select cast(sum(parameters) as bigint) from parameter_count
               where account_id = :account_id and region = :region and tier = :tier""",
            account_id=self._account_id, region=self._region, tier=tier,
        )  # fmt: skip
        return found or 0

    async def lock_count(self, tier: str) -> None:
        """Nobody else who asked for this lock makes a parameter of the tier until the transaction ends."""
        await self._tx.lock("parameter count", self._account_id, self._region, tier)

    async def labels(self, path: str) -> dict[str, int]:
        """Every label of the parameter and the version it sits on, alphabetically."""
        rows = await self._tx.rows(
            """select label, version from parameter_label
               where account_id = :account_id and region = :region and path = :path order by label""",
            account_id=self._account_id, region=self._region, path=path,
        )  # fmt: skip
        return {row["label"]: row["version"] for row in rows}

    async def labels_of(self, paths: Collection[str]) -> dict[str, dict[str, int]]:
        """The labels of several parameters by path, as `labels`; one without labels has no entry."""
        if not paths:
            return {}
        rows = await self._tx.rows(
            """select path, label, version from parameter_label
               where account_id = :account_id and region = :region and path in (:paths)
                 and path >= :first and path <= :last
               order by path, label""",
            account_id=self._account_id, region=self._region, paths=list(paths), first=min(paths), last=max(paths),
        )  # fmt: skip
        found: dict[str, dict[str, int]] = {}
        for row in rows:
            found.setdefault(row["path"], {})[row["label"]] = row["version"]
        return found

    async def labelled(self, path: str, label: str) -> int | None:
        """The version that a label sits on."""
        number: int | None = await self._tx.value(
            """select version from parameter_label
               where account_id = :account_id and region = :region and path = :path and label = :label""",
            account_id=self._account_id, region=self._region, path=path, label=label,
        )  # fmt: skip
        return number

    async def labelled_below(
        self, prefix: str, labels: Collection[str], *, after: tuple[str, str], count: int
    ) -> list[Labelled]:
        """Which versions below a prefix have one of the labels, in the order of path and label."""
        rows = await self._tx.rows(
            """select path, label, version from parameter_label
               where account_id = :account_id and region = :region and path >= :start and path < :end
                 and label in (:labels) and (path > :path or (path = :path and label > :label))
               order by path, label limit :count""",
            account_id=self._account_id, region=self._region, start=max(prefix, after[0]), end=f"{prefix}~",
            labels=list(labels), path=after[0], label=after[1], count=count,
        )  # fmt: skip
        return [Labelled(*row.values()) for row in rows]

    async def set_label(self, path: str, label: str, number: int) -> None:
        """Put a label on a version; if it sits on another one it moves."""
        await self._tx.execute(
            """insert into parameter_label (account_id, region, path, label, version)
               values (:account_id, :region, :path, :label, :version)
               on conflict (account_id, region, path, label) do update set version = excluded.version""",
            account_id=self._account_id, region=self._region, path=path, label=label, version=number,
        )  # fmt: skip

    async def remove_label(self, path: str, label: str) -> None:
        """Take a label off its version."""
        await self._tx.execute(
            """delete from parameter_label
               where account_id = :account_id and region = :region and path = :path and label = :label""",
            account_id=self._account_id, region=self._region, path=path, label=label,
        )  # fmt: skip

    def _columns(self, version: Version) -> dict[str, object]:
        return {
            "account_id": self._account_id,
            "region": self._region,
            "path": version.path,
            "version": version.number,
            "type": version.kind,
            "value": version.value,
            "sealed": version.sealed,
            "key_ref": version.key_ref,
            "data_type": version.data_type,
            "tier": version.tier,
            "description": version.description,
            "allowed_pattern": version.allowed_pattern,
            "policies": to_text(version.policies),
            "modified_at": version.modified_at,
            "modified_by": version.modified_by,
        }


def _version(row: Row, value: str | None = None, sealed: bytes | None = None) -> Version:
    return Version(
        path=row["path"],
        name=row["name"],
        number=row["version"],
        kind=row["type"],
        key_ref=row["key_ref"],
        data_type=row["data_type"],
        tier=row["tier"],
        description=row["description"],
        allowed_pattern=row["allowed_pattern"],
        policies=from_text(row["policies"]),
        modified_at=row["modified_at"],
        modified_by=row["modified_by"],
        value=value,
        sealed=sealed,
    )
