"""Keys: the accounts' KMS keys, under which users' values are encrypted.

Owns the tables kms_key, kms_material, kms_alias, kms_grant, kms_key_use and kms_key_use_kept. Material never leaves: it
is wrapped by the installation's master key at rest, and other capabilities hand in plaintexts and blobs.
"""

from pilothouse.call import Capability, Lasting
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
    lasting=(Lasting(name="keys.uses", run=uses.keep),),
)
