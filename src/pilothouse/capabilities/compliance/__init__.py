"""Compliance: what is judged of nodes, item by item, and how they stand.

Owns the tables compliance_item and compliance_standing. Users and nodes put items; other capabilities put theirs by
`Keeper`, in their own transactions. Told is the event `Configuration Compliance State Change` when a node's status in a
type turns. Filters that choose nodes by inventory ask `nodes.sought` (see `filters`).
"""

from pilothouse.call import Capability
from pilothouse.capabilities.compliance import operations
from pilothouse.capabilities.compliance.keeping import Keeper, node_gone
from pilothouse.capabilities.compliance.model import (
    ASSOCIATION,
    COMPLIANT,
    NON_COMPLIANT,
    PATCH,
    SEVERITIES,
    STATUSES,
    UNSPECIFIED,
    Execution,
    InvalidResourceId,
    Item,
    Standing,
)
from pilothouse.capabilities.compliance.reading import items_of, standings_of

CAPABILITY = Capability.of("compliance", operations, listeners={"node.deregistered": node_gone})

__all__ = [
    "ASSOCIATION",
    "CAPABILITY",
    "COMPLIANT",
    "NON_COMPLIANT",
    "PATCH",
    "SEVERITIES",
    "STATUSES",
    "UNSPECIFIED",
    "Execution",
    "InvalidResourceId",
    "Item",
    "Keeper",
    "Standing",
    "items_of",
    "standings_of",
]
