"""Files that paths lead to, for whoever has the path: the capability that gives them sees whether it may be read."""

from collections.abc import Mapping

from pilothouse.by_link import GiveFile
from pilothouse.call import House
from pilothouse.wire.http import Request, Response, RouteHandler

_HEADERS = {
    "content-type": "application/octet-stream",
    "content-disposition": "attachment",
    "x-content-type-options": "nosniff",
}


def giving(house: House, files: Mapping[str, GiveFile]) -> dict[str, RouteHandler]:
    """Prefix of a path to the handler of what is below it."""
    return {prefix: _handler(house, prefix, give) for prefix, give in files.items()}


def _handler(house: House, prefix: str, give: GiveFile) -> RouteHandler:
    async def answer(request: Request) -> Response:
        if request.method not in ("GET", "HEAD"):
            return Response(405, {"allow": "GET, HEAD"}, b"Only GET is answered here.\n")
        content = await give(house, request.path.removeprefix(prefix))
        if content is None:
            return Response(404, {}, b"There is nothing at this path, or no longer.\n")
        return Response(200, _HEADERS, content)

    return answer
