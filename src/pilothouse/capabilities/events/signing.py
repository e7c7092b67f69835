"""Signatures of webhooks in the Standard Webhooks form: `webhook-id`, `webhook-timestamp`, `webhook-signature`."""

import hmac
from base64 import b64decode, b64encode
from collections.abc import Sequence

PREFIX = "whsec_"


def shown(secret: bytes) -> str:
    """A secret as receivers get it."""
    return PREFIX + b64encode(secret).decode()


def secret_bytes(text: str) -> bytes:
    """The secret in what receivers get. Raises ValueError."""
    if not text.startswith(PREFIX):
        raise ValueError("a webhook secret begins with whsec_")
    return b64decode(text.removeprefix(PREFIX), validate=True)


def signed_headers(message_id: str, epoch: int, body: bytes, secrets: Sequence[bytes]) -> dict[str, str]:
    """The three headers; one signature for each secret, the newest first. `epoch` is seconds."""
    to_sign = f"{message_id}.{epoch}.".encode() + body
    signatures = (b64encode(hmac.digest(secret, to_sign, "sha256")).decode() for secret in secrets)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(epoch),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }
