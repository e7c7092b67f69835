"""S3: one object, or all below a prefix. They come from the server's own object store, whose keys the node has."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pilothouse_agent.link.api import ApiError
from pilothouse_agent.plugins import Node
from pilothouse_agent.plugins.download_content import Order, file_place, text_of
from pilothouse_agent.plugins.download_content.places import Place, parts_of
from pilothouse_agent.plugins.server import server_of
from pilothouse_agent.plugins.supervisor import WorkFailed

_AMAZON = re.compile(r"(?:(?P<bucket>.+)\.)?s3[.-](?:(?:dualstack\.)?[a-z0-9-]+\.)?amazonaws\.com(?:\.cn)?\Z")
_MISSING = frozenset({"NoSuchKey", "HTTP404", "NotFound"})


def fetch(order: Order) -> None:
    """sourceInfo: path, a URL of the object or of a prefix."""
    path = text_of(order.info, "path")
    if not path:
        raise WorkFailed("S3 source path in SourceInfo must be specified")
    bucket, key = locate(path, order.run.node)
    server = server_of(order.run.node)
    limit = order.run.settings.download_limit
    if not key.endswith("/") and key:
        try:
            with server.get_object(bucket, key) as content:
                directory, name = file_place(order, key.rpartition("/")[2])
                Place(directory, limit).write(parts_of(name), content)
                return
        except ApiError as error:
            if error.code not in _MISSING:
                raise
    prefix = key if key.endswith("/") or not key else f"{key}/"
    place = None
    for found in server.list_objects(bucket, prefix):
        if found.endswith("/"):
            continue  # a folder's own mark
        parts = parts_of(found.removeprefix(prefix))
        place = place or Place(Path(order.destination), limit)
        with server.get_object(bucket, found) as content:
            place.write(parts, content)
    if place is None:
        raise WorkFailed(f"there is no object {bucket}/{key}, and none below it")


def locate(path: str, node: Node) -> tuple[str, str]:
    """Bucket and key of an S3 URL. Raises WorkFailed."""
    try:
        parts = urlsplit(path.replace("+", "%20"))
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError as error:
        raise WorkFailed("invalid S3 path parameter") from error
    bucket, key = "", unquote(parts.path).lstrip("/")
    amazon = _AMAZON.match(host)
    if parts.scheme == "s3":
        bucket = parts.netloc
    elif parts.scheme != "https":
        raise WorkFailed("invalid S3 path parameter: it must begin with https:// or s3://")
    elif amazon:
        bucket = amazon["bucket"] or ""
    elif host.endswith(f".{node.host.lower()}") and (port or 443) == node.port:
        bucket = host.removesuffix(f".{node.host.lower()}").removesuffix(".s3")
    elif host != node.host.lower() or (port or 443) != node.port:
        raise WorkFailed(
            f"invalid S3 path parameter: {host} is no S3 this node has rights for. Objects come from "
            f"the node's own server; use sourceType HTTP for others"
        )
    if not bucket:
        bucket, _, key = key.partition("/")
    if not bucket or "/" in bucket:
        raise WorkFailed("invalid S3 path parameter: it names no bucket")
    return bucket, key
