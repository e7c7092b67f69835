"""One server for the tests of a module, once for each engine; nodes that speak for themselves."""

import json
from typing import Any

from pilothouse.wire.http import Request
from tests.capabilities.commands.conftest import Node, _signatures_follow_the_clock, refused
from tests.capabilities.one_server import *  # noqa: F403 -- fixtures
from tests.conftest import Server


class Refused(Exception):
    """The code of the error that a node got."""


def as_node(server: Server, node: Node, operation: str, **request: Any) -> Any:
    """What the server answers to the node itself."""
    body = json.dumps(request).encode()
    headers = node.who.signed(
        "POST", "http://ssm.pilothouse.test/", body, "ssm",
        content_type="application/x-amz-json-1.1", x_amz_target=f"AmazonSSM.{operation}",
    )  # fmt: skip
    asked = Request("POST", "/", "", headers, body, "127.0.0.1", False)
    answer = server.run(server.application.front.respond(asked))
    said = json.loads(answer.body or b"{}")
    if answer.status != 200:
        raise Refused(said["__type"].rpartition("#")[2])
    return said


__all__ = ["_signatures_follow_the_clock", "refused"]
