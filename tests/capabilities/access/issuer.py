"""An OpenID Connect issuer of the tests' own, over HTTPS on the loopback address."""

import contextlib
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from pilothouse.crypto.certificates import ensure_certificates
from pilothouse.runtime.clock import Clock
from pilothouse.wire.server import tls_context

RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())


def rsa_jwk(key: rsa.RSAPrivateKey, key_id: str, **more: Any) -> dict[str, Any]:
    return dict(RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)) | {"kid": key_id, "use": "sig"} | more


def ec_jwk(key: ec.EllipticCurvePrivateKey, key_id: str) -> dict[str, Any]:
    return dict(ECAlgorithm.to_jwk(key.public_key(), as_dict=True)) | {"kid": key_id}


class Issuer:
    """What it publishes, and how often it was asked for its keys."""

    def __init__(self) -> None:
        self.host = ""
        self.keys = [rsa_jwk(RSA_KEY, "r1", alg="RS256"), ec_jwk(EC_KEY, "e1")]
        self.status = 200
        self.asked = 0
        self.named = ""
        self.jwks_uri = ""
        self.clock: Clock

    @property
    def url(self) -> str:
        return f"https://{self.host}/realm"

    def answer(self, path: str) -> Any:
        if path == "/realm/.well-known/openid-configuration":
            return {"issuer": self.named or self.url, "jwks_uri": self.jwks_uri or f"{self.url}/keys"}
        self.asked += 1
        return {"keys": self.keys}

    def token(self, key: Any = RSA_KEY, algorithm: str = "RS256", key_id: str | None = "r1", **claims: Any) -> str:
        """A token by the house's clock; a claim of None is left out."""
        now = self.clock.millis() // 1000
        whole = {"iss": self.url, "aud": "ours", "sub": "build:main", "iat": now, "exp": now + 600} | claims
        kept = {name: value for name, value in whole.items() if value is not None}
        return jwt.encode(kept, key, algorithm, headers={"kid": key_id} if key_id else {})


@contextmanager
def issuing(folder: Path) -> Iterator[Issuer]:
    """The issuer, while it can be asked; `folder/ca.pem` vouches for it."""
    issuer = Issuer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = json.dumps(issuer.answer(self.path)).encode()
            self.send_response(issuer.status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def setup(self) -> None:
            with contextlib.suppress(OSError):
                self.request.do_handshake()
            super().setup()

        def log_message(self, *_: object) -> None:
            """Quiet."""

    context: ssl.SSLContext = tls_context(*ensure_certificates(folder, ("issuer.example",), datetime.now(UTC)))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    issuer.host = f"127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
