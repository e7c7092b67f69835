"""Encrypt, Decrypt, ReEncrypt, GenerateDataKey, GenerateDataKeyWithoutPlaintext, GenerateRandom."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities.keys import asymmetric, finding, materials
from pilothouse.capabilities.keys.encryption import Decryption, sealed
from pilothouse.capabilities.keys.errors import (
    IncorrectKeyException,
    InvalidCiphertextException,
    InvalidKeyUsageException,
    NotFoundException,
    UnsupportedOperationException,
)
from pilothouse.capabilities.keys.model import SYMMETRIC, Key, KeyUsage, take_apart
from pilothouse.errors import AccessDeniedException, ValidationException
from pilothouse.storage import Transaction

_DATA_KEY_BYTES: Final = {"AES_128": 16, "AES_256": 32}
_NO_SUCH_KEY: Final = (
    "The ciphertext refers to a customer master key that does not exist, does not exist in this region, "
    "or you are not allowed to access."
)


class _Opened(NamedTuple):
    key: Key
    plaintext: bytes
    material_id: str | None


@operation("kms", "Encrypt")
async def encrypt(call: Call, request: Shape) -> Shape:
    """A ciphertext of up to 4096 bytes."""
    await finding.ensure_service_key(call, request["KeyId"])
    context = request.get("EncryptionContext", {})
    async with call.reading() as tx:
        key = await finding.usable(
            call, tx, request["KeyId"], "Encrypt", usage=KeyUsage.ENCRYPT_DECRYPT, context=context
        )
        algorithm = request.get("EncryptionAlgorithm", SYMMETRIC)
        blob = await _encrypted(call, tx, key, algorithm, request["Plaintext"], context)
    finding.check_dry_run(request.get("DryRun"))
    return {"CiphertextBlob": blob, "KeyId": key.arn, "EncryptionAlgorithm": algorithm}


@operation("kms", "Decrypt")
async def decrypt(call: Call, request: Shape) -> Shape:
    """The plaintext of a ciphertext; a symmetric one names its key itself."""
    _refuse_attestation(request)
    if "CiphertextBlob" not in request:
        raise ValidationException("CiphertextBlob is required.")
    algorithm = request.get("EncryptionAlgorithm", SYMMETRIC)
    context = request.get("EncryptionContext", {})
    async with call.reading() as tx:
        opened = await _opened(
            call, tx, "Decrypt", "Decrypt", algorithm, request["CiphertextBlob"], context, request.get("KeyId")
        )
    finding.check_dry_run(request.get("DryRun"))
    answer = {"KeyId": opened.key.arn, "Plaintext": opened.plaintext, "EncryptionAlgorithm": algorithm}
    return answer if opened.material_id is None else answer | {"KeyMaterialId": opened.material_id}


@operation("kms", "ReEncrypt")
async def re_encrypt(call: Call, request: Shape) -> Shape:
    """The same plaintext under another key or another context; it does not leave the server."""
    if "CiphertextBlob" not in request:
        raise ValidationException("CiphertextBlob is required.")
    await finding.ensure_service_key(call, request["DestinationKeyId"])
    source = request.get("SourceEncryptionAlgorithm", SYMMETRIC)
    target = request.get("DestinationEncryptionAlgorithm", SYMMETRIC)
    before, after = request.get("SourceEncryptionContext", {}), request.get("DestinationEncryptionContext", {})
    async with call.reading() as tx:
        opened = await _opened(
            call, tx, "ReEncryptFrom", "ReEncrypt", source, request["CiphertextBlob"], before,
            request.get("SourceKeyId"),
        )  # fmt: skip
        key = await finding.usable(
            call, tx, request["DestinationKeyId"], "ReEncryptTo",
            usage=KeyUsage.ENCRYPT_DECRYPT, context=after, named="ReEncrypt",
        )  # fmt: skip
        blob = await _encrypted(call, tx, key, target, opened.plaintext, after)
        destination_material = (await materials.cipher(call.house, tx, key))[1] if target == SYMMETRIC else None
    finding.check_dry_run(request.get("DryRun"))
    answer = {
        "CiphertextBlob": blob,
        "SourceKeyId": opened.key.arn,
        "KeyId": key.arn,
        "SourceEncryptionAlgorithm": source,
        "DestinationEncryptionAlgorithm": target,
        "SourceKeyMaterialId": opened.material_id,
        "DestinationKeyMaterialId": destination_material,
    }
    return {name: value for name, value in answer.items() if value is not None}


@operation("kms", "GenerateDataKey")
async def generate_data_key(call: Call, request: Shape) -> Shape:
    """A new data key in the clear, and encrypted."""
    _refuse_attestation(request)
    plaintext, answer = await _data_key(call, request, "GenerateDataKey")
    return answer | {"Plaintext": plaintext}


@operation("kms", "GenerateDataKeyWithoutPlaintext")
async def generate_data_key_without_plaintext(call: Call, request: Shape) -> Shape:
    """A new data key, encrypted only."""
    _, answer = await _data_key(call, request, "GenerateDataKeyWithoutPlaintext")
    return answer


@operation("kms", "GenerateRandom")
async def generate_random(call: Call, request: Shape) -> Shape:
    """Random bytes."""
    _refuse_attestation(request)
    if request.get("CustomKeyStoreId"):
        raise UnsupportedOperationException("There are no custom key stores here.")
    if "NumberOfBytes" not in request:
        raise ValidationException("NumberOfBytes is required.")
    return {"Plaintext": call.ids.random_bytes(request["NumberOfBytes"])}


async def _data_key(call: Call, request: Shape, name: str) -> tuple[bytes, Shape]:
    size, spec = request.get("NumberOfBytes"), request.get("KeySpec")
    if (size is None) is (spec is None):
        raise ValidationException("Please specify either number of bytes or key spec.")
    await finding.ensure_service_key(call, request["KeyId"])
    context = request.get("EncryptionContext", {})
    async with call.reading() as tx:
        key = await finding.usable(call, tx, request["KeyId"], name, usage=KeyUsage.ENCRYPT_DECRYPT, context=context)
        if key.key_spec != SYMMETRIC:
            raise InvalidKeyUsageException(f"{key.arn} key spec is {key.key_spec} which is not valid for {name}.")
        plaintext = call.ids.random_bytes(size if size is not None else _DATA_KEY_BYTES[spec or ""])
        blob = await sealed(call.house, tx, key, plaintext, context)
        _, material = await materials.cipher(call.house, tx, key)
    finding.check_dry_run(request.get("DryRun"))
    return plaintext, {"CiphertextBlob": blob, "KeyId": key.arn, "KeyMaterialId": material}


async def _encrypted(
    call: Call, tx: Transaction, key: Key, algorithm: str, plaintext: bytes, context: Mapping[str, str]
) -> bytes:
    _check_algorithm(key, algorithm)
    if algorithm == SYMMETRIC:
        return await sealed(call.house, tx, key, plaintext, context)
    _refuse_context(context)
    private = asymmetric.load(await materials.opened(call.house, tx, key))
    return asymmetric.encrypt(private, key.key_spec, algorithm, plaintext)


async def _opened(
    call: Call,
    tx: Transaction,
    action: str,
    name: str,
    algorithm: str,
    blob: bytes,
    context: Mapping[str, str],
    key_ref: str | None,
) -> _Opened:
    """A ciphertext of a request opened; `action` is what policies are asked for, `name` the operation."""
    if algorithm == SYMMETRIC:
        return await _opened_symmetric(call, tx, action, name, blob, context, key_ref)
    if key_ref is None:
        raise ValidationException("KeyId is required for asymmetric encryption algorithms.")
    _refuse_context(context)
    key = await finding.usable(call, tx, key_ref, action, usage=KeyUsage.ENCRYPT_DECRYPT, named=name)
    _check_algorithm(key, algorithm)
    private = asymmetric.load(await materials.opened(call.house, tx, key))
    return _Opened(key, asymmetric.decrypt(private, algorithm, blob), None)


async def _opened_symmetric(
    call: Call,
    tx: Transaction,
    action: str,
    name: str,
    blob: bytes,
    context: Mapping[str, str],
    key_ref: str | None,
) -> _Opened:
    if key_ref is not None:
        await _check_named(call, tx, action, name, blob, context, key_ref)
    parts = take_apart(blob)
    decryption = Decryption(call.house, tx, call.account_id, call.region, by=call.principal, action=f"kms:{action}")
    alias = key_ref.rpartition(":")[2] if key_ref is not None and "alias/" in key_ref else None
    try:
        ready = await decryption.ready(parts, context, alias)
    except NotFoundException as error:
        raise AccessDeniedException(_NO_SUCH_KEY) from error
    return _Opened(ready.key, decryption.unsealed(parts, ready, context), ready.material_id)


async def _check_named(
    call: Call,
    tx: Transaction,
    action: str,
    name: str,
    blob: bytes,
    context: Mapping[str, str],
    key_ref: str,
) -> None:
    """A ciphertext of another key is told before what is wrong with the named one."""
    key = await finding.asked(call, tx, key_ref, f"kms:{action}", context=context, aliases=True)
    try:
        parts = take_apart(blob)
    except InvalidCiphertextException:
        parts = None
    if parts is not None and (key.account_id, key.key_id) != (parts.account_id or call.account_id, parts.key_id):
        raise IncorrectKeyException
    key.check_usage(KeyUsage.ENCRYPT_DECRYPT, name)
    _check_algorithm(key, SYMMETRIC)
    key.check_state()


def _check_algorithm(key: Key, algorithm: str) -> None:
    if algorithm not in key.algorithms:
        raise InvalidKeyUsageException(f"Algorithm {algorithm} is incompatible with key spec {key.key_spec}.")


def _refuse_context(context: Mapping[str, str]) -> None:
    if context:
        raise ValidationException("EncryptionContext is not supported with asymmetric encryption algorithms.")


def _refuse_attestation(request: Shape) -> None:
    if request.get("Recipient"):
        raise UnsupportedOperationException("Attestation documents of Nitro enclaves are not accepted here.")
