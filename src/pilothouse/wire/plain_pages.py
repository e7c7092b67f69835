"""The pages that anybody may read: health, metrics, and the certificate of the installation's authority."""

from collections.abc import Mapping

import msgspec

from pilothouse.call import House
from pilothouse.runtime import metrics
from pilothouse.storage import StorageUnavailable
from pilothouse.wire.http import Request, Response, RouteHandler


def plain_pages(house: House) -> dict[str, RouteHandler]:
    """`/health`, `/metrics` and `/ca.pem`."""

    async def health(request: Request) -> Response:
        try:
            async with house.database.reading() as tx:
                await tx.value("select 1")
        except StorageUnavailable:
            return _json(503, {"status": "database unavailable"})
        return _json(200, {"status": "ok", "database": house.database.engine})

    async def show_metrics(request: Request) -> Response:
        return Response(200, {"content-type": "text/plain; version=0.0.4; charset=utf-8"}, metrics.render())

    async def authority(request: Request) -> Response:
        return Response(200, {"content-type": "application/x-pem-file"}, (house.settings.data / "ca.pem").read_bytes())

    return {"/health": health, "/metrics": show_metrics, "/ca.pem": authority}


def _json(status: int, members: Mapping[str, str]) -> Response:
    return Response(status, {"content-type": "application/json"}, msgspec.json.encode(members))
