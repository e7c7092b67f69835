"""References to secrets: `/aws/reference/secretsmanager/SECRET`, answered by the secrets of the account."""

import base64

import msgspec

from pilothouse.call import Call, Shape
from pilothouse.capabilities import secrets
from pilothouse.capabilities.parameters.model import SECURE, ParameterNotFound
from pilothouse.capabilities.parameters.names import SECRETS, arn
from pilothouse.errors import ValidationException
from pilothouse.runtime.clock import from_millis
from pilothouse.storage import Transaction


async def secret_parameter(call: Call, tx: Transaction, text: str, *, decrypt: bool) -> Shape:
    """The Parameter that stands for a secret; a selector is a version's id or a staging label.

    Raises ValidationException where the call does not decrypt, ParameterNotFound.
    """
    if not decrypt:
        raise ValidationException("WithDecryption flag must be True for retrieving a Secret Manager secret.")
    secret_id, _, selector = text.removeprefix(SECRETS).partition(":")
    secret = await secrets.referenced(call, tx, secret_id, selector or None)
    if secret is None:
        raise ParameterNotFound(
            f"An error occurred (ParameterNotFound) when referencing Secrets Manager: Secret {text} not found."
        )
    value = base64.b64encode(secret.value).decode() if secret.is_binary else secret.value.decode()
    name = f"{SECRETS}{secret_id}"
    answer: Shape = {
        "Name": name,
        "Type": SECURE,
        "Value": value,
        "Version": 0,
        "SourceResult": msgspec.json.encode(
            {
                "ARN": secret.arn,
                "name": secret.name,
                "versionId": secret.version_id,
                "secretBinary" if secret.is_binary else "secretString": value,
                "versionStages": list(secret.stages),
                "createdDate": secret.created_at / 1000,
            }
        ).decode(),
        "LastModifiedDate": from_millis(secret.created_at),
        "ARN": arn(call.account_id, call.region, name),
        "DataType": "text",
    }
    if selector:
        answer["Selector"] = f":{selector}"
    return answer
