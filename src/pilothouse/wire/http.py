"""Requests and responses as the house sees them, free of any HTTP server."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pilothouse.wire.aws_chunked import Seed

_ONCE = frozenset({"authorization", "host", "content-length", "content-type", "transfer-encoding"})
"""Headers of which a second one makes the request ambiguous. `x-amz-…` headers are added to them: all are signed."""


_NAMES = {
    name.encode(): name
    for name in (
        *_ONCE, "accept-encoding", "amz-sdk-invocation-id", "amz-sdk-request", "connection", "user-agent", "x-amz-date",
        "x-amz-target",
    )
}  # fmt: skip
"""Header names that nearly every call has; looked up, not decoded."""


class BadRequest(Exception):
    """The HTTP request itself is malformed; it never reaches a protocol."""


class ClientLeft(Exception):
    """The client left before its request was whole: there is nobody to answer."""


@dataclass(slots=True)
class Request:
    """One HTTP request, mostly with its whole body."""

    method: str
    path: str
    """As sent: percent-encoded, without the query. Signatures are made over this form."""
    query: str
    """As sent, without the question mark."""
    headers: Mapping[str, str]
    """Lower-case names; values are latin-1 text, so that their bytes can be had back."""
    body: bytes = field(repr=False)
    peer: str
    """The client's IP address."""
    secure: bool
    """Whether it came over TLS."""
    gone: Callable[[], Awaitable[None]] | None = field(default=None, repr=False)
    """Returns when the client has left. For answers that take long; None where no connection stands behind."""
    pieces: Callable[[], Awaitable[bytes]] | None = field(default=None, repr=False)
    """Of requests whose body comes as a stream: the next piece of it, empty at the end; `body` is empty then. Raises
    ClientLeft, RequestTimeout."""
    host_bucket: str = ""
    """Of requests of S3: the bucket that the host names, if it does."""
    seed: "Seed | None" = field(default=None, repr=False)
    """What signed chunks of the body are verified by, once the signature was."""

    async def next_piece(self) -> bytes:
        """The next piece of the body, from wherever it comes; empty at its end."""
        if self.pieces is not None:
            return await self.pieces()
        piece, self.body = self.body, b""
        return piece


Write = Callable[[bytes], Awaitable[None]]
"""Takes a piece of a body; returns once the client has room for the next."""


@dataclass(slots=True)
class Response:
    """One HTTP answer. Names in `headers` are lower-case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    stream: Callable[[Write], Awaitable[None]] | None = field(default=None, repr=False)
    """Writes the body piece by piece instead, for answers without an end; the answer ends when it returns."""
    signed: bool = False
    """Whether the request had a good signature, whatever came of it."""


RouteHandler = Callable[[Request], Awaitable[Response]]


def header_map(raw: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    """Headers by name, which the server gives in lower case; repeated ones are joined by a comma.

    Raises BadRequest for a second one of a header that must be single (host, authorization, anything signed by AWS).
    """
    headers = {_NAMES.get(name) or name.decode("latin-1"): value.decode("latin-1") for name, value in raw}
    return headers if len(headers) == len(raw) else _joined(raw)


def _joined(raw: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for raw_name, raw_value in raw:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        if name in headers:
            if name in _ONCE or name.startswith("x-amz-"):
                raise BadRequest(f"The header {name} may be given once only.")
            value = f"{headers[name]},{value}"
        headers[name] = value
    return headers


def text_response(status: int, text: str, **headers: str) -> Response:
    """A plain-text answer for what no protocol claims; `_` in header names stands for `-`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(status, {"content-type": "text/plain; charset=utf-8", **named}, text.encode())
