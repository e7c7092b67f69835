"""StartSession, ResumeSession, TerminateSession, and OpenSessionView for those who look on."""

from collections.abc import Sequence
from typing import Final, Literal

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities import documents, nodes
from pilothouse.capabilities.documents import Document, InvalidDocument
from pilothouse.capabilities.sessions import policy, starting, states
from pilothouse.capabilities.sessions.delivering import is_streamed
from pilothouse.capabilities.sessions.keeper import new_token
from pilothouse.capabilities.sessions.model import DoesNotExistException, Session, TargetNotConnected, names
from pilothouse.capabilities.sessions.starting import PREFERENCES
from pilothouse.capabilities.sessions.store import SessionStore
from pilothouse.capabilities.sessions.tapes import StreamStore
from pilothouse.capabilities.sessions.viewing import ACTIONS, viewer_of
from pilothouse.errors import AccessDeniedException, ValidationException
from pilothouse.gateway import presence
from pilothouse.gateway.session_keeper import TERMINAL_PATH
from pilothouse.identity.authorise import ask_any, ask_each
from pilothouse.storage import Transaction

_CHECKED: Final = "ssm:SessionDocumentAccessCheck"
_START: Final = "ssm:StartSession"
_OPEN: Final = "ssmmessages:OpenDataChannel"


def _start_resources(call: Call, request: Shape) -> list[str]:
    """The node, and the document that the request names."""
    target = states.node_arn(call.account_id, call.region, request["Target"])
    name = request.get("DocumentName")
    return [target, *([documents.arn_of(name, call.account_id, call.region)] if name else [])]


def _session(call: Call, request: Shape) -> list[str]:
    return [f"arn:aws:ssm:{call.region}:{call.account_id}:session/{request['SessionId']}"]


@operation("ssm", "StartSession", writes=True, resources=_start_resources, asks_itself=True)
async def start_session(call: Call, request: Shape) -> Shape:
    """Begin a session on a node that is connected: its agent is told at once, the client comes with the token."""
    async with call.transaction() as tx:
        await _may_start(call, tx, request)
        document = await _document(call, tx, request.get("DocumentName") or PREFERENCES)
        documents.check_values(document, request.get("Parameters") or {})
        await _check_connected(call, tx, request["Target"])
        await policy.check_reason(tx, call.account_id, call.region, request.get("Reason"))
        recording = await policy.recording(tx, call.account_id, call.region)
        if recording.taping == "needed" and starting.is_encrypted(document, request.get("Parameters") or {}):
            raise ValidationException(
                f"The document {document.name} encrypts sessions with a KMS key (kmsKeyId), and this account demands "
                "that sessions are recorded, which an encrypted one cannot be. Use a document without kmsKeyId."
            )
        session_id = starting.made_id(call)
        await ask_any(call, tx, _OPEN, names(call.account_id, call.region, session_id, call.principal.user_id))
        session = starting.new_session(call, request, session_id, document, recording)
        await states.save(call.house, tx, None, session)
        if is_streamed(session.delivery):
            await StreamStore(tx, call.house.vault).begin(session_id)
        token = await new_token(call.house, tx, session_id, "client")
        states.wake(call.house, tx, session)
    return {"SessionId": session_id, "TokenValue": token, "StreamUrl": starting.stream_url(call, session_id)}


async def _may_start(call: Call, tx: Transaction, request: Shape) -> None:
    """The node is asked about, and the document: that of the account's preferences only where a policy wants it.

    A policy wants it by the condition `ssm:SessionDocumentAccessCheck`; then it does not allow what is asked without.
    """
    target = [states.node_arn(call.account_id, call.region, request["Target"])]
    document = [documents.arn_of(request.get("DocumentName") or PREFERENCES, call.account_id, call.region)]
    if not request.get("DocumentName"):
        try:
            await ask_each(call, tx, _START, target, {_CHECKED: "false"})
        except AccessDeniedException:
            await ask_each(call, tx, _START, target, {_CHECKED: "true"})
        else:
            return
    await ask_each(call, tx, _START, target + document, {_CHECKED: "true"})


async def _document(call: Call, tx: Transaction, name: str) -> Document:
    document = await documents.find(tx, call.account_id, call.region, name)
    if document.kind != "Session":
        raise InvalidDocument(f"The document {document.name} is of type {document.kind}; a session needs type Session.")
    return document


async def _check_connected(call: Call, tx: Transaction, target: str) -> None:
    node = await nodes.find(tx, call.account_id, call.region, target)
    if node is None or not await presence.is_connected(tx, target, call.clock.millis()):
        raise TargetNotConnected(f"{target} is not connected.")


@operation("ssm", "ResumeSession", writes=True, resources=_session, asks_itself=True)
async def resume_session(call: Call, request: Shape) -> Shape:
    """A new token for a session that goes on. One that has ended has none: clients then say that it timed out."""
    async with call.transaction() as tx:
        session = await _named(call, tx, "ssm:ResumeSession", request["SessionId"])
        if session is None:
            raise DoesNotExistException
        if session.is_ending:
            return {"SessionId": session.session_id}
        await ask_any(call, tx, _OPEN, session.names)
        token = await new_token(call.house, tx, session.session_id, "client")
    url = starting.stream_url(call, session.session_id)
    return {"SessionId": session.session_id, "TokenValue": token, "StreamUrl": url}


@operation("ssm", "TerminateSession", writes=True, resources=_session, asks_itself=True)
async def terminate_session(call: Call, request: Shape) -> Shape:
    """End a session for both of its ends; one that is not there, or over, is just named again."""
    async with call.transaction() as tx:
        session = await _named(call, tx, "ssm:TerminateSession", request["SessionId"])
        if session is not None:
            who = starting.owner_name(call.principal)
            await states.terminate(call.house, tx, session, f"The session was terminated by {who}.")
    return {"SessionId": request["SessionId"]}


async def _named(call: Call, tx: Transaction, action: str, session_id: str) -> Session | None:
    """The session, locked, if there is one of the account and the caller may do this with it."""
    store = SessionStore(tx)
    await store.lock(session_id)
    session = await store.of_account(call.account_id, call.region, session_id)
    asked: Sequence[str] = _session(call, {"SessionId": session_id}) if session is None else session.names
    await ask_any(call, tx, action, asked)
    return session


@operation("pilothouse", "OpenSessionView", writes=True, resources=_session, asks_itself=True)
async def open_session_view(call: Call, request: Shape) -> Shape:
    """A token to watch a session that goes on, or to type in it beside its owner."""
    mode: Literal["watch", "join"] = request["Mode"]
    async with call.transaction() as tx:
        session = await _named(call, tx, ACTIONS[mode], request["SessionId"])
        if session is None or session.is_ending:
            raise DoesNotExistException("There is no such session that goes on.")
        token = await new_token(call.house, tx, session.session_id, mode, viewer_of(call, mode))
    url = starting.websocket_base(call) + TERMINAL_PATH
    return {"SessionId": session.session_id, "TokenValue": token, "Url": url}
