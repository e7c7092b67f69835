"""A process that answers as the transit engine of OpenBao and Vault does: encrypt, decrypt, rewrap, rotate."""

import base64
import json
import secrets
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

TOKEN = "s.right-token"


class Engine(BaseHTTPRequestHandler):
    """One mount with keys by name; a file named by the second argument seals it while it exists."""

    keys: ClassVar[dict[str, list[bytes]]] = {"pilothouse": [secrets.token_bytes(32)]}
    sealed = False

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))) or "{}")
        parts = self.path.split("/")
        if self.path == "/v1/sys/seal":
            Engine.sealed = True
            return self._answer(204, None)
        if self.path == "/v1/sys/unseal":
            Engine.sealed = False
            return self._answer(200, {"sealed": False})
        if Engine.sealed:
            return self._answer(503, {"errors": ["Vault is sealed"]})
        if self.headers.get("x-vault-token") != TOKEN:
            return self._answer(403, {"errors": ["permission denied"]})
        if parts[:3] != ["", "v1", "transit"]:
            return self._answer(404, {"errors": ["no handler for route"]})
        if parts[3] == "keys" and parts[5:] == ["rotate"] and parts[4] in self.keys:
            self.keys[parts[4]].append(secrets.token_bytes(32))
            return self._answer(200, {"data": {"latest_version": len(self.keys[parts[4]])}})
        verb, name = parts[3], parts[4]
        if name not in self.keys:
            return self._answer(400, {"errors": ["encryption key not found"]})
        try:
            return self._answer(200, {"data": self._done(verb, self.keys[name], body)})
        except (KeyError, ValueError, IndexError, InvalidTag):
            return self._answer(400, {"errors": ["invalid ciphertext"]})

    def _done(self, verb: str, versions: list[bytes], body: dict[str, str]) -> dict[str, object]:
        if verb == "encrypt":
            return self._encrypted(versions, base64.b64decode(body["plaintext"], validate=True))
        form, version, text = body["ciphertext"].split(":")
        if form != "vault":
            raise ValueError(form)
        raw = base64.b64decode(text, validate=True)
        plaintext = AESGCM(versions[int(version[1:]) - 1]).decrypt(raw[:12], raw[12:], None)
        if verb == "rewrap":
            return self._encrypted(versions, plaintext)
        return {"plaintext": base64.b64encode(plaintext).decode()}

    def _encrypted(self, versions: list[bytes], plaintext: bytes) -> dict[str, object]:
        nonce = secrets.token_bytes(12)
        raw = nonce + AESGCM(versions[-1]).encrypt(nonce, plaintext, None)
        return {
            "ciphertext": f"vault:v{len(versions)}:{base64.b64encode(raw).decode()}",
            "key_version": len(versions),
        }

    def _answer(self, status: int, body: object) -> None:
        content = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Engine)
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever()
