"""The keys of groups that have one of their own: a data key under the account's KMS key, besides the vault's seal."""

from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pilothouse.call import Call, House
from pilothouse.capabilities import keys
from pilothouse.capabilities.logs.model import Group, group_arn, seal_context
from pilothouse.crypto.sealed import Sealed
from pilothouse.errors import AccessDeniedException, ApiError, InvalidParameterException
from pilothouse.storage import Transaction

SEALED: Final = Sealed(
    table="log_chunk",
    keys=("chunk_id",),
    column="body",
    reads=("account_id", "region", "group_id", "stream_id", "ingested_at"),
    context=lambda row: seal_context(
        row["account_id"], row["region"], row["group_id"], row["stream_id"], row["chunk_id"], row["ingested_at"]
    ),
)


def _context(group: Group) -> dict[str, str]:
    return {"aws:logs:arn": group_arn(group.account_id, group.region, group.name)}


async def new_data_key(call: Call, tx: Transaction, group: Group, key_arn: str) -> bytes:
    """A data key for a group, as a ciphertext of the key. Raises InvalidParameterException."""
    if not key_arn.startswith("arn:"):
        raise InvalidParameterException(f"Invalid KMS key ARN: {key_arn}")
    try:
        _, blob, _ = await keys.data_key(
            call.house, tx, group.account_id, group.region, key_arn, _context(group),
            place=group.group_id, by=call.principal, via=f"logs.{group.region}.amazonaws.com",
            request_id=call.request_id,
        )  # fmt: skip
    except AccessDeniedException:
        raise
    except ApiError as error:
        raise InvalidParameterException(f"The KMS key cannot be used: {error.message or error.code}") from error
    return blob


async def cipher_of(house: House, group: Group) -> AESGCM | None:
    """The cipher of the group's own key, None where it has none. Raises InvalidParameterException while the key under
    which it lies is disabled or gone."""
    if group.data_key is None:
        return None
    try:
        async with house.database.reading() as tx:
            key = await keys.decrypt(
                house, tx, group.account_id, group.region, group.data_key, _context(group), place=group.group_id
            )
    except ApiError as error:
        raise InvalidParameterException(f"The KMS key of the log group cannot be used: {error.code}") from error
    return AESGCM(key)
