"""Which operation a request of a REST protocol asks for, and of which bucket and key: by method, host, path and query.

A request belongs to S3 if its signature says so, in the header or the query, or, unsigned, if its host names a bucket.
Names of hosts are read so: `BUCKET.s3.REGION.DOMAIN` and `BUCKET.localhost` name a bucket, so does `BUCKET.NAME` for
each name that the operator gave the installation; everything else is path style, `/BUCKET/KEY`.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final
from urllib.parse import unquote_to_bytes

from pilothouse.errors import UnknownOperationException
from pilothouse.rest_errors import InvalidURI, MethodNotAllowed
from pilothouse.runtime.settings import Settings
from pilothouse.wire.http import Request
from pilothouse.wire.models import OperationModel, ServiceModel, service_model

S3: Final = "s3"
BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_REGIONAL: Final = re.compile(r"(.+?)\.s3(?:\.dualstack)?[.-][a-z]{2,4}(?:-[a-z]+)+-[0-9]+\..+")
_SCOPE: Final = re.compile(r"Credential=[^/,]+/[0-9]+/[^/,]+/s3/aws4_request")
_SCOPE_IN_QUERY: Final = re.compile(
    r"(?:^|&)X-Amz-Credential=[^&]*(?:/|%2F)s3(?:/|%2F)aws4_request(?:&|$)", re.IGNORECASE
)
_OLD_IN_QUERY: Final = re.compile(r"(?:^|&)AWSAccessKeyId=")


@dataclass(frozen=True, slots=True)
class Target:
    """What a request is about; empty texts where it names no bucket, or no key."""

    bucket: str
    key: str
    virtual: bool
    """Whether the host named the bucket."""

    @property
    def level(self) -> str:
        return "key" if self.key else "bucket" if self.bucket else "service"


class Hosts:
    """Knows buckets in host names."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        """`names`: host names of the installation that buckets may stand before."""
        self._names = tuple(name.lower() for name in (*names, "localhost") if name)

    def bucket(self, host: str) -> str:
        """The bucket that a Host header names; empty for none."""
        name = _name(host)
        if name in self._names:
            return ""
        found = _by_label(name)
        if found or name.startswith(("s3.", "s3-")):
            return found
        for each in self._names:
            if name.endswith(f".{each}"):
                return name.removesuffix(f".{each}")
        return ""

    def target(self, request: Request) -> Target:
        """Raises InvalidURI."""
        bucket = self.bucket(request.headers.get("host", ""))
        path = request.path.removeprefix("/")
        virtual = bool(bucket)
        if not virtual:
            bucket, _, path = path.partition("/")
        try:
            return Target(unquote_to_bytes(bucket).decode(), unquote_to_bytes(path).decode(), virtual)
        except UnicodeDecodeError as error:
            raise InvalidURI from error

    def claims(self, headers: Mapping[str, str], query: str) -> bool:
        """Whether a request is S3's by its signature, or by a host that names a bucket of S3."""
        authorization = headers.get("authorization")
        if authorization is not None:
            return _SCOPE.search(authorization) is not None
        if query and (_SCOPE_IN_QUERY.search(query) or _OLD_IN_QUERY.search(query)):
            return True
        return ".s3" in (host := headers.get("host", "")) and bool(_by_label(_name(host)))


def hosts_of(settings: Settings) -> Hosts:
    """By the names that the operator gave the installation."""
    return Hosts((settings.objects.host, *settings.names))


def _name(host: str) -> str:
    """A Host header without its port; empty for an address of IPv6."""
    name = host.lower()
    return "" if name.startswith("[") else name.partition(":")[0]


def _by_label(name: str) -> str:
    """The bucket before a label `s3`, or empty."""
    match = _REGIONAL.fullmatch(name)
    return match[1] if match is not None else name.rpartition(".s3.")[0]


def names_a_bucket(path: str) -> bool:
    """Whether a path can be one of path style."""
    return BUCKET.fullmatch(path.removeprefix("/").partition("/")[0]) is not None


def parameters(query: str) -> dict[str, str]:
    """The query's parameters; of one given twice the first. Raises InvalidURI."""
    found: dict[str, str] = {}
    try:
        for pair in query.split("&") if query else ():
            name, _, value = pair.partition("=")
            found.setdefault(_plain(name), _plain(value))
    except UnicodeDecodeError as error:
        raise InvalidURI from error
    return found


def _plain(text: str) -> str:
    return unquote_to_bytes(text.replace("+", " ")).decode()


@dataclass(frozen=True, slots=True)
class _Route:
    """What of a request an operation can be told by."""

    name: str
    literals: Mapping[str, str]
    """Query parameters in its URI; of those without a value any will do."""
    wanted: tuple[str, ...]
    """Query parameters that it cannot be without."""
    headers: tuple[str, ...]

    def fits(self, query: Mapping[str, str], headers: Mapping[str, str]) -> bool:
        return (
            all(name in query and (not value or query[name] == value) for name, value in self.literals.items())
            and all(name in query for name in self.wanted)
            and all(name in headers for name in self.headers)
        )

    @property
    def strength(self) -> int:
        return len(self.literals) + len(self.wanted) + len(self.headers)


class Routes:
    """The operations of one service by method and level."""

    def __init__(self, model: ServiceModel) -> None:
        self._routes: dict[tuple[str, str], list[_Route]] = {}
        self._sub_resources: dict[str, set[str]] = {"service": set(), "bucket": set(), "key": set()}
        for name, operation in sorted(model.operations.items()):
            path, _, query = operation.http.requestUri.partition("?")
            level = {"/": "service", "/{Bucket}": "bucket", "/{Bucket}/{Key+}": "key"}.get(path)
            if level is None or operation.deprecated:
                continue
            literals = dict(pair.partition("=")[::2] for pair in query.split("&")) if query else {}
            self._sub_resources[level] |= set(literals)
            self._routes.setdefault((operation.http.method, level), []).append(_route(name, operation, literals))
        for routes in self._routes.values():
            routes.sort(key=lambda route: -route.strength)  # those of one strength stay in the order of their names

    def name(self, method: str, target: Target, query: Mapping[str, str], headers: Mapping[str, str]) -> str:
        """The operation. Raises MethodNotAllowed, UnknownOperationException."""
        for route in self._routes.get((method, target.level), ()):
            if route.fits(query, headers):
                foreign = (self._sub_resources[target.level] - set(route.literals)) & set(query)
                if foreign:
                    raise MethodNotAllowed(method)
                return route.name
        if method in ("GET", "PUT", "POST", "DELETE", "HEAD"):
            raise MethodNotAllowed(method)
        raise UnknownOperationException("A header you provided implies functionality that is not implemented.")


def _route(name: str, operation: OperationModel, literals: dict[str, str]) -> _Route:
    query: list[str] = []
    headers: list[str] = []
    if operation.input is not None:
        shape = operation.service.shapes[operation.input]
        for member in shape.required:
            reference = shape.members[member]
            if reference.location == "querystring":
                query.append(reference.locationName or member)
            elif reference.location == "header":
                headers.append((reference.locationName or member).lower())
    return _Route(name, literals, tuple(query), tuple(headers))


@cache
def routes_of(service: str) -> Routes:
    """The routes of a service whose protocol is REST."""
    return Routes(service_model(service))


def named(hosts: Hosts, request: Request) -> tuple[str, Target]:
    """The operation of S3 that is asked for, and of what. Raises InvalidURI, MethodNotAllowed,
    UnknownOperationException."""
    target = hosts.target(request)
    return routes_of(S3).name(request.method, target, parameters(request.query), request.headers), target
