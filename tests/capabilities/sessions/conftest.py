"""Sessions of scripted clients and agents on the server's own loop."""

import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import botocore.auth
import pytest

from pilothouse.runtime.clock import TestClock
from tests.capabilities.commands.conftest import Fleet, Node
from tests.conftest import ENGINES, Aws, FreshDatabase, Server, clients_of, open_server
from tests.gateway.scripted_session import ScriptedClient, ScriptedWorker, Way, in_process


class World:
    """Starts sessions as users do, with scripted ends."""

    def __init__(self, server: Server, aws: Aws, fleet: Fleet) -> None:
        self.server = server
        self.aws = aws
        self.fleet = fleet
        self.ssm = aws("ssm")
        self.way: Way = in_process(server.application.edge)
        self.workers: dict[str, ScriptedWorker] = {}
        self._ends: list[ScriptedClient | ScriptedWorker] = []
        self.undo: list[Callable[[], Any]] = []

    def node(self, *, serves: bool = True, **of_worker: Any) -> Node:
        """A node whose agent opens a worker for each session that it is told of."""
        node = self.fleet.node()
        self.until(lambda: self.ssm.get_connection_status(Target=node.id)["Status"] == "connected")
        if serves:
            self.serve(node, **of_worker)
        return node

    def serve(self, node: Node, **of_worker: Any) -> None:
        """The node's agent opens sessions from here on."""

        def begin(content: dict[str, Any]) -> None:
            kinds = ("Port", "NonInteractiveCommands")
            shakes = {"handshake": content["DocumentContent"]["sessionType"] in kinds}
            worker = ScriptedWorker(self.way, node.who, content["SessionId"], **(shakes | of_worker))
            self.workers[content["SessionId"]] = worker
            self._ends.append(worker)
            worker.start()

        node.agent.on_shell = begin

    def start(self, node: Node, *, ssm: Any = None, **request: Any) -> dict[str, Any]:
        """What StartSession answers."""
        started: dict[str, Any] = (ssm or self.ssm).start_session(Target=node.id, **request)
        return started

    def client(self, started: dict[str, Any], *, ssm: Any = None) -> ScriptedClient:
        """A client of the session, which has come."""
        session_id = started["SessionId"]

        async def resume() -> str | None:
            answer = await self.server.elsewhere(lambda: (ssm or self.ssm).resume_session(SessionId=session_id))
            token: str | None = answer.get("TokenValue")
            return token

        client = ScriptedClient(self.way, started, resume)
        self._ends.append(client)
        self.run(_started(client))
        return client

    def open(self, node: Node, *, ssm: Any = None, **request: Any) -> tuple[ScriptedClient, ScriptedWorker]:
        """A session with both ends there."""
        started = self.start(node, ssm=ssm, **request)
        client = self.client(started, ssm=ssm)
        self.until(lambda: self.status(client.session_id) == "Connected")
        return client, self.workers[client.session_id]

    def status(self, session_id: str) -> str | None:
        found = self.find(session_id)
        return None if found is None else str(found["Status"])

    def find(self, session_id: str) -> dict[str, Any] | None:
        """The session as DescribeSessions has it."""
        for state in ("Active", "History"):
            found = self.ssm.describe_sessions(State=state, Filters=[{"key": "SessionId", "value": session_id}])
            if found["Sessions"]:
                return dict(found["Sessions"][0])
        return None

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.server.run(work)

    def close(self) -> None:
        """Everybody goes away, and what was changed for all is as before."""
        for end in self._ends:
            self.run(end.stop())
        self._ends.clear()
        for undo in reversed(self.undo):
            undo()
        self.undo.clear()

    def until(self, look: Callable[[], Any]) -> Any:
        """Wait for what must come soon, and give it."""
        deadline = time.monotonic() + 20
        while not (found := look()):
            assert time.monotonic() < deadline, "it did not come"
            time.sleep(0.01)
        return found


async def _started(end: ScriptedClient) -> None:
    end.start()


@pytest.fixture(scope="package", params=ENGINES)
def shared(
    request: pytest.FixtureRequest, fresh: FreshDatabase, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """One server for all tests of sessions, once for each engine. Each has nodes and users of its own."""
    folder, clock = tmp_path_factory.mktemp("sessions"), TestClock()
    with (
        pytest.MonkeyPatch.context() as patch,
        fresh(request.param) as url,
        open_server(url, folder, clock) as server,
    ):
        patch.setattr(botocore.auth, "get_current_datetime", lambda *_: clock.now().replace(tzinfo=None))
        aws = clients_of(server)
        yield World(server, aws, Fleet(server, aws))


@pytest.fixture
def world(shared: World) -> Iterator[World]:
    """The server with nobody at it."""
    yield shared
    shared.close()
