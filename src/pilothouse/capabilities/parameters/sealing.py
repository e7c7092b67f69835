"""SecureString values between the clear and their stored form.

Encryption context is `PARAMETER_ARN`, as with the cloud service; beyond it the ciphertext is bound to the version's
number and time (with the Advanced tier: the data key in its message is), so a ciphertext put into another row, or an
older one put back, opens with an error.
"""

import base64
from typing import Final

import structlog

from pilothouse.call import Call
from pilothouse.capabilities import keys
from pilothouse.capabilities.parameters import envelope
from pilothouse.capabilities.parameters.model import InvalidKeyId, Value, Version
from pilothouse.capabilities.parameters.names import arn
from pilothouse.errors import AccessDeniedException, InternalServerError
from pilothouse.storage import Transaction

log = structlog.get_logger()

_KEY_UNUSABLE: Final = (
    keys.NotFoundException,
    keys.DisabledException,
    keys.KMSInvalidStateException,
    keys.InvalidKeyUsageException,
)
UNREADABLE: Final = (*_KEY_UNUSABLE, keys.InvalidCiphertextException, envelope.BrokenEnvelope)
"""Why a SecureString cannot be opened: the key is not usable, or the ciphertext is not the one that was put there."""


async def seal(call: Call, tx: Transaction, version: Version, sealer: keys.Sealer | None = None) -> bytes:
    """The version's value under its key, for the caller, whom the key's policy must let. Raises InvalidKeyId.

    `sealer` is that key where it is known already.
    """
    plaintext = (version.value or "").encode()
    key_ref = version.key_ref or ""
    context = {"PARAMETER_ARN": arn(call.account_id, call.region, version.path)}
    place = _place(version.number, version.modified_at)
    where = (call.house, tx, call.account_id, call.region, key_ref)
    asker, via = call.principal, _via(call)
    try:
        if version.tier != "Advanced":
            sealed, _ = await keys.encrypt(
                *where, plaintext, context,
                place=place, by=asker, via=via, sealer=sealer, request_id=call.request_id,
            )  # fmt: skip
            return sealed
        data_key, encrypted, key_id = await keys.data_key(
            *where, context, place=place, by=asker, via=via, sealer=sealer, request_id=call.request_id
        )
    except (*_KEY_UNUSABLE, AccessDeniedException) as error:
        raise InvalidKeyId(error.message) from error
    owner = key_ref.split(":")[4] if key_ref.startswith("arn:") else call.account_id
    key_arn = f"arn:aws:kms:{call.region}:{owner}:key/{key_id}"
    message_id = call.ids.random_bytes(envelope.MESSAGE_ID_BYTES)
    return envelope.close(plaintext, data_key, encrypted, key_arn, context, message_id)


class Opener:
    """Turns stored values into those of an answer, for one call and its caller, whom the keys' policies must let."""

    def __init__(self, call: Call, tx: Transaction, *, decrypt: bool) -> None:
        self._call = call
        self._decryption = None
        if decrypt:
            self._decryption = keys.Decryption(
                call.house, tx, call.account_id, call.region, by=call.principal, via=_via(call),
                request_id=call.request_id,
            )  # fmt: skip

    async def text(self, stored: Value | Version) -> str:
        """The value in the clear; a SecureString's ciphertext as base64 unless the call decrypts.

        Raises InvalidKeyId, AccessDeniedException, and InternalServerError when the stored ciphertext is not the one
        that was put there.
        """
        if stored.sealed is None:
            return stored.value or ""
        if self._decryption is None:
            return base64.b64encode(stored.sealed).decode()
        call = self._call
        try:
            plaintext = await opened(self._decryption, call.account_id, call.region, stored)
        except _KEY_UNUSABLE as error:
            raise InvalidKeyId(error.message) from error
        except (keys.InvalidCiphertextException, envelope.BrokenEnvelope) as error:
            parameter_arn = arn(call.account_id, call.region, stored.path)
            log.error("parameter.ciphertext_broken", parameter=parameter_arn, version=stored.number)
            raise InternalServerError from error
        return plaintext.decode()


async def opened(decryption: keys.Decryption, account_id: str, region: str, stored: Value | Version) -> bytes:
    """The plaintext of a SecureString's version. Raises one of `UNREADABLE`, AccessDeniedException."""
    assert stored.sealed is not None
    context = {"PARAMETER_ARN": arn(account_id, region, stored.path)}
    place = _place(stored.number, stored.modified_at)
    if not envelope.is_envelope(stored.sealed):
        return await decryption.open(stored.sealed, context, place=place)
    parts = envelope.take_apart(stored.sealed)
    data_key = await decryption.open(parts.encrypted_data_key, context, place=place)
    return envelope.open_with(data_key, parts)


def _via(call: Call) -> str:
    return f"ssm.{call.region}.amazonaws.com"


def _place(number: int, modified_at: int) -> str:
    return f"parameter version {number} of {modified_at}"
