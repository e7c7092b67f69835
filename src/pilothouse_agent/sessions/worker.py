"""The process of one session: from the first connection to the result that the agent reports.

It is a forked child of the agent that outlives it. What it leaves: result.json, its own log, the transcript.
"""

import asyncio
import base64
import os
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from pilothouse_agent import log
from pilothouse_agent.link.api import NodeApi
from pilothouse_agent.link.https import Endpoint
from pilothouse_agent.link.stored import StoredCredentials
from pilothouse_agent.plugins import Node
from pilothouse_agent.sessions import activity, channel, encryption, handshake, ports, programs, terminal, transfer
from pilothouse_agent.sessions.activity import Activity, Ending, Scene
from pilothouse_agent.sessions.channel import DataChannel, SessionOver
from pilothouse_agent.sessions.handshake import Client, HandshakeFailed, Question
from pilothouse_agent.sessions.order import FILE, INTERACTIVE, NON_INTERACTIVE, PORT, STANDARD, Order, is_true
from pilothouse_agent.sessions.transcript import Stored, Transcript
from pilothouse_agent.sessions.users import Account, CannotStart, account_for
from pilothouse_agent.settings import Settings
from pilothouse_agent.state import files

_SHAKES_HANDS = frozenset({PORT, NON_INTERACTIVE, FILE})
_EXTENSIONS = {NON_INTERACTIVE: "exec", FILE: "file"}
_HANDSHAKE = 15.0  # seconds for each answer of the client
_CHALLENGE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What a worker needs of the agent."""

    directory: Path
    node: Node
    endpoint: Endpoint
    settings: Settings


class _Done(Exception):
    """The session came to its own end."""


def main(place: Place, order: Order) -> None:
    """The worker's whole life."""
    asyncio.run(_live(place, order))


async def _live(place: Place, order: Order) -> None:
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    session = Session(place, order)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(session.channel.hold())
            group.create_task(_end_when(told))
            group.create_task(session.transcript.stream())
            await session.perform()
            raise _Done
    except* _Done:
        pass
    except* SessionOver as over:
        session.ending = session.ending or Ending(output=str(_first(over)))
    ending = session.ending or Ending()
    log.event("session.ended", session_id=order.session_id, status=ending.status, sent=session.channel.numbers.sent)
    write_result(place.directory, ending, await session.transcript.finish())


async def _end_when(told: asyncio.Event) -> None:
    await told.wait()
    raise SessionOver("")


def write_result(directory: Path, ending: Ending, stored: Stored | None = None) -> None:
    """What agent_task_complete says."""
    files.write_json(directory / "result.json", {**asdict(ending), **asdict(stored or Stored())})


class Session:
    """One session under way."""

    def __init__(self, place: Place, order: Order) -> None:
        self._place = place
        self._order = order
        node = place.node
        self._api = NodeApi(place.endpoint, node.instance_id, node.region, StoredCredentials(node.credentials_file))
        self.channel = DataChannel(self._api, order.session_id, place.settings)
        self.ending: Ending | None = None
        """How it ended, if it came to its own end. The server closes the channel as soon as it hears of it."""
        self._trouble = ""
        self._account: Account | None = None
        try:
            self._account = account_for(order, place.settings.session_user, node.state)
        except (CannotStart, OSError) as error:
            self._trouble = str(error)
        user = self._account.name if self._account else ""
        self.transcript = Transcript(order, place.directory, node, self._api, place.settings, user)

    async def perform(self) -> None:
        """Connect, shake hands, do what the session is for, and let the client have all of its output."""
        await self.channel.opened()
        self.ending = await self._perform()
        if not await self.channel.drained(self._place.settings.session_linger):
            log.event("session.output_lost", level="warning", session_id=self._order.session_id)
        if not self.ending.output:  # else the client is to read why, which comes with the agent's report
            self.channel.say_state("Terminating")
        await self.channel.flushed()

    async def _perform(self) -> Ending:
        if self._account is None:
            return Ending(status="Failed", output=self._trouble)
        try:
            client = await self._shake_hands()
            running = self._activity(self._account, client)
        except (HandshakeFailed, ValueError) as error:
            return Ending(status="Failed", output=str(error))
        log.event("session.started", session_id=self._order.session_id, user=self._account.name, client=client.version)
        try:
            return await running.run()
        except OSError as error:
            return Ending(status="Failed", output=f"The session could not be started: {error}")
        finally:
            await running.end()

    def _activity(self, account: Account, client: Client) -> Activity:
        """Raises ValueError if the document does not say what is to be done."""
        scene = Scene(
            order=self._order,
            account=account,
            channel=self.channel,
            client=client,
            directory=self._place.directory,
            record=self.transcript.record,
        )
        kinds: dict[str, Callable[[Scene], Activity]] = {
            STANDARD: terminal.shell,
            INTERACTIVE: terminal.commands,
            NON_INTERACTIVE: programs.program,
            PORT: ports.tunnel,
            FILE: transfer.FileSession,
        }
        return kinds[self._order.session_type](scene)

    async def _shake_hands(self) -> Client:
        """Raises HandshakeFailed."""
        order = self._order
        if order.session_type not in _SHAKES_HANDS and not order.key_id:
            return Client()
        began = time.monotonic_ns()
        question = Question(
            session_type=order.session_type,
            properties=_texts(order) if order.session_type in (PORT, FILE) else None,
            extension=_EXTENSIONS.get(order.session_type, ""),
            key_id=order.key_id,
            challenge=base64.b64encode(os.urandom(_CHALLENGE)).decode(),
        )
        answers = Answers(self.channel)
        self.channel.put(channel.HANDSHAKE_REQUEST, question.encode())
        answer = handshake.read_answer(await answers.next(channel.HANDSHAKE_RESPONSE), question)
        if order.key_id:
            cipher = await encryption.unwrap(self._api, order.session_id, question, answer)
            challenge = encryption.Challenge(cipher)
            self.channel.put(channel.CHALLENGE_REQUEST, handshake.challenge(challenge.text))
            challenge.check(handshake.read_challenge(await answers.next(channel.CHALLENGE_RESPONSE)))
            self.channel.cipher = cipher
        separate = is_true(order.of_platform.get("separateOutputStream")) and not answer.client.takes_exec
        note = answer.client.note if order.session_type == NON_INTERACTIVE and separate else ""
        if order.key_id:
            note += f"This session is encrypted with the key {order.key_id}: only you and the node can read it.\r\n"
        self.channel.take = activity.not_now
        self.channel.put(channel.HANDSHAKE_COMPLETE, handshake.complete(time.monotonic_ns() - began, note))
        return answer.client


class Answers:
    """The client's answers during the handshake; what else comes meanwhile is taken and passed over."""

    def __init__(self, of: DataChannel) -> None:
        self._answers: dict[int, bytes] = {}
        self._came = asyncio.Event()
        of.take = self._take
        of.ready()

    def _take(self, payload_type: int, payload: bytes) -> bool:
        self._answers.setdefault(payload_type, payload)
        self._came.set()
        return True

    async def next(self, payload_type: int) -> bytes:
        """Raises HandshakeFailed if it does not come in time."""
        try:
            async with asyncio.timeout(_HANDSHAKE):
                while payload_type not in self._answers:
                    self._came.clear()
                    await self._came.wait()
        except TimeoutError as error:
            raise HandshakeFailed("The client did not answer the handshake in time.") from error
        return self._answers[payload_type]


def _texts(order: Order) -> dict[str, str]:
    """The properties, all values as texts: clients know nothing else."""
    return {name: value if isinstance(value, str) else str(value) for name, value in order.properties.items()}


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
