"""Cloud connectors: links to machines in other clouds, as an account describes them.

They are kept and shown. Nothing here reaches into another cloud, and the validation of a connector says so.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities import tags
from pilothouse.capabilities.nodes.connector_store import Connector, ConnectorStore
from pilothouse.capabilities.nodes.model import (
    ConflictException,
    ResourceNotFoundException,
    ServiceQuotaExceededException,
)
from pilothouse.errors import AccessDeniedException, ValidationException
from pilothouse.identity.authorise import ask_each
from pilothouse.runtime.clock import from_millis
from pilothouse.storage import Transaction
from pilothouse.storage.pages import InvalidPageToken

CONNECTOR_TYPE: Final = "CloudConnector"
MOST: Final = 100
"""Connectors of an account in a region; a number of ours, the cloud's is not published."""
_PAGE: Final = 10


def _arn(call: Call, connector_id: str) -> str:
    return f"arn:aws:ssm:{call.region}:{call.account_id}:cloud-connector/{connector_id}"


def _named(call: Call, request: Shape) -> list[str]:
    return [_arn(call, request["CloudConnectorId"])]


def _to_be_made(call: Call, request: Shape) -> list[str]:
    return [_arn(call, "*")]


@operation("ssm", "CreateCloudConnector", writes=True, resources=_to_be_made)
async def create_cloud_connector(call: Call, request: Shape) -> Shape:
    """Keep a link to another cloud under a name that no other one has."""
    if request["RoleArn"].split(":")[4] != call.account_id:
        raise AccessDeniedException("Cross-account pass role is not allowed.")
    now = call.clock.millis()
    connector = Connector(
        connector_id=call.ids.uuid(),
        display_name=request["DisplayName"],
        description=request.get("Description"),
        role_arn=request["RoleArn"],
        configuration=request["Configuration"],
        config_connector_arn=request.get("ConfigConnectorArn"),
        created_at=now,
        updated_at=now,
    )
    given = tags.by_key(request.get("Tags") or [])
    async with call.transaction() as tx:
        await ask_each(call, tx, "iam:PassRole", [request["RoleArn"]], {"iam:PassedToService": "ssm.amazonaws.com"})
        store = ConnectorStore.of(call, tx)
        await _check_name(store, connector)
        await store.put(connector)
        await tags.put(tx, call.account_id, call.region, CONNECTOR_TYPE, connector.connector_id, given)
    return {"CloudConnectorId": connector.connector_id}


@operation("ssm", "GetCloudConnector", resources=_named)
async def get_cloud_connector(call: Call, request: Shape) -> Shape:
    """One link, with all that was said of it."""
    async with call.reading() as tx:
        connector = await _found(ConnectorStore.of(call, tx), request)
    return {
        "CloudConnectorArn": _arn(call, connector.connector_id),
        "Configuration": connector.configuration,
        **_described(connector),
    }


@operation("ssm", "ListCloudConnectors")
async def list_cloud_connectors(call: Call, request: Shape) -> Shape:
    """Links by id. Filters name a tenant, subscription, organization or project."""
    filters = [(each.get("FilterKey"), each.get("FilterValues") or []) for each in request.get("Filters") or ()]
    query = ["ListCloudConnectors", call.account_id, call.region, filters]
    after = _position(call, query, request)
    limit: int = request.get("MaxResults") or _PAGE
    async with call.reading() as tx:
        known = await ConnectorStore.of(call, tx).all()
    fitting = [
        each
        for each in known
        if each.connector_id > after and all(set(values) & _ids(each).get(key, set()) for key, values in filters)
    ]
    page = fitting[:limit]
    token = call.house.pages.token(query, [page[-1].connector_id]) if fitting[limit:] else None
    listed = [{"CloudConnectorId": each.connector_id, "Provider": _provider(each), **_described(each)} for each in page]
    return {"CloudConnectors": listed, "NextToken": token}


@operation("ssm", "UpdateCloudConnector", writes=True, resources=_named)
async def update_cloud_connector(call: Call, request: Shape) -> Shape:
    """Change what is given of a link; it stays in its cloud."""
    async with call.transaction() as tx:
        store = ConnectorStore.of(call, tx)
        await store.lock()
        there = await _found(store, request)
        changed = replace(
            there,
            display_name=request.get("DisplayName") or there.display_name,
            description=request.get("Description", there.description),
            configuration=request.get("Configuration") or there.configuration,
            updated_at=call.clock.millis(),
        )
        if _provider(changed) != _provider(there):
            raise ValidationException("The provider of a cloud connector cannot be changed. Make another connector.")
        await _check_name(store, changed)
        await store.put(changed)
    return {"CloudConnectorId": there.connector_id}


@operation("ssm", "DeleteCloudConnector", writes=True, resources=_named)
async def delete_cloud_connector(call: Call, request: Shape) -> Shape:
    """The link and its tags are gone."""
    connector_id = request["CloudConnectorId"]
    async with call.transaction() as tx:
        store = ConnectorStore.of(call, tx)
        await store.lock()
        if not await store.remove(connector_id):
            raise _missing(request)
        await tags.remove_all(tx, call.account_id, call.region, CONNECTOR_TYPE, connector_id)
    return {"CloudConnectorId": connector_id}


@operation("ssm", "ValidateCloudConnector", resources=_named)
async def validate_cloud_connector(call: Call, request: Shape) -> Shape:
    """One finding: that this server has no way into that cloud."""
    async with call.reading() as tx:
        connector = await _found(ConnectorStore.of(call, tx), request)
    azure = _provider(connector) == "Azure"
    scope = {
        "Type": "azure:tenant" if azure else "gcp:organization",
        "Id": next(iter(_ids(connector)["TenantId" if azure else "OrganizationId"]), None),
    }
    finding = {
        "Type": "ERROR",
        "Code": "ProviderCredentialCreationFailed",
        "Message": f"This server has no driver for {_provider(connector)}. Enrol the machines with an activation.",
        "Scope": scope if scope["Id"] else None,
    }
    return {"ValidationFindings": [finding]}


async def connector_taggable(tx: Transaction, account_id: str, region: str, resource_id: str) -> str | None:
    """The id that tags hang on, None if there is no such connector."""
    return resource_id if await ConnectorStore(tx, account_id, region).find(resource_id) else None


async def connector_tags_of(tx: Transaction, account_id: str, region: str, connector_id: str) -> dict[str, str]:
    """The tags of a connector, for conditions of policies."""
    return await tags.of(tx, account_id, region, CONNECTOR_TYPE, connector_id)


async def _check_name(store: ConnectorStore, connector: Connector) -> None:
    """Raises ConflictException, ServiceQuotaExceededException. The connectors stay as they are until the commit."""
    await store.lock()
    others = [each for each in await store.all() if each.connector_id != connector.connector_id]
    if any(each.display_name == connector.display_name for each in others):
        raise ConflictException(f"There is a cloud connector with the name {connector.display_name} already.")
    if len(others) >= MOST:
        raise ServiceQuotaExceededException(f"An account can have at most {MOST} cloud connectors in a region.")


async def _found(store: ConnectorStore, request: Shape) -> Connector:
    connector = await store.find(request["CloudConnectorId"])
    if connector is None:
        raise _missing(request)
    return connector


def _missing(request: Shape) -> ResourceNotFoundException:
    return ResourceNotFoundException(f"There is no cloud connector {request['CloudConnectorId']}.")


def _position(call: Call, query: list[Any], request: Shape) -> str:
    """The id that the page comes after. The operation has no error of its own for a bad token."""
    if not request.get("NextToken"):
        return ""
    try:
        return str(call.house.pages.position(query, request["NextToken"])[0])
    except InvalidPageToken as error:
        raise ValidationException("The specified token is not valid.") from error


def _provider(connector: Connector) -> str:
    return "Azure" if "AzureConfiguration" in connector.configuration else "GCP"


def _ids(connector: Connector) -> dict[str | None, set[str]]:
    """What filters look for, by filter key."""
    azure: Mapping[str, Any] = connector.configuration.get("AzureConfiguration") or {}
    google: Mapping[str, Any] = connector.configuration.get("GcpConfiguration") or {}
    found: dict[str | None, set[Any]] = {
        "TenantId": {azure.get("TenantId")},
        "SubscriptionId": {each["Id"] for each in (azure.get("Targets") or {}).get("Subscriptions") or ()},
        "OrganizationId": {google.get("OrganizationId")},
        "ProjectId": {each["ProjectId"] for each in (google.get("Targets") or {}).get("Projects") or ()},
    }
    return {key: values - {None} for key, values in found.items()}


def _described(connector: Connector) -> Shape:
    return {
        "DisplayName": connector.display_name,
        "Description": connector.description,
        "RoleArn": connector.role_arn,
        "ConfigConnectorArn": connector.config_connector_arn,
        "CreatedAt": from_millis(connector.created_at),
        "UpdatedAt": from_millis(connector.updated_at),
    }
