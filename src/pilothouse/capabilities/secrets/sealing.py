"""Values of secrets between the clear and their stored form.

Encryption context is SecretARN and SecretVersionId, as with the cloud service, and the ciphertext opens in its own
version only.
"""

from typing import Final

import structlog

from pilothouse.call import Call
from pilothouse.capabilities import keys
from pilothouse.capabilities.secrets.model import DEFAULT_KEY, DecryptionFailure, EncryptionFailure, Version
from pilothouse.errors import AccessDeniedException, InternalServerError
from pilothouse.storage import Transaction

log = structlog.get_logger()

_KEY_UNUSABLE: Final = (
    keys.NotFoundException,
    keys.DisabledException,
    keys.KMSInvalidStateException,
    keys.InvalidKeyUsageException,
)
_NOT_ALLOWED: Final = "Access to KMS is not allowed"


async def seal(
    call: Call, tx: Transaction, secret_arn: str, version_id: str, key_ref: str | None, value: bytes
) -> bytes:
    """A value under the secret's key, for the caller, whom the key's policy must let.

    Policies are asked for kms:GenerateDataKey, as the cloud service needs it. Raises EncryptionFailure,
    AccessDeniedException.
    """
    try:
        sealed, _ = await keys.encrypt(
            call.house,
            tx,
            call.account_id,
            call.region,
            key_ref or DEFAULT_KEY,
            value,
            _context(secret_arn, version_id),
            place=_place(version_id),
            by=call.principal,
            via=_via(call),
            action="GenerateDataKey",
            request_id=call.request_id,
        )
    except AccessDeniedException as error:
        raise AccessDeniedException(_NOT_ALLOWED) from error
    except _KEY_UNUSABLE as error:
        raise EncryptionFailure(
            f"Secrets Manager can't encrypt the protected secret text using the provided KMS key: {error.message}"
        ) from error
    return sealed


async def unseal(call: Call, tx: Transaction, secret_arn: str, version: Version) -> bytes:
    """The value of a version, for the caller, whom the key's policy must let.

    Raises DecryptionFailure, AccessDeniedException, and InternalServerError when the stored ciphertext is not the one
    that was put there.
    """
    try:
        return await keys.decrypt(
            call.house,
            tx,
            call.account_id,
            call.region,
            version.sealed,
            _context(secret_arn, version.version_id),
            place=_place(version.version_id),
            by=call.principal,
            via=_via(call),
            request_id=call.request_id,
        )
    except AccessDeniedException as error:
        raise AccessDeniedException(_NOT_ALLOWED) from error
    except _KEY_UNUSABLE as error:
        raise DecryptionFailure(
            f"Secrets Manager can't decrypt the protected secret text using the provided KMS key: {error.message}"
        ) from error
    except keys.InvalidCiphertextException as error:
        log.error("secret.ciphertext_broken", secret=secret_arn, version=version.version_id)
        raise InternalServerError from error


def _context(secret_arn: str, version_id: str) -> dict[str, str]:
    return {"SecretARN": secret_arn, "SecretVersionId": version_id}


def _via(call: Call) -> str:
    return f"secretsmanager.{call.region}.amazonaws.com"


def _place(version_id: str) -> str:
    return f"secret version {version_id}"
