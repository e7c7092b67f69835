"""The request core: from one request to one response, free of any HTTP server.

Routes are exact paths (`/health`) and path prefixes (`/v1/control-channel/`); both tables come from `app`. What is sent
to `/` is an API call, and so is, on any path, what is signed for a service of a REST protocol or names a bucket of S3.
"""

from collections.abc import Mapping

import structlog

from pilothouse.storage import StorageUnavailable
from pilothouse.wire.dispatch import Dispatch
from pilothouse.wire.http import Request, Response, RouteHandler, text_response
from pilothouse.wire.rest_paths import service_of
from pilothouse.wire.rest_routes import Hosts, names_a_bucket

log = structlog.get_logger()


class Front:
    """Hands a request to the route that claims its path, or to dispatch."""

    def __init__(
        self,
        dispatch: Dispatch,
        routes: Mapping[str, RouteHandler] | None = None,
        prefixes: Mapping[str, RouteHandler] | None = None,
        hosts: Hosts | None = None,
    ) -> None:
        """`routes` are exact paths; of the `prefixes` the longest that fits wins; without `hosts` there is no S3."""
        self._dispatch = dispatch
        self._hosts = hosts
        self._routes = dict(routes or {})
        self._prefixes = sorted((prefixes or {}).items(), key=lambda entry: -len(entry[0]))

    async def knows(self, request: Request) -> bool:
        """Whether an API call, whose body is still to come, names an access key that may sign."""
        return await self._dispatch.knows(request)

    async def respond(self, request: Request) -> Response:
        """The response. A route that fails is a 500 with a line in the log; details never leave the server."""
        if request.path == "/" and request.method == "POST" and not request.query:
            return await self._dispatch.respond(request)
        if self.is_rest(request.path, request.query, request.headers):
            return await self._dispatch.respond_rest(request)
        if service := service_of(request.headers, request.query):
            return await self._dispatch.respond_rest_json(request, service)
        if request.path == "/" and (request.method == "POST" or "Action=" in request.query):
            return await self._dispatch.respond(request)
        handler = self._routes.get(request.path) or self._by_prefix(request.path)
        if handler is None:
            return text_response(404, "There is nothing at this path.\n")
        try:
            return await handler(request)
        except StorageUnavailable as fault:
            log.error("route.storage_unavailable", path=request.path, error=str(fault))
            return text_response(503, "The service is temporarily unavailable.\n")
        except Exception:
            log.exception("route.failed", method=request.method, path=request.path)
            return text_response(500, "An internal error occurred.\n")

    def is_rest(self, path: str, query: str, headers: Mapping[str, str]) -> bool:
        """Whether a request is one of S3: signed for it, or unsigned and about a bucket where no route is."""
        if self._hosts is None:
            return False
        if self._hosts.claims(headers, query):
            return True
        if path == "/" or "authorization" in headers or service_of(headers, query):
            return False
        if not names_a_bucket(path) and not self._hosts.bucket(headers.get("host", "")):
            return False
        return path not in self._routes and self._by_prefix(path) is None

    def _by_prefix(self, path: str) -> RouteHandler | None:
        for prefix, handler in self._prefixes:
            if path.startswith(prefix):
                return handler
        return None
