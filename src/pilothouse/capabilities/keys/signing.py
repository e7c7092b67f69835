"""Sign, Verify."""

import asyncio

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities.keys import asymmetric, finding, materials, uses
from pilothouse.capabilities.keys.model import Key, KeyUsage


@operation("kms", "Sign", asks_itself=True, audited=True)
async def sign(call: Call, request: Shape) -> Shape:
    """A signature of a message, of its digest, or of its prepared representative."""
    algorithm, message = request["SigningAlgorithm"], request["Message"]
    message_type = request.get("MessageType", "RAW")
    key, private = await _signer(call, request, "Sign")
    asymmetric.check_message(algorithm, message, message_type)
    finding.check_dry_run(request.get("DryRun"))
    signature = await asyncio.to_thread(asymmetric.sign, private, algorithm, message, message_type)
    uses.note(call.house, key, "Sign", call.request_id)
    return {"KeyId": key.arn, "Signature": signature, "SigningAlgorithm": algorithm}


@operation("kms", "Verify", asks_itself=True, audited=True)
async def verify(call: Call, request: Shape) -> Shape:
    """Whether a signature is that of the message; one that is not is an error."""
    algorithm, message = request["SigningAlgorithm"], request["Message"]
    message_type = request.get("MessageType", "RAW")
    key, private = await _signer(call, request, "Verify")
    asymmetric.verify(private, algorithm, message, message_type, request["Signature"])
    finding.check_dry_run(request.get("DryRun"))
    uses.note(call.house, key, "Verify", call.request_id)
    return {"KeyId": key.arn, "SignatureValid": True, "SigningAlgorithm": algorithm}


async def _signer(call: Call, request: Shape, name: str) -> tuple[Key, asymmetric.Private]:
    async with call.reading() as tx:
        key = await finding.usable(call, tx, request["KeyId"], name, request=request, usage=KeyUsage.SIGN_VERIFY)
        asymmetric.check_algorithm(request["SigningAlgorithm"], key.key_spec, key.algorithms)
        private = await materials.opened(call.house, tx, key)
    return key, asymmetric.load(private)
