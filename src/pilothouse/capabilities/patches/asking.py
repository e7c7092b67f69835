"""What the operations on patches have in common: ARNs, finding baselines, filters, pages."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pilothouse.call import Call, Shape
from pilothouse.capabilities import tags
from pilothouse.capabilities.nodes import RESOURCE_TYPE
from pilothouse.capabilities.patches.model import Baseline, DoesNotExistException, InvalidResourceId, parts_of
from pilothouse.capabilities.patches.provided import OWNER, arn_of, default_for, provided
from pilothouse.capabilities.patches.store import BaselineStore, RegistrationStore
from pilothouse.errors import ApiError, ValidationException
from pilothouse.storage import Transaction
from pilothouse.storage.pages import InvalidPageToken

DEFAULT_SYSTEM: Final = "WINDOWS"
GROUP_TAGS: Final = ("Patch Group", "PatchGroup")


class InvalidNextToken(ApiError):
    """The token is none that this list gave, or is of another question."""

    def __init__(self, message: str = "The specified token is not valid.") -> None:
        super().__init__(message)


def named_baseline(call: Call, request: Shape) -> list[str]:
    """What policies are asked about: the baseline."""
    asked = str(request["BaselineId"])
    try:
        baseline_id = id_here(call, asked)
    except (InvalidResourceId, DoesNotExistException):  # the operation says so, to whom it may
        return [asked if asked.startswith("arn:") else _arn(call, asked)]
    return [arn_of(call.region, baseline_id) if baseline_id in provided() else _arn(call, baseline_id)]


def _arn(call: Call, baseline_id: str) -> str:
    return f"arn:aws:ssm:{call.region}:{call.account_id}:patchbaseline/{baseline_id}"


def id_here(call: Call, asked: str) -> str:
    """The bare id in an id, or in an ARN of this account and region or of a provided baseline.

    No other ARN leads anywhere: policies are asked about the baseline that it would lead to. Raises InvalidResourceId,
    DoesNotExistException.
    """
    where, baseline_id = parts_of(asked)
    owner = OWNER if baseline_id in provided() else call.account_id
    if where not in (None, (call.region, owner)):
        raise DoesNotExistException
    return baseline_id


def shown_id(call: Call, baseline_id: str) -> str:
    """The id as answers have it: that of a provided baseline is an ARN."""
    return arn_of(call.region, baseline_id) if baseline_id in provided() else baseline_id


async def find_baseline(call: Call, tx: Transaction, asked: str) -> Baseline:
    """By id or ARN. Raises InvalidResourceId, DoesNotExistException."""
    baseline_id = id_here(call, asked)
    found = provided().get(baseline_id)
    if found is None:
        found = await BaselineStore(tx, call.house, call.account_id, call.region).find(baseline_id)
    if found is None:
        raise DoesNotExistException
    return found


async def own_baseline(call: Call, tx: Transaction, asked: str) -> Baseline:
    """The same, of those that can be changed."""
    found = await find_baseline(call, tx, asked)
    if not found.account_id:
        raise DoesNotExistException
    return found


async def default_id(call: Call, tx: Transaction, operating_system: str) -> str:
    """Of the baseline that counts for nodes without a patch group."""
    own = await RegistrationStore(tx, call.account_id, call.region).default(operating_system)
    return own or default_for(operating_system).baseline_id


async def group_of_node(call: Call, tx: Transaction, node_id: str) -> str:
    """The patch group that the node's tags put it into; empty for none."""
    found = await tags.of(tx, call.account_id, call.region, RESOURCE_TYPE, node_id)
    return next((found[key] for key in GROUP_TAGS if key in found), "")


async def id_for_group(call: Call, tx: Transaction, patch_group: str, operating_system: str) -> str:
    """Of the baseline that counts for nodes of the group, or of none if it is empty."""
    registered = None
    if patch_group:
        registered = await RegistrationStore(tx, call.account_id, call.region).of_group(patch_group, operating_system)
    return registered or await default_id(call, tx, operating_system)


def filters(request: Shape, known: Mapping[str, bool]) -> dict[str, list[str]]:
    """Key to values; `known` says of each key whether it takes several. Raises ValidationException."""
    found: dict[str, list[str]] = {}
    for each in request.get("Filters") or ():
        key, values = each.get("Key") or "", each.get("Values") or []
        if key not in known:
            raise ValidationException(f"Unknown filter key {key}. Valid keys: {', '.join(known)}.")
        if not values or (len(values) > 1 and not known[key]):
            raise ValidationException(f"The filter {key} needs {'Values' if known[key] else 'one value'}.")
        if key in found:
            raise ValidationException(f"The filter {key} is given twice.")
        found[key] = list(values)
    return found


def position(call: Call, query: Sequence[Any], request: Shape, refused: type[ApiError]) -> list[Any] | None:
    """After what the page starts; None for the first."""
    token = request.get("NextToken")
    if not token:
        return None
    try:
        return call.house.pages.position(query, token)
    except InvalidPageToken as error:
        raise refused("The specified token is not valid.") from error


def query_of(call: Call, request: Shape, name: str) -> list[Any]:
    """What a page token is bound to: all that is asked for but the size of the page."""
    asked = sorted((key, value) for key, value in request.items() if key not in ("NextToken", "MaxResults"))
    return [name, call.account_id, call.region, asked]
