"""MoveParameters: other names for a parameter, or for a subtree, with everything that hangs on it."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities import resource_policies, tags
from pilothouse.capabilities.parameters.changes import TAGGED_AS, tell_change
from pilothouse.capabilities.parameters.imports import MOST, arns_below
from pilothouse.capabilities.parameters.model import (
    SECURE,
    ParameterAlreadyExists,
    ParameterNotFound,
    TooManyUpdates,
    Version,
)
from pilothouse.capabilities.parameters.names import Hierarchy, Name, arn, check_not_reserved, new_name, plain_name
from pilothouse.capabilities.parameters.rights import ask_delete, ask_put
from pilothouse.capabilities.parameters.sealing import Opener, seal
from pilothouse.capabilities.parameters.store import ParameterStore
from pilothouse.capabilities.parameters.trash.store import MovingStore, begin_plan, undo_plan
from pilothouse.errors import ApiError, ValidationException
from pilothouse.storage import Transaction


def _both(call: Call, request: Shape) -> Iterable[str]:
    sides = arns_below(call, request["Source"]), arns_below(call, request["Destination"])
    return [each for side in sides for each in (side if request.get("Recursive") else side[:1])]


@operation("pilothouse", "MoveParameters", writes=True, resources=_both)
async def move_parameters(call: Call, request: Shape) -> Shape:
    """Rename one parameter, or with Recursive one and all below it; all or none.

    Versions, labels, tags and policies go along; SecureStrings are encrypted anew, as a ciphertext is bound to its ARN.
    No destination may exist. A resource policy speaks of the old name, so a shared parameter moves with DropSharing
    only, and is shared no more. With DryRun the answer alone is made.
    """
    source = plain_name(request["Source"].strip().rstrip("/"))
    target = plain_name(request["Destination"].strip().rstrip("/"))
    check_not_reserved(source.text)
    if target.path == source.path or (f"{target.path}/".startswith(f"{source.path}/") and request.get("Recursive")):
        raise ValidationException(f"{source.text} can't be moved into itself ({target.text}).")
    async with call.transaction() as tx:
        if request.get("DryRun"):
            await begin_plan(tx)
        moved = await _move(call, tx, source, target, request)
        if request.get("DryRun"):
            await undo_plan(tx)
    return {"Moves": [{"Source": was, "Destination": name.text} for was, name in moved]}


async def parameters_at(store: ParameterStore, path: str, *, recursive: bool) -> list[Version]:
    """The parameter of a path, and with `recursive` all below it. Raises ValidationException for more than MOST."""
    found = [] if not path else await store.about([path], after="", count=1)
    if recursive:
        hierarchy = Hierarchy(prefix=f"{path}/" if path else "")
        found += await store.about_in(hierarchy, after="", count=MOST + 1)
    if len(found) > MOST:
        raise ValidationException(
            f"There are more than {MOST} parameters at /{path}; one call takes {MOST} at most. Take the levels below "
            "it one by one."
        )
    return found


async def _move(call: Call, tx: Transaction, source: Name, target: Name, request: Shape) -> Sequence[tuple[str, Name]]:
    recursive = request.get("Recursive") or False
    store = ParameterStore(tx, call.account_id, call.region)
    found = await parameters_at(store, source.path, recursive=recursive)
    if not found:
        raise ParameterNotFound.named(source.text)
    plan = {each.path: _renamed(call, each, source, target) for each in found}
    await store.lock_all({*plan, *(name.path for name in plan.values())})
    again = await parameters_at(store, source.path, recursive=recursive)
    if {each.path for each in again} != set(plan):
        raise TooManyUpdates("The parameters of the source changed meanwhile; nothing was moved. Try again.")
    wanted = sorted(name.path for name in plan.values())
    for start in range(0, len(wanted), 500):
        for taken in await store.newest_values(wanted[start : start + 500]):
            raise ParameterAlreadyExists(f"The destination {_text(plan, taken)} exists; nothing was moved.")
    for each in again:
        await call.clock.sleep(0)  # others' reads go on meanwhile
        try:
            if not request.get("DropSharing"):
                await _check_not_shared(call, tx, each)
            await ask_delete(call, tx, each.path)
            await ask_put(call, tx, plan[each.path].path, overwrite=False)
            await _one(call, tx, each, plan[each.path])
        except ApiError as error:
            error.message = f"{each.name} can't be moved, so nothing was: {error.message}"
            raise
    return [(each.name, plan[each.path]) for each in again]


async def _check_not_shared(call: Call, tx: Transaction, about: Version) -> None:
    resource = arn(call.account_id, call.region, about.path)
    if await resource_policies.is_shared(tx, call.account_id, call.region, resource):
        raise ValidationException(
            "It is shared by a resource policy, which would not hold for the new name. To move it and end the sharing, "
            "set DropSharing (--drop-sharing); share it again under its new name."
        )


def _text(plan: dict[str, Name], path: str) -> str:
    return next(name.text for name in plan.values() if name.path == path)


def _renamed(call: Call, version: Version, source: Name, target: Name) -> Name:
    """The new name, held to the rules of new names."""
    rest = version.path[len(source.path) :]
    text = f"{target.text}{rest}" if target.text.startswith("/") or not rest else f"/{target.text}{rest}"
    return new_name(text, call.account_id, call.region)


async def _one(call: Call, tx: Transaction, about: Version, to: Name) -> None:
    store = ParameterStore(tx, call.account_id, call.region)
    moving = MovingStore(tx, call.account_id, call.region)
    newest = await store.newest(about.path)
    assert newest is not None, "it is locked"
    versions = [*await store.older(newest, after=0, count=newest.number), newest]
    opener = Opener(call, tx, decrypt=True)
    opened = [(each, await opener.text(each)) for each in versions if each.kind == SECURE]
    await moving.move(about.path, to)
    for each, text in opened:
        version = replace(each, path=to.path, name=to.text, value=text, sealed=None)
        await moving.reseal(version, await seal(call, tx, version))
    tagged = await tags.of(tx, call.account_id, call.region, TAGGED_AS, about.path)
    await tags.remove_all(tx, call.account_id, call.region, TAGGED_AS, about.path)
    await tags.put(tx, call.account_id, call.region, TAGGED_AS, to.path, tagged)
    await tell_change(call.house, tx, call.account_id, call.region, newest, "Delete")
    await tell_change(
        call.house, tx, call.account_id, call.region, replace(newest, path=to.path, name=to.text), "Create"
    )
