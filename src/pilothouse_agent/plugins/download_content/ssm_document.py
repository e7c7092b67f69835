"""A document of the server as a file."""

import re

from pilothouse_agent.plugins.download_content import Order, file_place, text_of
from pilothouse_agent.plugins.download_content.places import Place, parts_of
from pilothouse_agent.plugins.download_content.secret_values import server_of
from pilothouse_agent.plugins.supervisor import WorkFailed

_NAME = re.compile(r"(?P<name>arn:[^/]+/[^:]+|[^:]+)(?::(?P<version>[^:]+))?\Z")


def fetch(order: Order) -> None:
    """sourceInfo: name, an ARN or a name, with `:version` if not the default one."""
    found = _NAME.match(text_of(order.info, "name"))
    if found is None:
        raise WorkFailed("SSM Document name in SourceType must be specified")
    request = {"Name": found["name"], "DocumentFormat": "JSON"}
    if found["version"]:
        request["DocumentVersion"] = found["version"]
    answer = server_of(order.run.node).call("GetDocument", request)
    directory, name = file_place(order, f"{found['name'].rpartition('/')[2]}.json")
    content = str(answer.get("Content") or "").encode()
    Place(directory, order.run.settings.download_limit).write(parts_of(name), [content])
