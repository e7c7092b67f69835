"""ImportParameters: many parameters in one transaction, all or none, each under every rule of PutParameter."""

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities import tags
from pilothouse.capabilities.parameters.changes import TAGGED_AS
from pilothouse.capabilities.parameters.labels import label_parameter_version
from pilothouse.capabilities.parameters.model import (
    SECURE,
    InvalidPolicyAttributeException,
    ParameterAlreadyExists,
    Version,
)
from pilothouse.capabilities.parameters.names import arn, new_name, resource
from pilothouse.capabilities.parameters.operations import put_in
from pilothouse.capabilities.parameters.policies import parse_policies
from pilothouse.capabilities.parameters.rights import ask_put
from pilothouse.capabilities.parameters.sealing import Opener
from pilothouse.capabilities.parameters.store import ParameterStore
from pilothouse.capabilities.parameters.trash.store import begin_plan, undo_plan
from pilothouse.errors import ApiError, ValidationException
from pilothouse.runtime.clock import from_millis
from pilothouse.storage import Transaction

MOST: Final = 10_000
"""Parameters that one call may import, move or restore; of an import the earlier versions count as well."""

_EXISTS: Final = (
    "The parameter already exists with another content. To overwrite it, set OnExisting to overwrite; to leave it as "
    "it is, to skip."
)
_HISTORY_LEFT: Final = "It exists, so the history of the entry is not imported."
_COMPARED: Final = {
    "Type": "kind",
    "KeyId": "key_ref",
    "Description": "description",
    "AllowedPattern": "allowed_pattern",
    "Tier": "tier",
    "DataType": "data_type",
}
"""Members of an entry and the field of a version that each is about."""
_NOTHING: Final = {"Description": "", "AllowedPattern": "", "DataType": "text", "Policies": "[{}]"}
"""What a version of a history has unless it says otherwise: it inherits nothing."""


def _named(call: Call, request: Shape) -> Iterable[str]:
    return [resource(call.account_id, call.region, entry["Name"]) for entry in request["Entries"]]


@operation("pilothouse", "ImportParameters", writes=True, resources=_named)
async def import_parameters(call: Call, request: Shape) -> Shape:
    """Put every entry or none; with DryRun tell what would come of it, found out by doing it and taking it back.

    The error of an entry is that of PutParameter, with the entry's number (from 1) and name in front. A new parameter
    gets the versions of the entry's History first, numbered from 1; one that exists keeps its own.
    """
    entries = request["Entries"]
    count = len(entries) + sum(len(entry.get("History") or ()) for entry in entries)
    if count > MOST:
        raise ValidationException(
            f"One import can have {MOST} parameters at most, earlier versions counted as well; this one has {count}."
        )
    dry = request.get("DryRun") or False
    async with call.transaction() as tx:
        if dry:
            await begin_plan(tx)
        work = _Import(call, tx, request.get("OnExisting") or "fail", dry=dry)
        numbered = work.by_path(entries)
        await work.store.lock_all(numbered)
        changes = {}
        for path in sorted(numbered):
            number, entry = numbered[path]
            await call.clock.sleep(0)  # others' reads go on meanwhile
            try:
                changes[number] = await work.one(path, entry)
            except ApiError as error:
                raise _told(error, number, entry) from error
        if dry:
            await undo_plan(tx)
    return {"Changes": [changes[number] for number in sorted(changes)]}


def _told(error: ApiError, number: int, entry: Shape) -> ApiError:
    error.message = f"Entry {number} ({entry['Name']}): {error.message}"
    return error


class _Import:
    def __init__(self, call: Call, tx: Transaction, on_existing: str, *, dry: bool) -> None:
        self.store = ParameterStore(tx, call.account_id, call.region)
        self._call = call
        self._tx = tx
        self._on_existing = on_existing
        self._dry = dry
        self._opener = Opener(call, tx, decrypt=True)

    def by_path(self, entries: list[Shape]) -> dict[str, tuple[int, Shape]]:
        """The entries with their numbers. Raises what a name can be refused for, and for one that comes twice."""
        found: dict[str, tuple[int, Shape]] = {}
        for number, entry in enumerate(entries, 1):
            try:
                path = new_name(entry["Name"], self._call.account_id, self._call.region).path
                if path in found:
                    raise ValidationException(f"The parameter is named by entry {found[path][0]} already.")
            except ApiError as error:
                raise _told(error, number, entry) from error
            found[path] = number, entry
        return found

    async def one(self, path: str, entry: Shape) -> Shape:
        """Put one entry; its change."""
        previous = await self.store.newest(path)
        if previous is None:
            await ask_put(self._call, self._tx, path, overwrite=False)
            version = await self._create(entry)
            return {"Name": entry["Name"], "Change": "Added", "Version": version}
        differing = await self._differing(previous, entry)
        if not differing:
            return {"Name": entry["Name"], "Change": "Unchanged", "Version": previous.number}
        if self._on_existing == "skip":
            return {"Name": entry["Name"], "Change": "Skipped", "Version": previous.number, "Members": differing}
        if self._on_existing == "fail":
            if self._dry:
                return {"Name": entry["Name"], "Change": "Conflict", "Version": previous.number, "Members": differing}
            raise ParameterAlreadyExists(_EXISTS)
        await ask_put(self._call, self._tx, path, overwrite=True)
        number = previous.number
        if differing != ["Tags"] and differing != ["Labels"] and differing != ["Tags", "Labels"]:
            number = await self._put(entry, overwrite=True)
        if "Tags" in differing:
            await self._retag(path, entry)
        await self._label(entry, number)
        change = {"Name": entry["Name"], "Change": "Changed", "Version": number, "Members": differing}
        return change | ({"Reason": _HISTORY_LEFT} if entry.get("History") else {})

    async def _create(self, entry: Shape) -> int:
        """Put a new parameter with its earlier versions, each with just what it says; the newest version's number."""
        history = entry.get("History") or []
        about = {"Name": entry["Name"], "Type": entry.get("Type")}
        for place, earlier in enumerate(history, 1):
            tagged = {"Tags": entry.get("Tags")} if place == 1 else {}
            await self._call.clock.sleep(0)
            try:
                version = {**_NOTHING, **self._timely(earlier), **about, **tagged}
                await self._label(version, await self._put(version, overwrite=place > 1))
            except ApiError as error:
                error.message = f"Version {place} of its history: {error.message}"
                raise
        newest = {**_NOTHING, **entry} if history else entry
        number = await self._put(newest, overwrite=bool(history))
        await self._label(entry, number)
        return number

    def _timely(self, earlier: Shape) -> Shape:
        """A version without its policies if its expiration is past: a put would refuse it, and it acts no more."""
        policies = earlier.get("Policies") or "[]"
        parse_policies(policies, from_millis(0))
        try:
            parse_policies(policies, self._call.clock.now())
        except InvalidPolicyAttributeException:
            return {name: part for name, part in earlier.items() if name != "Policies"}
        return earlier

    async def _put(self, entry: Shape, *, overwrite: bool) -> int:
        members = {name: part for name, part in entry.items() if name not in ("Labels", "Tags", "History")}
        if not overwrite and entry.get("Tags"):
            members["Tags"] = entry["Tags"]
        answer = await put_in(self._call, {**members, "Overwrite": overwrite})
        number: int = answer["Version"]
        return number

    async def _retag(self, path: str, entry: Shape) -> None:
        wanted = tags.by_key(entry["Tags"])
        call = self._call
        await tags.remove_all(self._tx, call.account_id, call.region, TAGGED_AS, path)
        await tags.put(self._tx, call.account_id, call.region, TAGGED_AS, path, wanted)

    async def _label(self, entry: Shape, number: int) -> None:
        if not entry.get("Labels"):
            return
        request = {"Name": entry["Name"], "ParameterVersion": number, "Labels": entry["Labels"]}
        answer = await label_parameter_version(self._call, request)
        if answer["InvalidLabels"]:
            raise ValidationException(f"These labels are not valid: {', '.join(answer['InvalidLabels'])}.")

    async def _differing(self, previous: Version, entry: Shape) -> list[str]:
        """The entry's members that say something else than is stored; what it leaves out is inherited."""
        found = []
        if await self._opener.text(previous) != entry["Value"]:
            found.append("Value")
        for member, field in _COMPARED.items():
            wanted: Any = entry.get(member)
            if member == "KeyId" and (previous.kind != SECURE or wanted is None):
                continue
            if wanted is not None and wanted != "Intelligent-Tiering" and wanted != (getattr(previous, field) or ""):
                found.append(member)
        if entry.get("Policies") is not None and not _same_policies(entry["Policies"], previous):
            found.append("Policies")
        call = self._call
        if entry.get("Tags") is not None and tags.by_key(entry["Tags"]) != await tags.of(
            self._tx, call.account_id, call.region, TAGGED_AS, previous.path
        ):
            found.append("Tags")
        if entry.get("Labels"):
            labels = await self.store.labels(previous.path)
            if any(labels.get(label) != previous.number for label in entry["Labels"]):
                found.append("Labels")
        return found


def _same_policies(text: str, previous: Version) -> bool:
    try:
        wanted = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return False
    return wanted == [msgspec.json.decode(each.text) for each in previous.policies] or (
        wanted == [{}] and not previous.policies
    )


def arns_below(call: Call, text: str) -> list[str]:
    """The ARN of a path or name in a request, and of everything below it."""
    own = arn(call.account_id, call.region, text.strip().strip("/"))
    return [own, f"{own}/*"]
