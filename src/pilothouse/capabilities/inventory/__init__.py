"""Inventory: what is on nodes, by type, as they send it, and which nodes have what.

Owns the tables inventory_kind, inventory_item, inventory_version, inventory_entry, inventory_attribute,
inventory_holding, inventory_deletion, data_sync and data_sync_waiting. An item is stored as it came; entries and values
are an index over it, in which an entry stands once, however many nodes have it.
`inventory.put` tells of each item that comes (see `putting`); `nodes.sought` is answered.
"""

from pilothouse.call import Capability
from pilothouse.capabilities.inventory import copying, deletions, index, operations, putting, searching, syncs
from pilothouse.capabilities.inventory.finding import sought
from pilothouse.capabilities.inventory.operations import entries_on

CAPABILITY = Capability.of(
    "inventory",
    operations,
    searching,
    putting,
    deletions,
    index,
    syncs,
    copying,
    listeners={"node.deregistered": putting.node_gone, "nodes.sought": sought},
    due={deletions.DELETION: deletions.go_on},
)

__all__ = ["CAPABILITY", "entries_on"]
