"""The group that a request means, and pages of lists."""

from pilothouse.call import Call, Shape
from pilothouse.capabilities.resource_groups.model import Group, arn_of, name_in, not_found
from pilothouse.capabilities.resource_groups.store import GroupStore
from pilothouse.errors import BadRequestException
from pilothouse.storage.pages import InvalidPageToken

_TO_WIRE = str.maketrans("-_", "+/")
_FROM_WIRE = str.maketrans("+/", "-_")


def asked(request: Shape) -> str:
    """The name or ARN of the group. Raises BadRequestException."""
    said: str | None = request.get("Group") or request.get("GroupName") or request.get("Arn")
    if said is None:
        raise BadRequestException("Group must be given: the name or the ARN of a resource group")
    if request.get("GroupName") not in (None, said):
        raise BadRequestException("Group and GroupName cannot be given together")
    return said


def of_group(call: Call, request: Shape) -> list[str]:
    """What policies are asked about."""
    said = asked(request)
    return [said if said.startswith("arn:") else arn_of(call.account_id, call.region, said)]


async def found(call: Call, store: GroupStore, said: str) -> Group:
    """Raises NotFoundException."""
    name = name_in(said, call.account_id, call.region)
    group = None if name is None else await store.find(name)
    if group is None:
        raise not_found(said)
    return group


async def locked(call: Call, store: GroupStore, said: str) -> Group:
    """As `found`, kept from changing."""
    await store.lock(name_in(said, call.account_id, call.region) or "")
    return await found(call, store, said)


def position(call: Call, query: list[object], request: Shape) -> list[str] | None:
    """Where a list goes on; None at its beginning. Raises BadRequestException."""
    token = request.get("NextToken")
    if not token:
        return None
    try:
        return [str(each) for each in call.house.pages.position(_bound(call, query), token.translate(_FROM_WIRE))]
    except InvalidPageToken as error:
        raise BadRequestException("NextToken not valid") from error


def token(call: Call, query: list[object], last: list[str | int]) -> str:
    """The token of what follows, in the alphabet that the model demands."""
    return call.house.pages.token(_bound(call, query), last).translate(_TO_WIRE)


def _bound(call: Call, query: list[object]) -> list[object]:
    return [call.account_id, call.region, *query]
