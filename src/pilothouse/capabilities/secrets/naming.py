"""What policies are asked about."""

from pilothouse.call import Call, Shape
from pilothouse.capabilities.secrets.model import ResourceNotFoundException, arn, references
from pilothouse.capabilities.secrets.store import SecretStore
from pilothouse.errors import ValidationException


async def named(call: Call, request: Shape) -> list[str]:
    """What policies are asked about: the secret's whole ARN, however it was named, or where there is none yet its name
    with any suffix. One of another account is named by its ARN."""
    secret_id = request.get("SecretId") or request.get("Name")
    if secret_id is None:
        return ["*"]
    try:
        async with call.reading() as tx:
            for reference in references(secret_id, call.account_id, call.region):
                if reference.account_id != call.account_id:
                    return [secret_id]
                secret = await SecretStore(tx, call.account_id, call.region).secret(reference.name)
                if secret is not None and reference.suffix in (None, secret.suffix):
                    return [secret.arn]
    except (ResourceNotFoundException, ValidationException):
        pass  # no secret has such a name: policies are asked about it as it stands, and the handler says what is wrong
    return [secret_id if secret_id.startswith("arn:") else arn(call.account_id, call.region, secret_id, "??????")]
