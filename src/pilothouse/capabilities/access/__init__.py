"""Access: accounts and their keys; the STS operations.

Owns the tables account and access_key. An account's root key may do everything in that account and nothing elsewhere.
"""

from pilothouse.call import Capability
from pilothouse.capabilities.access import operations
from pilothouse.capabilities.access.credentials import AccessCredentials
from pilothouse.capabilities.access.model import AccountExists, AccountKey
from pilothouse.capabilities.access.store import SEALED, AccessStore, create_account, ensure_root, read_root

CAPABILITY = Capability.of("access", operations, sealed=(SEALED,))

__all__ = [
    "CAPABILITY",
    "AccessCredentials",
    "AccessStore",
    "AccountExists",
    "AccountKey",
    "create_account",
    "ensure_root",
    "read_root",
]
