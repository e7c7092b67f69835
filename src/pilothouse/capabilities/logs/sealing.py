"""The keys of groups: every group's events are encrypted under a key of its own, which is sealed by the vault, or is a
data key under a KMS key of the account. So a new root key needs to seal one value for each group, and none for events.
"""

from dataclasses import replace
from typing import Any, Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pilothouse.call import Call, House
from pilothouse.capabilities import keys
from pilothouse.capabilities.logs.model import Group, group_arn
from pilothouse.crypto.sealed import Sealed
from pilothouse.crypto.vault import SealBroken
from pilothouse.errors import AccessDeniedException, ApiError, InvalidParameterException
from pilothouse.storage import Transaction

_KEY_BYTES: Final = 32


def _place(account_id: str, region: str, group_id: str) -> str:
    return f"logs:group:{account_id}:{region}:{group_id}"


def _of_row(row: Any) -> str:
    return _place(row["account_id"], row["region"], row["group_id"])


SEALED: Final = Sealed(
    table="log_group", keys=("group_id",), column="sealed_key", reads=("account_id", "region"), context=_of_row
)


def _context(group: Group) -> dict[str, str]:
    return {"aws:logs:arn": group_arn(group.account_id, group.region, group.name)}


def with_own_key(house: House, group: Group) -> Group:
    """The group with a new key, sealed by the vault."""
    key = house.ids.random_bytes(_KEY_BYTES)
    place = _place(group.account_id, group.region, group.group_id)
    return replace(group, sealed_key=house.vault.seal(key, place))


async def with_kms_key(call: Call, tx: Transaction, group: Group) -> Group:
    """The group with a new key under its KMS key. Raises InvalidParameterException, AccessDeniedException."""
    if not group.kms_key.startswith("arn:"):
        raise InvalidParameterException(f"Invalid KMS key ARN: {group.kms_key}")
    try:
        _, blob, _ = await keys.data_key(
            call.house, tx, group.account_id, group.region, group.kms_key, _context(group),
            place=group.group_id, by=call.principal, via=f"logs.{group.region}.amazonaws.com",
            request_id=call.request_id,
        )  # fmt: skip
    except AccessDeniedException:
        raise
    except ApiError as error:
        raise InvalidParameterException(f"The KMS key cannot be used: {error.message or error.code}") from error
    return replace(group, kms_blob=blob)


async def cipher_of(house: House, group: Group) -> AESGCM:
    """The cipher of a group's events.

    Raises InvalidParameterException while the KMS key under which its key lies is disabled or gone, and SealBroken.
    """
    if group.kms_blob is None:
        if group.sealed_key is None:
            raise SealBroken("the group has no key")
        place = _place(group.account_id, group.region, group.group_id)
        return AESGCM(await house.vault.opened(group.sealed_key, place))
    try:
        async with house.database.reading() as tx:
            key = await keys.decrypt(
                house, tx, group.account_id, group.region, group.kms_blob, _context(group), place=group.group_id
            )
    except ApiError as error:
        raise InvalidParameterException(f"The KMS key of the log group cannot be used: {error.code}") from error
    return AESGCM(key)
