"""Encrypt, Decrypt, ReEncrypt, GenerateDataKey, GenerateDataKeyWithoutPlaintext, GenerateRandom."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from pilothouse.call import Call, Caller, Shape, operation
from pilothouse.capabilities.keys import asymmetric, conditions, custom_stores, finding, materials, uses
from pilothouse.capabilities.keys.encryption import NO_SUCH_KEY, Decryption, sealed
from pilothouse.capabilities.keys.errors import (
    DryRunOperationException,
    IncorrectKeyException,
    InvalidCiphertextException,
    InvalidKeyUsageException,
    NotFoundException,
    UnsupportedOperationException,
)
from pilothouse.capabilities.keys.model import SYMMETRIC, Blob, Key, KeyUsage, is_key_id, key_arn, take_apart
from pilothouse.errors import AccessDeniedException, ApiError, ValidationException
from pilothouse.identity.policy_patterns import Value
from pilothouse.storage import Transaction

_DATA_KEY_BYTES: Final = {"AES_128": 16, "AES_256": 32}


class _Source(NamedTuple):
    """What a request wants opened."""

    action: str
    """What policies are asked for, without `kms:`."""
    name: str
    """The operation."""
    algorithm: str
    blob: bytes
    context: Mapping[str, str]
    key_ref: str | None
    more: Mapping[str, Value]
    """Condition keys that are not members of the request."""


class _Opened(NamedTuple):
    key: Key
    plaintext: bytes
    material_id: str | None


@operation("kms", "Encrypt", callers=Caller.ACCOUNT | Caller.NODE, asks_itself=True, audited=True)
async def encrypt(call: Call, request: Shape) -> Shape:
    """A ciphertext of up to 4096 bytes."""
    await finding.ensure_service_key(call, request["KeyId"])
    context = request.get("EncryptionContext", {})
    async with call.reading() as tx:
        key = await finding.usable(
            call, tx, request["KeyId"], "Encrypt", request=request, usage=KeyUsage.ENCRYPT_DECRYPT, context=context
        )
        algorithm = request.get("EncryptionAlgorithm", SYMMETRIC)
        blob = await _encrypted(call, tx, key, algorithm, request["Plaintext"], context)
    finding.check_dry_run(request.get("DryRun"))
    uses.note(call.house, key, "Encrypt", call.request_id)
    return {"CiphertextBlob": blob, "KeyId": key.arn, "EncryptionAlgorithm": algorithm}


@operation("kms", "Decrypt", callers=Caller.ACCOUNT | Caller.NODE, asks_itself=True, audited=True)
async def decrypt(call: Call, request: Shape) -> Shape:
    """The plaintext of a ciphertext; a symmetric one names its key itself."""
    _refuse_attestation(request)
    algorithm = request.get("EncryptionAlgorithm", SYMMETRIC)
    context, key_ref = request.get("EncryptionContext", {}), request.get("KeyId")
    async with call.reading() as tx:
        if _without_ciphertext(request):
            await _try_permission(
                call, tx, request, _Source("Decrypt", "Decrypt", algorithm, b"", context, key_ref, {})
            )
            raise DryRunOperationException
        source = _Source("Decrypt", "Decrypt", algorithm, request["CiphertextBlob"], context, key_ref, {})
        opened = await _opened(call, tx, request, source)
    finding.check_dry_run(request.get("DryRun"))
    uses.note(call.house, opened.key, "Decrypt", call.request_id)
    answer = {"KeyId": opened.key.arn, "Plaintext": opened.plaintext, "EncryptionAlgorithm": algorithm}
    return answer if opened.material_id is None else answer | {"KeyMaterialId": opened.material_id}


@operation("kms", "ReEncrypt", asks_itself=True, audited=True)
async def re_encrypt(call: Call, request: Shape) -> Shape:
    """The same plaintext under another key or another context; it does not leave the server."""
    no_ciphertext = _without_ciphertext(request)
    await finding.ensure_service_key(call, request["DestinationKeyId"])
    algorithm = request.get("SourceEncryptionAlgorithm", SYMMETRIC)
    target = request.get("DestinationEncryptionAlgorithm", SYMMETRIC)
    before, after = request.get("SourceEncryptionContext", {}), request.get("DestinationEncryptionContext", {})
    blob, source_ref = request.get("CiphertextBlob", b""), request.get("SourceKeyId")
    async with call.reading() as tx:
        on_same = {"kms:ReEncryptOnSameKey": str(await _on_same_key(call, tx, request)).lower()}
        source = _Source(
            "ReEncryptFrom", "ReEncrypt", algorithm, blob, before, source_ref,
            {"kms:EncryptionAlgorithm": algorithm, **on_same},
        )  # fmt: skip
        opened = await (_try_permission if no_ciphertext else _opened)(call, tx, request, source)
        key = await finding.usable(
            call, tx, request["DestinationKeyId"], "ReEncryptTo", request=request, usage=KeyUsage.ENCRYPT_DECRYPT,
            context=after, told_as="ReEncrypt", more={"kms:EncryptionAlgorithm": target, **on_same},
        )  # fmt: skip
        blob = await _encrypted(call, tx, key, target, opened.plaintext, after)
        destination_material = (await materials.cipher(call.house, tx, key))[1] if target == SYMMETRIC else None
    finding.check_dry_run(request.get("DryRun"))
    for each in (opened.key, key):
        uses.note(call.house, each, "ReEncrypt", call.request_id)
    answer = {
        "CiphertextBlob": blob,
        "SourceKeyId": opened.key.arn,
        "KeyId": key.arn,
        "SourceEncryptionAlgorithm": algorithm,
        "DestinationEncryptionAlgorithm": target,
        "SourceKeyMaterialId": opened.material_id,
        "DestinationKeyMaterialId": destination_material,
    }
    return {name: value for name, value in answer.items() if value is not None}


@operation("kms", "GenerateDataKey", callers=Caller.ACCOUNT | Caller.NODE, asks_itself=True, audited=True)
async def generate_data_key(call: Call, request: Shape) -> Shape:
    """A new data key in the clear, and encrypted."""
    _refuse_attestation(request)
    plaintext, answer = await _data_key(call, request, "GenerateDataKey")
    return answer | {"Plaintext": plaintext}


@operation("kms", "GenerateDataKeyWithoutPlaintext", asks_itself=True, audited=True)
async def generate_data_key_without_plaintext(call: Call, request: Shape) -> Shape:
    """A new data key, encrypted only."""
    _, answer = await _data_key(call, request, "GenerateDataKeyWithoutPlaintext")
    return answer


@operation("kms", "GenerateRandom", audited=True)
async def generate_random(call: Call, request: Shape) -> Shape:
    """Random bytes."""
    _refuse_attestation(request)
    if store := request.get("CustomKeyStoreId"):
        raise custom_stores.not_found(store)
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
        key = await finding.usable(
            call, tx, request["KeyId"], name, request=request, usage=KeyUsage.ENCRYPT_DECRYPT, context=context
        )
        if key.key_spec != SYMMETRIC:
            raise InvalidKeyUsageException(f"{key.arn} key spec is {key.key_spec} which is not valid for {name}.")
        plaintext = call.ids.random_bytes(size if size is not None else _DATA_KEY_BYTES[spec or ""])
        blob = await sealed(call.house, tx, key, plaintext, context)
        _, material = await materials.cipher(call.house, tx, key)
    finding.check_dry_run(request.get("DryRun"))
    uses.note(call.house, key, name, call.request_id)
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


async def _opened(call: Call, tx: Transaction, request: Shape, source: _Source) -> _Opened:
    """A ciphertext of a request opened."""
    if source.algorithm == SYMMETRIC:
        return await _opened_symmetric(call, tx, request, source)
    key = await _named_pair(call, tx, request, source)
    private = asymmetric.load(await materials.opened(call.house, tx, key))
    return _Opened(key, asymmetric.decrypt(private, source.algorithm, source.blob), None)


async def _named_pair(call: Call, tx: Transaction, request: Shape, source: _Source) -> Key:
    if source.key_ref is None:
        raise ValidationException("KeyId is required for asymmetric encryption algorithms.")
    _refuse_context(source.context)
    key = await finding.usable(
        call, tx, source.key_ref, source.action, request=request, usage=KeyUsage.ENCRYPT_DECRYPT, more=source.more,
        told_as=source.name,
    )  # fmt: skip
    _check_algorithm(key, source.algorithm)
    return key


async def _opened_symmetric(call: Call, tx: Transaction, request: Shape, source: _Source) -> _Opened:
    if source.key_ref is not None:
        await _check_named(call, tx, request, source)
    parts = take_apart(source.blob)
    finding.check_tokens(call.house, request)
    decryption = Decryption(
        call.house, tx, call.account_id, call.region, by=call.principal, action=f"kms:{source.action}",
        conditions={**conditions.of_request(call, request), **source.more},
    )  # fmt: skip
    try:
        ready = await decryption.ready(parts, source.context, source.key_ref)
    except NotFoundException as error:
        raise AccessDeniedException(NO_SUCH_KEY) from error
    return _Opened(ready.key, decryption.unsealed(parts, ready, source.context), ready.material_id)


async def _check_named(call: Call, tx: Transaction, request: Shape, source: _Source) -> None:
    """A ciphertext of another key is told before what is wrong with the named one."""
    try:
        parts = take_apart(source.blob)
    except InvalidCiphertextException:
        parts = None
    key = await finding.asked(
        call, tx, _full_name(call, source.key_ref or "", parts), f"kms:{source.action}", request,
        context=source.context, aliases=True, more=source.more,
    )  # fmt: skip
    if parts is not None and (key.account_id, key.key_id) != (parts.account_id or call.account_id, parts.key_id):
        raise IncorrectKeyException
    _check_symmetric(key, source.name)


def _check_symmetric(key: Key, name: str) -> None:
    key.check_usage(KeyUsage.ENCRYPT_DECRYPT, name)
    _check_algorithm(key, SYMMETRIC)
    key.check_state()


def _full_name(call: Call, key_ref: str, parts: Blob | None) -> str:
    """The id of a key of another account is enough, where the ciphertext tells whose it is."""
    if parts is None or not is_key_id(key_ref) or key_ref.lower() != parts.key_id:
        return key_ref
    return key_arn(parts.account_id or call.account_id, call.region, parts.key_id)


def _without_ciphertext(request: Shape) -> bool:
    """Whether only permission is tried. Raises ValidationException where a ciphertext is needed and missing."""
    if request.get("DryRun") and "IGNORE_CIPHERTEXT" in request.get("DryRunModifiers", ()):
        return True
    if "CiphertextBlob" not in request:
        raise ValidationException("CiphertextBlob is required.")
    return False


async def _try_permission(call: Call, tx: Transaction, request: Shape, source: _Source) -> _Opened:
    """As `_opened`, without a ciphertext: whether the named key might be used so. The plaintext is a byte."""
    if source.key_ref is None:
        raise ValidationException("KeyId is required when DryRunModifiers is IGNORE_CIPHERTEXT.")
    if source.algorithm != SYMMETRIC:
        return _Opened(await _named_pair(call, tx, request, source), b"\0", None)
    key = await finding.asked(
        call, tx, source.key_ref, f"kms:{source.action}", request, context=source.context, aliases=True,
        more=source.more,
    )  # fmt: skip
    _check_symmetric(key, source.name)
    return _Opened(key, b"\0", None)


async def _on_same_key(call: Call, tx: Transaction, request: Shape) -> bool:
    """Whether ReEncrypt stays with one key, as far as can be told before anything is checked."""
    try:
        after, _ = await finding.find(call.house, tx, call.account_id, call.region, request["DestinationKeyId"])
        if "SourceKeyId" in request:
            before, _ = await finding.find(call.house, tx, call.account_id, call.region, request["SourceKeyId"])
            return before.arn == after.arn
        parts = take_apart(request["CiphertextBlob"])
    except (ApiError, KeyError):
        return False
    return (parts.account_id or call.account_id, parts.key_id) == (after.account_id, after.key_id)


def _check_algorithm(key: Key, algorithm: str) -> None:
    if algorithm not in key.algorithms:
        raise InvalidKeyUsageException(f"Algorithm {algorithm} is incompatible with key spec {key.key_spec}.")


def _refuse_context(context: Mapping[str, str]) -> None:
    if context:
        raise ValidationException("EncryptionContext is not supported with asymmetric encryption algorithms.")


def _refuse_attestation(request: Shape) -> None:
    if request.get("Recipient"):
        raise UnsupportedOperationException("Attestation documents of Nitro enclaves are not accepted here.")
