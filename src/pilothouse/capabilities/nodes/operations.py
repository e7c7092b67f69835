"""Activations and nodes as account users see them."""

from collections.abc import Mapping
from typing import Any, Final

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities import access, tags
from pilothouse.capabilities.nodes.listing import NodeQuery, Scope, Seen, add_filter, add_property_filter, nodes_after
from pilothouse.capabilities.nodes.model import (
    RESOURCE_TYPE,
    Activation,
    InvalidActivation,
    InvalidFilter,
    InvalidInstanceId,
    InvalidInstanceInformationFilterValue,
    InvalidNextToken,
    checked_role,
    expiration,
    hash_code,
)
from pilothouse.capabilities.nodes.store import ActivationStore, NodeStore
from pilothouse.errors import ValidationException
from pilothouse.gateway import presence
from pilothouse.runtime.clock import from_millis, to_millis
from pilothouse.storage.pages import InvalidPageToken

MOST_TAGS: Final = 50

_ACTIVATION_COLUMNS: Final = {
    "ActivationIds": "activation_id",
    "DefaultInstanceName": "default_instance_name",
    "IamRole": "iam_role",
}


def _node(call: Call, request: Shape) -> list[str]:
    return [f"arn:aws:ssm:{call.region}:{call.account_id}:managed-instance/{request['InstanceId']}"]


def _target(call: Call, request: Shape) -> list[str]:
    return _node(call, {"InstanceId": request["Target"]})


async def _node_and_role(call: Call, request: Shape) -> list[str]:
    """The role is asked about twice, for this action and for iam:PassRole."""
    async with call.reading() as tx:
        return [*_node(call, request), await access.arn_of_role(tx, call.account_id, request["IamRole"])]


@operation("ssm", "CreateActivation", writes=True)
async def create_activation(call: Call, request: Shape) -> Shape:
    """Make the right to register nodes. Its code is in this answer and nowhere else."""
    now = call.clock.millis()
    asked = request.get("ExpirationDate")
    code = call.ids.activation_code()
    activation = Activation(
        activation_id=call.ids.uuid(),
        account_id=call.account_id,
        region=call.region,
        code_hash=hash_code(code),
        iam_role=checked_role(request["IamRole"], call.account_id),
        description=request.get("Description"),
        default_instance_name=request.get("DefaultInstanceName"),
        registration_limit=request.get("RegistrationLimit") or 1,
        registrations_count=0,
        expires_at=expiration(None if asked is None else to_millis(asked), now),
        created_at=now,
        tags=_node_tags(request),
        registration_metadata={each["Key"]: each["Value"] for each in request.get("RegistrationMetadata") or ()},
    )
    async with call.transaction() as tx:
        await access.pass_to_nodes(call, tx, activation.iam_role)
        await ActivationStore(tx).add(activation)
    return {"ActivationId": activation.activation_id, "ActivationCode": code}


@operation("ssm", "DescribeActivations")
async def describe_activations(call: Call, request: Shape) -> Shape:
    """Activations by creation, also those that are expired or used up."""
    columns: list[tuple[str, list[str]]] = []
    for given in request.get("Filters") or ():
        column = _ACTIVATION_COLUMNS.get(given.get("FilterKey", ""))
        if column is None:
            raise InvalidFilter("A filter needs a FilterKey: ActivationIds, DefaultInstanceName or IamRole.")
        columns.append((column, given.get("FilterValues") or []))
    query = ["DescribeActivations", call.account_id, call.region, columns]
    after = _position(call, query, request)
    created_at, activation_id = after or (0, "")
    limit = request.get("MaxResults") or 50
    async with call.reading() as tx:
        found = await ActivationStore(tx).page(
            call.account_id, call.region, columns, (created_at, activation_id), limit + 1
        )
    page = found[:limit]
    token = call.house.pages.token(query, [page[-1].created_at, page[-1].activation_id]) if found[limit:] else None
    now = call.clock.millis()
    return {"ActivationList": [_activation_to_wire(each, now) for each in page], "NextToken": token}


@operation("ssm", "DeleteActivation", writes=True)
async def delete_activation(call: Call, request: Shape) -> Shape:
    """No node registers with it any more; those that did stay."""
    activation_id = request["ActivationId"]
    async with call.transaction() as tx:
        if not await ActivationStore(tx).remove(call.account_id, call.region, activation_id):
            raise InvalidActivation(f"There is no activation {activation_id}.")
    return {}


@operation("ssm", "DescribeInstanceInformation")
async def describe_instance_information(call: Call, request: Shape) -> Shape:
    """Nodes by id. An id that is well formed and unknown gives an empty list: clients wait for registrations so."""
    filters = [(each["Key"], each["Values"]) for each in request.get("Filters") or ()]
    legacy = [(each["key"], each["valueSet"]) for each in request.get("InstanceInformationFilterList") or ()]
    if filters and legacy:
        raise ValidationException("Filters and InstanceInformationFilterList cannot be given together.")
    query = NodeQuery()
    for key, values in filters or legacy:
        add_filter(query, key, values, unfit=InvalidInstanceInformationFilterValue)
    nodes, token = await _page(call, request, query, ["DescribeInstanceInformation", filters or legacy], default=10)
    return {"InstanceInformationList": [_information_to_wire(seen) for seen in nodes], "NextToken": token}


@operation("ssm", "DescribeInstanceProperties")
async def describe_instance_properties(call: Call, request: Shape) -> Shape:
    """The same nodes with further filters. What only cloud machines have (type, key name, architecture) is left out."""
    legacy = [(each["key"], each["valueSet"], "Equal") for each in request.get("InstancePropertyFilterList") or ()]
    filters = [
        (each["Key"], each["Values"], each.get("Operator") or "Equal")
        for each in request.get("FiltersWithOperator") or ()
    ]
    if filters and legacy:
        raise ValidationException("FiltersWithOperator and InstancePropertyFilterList cannot be given together.")
    query = NodeQuery()
    for key, values, operator in filters or legacy:
        add_property_filter(query, key, values, operator)
    nodes, token = await _page(call, request, query, ["DescribeInstanceProperties", filters or legacy], default=50)
    properties = [_information_to_wire(seen) | {"AvailabilityZone": seen[0].availability_zone} for seen in nodes]
    return {"InstanceProperties": properties, "NextToken": token}


@operation("ssm", "GetConnectionStatus", resources=_target)
async def get_connection_status(call: Call, request: Shape) -> Shape:
    """Whether the node's control channel is open at this moment; an unknown id is just not connected."""
    node_id = request["Target"]
    async with call.reading() as tx:
        known = await NodeStore(tx).find(call.account_id, call.region, node_id)
        connected = await presence.connected(tx, [node_id], call.clock.millis()) if known else {}
    return {"Target": node_id, "Status": "connected" if node_id in connected else "notconnected"}


@operation("ssm", "DeregisterManagedInstance", writes=True, resources=_node)
async def deregister_managed_instance(call: Call, request: Shape) -> Shape:
    """The node, its key, its tags and all that others keep for it go at once; its id is never used again."""
    node_id = request["InstanceId"]
    where = call.account_id, call.region
    async with call.transaction() as tx:
        if not await NodeStore(tx).deregister(*where, node_id, call.clock.millis()):
            raise InvalidInstanceId(f"There is no managed node {node_id} in this region.")
        await tags.remove_all(tx, *where, RESOURCE_TYPE, node_id)
        await call.house.tell(tx, "node.deregistered", account_id=call.account_id, region=call.region, node_id=node_id)
        tx.after_commit(lambda: call.house.bus.wake("node.gone", node_id))
    return {}


@operation("ssm", "UpdateManagedInstanceRole", writes=True, resources=_node_and_role)
async def update_managed_instance_role(call: Call, request: Shape) -> Shape:
    """Give the node another role; its next credentials carry it."""
    node_id = request["InstanceId"]
    role = checked_role(request["IamRole"], call.account_id)
    async with call.transaction() as tx:
        await access.pass_to_nodes(call, tx, role)
        if not await NodeStore(tx).set_role(call.account_id, call.region, node_id, role):
            raise InvalidInstanceId(f"There is no managed node {node_id} in this region.")
    return {}


async def _page(
    call: Call, request: Shape, query: NodeQuery, name: list[Any], *, default: int
) -> tuple[list[Seen], str | None]:
    """One page of nodes, and the token of the next if there is one. `name` is what tells this list from others."""
    bound = [*name, call.account_id, call.region]
    (after,) = _position(call, bound, request) or ("",)
    limit = request.get("MaxResults") or default
    scope = Scope(
        account_id=call.account_id,
        region=call.region,
        now_ms=call.clock.millis(),
        online_seconds=call.house.settings.nodes.online_seconds,
    )
    async with call.reading() as tx:
        found = await nodes_after(tx, scope, query, after, limit + 1)
    page = found[:limit]
    return page, call.house.pages.token(bound, [page[-1][0].node_id]) if found[limit:] else None


def _position(call: Call, query: list[Any], request: Shape) -> list[Any] | None:
    """After which key the page starts; None for the first. Raises InvalidNextToken."""
    token = request.get("NextToken")
    if not token:
        return None
    try:
        return call.house.pages.position(query, token)
    except InvalidPageToken as error:
        raise InvalidNextToken("The specified token is not valid.") from error


def _node_tags(request: Shape) -> dict[str, str]:
    """The tags that each node registered with it will get. Raises TooManyTagsError if no node may have so many."""
    given = tags.by_key(request.get("Tags") or [])
    if len(given) > MOST_TAGS:
        raise tags.TooManyTagsError(f"A managed node can have at most {MOST_TAGS} tags.")
    return given


def _activation_to_wire(activation: Activation, now_ms: int) -> Shape:
    return {
        "ActivationId": activation.activation_id,
        "Description": activation.description,
        "DefaultInstanceName": activation.default_instance_name,
        "IamRole": activation.iam_role,
        "RegistrationLimit": activation.registration_limit,
        "RegistrationsCount": activation.registrations_count,
        "ExpirationDate": from_millis(activation.expires_at),
        "Expired": activation.expired(now_ms),
        "CreatedDate": from_millis(activation.created_at),
        "Tags": _tags_to_wire(activation.tags),
    }


def _tags_to_wire(of: Mapping[str, str]) -> list[Shape]:
    return [{"Key": key, "Value": value} for key, value in sorted(of.items())]


def _information_to_wire(seen: Seen) -> Shape:
    node, sighting = seen
    ran, succeeded = node.associations_ran_at, node.associations_succeeded_at
    overview = {
        "DetailedStatus": node.association_status,
        "InstanceAssociationStatusAggregatedCount": dict(node.association_counts),
    }
    return {
        "AssociationStatus": node.association_status,
        "LastAssociationExecutionDate": None if ran is None else from_millis(ran),
        "LastSuccessfulAssociationExecutionDate": None if succeeded is None else from_millis(succeeded),
        "AssociationOverview": overview if node.association_counts else None,
        "InstanceId": node.node_id,
        "PingStatus": sighting.status.value,
        "LastPingDateTime": from_millis(sighting.last_ping_at),
        "AgentVersion": node.agent_version,
        "PlatformType": node.platform_type,
        "PlatformName": node.platform_name,
        "PlatformVersion": node.platform_version,
        "ActivationId": node.activation_id,
        "IamRole": node.iam_role,
        "RegistrationDate": from_millis(node.registered_at),
        "ResourceType": node.resource_type,
        "Name": node.name,
        "IPAddress": node.ip_address,
        "ComputerName": node.computer_name,
        "SourceId": node.node_id,
        "SourceType": node.source_type,
    }
