"""Presigned requests of S3's older form (`AWSAccessKeyId`, `Expires`, `Signature` in the query): what they are signed
over. The aws CLI and boto3 still make them by default; signed headers of that form are not accepted.
"""

import hmac
import re
from base64 import b64encode
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote_to_bytes

from pilothouse.errors import IncompleteSignatureException
from pilothouse.wire.http import Request

_KEY: Final = re.compile(r"[A-Za-z0-9-]{1,128}")
_EXPIRES: Final = re.compile(r"[0-9]{1,12}")
_SPACES: Final = re.compile(" {2,}")
_SIGNED_PARAMETERS: Final = frozenset(
    {
        "acl", "cors", "defaultObjectAcl", "delete", "lifecycle", "location", "logging", "notification", "partNumber",
        "policy", "requestPayment", "response-cache-control", "response-content-disposition",
        "response-content-encoding", "response-content-language", "response-content-type", "response-expires",
        "restore", "storageClass", "tagging", "torrent", "uploadId", "uploads", "versionId", "versioning", "versions",
        "website",
    }
)  # fmt: skip
"""Query parameters that the signature covers."""
_OPEN_PARAMETERS: Final = frozenset(
    {
        "AWSAccessKeyId", "Expires", "Signature", "content-md5", "content-type", "continuation-token", "delimiter",
        "encoding-type", "fetch-owner", "key-marker", "list-type", "marker", "max-keys", "max-parts", "max-uploads",
        "part-number-marker", "prefix", "start-after", "upload-id-marker", "x-id",
    }
)  # fmt: skip
"""Those that may stand beside them, though nothing covers them: they say how a list is told. Any other could make
another operation of the request."""


_OF_SIGNATURE: Final = frozenset(
    {
        "x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-expires", "x-amz-security-token",
        "x-amz-signature", "x-amz-signedheaders",
    }
)  # fmt: skip
"""Of the `x-amz-…` parameters those that are the signature's own, in either form."""


@dataclass(frozen=True, slots=True)
class Presigned:
    """A signature of this form, taken out of a query."""

    access_key_id: str
    signature: str
    expires: int
    """Epoch seconds."""
    session_token: str | None = field(repr=False)
    parameters: tuple[tuple[str, str | None], ...]
    """Those that the signature covers, in order; None for those without a value."""


def taken_from(query: str) -> Presigned | None:
    """None if there is none. Raises IncompleteSignatureException."""
    if "AWSAccessKeyId=" not in query:
        return None
    given: dict[str, str | None] = {}
    for pair in query.split("&"):
        name, equals, value = pair.partition("=")
        name = _plain(name)
        if name in given:
            raise IncompleteSignatureException("A parameter of the signature is given twice.")
        given[name] = _plain(value) if equals else None
    key, expires, signature = (given.get(name) or "" for name in ("AWSAccessKeyId", "Expires", "Signature"))
    if not (_KEY.fullmatch(key) and _EXPIRES.fullmatch(expires) and signature):
        raise IncompleteSignatureException(
            "Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters"
        )
    covered = []
    for name, text in sorted(given.items(), key=lambda pair: pair[0]):
        if name in _SIGNED_PARAMETERS:
            covered.append((name, text))
        elif name not in _OPEN_PARAMETERS and not name.lower().startswith("x-amz-"):
            raise IncompleteSignatureException(f"The parameter {name} is not covered by the signature.")
    token = next((text for name, text in given.items() if name.lower() == "x-amz-security-token"), None)
    return Presigned(key, signature, int(expires), token, tuple(covered))


def hoisted(query: str) -> dict[str, str]:
    """The `x-amz-…` headers that a presigned request carries in its query, by lower-case name."""
    found = {}
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        name = _plain(name).lower()
        if name.startswith("x-amz-") and name not in _OF_SIGNATURE:
            found[name] = _plain(value)
    return found


def hoist(request: Request) -> None:
    """Let the headers that a verified query carries count as headers. Raises IncompleteSignatureException, if one is
    there with another value."""
    found = hoisted(request.query)
    for name, value in found.items():
        if request.headers.get(name, value) != value:
            raise IncompleteSignatureException(f"The header {name} is in the query with another value.")
    if found:
        request.headers = {**request.headers, **found}


def signature(request: Request, signed: Presigned, secret: str) -> str:
    """What the signature has to be."""
    headers = request.headers
    amazon = {name: value for name, value in headers.items() if name.startswith("x-amz-")} | hoisted(request.query)
    if signed.session_token is not None:
        amazon["x-amz-security-token"] = signed.session_token
    lines = "".join(f"{name}:{_SPACES.sub(' ', value.strip(' '))}\n" for name, value in sorted(amazon.items()))
    covered = "&".join(name if value is None else f"{name}={value}" for name, value in signed.parameters)
    resource = (
        f"{'/' + request.host_bucket if request.host_bucket else ''}{request.path}{'?' + covered if covered else ''}"
    )
    text = (
        f"{request.method}\n{headers.get('content-md5', '')}\n{headers.get('content-type', '')}\n"
        f"{signed.expires}\n{lines}{resource}"
    )
    return b64encode(hmac.digest(secret.encode(), text.encode("latin-1"), "sha1")).decode()


def _plain(text: str) -> str:
    return unquote_to_bytes(text.replace("+", " ")).decode("latin-1")
