"""What policies are asked about, and what all operations on machines have in common."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from pilothouse.call import Call, Shape
from pilothouse.capabilities import tags
from pilothouse.capabilities.machines.looking import INSTANCE
from pilothouse.capabilities.machines.model import (
    MOST_TAGS,
    DryRunOperation,
    InvalidAMIIDNotFound,
    InvalidInstanceIDNotFound,
    InvalidParameterCombination,
    InvalidSnapshotNotFound,
    Machine,
    TagLimitExceeded,
    UnsupportedOperation,
    checked_id,
    checked_tags,
)
from pilothouse.capabilities.machines.store import MachineStore
from pilothouse.errors import InvalidParameterValue
from pilothouse.identity.authorise import ask_each
from pilothouse.identity.policy_patterns import Value
from pilothouse.storage import Transaction
from pilothouse.storage.pages import InvalidPageToken

IMAGE: Final = "ec2:image"
SNAPSHOT: Final = "ec2:snapshot"
TAGGED_AS: Final = {"instance": INSTANCE, "image": IMAGE, "snapshot": SNAPSHOT}
"""Kind to what tags of such a resource hang on."""
MOST_RESULTS: Final = 1000


def arn(call: Call, kind: str, resource_id: str) -> str:
    """As policies name it: images and snapshots without an account, as in the cloud."""
    account_id = call.account_id if kind not in ("image", "snapshot") else ""
    return f"arn:aws:ec2:{call.region}:{account_id}:{kind}/{resource_id}"


def instances_named(call: Call, request: Shape) -> list[str]:
    """The machines that a request names."""
    return [arn(call, "instance", each) for each in request["InstanceIds"]] or [arn(call, "instance", "*")]


def dry_run(request: Shape) -> None:
    """Raises DryRunOperation if the call is only tried; policies have allowed it."""
    if request.get("DryRun"):
        raise DryRunOperation


async def machines_named(store: MachineStore, ids: Sequence[str]) -> list[Machine]:
    """The machines with these ids, each once. Raises InvalidInstanceID.Malformed, InvalidInstanceID.NotFound."""
    wanted = list(dict.fromkeys(checked_id(each, "i") for each in ids))
    found = {each: await store.machine(each) for each in wanted}
    missing = [each for each, machine in found.items() if machine is None]
    if len(missing) == 1:
        raise InvalidInstanceIDNotFound(f"The instance ID '{missing[0]}' does not exist")
    if missing:
        raise InvalidInstanceIDNotFound(f"The instance IDs '{', '.join(missing)}' do not exist")
    return [machine for machine in found.values() if machine is not None]


def no_image(image_id: str) -> InvalidAMIIDNotFound:
    """The error for an image that is not there."""
    return InvalidAMIIDNotFound(f"The image id '[{image_id}]' does not exist")


def no_snapshot(snapshot_id: str) -> InvalidSnapshotNotFound:
    """The error for a snapshot that is not there."""
    return InvalidSnapshotNotFound(f"The snapshot '{snapshot_id}' does not exist.")


def tags_for(request: Shape, kind: str) -> dict[str, str]:
    """The tags that a request wants on what it makes of this kind. Raises InvalidParameterValue."""
    found: dict[str, str] = {}
    for each in request.get("TagSpecifications") or ():
        if each.get("ResourceType") == kind:
            found |= tags_of(each.get("Tags") or ())
    return found


def check_tag_kinds(request: Shape, *kinds: str) -> None:
    """Raises InvalidParameterValue for tags on what the operation does not make."""
    for each in request.get("TagSpecifications") or ():
        if each.get("ResourceType") not in kinds:
            raise InvalidParameterValue(f"'{each.get('ResourceType')}' is not a valid taggable resource type here.")


def tags_of(given: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Of a `Tags` member. Raises InvalidParameterValue."""
    found: dict[str, str] = {}
    for tag in given:
        key = tag.get("Key") or ""
        if key in found:
            raise InvalidParameterValue(f"Duplicate tag key '{key}' specified.")
        found[key] = tag.get("Value") or ""
    return checked_tags(found)


def tag_context(given: Mapping[str, str], action: str = "") -> dict[str, Value]:
    """The condition keys of tags that a request gives; `action`: what is made with them."""
    found: dict[str, Value] = {f"aws:RequestTag/{key}": value for key, value in given.items()}
    if given:
        found["aws:TagKeys"] = tuple(given)
    if action:
        found["ec2:CreateAction"] = action
    return found


async def put_tags(
    call: Call, tx: Transaction, kind: str, ids: Sequence[str], given: Mapping[str, str], *, action: str = ""
) -> None:
    """Put tags on what there is; with `action` on what this call makes, if the caller may tag that."""
    if not given:
        return
    if action:
        await ask_each(call, tx, "ec2:CreateTags", [arn(call, kind, "*")], tag_context(given, action))
    for each in ids:
        try:
            await tags.put(tx, call.account_id, call.region, TAGGED_AS[kind], each, given)
        except tags.TooManyTagsError as error:
            raise TagLimitExceeded(f"The maximum number of {MOST_TAGS} tags per resource has been reached.") from error


def page(
    call: Call, operation: str, request: Shape, found: Sequence[Any], key: Callable[[Any], str]
) -> tuple[list[Any], str | None]:
    """The part of what was found (in the order of the keys) that a request wants, and where the next one begins."""
    bound_to = [operation, call.account_id, call.region, {name: request.get(name) for name in ("Filters", "Owners")}]
    rest = list(found)
    if token := request.get("NextToken"):
        try:
            after = call.house.pages.position(bound_to, token)[0]
        except InvalidPageToken as error:
            raise InvalidParameterValue("The value of NextToken is not valid.") from error
        rest = [each for each in rest if key(each) > after]
    most = request.get("MaxResults") or MOST_RESULTS
    if len(rest) <= most:
        return rest, None
    return rest[:most], call.house.pages.token(bound_to, [key(rest[most - 1])])


def check_page(request: Shape, ids: str, least: int = 5) -> None:
    """Raises InvalidParameterValue, InvalidParameterCombination."""
    most = request.get("MaxResults")
    if most is None or most == 0:
        return
    if ids and request.get(ids):
        raise InvalidParameterCombination(f"The parameter {ids} cannot be used with the parameter maxResults")
    if not least <= most <= MOST_RESULTS:
        raise InvalidParameterValue(
            f"Value ( {most} ) for parameter maxResults is invalid. Expecting a value from {least} to {MOST_RESULTS}."
        )


def touched(machine: Machine, now: int, **changes: Any) -> Machine:
    """The machine as a call leaves it."""
    return replace(machine, touched_at=now, **changes)


def refuse(request: Shape, names: Collection[str]) -> None:
    """Raises UnsupportedOperation for members that nothing here can do."""
    given = sorted(name for name in names if request.get(name))
    if given:
        raise UnsupportedOperation(f"{', '.join(given)}: machines of this server have nothing of the kind.")
