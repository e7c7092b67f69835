"""What policies are asked about."""

from collections.abc import Iterable

from pilothouse.call import Call, Shape
from pilothouse.capabilities.secrets.model import arn


def named(call: Call, request: Shape) -> Iterable[str]:
    """What policies are asked about: the secret by its ARN, or by its name with any suffix."""
    secret_id = request.get("SecretId") or request.get("Name") or "*"
    if secret_id.startswith("arn:"):
        return [secret_id]
    return [arn(call.account_id, call.region, secret_id, "??????")]
