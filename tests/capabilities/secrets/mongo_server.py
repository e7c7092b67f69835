"""A server of users that speaks MongoDB's wire protocol: logins by SCRAM-SHA-256, and the commands that manage users.

No package brings MongoDB's own server to where the tests run. What is here keeps its protocol (OP_MSG, and OP_QUERY for
the first hello), its codes of errors and who may do what, so that the real driver can be tried; it stores nothing else.
"""

import base64
import hashlib
import hmac
import secrets
import socketserver
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import bson

_ITERATIONS: Final = 4096
_HEAD: Final = struct.Struct("<iiii")
_QUERY, _REPLY, _MESSAGE = 2004, 1, 2013
_OPEN: Final = frozenset({"hello", "isMaster", "ismaster", "saslStart", "saslContinue", "ping", "endSessions"})


@dataclass
class User:
    """Kept as the server does: never the password."""

    roles: list[dict[str, str]]
    salt: bytes = b""
    salted: bytes = b""

    def give(self, password: str) -> None:
        self.salt = secrets.token_bytes(28)
        self.salted = hashlib.pbkdf2_hmac("sha256", password.encode(), self.salt, _ITERATIONS)


class Failed(Exception):
    """An answer that is none: its code and name."""


@dataclass
class Users:
    """All users, by database and name, and what was asked."""

    by_name: dict[tuple[str, str], User] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    is_primary: bool = True
    waits_for_more: bool = False
    """It takes the beginning of TLS for that of a long message, and says nothing, as some servers do."""

    def add(self, name: str, password: str, *roles: str, database: str = "admin") -> None:
        user = User([{"role": role, "db": database} for role in roles])
        user.give(password)
        self.by_name[database, name] = user


class _Connection(socketserver.BaseRequestHandler):
    server: "_Server"

    def setup(self) -> None:
        self.user: tuple[str, str] | None = None
        self._exchange: tuple[tuple[str, str], str, str] | None = None
        self.request.settimeout(30)
        if self.server.tls is not None:
            self.request = self.server.tls.wrap_socket(self.request, server_side=True)

    def finish(self) -> None:
        self.request.close()

    def _read(self, count: int) -> bytes:
        found = b""
        while len(found) < count:
            more = self.request.recv(count - len(found))
            if not more:
                raise EOFError
            found += more
        return found

    def handle(self) -> None:
        try:
            while True:
                length, number, _, kind = _HEAD.unpack(self._read(16))
                if kind not in (_QUERY, _MESSAGE):  # the beginning of TLS, which the server tells in this way too
                    if self.server.users.waits_for_more:
                        self._read(1 << 20)
                    return
                body = self._read(length - 16)
                self._answer(number, kind, body)
        except (OSError, EOFError):
            return

    def _answer(self, number: int, kind: int, body: bytes) -> None:
        if kind == _QUERY:
            said = bson.decode(body[body.index(b"\0", 4) + 9 :])
            answer = bson.encode(self._done(said, "admin"))
            out = struct.pack("<iqii", 8, 0, 0, 1) + answer
            self.request.sendall(_HEAD.pack(16 + len(out), 0, number, _REPLY) + out)
            return
        assert kind == _MESSAGE
        assert body[4] == 0, "a section of documents, which no command here has"
        said = bson.decode(body[5:])
        answer = b"\0\0\0\0\0" + bson.encode(self._done(said, said["$db"]))
        self.request.sendall(_HEAD.pack(16 + len(answer), 0, number, _MESSAGE) + answer)

    def _done(self, said: dict[str, Any], database: str) -> dict[str, Any]:
        name = next(iter(said))
        try:
            with self.server.lock:
                self.server.users.asked.append(name)
                if name not in _OPEN and self.user is None:
                    raise Failed(13, "Unauthorized")
                found = getattr(self, f"do_{name.lower()}", None)
                if found is None:
                    raise Failed(59, "CommandNotFound")
                return {**found(said, database), "ok": 1.0}
        except Failed as failed:
            code, kind = failed.args
            return {"ok": 0.0, "errmsg": f"{kind}: {said!r}", "code": code, "codeName": kind}

    # Commands

    def do_hello(self, said: dict[str, Any], _database: str) -> dict[str, Any]:
        found = {
            "helloOk": True, "isWritablePrimary": self.server.users.is_primary,
            "ismaster": self.server.users.is_primary, "maxBsonObjectSize": 16 << 20, "maxMessageSizeBytes": 48_000_000,
            "maxWriteBatchSize": 100_000, "localTime": datetime.now(UTC), "minWireVersion": 0, "maxWireVersion": 21,
            "readOnly": False,
        }  # fmt: skip
        if "saslSupportedMechs" in said:
            found["saslSupportedMechs"] = ["SCRAM-SHA-256"]
        return found

    do_ismaster = do_hello

    def do_ping(self, _said: dict[str, Any], _database: str) -> dict[str, Any]:
        return {}

    do_endsessions = do_ping

    def do_saslstart(self, said: dict[str, Any], database: str) -> dict[str, Any]:
        assert said["mechanism"] == "SCRAM-SHA-256"
        first = bytes(said["payload"]).decode().removeprefix("n,,")
        members = dict(part.split("=", 1) for part in first.split(","))
        who = database, members["n"].replace("=2C", ",").replace("=3D", "=")
        if who not in self.server.users.by_name:
            raise Failed(18, "AuthenticationFailed")
        salt = base64.b64encode(self.server.users.by_name[who].salt).decode()
        answer = f"r={members['r']}{secrets.token_urlsafe(18)},s={salt},i={_ITERATIONS}"
        self._exchange = who, first, answer
        return {"conversationId": 1, "done": False, "payload": answer.encode()}

    def do_saslcontinue(self, said: dict[str, Any], _database: str) -> dict[str, Any]:
        assert self._exchange is not None
        who, first, answer = self._exchange
        last, _, proof = bytes(said["payload"]).decode().partition(",p=")
        user = self.server.users.by_name[who]
        spoken = f"{first},{answer},{last}".encode()
        key = hmac.digest(user.salted, b"Client Key", "sha256")
        signature = hmac.digest(hashlib.sha256(key).digest(), spoken, "sha256")
        expected = bytes(a ^ b for a, b in zip(key, signature, strict=True))
        if not hmac.compare_digest(expected, base64.b64decode(proof)):
            raise Failed(18, "AuthenticationFailed")
        self.user = who
        verifier = hmac.digest(hmac.digest(user.salted, b"Server Key", "sha256"), spoken, "sha256")
        return {"conversationId": 1, "done": True, "payload": b"v=" + base64.b64encode(verifier)}

    def _must_have(self, role: str) -> None:
        assert self.user is not None
        if role not in {each["role"] for each in self.server.users.by_name[self.user].roles}:
            raise Failed(13, "Unauthorized")

    def do_usersinfo(self, said: dict[str, Any], database: str) -> dict[str, Any]:
        who = database, said["usersInfo"]
        if who != self.user:
            self._must_have("userAdmin")
        user = self.server.users.by_name.get(who)
        if user is None:
            return {"users": []}
        return {"users": [
            {"_id": ".".join(who), "user": who[1], "db": database, "roles": user.roles, "mechanisms": ["SCRAM-SHA-256"]}
        ]}  # fmt: skip

    def do_createuser(self, said: dict[str, Any], database: str) -> dict[str, Any]:
        self._must_write()
        self._must_have("userAdmin")
        who = database, said["createUser"]
        if who in self.server.users.by_name:
            raise Failed(51003, "Location51003")
        user = User(said["roles"])
        user.give(said["pwd"])
        self.server.users.by_name[who] = user
        return {}

    def do_updateuser(self, said: dict[str, Any], database: str) -> dict[str, Any]:
        self._must_write()
        who = database, said["updateUser"]
        self._must_have("changeOwnPassword" if who == self.user else "userAdmin")
        if who not in self.server.users.by_name:
            raise Failed(11, "UserNotFound")
        self.server.users.by_name[who].give(said["pwd"])
        return {}

    def _must_write(self) -> None:
        if not self.server.users.is_primary:
            raise Failed(10107, "NotWritablePrimary")


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, users: Users, tls: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.users, self.tls, self.lock = users, tls, threading.Lock()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that wants TLS where there is none, and the like: it sees that itself."""


@contextmanager
def mongo_server(certificate: tuple[Path, Path] | None = None) -> Iterator[tuple[int, Users]]:
    """The port, and its users. `certificate`: with its key; then it speaks nothing but TLS."""
    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
    users = Users()
    with _Server(users, context) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server.server_address[1], users
        finally:
            server.shutdown()
            thread.join()
