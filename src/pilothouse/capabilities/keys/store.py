"""SQL of kms_key, kms_material, kms_alias, kms_grant and kms_key_use."""

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pilothouse.capabilities.keys.granting import Grant
from pilothouse.capabilities.keys.model import Key, KeyState, KeyUsage, Material, Origin
from pilothouse.storage import Row, Transaction

_KEY = """account_id, region, key_id, state, manager, description, material_version, created_at, key_spec, key_usage,
          origin, primary_region, deletion_at, pending_days, rotation_days, rotated_at, next_rotation_at,
          on_demand_rotations, policy, expiration_model, valid_to"""
_MATERIAL = """version, created_at, wrapped, material_id, rotation_type, rotated_at, import_state, expiration_model,
               valid_to, description"""

_GRANT = """account_id, region, key_id, grant_id, name, grantee, retiring, issuing_account, operations, context_equals,
            context_subset, source_arn, created_at"""


class LastUse(NamedTuple):
    """A cryptographic operation (its wire name), when it was done in epoch milliseconds, and by which request."""

    operation: str
    used_at: int
    request_id: str


class Alias(NamedTuple):
    """An alias and the key behind it. Times are epoch milliseconds."""

    alias: str
    key_id: str
    created_at: int
    updated_at: int


def _key(row: Row) -> Key:
    columns = dict(row)
    columns["state"] = KeyState(columns["state"])
    columns["key_usage"] = KeyUsage(columns["key_usage"])
    columns["origin"] = Origin(columns["origin"])
    return Key(**columns)


class KeyStore:
    """The keys of one account and region."""

    def __init__(self, tx: Transaction, account_id: str, region: str) -> None:
        self._tx = tx
        self._scope = {"account_id": account_id, "region": region}

    async def lock(self, key_id: str) -> None:
        """The key and its relatives in other regions stay as they are until the transaction ends."""
        await self._tx.lock("kms_key", self._scope["account_id"], key_id)

    async def lock_alias(self, alias: str) -> None:
        """Nobody else gives the alias a key until the transaction ends."""
        await self._tx.lock("kms_alias", *self._scope.values(), alias)

    async def key(self, key_id: str) -> Key | None:
        """A key by its id."""
        row = await self._tx.row(
            f"""select {_KEY} from kms_key
                where account_id = :account_id and region = :region and key_id = :key_id""",  # noqa: S608
            **self._scope, key_id=key_id,
        )  # fmt: skip
        return None if row is None else _key(row)

    async def with_material(self, key_id: str, alias: str | None) -> tuple[Key, bytes | None] | None:
        """The key behind an alias, or by its id, and its newest material as it is wrapped; in one look."""
        columns = ", ".join(f"kms_key.{name.strip()}" for name in _KEY.split(","))
        row = await self._tx.row(
            f"""select {columns}, kms_material.wrapped from kms_key left join kms_material
                  on kms_material.account_id = kms_key.account_id and kms_material.region = kms_key.region
                  and kms_material.key_id = kms_key.key_id and kms_material.version = kms_key.material_version
                where kms_key.account_id = :account_id and kms_key.region = :region and kms_key.key_id = coalesce(
                  (select key_id from kms_alias
                   where account_id = :account_id and region = :region and alias = :alias), :key_id)""",  # noqa: S608
            **self._scope, alias=alias or "", key_id=key_id,
        )  # fmt: skip
        if row is None:
            return None
        found = dict(row)
        wrapped: bytes | None = found.pop("wrapped")
        return _key(found), wrapped

    async def in_all_regions(self, key_id: str) -> list[Key]:
        """A multi-region key and its relatives, by region."""
        rows = await self._tx.rows(
            f"select {_KEY} from kms_key where account_id = :account_id and key_id = :key_id order by region",  # noqa: S608
            account_id=self._scope["account_id"], key_id=key_id,
        )  # fmt: skip
        return [_key(row) for row in rows]

    async def keys(self, after: str, limit: int) -> list[str]:
        """Ids of keys in order, those that follow `after`."""
        rows = await self._tx.rows(
            """select key_id from kms_key
               where account_id = :account_id and region = :region and key_id > :after
               order by key_id limit :limit""",
            **self._scope, after=after, limit=limit,
        )  # fmt: skip
        return [row["key_id"] for row in rows]

    async def add(self, key: Key) -> None:
        """A new key, as yet without material."""
        await self._tx.execute(
            f"""insert into kms_key ({_KEY})
                values (:account_id, :region, :key_id, :state, :manager, :description, :material_version, :created_at,
                        :key_spec, :key_usage, :origin, :primary_region, :deletion_at, :pending_days, :rotation_days,
                        :rotated_at, :next_rotation_at, :on_demand_rotations, :policy, :expiration_model, :valid_to)""",  # noqa: S608
            **_columns(key),
        )  # fmt: skip

    async def save(self, key: Key) -> None:
        """Write what can change of a key; take `lock` before reading it."""
        await self._tx.execute(
            """update kms_key set
                 state = :state, description = :description, material_version = :material_version,
                 primary_region = :primary_region, deletion_at = :deletion_at, pending_days = :pending_days,
                 rotation_days = :rotation_days, rotated_at = :rotated_at, next_rotation_at = :next_rotation_at,
                 on_demand_rotations = :on_demand_rotations, policy = :policy, expiration_model = :expiration_model,
                 valid_to = :valid_to
               where account_id = :account_id and region = :region and key_id = :key_id""",
            **{name: value for name, value in _columns(key).items() if name not in _FIXED},
        )  # fmt: skip

    async def set_state(self, key_id: str, state: KeyState) -> None:
        """Move a key to another state."""
        await self._tx.execute(
            """update kms_key set state = :state
               where account_id = :account_id and region = :region and key_id = :key_id""",
            **self._scope, key_id=key_id, state=state.value,
        )  # fmt: skip

    async def remove(self, key_id: str) -> None:
        """The key goes, with its materials, aliases, grants and marks of use."""
        for table in ("kms_material", "kms_alias", "kms_grant", "kms_key_use", "kms_key"):
            await self._tx.execute(
                f"delete from {table} where account_id = :account_id and region = :region and key_id = :key_id",  # noqa: S608
                **self._scope, key_id=key_id,
            )  # fmt: skip

    async def wrapped(self, key_id: str, version: int) -> bytes | None:
        """One version of a key's material, empty if an imported one was deleted."""
        found: bytes | None = await self._tx.value(
            """select wrapped from kms_material
               where account_id = :account_id and region = :region and key_id = :key_id and version = :version""",
            **self._scope, key_id=key_id, version=version,
        )  # fmt: skip
        return found

    async def materials(self, key_id: str) -> list[Material]:
        """Every version of a key's material, the oldest first."""
        rows = await self._tx.rows(
            f"""select {_MATERIAL} from kms_material
                where account_id = :account_id and region = :region and key_id = :key_id order by version""",  # noqa: S608
            **self._scope, key_id=key_id,
        )  # fmt: skip
        return [Material(**row) for row in rows]

    async def put_material(self, key_id: str, material: Material) -> None:
        """Add a version of the key's material, or write it anew."""
        await self._tx.execute(
            f"""insert into kms_material (account_id, region, key_id, {_MATERIAL})
                values (:account_id, :region, :key_id, :version, :created_at, :wrapped, :material_id, :rotation_type,
                        :rotated_at, :import_state, :expiration_model, :valid_to, :description)
                on conflict (account_id, region, key_id, version) do update set
                  wrapped = excluded.wrapped, material_id = excluded.material_id,
                  rotation_type = excluded.rotation_type, rotated_at = excluded.rotated_at,
                  import_state = excluded.import_state, expiration_model = excluded.expiration_model,
                  valid_to = excluded.valid_to, description = excluded.description""",  # noqa: S608
            **self._scope, key_id=key_id, version=material.version, created_at=material.created_at,
            wrapped=material.wrapped, material_id=material.material_id, rotation_type=material.rotation_type,
            rotated_at=material.rotated_at, import_state=material.import_state,
            expiration_model=material.expiration_model, valid_to=material.valid_to, description=material.description,
        )  # fmt: skip

    async def key_of(self, alias: str) -> str | None:
        """The id of the key behind an alias."""
        found: str | None = await self._tx.value(
            "select key_id from kms_alias where account_id = :account_id and region = :region and alias = :alias",
            **self._scope, alias=alias,
        )  # fmt: skip
        return found

    async def aliases(self, key_id: str | None, after: str, limit: int) -> list[Alias]:
        """Aliases by name, those that follow `after`: of one key, or all."""
        of_key = "and key_id = :key_id" if key_id else ""
        rows = await self._tx.rows(
            f"""select alias, key_id, created_at, updated_at from kms_alias
                where account_id = :account_id and region = :region and alias > :after {of_key}
                order by alias limit :limit""",  # noqa: S608
            **self._scope, after=after, limit=limit, **({"key_id": key_id} if key_id else {}),
        )  # fmt: skip
        return [Alias(**row) for row in rows]

    async def add_alias(self, alias: str, key_id: str, *, at: int) -> None:
        """Name a key."""
        await self._tx.execute(
            """insert into kms_alias (account_id, region, alias, key_id, created_at, updated_at)
               values (:account_id, :region, :alias, :key_id, :at, :at)""",
            **self._scope, alias=alias, key_id=key_id, at=at,
        )  # fmt: skip

    async def move_alias(self, alias: str, key_id: str, *, at: int) -> None:
        """Give the alias to another key."""
        await self._tx.execute(
            """update kms_alias set key_id = :key_id, updated_at = :at
               where account_id = :account_id and region = :region and alias = :alias""",
            **self._scope, alias=alias, key_id=key_id, at=at,
        )  # fmt: skip

    async def remove_alias(self, alias: str) -> int:
        """How many aliases went: one, or none."""
        return await self._tx.execute(
            "delete from kms_alias where account_id = :account_id and region = :region and alias = :alias",
            **self._scope, alias=alias,
        )  # fmt: skip


_FIXED = {"manager", "created_at", "key_spec", "key_usage", "origin"}


def _columns(key: Key) -> dict[str, object]:
    columns = {name: getattr(key, name) for name in Key.__dataclass_fields__}
    for name in ("state", "key_usage", "origin"):
        columns[name] = columns[name].value
    return columns


async def due_for_deletion(tx: Transaction, now: int, limit: int) -> Sequence[tuple[str, str, str]]:
    """(account, region, key id) of keys of every account whose waiting time is over."""
    rows = await tx.rows(
        """select account_id, region, key_id from kms_key
           where deletion_at <= :now and state = :state order by deletion_at limit :limit""",
        now=now, state=KeyState.PENDING_DELETION.value, limit=limit,
    )  # fmt: skip
    return [(row["account_id"], row["region"], row["key_id"]) for row in rows]


async def due_for_rotation(tx: Transaction, now: int, limit: int) -> Sequence[tuple[str, str, str]]:
    """(account, region, key id) of enabled keys of every account that are to rotate."""
    rows = await tx.rows(
        """select account_id, region, key_id from kms_key
           where next_rotation_at <= :now and state = :state order by next_rotation_at limit :limit""",
        now=now, state=KeyState.ENABLED.value, limit=limit,
    )  # fmt: skip
    return [(row["account_id"], row["region"], row["key_id"]) for row in rows]


async def due_for_expiry(tx: Transaction, now: int, limit: int) -> Sequence[tuple[str, str, str]]:
    """(account, region, key id) of keys of every account with imported material whose time is over."""
    rows = await tx.rows(
        """select distinct account_id, region, key_id from kms_material
           where valid_to <= :now order by account_id, region, key_id limit :limit""",
        now=now, limit=limit,
    )  # fmt: skip
    return [(row["account_id"], row["region"], row["key_id"]) for row in rows]


class GrantStore:
    """The grants on keys of one account and region."""

    def __init__(self, tx: Transaction, account_id: str, region: str) -> None:
        self._tx = tx
        self._scope = {"account_id": account_id, "region": region}

    async def of(self, key_id: str, after: str, limit: int, grantee: str | None = None) -> list[Grant]:
        """Grants on a key, of one grantee or all, in the order of their ids, those that follow `after`."""
        to_one = "" if grantee is None else "and grantee = :grantee"
        rows = await self._tx.rows(
            f"""select {_GRANT} from kms_grant
                where account_id = :account_id and region = :region and key_id = :key_id and grant_id > :after {to_one}
                order by grant_id limit :limit""",  # noqa: S608
            **self._scope, key_id=key_id, after=after, limit=limit,
            **({} if grantee is None else {"grantee": grantee}),
        )  # fmt: skip
        return [_grant(row) for row in rows]

    async def named(self, key_id: str, name: str) -> list[Grant]:
        """Grants on a key that have one name."""
        rows = await self._tx.rows(
            f"""select {_GRANT} from kms_grant
                where account_id = :account_id and region = :region and key_id = :key_id and name = :name""",  # noqa: S608
            **self._scope, key_id=key_id, name=name,
        )  # fmt: skip
        return [_grant(row) for row in rows]

    async def count(self, key_id: str) -> int:
        """How many grants a key has."""
        found: int = await self._tx.value(
            """select count(*) from kms_grant
               where account_id = :account_id and region = :region and key_id = :key_id""",
            **self._scope, key_id=key_id,
        )  # fmt: skip
        return found

    async def retirable(self, principal: str, after: str, limit: int) -> list[Grant]:
        """Grants on keys of any account in the region that the principal may retire, in the order of their ids."""
        rows = await self._tx.rows(
            f"""select {_GRANT} from kms_grant
                where region = :region and retiring = :principal and grant_id > :after
                order by grant_id limit :limit""",  # noqa: S608
            region=self._scope["region"], principal=principal, after=after, limit=limit,
        )  # fmt: skip
        return [_grant(row) for row in rows]

    async def grant(self, key_id: str, grant_id: str) -> Grant | None:
        """One grant on a key."""
        row = await self._tx.row(
            f"""select {_GRANT} from kms_grant
                where account_id = :account_id and region = :region and key_id = :key_id and grant_id = :grant_id""",  # noqa: S608
            **self._scope, key_id=key_id, grant_id=grant_id,
        )  # fmt: skip
        return None if row is None else _grant(row)

    async def add(self, grant: Grant) -> None:
        """A new grant."""
        columns = {name: getattr(grant, name) for name in Grant.__dataclass_fields__}
        columns["operations"] = " ".join(grant.operations)
        columns["context_equals"] = _json(grant.context_equals)
        columns["context_subset"] = _json(grant.context_subset)
        await self._tx.execute(
            f"""insert into kms_grant ({_GRANT})
                values (:account_id, :region, :key_id, :grant_id, :name, :grantee, :retiring, :issuing_account,
                        :operations, :context_equals, :context_subset, :source_arn, :created_at)""",  # noqa: S608
            **columns,
        )  # fmt: skip

    async def remove(self, key_id: str, grant_id: str) -> int:
        """How many grants went: one, or none."""
        return await self._tx.execute(
            """delete from kms_grant
               where account_id = :account_id and region = :region and key_id = :key_id and grant_id = :grant_id""",
            **self._scope, key_id=key_id, grant_id=grant_id,
        )  # fmt: skip


class UseStore:
    """The last use of each key."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def since(self) -> int | None:
        """Since when uses are kept, in epoch milliseconds."""
        found: int | None = await self._tx.value("select since from kms_key_use_kept")
        return found

    async def begin(self, at: int) -> None:
        """Uses are kept from now on, unless they were before."""
        await self._tx.execute(
            "insert into kms_key_use_kept (one, since) values (1, :at) on conflict (one) do nothing", at=at
        )

    async def last(self, account_id: str, region: str, key_id: str) -> LastUse | None:
        """The last use of a key that was written."""
        row = await self._tx.row(
            """select operation, used_at, request_id from kms_key_use
               where account_id = :account_id and region = :region and key_id = :key_id""",
            account_id=account_id, region=region, key_id=key_id,
        )  # fmt: skip
        return None if row is None else LastUse(**row)

    async def put(self, account_id: str, region: str, key_id: str, use: LastUse) -> None:
        """Write a use, unless a later one is written or the key is gone."""
        await self._tx.execute(
            """insert into kms_key_use (account_id, region, key_id, operation, used_at, request_id)
                 select account_id, region, key_id, :operation, cast(:used_at as bigint), :request_id from kms_key
                 where account_id = :account_id and region = :region and key_id = :key_id
               on conflict (account_id, region, key_id) do update set
                 operation = excluded.operation, used_at = excluded.used_at, request_id = excluded.request_id
                 where excluded.used_at > kms_key_use.used_at""",
            account_id=account_id, region=region, key_id=key_id, **use._asdict(),
        )  # fmt: skip


def _json(value: Mapping[str, str] | None) -> str | None:
    return None if value is None else json.dumps(value, sort_keys=True)


def _grant(row: Row) -> Grant:
    columns = dict(row)
    columns["operations"] = tuple(columns["operations"].split())
    for name in ("context_equals", "context_subset"):
        columns[name] = None if columns[name] is None else json.loads(columns[name])
    return Grant(**columns)
