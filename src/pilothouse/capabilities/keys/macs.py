"""GenerateMac, VerifyMac."""

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities.keys import asymmetric, finding, mac, materials, uses
from pilothouse.capabilities.keys.model import Key, KeyUsage


@operation("kms", "GenerateMac", asks_itself=True, audited=True)
async def generate_mac(call: Call, request: Shape) -> Shape:
    """The MAC of a message."""
    key, secret = await _authenticator(call, request, "GenerateMac")
    finding.check_dry_run(request.get("DryRun"))
    uses.note(call.house, key, "GenerateMac", call.request_id)
    made = mac.authenticate(secret, request["MacAlgorithm"], request["Message"])
    return {"Mac": made, "MacAlgorithm": request["MacAlgorithm"], "KeyId": key.arn}


@operation("kms", "VerifyMac", asks_itself=True, audited=True)
async def verify_mac(call: Call, request: Shape) -> Shape:
    """Whether a MAC is that of the message; one that is not is an error."""
    key, secret = await _authenticator(call, request, "VerifyMac")
    mac.verify(secret, request["MacAlgorithm"], request["Message"], request["Mac"])
    finding.check_dry_run(request.get("DryRun"))
    uses.note(call.house, key, "VerifyMac", call.request_id)
    return {"KeyId": key.arn, "MacValid": True, "MacAlgorithm": request["MacAlgorithm"]}


async def _authenticator(call: Call, request: Shape, name: str) -> tuple[Key, bytes]:
    async with call.reading() as tx:
        key = await finding.usable(
            call, tx, request["KeyId"], name, request=request, usage=KeyUsage.GENERATE_VERIFY_MAC
        )
        asymmetric.check_algorithm(request["MacAlgorithm"], key.key_spec, key.algorithms)
        secret = await materials.opened(call.house, tx, key)
    return key, secret
