"""Finding the secret that a SecretId means, and answering for it."""

from pilothouse.call import Call
from pilothouse.capabilities.secrets.model import (
    InvalidRequestException,
    ResourceNotFoundException,
    Secret,
    arn,
    references,
)
from pilothouse.capabilities.secrets.store import SecretStore

MARKED = "You can't perform this operation on the secret because it was marked for deletion."


async def found(call: Call, store: SecretStore, secret_id: str) -> Secret:
    """The secret, also one that is marked for deletion. Raises ResourceNotFoundException, ValidationException."""
    for reference in references(secret_id, call.account_id, call.region):
        secret = await store.secret(reference.name)
        if secret is not None and reference.suffix in (None, secret.suffix):
            return secret
    raise ResourceNotFoundException


async def usable(call: Call, store: SecretStore, secret_id: str) -> Secret:
    """As `found`; raises InvalidRequestException for a secret that is marked for deletion."""
    secret = await found(call, store, secret_id)
    if secret.purge_at is not None:
        raise InvalidRequestException(MARKED)
    return secret


async def locked(call: Call, store: SecretStore, secret_id: str, *, marked_too: bool = False) -> Secret:
    """The secret, kept from changing. Looked up again under the lock: it may have changed while we waited."""
    await store.lock((await found(call, store, secret_id)).name)
    return await (found if marked_too else usable)(call, store, secret_id)


def arn_of(call: Call, secret: Secret) -> str:
    """The secret's ARN."""
    return arn(call.account_id, call.region, secret.name, secret.suffix)
