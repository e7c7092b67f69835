"""SQL of secret, secret_version, secret_stage and secret_tag."""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from pilothouse.capabilities import tags
from pilothouse.capabilities.secrets.model import Reading, Replica, Secret, Version
from pilothouse.grouping import TagFilter
from pilothouse.storage import Row, Transaction

_COLUMNS: Final = (
    "name", "suffix", "description", "key_ref", "created_at", "changed_at", "accessed_on", "purge_at", "ever_tagged",
    "versions_made", "kind", "owning_service", "primary_region", "rotation", "rotated_at", "rotates_at",
    "settles_at",
)  # fmt: skip
_ABOUT: Final = ", ".join(_COLUMNS)
_GIVEN: Final = ", ".join(f":{each}" for each in _COLUMNS)
_KEPT: Final = ("name", "suffix", "created_at", "accessed_on", "settles_at")
"""What does not change, or not together with the rest."""
_CHANGED: Final = ", ".join(f"{each} = :{each}" for each in _COLUMNS if each not in _KEPT)
_FORGOTTEN_AT_ONCE: Final = 64
"""More than can have labels of the service, and few enough to be looked at with each new version."""
_TABLES: Final = ("secret_policy", "secret_replica", "secret_tag", "secret_stage", "secret_version", "secret")
SORTS: Final = {
    "created": "created_at",
    "changed": "changed_at",
    "accessed": "coalesce(accessed_on, 0)",
    "name": "name",
}
"""What lists can be sorted by; the name comes after each."""
_VERSION: Final = "version_id, number, is_binary, sealed, key_ref, created_at, accessed_on"
_OWN: Final = "account_id = :account_id and region = :region and name = :name"


def _own(table: str) -> str:
    return f"{table}.account_id = :account_id and {table}.region = :region and {table}.name = :name"


def _reading(version: str) -> str:
    """A secret and one version in the order of `Reading`, as one row: such questions travel together to PostgreSQL."""
    return f"""select s.name, s.suffix, s.key_ref, s.purge_at, s.settles_at, coalesce(v.version_id, '') as version_id,
         coalesce(v.is_binary, 0) as is_binary, coalesce(v.sealed, '') as sealed,
         coalesce(v.created_at, 0) as created_at, v.accessed_on,
         coalesce((select string_agg(l.position || ' ' || length(l.stage) || ' ' || l.stage, '') from secret_stage l
                   where {_own("l")} and l.version_id = v.version_id), '') as labels
       from secret s {version} where {_own("s")}"""  # noqa: S608


_READING_OF_STAGE: Final = _reading(
    f"""left join secret_stage o on {_own("o")} and o.stage = :stage
       left join secret_version v on {_own("v")} and v.version_id = o.version_id"""
)
_READING_OF_VERSION: Final = _reading(f"left join secret_version v on {_own('v')} and v.version_id = :version_id")


@lru_cache(maxsize=64)
def _put_stages(count: int) -> str:
    """The statement that puts so many labels where they belong."""
    rows = ", ".join(f"(:account_id, :region, :name, :stage_{n}, :version_{n}, :at_{n})" for n in range(count))
    return f"""insert into secret_stage (account_id, region, name, stage, version_id, position) values {rows}
       on conflict (account_id, region, name, stage) do update
       set version_id = excluded.version_id, position = excluded.position"""  # noqa: S608


class SecretStore:
    """The secrets of one account and region."""

    def __init__(self, tx: Transaction, account_id: str, region: str) -> None:
        self._tx = tx
        self._scope = {"account_id": account_id, "region": region}

    async def lock(self, name: str) -> None:
        """Nobody else changes the secret until the transaction ends."""
        await self._tx.lock("secret", *self._scope.values(), name)

    async def secret(self, name: str) -> Secret | None:
        """A secret, also one that is marked for deletion."""
        row = await self._tx.row(f"select {_ABOUT} from secret where {_OWN}", **self._scope, name=name)  # noqa: S608
        return None if row is None else self._secret(row)

    def _secret(self, row: Row) -> Secret:
        return Secret(**{**row, **self._scope, "ever_tagged": bool(row["ever_tagged"])})

    async def secrets(
        self, by: str, *, descending: bool, after: tuple[int | str, str] | None, planned_too: bool, count: int
    ) -> list[Secret]:
        """Secrets in an order of SORTS, after a place in it: the value sorted by, and the name."""
        column, beyond = SORTS[by], "<" if descending else ">"
        order = "desc" if descending else "asc"
        start = f"and (({column}) {beyond} :value or (({column}) = :value and name {beyond} :name))" if after else ""
        if after and by == "name":
            start = f"and name {beyond} :name"
        alive = "" if planned_too else "and purge_at is null"
        sorted_by = f"name {order}" if by == "name" else f"{column} {order}, name {order}"
        given = {} if after is None else {"name": after[1]} if by == "name" else {"value": after[0], "name": after[1]}
        rows = await self._tx.rows(
            f"""select {_ABOUT} from secret where account_id = :account_id and region = :region {alive} {start}
               order by {sorted_by} limit :count""",  # noqa: S608
            **self._scope, **given, count=count,
        )  # fmt: skip
        return [self._secret(row) for row in rows]

    async def beginning_with(self, prefix: str, count: int) -> list[Secret]:
        """Secrets whose names begin so, but for those that are marked for deletion."""
        rows = await self._tx.rows(
            f"""select {_ABOUT} from secret where account_id = :account_id and region = :region and name >= :prefix
               and substr(name, 1, :length) = :prefix and purge_at is null order by name limit :count""",  # noqa: S608
            **self._scope, prefix=prefix, length=len(prefix), count=count,
        )  # fmt: skip
        return [self._secret(row) for row in rows]

    async def add(self, secret: Secret) -> None:
        """A new secret without values."""
        await self._tx.execute(
            f"insert into secret (account_id, region, {_ABOUT}) values (:account_id, :region, {_GIVEN})",  # noqa: S608
            **self._scope, **_columns(secret),
        )  # fmt: skip

    async def save(self, secret: Secret) -> None:
        """Keep what changed of a secret."""
        self._tx.later(
            f"update secret set {_CHANGED} where {_OWN}",  # noqa: S608
            **self._scope,
            **{
                name: value for name, value in _columns(secret).items() if name == "name" or name not in _KEPT
            },
        )  # fmt: skip

    async def settle(self, secret: Secret, until: int | None) -> None:
        """Until when readers of the current value wait, in each region that has the secret."""
        await self._tx.execute(
            """update secret set settles_at = :until
               where account_id = :account_id and name = :name and suffix = :suffix""",
            account_id=secret.account_id, name=secret.name, suffix=secret.suffix, until=until,
        )  # fmt: skip

    async def any_settling(self, now: int) -> bool:
        """Whether readers of some secret wait."""
        found = await self._tx.value(
            """select 1 from secret where account_id = :account_id and region = :region and settles_at > :now
               limit 1""",
            **self._scope, now=now,
        )  # fmt: skip
        return found is not None

    async def remove(self, name: str) -> None:
        """Remove a secret with all that hangs on it."""
        for table in _TABLES:
            await self._tx.execute(f"delete from {table} where {_OWN}", **self._scope, name=name)  # noqa: S608

    async def version(self, name: str, version_id: str) -> Version | None:
        """One version."""
        row = await self._tx.row(
            f"select {_VERSION} from secret_version where {_OWN} and version_id = :version_id",  # noqa: S608
            **self._scope, name=name, version_id=version_id,
        )  # fmt: skip
        return None if row is None else _version(row)

    async def reading(self, name: str, version_id: str | None, stage: str) -> Reading | None:
        """What reading a version needs: the one of that id, or without one that which the label sits on."""
        if version_id is not None:
            row = await self._tx.row(_READING_OF_VERSION, **self._scope, name=name, version_id=version_id)
        else:
            row = await self._tx.row(_READING_OF_STAGE, **self._scope, name=name, stage=stage)
        return None if row is None else Reading(self._scope["account_id"], self._scope["region"], *row.values())

    async def versions(self, name: str, *, after: int = 0, count: int) -> list[Version]:
        """Versions in the order they were made."""
        rows = await self._tx.rows(
            f"""select {_VERSION} from secret_version where {_OWN} and number > :after
               order by number limit :count""",  # noqa: S608
            **self._scope, name=name, after=after, count=count,
        )  # fmt: skip
        return [_version(row) for row in rows]

    async def add_version(self, name: str, version: Version) -> None:
        """A new version."""
        self._tx.later(
            f"""insert into secret_version (account_id, region, name, {_VERSION})
               values (:account_id, :region, :name, :version_id, :number, :is_binary, :sealed, :key_ref, :created_at,
                       :accessed_on)""",  # noqa: S608
            **self._scope, name=name, version_id=version.version_id, number=version.number,
            is_binary=int(version.is_binary), sealed=version.sealed, key_ref=version.key_ref,
            created_at=version.created_at, accessed_on=version.accessed_on,
        )  # fmt: skip

    async def give_value(self, name: str, version: Version) -> None:
        """The value of a version that rotation made without one."""
        await self._tx.execute(
            f"""update secret_version set sealed = :sealed, is_binary = :is_binary, key_ref = :key_ref
               where {_OWN} and version_id = :version_id""",  # noqa: S608
            **self._scope, name=name, version_id=version.version_id, sealed=version.sealed,
            is_binary=int(version.is_binary), key_ref=version.key_ref,
        )  # fmt: skip

    async def remove_version(self, name: str, version_id: str) -> None:
        """Remove one version, which has no labels any more."""
        await self._tx.execute(
            f"delete from secret_version where {_OWN} and version_id = :version_id",  # noqa: S608
            **self._scope, name=name, version_id=version_id,
        )  # fmt: skip

    async def reseal(self, name: str, version_id: str, sealed: bytes, key_ref: str | None) -> None:
        """The same value under another key."""
        await self._tx.execute(
            f"""update secret_version set sealed = :sealed, key_ref = :key_ref
               where {_OWN} and version_id = :version_id""",  # noqa: S608
            **self._scope, name=name, version_id=version_id, sealed=sealed, key_ref=key_ref,
        )  # fmt: skip

    async def forget_unlabelled(self, name: str, *, upto: int, before: int) -> list[str]:
        """Remove versions without labels, up to a number, made before a moment; some of the oldest; their ids."""
        of_old = {**self._scope, "name": name, "upto": upto}
        oldest = await self._tx.value(
            f"select created_at from secret_version where {_OWN} and number <= :upto order by number limit 1",  # noqa: S608
            **of_old,
        )  # fmt: skip
        if oldest is None or oldest >= before:
            return []
        rows = await self._tx.rows(
            f"""select version_id, created_at from secret_version where {_OWN} and number <= :upto
               order by number limit :count""",  # noqa: S608
            **of_old, count=_FORGOTTEN_AT_ONCE,
        )  # fmt: skip
        old = [row["version_id"] for row in rows if row["created_at"] < before]
        if old:
            labelled = set((await self.stages(name)).values())
            old = [version_id for version_id in old if version_id not in labelled]
        if old:
            await self._tx.execute(
                f"delete from secret_version where {_OWN} and version_id in (:old)",  # noqa: S608
                **self._scope, name=name, old=old,
            )  # fmt: skip
        return old

    async def stages(self, name: str) -> dict[str, str]:
        """Labels and the versions they sit on, in the order they were put on."""
        rows = await self._tx.rows(
            f"select stage, version_id from secret_stage where {_OWN} order by position",  # noqa: S608
            **self._scope, name=name,
        )  # fmt: skip
        return {row["stage"]: row["version_id"] for row in rows}

    async def stages_of(self, names: Sequence[str]) -> dict[str, dict[str, str]]:
        """The same of several secrets, by name."""
        found: dict[str, dict[str, str]] = {name: {} for name in names}
        if names:
            rows = await self._tx.rows(
                """select name, stage, version_id from secret_stage
                   where account_id = :account_id and region = :region and name in (:names) order by name, position""",
                **self._scope, names=list(names),
            )  # fmt: skip
            for row in rows:
                found[row["name"]][row["stage"]] = row["version_id"]
        return found

    async def set_stages(self, name: str, stages: Mapping[str, str], before: Mapping[str, str]) -> None:
        """Put the labels where they belong now; `before`: where they are."""
        if gone := [stage for stage in before if stage not in stages]:
            self._tx.later(
                f"delete from secret_stage where {_OWN} and stage in (:gone)",  # noqa: S608
                **self._scope, name=name, gone=gone,
            )  # fmt: skip
        if stages:
            given: dict[str, Any] = {}
            for position, (stage, version_id) in enumerate(stages.items()):
                given |= {f"stage_{position}": stage, f"version_{position}": version_id, f"at_{position}": position}
            self._tx.later(_put_stages(len(stages)), **self._scope, name=name, **given)

    async def mark_read(self, name: str, version_id: str, day: int) -> None:
        """Remember that the version was read on a day (its first moment)."""
        await self._tx.execute(
            f"""update secret set accessed_on = :day
               where {_OWN} and (accessed_on is null or accessed_on < :day)""",  # noqa: S608
            **self._scope, name=name, day=day,
        )  # fmt: skip
        await self._tx.execute(
            f"update secret_version set accessed_on = :day where {_OWN} and version_id = :version_id",  # noqa: S608
            **self._scope, name=name, version_id=version_id, day=day,
        )  # fmt: skip

    async def tags(self, name: str) -> dict[str, str]:
        """Tags in the order they were added."""
        rows = await self._tx.rows(
            f"select tag_key, tag_value from secret_tag where {_OWN} order by position",  # noqa: S608
            **self._scope, name=name,
        )  # fmt: skip
        return {row["tag_key"]: row["tag_value"] for row in rows}

    async def tags_of(self, names: Sequence[str]) -> dict[str, dict[str, str]]:
        """The same of several secrets, by name."""
        found: dict[str, dict[str, str]] = {name: {} for name in names}
        if names:
            rows = await self._tx.rows(
                """select name, tag_key, tag_value from secret_tag
                   where account_id = :account_id and region = :region and name in (:names) order by name, position""",
                **self._scope, names=list(names),
            )  # fmt: skip
            for row in rows:
                found[row["name"]][row["tag_key"]] = row["tag_value"]
        return found

    async def policy(self, name: str) -> str | None:
        """The resource policy, as it was put."""
        found = await self._tx.value(f"select policy from secret_policy where {_OWN}", **self._scope, name=name)  # noqa: S608
        return None if found is None else str(found)

    async def set_policy(self, secret: Secret, policy: str | None) -> None:
        """Another resource policy, or none."""
        await self._tx.execute(f"delete from secret_policy where {_OWN}", **self._scope, name=secret.name)  # noqa: S608
        if policy is not None:
            await self._tx.execute(
                """insert into secret_policy (account_id, region, name, policy, arn)
                   values (:account_id, :region, :name, :policy, :arn)""",
                **self._scope, name=secret.name, policy=policy, arn=secret.arn,
            )  # fmt: skip

    async def replicas(self, name: str) -> list[Replica]:
        """Where else the secret is, by region."""
        rows = await self._tx.rows(
            f"""select replica_region as region, key_ref, status, message from secret_replica
               where {_OWN} order by replica_region""",  # noqa: S608
            **self._scope, name=name,
        )  # fmt: skip
        return [Replica(**row) for row in rows]

    async def put_replica(self, name: str, replica: Replica) -> None:
        """Where else the secret is, and how it fares there."""
        await self._tx.execute(
            """insert into secret_replica (account_id, region, name, replica_region, key_ref, status, message)
               values (:account_id, :region, :name, :replica_region, :key_ref, :status, :message)
               on conflict (account_id, region, name, replica_region) do update
               set key_ref = excluded.key_ref, status = excluded.status, message = excluded.message""",
            **self._scope, name=name, replica_region=replica.region, key_ref=replica.key_ref, status=replica.status,
            message=replica.message,
        )  # fmt: skip

    async def remove_replica(self, name: str, region: str) -> None:
        """It is there no more."""
        await self._tx.execute(
            f"delete from secret_replica where {_OWN} and replica_region = :replica_region",  # noqa: S608
            **self._scope, name=name, replica_region=region,
        )  # fmt: skip

    async def with_tags(self, filters: Sequence[TagFilter], after: str, limit: int | None) -> dict[str, str]:
        """Names in order, after a name, with their suffixes, of the secrets that have all of the tags."""
        names = await tags.with_all(self._tx, "secret_tag", "name", self._scope, filters, after=after, limit=limit)
        if not names:
            return {}
        rows = await self._tx.rows(
            """select name, suffix from secret
               where account_id = :account_id and region = :region and name in (:names) order by name""",
            **self._scope, names=names,
        )  # fmt: skip
        return {row["name"]: row["suffix"] for row in rows}

    async def set_tags(self, name: str, given: Mapping[str, str]) -> None:
        """The tags of a secret, in this order."""
        await self._tx.execute(f"delete from secret_tag where {_OWN}", **self._scope, name=name)  # noqa: S608
        await self._tx.many(
            """insert into secret_tag (account_id, region, name, tag_key, tag_value, position)
               values (:account_id, :region, :name, :tag_key, :tag_value, :position)""",
            [
                {**self._scope, "name": name, "tag_key": key, "tag_value": value, "position": position}
                for position, (key, value) in enumerate(given.items())
            ],
        )


async def due_for_purge(tx: Transaction, now: int, count: int) -> Iterable[Row]:
    """Secrets of any account whose recovery window is over."""
    return await tx.rows(
        """select account_id, region, name from secret where purge_at is not null and purge_at <= :now
           order by purge_at limit :count""",
        now=now, count=count,
    )  # fmt: skip


async def guarded(tx: Transaction, account_id: str, most: int) -> list[str]:
    """ARNs of the account's secrets, of all regions, that have resource policies."""
    rows = await tx.rows(
        "select arn from secret_policy where account_id = :account_id limit :most", account_id=account_id, most=most
    )  # fmt: skip
    return [row["arn"] for row in rows]


async def warned(tx: Transaction, *, now: int, soon: int) -> dict[str, int]:
    """How many secrets of all accounts will be deleted soon, and how many are past the time of their rotation."""
    row = await tx.row(
        """select coalesce(sum(case when purge_at <= :soon then 1 else 0 end), 0) as deleting,
             coalesce(sum(case when purge_at is null and rotates_at < :now then 1 else 0 end), 0) as overdue
           from secret where purge_at is not null or rotates_at is not null""",
        now=now, soon=soon,
    )  # fmt: skip
    return {} if row is None else {name: int(row[name]) for name in ("deleting", "overdue")}


def _columns(secret: Secret) -> dict[str, Any]:
    return {**{name: getattr(secret, name) for name in _COLUMNS}, "ever_tagged": int(secret.ever_tagged)}


def _version(row: Row) -> Version:
    return Version(**{**row, "is_binary": bool(row["is_binary"])})
