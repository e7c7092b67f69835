"""Own operations at paths of their own, for those who have no AWS client: a JSON body in, a JSON body out."""

from collections.abc import Mapping

from pilothouse.wire.dispatch import Dispatch
from pilothouse.wire.http import Request, Response, RouteHandler
from pilothouse.wire.origins import from_elsewhere


def own_paths(dispatch: Dispatch, paths: Mapping[str, str]) -> dict[str, RouteHandler]:
    """Of `paths` below /ph/v1/, each with the name of the operation that answers there, the handlers."""
    return {f"/ph/v1/{path}": _calling(dispatch, name) for path, name in paths.items()}


def _calling(dispatch: Dispatch, name: str) -> RouteHandler:
    async def answer(request: Request) -> Response:
        if request.method != "POST":
            return Response(405, {"allow": "POST"}, b"This path answers POST.\n")
        if "json" not in request.headers.get("content-type", ""):  # what other sites' forms cannot send
            return Response(415, {}, b"The Content-Type must be application/json.\n")
        if from_elsewhere(request.headers):
            return Response(403, {}, b"Pages of other sites may not call this.\n")
        return await dispatch.respond(request, ("pilothouse", name))

    return answer
