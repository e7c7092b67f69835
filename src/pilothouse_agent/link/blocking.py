"""The server as a child of the agent calls it: one call after the other, without an event loop.

Works of plugins run in children of their own, which may take their time and their memory. They find
the role credentials in the file that the agent keeps fresh.
"""

import contextlib
import hashlib
import http.client
import json
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from xml.etree import ElementTree

from pilothouse_agent.link.api import EXPIRED, SSM, ApiError, json_answer, json_request
from pilothouse_agent.link.https import Response, Unreachable
from pilothouse_agent.link.signing import Credentials, Unsigned, query_string, quoted_path, sign
from pilothouse_agent.link.stored import stored_credentials

T = TypeVar("T")

PIECE = 65_536
_TRIES = 4
_MAX_ANSWER = 16 * 1024 * 1024
_LISTED = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Where the server is and who calls it."""

    host: str
    port: int
    ca_file: Path | None
    region: str
    credentials_file: Path

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == 443 else f"{host}:{self.port}"

    def call(self, operation: str, request: Mapping[str, Any], service: str = SSM) -> dict[str, Any]:
        """A JSON operation. What may pass by itself is tried again. Raises ApiError, Unreachable."""
        body = json.dumps(request).encode()

        def once() -> dict[str, Any]:
            unsigned = json_request(self.authority, service, operation, body, self.region)
            with self._exchange("POST", "/", sign(unsigned, self._credentials()), body) as response:
                return json_answer(_whole(response))

        return _patiently(once)

    def put_object(self, bucket: str, key: str, file: Path, length: int, ending: bytes, content_type: str) -> None:
        """Upload the first bytes of a file, and what follows them, streamed. Raises ApiError, Unreachable, OSError.

        A refusal is tried once more with the canned ACL that the official agent sends: the bucket may ask for it.
        """
        digest = hashlib.sha256()
        for piece in _content(file, length, ending):
            digest.update(piece)
        headers = {
            "content-type": content_type,
            "content-length": str(length + len(ending)),
        }

        def once(**more: str) -> None:
            content = _content(file, length, ending)
            all_headers = {**headers, **more}
            with self._object("PUT", bucket, key, {}, all_headers, content, digest.hexdigest()) as response:
                _object_answer(_whole(response))

        try:
            _patiently(once)
        except ApiError as error:
            if error.code != "AccessDenied":
                raise
            with contextlib.suppress(ApiError):
                _patiently(lambda: once(**{"x-amz-acl": "bucket-owner-full-control"}))
                return
            raise

    @contextmanager
    def get_object(self, bucket: str, key: str) -> Iterator[Iterator[bytes]]:
        """The object's bytes, piece by piece. Raises ApiError, Unreachable."""
        with self._object("GET", bucket, key, {}, {}, None, _digest(b"")) as response:
            if response.status != 200:
                _object_answer(_whole(response))
            yield pieces(response)

    def list_objects(self, bucket: str, prefix: str) -> Iterator[str]:
        """Keys below the prefix. Raises ApiError, Unreachable."""
        query = {"list-type": "2", "prefix": prefix, "max-keys": str(_LISTED)}
        while True:
            with self._object("GET", bucket, "", query, {}, None, _digest(b"")) as response:
                answer = _whole(response)
            _object_answer(answer)
            try:
                root = ElementTree.fromstring(answer.body)  # noqa: S314 -- the node's own server
            except ElementTree.ParseError as error:
                raise Unreachable("the list of objects is no XML") from error
            names = {element.tag.rpartition("}")[2]: element.text or "" for element in root}
            for element in root.iter():
                if element.tag.rpartition("}")[2] == "Key":
                    yield element.text or ""
            if names.get("IsTruncated") != "true" or not names.get("NextContinuationToken"):
                return
            query["continuation-token"] = names["NextContinuationToken"]

    @contextmanager
    def get(self, target: str) -> Iterator[Iterator[bytes]]:
        """A public file of the server. Raises ApiError, Unreachable."""
        with self._exchange("GET", target, {}, None) as response:
            if response.status != 200:
                raise ApiError(response.status, f"HTTP{response.status}", f"{target} cannot be fetched")
            yield pieces(response)

    @contextmanager
    def _object(
        self, method: str, bucket: str, key: str, query: Mapping[str, str], headers: Mapping[str, str],
        body: Iterator[bytes] | None, digest: str,
    ) -> Iterator[http.client.HTTPResponse]:  # fmt: skip
        path = f"/{bucket}/{key}" if key else f"/{bucket}"
        unsigned = Unsigned(
            method=method,
            path=path,
            query=query,
            headers={"host": self.authority, "x-amz-content-sha256": digest, **headers},
            body=b"",
            region=self.region,
            service="s3",
            body_digest=digest,
        )
        target = quoted_path(path) + (f"?{query_string(query)}" if query else "")
        with self._exchange(method, target, sign(unsigned, self._credentials()), body) as response:
            yield response

    @contextmanager
    def _exchange(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes | Iterator[bytes] | None
    ) -> Iterator[http.client.HTTPResponse]:
        connection = http.client.HTTPSConnection(
            self.host, self.port, timeout=30, context=trust(self.ca_file), blocksize=PIECE
        )
        try:
            kept = {name: value for name, value in headers.items() if name != "host"}
            try:
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # refused before the body was through
                    connection.request(method, target, body, {"host": self.authority, **kept})
                response = connection.getresponse()
            except (OSError, http.client.HTTPException) as error:
                raise Unreachable(f"no answer from {self.authority}: {error}") from error
            yield response
        finally:
            connection.close()

    def _credentials(self) -> Credentials:
        """The role credentials as the file has them. Raises Unreachable if it has none (yet)."""
        return stored_credentials(self.credentials_file)


def _content(file: Path, length: int, ending: bytes) -> Iterator[bytes]:
    if length:
        with file.open("rb") as opened:
            while length:
                piece = opened.read(min(PIECE, length))
                if not piece:
                    raise Unreachable(f"{file.name} became shorter while it was sent")
                length -= len(piece)
                yield piece
    if ending:
        yield ending


def trust(ca_file: Path | None) -> ssl.SSLContext:
    """TLS that trusts this authority alone, or the machine's own ones."""
    context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    context.set_alpn_protocols(["http/1.1"])
    return context


def pieces(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """The body, piece by piece. Raises Unreachable if it ends early."""
    while piece := _read(response, PIECE):
        yield piece


def _read(response: http.client.HTTPResponse, size: int) -> bytes:
    try:
        return response.read(size)
    except (OSError, http.client.HTTPException) as error:
        raise Unreachable(f"the answer broke off: {error}") from error


def _patiently(once: Callable[[], T]) -> T:
    """Try again what may pass by itself: no way to the server, trouble of its own, credentials that expired."""
    for number in range(_TRIES):
        try:
            return once()
        except Unreachable:
            if number == _TRIES - 1:
                raise
        except ApiError as error:
            passing = error.status >= 500 or error.code in EXPIRED or "Throttl" in error.code
            if number == _TRIES - 1 or not passing:
                raise
        time.sleep(2.0**number)
    raise AssertionError("unreachable")


def _whole(response: http.client.HTTPResponse) -> Response:
    body = _read(response, _MAX_ANSWER + 1)
    if len(body) > _MAX_ANSWER:
        raise Unreachable("an answer that is too large")
    return Response(
        status=response.status, headers={name.lower(): value for name, value in response.getheaders()}, body=body
    )


def _object_answer(response: Response) -> None:
    """Raises ApiError unless the answer is a success."""
    if response.status < 300:
        return
    code, message = f"HTTP{response.status}", ""
    try:
        root = ElementTree.fromstring(response.body)  # noqa: S314 -- the node's own server
        members = {element.tag.rpartition("}")[2]: element.text or "" for element in root}
        code, message = members.get("Code", code), members.get("Message", "")
    except ElementTree.ParseError:
        pass  # a proxy's page, say: the status must do
    raise ApiError(response.status, code, message[:500])


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
