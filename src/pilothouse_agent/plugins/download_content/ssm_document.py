"""A document of the server as a file."""

from pilothouse_agent.documents.reference import request_for
from pilothouse_agent.plugins.download_content import Order, file_place, text_of
from pilothouse_agent.plugins.download_content.places import Place, parts_of
from pilothouse_agent.plugins.server import server_of
from pilothouse_agent.plugins.supervisor import WorkFailed


def fetch(order: Order) -> None:
    """sourceInfo: name, an ARN or a name, with `:version` if not the default one."""
    request = request_for(text_of(order.info, "name"))
    if request is None:
        raise WorkFailed("SSM Document name in SourceType must be specified")
    answer = server_of(order.run.node).call("GetDocument", request)
    directory, name = file_place(order, f"{request['Name'].rpartition('/')[2]}.json")
    content = str(answer.get("Content") or "").encode()
    Place(directory, order.run.settings.download_limit).write(parts_of(name), [content])
