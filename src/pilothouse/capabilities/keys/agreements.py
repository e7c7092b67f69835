"""Secrets shared with the holder of another key: DeriveSharedSecret, Encapsulate, Decapsulate."""

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities.keys import asymmetric, finding, materials, uses
from pilothouse.capabilities.keys.errors import UnsupportedOperationException
from pilothouse.capabilities.keys.model import Key, KeyUsage


@operation("kms", "DeriveSharedSecret", asks_itself=True, audited=True)
async def derive_shared_secret(call: Call, request: Shape) -> Shape:
    """The raw ECDH secret of the key and somebody's public key."""
    refuse_recipient(request)
    key, private = await _holder(call, request, "DeriveSharedSecret", KeyUsage.KEY_AGREEMENT)
    secret = asymmetric.agree(private, request["PublicKey"])
    finding.check_dry_run(request.get("DryRun"))
    uses.note(call.house, key, "DeriveSharedSecret", call.request_id)
    return {
        "KeyId": key.arn,
        "SharedSecret": secret,
        "KeyAgreementAlgorithm": request["KeyAgreementAlgorithm"],
        "KeyOrigin": key.origin.value,
    }


@operation("kms", "Encapsulate", asks_itself=True, audited=True)
async def encapsulate(call: Call, request: Shape) -> Shape:
    """A new secret, and the form in which it travels to the key."""
    key, private = await _holder(call, request, "Encapsulate", KeyUsage.ENCAPSULATE_DECAPSULATE)
    finding.check_dry_run(request.get("DryRun"))
    secret, encapsulated = asymmetric.encapsulate(private)
    uses.note(call.house, key, "Encapsulate", call.request_id)
    return {
        "KeyId": key.arn,
        "SharedSecret": secret,
        "SharedSecretCiphertextBlob": encapsulated,
        "EncapsulationAlgorithm": request["EncapsulationAlgorithm"],
    }


@operation("kms", "Decapsulate", asks_itself=True, audited=True)
async def decapsulate(call: Call, request: Shape) -> Shape:
    """The secret that was encapsulated for the key."""
    key, private = await _holder(call, request, "Decapsulate", KeyUsage.ENCAPSULATE_DECAPSULATE)
    secret = asymmetric.decapsulate(private, request["SharedSecretCiphertextBlob"])
    finding.check_dry_run(request.get("DryRun"))
    uses.note(call.house, key, "Decapsulate", call.request_id)
    return {
        "KeyId": key.arn,
        "SharedSecret": secret,
        "EncapsulationAlgorithm": request["EncapsulationAlgorithm"],
    }


def refuse_recipient(request: Shape) -> None:
    """Answers for an attested enclave alone cannot be given: no attestation document is trusted here."""
    if "Recipient" in request:
        raise UnsupportedOperationException("Recipient is not supported.")


async def _holder(call: Call, request: Shape, name: str, usage: KeyUsage) -> tuple[Key, asymmetric.Private]:
    async with call.reading() as tx:
        key = await finding.usable(call, tx, request["KeyId"], name, request=request, usage=usage)
        private = await materials.opened(call.house, tx, key)
    return key, asymmetric.load(private)
