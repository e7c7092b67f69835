"""The values of secrets for those who must recognise them (`known_values`)."""

from collections.abc import Mapping, Sequence
from typing import Any

from pilothouse.call import House
from pilothouse.capabilities.secrets.model import Secret
from pilothouse.capabilities.secrets.sealing import UNREADABLE, opened
from pilothouse.capabilities.secrets.store import SecretStore
from pilothouse.known_values import BELOW, MOST, Wanted
from pilothouse.storage import Transaction


async def give(house: House, tx: Transaction, facts: Mapping[str, Any]) -> None:
    """Give what is wanted of secrets: the value of each version with a label. Nobody's permission is asked: nobody gets
    to see it."""
    wanted: Wanted = facts["wanted"]
    store = SecretStore(tx, wanted.account_id, wanted.region)
    for secret in await _named(store, wanted.of_secrets):
        for version_id in sorted(set((await store.stages(secret.name)).values())):
            value_id = f"{secret.arn} {version_id}"
            if not wanted.lacks(value_id):
                continue
            version = await store.version(secret.name, version_id)
            try:
                if version is not None and version.has_value:
                    wanted.give(value_id, [await opened(house, tx, secret, version)])
            except UNREADABLE as error:
                wanted.cannot(value_id, type(error).__name__)


async def _named(store: SecretStore, names: Sequence[str]) -> list[Secret]:
    found = list[Secret]()
    for name in names:
        if name.endswith(BELOW) or name == BELOW[1:]:
            found += await store.beginning_with(name.removesuffix(BELOW[1:]), MOST)
            continue
        secret = await store.secret(name)
        found += [] if secret is None else [secret]
    return found
