"""SQL of cloud_connector."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from pilothouse.call import Call
from pilothouse.storage import Row, Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Connector:
    """A link to another cloud. Times are epoch milliseconds."""

    connector_id: str
    display_name: str
    description: str | None
    role_arn: str
    configuration: Mapping[str, Any]
    """As the request gave it."""
    config_connector_arn: str | None
    created_at: int
    updated_at: int


class ConnectorStore:
    """The connectors of the call's account and region."""

    def __init__(self, tx: Transaction, account_id: str, region: str) -> None:
        self._tx = tx
        self._scope = {"account_id": account_id, "region": region}

    @classmethod
    def of(cls, call: Call, tx: Transaction) -> "ConnectorStore":
        """Those that the call is about."""
        return cls(tx, call.account_id, call.region)

    async def lock(self) -> None:
        """No connector comes, goes or changes its name until the transaction ends, but for what it does itself."""
        await self._tx.lock("cloud-connectors", *self._scope.values())

    async def all(self) -> list[Connector]:
        """Every connector, by id."""
        rows = await self._tx.rows(
            "select * from cloud_connector where account_id = :account_id and region = :region order by connector_id",
            **self._scope,
        )
        return [_connector(row) for row in rows]

    async def find(self, connector_id: str) -> Connector | None:
        row = await self._tx.row(
            "select * from cloud_connector"
            " where connector_id = :id and account_id = :account_id and region = :region",
            **self._scope, id=connector_id,
        )  # fmt: skip
        return None if row is None else _connector(row)

    async def put(self, connector: Connector) -> None:
        """Add the connector, or change the one with its id."""
        await self._tx.execute(
            """insert into cloud_connector (connector_id, account_id, region, display_name, description, role_arn,
                 configuration, config_connector_arn, created_at, updated_at)
               values (:connector_id, :account_id, :region, :display_name, :description, :role_arn, :configuration,
                 :config_connector_arn, :created_at, :updated_at)
               on conflict (connector_id) do update set display_name = excluded.display_name,
                 description = excluded.description, configuration = excluded.configuration,
                 updated_at = excluded.updated_at""",
            **self._scope,
            connector_id=connector.connector_id, display_name=connector.display_name,
            description=connector.description, role_arn=connector.role_arn,
            configuration=msgspec.json.encode(connector.configuration).decode(),
            config_connector_arn=connector.config_connector_arn, created_at=connector.created_at,
            updated_at=connector.updated_at,
        )  # fmt: skip

    async def remove(self, connector_id: str) -> bool:
        """False if there is none."""
        return bool(
            await self._tx.execute(
                "delete from cloud_connector"
                " where connector_id = :id and account_id = :account_id and region = :region",
                **self._scope, id=connector_id,
            )
        )  # fmt: skip


def _connector(row: Row) -> Connector:
    return Connector(
        connector_id=row["connector_id"],
        display_name=row["display_name"],
        description=row["description"],
        role_arn=row["role_arn"],
        configuration=msgspec.json.decode(row["configuration"]),
        config_connector_arn=row["config_connector_arn"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )
