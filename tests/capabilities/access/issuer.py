"""An OpenID Connect issuer of the tests' own, over HTTPS on the loopback address."""

import contextlib
import json
import ssl
import threading
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from uuid import uuid4

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
        self.secret: str | None = None
        self.proof = "basic"
        self.codes: dict[str, tuple[dict[str, str], dict[str, Any]]] = {}
        self.forms: list[dict[str, str]] = []

    @property
    def url(self) -> str:
        return f"https://{self.host}/realm"

    def answer(self, path: str) -> Any:
        if path == "/realm/.well-known/openid-configuration":
            return {
                "issuer": self.named or self.url,
                "jwks_uri": self.jwks_uri or f"{self.url}/keys",
                "authorization_endpoint": f"{self.url}/authorize?tenant=t1",
                "token_endpoint": f"{self.url}/token",
                "token_endpoint_auth_methods_supported": [f"client_secret_{self.proof}"],
            }
        self.asked += 1
        return {"keys": self.keys}

    def sent(self, url: str, **claims: Any) -> dict[str, str]:
        """What comes back with a person who was sent to the URL and signed in: code and state."""
        asked = dict(parse_qsl(urlsplit(url).query))
        assert url.startswith(f"{self.url}/authorize?tenant=t1&")
        assert (asked["tenant"], asked["response_type"], asked["code_challenge_method"]) == ("t1", "code", "S256")
        assert "openid" in asked["scope"].split()
        code = uuid4().hex
        self.codes[code] = asked, claims
        return {"Code": code, "State": asked["state"]}

    def exchanged(self, body: str, authorization: str) -> Any:
        """The answer of the token endpoint: a code counts once, with its verifier, for the client it was made for."""
        form = dict(parse_qsl(body))
        self.forms.append(form)
        asked, claims = self.codes.pop(form.get("code", ""), ({}, {}))
        challenge = urlsafe_b64encode(sha256(form.get("code_verifier", "").encode()).digest()).decode().rstrip("=")
        client, secret = form.get("client_id"), form.get("client_secret")
        if authorization:
            client, _, secret = b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
        good = (
            asked.get("code_challenge") == challenge
            and asked.get("redirect_uri") == form.get("redirect_uri")
            and (asked.get("client_id"), self.secret) == (client, secret)
            and form.get("grant_type") == "authorization_code"
        )
        if not good:
            return None
        return {"token_type": "Bearer", "id_token": self.token(**{"nonce": asked["nonce"], **claims})}

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

        def do_POST(self) -> None:
            form = self.rfile.read(int(self.headers["content-length"])).decode()
            answer = issuer.exchanged(form, self.headers.get("authorization", ""))
            body = json.dumps(answer or {"error": "invalid_grant"}).encode()
            self.send_response(200 if answer else 400)
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
