"""Terminals for pages: who drives, who joins, who looks on, over reloads and lost connections."""

import asyncio
import json
import threading
from typing import Any

import pytest

from tests.capabilities.sessions.conftest import World
from tests.capabilities.sessions.test_permissions import OPEN, refused, user
from tests.gateway.scripted_session import Closed, pattern

PATH = "/ph/v1/sessions/terminal"


class Page:
    """A page's websocket."""

    def __init__(self, world: World, session_id: str, token: str, **headers: str) -> None:
        self._world = world
        self.shown = bytearray()
        self.said: list[dict[str, Any]] = []
        self.code: int | None = None
        self._socket = world.run(world.way.dial(PATH, {"host": "pilothouse.test"} | headers))
        self._world.run(self._open(session_id, token))
        world.undo.append(self.leave)

    async def _open(self, session_id: str, token: str) -> None:
        asked = {"type": "open", "sessionId": session_id, "token": token, "cols": 100, "rows": 30}
        await self._socket.send(json.dumps(asked))
        self._task = asyncio.get_running_loop().create_task(self._read())

    async def _read(self) -> None:
        try:
            while True:
                message = await self._socket.receive_any()
                if isinstance(message, str):
                    self.said.append(json.loads(message))
                else:
                    self.shown += message
        except Closed as closed:
            self.code = closed.args[0]

    def type(self, data: bytes) -> None:
        self._world.run(self._socket.send(data))

    def say(self, **said: Any) -> None:
        self._world.run(self._socket.send(json.dumps(said)))

    def leave(self) -> None:
        """As a closed tab."""
        self._world.run(self._socket.close())
        self._world.until(self._task.done)

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [each for each in self.said if each["type"] == kind]

    @property
    def exit(self) -> str | None:
        return self.of("exit")[0]["reason"] if self.of("exit") else None


def driven(world: World, **request: Any) -> tuple[Page, str]:
    """A session of a page."""
    node = world.node()
    started = world.start(node, **request)
    page = Page(world, started["SessionId"], started["TokenValue"])
    world.until(lambda: world.status(started["SessionId"]) == "Connected")
    return page, started["SessionId"]


def test_a_page_drives_a_shell_through_reloads(world: World) -> None:
    page, session_id = driven(world)
    worker = world.workers[session_id]
    typed = pattern(5000)
    page.type(typed)
    world.until(lambda: bytes(page.shown) == typed)
    assert bytes(worker.received) == typed
    assert page.of("opened") == [{"type": "opened", "mode": "drive", "sessionId": session_id, "replay": 0}]
    page.leave()
    world.until(lambda: world.status(session_id) == "Disconnected" and worker.paused)
    world.run(worker.say(b" while away"))
    again = Page(world, session_id, world.ssm.resume_session(SessionId=session_id)["TokenValue"])
    world.until(lambda: bytes(again.shown) == typed + b" while away")
    assert again.of("opened")[0]["replay"] == len(typed)
    again.say(type="size", cols=132, rows=43)
    again.type(b"!")
    world.until(lambda: bytes(again.shown).endswith(b"!"))
    world.run(worker.cut())
    again.type(b"after the cut")
    world.until(lambda: bytes(again.shown).endswith(b"!after the cut"))
    world.run(worker.exit())
    world.until(lambda: again.exit == "" and again.code == 1000)


def test_others_watch_and_join(world: World) -> None:
    page, session_id = driven(world)
    own = world.aws("pilothouse")
    page.type(b"before ")
    world.until(lambda: bytes(page.shown) == b"before ")
    viewers = {mode: own.open_session_view(SessionId=session_id, Mode=mode) for mode in ("watch", "join")}
    assert viewers["watch"]["Url"] == f"ws://pilothouse.test{PATH}"
    watcher = Page(world, session_id, viewers["watch"]["TokenValue"])
    joiner = Page(world, session_id, viewers["join"]["TokenValue"])
    world.until(lambda: bytes(watcher.shown) == bytes(joiner.shown) == b"before ")
    joiner.type(b"joined")
    watcher.type(b"only looks on")
    for each in (page, watcher, joiner):
        world.until(lambda each=each: bytes(each.shown) == b"before joined")
    page.say(type="size", cols=90, rows=20)
    world.until(lambda: joiner.of("size")[-1:] == [{"type": "size", "cols": 90, "rows": 20}])
    world.ssm.terminate_session(SessionId=session_id)
    world.run(next(iter(world.workers.values())).stop())
    world.until(lambda: page.exit == joiner.exit == "The session was terminated by root.")
    world.server.advance(seconds=31)
    world.until(lambda: watcher.exit == "The session was terminated by root.")


def test_who_joins_while_something_is_shown_sees_it_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    page, session_id = driven(world)
    keeper = world.server.application.edge.data.keeper
    tail, asked = keeper.tail, threading.Event()

    async def slow(house: Any, of: str, start: int, most: int) -> Any:
        if of == session_id:
            asked.set()
            while bytes(page.shown) != b"shown":
                await asyncio.sleep(0.01)
        return await tail(house, of, start, most)

    token = world.aws("pilothouse").open_session_view(SessionId=session_id, Mode="join")["TokenValue"]
    world.until(lambda: page.of("state"))
    monkeypatch.setattr(keeper, "tail", slow)
    joiner = Page(world, session_id, token)
    world.until(lambda: joiner.of("opened") or asked.is_set())
    page.type(b"shown")
    world.until(lambda: joiner.of("opened") and len(joiner.shown) >= 5)
    page.type(b" on")
    world.until(lambda: bytes(joiner.shown).endswith(b" on"))
    assert bytes(joiner.shown) == b"shown on"


def test_who_joins_while_the_session_ends_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    node = world.node()
    started = world.start(node)
    session_id = started["SessionId"]
    keeper = world.server.application.edge.data.keeper
    tail, asked, go_on = keeper.tail, list[int](), threading.Event()

    async def slow(house: Any, of: str, start: int, most: int) -> Any:
        if of == session_id:
            asked.append(start)
            while len(asked) == 2 and not go_on.is_set():  # the joiner's
                await asyncio.sleep(0.01)
            while len(asked) < 2:
                await asyncio.sleep(0.01)
        return await tail(house, of, start, most)

    monkeypatch.setattr(keeper, "tail", slow)
    page = Page(world, session_id, started["TokenValue"])
    world.until(lambda: asked)
    token = world.aws("pilothouse").open_session_view(SessionId=session_id, Mode="join")["TokenValue"]
    joiner = Page(world, session_id, token)
    world.until(lambda: page.of("state"))
    world.ssm.terminate_session(SessionId=session_id)
    world.until(lambda: page.exit is not None)
    go_on.set()
    world.until(lambda: joiner.exit == page.exit and joiner.code == 1000)


def test_a_page_after_the_plugin_shows_what_nobody_acknowledged_once(world: World) -> None:
    client, worker = world.open(world.node())
    world.run(client.say(b"first "))
    world.until(lambda: bytes(client.received) == b"first ")
    client.lose_acks, worker.repeats_nothing = 1, True
    world.run(client.say(b"second "))
    world.until(lambda: bytes(client.received) == b"first second ")
    world.run(client.stop())
    token = world.ssm.resume_session(SessionId=client.session_id)["TokenValue"]
    page = Page(world, client.session_id, token)
    world.until(lambda: page.of("state"))
    assert bytes(page.shown) == b"first second "
    page.type(b"third")
    world.until(lambda: bytes(page.shown).endswith(b"third"))
    assert bytes(page.shown) == b"first second third"
    assert bytes(worker.received) == b"first second third"


def test_a_session_of_the_plugin_is_watched_and_not_joined(world: World) -> None:
    node = world.node()
    client, worker = world.open(node)
    own = world.aws("pilothouse")
    watcher = Page(
        world, client.session_id, own.open_session_view(SessionId=client.session_id, Mode="watch")["TokenValue"]
    )
    world.run(client.say(b"hello"))
    world.until(lambda: bytes(watcher.shown) == b"hello")
    joiner = Page(
        world, client.session_id, own.open_session_view(SessionId=client.session_id, Mode="join")["TokenValue"]
    )
    world.until(lambda: "not joined" in (joiner.exit or ""))
    assert bytes(worker.received) == b"hello"


def test_a_newer_page_takes_the_place_of_the_older(world: World) -> None:
    page, session_id = driven(world)
    newer = Page(world, session_id, world.ssm.resume_session(SessionId=session_id)["TokenValue"])
    world.until(lambda: "elsewhere" in (page.exit or ""))
    newer.type(b"mine")
    world.until(lambda: bytes(newer.shown) == b"mine")
    assert world.status(session_id) == "Connected"


def test_a_tunnel_shakes_hands_with_a_page_too(world: World) -> None:
    page, session_id = driven(world, DocumentName="AWS-StartSSHSession")
    world.until(lambda: world.workers[session_id].shaken)
    page.type(b"SSH-2.0-page\r\n")
    world.until(lambda: bytes(page.shown) == b"SSH-2.0-page\r\n")


def test_pages_of_other_sites_are_refused(world: World) -> None:
    started = world.start(world.node(serves=False))
    with pytest.raises(Closed):
        Page(world, started["SessionId"], started["TokenValue"], origin="https://evil.example")
    own = Page(world, started["SessionId"], started["TokenValue"], origin="http://pilothouse.test")
    world.until(lambda: own.of("opened"))


@pytest.mark.parametrize("first", ["", "{}", "[]", '{"type": "open", "sessionId": "x", "token": "y"}', b"\0"])
def test_what_opens_nothing_is_closed(world: World, first: str | bytes) -> None:
    async def answer() -> int:
        socket = await world.way.dial(PATH, {"host": "pilothouse.test"})
        await socket.send(first)
        try:
            await socket.receive()
        except Closed as closed:
            return int(closed.args[0])
        return 0

    assert world.run(answer()) == 1008


def test_each_way_to_look_on_is_a_right_of_its_own(world: World) -> None:
    page, session_id = driven(world)
    watching = {"Effect": "Allow", "Action": "pilothouse:WatchSession", "Resource": "*"}
    keys = user(world, "watcher", OPEN, watching)._request_signer._credentials
    theirs = world.aws("pilothouse", access_key=keys.access_key, secret=keys.secret_key)
    token = theirs.open_session_view(SessionId=session_id, Mode="watch")["TokenValue"]
    assert refused(lambda: theirs.open_session_view(SessionId=session_id, Mode="join"))[0] == "AccessDeniedException"
    assert refused(lambda: theirs.open_session_view(SessionId="nobody-1", Mode="watch"))[0] == "DoesNotExistException"
    Page(world, session_id, token)
    second = Page(world, session_id, token)
    world.until(lambda: second.code == 1008)
    assert page.exit is None
