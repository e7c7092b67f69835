"""A master key in the transit engine of OpenBao or Vault. The key never comes here.

The token is read anew for each call, from a file or the environment, so an agent may renew it. TLS is always verified,
by the system's authorities or those of the `ca` file; no redirect is followed and no proxy asked.
"""

import base64
import hashlib
import http.client
import json
import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pilothouse.crypto.master_key import MasterKeyUnreachable, MasterKeyUnusable
from pilothouse.crypto.outside import READ_SECONDS, ask, checked_address, fingerprint_of_place

TOKEN_VARIABLES = ("PILOTHOUSE_TRANSIT_TOKEN", "BAO_TOKEN", "VAULT_TOKEN")
_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_MOUNT = re.compile(r"[A-Za-z0-9_.-]+(?:/[A-Za-z0-9_.-]+)*")
_MOST = 1 << 20


class TransitKey:
    """A named key of a transit mount. The digest of the context lies in the plaintext and is compared."""

    def __init__(self, name: str, address: str, options: Mapping[str, str], environment: Mapping[str, str]) -> None:
        key, mount = options.get("key", ""), options.get("mount", "transit")
        if not _NAME.fullmatch(key) or not _MOUNT.fullmatch(mount):
            raise MasterKeyUnusable("master_key: transit needs key=NAME, and mount=PATH if it is not transit")
        self.name = name
        self.fingerprint = fingerprint_of_place("transit", address.rstrip("/"), mount, key)
        self._address = checked_address(address)
        self._path = f"{self._address.path.rstrip('/')}/v1/{mount}"
        self._key = key
        self._token_file = options.get("token-file")
        self._environment = environment
        self._trust: ssl.SSLContext | None = None
        if self._address.scheme == "https":
            try:
                self._trust = ssl.create_default_context(cafile=options.get("ca"))
            except (OSError, ssl.SSLError) as error:
                raise MasterKeyUnusable(f"master_key: the file {options.get('ca')} holds no certificates") from error

    async def wrap(self, plaintext: bytes, context: str) -> bytes:
        text = base64.b64encode(_digest(context) + plaintext).decode()
        return (await self._asked("encrypt", "ciphertext", plaintext=text)).encode()

    async def unwrap(self, wrapped: bytes, context: str) -> bytes:
        text = await self._asked("decrypt", "plaintext", ciphertext=wrapped.decode("ascii", "replace"))
        try:
            raw = base64.b64decode(text, validate=True)
        except ValueError:
            raise self._stranger() from None
        if raw[:32] != _digest(context):
            raise MasterKeyUnusable(f"what the master key ({self.name}) opened belongs to another place")
        return raw[32:]

    async def rewrap(self, wrapped: bytes, context: str) -> bytes:
        return (await self._asked("rewrap", "ciphertext", ciphertext=wrapped.decode("ascii", "replace"))).encode()

    async def _asked(self, verb: str, member: str, **request: str) -> str:
        return await ask(f"the transit engine ({self.name})", lambda: self._call(verb, member, request))

    def _call(self, verb: str, member: str, request: dict[str, str]) -> str:
        token = self._token()
        connection = self._connection()
        try:
            headers = {"X-Vault-Token": token, "X-Vault-Request": "true", "Content-Type": "application/json"}
            connection.request("POST", f"{self._path}/{verb}/{self._key}", json.dumps(request), headers)
            answer = connection.getresponse()
            status, body = answer.status, answer.read(_MOST)
        except ssl.SSLCertVerificationError as error:
            raise MasterKeyUnusable(
                f"the certificate of the transit engine ({self.name}) is not trusted: {error.verify_message}; "
                "name its authority with ca=FILE"
            ) from None
        except (OSError, http.client.HTTPException) as error:
            raise MasterKeyUnreachable(
                f"the transit engine that keeps the master key ({self.name}) cannot be reached: "
                f"{type(error).__name__}; check the address and that it runs"
            ) from None
        finally:
            connection.close()
        return self._member(status, body, member)

    def _member(self, status: int, body: bytes, member: str) -> str:
        if status == 200:
            try:
                found: Any = json.loads(body)["data"][member]
            except (ValueError, KeyError, TypeError, RecursionError):
                found = None
            if isinstance(found, str) and found:
                return found
            raise self._stranger()
        if status in {429, 472, 473, 500, 502, 503, 504}:
            why = "is sealed or standing by; unseal it" if status == 503 else f"answers {status}; try again"
            raise MasterKeyUnreachable(f"the transit engine that keeps the master key ({self.name}) {why}")
        what = {
            403: "the token is wrong, has ended, or its policy lacks update on encrypt, decrypt and rewrap of the key",
            404: "there is no such mount or key",
            400: "the key does not open this, or is not for encryption",
        }.get(status, "check the address")
        raise MasterKeyUnusable(
            f"the transit engine that keeps the master key ({self.name}) refuses ({status}): {what}"
        )

    def _stranger(self) -> MasterKeyUnusable:
        return MasterKeyUnusable(f"what answers at {self.name} is no transit engine; check the address")

    def _connection(self) -> http.client.HTTPConnection:
        host, port = self._address.hostname or "", self._address.port
        if self._trust is not None:
            return http.client.HTTPSConnection(host, port, timeout=READ_SECONDS, context=self._trust)
        return http.client.HTTPConnection(host, port, timeout=READ_SECONDS)

    def _token(self) -> str:
        if self._token_file is not None:
            try:
                token = Path(self._token_file).read_text("ascii").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise MasterKeyUnusable(f"the token file {self._token_file} cannot be read") from error
        else:
            token = next((self._environment[name] for name in TOKEN_VARIABLES if self._environment.get(name)), "")
        if not token or not token.isprintable() or " " in token:
            raise MasterKeyUnusable(
                f"there is no token for {self.name}: add token-file=FILE, or set {TOKEN_VARIABLES[0]}"
            )
        return token


def _digest(context: str) -> bytes:
    return hashlib.sha256(context.encode()).digest()
