"""Which service of the REST-JSON protocol a request is signed for, and which operation its method and path ask for.

The paths are those of the models: `/resources/{Arn}/tags`, where a label is one part of the path with its slashes
percent-encoded, or, written `{Name+}`, all that follows up to the next literal part.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final
from urllib.parse import unquote_to_bytes

from pilothouse.errors import SerializationException, UnknownOperationException
from pilothouse.wire.models import REST_JSON, ServiceModel, service_model

_SERVICE: Final = re.compile(r"Credential=[^/,]+/[0-9]+/[^/,]+/([a-z0-9-]+)/aws4_request")
_SERVICE_IN_QUERY: Final = re.compile(
    r"(?:^|&)X-Amz-Credential=[^&]*(?:/|%2F)([a-z0-9-]+)(?:/|%2F)aws4_request(?:&|$)", re.IGNORECASE
)


def service_of(headers: Mapping[str, str], query: str) -> str:
    """The service of the REST-JSON protocol that a request is signed for; empty if it is for none."""
    authorization = headers.get("authorization")
    if authorization is not None:
        found = _SERVICE.search(authorization)
    else:
        found = _SERVICE_IN_QUERY.search(query) if query else None
    return found[1] if found is not None and found[1] in REST_JSON else ""


@dataclass(frozen=True, slots=True)
class _Path:
    name: str
    pattern: re.Pattern[str]
    literals: Mapping[str, str]
    """Query parameters in the URI; of those without a value any will do."""


class Paths:
    """The operations of one service by method and path."""

    def __init__(self, model: ServiceModel) -> None:
        self._paths: dict[str, list[_Path]] = {}
        for name, operation in model.operations.items():
            path, _, query = operation.http.requestUri.partition("?")
            literals = dict(pair.partition("=")[::2] for pair in query.split("&")) if query else {}
            self._paths.setdefault(operation.http.method, []).append(_Path(name, _pattern(path), literals))
        for paths in self._paths.values():  # the most literal first
            paths.sort(key=lambda each: (each.pattern.groups, -len(each.literals), each.name))

    def named(self, method: str, path: str, query: Mapping[str, Sequence[str]]) -> tuple[str, dict[str, str]]:
        """The operation, and the labels of its path. Raises UnknownOperationException, SerializationException."""
        for each in self._paths.get(method, ()):
            match = each.pattern.fullmatch(path)
            if match is not None and all(
                name in query and (not value or value in query[name]) for name, value in each.literals.items()
            ):
                return each.name, {name: _plain(text) for name, text in match.groupdict().items()}
        raise UnknownOperationException("The request names no operation that is known here.")


def _pattern(path: str) -> re.Pattern[str]:
    parts = []
    for part in re.split(r"(\{\w+\+?\})", path.rstrip("/") or "/"):
        if part.startswith("{"):
            parts.append(f"(?P<{part.strip('{}+')}>{'.+' if part.endswith('+}') else '[^/]+'})")
        else:
            parts.append(re.escape(part))
    return re.compile("".join(parts) + "/?" if path != "/" else "/")


def _plain(text: str) -> str:
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError as error:
        raise SerializationException("The path is not UTF-8.") from error


@cache
def paths_of(service: str) -> Paths:
    """The paths of a service."""
    return Paths(service_model(service))
