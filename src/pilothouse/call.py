"""The shared vocabulary of every room: House, Call, `@operation`, `@job`, Capability.

A capability is a folder that exports one `CAPABILITY`; `app` lists them and hands their tables to the edges.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Flag, auto
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

from pilothouse.errors import ApiError
from pilothouse.identity.principals import Principal
from pilothouse.runtime.bus import Bus
from pilothouse.runtime.clock import Clock
from pilothouse.runtime.ids import Ids
from pilothouse.runtime.outbound import Outbound
from pilothouse.runtime.settings import ROLES
from pilothouse.storage import Database, Transaction
from pilothouse.storage.blobs import Blobs
from pilothouse.storage.pages import Pages

if TYPE_CHECKING:
    from pilothouse.by_link import AnswerVisit, GiveFile
    from pilothouse.crypto.checksums import Digests
    from pilothouse.crypto.sealed import Sealed
    from pilothouse.crypto.vault import Vault
    from pilothouse.grouping import Groupable
    from pilothouse.identity.permissions import Source
    from pilothouse.identity.policy_patterns import Value
    from pilothouse.inside import Inside
    from pilothouse.runtime.settings import Settings
    from pilothouse.scheduling.coming import FindComing
    from pilothouse.scheduling.firing import Fire

Shape = dict[str, Any]
"""A request or response by the service model: PascalCase names, timestamps as aware datetimes, blobs as bytes."""


class Body(Protocol):
    """The content of a request, as it comes: the value of a member that is a stream."""

    size: int
    """Bytes of the content, as announced; it has as many, or `pieces` fails."""
    stated: tuple[str, str] | None
    """Algorithm and checksum that the request states; what it states behind the content is empty until then."""
    digests: "Digests"
    """Of what has passed."""

    def want(self, algorithm: str) -> None:
        """Make this checksum as well; to be said before the first piece."""

    def pieces(self) -> AsyncIterator[bytes]:
        """The content, once. It counts only when this ends without an error: hashes are compared then."""


@dataclass(frozen=True, slots=True)
class Content:
    """The content of an answer: the value of a member that is a stream."""

    size: int
    pieces: AsyncIterator[bytes] = field(repr=False)


@dataclass(slots=True, kw_only=True)
class House:
    """The machinery that calls, jobs and the edges share; built once by `app`."""

    database: Database
    clock: Clock
    ids: Ids
    bus: Bus
    vault: "Vault"
    pages: Pages
    settings: "Settings"
    blobs: Blobs
    outbound: Outbound = field(default_factory=Outbound)
    process_id: str = ""
    """A name that no other process of the installation has or had."""
    roles: frozenset[str] = frozenset(ROLES)
    """What this process does (`runtime.settings.ROLES`)."""
    worker: int = 1
    """Its number among those that share a data directory."""
    listeners: dict[str, list["Listener"]] = field(default_factory=dict)
    audit: "Audit | None" = None
    """Where calls are recorded; None for those that open the house without serving it."""
    used_elsewhere: dict[str, list[str]] = field(default_factory=dict)
    """By request id the ARNs of what a call in work used of another account without naming it, such as keys."""
    taggable: dict[str, "FindResource"] = field(default_factory=dict)
    tags_of: dict[str, "TagsOf"] = field(default_factory=dict)
    policies_on: dict[str, "PoliciesOn"] = field(default_factory=dict)
    shareable: dict[str, "FindShareable"] = field(default_factory=dict)
    groupable: dict[str, "Groupable"] = field(default_factory=dict)
    coming: list["FindComing"] = field(default_factory=list)
    invocations: list["FindInvocation"] = field(default_factory=list)
    inside: "Inside" = field(init=False)
    """Who answers calls that the server makes itself; a house that is not served has nobody."""

    def note_use(self, request_id: str, account_id: str, owner: str, arn: str) -> None:
        """A call of `account_id` uses something; if another account owns it, that one's trail says so too."""
        if owner != account_id and request_id:
            self.used_elsewhere.setdefault(request_id, []).append(arn)

    async def tell(self, tx: Transaction, event: str, **facts: Any) -> None:
        """Tell the capabilities that listen for the event, inside the transaction that made it true."""
        for listener in self.listeners.get(event, ()):
            await listener(self, tx, facts)


class Audit(Protocol):
    """Keeps a record of each call that changes something or reads a secret, and of each refusal."""

    async def ready(self) -> None:
        """Return if such calls can be recorded now. Raises ServiceUnavailable, soon."""

    def add(self, tx: Transaction, act: "Act") -> None:
        """Record a change in the transaction of the change."""

    async def keep(self, act: "Act") -> None:
        """Record a read or a refusal by itself, durably before the answer leaves. Raises StorageUnavailable."""


Listener = Callable[[House, Transaction, Mapping[str, Any]], Awaitable[None]]
"""Hears an event such as `node.deregistered` (facts: account_id, region, node_id) or `process.ended` (process_id)."""

FindResource = Callable[[Transaction, str, str, str], Awaitable[str | None]]
"""(transaction, account id, region, resource id as asked) to the id that tags hang on, or None if there is none."""


TagsOf = Callable[[Transaction, str, str, str], Awaitable[Mapping[str, str]]]
"""(transaction, account id, region, the ARN's text after its kind) to the resource's tags, none if it is not there."""


class PoliciesOn(Protocol):
    """Answers for the resource policies of one or several kinds of resources.

    They count for everybody of the account but root, beside the caller's own policies (`identity.permissions.decide`).
    """

    needed: bool
    """Nothing may be done with such a resource that its policy does not allow, if only by way of the account."""

    async def guarded(self, tx: Transaction, account_id: str) -> Collection[str] | None:
        """The ARNs of the account's resources that have policies; None where they are too many to carry about.

        Asked when a caller's own policies are read. Empty too where the operations ask these policies themselves.
        """

    async def of(self, tx: Transaction, arn: str) -> "Sequence[Source]":
        """The policies on a resource, of kind `resource`; none where it has none or is not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shareable:
    """A resource that a resource policy can be put on."""

    arn: str
    """As policies name it."""
    refusal: str | None
    """Why it may not be shared as it is."""
    actions: frozenset[str]
    """What its policies may speak of."""


FindInvocation = Callable[[Transaction, str, str, str, str], Awaitable[Shape | None]]
"""(transaction, account id, region, id, node id) to what GetCommandInvocation says of what is no command."""

FindShareable = Callable[[Transaction, str, str, str], Awaitable[Shareable | None]]
"""(transaction, account id, region, the ARN's text after its kind) to the resource, or None if there is none."""


class Caller(Flag):
    """Who may ask for an operation at all, before any policy is looked at."""

    ACCOUNT = auto()
    """Root, users and sessions of an account."""
    NODE = auto()
    """Managed nodes: a closed list of verbs, each on the node itself only."""
    ANYONE = auto()
    """Unsigned requests that prove themselves otherwise."""


@dataclass(slots=True, kw_only=True)
class Call:
    """One authenticated request on its way through a capability."""

    principal: Principal
    account_id: str
    region: str
    request_id: str
    house: House
    source_ip: str = ""
    user_agent: str = ""
    secure: bool = False
    """Whether the request came over TLS."""
    presigned: bool = False
    """Whether the signature came in the query."""
    headers: Mapping[str, str] = field(default_factory=dict)
    gone: Callable[[], Awaitable[None]] | None = field(default=None, repr=False)
    """Returns when the client has left, for answers that take long."""
    beyond: ApiError | None = None
    """The refusal of a `relaxed` member over the model's maximum, to be raised unless it is allowed."""
    bound: Transaction | None = None
    """The call's own transaction, opened by dispatch for operations that write; it commits after the handler returned
    and the answer was serialised, together with the record that de-duplicates retries."""

    prepared: Any = field(default=None, repr=False)
    """What the operation's `prepare` gave; without one, what `resources` found already, for the handler to take."""
    within: Transaction | None = None
    """The transaction of whoever asks, where the server itself calls: all of the call happens in it."""

    @property
    def clock(self) -> Clock:
        return self.house.clock

    @property
    def ids(self) -> Ids:
        return self.house.ids

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """The transaction of a writing operation (`writes=True`). It is durable before the answer leaves."""
        if self.bound is None:
            raise RuntimeError("an operation that writes must be declared with writes=True")
        return nullcontext(self.bound)  # dispatch opened it and ends it

    def reading(self) -> AbstractAsyncContextManager[Transaction]:
        """Committed state for operations that only read. Sees every write that was acknowledged before."""
        return nullcontext(self.within) if self.within is not None else self.house.database.reading()


Handler = Callable[[Call, Shape], Awaitable[Shape]]
Audited = Callable[[Shape, Shape | None], bool]
"""(request, answer) to whether the call read a secret; the answer is None where there is none (yet)."""
Resources = Callable[[Call, Shape], Iterable[str] | Awaitable[Iterable[str]]]
Conditions = Callable[[Call, Shape], "Mapping[str, Value] | Awaitable[Mapping[str, Value]]"]
Line = Callable[[Call, Shape], AbstractAsyncContextManager[None]]
Prepare = Callable[[Call, Shape], Awaitable[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One API operation: its wire name, who may call it, and the function that answers it."""

    service: str
    name: str
    handler: Handler
    writes: bool
    callers: Caller
    action: str
    resources: Resources | None
    node_member: str | None
    line: Line | None
    relaxed: Mapping[str, int]
    prepare: Prepare | None = None
    conditions: Conditions | None = None
    free: bool = False
    asks_itself: bool = False
    audited: bool | Audited = False
    appends: bool = False

    def is_audited(self, request: Shape, answer: Shape | None = None) -> bool:
        """Whether such a call is recorded: it writes, or it reads a secret (without an answer: it might)."""
        if self.writes or isinstance(self.audited, bool):
            return self.writes or bool(self.audited)
        return self.audited(request, answer)


@dataclass(slots=True, kw_only=True)
class Act:
    """What an audit record is made of. Nobody changes it; a frozen one takes longer to make."""

    call: Call
    operation: Operation
    at: int
    """When the call came, epoch milliseconds."""
    request: Shape | None
    """None if it was not understood."""
    answer: Shape | None = None
    error: ApiError | None = None
    resources: Sequence[str] = ()
    """ARNs."""
    asked: Sequence[str] = ()
    """Those of them that the request names."""


def operation(
    service: str,
    name: str,
    *,
    writes: bool = False,
    callers: Caller = Caller.ACCOUNT,
    action: str | None = None,
    resources: Resources | None = None,
    node_member: str | None = None,
    line: Line | None = None,
    relaxed: Mapping[str, int] | None = None,
    prepare: Prepare | None = None,
    conditions: Conditions | None = None,
    free: bool = False,
    asks_itself: bool = False,
    audited: bool | Audited = False,
    appends: bool = False,
) -> Callable[[Handler], Handler]:
    """Name the operation that the function answers.

    `writes`: the call runs in one transaction (see `Call.transaction`) and its retries are de-duplicated.
    `action` and `resources` are what policies are asked about (default action: `service:Name`, resource `*`).
    `conditions`: the values of the operation's own condition keys. `free`: no permission is needed.
    `asks_itself`: the handler finds out what it is about, and asks the policies of that and of the caller.
    `audited`: what reads a secret, uses a key or gives credentials is recorded as what writes is.
    `appends`: it changes something without `writes`, in a transaction that many calls share.
    `line`: held while a writing operation has or waits for its transaction; it may refuse the call, or let it wait.
    `prepare`: what takes long and needs no transaction of a writing operation, done before that one begins; its result
    is `call.prepared`. A retry whose answer is kept comes through it as well.
    `relaxed`: members whose number may exceed the model's maximum up to this one, if the handler finds it allowed;
    it must then look at `Call.beyond`.
    `node_member`: the request member that names a node; when a node calls, it must be that node's own id.
    """

    def mark(handler: Handler) -> Handler:
        handler.__operation__ = Operation(  # type: ignore[attr-defined]
            service=service,
            name=name,
            handler=handler,
            writes=writes,
            callers=callers,
            action=action or f"{service}:{name}",
            resources=resources,
            node_member=node_member,
            line=line,
            relaxed=relaxed or {},
            prepare=prepare,
            conditions=conditions,
            free=free,
            asks_itself=asks_itself,
            audited=audited,
            appends=appends,
        )
        return handler

    return mark


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Background work: bounded, safe to repeat, run by any process with the scheduler role."""

    name: str
    every: timedelta
    run: Callable[[House], Awaitable[None]]
    local: bool = False
    """It looks after what this process alone holds, so it runs in every process, whatever its roles."""


def job(name: str, *, every: timedelta, local: bool = False) -> Callable[[Callable[[House], Awaitable[None]]], Job]:
    """Make a periodic job of `async def run(house)`. It does a bounded batch and returns."""

    def mark(run: Callable[[House], Awaitable[None]]) -> Job:
        return Job(name=name, every=every, run=run, local=local)

    return mark


@dataclass(frozen=True, slots=True, kw_only=True)
class Lasting:
    """Background work without an end, as jobs are. It holds nothing that a restart may not take away."""

    name: str
    run: Callable[[House], Awaitable[None]]
    local: bool = False
    """As of a job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """An answer without an end, while it is open."""

    write: Callable[[bytes], Awaitable[None]]
    """Returns once the client has room for more."""
    ended: asyncio.Event
    """Set when the client left, its credentials hold no more, or the server stops: return then."""


Told = Callable[[Stream], AsyncGenerator[Shape, None]]
"""What a handler gives for a member that the model calls an event stream: its events as `{name: members}`, until the
stream is ended. An ApiError that it raises is the last thing that the client hears."""

Query = Mapping[str, list[str]]
"""The parameters of a request's query, without those of the signature."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamRoute:
    """A path whose signed GET is answered by a stream."""

    path: str
    media_type: str
    operation: Operation
    """What policies are asked about; it is not in the operation table."""
    open: Callable[[Call, Query], Awaitable[Callable[[Stream], Awaitable[None]]]]
    """Raises the ApiError that refuses, or gives the function that writes until the stream is ended."""


async def _no_handler(call: Call, request: Shape) -> Shape:
    raise RuntimeError("a stream is opened by its path")


def stream(
    service: str, name: str, *, path: str, media_type: str, action: str | None = None
) -> Callable[[Callable[[Call, Query], Awaitable[Callable[[Stream], Awaitable[None]]]]], StreamRoute]:
    """Make a stream's route of the function that opens it; policies are asked about `action`, or `service:Name`."""

    def mark(opens: Callable[[Call, Query], Awaitable[Callable[[Stream], Awaitable[None]]]]) -> StreamRoute:
        asked = operation(service, name, action=action)(_no_handler).__operation__  # type: ignore[attr-defined]
        return StreamRoute(path=path, media_type=media_type, operation=asked, open=opens)

    return mark


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A message of an extension, which a node sent on its own control channel."""

    account_id: str
    region: str
    node_id: str
    payload: bytes = field(repr=False)
    answer: Callable[[str, bytes], None]
    """(message type, payload): send it on the same channel. Returns at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extension:
    """What our agent and this server can do beyond the protocol of the official agent.

    See docs/reference/agent-protocol-extensions.md.
    """

    version: int
    offer: Mapping[str, Any]
    """What the server says of it besides the version when a channel opens."""
    messages: Mapping[str, Callable[[House, Sequence[Said]], Awaitable[None]]]
    """Message type to the function that hears them, many at once, in the order in which each node said them."""


@dataclass(frozen=True, kw_only=True)
class Capability:
    """What a capability's folder exports to `app`: its operations, jobs and node-message handlers."""

    name: str
    operations: tuple[Operation, ...] = ()
    jobs: tuple[Job, ...] = ()
    topics: Mapping[str, Any] = field(default_factory=dict)
    """Outbox topic prefix (such as `aws.ssm.sendCommand`) to the `gateway.outbox.Sender` that answers for it."""
    listeners: Mapping[str, Listener] = field(default_factory=dict)
    """Event name to the function that hears it."""
    sealed: "tuple[Sealed, ...]" = ()
    """What its tables keep sealed by the vault, so that it can be sealed anew under a newer root key."""
    taggable: Mapping[str, FindResource] = field(default_factory=dict)
    """ResourceType of the tag operations to the function that finds such a resource."""
    tags_of: Mapping[str, TagsOf] = field(default_factory=dict)
    """Kind in the ARN of resources, such as `parameter`, to the function that gives their tags to policies. Kinds of
    other services than ssm have its name in front: `secretsmanager:secret`."""
    policies_on: Mapping[str, PoliciesOn] = field(default_factory=dict)
    """Kind in the ARN of resources, as for `tags_of`, to what answers for the policies on them."""
    shareable: Mapping[str, FindShareable] = field(default_factory=dict)
    """Kind in the ARN of resources that policies can be put on to the function that finds one."""
    groupable: "Mapping[str, Groupable]" = field(default_factory=dict)
    """Type of resources, such as `AWS::SSM::Parameter`, to what finds them by their tags and ARNs."""
    extensions: Mapping[str, Extension] = field(default_factory=dict)
    """Name to what is said in its messages between our agent and the capability."""
    files: "Mapping[str, GiveFile]" = field(default_factory=dict)
    """Prefix of a path to the function that gives the files below it to whoever asks."""
    visits: "Mapping[str, AnswerVisit]" = field(default_factory=dict)
    """Path to the function that answers who opens the page there, or sends its form."""
    lasting: tuple[Lasting, ...] = ()
    due: "Mapping[str, Fire]" = field(default_factory=dict)
    """Kind of what is due at a time, such as `association`, to the function that does it."""
    streams: tuple[StreamRoute, ...] = ()
    coming: "tuple[FindComing, ...]" = ()
    invocations: "tuple[FindInvocation, ...]" = ()

    @classmethod
    def of(cls, name: str, *modules: ModuleType, **more: Any) -> "Capability":
        """Collect the `@operation` functions and `@job` values that the modules define; `more` are further fields."""
        operations = []
        jobs = []
        for module in modules:
            for thing in vars(module).values():
                if isinstance(thing, Job):
                    jobs.append(thing)
                elif getattr(thing, "__module__", None) == module.__name__ and hasattr(thing, "__operation__"):
                    operations.append(thing.__operation__)
        return cls(name=name, operations=tuple(operations), jobs=tuple(jobs), **more)
