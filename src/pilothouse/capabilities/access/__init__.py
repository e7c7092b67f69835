"""Access: accounts and their keys; IAM's users, and STS.

Owns the tables account, access_key, iam_user and iam_inline_policy. An account's root key may do everything in that
account and nothing elsewhere; a user what its policies allow.
"""

from pilothouse.call import Capability
from pilothouse.capabilities.access import iam, operations
from pilothouse.capabilities.access.credentials import AccessCredentials
from pilothouse.capabilities.access.model import AccountExists, AccountKey
from pilothouse.capabilities.access.store import SEALED, AccessStore, create_account, ensure_root, read_root

CAPABILITY = Capability.of("access", iam, operations, sealed=(SEALED,))

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
