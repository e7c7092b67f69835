"""Nodes that keep to associations as the official agent does, by the steps that a test tells them."""

import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.capabilities.commands.conftest import (  # noqa: F401 -- fixtures
    Fleet,
    Node,
    Until,
    _signatures_follow_the_clock,
    refused,
    until,
)
from tests.capabilities.one_server import *  # noqa: F403 -- fixtures
from tests.conftest import Server

from pilothouse.wire.http import Request

SUMMARY = "1 out of 1 plugin processed, 1 success, 0 failed, 0 timedout, 0 skipped. "


_ROLES = itertools.count(1)


@pytest.fixture
def role() -> str:
    """The value of the tag `role` that the test's nodes have."""
    return f"web-{next(_ROLES)}"


class Refused(Exception):
    """The code of the error that the node got."""


class Keeper:
    """What a node says to the server about associations."""

    def __init__(self, server: Server, node: Node, online: bool) -> None:
        self.server = server
        self.id = node.id
        self.node = node
        self.online = online

    def come(self) -> None:
        """Open the control channel."""
        self.node.connect()
        self.online = True

    def __call__(self, operation: str, **request: Any) -> Any:
        body = json.dumps({"InstanceId": self.id, **request}).encode()
        headers = self.node.who.signed(
            "POST", "http://ssm.pilothouse.test/", body, "ssm",
            content_type="application/x-amz-json-1.1", x_amz_target=f"AmazonSSM.{operation}",
        )  # fmt: skip
        asked = Request("POST", "/", "", headers, body, "127.0.0.1", False)
        answer = self.server.run(self.server.application.front.respond(asked))
        said = json.loads(answer.body or b"{}")
        if answer.status != 200:
            raise Refused(said["__type"].rpartition("#")[2])
        return said

    def items(self, **more: Any) -> list[dict[str, Any]]:
        """The whole list, page by page."""
        found, token = [], None
        while True:
            answer = self("ListInstanceAssociations", **({"NextToken": token} if token else {}), **more)
            found += answer["Associations"]
            token = answer.get("NextToken")
            if not token:
                return list(found)

    def item(self, association_id: str) -> dict[str, Any] | None:
        return next((each for each in self.items() if each["AssociationId"] == association_id), None)

    def state(self, association_id: str) -> str | None:
        item = self.item(association_id)
        return None if item is None else str(item["DetailedStatus"])

    def report(self, association_id: str, status: str, **more: Any) -> None:
        result = {
            "Status": status, "ErrorCode": "", "ExecutionDate": self.server.clock.millis() / 1000,
            "ExecutionSummary": SUMMARY,
        }  # fmt: skip
        extension = more.pop("extension", None)
        request = {"AssociationId": association_id, "ExecutionResult": {**result, **more}}
        self("UpdateInstanceAssociationStatus", **request, **({"Extension": extension} if extension else {}))

    def run(self, association_id: str, end: str = "Success", **more: Any) -> None:
        """A whole run, as the official agent reports it."""
        self.report(association_id, "Pending")
        self.report(association_id, "InProgress")
        self.report(association_id, end, **more)


@pytest.fixture
def keeper(server: Server, fleet: Fleet, role: str) -> Iterator[Callable[..., Keeper]]:
    """A new node, which has the role unless the test says otherwise. They leave when the test ends."""
    made: list[Keeper] = []
    fleet.renew()

    def make(*, web: bool = True, **of: Any) -> Keeper:
        made.append(Keeper(server, fleet.node(tags={"role": role} if web else None, **of), of.get("online", True)))
        return made[-1]

    yield make
    for each in made:
        if each.online:
            each.node.disconnect()


Make = Callable[..., dict[str, Any]]


@pytest.fixture
def make(ssm: Any, role: str) -> Make:
    """CreateAssociation of a script on all nodes with the test's role, unless the test says otherwise."""

    def create(**members: Any) -> dict[str, Any]:
        request = {
            "Name": "AWS-RunShellScript",
            "Parameters": {"commands": ["true"]},
            "Targets": [{"Key": "tag:role", "Values": [role]}],
        } | members
        made: dict[str, Any] = ssm.create_association(**{k: v for k, v in request.items() if v is not None})
        return dict(made["AssociationDescription"])

    return create


__all__ = ["refused"]
