"""Proof of a second factor: a code of one of the user's devices, which counts once."""

from collections.abc import Sequence
from dataclasses import replace

from pilothouse.call import Call, House, Shape
from pilothouse.capabilities.access.attempts import begin_attempt
from pilothouse.capabilities.access.login_model import MfaDevice, seed_context
from pilothouse.capabilities.access.login_store import MfaStore
from pilothouse.capabilities.access.totp import step_at, step_of_code
from pilothouse.errors import AccessDeniedException


async def code_counts(house: House, devices: Sequence[MfaDevice], code: str) -> bool:
    """Whether it is a code of one of them that has not counted yet."""
    now = step_at(house.clock.millis())
    for device in devices:
        seed = await house.vault.opened(device.seed_sealed, seed_context(device.account_id, device.serial))
        step = step_of_code(seed, code, now + device.drift, device.last_step)
        if step is not None:
            async with house.database.transaction() as tx:
                return await MfaStore(tx, device.account_id).use(device.serial, step, device.drift)
    return False


async def prove(call: Call, request: Shape) -> None:
    """Heed SerialNumber and TokenCode of a request to STS: the caller counts as one with a second factor after it.

    Raises AccessDeniedException, TooManyAttemptsException.
    """
    serial, code = request.get("SerialNumber", ""), request.get("TokenCode", "")
    if not serial and not code:
        return
    if not serial or not code:
        raise AccessDeniedException(
            "MultiFactorAuthentication failed, must provide both MFA serial number and one time pass code."
        )
    who = call.principal
    attempt = await begin_attempt(call.house, f"{who.account_id} {who.name.lower() or who.user_id}", call.source_ip)
    async with call.reading() as tx:
        device = await MfaStore(tx, who.account_id).find(serial)
    if device is None or who.kind != "user" or device.user_id != who.user_id:
        raise AccessDeniedException(
            "MultiFactorAuthentication failed, unable to validate MFA code.  Please verify your MFA serial number is"
            " valid and associated with this user."
        )
    if not await code_counts(call.house, [device], code):
        raise AccessDeniedException("MultiFactorAuthentication failed with invalid MFA one time pass code. ")
    await attempt.good()
    call.principal = replace(who, mfa_at=call.clock.millis())
