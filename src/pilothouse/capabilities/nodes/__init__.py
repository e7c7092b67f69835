"""Nodes: machines that registered with an activation, and how users see and select them.

Owns the tables activation, node, deregistered_node and cloud_connector. A node's tags belong to `tags`, its open
control channel to `gateway.presence`. When a node goes, the event `node.deregistered` tells it inside the transaction,
and the wake-up `node.gone` after it.

What a node may do is what its role allows (`access.node_roles`).
"""

from pilothouse.call import Capability
from pilothouse.capabilities.nodes import agent, connectors, host_management, operations, overview
from pilothouse.capabilities.nodes.connectors import CONNECTOR_TYPE, connector_taggable, connector_tags_of
from pilothouse.capabilities.nodes.listing import sightings
from pilothouse.capabilities.nodes.model import (
    RESOURCE_TYPE,
    DuplicateInstanceId,
    InvalidInstanceId,
    Node,
    is_node_id,
)
from pilothouse.capabilities.nodes.registry import (
    find,
    heard_of,
    public_key,
    registered,
    signed_by,
    taggable,
    tags_of,
    touched,
)
from pilothouse.capabilities.nodes.rights import Rights, make_pending_roles
from pilothouse.capabilities.nodes.targets import resolve_targets, why_not

CAPABILITY = Capability.of(
    "nodes",
    operations,
    overview,
    host_management,
    connectors,
    agent,
    taggable={RESOURCE_TYPE: taggable, CONNECTOR_TYPE: connector_taggable},
    listeners={"node.contact": heard_of},
    tags_of={"managed-instance": tags_of, "cloud-connector": connector_tags_of},
)

__all__ = [
    "CAPABILITY",
    "DuplicateInstanceId",
    "InvalidInstanceId",
    "Node",
    "Rights",
    "find",
    "is_node_id",
    "make_pending_roles",
    "public_key",
    "registered",
    "resolve_targets",
    "sightings",
    "signed_by",
    "touched",
    "why_not",
]
