"""Values of secrets between the clear and their stored form.

Encryption context is SecretARN and SecretVersionId, as with the cloud service, and the ciphertext opens in its own
version only.
"""

from typing import Final

import structlog

from pilothouse.call import Call, House
from pilothouse.capabilities import keys
from pilothouse.capabilities.secrets.model import (
    DEFAULT_KEY,
    DecryptionFailure,
    EncryptionFailure,
    Reading,
    Secret,
    Version,
)
from pilothouse.errors import AccessDeniedException, InternalServerError
from pilothouse.identity.principals import Principal
from pilothouse.storage import Transaction

log = structlog.get_logger()

_KEY_UNUSABLE: Final = (
    keys.NotFoundException,
    keys.DisabledException,
    keys.KMSInvalidStateException,
    keys.InvalidKeyUsageException,
)
UNREADABLE: Final = (*_KEY_UNUSABLE, keys.InvalidCiphertextException)
"""Why a value cannot be opened: the key is not usable, or the ciphertext is not the one that was put there."""
_NOT_ALLOWED: Final = "Access to KMS is not allowed"


async def seal(
    call: Call, tx: Transaction, secret: Secret, version_id: str, value: bytes, sealer: keys.Sealer | None = None
) -> bytes:
    """A value under the secret's key, for the caller, whom the key's policy must let.

    Policies are asked for kms:GenerateDataKey, as the cloud service needs it. `sealer` is that key where it is known
    already. Raises EncryptionFailure, AccessDeniedException.
    """
    return await seal_for(
        call.house, tx, secret, version_id, value, by=call.principal, request_id=call.request_id, sealer=sealer
    )


async def seal_for(
    house: House,
    tx: Transaction,
    secret: Secret,
    version_id: str,
    value: bytes,
    *,
    by: Principal | None = None,
    request_id: str = "",
    sealer: keys.Sealer | None = None,
) -> bytes:
    """As `seal`; without `by` for the service itself, which is asked nothing: rotation and replication."""
    try:
        sealed, _ = await keys.encrypt(
            house,
            tx,
            secret.account_id,
            secret.region,
            secret.key_ref or DEFAULT_KEY,
            value,
            _context(secret, version_id),
            place=_place(version_id),
            by=by,
            via=_via(secret),
            action="GenerateDataKey",
            sealer=sealer,
            request_id=request_id,
        )
    except AccessDeniedException as error:
        raise AccessDeniedException(_NOT_ALLOWED) from error
    except _KEY_UNUSABLE as error:
        raise EncryptionFailure(
            f"Secrets Manager can't encrypt the protected secret text using the provided KMS key: {error.message}"
        ) from error
    return sealed


async def unseal(call: Call, tx: Transaction, secret: Secret | Reading, version: Version | Reading) -> bytes:
    """The value of a version, for the caller, whom the key's policy must let.

    Raises DecryptionFailure, AccessDeniedException, and InternalServerError when the stored ciphertext is not the one
    that was put there.
    """
    return await unseal_for(call.house, tx, secret, version, by=call.principal, request_id=call.request_id)


async def unseal_for(
    house: House,
    tx: Transaction,
    secret: Secret | Reading,
    version: Version | Reading,
    *,
    by: Principal | None = None,
    request_id: str = "",
) -> bytes:
    """As `unseal`; without `by` for the service itself."""
    try:
        return await keys.decrypt(
            house,
            tx,
            secret.account_id,
            secret.region,
            version.sealed,
            _context(secret, version.version_id),
            place=_place(version.version_id),
            by=by,
            via=_via(secret),
            request_id=request_id,
        )
    except AccessDeniedException as error:
        raise AccessDeniedException(_NOT_ALLOWED) from error
    except _KEY_UNUSABLE as error:
        raise DecryptionFailure(
            f"Secrets Manager can't decrypt the protected secret text using the provided KMS key: {error.message}"
        ) from error
    except keys.InvalidCiphertextException as error:
        log.error("secret.ciphertext_broken", secret=secret.arn, version=version.version_id)
        raise InternalServerError from error


async def opened(house: House, tx: Transaction, secret: Secret, version: Version) -> bytes:
    """The value of a version, for nobody's eyes. Raises one of `UNREADABLE`."""
    context, place = _context(secret, version.version_id), _place(version.version_id)
    return await keys.decrypt(
        house, tx, secret.account_id, secret.region, version.sealed, context, place=place
    )  # fmt: skip


def _context(secret: Secret | Reading, version_id: str) -> dict[str, str]:
    return {"SecretARN": secret.arn, "SecretVersionId": version_id}


def _via(secret: Secret | Reading) -> str:
    return f"secretsmanager.{secret.region}.amazonaws.com"


def _place(version_id: str) -> str:
    return f"secret version {version_id}"
