"""What the events keep sealed by the vault: the secrets of webhooks."""

from typing import Final

from pilothouse.capabilities.events.model import seal_context
from pilothouse.crypto.sealed import Sealed

SEALED: Final = tuple(
    Sealed(table="webhook", keys=("webhook_id",), column=column, context=lambda row: seal_context(row["webhook_id"]))
    for column in ("secret", "old_secret")
)
