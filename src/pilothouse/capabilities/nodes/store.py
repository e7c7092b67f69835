"""SQL of activations, nodes and deregistered nodes."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pilothouse.capabilities.nodes.model import Activation, Node
from pilothouse.storage import Row, Transaction

_ACTIVATION = (
    "select activation_id, account_id, region, code_hash, iam_role, description, default_instance_name,"
    " registration_limit, registrations_count, expires_at, created_at, tags, registration_metadata from activation"
)
NODE_COLUMNS = (
    "select node_id, account_id, region, activation_id, iam_role, default_instance_name, fingerprint, registered_at,"
    " last_contact_at, agent_name, agent_version, platform_type, platform_name, platform_version, ip_address,"
    " computer_name, availability_zone, availability_zone_id, connection_channel, agent_status, association_status,"
    " association_counts, associations_ran_at, associations_succeeded_at from node"
)
_NAME, _COUNTS = 5, 21
"""The places of default_instance_name and association_counts among them."""
INFORMATION = (
    "agent_name",
    "agent_version",
    "agent_status",
    "platform_type",
    "platform_name",
    "platform_version",
    "ip_address",
    "computer_name",
    "availability_zone",
    "availability_zone_id",
    "connection_channel",
)
"""What a node tells about itself."""

_CHUNK = 500
"""Ids in one statement; every chunk is filled up to it, so that there is one statement to prepare."""


class ActivationStore:
    """Activations in one transaction."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def add(self, activation: Activation) -> None:
        await self._tx.execute(
            "insert into activation (activation_id, account_id, region, code_hash, iam_role, description,"
            " default_instance_name, registration_limit, registrations_count, expires_at, created_at, tags,"
            " registration_metadata) values (:activation_id, :account_id, :region, :code_hash, :iam_role,"
            " :description, :default_instance_name, :registration_limit, :registrations_count, :expires_at,"
            " :created_at, :tags, :registration_metadata)",
            activation_id=activation.activation_id,
            account_id=activation.account_id,
            region=activation.region,
            code_hash=activation.code_hash,
            iam_role=activation.iam_role,
            description=activation.description,
            default_instance_name=activation.default_instance_name,
            registration_limit=activation.registration_limit,
            registrations_count=activation.registrations_count,
            expires_at=activation.expires_at,
            created_at=activation.created_at,
            tags=json.dumps(dict(activation.tags)),
            registration_metadata=json.dumps(dict(activation.registration_metadata)),
        )

    async def find(self, activation_id: str) -> Activation | None:
        """By its id alone, which is unique over the installation: a registering machine knows no account."""
        row = await self._tx.row(f"{_ACTIVATION} where activation_id = :activation_id", activation_id=activation_id)
        return None if row is None else _activation(row)

    async def take_registration(self, activation_id: str) -> bool:
        """Use up one registration; False if none is left."""
        return bool(
            await self._tx.execute(
                "update activation set registrations_count = registrations_count + 1"
                " where activation_id = :activation_id and registrations_count < registration_limit",
                activation_id=activation_id,
            )
        )

    async def remove(self, account_id: str, region: str, activation_id: str) -> bool:
        return bool(
            await self._tx.execute(
                "delete from activation where account_id = :account_id and region = :region"
                " and activation_id = :activation_id",
                account_id=account_id,
                region=region,
                activation_id=activation_id,
            )
        )

    async def page(
        self,
        account_id: str,
        region: str,
        columns: Sequence[tuple[str, Sequence[str]]],
        after: tuple[int, str],
        limit: int,
    ) -> list[Activation]:
        """By creation; each of `columns` must have one of its values."""
        wanted, values = _one_of(columns)
        rows = await self._tx.rows(
            f"{_ACTIVATION} where account_id = :account_id and region = :region"
            f" and (created_at > :created_at or (created_at = :created_at and activation_id > :activation_id)){wanted}"
            " order by created_at, activation_id limit :limit",
            account_id=account_id,
            region=region,
            created_at=after[0],
            activation_id=after[1],
            limit=limit,
            **values,
        )
        return [_activation(row) for row in rows]


class NodeStore:
    """Nodes in one transaction. Nodes from here carry the activation's name; the Name tag is put over it outside."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def id_is_taken(self, node_id: str) -> bool:
        """Whether the id is, or ever was, a node's."""
        return bool(
            await self._tx.value(
                "select 1 from node where node_id = :node_id"
                " union all select 1 from deregistered_node where node_id = :node_id",
                node_id=node_id,
            )
        )

    async def add(
        self,
        activation: Activation,
        *,
        node_id: str,
        public_key: bytes,
        public_key_hash: str,
        fingerprint: str,
        now: int,
    ) -> None:
        await self._tx.execute(
            "insert into node (node_id, account_id, region, activation_id, iam_role, default_instance_name, public_key,"
            " public_key_hash, fingerprint, registered_at) values (:node_id, :account_id, :region, :activation_id,"
            " :iam_role, :default_instance_name, :public_key, :public_key_hash, :fingerprint, :now)",
            node_id=node_id,
            account_id=activation.account_id,
            region=activation.region,
            activation_id=activation.activation_id,
            iam_role=activation.iam_role,
            default_instance_name=activation.default_instance_name,
            public_key=public_key,
            public_key_hash=public_key_hash,
            fingerprint=fingerprint,
            now=now,
        )

    async def by_id(self, node_id: str) -> Node | None:
        """By its id alone: who an agent is does not depend on the region that it signs with."""
        row = await self._tx.row(f"{NODE_COLUMNS} where node_id = :node_id", node_id=node_id)
        return None if row is None else node_of(row)

    async def find(self, account_id: str, region: str, node_id: str) -> Node | None:
        row = await self._tx.row(
            f"{NODE_COLUMNS} where node_id = :node_id and account_id = :account_id and region = :region",
            node_id=node_id,
            account_id=account_id,
            region=region,
        )
        return None if row is None else node_of(row)

    async def was_deregistered(self, node_id: str) -> bool:
        return bool(await self._tx.value("select 1 from deregistered_node where node_id = :node_id", node_id=node_id))

    async def deregistered_among(self, account_id: str, region: str, node_ids: Sequence[str]) -> set[str]:
        rows = await self._tx.rows(
            "select node_id from deregistered_node where node_id in (:node_ids)"
            " and account_id = :account_id and region = :region",
            node_ids=list(node_ids),
            account_id=account_id,
            region=region,
        )
        return {row["node_id"] for row in rows}

    async def public_key(self, node_id: str) -> bytes | None:
        found: bytes | None = await self._tx.value(
            "select public_key from node where node_id = :node_id", node_id=node_id
        )
        return found

    async def holder_of_key(self, key_hash: str, other_than: str) -> str | None:
        found: str | None = await self._tx.value(
            "select node_id from node where public_key_hash = :key_hash and node_id <> :other_than limit 1",
            key_hash=key_hash,
            other_than=other_than,
        )
        return found

    async def set_public_key(self, node_id: str, public_key: bytes, key_hash: str) -> None:
        await self._tx.execute(
            "update node set public_key = :public_key, public_key_hash = :key_hash where node_id = :node_id",
            node_id=node_id,
            public_key=public_key,
            key_hash=key_hash,
        )

    async def roles_of(self, node_ids: Sequence[str]) -> list[tuple[str, str, str, str]]:
        """(node id, account, region, role) of those that are registered."""
        rows = await self._tx.rows(
            "select node_id, account_id, region, iam_role from node where node_id in (:node_ids)",
            node_ids=list(node_ids),
        )
        return [(row["node_id"], row["account_id"], row["region"], row["iam_role"]) for row in rows]

    async def pending_roles(self) -> list[tuple[str, str]]:
        """(account, role) that an older version took without looking."""
        rows = await self._tx.rows("select account_id, iam_role from pending_role order by account_id, iam_role")
        return [(row["account_id"], row["iam_role"]) for row in rows]

    async def forget_pending_roles(self) -> None:
        """They are there now."""
        await self._tx.execute("delete from pending_role")

    async def ids(self, account_id: str, region: str) -> set[str]:
        """Ids of all nodes here."""
        rows = await self._tx.rows(
            "select node_id from node where account_id = :account_id and region = :region",
            account_id=account_id,
            region=region,
        )
        return {row["node_id"] for row in rows}

    async def set_role(self, account_id: str, region: str, node_id: str, iam_role: str) -> bool:
        return bool(
            await self._tx.execute(
                "update node set iam_role = :iam_role"
                " where node_id = :node_id and account_id = :account_id and region = :region",
                node_id=node_id,
                account_id=account_id,
                region=region,
                iam_role=iam_role,
            )
        )

    async def set_information(self, node_id: str, told: Mapping[str, str], now: int) -> bool:
        """A contact, and what the node told by column; the rest stays as it is."""
        return bool(
            await self._tx.execute(
                """update node set last_contact_at = :now,
                   agent_name = coalesce(:agent_name, agent_name),
                   agent_version = coalesce(:agent_version, agent_version),
                   agent_status = coalesce(:agent_status, agent_status),
                   platform_type = coalesce(:platform_type, platform_type),
                   platform_name = coalesce(:platform_name, platform_name),
                   platform_version = coalesce(:platform_version, platform_version),
                   ip_address = coalesce(:ip_address, ip_address),
                   computer_name = coalesce(:computer_name, computer_name),
                   availability_zone = coalesce(:availability_zone, availability_zone),
                   availability_zone_id = coalesce(:availability_zone_id, availability_zone_id),
                   connection_channel = coalesce(:connection_channel, connection_channel)
                   where node_id = :node_id""",
                node_id=node_id,
                now=now,
                **{column: told.get(column) for column in INFORMATION},
            )
        )

    async def set_associations(
        self, told: Mapping[str, tuple[str | None, Mapping[str, int], int | None, int | None]]
    ) -> None:
        """Node id to (status, associations by status, when one ran, when one succeeded; None: as before)."""
        await self._tx.many(
            "update node set association_status = :status, association_counts = :counts,"
            " associations_ran_at = coalesce(:ran, associations_ran_at),"
            " associations_succeeded_at = coalesce(:succeeded, associations_succeeded_at) where node_id = :node_id",
            [
                {
                    "node_id": node_id, "status": status, "counts": json.dumps(counts),
                    "ran": ran, "succeeded": succeeded,
                }
                for node_id, (status, counts, ran, succeeded) in told.items()
            ],
        )  # fmt: skip

    async def set_contact(self, node_id: str, at: int, not_within_ms: int) -> None:
        """A contact at `at`, unless one less than `not_within_ms` before it is stored already."""
        await self._tx.execute(
            "update node set last_contact_at = :at"
            " where node_id = :node_id and (last_contact_at is null or last_contact_at <= :before)",
            node_id=node_id,
            at=at,
            before=at - not_within_ms,
        )

    async def deregister(self, account_id: str, region: str, node_id: str, now: int) -> bool:
        """Move the node, without its key, to the ids that are used up. False if there is no such node."""
        gone = await self._tx.execute(
            "delete from node where node_id = :node_id and account_id = :account_id and region = :region",
            node_id=node_id,
            account_id=account_id,
            region=region,
        )
        if not gone:
            return False
        await self._tx.execute(
            "insert into deregistered_node (node_id, account_id, region, deregistered_at)"
            " values (:node_id, :account_id, :region, :now)",
            node_id=node_id,
            account_id=account_id,
            region=region,
            now=now,
        )
        return True

    async def after(
        self, account_id: str, region: str, columns: Sequence[tuple[str, Sequence[str]]], after: str, limit: int
    ) -> list[Node]:
        """The next nodes by id; each of `columns` must have one of its values."""
        wanted, values = _one_of(columns)
        rows = await self._tx.rows(
            f"{NODE_COLUMNS} where account_id = :account_id and region = :region and node_id > :after{wanted}"
            " order by node_id limit :limit",
            account_id=account_id,
            region=region,
            after=after,
            limit=limit,
            **values,
        )
        return [node_of(row) for row in rows]

    async def with_ids(self, account_id: str, region: str, node_ids: Sequence[str]) -> list[Node]:
        """Those of the ids that are nodes here, by id.

        The bounds keep PostgreSQL to the chunk's part of the index, also while it has no statistics of a young table.
        """
        found: list[Node] = []
        ids = sorted(set(node_ids))
        for start in range(0, len(ids), _CHUNK):
            chunk = ids[start : start + _CHUNK]
            if len(ids) > _CHUNK:
                chunk += [chunk[-1]] * (_CHUNK - len(chunk))
            rows = await self._tx.tuples(
                f"{NODE_COLUMNS} where account_id = :account_id and region = :region"
                " and node_id >= :first and node_id <= :last and node_id in (:node_ids) order by node_id",
                node_ids=chunk,
                first=chunk[0],
                last=chunk[-1],
                account_id=account_id,
                region=region,
            )
            found += map(_node, rows)
        return found


def _one_of(columns: Sequence[tuple[str, Sequence[str]]]) -> tuple[str, dict[str, list[str]]]:
    """`and column in (...)` for each; column names are ours, never a request's."""
    sql = "".join(f" and {column} in (:wanted_{index}_)" for index, (column, _) in enumerate(columns))
    return sql, {f"wanted_{index}_": list(values) for index, (_, values) in enumerate(columns)}


def _activation(row: Row) -> Activation:
    return Activation(
        activation_id=row["activation_id"],
        account_id=row["account_id"],
        region=row["region"],
        code_hash=bytes(row["code_hash"]),
        iam_role=row["iam_role"],
        description=row["description"],
        default_instance_name=row["default_instance_name"],
        registration_limit=row["registration_limit"],
        registrations_count=row["registrations_count"],
        expires_at=row["expires_at"],
        created_at=row["created_at"],
        tags=json.loads(row["tags"]),
        registration_metadata=json.loads(row["registration_metadata"]),
    )


def _node(row: Sequence[Any]) -> Node:
    """As `node_of`, by the places of the columns, which are those of the fields."""
    counts = json.loads(row[_COUNTS]) if row[_COUNTS] else {}
    values = *row[:_NAME], row[_NAME] or None, *row[_NAME + 1 : _COUNTS], counts, *row[_COUNTS + 1 :]
    return Node(*values)


def node_of(row: Row) -> Node:
    """The node in a row of NODE_COLUMNS."""
    return Node(
        node_id=row["node_id"],
        account_id=row["account_id"],
        region=row["region"],
        activation_id=row["activation_id"],
        iam_role=row["iam_role"],
        name=row["default_instance_name"] or None,
        fingerprint=row["fingerprint"],
        registered_at=row["registered_at"],
        last_contact_at=row["last_contact_at"],
        agent_name=row["agent_name"],
        agent_version=row["agent_version"],
        platform_type=row["platform_type"],
        platform_name=row["platform_name"],
        platform_version=row["platform_version"],
        ip_address=row["ip_address"],
        computer_name=row["computer_name"],
        availability_zone=row["availability_zone"],
        availability_zone_id=row["availability_zone_id"],
        connection_channel=row["connection_channel"],
        agent_status=row["agent_status"],
        association_status=row["association_status"],
        association_counts=json.loads(row["association_counts"] or "{}"),
        associations_ran_at=row["associations_ran_at"],
        associations_succeeded_at=row["associations_succeeded_at"],
    )
