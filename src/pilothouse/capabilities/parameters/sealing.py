"""SecureString values between the clear and their stored form.

Encryption context is `PARAMETER_ARN`, as with the cloud service; beyond it the ciphertext is bound to the version's
number and time, so a ciphertext put into another row, or an older one put back, opens with an error.
"""

import base64
from typing import Final

import structlog

from pilothouse.call import Call
from pilothouse.capabilities import keys
from pilothouse.capabilities.parameters.model import InvalidKeyId, Value, Version
from pilothouse.capabilities.parameters.names import arn
from pilothouse.errors import InternalServerError
from pilothouse.storage import Transaction

log = structlog.get_logger()

_KEY_UNUSABLE: Final = (keys.NotFoundException, keys.DisabledException, keys.KMSInvalidStateException)


async def seal(call: Call, tx: Transaction, version: Version) -> bytes:
    """The version's value under its key. Raises InvalidKeyId."""
    try:
        sealed, _ = await keys.encrypt(
            call.house,
            tx,
            call.account_id,
            call.region,
            version.key_ref or "",
            (version.value or "").encode(),
            {"PARAMETER_ARN": arn(call.account_id, call.region, version.path)},
            place=_place(version.number, version.modified_at),
        )
    except _KEY_UNUSABLE as error:
        raise InvalidKeyId(error.message) from error
    return sealed


class Opener:
    """Turns stored values into those of an answer, for one call."""

    def __init__(self, call: Call, tx: Transaction, *, decrypt: bool) -> None:
        self._call = call
        self._decryption = keys.Decryption(call.house, tx, call.account_id, call.region) if decrypt else None

    async def text(self, stored: Value | Version) -> str:
        """The value in the clear; a SecureString's ciphertext as base64 unless the call decrypts.

        Raises InvalidKeyId, and InternalServerError when the stored ciphertext is not the one that was put there.
        """
        if stored.sealed is None:
            return stored.value or ""
        if self._decryption is None:
            return base64.b64encode(stored.sealed).decode()
        call = self._call
        parameter_arn = arn(call.account_id, call.region, stored.path)
        try:
            opened = await self._decryption.open(
                stored.sealed,
                {"PARAMETER_ARN": parameter_arn},
                place=_place(stored.number, stored.modified_at),
            )
        except _KEY_UNUSABLE as error:
            raise InvalidKeyId(error.message) from error
        except keys.InvalidCiphertextException as error:
            log.error("parameter.ciphertext_broken", parameter=parameter_arn, version=stored.number)
            raise InternalServerError from error
        return opened.decode()


def _place(number: int, modified_at: int) -> str:
    return f"parameter version {number} of {modified_at}"
