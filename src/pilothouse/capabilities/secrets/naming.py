"""What policies are asked about."""

from pilothouse.call import Call, Shape
from pilothouse.capabilities.secrets.finding import arn_of, found
from pilothouse.capabilities.secrets.model import ResourceNotFoundException, arn
from pilothouse.capabilities.secrets.store import SecretStore
from pilothouse.errors import ValidationException


async def named(call: Call, request: Shape) -> list[str]:
    """What policies are asked about: the secret's whole ARN, however it was named, or where there is none yet its name
    with any suffix."""
    secret_id = request.get("SecretId") or request.get("Name") or "*"
    try:
        async with call.reading() as tx:
            return [arn_of(call, await found(call, SecretStore(tx, call.account_id, call.region), secret_id))]
    except (ResourceNotFoundException, ValidationException):
        return [secret_id if secret_id.startswith("arn:") else arn(call.account_id, call.region, secret_id, "??????")]
