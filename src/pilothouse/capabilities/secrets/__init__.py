"""Secrets: encrypted values with versions and staging labels, and a recovery window.

Owns the tables secret, secret_version, secret_stage and secret_tag. Values are stored only as ciphertext under a key of
the account (`capabilities/keys`).
"""

from pilothouse.call import Capability
from pilothouse.capabilities.secrets import jobs, operations, versions
from pilothouse.capabilities.secrets.references import Referenced, referenced

__all__ = ["CAPABILITY", "Referenced", "referenced"]

CAPABILITY = Capability.of("secrets", operations, versions, jobs)
