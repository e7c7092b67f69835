"""Secrets: encrypted values with versions and staging labels, and a recovery window.

Owns the tables that begin with secret. Values are stored only as ciphertext under a key of
the account (`capabilities/keys`).
"""

from collections.abc import Sequence

from pilothouse.call import Capability, Lasting
from pilothouse.capabilities.secrets import (
    databases,
    jobs,
    known,
    listing,
    operations,
    passwords,
    policies,
    replicating,
    rotating,
    scheduling,
    values,
    versions,
)
from pilothouse.capabilities.secrets.model import arn
from pilothouse.capabilities.secrets.references import Referenced, referenced
from pilothouse.capabilities.secrets.rotation_steps import fire, go_on, release
from pilothouse.capabilities.secrets.settling import all_settled
from pilothouse.capabilities.secrets.store import SecretStore
from pilothouse.grouping import Resource, TagFilter
from pilothouse.known_values import EVENT
from pilothouse.storage import Transaction

__all__ = ["CAPABILITY", "Referenced", "all_settled", "referenced"]


async def _tags(tx: Transaction, account_id: str, region: str, rest: str) -> dict[str, str]:
    """Of the secret that an ARN ends with: its name, a dash and six letters."""
    return await SecretStore(tx, account_id, region).tags(rest[:-7])


class _Grouped:
    """Secrets as groups find them; see `grouping.Groupable`."""

    async def tagged(
        self,
        tx: Transaction,
        account_id: str,
        region: str,
        filters: Sequence[TagFilter],
        *,
        after: str = "",
        limit: int | None = None,
    ) -> list[Resource]:
        found = await SecretStore(tx, account_id, region).with_tags(filters, after, limit)
        return [Resource(name, arn(account_id, region, name, suffix)) for name, suffix in found.items()]

    async def find(self, tx: Transaction, account_id: str, region: str, named: str) -> Resource | None:
        name = named.removeprefix(arn(account_id, region, "", "").removesuffix("-"))[:-7]
        secret = await SecretStore(tx, account_id, region).secret(name)
        if secret is None or named != arn(account_id, region, name, secret.suffix):
            return None
        return Resource(name, named)


CAPABILITY = Capability.of(
    "secrets",
    operations,
    values,
    versions,
    listing,
    passwords,
    policies,
    replicating,
    rotating,
    databases,
    jobs,
    due={scheduling.KIND: fire},
    lasting=(Lasting(name="secrets.rotation", run=go_on),),
    policies_on={"secretsmanager:secret": policies.OnSecrets()},
    tags_of={"secretsmanager:secret": _tags},
    groupable={"AWS::SecretsManager::Secret": _Grouped()},
    listeners={EVENT: known.give, "process.ended": release},
)
