"""RestoreParameters, ListTrashedParameters, RestoreTrashedParameter: back to what was."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC
from typing import Any, Final

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities.parameters.changes import remove, tell_change
from pilothouse.capabilities.parameters.imports import MOST, arns_below
from pilothouse.capabilities.parameters.model import (
    InvalidNextToken,
    ParameterAlreadyExists,
    ParameterNotFound,
    TooManyUpdates,
    Version,
)
from pilothouse.capabilities.parameters.moves import parameters_at
from pilothouse.capabilities.parameters.names import check_path, plain_name, resource
from pilothouse.capabilities.parameters.operations import put_in
from pilothouse.capabilities.parameters.rights import ask_delete, ask_put
from pilothouse.capabilities.parameters.sealing import Opener
from pilothouse.capabilities.parameters.store import ParameterStore
from pilothouse.capabilities.parameters.trash import revive
from pilothouse.capabilities.parameters.trash.store import Trashed, TrashStore, begin_plan, undo_plan
from pilothouse.errors import ApiError, ValidationException
from pilothouse.runtime.clock import from_millis
from pilothouse.storage import Transaction
from pilothouse.storage.pages import InvalidPageToken

_PAGE: Final = 50
_COMPARED: Final = ("kind", "description", "allowed_pattern", "data_type")


def _path(call: Call, request: Shape) -> Iterable[str]:
    return arns_below(call, request["Path"])


def _named(call: Call, request: Shape) -> Iterable[str]:
    return [resource(call.account_id, call.region, request["Name"])]


@operation("pilothouse", "RestoreParameters", writes=True, resources=_path)
async def restore_parameters(call: Call, request: Shape) -> Shape:
    """Bring a path and all below it back to a moment, in one transaction.

    A parameter with another content now gets a further version with the content of then; a deleted one comes back with
    its history, labels and tags; one that was not there yet stays, or goes with DeleteNewer. What cannot be brought
    back is told and left as it is. Tags, labels and policies of what is there stay. With DryRun nothing changes.
    """
    at = int(request["AsOf"].astimezone(UTC).timestamp() * 1000 + 0.5)
    if at > call.clock.millis():
        raise ValidationException("AsOf lies in the future.")
    path = check_path(request["Path"])
    async with call.transaction() as tx:
        if request.get("DryRun"):
            await begin_plan(tx)
        work = _Restore(call, tx, at, delete_newer=request.get("DeleteNewer") or False)
        changes = await work.all(path)
        if request.get("DryRun"):
            await undo_plan(tx)
    return {"Changes": changes}


@dataclass(frozen=True, slots=True)
class _Then:
    """What a parameter was: its version of then, or nothing; `lost` when that is no longer kept."""

    version: Version | None = None
    life: Trashed | None = None
    lost: bool = False


class _Restore:
    def __init__(self, call: Call, tx: Transaction, at: int, *, delete_newer: bool) -> None:
        self._call = call
        self._tx = tx
        self._at = at
        self._delete_newer = delete_newer
        self._store = ParameterStore(tx, call.account_id, call.region)
        self._trash = TrashStore(tx, call.account_id, call.region)
        self._opener = Opener(call, tx, decrypt=True)

    async def all(self, path: str) -> list[Shape]:
        """Restore everything at and below the path; the changes in the order of the paths."""
        lives = await self._lives(path)
        present = {each.path for each in await parameters_at(self._store, path, recursive=True)}
        await self._store.lock_all({*present, *lives})
        if {each.path for each in await parameters_at(self._store, path, recursive=True)} != present:
            raise TooManyUpdates("The parameters changed meanwhile; nothing was restored. Try again.")
        changes = []
        for each in sorted({*present, *lives}):
            await self._call.clock.sleep(0)  # others' reads go on meanwhile
            change = await self._one(each, lives.get(each))
            if change is not None:
                changes.append(change)
        return changes

    async def _lives(self, path: str) -> dict[str, Trashed]:
        """By path the deleted life that held the moment."""
        found: dict[str, Trashed] = {}
        after = ("", 0)
        while page := await self._trash.below(path, after=after, count=1000):
            after = (page[-1].path, page[-1].number)
            for each in page:
                # its first versions may have been dropped, so the beginning of a long life is not known
                if self._at < each.deleted_at and (each.created_at <= self._at or each.version > 1):
                    found.setdefault(each.path, each)  # of several the first that ended after the moment
            if len(found) > MOST:
                raise ValidationException(f"More than {MOST} deleted parameters lie there; take a smaller path.")
        return found

    async def _one(self, path: str, life: Trashed | None) -> Shape | None:
        newest = await self._store.newest(path)
        if newest is None:
            return None if life is None else await self._recreate(life)
        then = await self._then(newest, life)
        if then.lost:
            return _change(newest, "Impossible", Reason="The version of then is no longer kept.")
        if then.version is None:
            if self._delete_newer:
                await ask_delete(self._call, self._tx, path)
                await remove(self._call.house, self._tx, self._call.account_id, self._call.region, path)
                return _change(newest, "Deleted")
            return _change(newest, "Newer", Reason="It was not there then; DeleteNewer (--delete-newer) removes it.")
        return await self._bring_back(newest, then.version)

    async def _then(self, newest: Version, life: Trashed | None) -> _Then:
        versions = [*await self._store.older(newest, after=0, count=newest.number), newest]
        held = _held(versions, self._at)
        if held is not None:
            return _Then(held)
        if life is not None:
            held = _held(await self._trash.versions(life), self._at)
            return _Then(held, life, lost=held is None and life.version > 1)
        return _Then(lost=versions[0].number > 1)

    async def _recreate(self, life: Trashed) -> Shape | None:
        then = _held(await self._trash.versions(life), self._at)
        call = self._call
        if then is None:
            members = {"Name": life.name, "Change": "Impossible", "Version": life.version}
            return members | {"Reason": "The version of then is no longer kept."}
        await ask_put(call, self._tx, life.path, overwrite=False)
        newest = await revive(call.house, self._tx, call.account_id, call.region, life)
        await tell_change(call.house, self._tx, call.account_id, call.region, newest, "Create")
        if newest.number != then.number:
            await self._bring_back(newest, then)
        now = await self._store.newest_value(life.path)
        number = newest.number if now is None else now.number
        return {"Name": life.name, "Change": "Recreated", "Version": number, "From": then.number}

    async def _bring_back(self, newest: Version, then: Version) -> Shape:
        text = await self._opener.text(then)
        same = all(getattr(newest, field) == getattr(then, field) for field in _COMPARED)
        if same and text == await self._opener.text(newest):
            return _change(newest, "Unchanged")
        if then.kind != newest.kind:
            reason = f"It was a {then.kind} and is a {newest.kind} now; delete it first."
            return _change(newest, "Impossible", Reason=reason)
        request: dict[str, Any] = {
            "Name": newest.name,
            "Value": text,
            "Overwrite": True,
            "Description": then.description or "",
            "AllowedPattern": then.allowed_pattern or "",
            "DataType": then.data_type,
        }
        if then.tier == "Advanced":
            request["Tier"] = "Advanced"
        await ask_put(self._call, self._tx, newest.path, overwrite=True)
        try:
            answer = await put_in(self._call, request)
        except ApiError as error:
            error.message = f"{newest.name} can't be restored, so nothing was: {error.message}"
            raise
        return {"Name": newest.name, "Change": "Restored", "Version": answer["Version"], "From": then.number}


def _held(versions: list[Version], at: int) -> Version | None:
    """The version that was the newest at a moment."""
    return max((each for each in versions if each.modified_at <= at), key=lambda each: each.number, default=None)


def _change(version: Version, what: str, **more: Any) -> Shape:
    return {"Name": version.name, "Change": what, "Version": version.number, **more}


@operation("pilothouse", "ListTrashedParameters", resources=_path)
async def list_trashed_parameters(call: Call, request: Shape) -> Shape:
    """What was deleted at and below a path; the values are not shown."""
    path = check_path(request["Path"])
    query = ["ListTrashedParameters", call.account_id, call.region, path]
    limit = request.get("MaxResults") or _PAGE
    after = ("", 0)
    if token := request.get("NextToken"):
        try:
            after_path, after_number = call.house.pages.position(query, token)
        except InvalidPageToken as error:
            raise InvalidNextToken from error
        after = (after_path, after_number)
    async with call.reading() as tx:
        found = await TrashStore(tx, call.account_id, call.region).below(path, after=after, count=limit + 1)
    page = found[:limit]
    more = len(found) > limit
    return {
        "Parameters": [
            {
                "Name": each.name,
                "Type": each.kind,
                "Version": each.version,
                "CreatedDate": from_millis(each.created_at),
                "DeletedDate": from_millis(each.deleted_at),
            }
            for each in page
        ],
        "NextToken": call.house.pages.token(query, [page[-1].path, page[-1].number]) if more else None,
    }


@operation("pilothouse", "RestoreTrashedParameter", writes=True, resources=_named)
async def restore_trashed_parameter(call: Call, request: Shape) -> Shape:
    """Bring back what was last deleted under a name, with its history, labels and tags. The name must be free."""
    name = plain_name(request["Name"])
    async with call.transaction() as tx:
        store = ParameterStore(tx, call.account_id, call.region)
        await store.lock(name.path)
        if await store.newest_value(name.path):
            raise ParameterAlreadyExists(f"There is a parameter {name.text} now; move or delete it first.")
        life = await TrashStore(tx, call.account_id, call.region).newest(name.path)
        if life is None:
            raise ParameterNotFound(f"The trash holds no parameter {name.text}.")
        await ask_put(call, tx, life.path, overwrite=False)
        newest = await revive(call.house, tx, call.account_id, call.region, life)
        await tell_change(call.house, tx, call.account_id, call.region, newest, "Create")
    return {"Name": newest.name, "Version": newest.number}
