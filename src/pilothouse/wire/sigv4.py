"""Signature Version 4: who signed this request. Nothing else in the house reads credentials from a request.

`Authenticator.principal` gives a principal or raises the error that AWS answers; there is no third outcome. Parsing is
pure and cached: the part of the Authorization header before the signature is the same for all requests of a client on
one day, and so is the signing key.
"""

import asyncio
import hmac
import re
from base64 import b64decode
from binascii import Error as NotBase64
from calendar import timegm
from collections.abc import Awaitable, Callable
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from time import strptime
from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes

from pilothouse.crypto.macs import Mac
from pilothouse.errors import (
    AccessDeniedException,
    ApiError,
    IncompleteSignatureException,
    InvalidSignatureException,
    MissingAuthenticationTokenException,
    PresignedExpiredException,
    SignatureOutOfTimeException,
    UnrecognizedClientException,
)
from pilothouse.identity.credentials import Credentials
from pilothouse.identity.principals import ANONYMOUS, Principal
from pilothouse.rest_errors import InvalidRequest
from pilothouse.runtime.clock import Clock
from pilothouse.wire import sigv2
from pilothouse.wire.aws_chunked import MODES, Seed
from pilothouse.wire.guesses import Guesses
from pilothouse.wire.http import Request

ALGORITHM = "AWS4-HMAC-SHA256"
USER_SKEW = 5
"""Minutes that a signature's date may differ from the clock; more for nodes, which cannot correct their clocks."""
NODE_SKEW = 15
MAX_EXPIRES = 604_800

SIGNED_BY_NODE_KEY = frozenset(
    {"AmazonSSM.RequestManagedInstanceRoleToken", "AmazonSSM.UpdateManagedInstancePublicKey"}
)
"""The only targets that a node may sign with its own key pair; for all others it uses its role credentials."""

_UNSIGNED_BY_HABIT = frozenset({"x-amz-content-sha256", "x-amz-user-agent"})
"""`x-amz-` headers that real clients leave unsigned; the first is compared with the body in any case."""

_HEADER = re.compile(
    r"AWS4-HMAC-SHA256 +Credential=(?P<key>[A-Za-z0-9-]{1,128})/(?P<date>[0-9]{8})/(?P<region>[A-Za-z0-9-]{1,100})"
    r"/(?P<service>[a-z0-9-]{1,32})/aws4_request, *SignedHeaders=(?P<signed>[a-z0-9_.;-]{1,4096}), *"
)
_CREDENTIAL = re.compile(
    r"(?P<key>[A-Za-z0-9-]{1,128})/(?P<date>[0-9]{8})/(?P<region>[A-Za-z0-9-]{1,100})"
    r"/(?P<service>[a-z0-9-]{1,32})/aws4_request"
)
_DATE = re.compile(r"[0-9]{8}T[0-9]{6}Z")
_NODE_KEY = re.compile(r"mi-[0-9a-f]{17}")
_HEX_HASH = re.compile(r"[0-9a-f]{64}")
_SPACES = re.compile(" {2,}")
_EMPTY_HASH = sha256(b"").hexdigest()
_LARGE = 256 << 10
"""Bytes of a body that are hashed beside the event loop: it would stand still for longer than many calls take."""

NodeSignature = Callable[[str, bytes, bytes], Awaitable[Principal]]
"""(node id, string to sign, signature) to the node's principal: RSASSA-PSS by the node's registered key."""
Used = Callable[[Principal, str, str], None]
"""(principal, service, region) of a request that was verified."""


class Scope:
    """What a signature says of itself, and what follows from that alone; cached by the text that says it."""

    __slots__ = ("access_key_id", "date", "header_lines", "region", "service", "signed", "tail", "text")

    def __init__(self, access_key_id: str, date: str, region: str, service: str, signed: tuple[str, ...]) -> None:
        self.access_key_id = access_key_id
        self.date = date
        self.region = region
        self.service = service
        self.signed = signed
        self.text = f"{date}/{region}/{service}/aws4_request"
        self.header_lines = "".join(f"{name}:%s\n" for name in signed)
        self.tail = f"\n{';'.join(signed)}\n"


@lru_cache(maxsize=4096)
def _scope(head: str) -> Scope:
    """The Authorization header up to `Signature=`. Errors are not cached, so rubbish cannot push out good entries."""
    match = _HEADER.fullmatch(head)
    if match is None:
        raise IncompleteSignatureException(
            f"Authorization header must read '{ALGORITHM} Credential=KEY/DATE/REGION/SERVICE/aws4_request, "
            "SignedHeaders=NAMES, Signature=SIGNATURE'."
        )
    return _scope_of(match, match["signed"])


def _scope_of(match: re.Match[str], signed_text: str) -> Scope:
    signed = tuple(signed_text.split(";"))
    if list(signed) != sorted(set(signed)):
        raise IncompleteSignatureException("SignedHeaders must name each header once, in alphabetical order.")
    if "host" not in signed:
        raise IncompleteSignatureException("'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.")
    return Scope(match["key"], match["date"], match["region"], match["service"], signed)


@lru_cache(maxsize=4096)
def _signing_key(access_key_id: str, secret: str, date: str, region: str, service: str) -> Mac:
    key = b"AWS4" + secret.encode()
    for part in (date, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return Mac(key)


@lru_cache(maxsize=256)
def _left_unsigned(present: tuple[str, ...], signed: tuple[str, ...]) -> str | None:
    """A header of those present that had to be signed and was not."""
    for name in present:
        if name.startswith("x-amz-") and name not in signed and name not in _UNSIGNED_BY_HABIT:
            return name
    return None


@lru_cache(maxsize=1024)
def _moment(date: str) -> int:
    """`20261123T170259Z` as epoch seconds. Raises ValueError."""
    if not _DATE.fullmatch(date):
        raise ValueError(date)
    return timegm(strptime(date, "%Y%m%dT%H%M%SZ"))


def canonical_query(query: str) -> str:
    """The query's pairs decoded, encoded anew and sorted; the signature itself left out."""
    if not query:
        return ""
    pairs = []
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        name = quote(unquote_to_bytes(name), safe="-_.~")
        if name != "X-Amz-Signature":
            pairs.append((name, quote(unquote_to_bytes(value), safe="-_.~")))
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))


def canonical_path(path: str, service: str) -> str:
    """The path as sent, encoded once more; S3 signs the path encoded once, however it was sent."""
    if path == "/":
        return path
    return quote(unquote_to_bytes(path) if service == "s3" else path, safe="/-_.~")


def string_to_sign(request: Request, scope: Scope, date: str, payload_hash: str) -> bytes:
    """What a signature is made over. Raises IncompleteSignatureException when a signed header is missing."""
    headers = request.headers
    try:
        values = tuple([headers[name] for name in scope.signed])
    except KeyError as missing:
        raise IncompleteSignatureException(
            f"The signed header '{missing.args[0]}' is missing from the request."
        ) from missing
    lines = scope.header_lines % values
    if "  " in lines or ": " in lines or " \n" in lines:  # blanks to fold, perhaps
        lines = scope.header_lines % tuple([_SPACES.sub(" ", value.strip(" ")) for value in values])
    path = "/" if request.path == "/" else canonical_path(request.path, scope.service)
    query = canonical_query(request.query) if request.query else ""
    canonical = f"{request.method}\n{path}\n{query}\n{lines}{scope.tail}{payload_hash}"
    digest = sha256(canonical.encode("latin-1")).hexdigest()
    return f"{ALGORITHM}\n{date}\n{scope.text}\n{digest}".encode()


class _Signed(NamedTuple):
    """A signature taken out of a request, from its header or its query."""

    scope: Scope
    signature: str
    date: str
    session_token: str | None
    expires: int | None
    """Seconds that a presigned request is good for; None for a signed header."""


def _from_header(request: Request, authorization: str) -> _Signed:
    head, found, signature = authorization.rpartition("Signature=")
    if not found:
        raise IncompleteSignatureException("Authorization header requires 'Signature' parameter.")
    scope = _scope(head)
    date = request.headers.get("x-amz-date")
    if date is None:
        raise IncompleteSignatureException("Authorization header requires existence of an 'X-Amz-Date' header.")
    return _Signed(scope, signature, date, request.headers.get("x-amz-security-token"), None)


def _query_values(query: str) -> dict[str, str]:
    """The `X-Amz-…` parameters by lower-case name."""
    values: dict[str, str] = {}
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        name = unquote_to_bytes(name).decode("latin-1").lower()
        if name.startswith("x-amz-"):
            if name in values:
                raise IncompleteSignatureException("A parameter of the signature is given twice.")
            values[name] = unquote_to_bytes(value).decode("latin-1")
    return values


def _from_query(values: dict[str, str]) -> _Signed:
    try:
        credential, date, expires = values["x-amz-credential"], values["x-amz-date"], values["x-amz-expires"]
        signed, signature = values["x-amz-signedheaders"], values["x-amz-signature"]
    except KeyError as missing:
        raise IncompleteSignatureException(f"The query lacks the parameter {missing.args[0]}.") from missing
    match = _CREDENTIAL.fullmatch(credential)
    if values.get("x-amz-algorithm") != ALGORITHM or match is None:
        raise IncompleteSignatureException("The query's X-Amz-Algorithm or X-Amz-Credential is malformed.")
    if not re.fullmatch(r"[0-9]{1,6}", expires) or not 1 <= int(expires) <= MAX_EXPIRES:
        raise IncompleteSignatureException(f"X-Amz-Expires must be a number of seconds from 1 to {MAX_EXPIRES}.")
    return _Signed(_scope_of(match, signed), signature, date, values.get("x-amz-security-token"), int(expires))


def _with_usual_port(request: Request) -> Request | None:
    """The same request with a port in its Host, where there is none; else None.

    The official agent signs the host as its endpoint is written, but leaves the usual port out of the header that it
    sends: with `https://host:443` no signature would ever fit (agent/ssm/rsaauth/v4.go of its source).
    """
    host = request.headers.get("host", "")
    if not host or re.search(r":[0-9]*$", host):
        return None
    return replace(request, headers={**request.headers, "host": f"{host}:{443 if request.secure else 80}"})


class Authenticator:
    """Verifies signatures. Credentials are looked up on each call: a key that was disabled is refused at once."""

    def __init__(
        self,
        credentials: Credentials,
        clock: Clock,
        node_signature: NodeSignature,
        skew: int = USER_SKEW,
        node_skew: int = NODE_SKEW,
        used: Used | None = None,
        failures_per_minute: int = 0,
    ) -> None:
        """`skew` and `node_skew` are minutes; `used` hears of each good signature by a key that is not a node's own.

        `failures_per_minute`: bad signatures of an address; 0: as many as come.
        """
        self._credentials = credentials
        self._clock = clock
        self._node_signature = node_signature
        self._skew = skew
        self._node_skew = node_skew
        self._used = used
        self._guesses = Guesses(clock, failures_per_minute)
        self._hashing = ThreadPoolExecutor(1, "hashes")

    async def principal(
        self, request: Request, service: str | AbstractSet[str], *, anonymous_ok: bool = False
    ) -> tuple[Principal, str]:
        """The caller and the region of the credential scope.

        `service`: the name, or names, that the scope may carry. With `anonymous_ok` an unsigned request gives
        (ANONYMOUS, ""). Raises MissingAuthenticationToken-, IncompleteSignature-, UnrecognizedClient-,
        InvalidSignature-, ExpiredToken- and AccessDeniedException; ThrottlingException after too many bad signatures.
        """
        if service == "s3" and (old := sigv2.taken_from(request.query)) is not None:
            return await self._by_old_signature(request, old)
        signed = self._taken_from(request)
        if signed is None:
            if anonymous_ok:
                return ANONYMOUS, ""
            raise MissingAuthenticationTokenException
        scope = signed.scope
        if scope.service != service and (isinstance(service, str) or scope.service not in service):
            wanted = service if isinstance(service, str) else "' or '".join(sorted(service))
            raise InvalidSignatureException(f"Credential should be scoped to correct service: '{wanted}'. ")
        self._check_headers(request, scope)
        key_id = scope.access_key_id
        self._guesses.admit(request.peer, key_id, has_token=signed.session_token is not None)
        if key_id.startswith("mi-") and _NODE_KEY.fullmatch(key_id):
            node = await self._by_node_key(request, signed)
            return node, node.region or scope.region
        try:
            credential = await self._credentials.find(key_id, signed.session_token)
        except UnrecognizedClientException:
            self._guesses.failed(request.peer, key_id)
            raise
        self._check_date(signed, self._node_skew if credential.principal.kind == "node" else self._skew)
        payload_hash = await self._payload_hash(request, signed)
        key = _signing_key(key_id, credential.secret, scope.date, scope.region, scope.service)
        expected = key.sign(string_to_sign(request, scope, signed.date, payload_hash))
        if not (signed.signature.isascii() and hmac.compare_digest(expected, signed.signature)):
            self._guesses.failed(request.peer, key_id)
            raise InvalidSignatureException
        self._guesses.succeeded(key_id)
        if self._used is not None:
            self._used(credential.principal, scope.service, scope.region)
        if signed.expires is not None and scope.service == "s3":
            sigv2.hoist(request)
        if payload_hash in MODES:
            request.seed = Seed(key, expected, signed.date, scope.text)
        return credential.principal, credential.principal.region or scope.region

    async def _by_old_signature(self, request: Request, signed: sigv2.Presigned) -> tuple[Principal, str]:
        """The caller of a presigned request of S3's older form, which clients still make by default."""
        if "authorization" in request.headers:
            raise IncompleteSignatureException("Credentials may be in the header or in the query, not in both.")
        key_id = signed.access_key_id
        self._guesses.admit(request.peer, key_id, has_token=signed.session_token is not None)
        try:
            credential = await self._credentials.find(key_id, signed.session_token)
        except UnrecognizedClientException:
            self._guesses.failed(request.peer, key_id)
            raise
        if signed.expires < self._clock.millis() // 1000:
            raise PresignedExpiredException
        expected = sigv2.signature(request, signed, credential.secret)
        if not (signed.signature.isascii() and hmac.compare_digest(expected, signed.signature)):
            self._guesses.failed(request.peer, key_id)
            raise InvalidSignatureException
        self._guesses.succeeded(key_id)
        sigv2.hoist(request)
        if self._used is not None:
            self._used(credential.principal, "s3", "")
        return credential.principal, credential.principal.region or ""

    async def knows(self, request: Request) -> bool:
        """Whether the access key is one that may sign now; nothing is verified."""
        try:
            signed = self._taken_from(request)
            if signed is None:
                return False
            key_id = signed.scope.access_key_id
            self._guesses.admit(request.peer, key_id, has_token=signed.session_token is not None)
            await self._credentials.find(key_id, signed.session_token)
        except ApiError:
            return False
        return True

    async def still(self, request: Request) -> Principal:
        """The caller of a request that was verified earlier, if its credentials still hold; its date counts no more.

        For answers that take long. Raises UnrecognizedClient-, ExpiredToken- and AccessDeniedException.
        """
        signed = self._taken_from(request)
        if signed is None:
            raise MissingAuthenticationTokenException
        return (await self._credentials.find(signed.scope.access_key_id, signed.session_token)).principal

    def _taken_from(self, request: Request) -> _Signed | None:
        authorization = request.headers.get("authorization")
        if not request.query:
            return None if authorization is None else _from_header(request, authorization)
        values = _query_values(request.query)
        in_query = "x-amz-signature" in values or "x-amz-credential" in values or "x-amz-algorithm" in values
        if authorization is not None:
            if in_query:
                raise IncompleteSignatureException("Credentials may be in the header or in the query, not in both.")
            return _from_header(request, authorization)
        return _from_query(values) if in_query else None

    def _check_headers(self, request: Request, scope: Scope) -> None:
        name = _left_unsigned(tuple(request.headers), scope.signed)
        if name is not None:
            raise IncompleteSignatureException(f"The header '{name}' is present and must be a 'SignedHeader'.")

    async def _payload_hash(self, request: Request, signed: _Signed) -> str:
        """What the body is signed as. S3's bodies come later: they are compared with it as they pass."""
        if signed.scope.service == "s3":
            return _stated_hash(request, signed)
        if len(request.body) > _LARGE:
            actual = await asyncio.get_running_loop().run_in_executor(self._hashing, _hash, request.body)
        else:
            actual = _hash(request.body)
        stated = request.headers.get("x-amz-content-sha256")
        if signed.expires is not None and request.method == "GET" and stated == "UNSIGNED-PAYLOAD":
            return stated
        if stated is not None and stated != actual:
            if _HEX_HASH.fullmatch(stated):
                raise InvalidSignatureException(
                    "The value of the header 'X-Amz-Content-Sha256' does not match the hash of the body."
                )
            raise InvalidSignatureException("The payload mode in the header 'X-Amz-Content-Sha256' is not accepted.")
        return actual

    async def _by_node_key(self, request: Request, signed: _Signed) -> Principal:
        if signed.expires is not None or request.headers.get("x-amz-target") not in SIGNED_BY_NODE_KEY:
            raise InvalidSignatureException
        self._check_date(signed, self._node_skew)
        try:
            signature = b64decode(signed.signature, validate=True)
        except (NotBase64, ValueError) as error:
            raise IncompleteSignatureException("The signature is not base64.") from error
        payload_hash = await self._payload_hash(request, signed)
        node_id = signed.scope.access_key_id
        try:
            try:
                to_sign = string_to_sign(request, signed.scope, signed.date, payload_hash)
                node = await self._node_signature(node_id, to_sign, signature)
            except InvalidSignatureException:
                other = _with_usual_port(request)
                if other is None:
                    raise
                to_sign = string_to_sign(other, signed.scope, signed.date, payload_hash)
                node = await self._node_signature(node_id, to_sign, signature)
        except (UnrecognizedClientException, InvalidSignatureException, AccessDeniedException):
            self._guesses.failed(request.peer, node_id)
            raise
        self._guesses.succeeded(node_id)
        return node

    def _check_date(self, signed: _Signed, skew: int) -> None:
        try:
            moment = _moment(signed.date)
        except ValueError as error:
            raise IncompleteSignatureException(
                "Date must be in ISO-8601 'basic format', such as 20261123T170259Z."
            ) from error
        if not signed.date.startswith(signed.scope.date):
            raise InvalidSignatureException(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
                f"'{signed.scope.date}' != '{signed.date[:8]}', from '{signed.date}'."
            )
        now = self._clock.millis() // 1000
        allowed = skew * 60
        if moment > now + allowed:
            raise SignatureOutOfTimeException(
                f"Signature not yet current: {signed.date} is still later than "
                f"{_basic(now + allowed)} ({_basic(now)} + {skew} min.)"
            )
        if signed.expires is not None:
            if moment + signed.expires < now:
                raise PresignedExpiredException(
                    f"Signature expired: {signed.date} plus {signed.expires} s is now earlier than {_basic(now)}"
                )
        elif moment < now - allowed:
            raise SignatureOutOfTimeException(
                f"Signature expired: {signed.date} is now earlier than "
                f"{_basic(now - allowed)} ({_basic(now)} - {skew} min.)"
            )


def _stated_hash(request: Request, signed: _Signed) -> str:
    stated = request.headers.get("x-amz-content-sha256")
    if stated is None:
        if signed.expires is None:
            raise InvalidRequest("Missing required header for this request: x-amz-content-sha256")
        return "UNSIGNED-PAYLOAD"
    if stated == "UNSIGNED-PAYLOAD" or stated in MODES or _HEX_HASH.fullmatch(stated):
        return stated
    raise InvalidRequest("x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD, or a hash")


def _hash(body: bytes) -> str:
    return sha256(body).hexdigest() if body else _EMPTY_HASH


def _basic(epoch: int) -> str:
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y%m%dT%H%M%SZ")
