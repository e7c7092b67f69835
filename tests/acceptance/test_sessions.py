"""Sessions over real websockets, the server killed: no byte is lost, doubled, crossed or shown unrecorded."""

import asyncio
import json
import random
import ssl
from typing import Any

from bench.fleet import registered
from botocore.exceptions import BotoCoreError, ClientError

from tests.acceptance.installation import Installation
from tests.gateway.scripted_agent import Identity, OverNetwork, ScriptedAgent
from tests.gateway.scripted_session import ScriptedClient, ScriptedWorker, Way, over_network, pattern

SESSIONS = 10
PIECES = 40
KILLS = 2


def piece(session: int, number: int) -> bytes:
    """What is typed: no two sessions type the same."""
    return pattern(40 + number, session * 1000 + number)


class Users:
    """Clients and workers of many sessions on one node."""

    def __init__(self, house: Installation, way: Way, who: Identity, agent: ScriptedAgent) -> None:
        self._ssm = house.boto("ssm", retries={"max_attempts": 0}, connect_timeout=2, read_timeout=5)
        self._way = way
        self._who = who
        self.workers: dict[str, ScriptedWorker] = {}
        self.clients: list[ScriptedClient] = []
        agent.on_shell = self._begin
        self._node_id = who.node_id

    def _begin(self, content: dict[str, Any]) -> None:
        worker = ScriptedWorker(self._way, self._who, content["SessionId"])
        self.workers[worker.session_id] = worker
        worker.start()

    async def start(self) -> None:
        """One more session."""
        started = await asyncio.to_thread(self._ssm.start_session, Target=self._node_id)

        async def resume() -> str | None:
            try:
                answer = await asyncio.to_thread(self._ssm.resume_session, SessionId=started["SessionId"])
            except (BotoCoreError, ClientError) as error:
                raise OSError from error
            return str(answer["TokenValue"]) if "TokenValue" in answer else None

        client = ScriptedClient(self._way, started, resume)
        self.clients.append(client)
        client.start()

    async def type_all(self) -> None:
        """Every client types its pieces, in its own time."""
        async with asyncio.TaskGroup() as group:
            for number, client in enumerate(self.clients):
                group.create_task(_type(client, number))

    async def stop(self) -> None:
        for end in [*self.clients, *self.workers.values()]:
            await end.stop()


async def _type(client: ScriptedClient, session: int) -> None:
    luck = random.Random(session)
    for number in range(PIECES):
        await client.say(piece(session, number))
        await asyncio.sleep(luck.random() / 5)


async def _all_there(users: Users, length: int) -> None:
    async with asyncio.timeout(60):
        while any(len(client.received) < length for client in users.clients):
            await asyncio.sleep(0.05)


def _shown(house: Installation, session_id: str) -> str:
    own = house.boto("pilothouse")
    page = own.get_session_recording(SessionId=session_id, MaxBytes=1 << 20)
    events = [json.loads(line) for line in page["Data"].splitlines()]
    return "".join(data for _, kind, data in events if kind == "o")


async def _talk_under_kills(house: Installation, users: Users) -> None:
    for _ in range(SESSIONS):
        await users.start()
    async with asyncio.TaskGroup() as group:
        typing = group.create_task(users.type_all())
        for _ in range(KILLS):
            await asyncio.sleep(1.5)
            await asyncio.to_thread(house.kill)
            await asyncio.to_thread(house.start)
            seen = {client.session_id: bytes(client.received).decode() for client in users.clients}
            for session_id, shown in seen.items():
                recorded = await asyncio.to_thread(_shown, house, session_id)
                assert recorded.startswith(shown), "something was shown that is not recorded"
        await typing
    length = sum(40 + number for number in range(PIECES))
    await _all_there(users, length)


def test_many_shells_survive_kills_of_the_server(house: Installation) -> None:
    (identity,) = registered(house.boto("ssm"), house.http, house.known()["AWS_REGION"], 1)
    who = Identity(**identity)
    trust = ssl.create_default_context(cafile=str(house.data / "ca.pem"))
    address = f"127.0.0.1:{house.https}"

    async def live() -> None:
        agent = ScriptedAgent(who, OverNetwork.to(address, trust))
        await agent.start()
        users = Users(house, over_network(address, trust), who, agent)
        try:
            await _talk_under_kills(house, users)
            for number, client in enumerate(users.clients):
                typed = b"".join(piece(number, each) for each in range(PIECES))
                assert bytes(users.workers[client.session_id].received) == typed
                assert bytes(client.received) == typed
                assert await asyncio.to_thread(_shown, house, client.session_id) == typed.decode()
        finally:
            await users.stop()
            await agent.stop()

    asyncio.run(live())
