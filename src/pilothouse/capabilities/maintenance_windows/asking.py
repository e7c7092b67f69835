"""What the operations on windows have in common: ARNs, filters, pages, finding."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pilothouse.call import Call, Shape
from pilothouse.capabilities.maintenance_windows.model import DoesNotExistException, Window, window_missing
from pilothouse.capabilities.maintenance_windows.store import WindowStore
from pilothouse.errors import ValidationException
from pilothouse.storage import Transaction
from pilothouse.storage.pages import InvalidPageToken

TAGGED_AS: Final = "MaintenanceWindow"
PAGE: Final = 50


def arn_of(account_id: str, region: str, kind: str, resource_id: str) -> str:
    return f"arn:aws:ssm:{region}:{account_id}:{kind}/{resource_id}"


def named_window(call: Call, request: Shape) -> list[str]:
    """What policies are asked about: the window."""
    return [arn_of(call.account_id, call.region, "maintenancewindow", request["WindowId"])]


def named_target(call: Call, request: Shape) -> list[str]:
    """The window and its target."""
    target = arn_of(call.account_id, call.region, "windowtarget", request["WindowTargetId"])
    return [*named_window(call, request), target]


def named_task(call: Call, request: Shape) -> list[str]:
    """The window and its task."""
    return [*named_window(call, request), arn_of(call.account_id, call.region, "windowtask", request["WindowTaskId"])]


async def found_window(call: Call, tx: Transaction, window_id: str) -> Window:
    """Raises DoesNotExistException."""
    window = await WindowStore(tx).find(call.account_id, call.region, window_id)
    if window is None:
        raise window_missing(window_id)
    return window


async def locked_window(call: Call, tx: Transaction, window_id: str) -> Window:
    """The same, which nobody else changes until the transaction ends."""
    await WindowStore(tx).lock(window_id)
    return await found_window(call, tx, window_id)


def missing(what: str, resource_id: str) -> DoesNotExistException:
    return DoesNotExistException(f"Maintenance window {what} {resource_id} does not exist")


def filters(request: Shape, known: Sequence[str]) -> dict[str, set[str]]:
    """Key to the values of which one must fit. Raises ValidationException."""
    found: dict[str, set[str]] = {}
    for each in request.get("Filters") or ():
        key, values = each.get("Key") or "", set(each.get("Values") or ())
        if key not in known:
            raise ValidationException(f"Unknown filter key {key}. Valid keys: {', '.join(known)}.")
        if not values:
            raise ValidationException(f"The filter {key} needs Values.")
        found[key] = found[key] & values if key in found else values
    return found


def fits(wanted: Mapping[str, set[str]], shown: Mapping[str, str | None]) -> bool:
    return all(shown.get(key) in values for key, values in wanted.items())


def position(call: Call, query: Sequence[Any], request: Shape) -> list[Any] | None:
    """After what the page starts; None for the first. Raises ValidationException."""
    token = request.get("NextToken")
    if not token:
        return None
    try:
        return call.house.pages.position(query, token)
    except InvalidPageToken as error:
        raise ValidationException("The specified token is not valid.") from error


def query_of(call: Call, request: Shape, name: str) -> list[Any]:
    """What a page token is bound to: all that is asked for but the size of the page."""
    asked = sorted((key, value) for key, value in request.items() if key not in ("NextToken", "MaxResults"))
    return [name, call.account_id, call.region, asked]


def paged(
    call: Call, request: Shape, name: str, member: str, entries: Sequence[tuple[list[str | int], Shape]]
) -> Shape:
    """An answer whose `member` is a page of a short list. The entries come with their places in it, which rise."""
    query = query_of(call, request, name)
    after = position(call, query, request)
    ahead = [entry for entry in entries if after is None or entry[0] > after]
    limit = request.get("MaxResults") or PAGE
    token = call.house.pages.token(query, ahead[limit - 1][0]) if ahead[limit:] else None
    return {member: [shape for _, shape in ahead[:limit]], "NextToken": token}
