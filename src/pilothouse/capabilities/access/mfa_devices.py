"""IAM: virtual devices, whose codes are a user's second factor."""

import base64
import io
from typing import Final
from urllib.parse import quote

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities.access.iam import told_user
from pilothouse.capabilities.access.login_model import (
    InvalidAuthenticationCodeException,
    MfaDevice,
    mfa_arn,
    seed_context,
)
from pilothouse.capabilities.access.login_store import MfaStore
from pilothouse.capabilities.access.model import (
    DeleteConflictException,
    EntityAlreadyExistsException,
    LimitExceededException,
    NoSuchEntityException,
)
from pilothouse.capabilities.access.owners import USER, found, locked, user_resource
from pilothouse.capabilities.access.pages import paged, position
from pilothouse.capabilities.access.tagged import Tagged, tags_of, told_tags
from pilothouse.capabilities.access.totp import step_at, step_of_two
from pilothouse.capabilities.access.users import UserStore
from pilothouse.errors import ValidationException
from pilothouse.runtime.clock import from_millis
from pilothouse.storage import Transaction

_MOST_OF_USER: Final = 8
_MOST: Final = 5000
_KIND: Final = "mfa"
_SEED: Final = 40
"""Bytes; they make 64 letters of base32."""


def device_resource(call: Call, request: Shape) -> list[str]:
    """What policies are asked about."""
    return [request["SerialNumber"]]


def _new_device(call: Call, request: Shape) -> list[str]:
    return [mfa_arn(call.account_id, request.get("Path", "/"), request["VirtualMFADeviceName"])]


@operation("iam", "CreateVirtualMFADevice", writes=True, resources=_new_device)
async def create_virtual_mfa_device(call: Call, request: Shape) -> Shape:
    """A device that is nobody's yet. Its seed is shown this once, as text and as a picture to scan."""
    given = tags_of(request.get("Tags"))
    serial = _new_device(call, request)[0]
    seed = call.ids.random_bytes(_SEED)
    async with call.transaction() as tx:
        store = MfaStore(tx, call.account_id)
        await store.lock()
        if await store.find(serial) is not None:
            raise EntityAlreadyExistsException("MFADevice entity at the same path and name already exists.")
        if len(await store.all()) >= _MOST:
            raise LimitExceededException(f"Cannot exceed quota for VirtualMFADevicesPerAccount: {_MOST}")
        made = MfaDevice(
            account_id=call.account_id,
            serial=serial,
            user_id="",
            seed_sealed=call.house.vault.seal(seed, seed_context(call.account_id, serial)),
            created_at=call.clock.millis(),
            enabled_at=0,
            drift=0,
            last_step=0,
        )
        await store.add(made)
        await Tagged(tx, call.account_id, _KIND).put(serial, given)
    letters = base64.b32encode(seed)
    label = quote(f"{request['VirtualMFADeviceName']}@{call.principal.name or call.account_id}")
    told: Shape = {
        "SerialNumber": serial,
        "Base32StringSeed": letters,
        "QRCodePNG": _picture(f"otpauth://totp/Pilothouse:{label}?secret={letters.decode()}&issuer=Pilothouse"),
    }
    return {"VirtualMFADevice": told | told_tags(given)}


def _picture(text: str) -> bytes:
    import segno  # few ask for a picture

    written = io.BytesIO()
    segno.make(text, error="m", micro=False).save(written, kind="png", scale=5)
    return written.getvalue()


@operation("iam", "EnableMFADevice", writes=True, resources=user_resource)
async def enable_mfa_device(call: Call, request: Shape) -> Shape:
    """The device is the user's second factor from now on. Two codes in a row show that the user has it."""
    async with call.transaction() as tx:
        user = await locked(tx, USER, call.account_id, request["UserName"])
        store = MfaStore(tx, call.account_id)
        await store.lock()
        device = await found_device(tx, call.account_id, request["SerialNumber"])
        if device.user_id:
            raise EntityAlreadyExistsException("MFA Device is already in use.")
        if len(await store.of_user(user.user_id)) >= _MOST_OF_USER:
            raise LimitExceededException(f"Cannot exceed quota for MFADevicesPerUser: {_MOST_OF_USER}")
        await _set_clock(call, tx, device, request)
        await store.give(device.serial, user.user_id, call.clock.millis())
    return {}


@operation("iam", "ResyncMFADevice", writes=True, resources=user_resource)
async def resync_mfa_device(call: Call, request: Shape) -> Shape:
    """Two codes in a row show how far the clock of the device is off."""
    async with call.transaction() as tx:
        await MfaStore(tx, call.account_id).lock()
        await _set_clock(call, tx, await _of_user(call, tx, request), request)
    return {}


async def _set_clock(call: Call, tx: Transaction, device: MfaDevice, request: Shape) -> None:
    """Raises InvalidAuthenticationCodeException."""
    seed = await call.house.vault.opened(device.seed_sealed, seed_context(device.account_id, device.serial))
    now = step_at(call.clock.millis())
    step = step_of_two(seed, request["AuthenticationCode1"], request["AuthenticationCode2"], now)
    if step is None or not await MfaStore(tx, call.account_id).use(device.serial, step, step - now):
        raise InvalidAuthenticationCodeException("Authentication code for device is not valid.")


@operation("iam", "DeactivateMFADevice", writes=True, resources=user_resource)
async def deactivate_mfa_device(call: Call, request: Shape) -> Shape:
    """The user signs in without it; the device is nobody's."""
    async with call.transaction() as tx:
        await MfaStore(tx, call.account_id).lock()
        device = await _of_user(call, tx, request)
        await MfaStore(tx, call.account_id).give(device.serial, "", 0)
    return {}


@operation("iam", "DeleteVirtualMFADevice", writes=True, resources=device_resource)
async def delete_virtual_mfa_device(call: Call, request: Shape) -> Shape:
    """Its seed goes; it must be nobody's before."""
    async with call.transaction() as tx:
        store = MfaStore(tx, call.account_id)
        await store.lock()
        device = await found_device(tx, call.account_id, request["SerialNumber"])
        if device.user_id:
            raise DeleteConflictException("MFA VirtualDevice in use. Must deactivate first.")
        await store.remove(device.serial)
        await Tagged(tx, call.account_id, _KIND).remove_all(device.serial)
    return {}


@operation("iam", "ListMFADevices", resources=user_resource)
async def list_mfa_devices(call: Call, request: Shape) -> Shape:
    """Those of a user, or without a name of the caller; never more than a page."""
    name = request.get("UserName") or call.principal.name
    position(call, "ListMFADevices", request)
    if not name:  # root has none
        return {"MFADevices": [], "IsTruncated": False}
    async with call.reading() as tx:
        user = await found(tx, USER, call.account_id, name)
        devices = await MfaStore(tx, call.account_id).of_user(user.user_id)
    told = [
        {"UserName": user.name, "SerialNumber": each.serial, "EnableDate": from_millis(each.enabled_at)}
        for each in devices
    ]
    return {"MFADevices": told, "IsTruncated": False}


@operation("iam", "ListVirtualMFADevices")
async def list_virtual_mfa_devices(call: Call, request: Shape) -> Shape:
    """By serial number."""
    wanted = request.get("AssignmentStatus", "Any")
    query = f"ListVirtualMFADevices {wanted}"
    after = position(call, query, request)
    shown: list[tuple[str, Shape]] = []
    async with call.reading() as tx:
        for each in await MfaStore(tx, call.account_id).all():
            if each.serial <= after or (wanted != "Any" and bool(each.user_id) != (wanted == "Assigned")):
                continue
            told: Shape = {"SerialNumber": each.serial}
            user = await UserStore(tx, call.account_id).by_id(each.user_id) if each.user_id else None
            if user is not None:
                told |= {"User": told_user(user, {}), "EnableDate": from_millis(each.enabled_at)}
            shown.append((each.serial, told))
    return paged(call, query, request, "VirtualMFADevices", shown)


@operation("iam", "GetMFADevice", resources=user_resource)
async def get_mfa_device(call: Call, request: Shape) -> Shape:
    """Whose it is, and since when."""
    async with call.reading() as tx:
        device = await found_device(tx, call.account_id, request["SerialNumber"])
        user = await UserStore(tx, call.account_id).by_id(device.user_id) if device.user_id else None
        if user is None or request.get("UserName", user.name) != user.name:
            raise _missing(request["SerialNumber"])
    return {"UserName": user.name, "SerialNumber": device.serial, "EnableDate": from_millis(device.enabled_at)}


async def found_device(tx: Transaction, account_id: str, serial: str) -> MfaDevice:
    """Raises NoSuchEntityException."""
    device = await MfaStore(tx, account_id).find(serial)
    if device is None:
        raise _missing(serial)
    return device


async def _of_user(call: Call, tx: Transaction, request: Shape) -> MfaDevice:
    """The device, if it is the second factor of the user named, or else of the caller."""
    name = request.get("UserName") or call.principal.name
    if not name:
        raise ValidationException("Must specify userName when calling with non-User credentials")
    user = await locked(tx, USER, call.account_id, name)
    device = await found_device(tx, call.account_id, request["SerialNumber"])
    if device.user_id != user.user_id:
        raise NoSuchEntityException("MFA Device invalid for user.")
    return device


def _missing(serial: str) -> NoSuchEntityException:
    return NoSuchEntityException(f"VirtualMFADevice with serial number {serial} does not exist.")
