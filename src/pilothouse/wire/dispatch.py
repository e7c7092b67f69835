"""The way of a call: the one place that knows the order of steps, and no operation can leave one out.

authenticate → the operation's model → parse and validate → authorise → handler → serialise → answer. An operation that
writes runs from its handler to its serialised answer in one transaction, which also keeps the answer for retries; it is
durable before the answer leaves. Every outcome is counted, timed and logged here, once, and never with request members.
"""

from asyncio import get_running_loop
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache, partial
from logging import DEBUG, INFO
from time import perf_counter
from typing import Protocol

import structlog

from pilothouse.call import Act, Audit, Call, Caller, House, Operation, Shape
from pilothouse.errors import (
    AccessDeniedException,
    ApiError,
    InternalServerError,
    RoleMissing,
    SerializationException,
    ServiceUnavailable,
    ThrottlingException,
    UnknownOperationException,
)
from pilothouse.identity.principals import Principal
from pilothouse.inside import ITSELF, Origin
from pilothouse.runtime.metrics import CALLS, NODE_REFUSALS
from pilothouse.runtime.settings import API, GATEWAY
from pilothouse.storage import StorageUnavailable, Transaction
from pilothouse.wire.about import about, arns_in, resources_of
from pilothouse.wire.ec2 import Ec2
from pilothouse.wire.http import ClientLeft, Request, Response
from pilothouse.wire.incoming import StreamedBody, whole_body
from pilothouse.wire.inside_names import InsideNames
from pilothouse.wire.json11 import ACCEPTED, Json11
from pilothouse.wire.limits import REST_BODY_LIMIT
from pilothouse.wire.models import REST_JSON, TARGETS, VERSIONS, OperationModel, service_model
from pilothouse.wire.protocol import WireProtocol
from pilothouse.wire.query import FORM, Query, form_of
from pilothouse.wire.replay import ReplayStore, replay_key
from pilothouse.wire.rest_json import RestJson
from pilothouse.wire.rest_routes import Hosts, hosts_of
from pilothouse.wire.rest_xml import RestXml
from pilothouse.wire.shares import Shares
from pilothouse.wire.sigv4 import Authenticator

log = structlog.get_logger()

Authorise = Callable[[Call, Operation, Shape], Awaitable[None] | None]
"""Raises AccessDeniedException, or lets pass. May be a coroutine function."""


class EventStreams(Protocol):
    """Answers whose events come one after another; `wire.streams.Streams` of the process."""

    def told(
        self, request: Request, call: Call, operation: Operation, model: OperationModel, shape: Shape, answer: Shape
    ) -> Response:
        """The answer, which goes on until one side leaves. Raises ThrottlingException, ServiceUnavailable."""


INVOCATION_ID = "amz-sdk-invocation-id"
_JSON, _QUERY, _EC2 = Json11(), Query(), Ec2()
_LEFT = Response(400, {}, b"")
"""The answer that nobody will get."""
_MAX_INVOCATION_ID = 256
_LARGE = 64 << 10
"""Bytes of a body that is parsed beside the event loop, which may take longer than hundreds of calls; one at a time."""
_PARSING = ThreadPoolExecutor(1, "parsing")
_MAX_TARGET = 128


@lru_cache(maxsize=1024)
def _named(target: str) -> tuple[str, str]:
    """Service and operation of an `X-Amz-Target`; an empty service if the prefix is not known."""
    if len(target) > _MAX_TARGET:
        raise UnknownOperationException("The request names no operation that is known here.")
    prefix, _, name = target.rpartition(".")
    return TARGETS.get(prefix, ""), name


@dataclass(slots=True)
class _Way:
    """What is known of a call so far; the log and the error answer take from it."""

    request_id: str
    protocol: WireProtocol
    service: str = ""
    name: str = ""
    model: OperationModel | None = None
    operation: Operation | None = None
    principal: Principal | None = None
    call: Call | None = None
    shape: Shape | None = None
    at: int = 0
    about: list[str] | None = None
    """The ARNs that it is about, once somebody asked."""


_UNRECORDED = (ThrottlingException, ServiceUnavailable)
"""Refusals that say nothing of who may do what; they come in floods, or because nothing can be recorded."""


class Dispatch:
    """Answers API calls by the operation table."""

    def __init__(
        self,
        house: House,
        operations: Mapping[tuple[str, str], Operation],
        authenticator: Authenticator,
        authorise: Authorise,
        streams: EventStreams | None = None,
    ) -> None:
        """`streams` is needed where an operation of the table has an event stream."""
        self._streams = streams
        self._house = house
        self.hosts: Hosts = hosts_of(house.settings)
        self._rest = RestXml(self.hosts)
        self._rest_json = {service: RestJson(service) for service in REST_JSON}
        self._operations = operations
        self._inside_names = InsideNames(operations)
        self._authenticator = authenticator
        self._authorise = authorise
        self._shares = Shares(house.settings.limits.in_flight)
        self._answers_clients, self._answers_agents = API in house.roles, GATEWAY in house.roles
        self._log = log.bind()
        self._logged = {level: self._log.is_enabled_for(level) for level in (INFO, DEBUG)}  # asked of every call

    async def knows(self, request: Request) -> bool:
        """Whether the access key of a request may sign; the signature itself is looked at when the body is there."""
        try:
            return await self._authenticator.knows(request)
        except StorageUnavailable:  # a fault is no refusal
            return True

    async def respond_rest(self, request: Request) -> Response:
        """As `respond`, for what method, host, path and query say to S3."""
        request.host_bucket = self.hosts.bucket(request.headers.get("host", ""))
        return await self.respond(request, protocol=self._rest)

    async def respond_rest_json(self, request: Request, service: str) -> Response:
        """As `respond`, for what method, path and query say to a service of the REST-JSON protocol."""
        return await self.respond(request, protocol=self._rest_json[service])

    async def respond(
        self, request: Request, named: tuple[str, str] | None = None, protocol: WireProtocol = _JSON
    ) -> Response:
        """The answer to one API call; an error is an answer too. Only cancellation leaves this function.

        `named`: service and operation, where the path says so and no header or form does.
        """
        began = perf_counter()
        way = _Way(self._house.ids.uuid(), protocol)
        if named is not None:
            way.service, way.name = named
        try:
            response = await self._answered(request, way)
            code = "OK"
        except ApiError as error:
            error = await self._refusal_kept(way, error)
            code, response = error.code, way.protocol.error(error, way.request_id, way.model)
        except StorageUnavailable as fault:
            log.error("call.storage_unavailable", request_id=way.request_id, operation=way.name, error=str(fault))
            unavailable = _unavailable()
            code, response = unavailable.code, way.protocol.error(unavailable, way.request_id, way.model)
        except ClientLeft:
            code, response = "ClientLeft", _LEFT
        except Exception:
            log.exception("call.failed", request_id=way.request_id, service=way.service, operation=way.name)
            internal = await self._refusal_kept(way, InternalServerError())
            code, response = internal.code, way.protocol.error(internal, way.request_id, way.model)
        self._record(way, code, perf_counter() - began)
        if self._house.used_elsewhere:
            self._house.used_elsewhere.pop(way.request_id, None)
        response.signed = way.principal is not None and way.principal.kind != "anonymous"
        return response

    async def _answered(self, request: Request, way: _Way) -> Response:
        self._name_operation(request, way)
        operation = self._operations.get((way.service, way.name))
        way.operation = operation
        self._check_roles_before(operation)
        anonymous_ok = operation is not None and Caller.ANYONE in operation.callers
        way.principal, region = await self._authenticator.principal(request, way.service, anonymous_ok=anonymous_ok)
        who, is_node = way.principal.arn or request.peer, way.principal.kind == "node"
        if not self._answers_clients and not is_node and (operation is None or Caller.ACCOUNT in operation.callers):
            raise RoleMissing(self._house.roles, API)
        self._shares.take(who, is_node=is_node)
        try:
            return await self._let_in(request, way, operation, region)
        finally:
            self._shares.free(who, is_node=is_node)

    def _check_roles_before(self, operation: Operation | None) -> None:
        """Refuse what this process answers to nobody. Others it answers to nodes by either role, to clients as API."""
        if self._answers_clients and self._answers_agents:
            return
        is_of_agents = operation is not None and Caller.ACCOUNT not in operation.callers
        if is_of_agents and not self._answers_agents:
            raise RoleMissing(self._house.roles, GATEWAY)
        if not self._answers_agents and not self._answers_clients:
            raise RoleMissing(self._house.roles, API)

    async def _let_in(self, request: Request, way: _Way, operation: Operation | None, region: str) -> Response:
        """The answer to a caller who is known."""
        model = service_model(way.service).operations.get(way.name)
        if model is None:
            raise UnknownOperationException(f"The operation {way.name} does not exist.")
        way.model = model
        call = way.call = self._call(request, way, region)
        if way.protocol is self._rest and model.streamed_in is None:
            request.body = await whole_body(request, REST_BODY_LIMIT)
        parsed = partial(_parsed, model, operation, way.protocol, request)
        if len(request.body) > _LARGE:
            shape, call.beyond = await get_running_loop().run_in_executor(_PARSING, parsed)
        else:
            shape, call.beyond = parsed()
        if model.streamed_in is not None:
            shape[model.streamed_in] = StreamedBody(request)
        way.shape = shape
        if operation is None:
            raise _not_here(way)
        verdict = self._authorise(call, operation, shape)
        if verdict is not None:
            await verdict
        audit = self._house.audit
        if audit is not None and operation.is_audited(shape):
            await audit.ready()
            way.about = await about(call, operation, shape)
        else:
            audit = None
        if operation.writes:
            async with nullcontext() if operation.line is None else operation.line(call, shape):
                body = await self._written(call, operation, model, shape, request, way, audit)
        else:
            answer = await operation.handler(call, shape)
            if model.event_stream is not None:
                assert self._streams is not None
                return self._streams.told(request, call, operation, model, shape, answer)
            if audit is not None and operation.is_audited(shape, answer):
                await audit.keep(_act(way, answer=answer))
            if model.streamed_out is not None:
                return self._rest.streamed(model, answer, way.request_id)
            body = way.protocol.body(model, answer)
        return way.protocol.answer(model, body, way.request_id)

    def _call(self, request: Request, way: _Way, region: str) -> Call:
        assert way.principal is not None
        way.at = self._house.clock.millis()
        return Call(
            principal=way.principal,
            account_id=way.principal.account_id,
            region=region,
            request_id=way.request_id,
            house=self._house,
            source_ip=request.peer,
            user_agent=request.headers.get("user-agent", ""),
            secure=request.secure,
            presigned="authorization" not in request.headers,
            headers=request.headers,
            gone=request.gone,
        )

    async def _refusal_kept(self, way: _Way, error: ApiError) -> ApiError:
        """Record the refusal of a known caller, of what may not be or of what would have been recorded."""
        audit = self._house.audit
        if audit is None or way.call is None or way.operation is None or isinstance(error, _UNRECORDED):
            return error
        if not way.call.account_id:  # a stranger, who could fill the trail of nobody's account
            return error
        if not isinstance(error, AccessDeniedException) and not way.operation.is_audited(way.shape or {}):
            return error
        try:
            if way.about is None:
                way.about = await about(way.call, way.operation, way.shape)
            await audit.keep(_act(way, error=error))
        except Exception:
            log.exception("call.not_recorded", request_id=way.request_id, operation=way.name)
            return _unavailable()
        return error

    def answers(self, service: str, name: str) -> bool:
        """Whether the table has the operation."""
        return (service, name) in self._operations

    def named(self, service: str, name: str) -> str | None:
        """The name in the table of an operation that can be asked from inside (`Inside.named`)."""
        return self._inside_names.find(service, name)

    async def refused(
        self, tx: Transaction, who: Principal, region: str, named: tuple[str, str], request: Shape, error: ApiError,
        origin: Origin,
    ) -> None:  # fmt: skip
        """Record a refusal (`Inside.refused`)."""
        way = _Way(self._house.ids.uuid(), _JSON, *named)
        way.operation, way.shape, way.at = self._operations[named], request, self._house.clock.millis()
        way.call = self._own_call(way, who, region, origin, tx)
        way.about = await about(way.call, way.operation, request)
        if self._house.audit is not None:
            self._house.audit.add(tx, _act(way, error=error))

    def _own_call(self, way: _Way, who: Principal, region: str, origin: Origin, tx: Transaction) -> Call:
        return Call(
            principal=who, account_id=who.account_id, region=region, request_id=way.request_id, house=self._house,
            source_ip=origin.source_ip, user_agent=origin.user_agent, secure=origin.secure, bound=tx, within=tx,
        )  # fmt: skip

    async def asked(
        self, tx: Transaction, who: Principal, region: str, named: tuple[str, str], request: Shape,
        origin: Origin = ITSELF,
    ) -> Shape:  # fmt: skip
        """The answer to a call that the server makes itself (`Inside.asked`), not serialised."""
        way = _Way(self._house.ids.uuid(), _JSON, *named)
        operation = way.operation = self._operations.get(named)
        model = way.model = service_model(way.service).operations.get(way.name)
        way.principal, way.at = who, self._house.clock.millis()
        if operation is None or model is None:
            raise _not_here(way)
        call = way.call = self._own_call(way, who, region, origin, tx)
        audit = self._house.audit
        await tx.execute("savepoint asked")
        try:
            shape = way.shape = model.parse(request)
            verdict = self._authorise(call, operation, shape)
            if verdict is not None:
                await verdict
            if operation.prepare is not None:
                call.prepared = await operation.prepare(call, shape)
            way.about = await about(call, operation, shape)
            answer = await operation.handler(call, shape)
        except ApiError as error:
            await tx.execute("rollback to savepoint asked")
            denied = isinstance(error, AccessDeniedException)
            if audit is not None and (denied or operation.is_audited(way.shape or {})):
                audit.add(tx, _act(way, error=error))
            raise
        finally:
            self._house.used_elsewhere.pop(way.request_id, None)
        await tx.execute("release savepoint asked")
        if audit is not None and operation.is_audited(shape, answer):
            audit.add(tx, _act(way, answer=answer))
        return answer

    def _name_operation(self, request: Request, way: _Way) -> None:
        """Find service and operation, from the headers or the form alone. Raises UnknownOperationException."""
        if way.name:
            return
        if isinstance(way.protocol, RestXml | RestJson):
            way.service = way.protocol.service
            way.name = way.protocol.name(request)
            return
        headers = request.headers
        target = headers.get("x-amz-target")
        media_type = headers.get("content-type", "")
        if media_type not in ACCEPTED:
            media_type = media_type.partition(";")[0].strip().lower()
        if target is not None and request.method == "POST":
            if request.body and media_type not in ACCEPTED:
                raise SerializationException("The Content-Type of the request must be application/x-amz-json-1.1.")
            way.service, way.name = _named(target)
        elif media_type == FORM or request.method == "GET":
            form = form_of(request)
            way.name = form.get("Action", "")
            way.service = VERSIONS.get(form.get("Version", ""), "")
            way.protocol = _EC2 if way.service == Ec2.service else _QUERY
        if not way.service or not way.name or request.method not in ("POST", "GET"):
            raise UnknownOperationException("The request names no operation that is known here.")

    async def _written(
        self,
        call: Call,
        operation: Operation,
        model: OperationModel,
        shape: Shape,
        request: Request,
        way: _Way,
        audit: Audit | None,
    ) -> bytes:
        """Run a writing operation, or give its kept answer. Returns once everything is durable."""
        invocation_id = request.headers.get(INVOCATION_ID, "")[:_MAX_INVOCATION_ID]
        wanted = request.body if request.method == "POST" else request.query.encode("latin-1")
        if operation.prepare is not None:
            call.prepared = await operation.prepare(call, shape)
        if isinstance(way.protocol, RestXml | RestJson):
            wanted = way.protocol.identity(request)
            if model.streamed_in is not None:
                wanted += shape[model.streamed_in].digests.md5()
        async with self._house.database.transaction() as tx:
            replays = ReplayStore(tx, self._house.vault)
            key = None
            if invocation_id:
                key = replay_key(call.principal.arn, call.region, operation, invocation_id, wanted)
                kept = await replays.answer(key, call.clock.millis())
                if kept is not None:
                    return kept
            call.bound = tx
            answer = await operation.handler(call, shape)
            body = way.protocol.body(model, answer)
            if audit is not None:
                audit.add(tx, _act(way, answer=answer))
            if key is not None:
                replays.keep(key, body, call.clock.millis())
        return body

    def _record(self, way: _Way, code: str, seconds: float) -> None:
        service = way.service or "unknown"
        name = way.name if way.model is not None else "unknown"
        CALLS.add(service, name, code, seconds)
        level = INFO if way.operation is not None and way.operation.writes else DEBUG
        if not self._logged[level]:
            return
        self._log.log(
            level,
            "call",
            request_id=way.request_id,
            service=service,
            operation=name,
            principal=way.principal.arn if way.principal is not None else "",
            code=code,
            milliseconds=round(seconds * 1000, 3),
        )


def _parsed(
    model: OperationModel, operation: Operation | None, protocol: WireProtocol, request: Request
) -> tuple[Shape, ApiError | None]:
    """What the request says, and of a relaxed operation what is beyond the model. Any thread may do it."""
    members = protocol.members(model, request)
    if operation is not None and operation.relaxed:
        return model.parse_beyond(members, operation.relaxed)
    return model.parse(members), None


def _unavailable() -> ServiceUnavailable:
    return ServiceUnavailable("The service is temporarily unavailable. The request can be retried.")


def _not_here(way: _Way) -> ApiError:
    """The refusal of an operation that has no function."""
    if way.principal is not None and way.principal.kind == "node":  # its verbs are a closed list, of which this is none
        NODE_REFUSALS.inc()
        return AccessDeniedException(
            f"User: {way.principal.arn} is not authorized to perform: {way.service}:{way.name} on resource: * "
            f"because no identity-based policy allows the {way.service}:{way.name} action"
        )
    return UnknownOperationException(
        f"The operation {way.service}:{way.name} is not available in this version of Pilothouse."
    )


def _act(way: _Way, *, answer: Shape | None = None, error: ApiError | None = None) -> Act:
    assert way.call is not None
    assert way.operation is not None
    asked = way.about or []
    resources = resources_of(asked, list(dict.fromkeys(arns_in(answer or {}))))
    named = asked or resources
    if elsewhere := way.call.house.used_elsewhere.get(way.request_id):
        resources = list(dict.fromkeys([*resources, *elsewhere]))
    return Act(
        call=way.call,
        operation=way.operation,
        at=way.at,
        request=way.shape,
        answer=answer,
        error=error,
        resources=resources,
        asked=named or resources,
    )
