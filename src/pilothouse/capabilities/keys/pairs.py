"""Key pairs and their public halves: GetPublicKey, GenerateDataKeyPair, GenerateDataKeyPairWithoutPlaintext."""

import asyncio

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities.keys import asymmetric, finding, materials, uses
from pilothouse.capabilities.keys.agreements import refuse_recipient
from pilothouse.capabilities.keys.encryption import sealed
from pilothouse.capabilities.keys.errors import InvalidKeyUsageException, UnsupportedOperationException
from pilothouse.capabilities.keys.metadata import algorithms_of
from pilothouse.capabilities.keys.model import SYMMETRIC, Key, KeyUsage
from pilothouse.storage import Transaction


@operation("kms", "GetPublicKey", asks_itself=True)
async def get_public_key(call: Call, request: Shape) -> Shape:
    """The public half of an asymmetric key, and what it is for."""
    async with call.reading() as tx:
        key = await finding.asked(call, tx, request["KeyId"], "kms:GetPublicKey", request, aliases=True)
        if key.key_usage is KeyUsage.GENERATE_VERIFY_MAC:
            raise InvalidKeyUsageException(
                f"{key.arn} key usage is {key.key_usage} which is not valid for GetPublicKey."
            )
        if not asymmetric.is_pair(key.key_spec):
            raise UnsupportedOperationException(
                f"{key.arn} key spec is {key.key_spec} which is not valid for GetPublicKey."
            )
        key.check_state()
        private = await materials.opened(call.house, tx, key)
    return {
        "KeyId": key.arn,
        "PublicKey": asymmetric.public_bytes(asymmetric.load(private)),
        "CustomerMasterKeySpec": key.key_spec,
        "KeySpec": key.key_spec,
        "KeyUsage": key.key_usage.value,
        **algorithms_of(key),
    }


@operation("kms", "GenerateDataKeyPair", asks_itself=True, audited=True)
async def generate_data_key_pair(call: Call, request: Shape) -> Shape:
    """A new key pair: its public half, and its private half in the clear and encrypted under the key."""
    refuse_recipient(request)
    private, answer = await _pair(call, request, "GenerateDataKeyPair")
    return {**answer, "PrivateKeyPlaintext": private}


@operation("kms", "GenerateDataKeyPairWithoutPlaintext", asks_itself=True, audited=True)
async def generate_data_key_pair_without_plaintext(call: Call, request: Shape) -> Shape:
    """A new key pair whose private half is given encrypted only."""
    _, answer = await _pair(call, request, "GenerateDataKeyPairWithoutPlaintext")
    return answer


async def _pair(call: Call, request: Shape, name: str) -> tuple[bytes, Shape]:
    """The pair is made between two looks at the key, for no transaction waits for it."""
    spec = request["KeyPairSpec"]
    asymmetric.check_available(spec)
    await finding.ensure_service_key(call, request["KeyId"])
    async with call.reading() as tx:
        await _encrypting(call, tx, request, name)
    finding.check_dry_run(request.get("DryRun"))
    private = await asyncio.to_thread(asymmetric.generate, spec)
    async with call.reading() as tx:
        key = await _encrypting(call, tx, request, name)
        _, material_id = await materials.cipher(call.house, tx, key)
        blob = await sealed(call.house, tx, key, private, request.get("EncryptionContext", {}))
    uses.note(call.house, key, name, call.request_id)
    return private, {
        "PrivateKeyCiphertextBlob": blob,
        "PublicKey": asymmetric.public_bytes(asymmetric.load(private)),
        "KeyId": key.arn,
        "KeyPairSpec": spec,
        "KeyMaterialId": material_id,
    }


async def _encrypting(call: Call, tx: Transaction, request: Shape, name: str) -> Key:
    context = request.get("EncryptionContext", {})
    key = await finding.usable(
        call, tx, request["KeyId"], name, request=request, usage=KeyUsage.ENCRYPT_DECRYPT, context=context
    )
    if key.key_spec != SYMMETRIC:
        raise InvalidKeyUsageException(f"{key.arn} key spec is {key.key_spec} which is not valid for {name}.")
    return key
