"""Signatures of requests: AWS Signature Version 4, with HMAC or with the node's RSA key.

Source of the RSA form: agent-protocol 3.1. The string to sign is that of Signature Version 4; its
signature is RSASSA-PSS with SHA-256, MGF1-SHA256 and a salt of 32 bytes, in base64.
"""

import base64
import hashlib
import hmac
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

from pilothouse_agent.times import amz_date

_ALGORITHM = "AWS4-HMAC-SHA256"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Temporary role credentials of the node; the secret halves stay out of any repr."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str = field(repr=False)
    expires_at: float
    """Epoch seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsigned:
    """A request before it is signed. headers have lower-case names and hold all that is to be signed but the date."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    region: str
    service: str
    body_digest: str = ""
    """Of a body that is not in memory: its SHA-256 in hex."""

    @property
    def payload_digest(self) -> str:
        return self.body_digest or hashlib.sha256(self.body).hexdigest()


def query_string(query: Mapping[str, str]) -> str:
    """Sorted and encoded: the canonical form, which is also what goes on the wire."""
    return "&".join(sorted(f"{quote(key, safe='-_.~')}={quote(value, safe='-_.~')}" for key, value in query.items()))


def quoted_path(path: str) -> str:
    """The path as it is signed and as it goes on the wire."""
    return quote(path, safe="/-_.~")


def string_to_sign(request: Unsigned, date: str) -> tuple[str, str, str]:
    """The string to sign, the credential scope and the list of signed headers."""
    headers = {**request.headers, "x-amz-date": date}
    signed = ";".join(sorted(headers))
    canonical = "\n".join(
        [
            request.method,
            quoted_path(request.path),
            query_string(request.query),
            *(f"{name}:{' '.join(headers[name].split())}" for name in sorted(headers)),
            "",
            signed,
            request.payload_digest,
        ]
    )
    scope = f"{date[:8]}/{request.region}/{request.service}/aws4_request"
    return f"{_ALGORITHM}\n{date}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}", scope, signed


def sign(request: Unsigned, credentials: Credentials, date: str | None = None) -> dict[str, str]:
    """All headers of the request, signed with role credentials."""
    date = date or amz_date()
    token = {"x-amz-security-token": credentials.session_token} if credentials.session_token else {}
    with_token = Unsigned(
        method=request.method,
        path=request.path,
        query=request.query,
        headers={**request.headers, **token},
        body=request.body,
        region=request.region,
        service=request.service,
        body_digest=request.body_digest,
    )
    text, scope, signed = string_to_sign(with_token, date)
    key = f"AWS4{credentials.secret_access_key}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    return _headers(with_token, date, credentials.access_key_id, scope, signed, signature)


async def sign_with_key(
    request: Unsigned, instance_id: str, rsa: Callable[[bytes], Awaitable[bytes]], date: str | None = None
) -> dict[str, str]:
    """All headers of the request, signed with the node's key; rsa makes the raw PSS signature."""
    date = date or amz_date()
    text, scope, signed = string_to_sign(request, date)
    signature = base64.b64encode(await rsa(text.encode())).decode()
    return _headers(request, date, instance_id, scope, signed, signature)


def _headers(request: Unsigned, date: str, key_id: str, scope: str, signed: str, signature: str) -> dict[str, str]:
    return {
        **request.headers,
        "x-amz-date": date,
        "x-amz-content-sha256": request.payload_digest,
        "authorization": f"{_ALGORITHM} Credential={key_id}/{scope}, SignedHeaders={signed}, Signature={signature}",
    }
