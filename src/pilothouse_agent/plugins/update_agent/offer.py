"""What the server offers: the manifest of the agent's file, signed with the key that the node trusts anyway.

The format is in docs/reference/agent.md. The signature is the server's authority's (ca.pem): whoever
could only take over the connection, or the server's TLS certificate, cannot make the agent run code.
"""

import base64
import json
import re
from dataclasses import dataclass
from pathlib import Path

from pilothouse_agent.link.blocking import Server
from pilothouse_agent.plugins.supervisor import WorkFailed

PATH = "/agent/pilothouse-agent.json"
PURPOSE = b"pilothouse-agent manifest 1\n"
"""Before the manifest in what is signed, so that no other signature of that key can pose as one."""

_MOST = 65_536
_VERSION = re.compile(r"[0-9]+(?:\.[0-9]+){1,3}\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A version that can be had."""

    version: str
    file: str
    sha256: str
    size: int


def fetch(server: Server, authority: Path | None) -> Offer:
    """Raises WorkFailed, ApiError, Unreachable."""
    if authority is None:
        raise WorkFailed(
            "this node was registered without --ca, so it has no key to check an update with; "
            "run the install script of the server again, with --ca or --ca-sha256"
        )
    data = bytearray()
    with server.get(PATH) as content:
        for piece in content:
            data += piece
            if len(data) > _MOST:
                raise WorkFailed("the manifest of the agent is too large")
    return read(bytes(data), authority.read_bytes())


def read(data: bytes, authority: bytes) -> Offer:
    """The offer, if its signature is good. Raises WorkFailed."""
    try:
        answer = json.loads(data)
        text = str(answer["manifest"]).encode()
        signature = base64.b64decode(answer["signature"], validate=True)
    except (ValueError, KeyError, TypeError) as error:
        raise WorkFailed("the manifest of the agent cannot be read") from error
    _verify(authority, PURPOSE + text, signature)
    try:
        members = json.loads(text)
        offer = Offer(version=members["version"], file=members["file"], sha256=members["sha256"], size=members["size"])
        good = members["name"] == "pilothouse-agent" and _VERSION.match(offer.version) and _SHA256.match(offer.sha256)
        good = good and re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", offer.file) and isinstance(offer.size, int)
    except (ValueError, KeyError, TypeError):
        good = False
    if not good:
        raise WorkFailed("the manifest of the agent is not as it must be")
    return offer


def _verify(authority: bytes, text: bytes, signature: bytes) -> None:
    """Raises WorkFailed unless one of the authority's certificates made the signature."""
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

    for certificate in x509.load_pem_x509_certificates(authority):
        key = certificate.public_key()
        try:
            if isinstance(key, ec.EllipticCurvePublicKey):
                key.verify(signature, text, ec.ECDSA(hashes.SHA256()))
                return
            if isinstance(key, rsa.RSAPublicKey):
                key.verify(signature, text, padding.PKCS1v15(), hashes.SHA256())
                return
        except InvalidSignature:
            continue
    raise WorkFailed("the signature of the agent's manifest is not that of the server's authority. Nothing was changed")


def order_of(version: str) -> tuple[int, ...]:
    """Versions compare by it."""
    return tuple(int(part) for part in version.split("."))
