"""The pages that anybody may read: health, metrics, and the certificate of the installation's authority."""

from collections.abc import Awaitable, Callable, Mapping

import msgspec

from pilothouse.call import House
from pilothouse.runtime.metrics import FiguresMissing
from pilothouse.storage import StorageUnavailable
from pilothouse.wire.http import Request, Response, RouteHandler, text_response


def plain_pages(house: House, render: Callable[[], Awaitable[bytes]]) -> dict[str, RouteHandler]:
    """`/health`, `/metrics` (what `render` gives) and `/ca.pem`."""

    async def health(request: Request) -> Response:
        roles = sorted(house.roles)
        try:
            async with house.database.reading() as tx:
                await tx.value("select 1")
        except StorageUnavailable:
            return _json(503, {"status": "database unavailable", "roles": roles})
        return _json(200, {"status": "ok", "database": house.database.engine, "roles": roles})

    async def show_metrics(request: Request) -> Response:
        try:
            text = await render()
        except FiguresMissing as error:
            return text_response(503, f"{error}\n")
        return Response(200, {"content-type": "text/plain; version=0.0.4; charset=utf-8"}, text)

    async def authority(request: Request) -> Response:
        return Response(200, {"content-type": "application/x-pem-file"}, (house.settings.data / "ca.pem").read_bytes())

    return {"/health": health, "/metrics": show_metrics, "/ca.pem": authority}


def _json(status: int, members: Mapping[str, object]) -> Response:
    return Response(status, {"content-type": "application/json"}, msgspec.json.encode(members))
