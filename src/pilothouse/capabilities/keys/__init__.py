"""Keys: the accounts' KMS keys, under which users' values are encrypted.

Owns the tables kms_key, kms_material, kms_alias, kms_grant, kms_key_use and kms_key_use_kept. Material never leaves: it
is wrapped by the installation's master key at rest, and other capabilities hand in plaintexts and blobs.
"""

from pilothouse.call import Capability, Lasting
from pilothouse.capabilities import tags
from pilothouse.capabilities.keys import (
    agreements,
    aliases,
    custom_stores,
    grants,
    importing,
    jobs,
    macs,
    operations,
    pairs,
    policies,
    replicas,
    rotating,
    signing,
    tagging,
    uses,
    using,
)
from pilothouse.capabilities.keys.encryption import Decryption, Sealer, data_key, decrypt, encrypt, sealer_of
from pilothouse.capabilities.keys.errors import (
    DisabledException,
    InvalidCiphertextException,
    InvalidKeyUsageException,
    KMSInvalidStateException,
    NotFoundException,
)
from pilothouse.capabilities.keys.finding import arn_of
from pilothouse.capabilities.keys.materials import SEALED
from pilothouse.capabilities.keys.model import RESOURCE_TYPE
from pilothouse.capabilities.keys.store import KeyStore
from pilothouse.storage import Transaction

__all__ = [
    "CAPABILITY",
    "Decryption",
    "DisabledException",
    "InvalidCiphertextException",
    "InvalidKeyUsageException",
    "KMSInvalidStateException",
    "NotFoundException",
    "Sealer",
    "arn_of",
    "data_key",
    "decrypt",
    "encrypt",
    "sealer_of",
]


async def _find(tx: Transaction, account_id: str, region: str, key_id: str) -> str | None:
    return key_id if await KeyStore(tx, account_id, region).key(key_id) else None


CAPABILITY = Capability.of(
    "keys",
    agreements,
    aliases,
    custom_stores,
    grants,
    importing,
    jobs,
    macs,
    operations,
    pairs,
    policies,
    replicas,
    rotating,
    signing,
    tagging,
    uses,
    using,
    sealed=(SEALED,),
    policies_on={"kms:key": policies.OnKeys()},
    groupable={"AWS::KMS::Key": tags.Tagged(RESOURCE_TYPE, "kms", "key/", _find)},
    lasting=(Lasting(name="keys.uses", run=uses.keep, local=True),),
)
