"""Secrets: encrypted values with versions and staging labels, and a recovery window.

Owns the tables secret, secret_version, secret_stage and secret_tag. Values are stored only as ciphertext under a key of
the account (`capabilities/keys`).
"""

from pilothouse.call import Capability
from pilothouse.capabilities.secrets import jobs, operations, versions
from pilothouse.capabilities.secrets.references import Referenced, referenced
from pilothouse.capabilities.secrets.store import SecretStore
from pilothouse.storage import Transaction

__all__ = ["CAPABILITY", "Referenced", "referenced"]


async def _tags(tx: Transaction, account_id: str, region: str, rest: str) -> dict[str, str]:
    """Of the secret that an ARN ends with: its name, a dash and six letters."""
    return await SecretStore(tx, account_id, region).tags(rest[:-7])


CAPABILITY = Capability.of("secrets", operations, versions, jobs, tags_of={"secretsmanager:secret": _tags})
