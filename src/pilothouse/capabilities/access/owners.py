"""The kinds of things that IAM finds by name: how each is found, what its ARN is, and the words of its refusals."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

from pilothouse.call import Call, Resources, Shape
from pilothouse.capabilities.access.group_store import GroupStore
from pilothouse.capabilities.access.model import (
    EntityAlreadyExistsException,
    Group,
    LimitExceededException,
    NoSuchEntityException,
    Role,
    User,
    group_arn,
    role_arn,
    user_arn,
)
from pilothouse.capabilities.access.pages import PAGE, page, position
from pilothouse.capabilities.access.role_store import RoleStore
from pilothouse.capabilities.access.users import UserStore
from pilothouse.storage import Transaction


class Entity(Protocol):
    """Something of an account that has a name and a path."""

    @property
    def account_id(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def arn(self) -> str: ...
    @property
    def unique_id(self) -> str: ...


E_co = TypeVar("E_co", bound=Entity, covariant=True)
E = TypeVar("E", bound=Entity)


class EntityStore(Protocol[E_co]):
    """Those of one kind in one account, in one transaction. Names are unique without regard to case."""

    async def lock(self, name: str) -> None: ...
    async def find(self, name: str) -> E_co | None: ...
    async def by_id(self, unique_id: str, /) -> E_co | None: ...
    async def after(self, name_key: str, path: str, most: int) -> Sequence[E_co]: ...
    async def count(self) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind(Generic[E_co]):
    """A kind of entity: the one place that knows how its operations differ from those of the other kinds."""

    name: str
    """As ARNs, tags and attachments have it."""
    title: str
    """As members of requests and answers begin."""
    missing: str
    taken: str
    """How the texts begin that say that there is none of the name, and that there is one."""
    most: int
    """For each account."""
    arn: Callable[[str, str, str], str]
    store: Callable[[Transaction, str], EntityStore[E_co]]

    @property
    def member(self) -> str:
        """The member of requests that names one."""
        return f"{self.title}Name"


USER: Final[Kind[User]] = Kind(
    name="user",
    title="User",
    missing="The user with name",
    taken="User with name",
    most=5000,
    arn=user_arn,
    store=UserStore,
)
ROLE: Final[Kind[Role]] = Kind(
    name="role",
    title="Role",
    missing="The role with name",
    taken="Role with name",
    most=1000,
    arn=role_arn,
    store=RoleStore,
)
GROUP: Final[Kind[Group]] = Kind(
    name="group",
    title="Group",
    missing="The group with name",
    taken="Group with name",
    most=300,
    arn=group_arn,
    store=GroupStore,
)
Owner = User | Role | Group
OwnerKind = Kind[User] | Kind[Role] | Kind[Group]
OWNERS: Final[dict[str, OwnerKind]] = {"user": USER, "role": ROLE, "group": GROUP}
"""Who can hold policies."""


def resource_of(kind: Kind[Entity]) -> Callable[[Call, Shape], Awaitable[list[str]]]:
    """What policies are asked about: the ARN, of one that is not there without a path; without a name the caller's."""

    async def resource(call: Call, request: Shape) -> list[str]:
        name = request.get(kind.member)
        if name is None:
            return [call.principal.arn]
        async with call.reading() as tx:
            entity = await kind.store(tx, call.account_id).find(name)
        return [entity.arn if entity is not None else kind.arn(call.account_id, "/", name)]

    return resource


def new_resource(kind: Kind[Entity]) -> Resources:
    """What policies are asked about when one is made."""

    def resource(call: Call, request: Shape) -> list[str]:
        return [kind.arn(call.account_id, request.get("Path", "/"), request[kind.member])]

    return resource


def resources_below(kind: Kind[Entity]) -> Resources:
    """What policies are asked about when those below a path are listed."""

    def resource(call: Call, request: Shape) -> list[str]:
        return [kind.arn(call.account_id, request.get("PathPrefix", "/"), "")]

    return resource


def renamed_resources(kind: Kind[Entity]) -> Resources:
    """What policies are asked about when one is renamed or moved: the one that it is, and the one that it will be."""
    before = resource_of(kind)

    async def resources(call: Call, request: Shape) -> list[str]:
        (old,) = await before(call, request)
        path, _, name = old.partition(f":{kind.name}")[2].rpartition("/")
        new = kind.arn(
            call.account_id,
            request.get("NewPath", f"{path}/"),
            request.get(f"New{kind.member}", name),
        )
        return list(dict.fromkeys([old, new]))

    return resources


user_resource: Final = resource_of(USER)
role_resource: Final = resource_of(ROLE)
group_resource: Final = resource_of(GROUP)


async def found(tx: Transaction, kind: Kind[E], account_id: str, name: str) -> E:
    """The entity of that name. Raises NoSuchEntityException."""
    entity = await kind.store(tx, account_id).find(name)
    if entity is None:
        raise NoSuchEntityException(f"{kind.missing} {name} cannot be found.")
    return entity


async def locked(tx: Transaction, kind: Kind[E], account_id: str, name: str) -> E:
    """The entity, which nobody else changes until the transaction ends. Raises NoSuchEntityException."""
    await kind.store(tx, account_id).lock(name)
    return await found(tx, kind, account_id, name)


async def must_be_free(tx: Transaction, kind: Kind[Entity], account_id: str, name: str) -> None:
    """Nobody else takes the name until the transaction ends. Raises EntityAlreadyExistsException."""
    await tx.lock(f"iam {kind.name}s", account_id)
    if await kind.store(tx, account_id).find(name) is not None:
        raise EntityAlreadyExistsException(f"{kind.taken} {name} already exists.")


async def must_have_room(tx: Transaction, kind: Kind[Entity], account_id: str, name: str) -> None:
    """As `must_be_free`, and the account may have one more. Raises LimitExceededException too."""
    await must_be_free(tx, kind, account_id, name)
    if await kind.store(tx, account_id).count() >= kind.most:
        raise LimitExceededException(f"Cannot exceed quota for {kind.title}sPerAccount: {kind.most}")


async def listed(
    call: Call, request: Shape, kind: Kind[E], tell: Callable[[Transaction, E], Awaitable[Shape]]
) -> Shape:
    """The answer of a list of all of a kind, by name, below a path."""
    path = request.get("PathPrefix", "/")
    most = request.get("MaxItems", PAGE)
    query = f"List{kind.title}s {path}"
    after = position(call, query, request)
    async with call.reading() as tx:
        entities = await kind.store(tx, call.account_id).after(after, path, most + 1)
        told = [await tell(tx, each) for each in entities[:most]]
    last = entities[:most][-1].name.lower() if told else ""
    return page(call, query, {f"{kind.title}s": told}, last, len(entities) > most)
