"""Nodes: machines that registered with an activation, and how users see and select them.

Owns the tables activation, node, deregistered_node and cloud_connector. A node's tags belong to `tags`, its open
control channel to `gateway.presence`. `node.registered` tells of a new node; when one goes, `node.deregistered` tells
it inside the transaction, and the wake-up `node.gone` after it. What is shown of a node's associations is what
`node.associations` told.

What a node may do is what its role allows (`access.node_roles`).
"""

from pilothouse.call import Capability
from pilothouse.capabilities.nodes import agent, connectors, host_management, operations, overview, standings
from pilothouse.capabilities.nodes.connectors import CONNECTOR_TYPE, connector_taggable, connector_tags_of
from pilothouse.capabilities.nodes.describing import (
    INFORMATION,
    TAG,
    Wanted,
    ids_described,
    ids_tagged_so,
    information_of,
    nodes_described,
    tags_of_nodes,
)
from pilothouse.capabilities.nodes.listing import Scope, sightings
from pilothouse.capabilities.nodes.model import (
    RESOURCE_TYPE,
    DuplicateInstanceId,
    InvalidInstanceId,
    Node,
    is_node_id,
)
from pilothouse.capabilities.nodes.registry import (
    associations_told,
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
from pilothouse.capabilities.nodes.targets import GROUPABLE, groups_of_nodes, may_read_groups, resolve_targets, why_not

CAPABILITY = Capability.of(
    "nodes",
    operations,
    overview,
    standings,
    host_management,
    connectors,
    agent,
    taggable={RESOURCE_TYPE: taggable, CONNECTOR_TYPE: connector_taggable},
    listeners={"node.contact": heard_of, "node.associations": associations_told},
    tags_of={"managed-instance": tags_of, "cloud-connector": connector_tags_of},
    groupable=GROUPABLE,
)

__all__ = [
    "CAPABILITY",
    "INFORMATION",
    "RESOURCE_TYPE",
    "TAG",
    "DuplicateInstanceId",
    "InvalidInstanceId",
    "Node",
    "Rights",
    "Scope",
    "Wanted",
    "find",
    "groups_of_nodes",
    "ids_described",
    "ids_tagged_so",
    "information_of",
    "is_node_id",
    "make_pending_roles",
    "may_read_groups",
    "nodes_described",
    "public_key",
    "registered",
    "resolve_targets",
    "sightings",
    "signed_by",
    "tags_of_nodes",
    "touched",
    "why_not",
]
