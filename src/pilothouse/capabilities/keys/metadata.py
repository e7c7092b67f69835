"""KeyMetadata: a key as the kms service tells of it."""

from datetime import UTC, datetime

from pilothouse.call import House, Shape
from pilothouse.capabilities.keys import materials
from pilothouse.capabilities.keys.model import SYMMETRIC, Key, KeyState, KeyUsage
from pilothouse.capabilities.keys.store import KeyStore
from pilothouse.storage import Transaction

_ALGORITHMS = {
    KeyUsage.ENCRYPT_DECRYPT: "EncryptionAlgorithms",
    KeyUsage.SIGN_VERIFY: "SigningAlgorithms",
    KeyUsage.GENERATE_VERIFY_MAC: "MacAlgorithms",
    KeyUsage.KEY_AGREEMENT: "KeyAgreementAlgorithms",
    KeyUsage.ENCAPSULATE_DECAPSULATE: "EncapsulationAlgorithms",
}


def moment(milliseconds: int) -> datetime:
    """Epoch milliseconds as answers want them."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def algorithms_of(key: Key) -> Shape:
    """The member that lists what the key can be asked for."""
    return {_ALGORITHMS[key.key_usage]: list(key.algorithms)}


async def metadata(house: House, tx: Transaction, key: Key) -> Shape:
    """The KeyMetadata of a key."""
    told: Shape = {
        "AWSAccountId": key.account_id,
        "KeyId": key.key_id,
        "Arn": key.arn,
        "CreationDate": moment(key.created_at),
        "Enabled": key.state is KeyState.ENABLED,
        "Description": key.description,
        "KeyUsage": key.key_usage.value,
        "KeyState": key.state.value,
        "Origin": key.origin.value,
        "KeyManager": key.manager,
        "CustomerMasterKeySpec": key.key_spec,
        "KeySpec": key.key_spec,
        **algorithms_of(key),
        "MultiRegion": key.multi_region,
    }
    if key.deletion_at is not None:
        told["DeletionDate"] = moment(key.deletion_at)
    if key.state is KeyState.PENDING_REPLICA_DELETION:
        told["PendingDeletionWindowInDays"] = key.pending_days
    if key.expiration_model is not None:
        told["ExpirationModel"] = key.expiration_model
    if key.valid_to is not None:
        told["ValidTo"] = moment(key.valid_to)
    if key.multi_region:
        told["MultiRegionConfiguration"] = await _regions(tx, key)
    if key.key_spec == SYMMETRIC and key.material_version:
        told["CurrentKeyMaterialId"] = await _current_material(house, tx, key)
    return told


async def _current_material(house: House, tx: Transaction, key: Key) -> str:
    """The id of the material that encrypts, also while it is deleted."""
    if key.state is not KeyState.PENDING_IMPORT:
        return (await materials.cipher(house, tx, key))[1]
    known = await KeyStore(tx, key.account_id, key.region).materials(key.key_id)
    return next(each.material_id for each in known if each.version == key.material_version)


async def _regions(tx: Transaction, key: Key) -> Shape:
    relatives = await KeyStore(tx, key.account_id, key.region).in_all_regions(key.key_id)
    by_kind: dict[bool, list[Shape]] = {True: [], False: []}
    for each in relatives:
        by_kind[each.is_primary].append({"Arn": each.arn, "Region": each.region})
    return {
        "MultiRegionKeyType": "PRIMARY" if key.is_primary else "REPLICA",
        "PrimaryKey": next(iter(by_kind[True]), None),
        "ReplicaKeys": by_kind[False],
    }
