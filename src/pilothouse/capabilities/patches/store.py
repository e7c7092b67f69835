"""The tables of baselines, of what they are registered for, and of what runs were given of them."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from pilothouse.call import House
from pilothouse.capabilities.patches.model import Baseline, Terms
from pilothouse.crypto.sealed import Sealed
from pilothouse.storage import Row, Transaction

_PLACE: Final = "account_id = :account_id and region = :region"
_COLUMNS: Final = (
    "baseline_id, account_id, region, name, operating_system, description, terms, created_at, modified_at, "
    "client_token, digest"
)
_INSERT: Final = f"""insert into patch_baseline ({_COLUMNS}) values (:baseline_id, :account_id, :region, :name,
  :operating_system, :description, :terms, :created_at, :modified_at, :client_token, :digest)"""  # noqa: S608
_read = msgspec.json.Decoder(Terms).decode


def _baseline_context(row: Mapping[str, Any]) -> str:
    """What the sealed terms of a baseline are bound to."""
    return f"patch baseline {row['account_id']}/{row['region']}/{row['baseline_id']}/{row['modified_at']}"


def _snapshot_context(row: Mapping[str, Any]) -> str:
    place = "/".join(str(row[name]) for name in ("account_id", "region", "snapshot_id", "baseline"))
    return f"patch snapshot {place}"


SEALED: Final = (
    Sealed(
        table="patch_baseline",
        keys=("baseline_id",),
        column="terms",
        reads=("account_id", "region", "modified_at"),
        context=_baseline_context,
    ),
    Sealed(
        table="patch_snapshot",
        keys=("account_id", "region", "snapshot_id", "baseline"),
        column="content",
        context=_snapshot_context,
    ),
)
"""Sources of patches may hold passwords of repositories."""


class Named(msgspec.Struct, frozen=True, kw_only=True):
    """What a list shows of a baseline."""

    baseline_id: str
    name: str
    operating_system: str
    description: str | None


class BaselineStore:
    """The baselines of an account and region, within one transaction."""

    def __init__(self, tx: Transaction, house: House, account_id: str, region: str) -> None:
        self._tx = tx
        self._vault = house.vault
        self._scope = {"account_id": account_id, "region": region}

    async def lock(self) -> None:
        """Nobody else makes, changes or registers a baseline there."""
        await self._tx.lock("patch baselines", *self._scope.values())

    async def count(self) -> int:
        return int(await self._tx.value(f"select count(*) from patch_baseline where {_PLACE}", **self._scope))  # noqa: S608

    async def _baseline(self, row: Row | None) -> Baseline | None:
        if row is None:
            return None
        names = ("baseline_id", "account_id", "region", "operating_system", "created_at", "modified_at")
        said = await self._vault.opened(row["terms"], _baseline_context(row))
        rest = {name: row[name] for name in (*names, "client_token", "digest")}
        return Baseline(terms=_read(said), **rest)

    async def find(self, baseline_id: str) -> Baseline | None:
        sql = f"select {_COLUMNS} from patch_baseline where {_PLACE} and baseline_id = :id"  # noqa: S608
        return await self._baseline(await self._tx.row(sql, **self._scope, id=baseline_id))

    async def by_token(self, token: str) -> tuple[str, str] | None:
        """Id and digest of the one that was made with the client token."""
        sql = f"select baseline_id, digest from patch_baseline where {_PLACE} and client_token = :token"  # noqa: S608
        row = await self._tx.row(sql, **self._scope, token=token)
        return None if row is None else (row["baseline_id"], row["digest"])

    def _values(self, baseline: Baseline) -> dict[str, Any]:
        values = {
            "baseline_id": baseline.baseline_id, "account_id": baseline.account_id, "region": baseline.region,
            "name": baseline.terms.name, "operating_system": baseline.operating_system,
            "description": baseline.terms.description, "created_at": baseline.created_at,
            "modified_at": baseline.modified_at, "client_token": baseline.client_token, "digest": baseline.digest,
        }  # fmt: skip
        return {**values, "terms": self._vault.seal(msgspec.json.encode(baseline.terms), _baseline_context(values))}

    async def add(self, baseline: Baseline) -> None:
        await self._tx.execute(_INSERT, **self._values(baseline))

    async def save(self, baseline: Baseline) -> None:
        values = self._values(baseline)
        names = ("baseline_id", "name", "description", "terms", "modified_at")
        await self._tx.execute(
            """update patch_baseline set name = :name, description = :description, terms = :terms,
                 modified_at = :modified_at where baseline_id = :baseline_id""",
            **{name: values[name] for name in names},
        )

    async def remove(self, baseline_id: str) -> None:
        sql = f"delete from patch_baseline where {_PLACE} and baseline_id = :id"  # noqa: S608
        await self._tx.execute(sql, **self._scope, id=baseline_id)

    async def page(self, after: str, limit: int) -> list[Named]:
        """By id, after an id."""
        rows = await self._tx.rows(
            f"""select baseline_id, name, operating_system, description from patch_baseline
                where {_PLACE} and baseline_id > :after order by baseline_id limit :limit""",  # noqa: S608
            **self._scope, after=after, limit=limit,
        )  # fmt: skip
        return [Named(**{name: row[name] for name in Named.__struct_fields__}) for row in rows]


class RegistrationStore:
    """Which baseline serves which patch group and operating system, within one transaction."""

    def __init__(self, tx: Transaction, account_id: str, region: str) -> None:
        self._tx = tx
        self._scope = {"account_id": account_id, "region": region}

    async def of_group(self, patch_group: str, operating_system: str) -> str | None:
        """The id of the baseline that is registered for it."""
        found = await self._tx.value(
            f"""select baseline_id from patch_group
                where {_PLACE} and patch_group = :patch_group and operating_system = :system""",  # noqa: S608
            **self._scope, patch_group=patch_group, system=operating_system,
        )  # fmt: skip
        return None if found is None else str(found)

    async def groups_of(self, baseline_id: str) -> list[str]:
        sql = f"select patch_group from patch_group where {_PLACE} and baseline_id = :id order by patch_group"  # noqa: S608
        return [row["patch_group"] for row in await self._tx.rows(sql, **self._scope, id=baseline_id)]

    async def register(self, patch_group: str, operating_system: str, baseline_id: str) -> None:
        await self._tx.execute(
            """insert into patch_group (account_id, region, patch_group, operating_system, baseline_id)
               values (:account_id, :region, :patch_group, :system, :id)""",
            **self._scope, patch_group=patch_group, system=operating_system, id=baseline_id,
        )  # fmt: skip

    async def deregister(self, patch_group: str, baseline_id: str) -> None:
        sql = f"delete from patch_group where {_PLACE} and patch_group = :patch_group and baseline_id = :id"  # noqa: S608
        await self._tx.execute(sql, **self._scope, patch_group=patch_group, id=baseline_id)

    async def page(
        self, prefix: str, systems: Sequence[str] | None, after: Sequence[str], limit: int
    ) -> list[tuple[str, str, str]]:
        """Group, operating system and baseline, in this order, after a group and operating system."""
        where = "" if systems is None else "and operating_system in (:systems)"
        more: dict[str, Any] = {} if systems is None else {"systems": list(systems)}
        if prefix:
            where += " and patch_group >= :begin and patch_group < :past"
            more |= {"begin": prefix, "past": prefix[:-1] + chr(ord(prefix[-1]) + 1)}
        rows = await self._tx.rows(
            f"""select patch_group, operating_system, baseline_id from patch_group
                where {_PLACE} and (patch_group > :group or (patch_group = :group and operating_system > :system))
                {where} order by patch_group, operating_system limit :limit""",  # noqa: S608
            **self._scope, group=after[0], system=after[1], limit=limit, **more,
        )  # fmt: skip
        return [(row["patch_group"], row["operating_system"], row["baseline_id"]) for row in rows]

    async def default(self, operating_system: str) -> str | None:
        """The id of the baseline that was made the default."""
        sql = f"select baseline_id from patch_default where {_PLACE} and operating_system = :system"  # noqa: S608
        found = await self._tx.value(sql, **self._scope, system=operating_system)
        return None if found is None else str(found)

    async def defaults(self) -> dict[str, str]:
        """Operating system to the id of the baseline that was made its default."""
        sql = f"select operating_system, baseline_id from patch_default where {_PLACE}"  # noqa: S608
        return {row["operating_system"]: row["baseline_id"] for row in await self._tx.rows(sql, **self._scope)}

    async def make_default(self, operating_system: str, baseline_id: str) -> None:
        await self._tx.execute(
            """insert into patch_default (account_id, region, operating_system, baseline_id)
               values (:account_id, :region, :system, :id)
               on conflict (account_id, region, operating_system) do update set baseline_id = excluded.baseline_id""",
            **self._scope, system=operating_system, id=baseline_id,
        )  # fmt: skip


class SnapshotStore:
    """What runs were given of a baseline, within one transaction."""

    def __init__(self, tx: Transaction, house: House, account_id: str, region: str) -> None:
        self._tx = tx
        self._vault = house.vault
        self._scope = {"account_id": account_id, "region": region}

    def _key(self, snapshot_id: str, baseline: str) -> dict[str, Any]:
        return {**self._scope, "snapshot_id": snapshot_id, "baseline": baseline}

    async def lock(self, snapshot_id: str) -> None:
        await self._tx.lock("patch snapshot", *self._scope.values(), snapshot_id)

    async def find(self, snapshot_id: str, baseline: str) -> bytes | None:
        """The content, JSON."""
        key = self._key(snapshot_id, baseline)
        sealed = await self._tx.value(
            f"""select content from patch_snapshot
                where {_PLACE} and snapshot_id = :snapshot_id and baseline = :baseline""",  # noqa: S608
            **key,
        )
        return None if sealed is None else await self._vault.opened(sealed, _snapshot_context(key))

    async def add(self, snapshot_id: str, baseline: str, content: bytes, at: int) -> None:
        key = self._key(snapshot_id, baseline)
        await self._tx.execute(
            """insert into patch_snapshot (account_id, region, snapshot_id, baseline, content, created_at)
               values (:account_id, :region, :snapshot_id, :baseline, :content, :at)""",
            **key, content=self._vault.seal(content, _snapshot_context(key)), at=at,
        )  # fmt: skip


async def forget_snapshots(tx: Transaction, before: int, most: int) -> int:
    """Remove what runs were given that began earlier; how many rows went."""
    return await tx.execute(
        """delete from patch_snapshot where (account_id, region, snapshot_id, baseline) in
             (select account_id, region, snapshot_id, baseline from patch_snapshot
              where created_at < :before limit :most)""",
        before=before, most=most,
    )  # fmt: skip


async def forget_known(tx: Transaction, before: int, most: int) -> int:
    """Remove what no node has seen in its repositories for long; how many rows went."""
    return await tx.execute(
        """delete from patch_known where (account_id, region, operating_system, product, name, arch, version) in
             (select account_id, region, operating_system, product, name, arch, version from patch_known
              where last_seen_at < :before limit :most)""",
        before=before, most=most,
    )  # fmt: skip


async def find_own(tx: Transaction, account_id: str, region: str, baseline_id: str) -> bool:
    """Whether the account has the baseline."""
    sql = f"select 1 from patch_baseline where {_PLACE} and baseline_id = :id"  # noqa: S608
    return await tx.value(sql, account_id=account_id, region=region, id=baseline_id) is not None
