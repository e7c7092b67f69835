"""Secrets as other capabilities refer to them: `/aws/reference/secretsmanager/...` of Parameter Store."""

from dataclasses import dataclass, field

from pilothouse.call import Call
from pilothouse.capabilities.secrets.conditions import of_read
from pilothouse.capabilities.secrets.finding import usable
from pilothouse.capabilities.secrets.model import DecryptionFailure, InvalidRequestException, ResourceNotFoundException
from pilothouse.capabilities.secrets.sealing import unseal
from pilothouse.capabilities.secrets.values import choose, note_read, record_read
from pilothouse.errors import AccessDeniedException, ValidationException
from pilothouse.identity.authorise import ask_each
from pilothouse.storage import Transaction

_SHORTEST_VERSION_ID = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Referenced:
    """The value of a secret's version. `created_at` is the version's, in epoch milliseconds."""

    arn: str
    name: str
    version_id: str
    stages: tuple[str, ...]
    created_at: int
    value: bytes = field(repr=False)
    is_binary: bool


async def referenced(call: Call, tx: Transaction, secret_id: str, selector: str | None) -> Referenced | None:
    """The value that a reference means: the selector is a version id or a staging label, None the current version.

    None where there is no such secret or version. Raises DecryptionFailure, AccessDeniedException.
    """
    is_id = selector is not None and len(selector) >= _SHORTEST_VERSION_ID
    asked = {"SecretId": secret_id} | ({} if selector is None else {"VersionId" if is_id else "VersionStage": selector})
    try:
        store, secret = await usable(call, tx, secret_id, "GetSecretValue")
        reading = await choose(store, secret.name, selector if is_id else None, None if is_id else selector)
    except (ResourceNotFoundException, InvalidRequestException, ValidationException):
        return None
    try:
        await ask_each(call, tx, "secretsmanager:GetSecretValue", [secret.arn], of_read(call, asked))
        value = await unseal(call, tx, reading, reading)
    except (AccessDeniedException, DecryptionFailure) as error:
        await record_read(call, secret_id, reading, error)
        raise
    await record_read(call, secret_id, reading, None)
    await note_read(call, reading, reading)
    return Referenced(
        arn=secret.arn,
        name=secret.name,
        version_id=reading.version_id,
        stages=tuple(reading.stages),
        created_at=reading.created_at,
        value=value,
        is_binary=bool(reading.is_binary),
    )
