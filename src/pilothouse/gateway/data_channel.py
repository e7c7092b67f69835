"""Data channels: the websockets of clients and agents, joined in pairs by session.

The path names the session, the token in the first message says who has come; it is used up by that. An agent's upgrade
is signed by its node, a client has shown nothing but the token. What a peer sends that is no message of the protocol
ends its connection, and nobody else's.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Final
from urllib.parse import unquote
from xml.sax.saxutils import escape

import structlog

from pilothouse.call import House
from pilothouse.errors import AccessDeniedException, ApiError, ThrottlingException
from pilothouse.gateway.channels import MessageIds
from pilothouse.gateway.frames import MAX_FRAME, FrameInvalid
from pilothouse.gateway.lines import OpenLines, SocketLine
from pilothouse.gateway.pairing import REPEAT_MS, Pair
from pilothouse.gateway.relays import Opened, Outcome, Relays, Talk
from pilothouse.gateway.session_keeper import (
    CHANGED,
    DATA_CHANNEL_PATH,
    Admission,
    Role,
    SessionEnded,
    SessionKeeper,
    Tape,
    Terms,
    Use,
)
from pilothouse.gateway.session_messages import OpenDataChannel, read_open
from pilothouse.gateway.taping import Taping
from pilothouse.identity.authorise import may_node, refusal
from pilothouse.identity.policy import Verdict
from pilothouse.identity.principals import Principal
from pilothouse.runtime.metrics import DATA_CHANNELS, SESSION_FRAMES_REFUSED, SESSION_TOKENS_REFUSED
from pilothouse.runtime.waiting import wait
from pilothouse.storage import StorageUnavailable
from pilothouse.wire.asgi import CONNECTION
from pilothouse.wire.http import Request, Response

log = structlog.get_logger()

PATH: Final = DATA_CHANNEL_PATH
OPEN_SECONDS: Final = 10.0
"""How long a new websocket may take to show its token."""
SWEEP_SECONDS: Final = 5.0
"""How soon an end is seen whose wake-up was lost, and an end read from again that was not for a slow other one."""
_BROKEN_SECONDS, _BROKEN_TRIES = 2.0, 300

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Local = Callable[[Opened, Terms, Talk], Awaitable[Outcome]]
Authenticate = Callable[[Request], Awaitable[tuple[Principal, str]]]


class _Told:
    """What a pair tells; short work is done in tasks of the process."""

    def __init__(self, channels: "DataChannels", terms: Terms) -> None:
        self._channels = channels
        self._terms = terms

    def message_id(self) -> str:
        return self._channels.ids.next()

    def now(self) -> int:
        return self._channels.house.clock.millis()

    def tape(self, tape: Tape, done: Callable[[bool], None]) -> None:
        self._channels.taping.put(tape, done)

    def ending(self) -> None:
        self._channels.work(self._terms, self._channels.keeper.ending(self._channels.house, self._terms))

    def settled(self) -> None:
        self._channels.work(self._terms, self._channels.keeper.settled(self._channels.house, self._terms))

    def waits(self) -> None:
        self._channels.waits(self._terms.session_id)

    def cannot_record(self) -> None:
        self._channels.cannot_record(self._terms)


class DataChannels:
    """Both halves of the data channel on the listeners of one process, and its pairs."""

    def __init__(self, house: House, authenticate: Authenticate, keeper: SessionKeeper, process_id: str) -> None:
        self.house = house
        self.keeper = keeper
        self.ids = MessageIds(house)
        self.taping = Taping(house, keeper)
        self._authenticate = authenticate
        self._process_id = process_id
        self._pairs: dict[str, Pair] = {}
        self._last_uses: dict[str, Use] = {}
        """Of pairs that are gone."""
        self._lines = OpenLines()
        self._waiting: set[str] = set()
        """Sessions whose agents have input to acknowledge."""
        self._waits = asyncio.Event()
        self._changed: dict[str, None] = {}
        self._woken = asyncio.Event()
        self._group: asyncio.TaskGroup | None = None
        self.relays = Relays(house, process_id, self._serve_for_another, self._start)
        self._local: dict[str, Local] = {"channel": self._channel}
        house.bus.listen(CHANGED, self._wake)

    # The two doors

    async def create(self, request: Request) -> Response:
        """CreateDataChannel: `POST /v1/data-channel/<session>`, signed by a node."""
        if request.method != "POST":
            return _xml(405, _error("UnknownException", "This path answers POST."))
        try:
            node = await self._node(request, "ssmmessages:CreateDataChannel")
            token = await self.keeper.agent_token(self.house, node, _session_id(request))
        except StorageUnavailable as error:
            log.warning("data_channel.storage_unavailable", error=str(error))
            return _xml(503, _error("ServiceUnavailable", "Try again."))
        except SessionEnded:  # by these words agents know that they need not ask again
            return _xml(410, _error("BadRequest", "Session is already terminated"))
        except ApiError as error:
            trouble = error.http_status >= 500 or isinstance(error, ThrottlingException)
            return _xml(503 if trouble else 403, _error("UnknownException", error.message))
        made = _xml(
            201,
            "<CreateDataChannelResponse><MessageSchemaVersion>1.0</MessageSchemaVersion>"
            f"<TokenValue>{token}</TokenValue></CreateDataChannelResponse>",
        )
        made.signed = True
        return made

    async def websocket(self, request: Request, scope: Any, receive: Receive, send: Send) -> None:
        """The websocket at the same path, an ASGI conversation from `websocket.connect` on."""
        if (await receive())["type"] != "websocket.connect":
            return
        node = None
        if request.headers.get("authorization", "").startswith("AWS4-"):  # clients write there what they like
            try:
                node = await self._node(request, "ssmmessages:OpenDataChannel")
            except (ApiError, StorageUnavailable) as error:
                trouble = isinstance(error, StorageUnavailable) or error.http_status >= 500
                await _refuse_upgrade(send, 503 if trouble else 403)
                return
        await send({"type": "websocket.accept", "unproven": node is None})
        opening, why = await _opening(receive)
        admission = None
        if opening is not None:
            admission, why = await self.admitted(_session_id(request), opening.token, ("client", "agent"), node)
        if admission is None:
            await close_socket(send, 1008, why)
            return
        socket = scope.get(CONNECTION)
        if socket is not None:
            socket.shown()
        probe = None if socket is None or (opening and opening.acknowledges_again) else socket.probe
        await self.serve("channel", admission, "", Talk(receive, send, probe, socket))

    async def _node(self, request: Request, action: str) -> Principal:
        principal, _ = await self._authenticate(request)
        if principal.kind != "node":
            raise AccessDeniedException("Data channels are made by nodes.")
        if not may_node(principal, action):
            raise AccessDeniedException(refusal(principal, action, "*", Verdict.NEUTRAL))
        return principal

    async def admitted(
        self, session_id: str, token: str, roles: Sequence[Role], node: Principal | None
    ) -> tuple[Admission | None, str]:  # fmt: skip
        """Use up a token of one of the roles; None with the reason if it is not good."""
        try:
            admission = await self.keeper.admit(self.house, session_id, token, roles, node, self._process_id)
        except StorageUnavailable as error:
            log.warning("data_channel.storage_unavailable", session_id=session_id, error=str(error))
            return None, "the server cannot read its database"
        if admission is None:
            SESSION_TOKENS_REFUSED.inc()
            return None, "the token is not valid"
        return admission, ""

    # One connection

    async def serve(self, kind: str, admission: Admission, first: str, talk: Talk) -> None:
        """Serve a connection to its end, here or at the home of its session."""
        terms, role = admission.terms, admission.role
        outcome = Outcome(is_moved=True)
        DATA_CHANNELS.labels(role).inc()
        log.info("data_channel.opened", session_id=terms.session_id, role=role)
        try:
            opened = Opened(
                kind, terms.session_id, role, admission.connection_id, admission.ended, first, admission.viewer
            )
            while outcome.is_moved:
                home = await self._home(terms.session_id, role)
                if home is None:
                    outcome = await self._local[kind](opened, terms, talk)
                else:
                    outcome = await self.relays.relay(home, opened, talk)
                if outcome.is_moved:
                    terms = await self.keeper.terms(self.house, terms.session_id) or terms
        except StorageUnavailable as error:
            log.warning("data_channel.storage_unavailable", session_id=terms.session_id, error=str(error))
            outcome = Outcome(code=1013, why="the server cannot read its database")
        finally:
            DATA_CHANNELS.labels(role).dec()
            log.info("data_channel.closed", session_id=terms.session_id, role=role, why=outcome.why)
        await close_socket(talk.send, outcome.code, outcome.why)
        await self._left(admission, outcome.why)

    async def _home(self, session_id: str, role: Role) -> str | None:
        """The process that joins the session's ends, if that is another one: where the agent's connection is."""
        if role in ("agent", "watch"):
            return None
        home = await self.keeper.home(self.house, session_id)
        return None if home in (None, self._process_id) or self.relays.is_silent(home) else home

    async def _serve_for_another(self, opened: Opened, talk: Talk) -> Outcome:
        """Serve a connection of another process."""
        terms = await self.keeper.terms(self.house, opened.session_id)
        if terms is None:
            return Outcome(why="the session has ended")
        return await self._local[opened.kind](opened, terms, talk)

    async def _channel(self, opened: Opened, terms: Terms, talk: Talk) -> Outcome:
        """Serve the connection of an end."""
        role, pair = opened.role, self.pair(terms)
        line: SocketLine | None = None
        try:
            async with asyncio.TaskGroup() as group:
                name = f"{role} of {terms.session_id}"
                line = SocketLine(talk.send, talk.ping, self.house.clock, group, name, talk.socket)
                line.pair = pair
                self.hold(line)
                (pair.client_came if role == "client" else pair.agent_came)(line)
                if opened.ended is not None:
                    pair.end(opened.ended)
                await self._heard_to_the_end(pair, role, line, talk, group)
        finally:
            if line is not None:
                self.let_go(line)
                (pair.client_left if role == "client" else pair.agent_left)(line)
        return Outcome(line.is_moved, line.code, line.why)

    async def _heard_to_the_end(
        self, pair: Pair, role: Role, line: SocketLine, talk: Talk, group: asyncio.TaskGroup
    ) -> None:
        """Hear what an end sends, as it comes where the websocket is one of this process, until it closes."""
        heard = partial(self._heard, pair, role, line)
        if talk.socket is None:
            reader = group.create_task(_read(heard, pair, line, talk.receive), name=f"frames of {role}")
            await line.closing.wait()
            reader.cancel()
            return
        talk.socket.hear(heard, partial(line.close, "the peer closed it"), partial(pair.answered, line))
        try:
            await line.closing.wait()
        finally:
            talk.socket.hear_no_more()

    def _heard(self, pair: Pair, role: Role, line: SocketLine, message: bytes) -> None:
        if line.closing.is_set():
            return
        try:
            if len(message) > MAX_FRAME:
                raise FrameInvalid("over 256 KiB")
            (pair.from_client if role == "client" else pair.from_agent)(message)
        except (ValueError, FrameInvalid, RecursionError) as error:
            SESSION_FRAMES_REFUSED.labels(role).inc()
            log.warning("data_channel.not_understood", session_id=pair.terms.session_id, role=role,
                        reason=type(error).__name__)  # fmt: skip
            line.close("a message was not understood", 1008)
        except Exception:
            log.exception("data_channel.failed", session_id=pair.terms.session_id, role=role)
            line.close("the server failed", 1011)

    async def _left(self, admission: Admission, why: str) -> None:
        try:
            await self.keeper.left(self.house, admission, why)
        except StorageUnavailable as error:
            session_id = admission.terms.session_id
            log.warning("data_channel.storage_unavailable", session_id=session_id, error=str(error))

    # The pairs of this process

    def hold(self, line: SocketLine) -> None:
        """A connection is open; it is closed when the server stops."""
        self._lines.add(line)

    def let_go(self, line: SocketLine) -> None:
        """The connection has ended."""
        self._lines.discard(line)

    def known(self, session_id: str) -> Pair | None:
        """The session's pair, if it is here."""
        return self._pairs.get(session_id)

    def pair(self, terms: Terms) -> Pair:
        """The session's pair, from here on."""
        found = self._pairs.get(terms.session_id)
        if found is None:
            found = self._pairs[terms.session_id] = Pair(terms, _Told(self, terms))
        return found

    def _wake(self, session_id: str) -> None:
        if session_id in self._pairs:
            self._changed[session_id] = None
            self._woken.set()

    def waits(self, session_id: str) -> None:
        """The session's pair is to look in a while whether its agent has acknowledged what it was sent."""
        self._waiting.add(session_id)
        self._waits.set()

    async def _repeat(self) -> None:
        """Have sent again what agents did not acknowledge."""
        while True:
            await self._waits.wait()
            await self.house.clock.sleep(REPEAT_MS / 1000)
            waiting = (self._pairs.get(session_id) for session_id in self._waiting)
            self._waiting = {pair.terms.session_id for pair in waiting if pair is not None and pair.repeat()}
            if not self._waiting:
                self._waits.clear()

    def serves(self, kind: str, local: Local) -> None:
        """Serve connections of this kind so, where they are at home here."""
        self._local[kind] = local

    def work(self, terms: Terms, doing: Coroutine[Any, Any, None]) -> None:
        """Do what a pair tells, beside its frames."""
        self._start(doing, f"news of {terms.session_id}")

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        if self._group is not None:
            self._group.create_task(self._survived(work, name), name=name)
        else:
            work.close()

    async def _survived(self, work: Awaitable[None], name: str) -> None:
        try:
            await work
        except StorageUnavailable as error:
            log.warning("data_channel.storage_unavailable", work=name, error=str(error))
        except Exception:
            log.exception("data_channel.failed", work=name)

    def cannot_record(self, terms: Terms) -> None:
        """End a session that must be recorded and cannot be; whoever is at it reads why."""
        reason = "The recording of this session cannot be written, and this account allows none without. It was ended."
        log.error("session.not_recorded", session_id=terms.session_id)
        self._pairs[terms.session_id].end(reason)
        self.work(terms, self._broken(terms, reason))

    async def _broken(self, terms: Terms, reason: str) -> None:
        """Say so as soon as that can be stored: the same trouble may be in the way."""
        for _ in range(_BROKEN_TRIES):
            try:
                await self.keeper.broken(self.house, terms, reason)
            except StorageUnavailable as error:
                log.warning("data_channel.storage_unavailable", session_id=terms.session_id, error=str(error))
                await self.house.clock.sleep(_BROKEN_SECONDS)
            else:
                return

    def _move(self, session_id: str, pair: Pair) -> None:
        """Another process joins the session's ends now: it serves the connections that are here."""
        del self._pairs[session_id]
        if (use := pair.use()) is not None:
            self._last_uses[session_id] = use
        for line in self._lines:
            if line.pair is pair:
                line.move()

    def uses(self) -> dict[str, Use]:
        """What went through sessions since this was asked last."""
        found, self._last_uses = self._last_uses, {}
        found.update({session_id: use for session_id, pair in self._pairs.items() if (use := pair.use()) is not None})
        return found

    async def flush(self, house: House) -> None:
        """Tell the keeper what went through the sessions."""
        uses = self.uses()
        if uses:
            await self.keeper.used(house, uses)

    async def run(self) -> None:
        """Record, and end what is to end, until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            group.create_task(self.taping.run(), name="recordings of sessions")
            group.create_task(self._repeat(), name="input that agents did not take")
            try:
                await self._look_after()
            finally:
                self._group = None

    def close(self, why: str) -> None:
        """Close every connection; the peers will open others."""
        for line in self._lines:
            line.close(why, 1012)

    async def _look_after(self) -> None:
        next_sweep = 0
        while True:
            now = self.house.clock.millis()
            wanted: Sequence[str] = list(self._changed)
            self._changed.clear()
            self._woken.clear()
            if now >= next_sweep:
                self.relays.look_after()
                next_sweep, wanted = now + int(SWEEP_SECONDS * 1000), list(self._pairs)
            if wanted:
                await self._look_at(wanted)
            await wait(self.house.clock, self._woken, (next_sweep - self.house.clock.millis()) / 1000)

    async def _look_at(self, session_ids: Sequence[str]) -> None:
        try:
            standings = await self.keeper.standings(self.house, session_ids, self._process_id)
        except StorageUnavailable as error:
            log.warning("data_channel.storage_unavailable", error=str(error))
            return
        for session_id in session_ids:
            pair, standing = self._pairs.get(session_id), standings.get(session_id)
            if pair is None:
                continue
            pair.read_on()
            if standing is not None and standing.elsewhere:
                self._move(session_id, pair)
                continue
            if standing is None or standing.ends == "both":
                pair.end("" if standing is None else standing.reason)
            elif standing.ends == "client":
                pair.end(standing.reason, client_only=True)
            if pair.client is None and pair.agent is None and (standing is None or standing.ends == "both"):
                del self._pairs[session_id]
                if (use := pair.use()) is not None:
                    self._last_uses[session_id] = use


async def _read(heard: Callable[[bytes], None], pair: Pair, line: SocketLine, receive: Receive) -> None:
    """Hear what comes from another process."""
    while True:
        event = await receive()
        if event["type"] == "websocket.disconnect":
            line.close("the peer closed it")
            return
        if "pong" in event:
            pair.answered(line, event["pong"])
        else:
            heard(event.get("bytes") or b"")  # text is no message of the protocol


async def _opening(receive: Receive) -> tuple[OpenDataChannel | None, str]:
    """The first message, which holds the token; None with the reason if it does not."""
    try:
        async with asyncio.timeout(OPEN_SECONDS):
            event = await receive()
    except TimeoutError:
        return None, "no token came"
    try:
        return read_open(event.get("text") or event.get("bytes") or b""), ""
    except (ValueError, RecursionError):
        SESSION_TOKENS_REFUSED.inc()
        return None, "the first message holds no token"


def _session_id(request: Request) -> str:
    return unquote(request.path.removeprefix(PATH))


def _error(name: str, text: str) -> str:
    return f"<{name}><message>{escape(text)}</message></{name}>"


def _xml(status: int, body: str) -> Response:
    return Response(status, {"content-type": "application/xml"}, body.encode())


async def _refuse_upgrade(send: Send, status: int) -> None:
    headers = [(b"content-type", b"application/xml")]
    await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
    text = "Try again." if status >= 500 else "These credentials do not open this channel."
    name = "ServiceUnavailable" if status >= 500 else "UnknownException"
    await send({"type": "websocket.http.response.body", "body": _error(name, text).encode()})


async def close_socket(send: Send, code: int, why: str) -> None:
    """Close a websocket that may be gone already."""
    try:
        await send({"type": "websocket.close", "code": code, "reason": why})
    except (OSError, RuntimeError):
        return  # the peer, or the server on its way down, closed it first
