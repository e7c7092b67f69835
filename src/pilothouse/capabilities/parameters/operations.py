"""PutParameter, DeleteParameter(s), GetParameter(s), GetParameterHistory."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final

from pilothouse.call import Call, Caller, Shape, operation
from pilothouse.capabilities import tags
from pilothouse.capabilities.parameters import settings
from pilothouse.capabilities.parameters.ahead import NOTHING, Ahead, look_ahead
from pilothouse.capabilities.parameters.changes import TAGGED_AS, What, remove, tell_change
from pilothouse.capabilities.parameters.labels import is_label
from pilothouse.capabilities.parameters.limits import next_of
from pilothouse.capabilities.parameters.lines import in_line
from pilothouse.capabilities.parameters.model import (
    SECURE,
    InvalidNextToken,
    ParameterNotFound,
    ParameterVersionNotFound,
    Policy,
    Value,
    Version,
)
from pilothouse.capabilities.parameters.names import (
    PUBLIC,
    arn,
    asked,
    check_not_reserved,
    is_secret_reference,
    new_name,
    plain_name,
    resource,
)
from pilothouse.capabilities.parameters.policies import parse_policies
from pilothouse.capabilities.parameters.public import store_for
from pilothouse.capabilities.parameters.puts import Put, dropped_by, labelled_of, oldest_is_labelled
from pilothouse.capabilities.parameters.references import secret_parameter
from pilothouse.capabilities.parameters.sealing import Opener, seal
from pilothouse.capabilities.parameters.secrecy import reads_secrets
from pilothouse.capabilities.parameters.sharing import as_owner, owner_of
from pilothouse.capabilities.parameters.store import ParameterStore
from pilothouse.capabilities.secrets import all_settled
from pilothouse.errors import ValidationException
from pilothouse.runtime.clock import from_millis
from pilothouse.storage import Transaction
from pilothouse.storage.pages import InvalidPageToken

_HISTORY_PAGE: Final = 50
_TAGS_AND_OVERWRITE: Final = (
    "Invalid request: tags and overwrite can't be used together. To create a parameter with tags, please remove "
    "overwrite flag. To update tags for an existing parameter, please use AddTagsToResource or RemoveTagsFromResource."
)


def _named(call: Call, request: Shape) -> Iterable[str]:
    return [resource(call.account_id, call.region, request["Name"])]


def _each_named(call: Call, request: Shape) -> Iterable[str]:
    return [resource(call.account_id, call.region, name) for name in request["Names"]]


def _put_conditions(call: Call, request: Shape) -> dict[str, str]:
    return {
        "ssm:Overwrite": "true" if request.get("Overwrite") else "false",
        "ssm:Policies": "true" if request.get("Policies") else "false",
    }


@operation(
    "ssm", "PutParameter", writes=True, resources=_named, line=in_line, prepare=look_ahead, conditions=_put_conditions
)
async def put_parameter(call: Call, request: Shape) -> Shape:
    """Make a parameter, or with Overwrite its next version, which inherits what the request leaves out."""
    return await put_in(call, request, call.prepared)


async def put_in(call: Call, request: Shape, ahead: Ahead = NOTHING) -> Shape:
    """PutParameter within a call of any operation that writes."""
    put = _put(call, request)
    wanted_tags = tags.by_key(request.get("Tags") or [])
    async with call.transaction() as tx:
        store = ParameterStore(tx, call.account_id, call.region)
        await store.lock(put.name.path)
        version, previous = await next_of(
            call, store, put, at=call.clock.millis(), by=call.principal.arn, default_tier=ahead.default_tier
        )
        if version.kind == SECURE:
            sealer = ahead.sealer if version.key_ref == ahead.key_ref else None
            version = replace(version, value=None, sealed=await seal(call, tx, version, sealer))
        if previous is None:
            await store.add(version)
            await tags.put(tx, call.account_id, call.region, TAGGED_AS, version.path, wanted_tags)
        else:
            await _replace(call, store, version, previous, put.name.text)
        what: What = "Update" if previous else "Create"
        await tell_change(call.house, tx, call.account_id, call.region, version, what)
    return {"Version": version.number, "Tier": version.tier}


def _put(call: Call, request: Shape) -> Put:
    name = new_name(request["Name"], call.account_id, call.region)
    overwrite = request.get("Overwrite") or False
    if overwrite and request.get("Tags"):
        raise ValidationException(_TAGS_AND_OVERWRITE)
    policies = request.get("Policies")
    return Put(
        name=name,
        value=request["Value"],
        overwrite=overwrite,
        kind=request.get("Type"),
        key_ref=request.get("KeyId"),
        description=request.get("Description"),
        allowed_pattern=request.get("AllowedPattern"),
        tier=request.get("Tier"),
        policies=None if policies is None else parse_policies(policies, call.clock.now()),
        data_type=request.get("DataType"),
    )


async def _replace(call: Call, store: ParameterStore, version: Version, previous: Version, asked_name: str) -> None:
    drop = None
    if version.number > settings.VERSIONS:
        kept = await settings.number(store.tx, call.account_id, call.region, settings.MAX_VERSIONS)
        drop = dropped_by(version, kept)
    if drop is not None:
        labelled = labelled_of(drop, (await store.labels(version.path)).values())
        if labelled is not None:
            raise oldest_is_labelled(asked_name, labelled)
    await store.replace(version, previous=previous, drop=drop)


@operation("ssm", "DeleteParameter", writes=True, resources=_named)
async def delete_parameter(call: Call, request: Shape) -> Shape:
    """Remove a parameter with its versions, labels and tags."""
    check_not_reserved(request["Name"])
    name = plain_name(request["Name"])
    async with call.transaction() as tx:
        if await remove(call.house, tx, call.account_id, call.region, name.path) is None:
            raise ParameterNotFound.named(request["Name"])
    return {}


@operation("ssm", "DeleteParameters", writes=True, resources=_each_named)
async def delete_parameters(call: Call, request: Shape) -> Shape:
    """Remove up to ten parameters; names that are not there or malformed are answered as invalid."""
    names = list(dict.fromkeys(request["Names"]))
    for name in names:
        check_not_reserved(name)
    deleted: set[str] = set()
    async with call.transaction() as tx:
        store = ParameterStore(tx, call.account_id, call.region)
        well_formed = sorted(_well_formed(names))
        await store.lock_all([path for path, _ in well_formed])
        for path, name in well_formed:
            if await remove(call.house, tx, call.account_id, call.region, path) is not None:
                deleted.add(name)
    return {
        "DeletedParameters": [name for name in names if name in deleted],
        "InvalidParameters": [name for name in names if name not in deleted],
    }


def _well_formed(names: Iterable[str]) -> Iterable[tuple[str, str]]:
    """Path and spelling of each name that a parameter can have."""
    for name in names:
        try:
            yield plain_name(name).path, name
        except ValidationException:
            continue  # answered as invalid


@operation("ssm", "GetParameter", callers=Caller.ACCOUNT | Caller.NODE, resources=_named, audited=reads_secrets)
async def get_parameter(call: Call, request: Shape) -> Shape:
    """One value by name or ARN, of the newest version or of the one that the selector names."""
    if is_secret_reference(request["Name"]):
        await all_settled(call)
    async with call.reading() as tx:
        reader = Reader(call, tx, decrypt=request.get("WithDecryption") or False)
        return {"Parameter": await reader.parameter(request["Name"])}


@operation("ssm", "GetParameters", callers=Caller.ACCOUNT | Caller.NODE, resources=_each_named, audited=reads_secrets)
async def get_parameters(call: Call, request: Shape) -> Shape:
    """Up to ten values; names that are not there are answered as invalid, spelled as asked."""
    names = list(dict.fromkeys(request["Names"]))
    found: list[Shape] = []
    invalid: list[str] = []
    if any(is_secret_reference(name) for name in names):
        await all_settled(call)
    async with call.reading() as tx:
        reader = Reader(call, tx, decrypt=request.get("WithDecryption") or False)
        reader.action = "ssm:GetParameters"
        await reader.look_ahead(names)
        for name in names:
            try:
                found.append(await reader.parameter(name))
            except (ParameterNotFound, ParameterVersionNotFound):
                invalid.append(name)
    found.sort(key=lambda parameter: (parameter["Name"], parameter.get("Selector") or ""))
    return {"Parameters": found, "InvalidParameters": invalid}


class Reader:
    """Reads values for one call."""

    def __init__(self, call: Call, tx: Transaction, *, decrypt: bool) -> None:
        self._call = call
        self._decrypt = decrypt
        self._tx = tx
        self._store = ParameterStore(tx, call.account_id, call.region)
        self._opener = Opener(call, tx, decrypt=decrypt)
        self._ahead: dict[str, Value | None] = {}
        self.action = "ssm:GetParameter"
        """What policies of other accounts' parameters are asked about."""

    async def look_ahead(self, names: Iterable[str]) -> None:
        """Read the newest versions of several parameters in one question."""
        paths = []
        for name in names:
            if not name.startswith(("/aws/", "arn:")):  # of the provider's namespace each is looked for by itself
                try:
                    paths.append(asked(name, self._call.account_id, self._call.region).path)
                except ParameterNotFound:
                    continue  # answered when its turn comes
        self._ahead = dict.fromkeys(paths) | await self._store.newest_values(set(paths))

    async def parameter(self, text: str) -> Shape:
        """The answer for a name or ARN with an optional selector.

        Raises ParameterNotFound, ParameterVersionNotFound, ValidationException, InvalidKeyId.
        """
        if is_secret_reference(text):
            return await secret_parameter(self._call, self._tx, text, decrypt=self._decrypt)
        if owner := owner_of(text, self._call.account_id):
            return await self._shared(text, owner)
        path, name, selector = asked(text, self._call.account_id, self._call.region)
        store = self._store
        if path.startswith(PUBLIC):
            store = await store_for(self._tx, self._call.account_id, self._call.region, path)
        found = self._ahead[path] if path in self._ahead else await store.newest_value(path)
        if found is None:
            raise ParameterNotFound.named(text)
        if selector is None:
            return await self.shape(found, name or found.name)
        chosen = await self._selected(store, found, selector, name or found.name)
        return await self.shape(chosen, name or found.name, selector)

    async def _shared(self, text: str, owner: str) -> Shape:
        """Another account's parameter. Raises AccessDeniedException, whether or not it is there."""
        call = await as_owner(self._call, self._tx, owner, text, self.action)
        return await Reader(call, self._tx, decrypt=self._decrypt).parameter(text)

    async def shape(self, value: Value, name: str, selector: str | None = None) -> Shape:
        """A Parameter of the service model."""
        answer: dict[str, Any] = {
            "Name": name,
            "Type": value.kind,
            "Value": await self._opener.text(value),
            "Version": value.number,
            "LastModifiedDate": from_millis(value.modified_at),
            "ARN": arn(self._call.account_id, self._call.region, value.path),
            "DataType": value.data_type,
        }
        if selector is not None:
            answer["Selector"] = f":{selector}"
        return answer

    async def version(self, newest: Value, number: int, store: ParameterStore | None = None) -> Value | None:
        """The value of one version of a parameter."""
        if number == newest.number:
            return newest
        return await (store or self._store).older_value(newest.path, newest.name, number)

    async def _selected(self, store: ParameterStore, newest: Value, selector: str, name: str) -> Value:
        if selector.isascii() and selector.isdigit():
            number = int(selector) if len(selector) <= 18 else None
        else:
            number = await store.labelled(newest.path, selector) if is_label(selector) else None
        found = None if number is None else await self.version(newest, number, store)
        if found is None:
            raise ParameterVersionNotFound(
                f"Systems Manager could not find version {selector} of {name}. Verify the version and try again."
            )
        return found


@operation(
    "ssm", "GetParameterHistory", resources=_named, relaxed={"MaxResults": settings.LARGEST_PAGE}, audited=reads_secrets
)
async def get_parameter_history(call: Call, request: Shape) -> Shape:
    """Every kept version, oldest first, with its labels."""
    text = request["Name"]
    if owner := owner_of(text, call.account_id):
        async with call.reading() as tx:
            call = await as_owner(call, tx, owner, text, "ssm:GetParameterHistory")
    path, name, selector = asked(text, call.account_id, call.region)
    if selector is not None:
        raise ParameterNotFound.named(text)
    query = ["GetParameterHistory", call.account_id, call.region, path]
    limit = request.get("MaxResults") or _HISTORY_PAGE
    after = 0
    if token := request.get("NextToken"):
        try:
            (after,) = call.house.pages.position(query, token)
        except InvalidPageToken as error:
            raise InvalidNextToken from error
    async with call.reading() as tx:
        await settings.check_page_size(call, tx, request.get("MaxResults"))
        store = await store_for(tx, call.account_id, call.region, path)
        newest = await store.newest(path)
        if newest is None:
            raise ParameterNotFound.named(text)
        versions = await store.older(newest, after=after, count=limit)  # and the newest tells whether there are more
        if newest.number > after:
            versions.append(newest)
        labels = await store.labels(path)
        opener = Opener(call, tx, decrypt=request.get("WithDecryption") or False)
        page = [
            _history_shape(version, name or version.name, await opener.text(version), labels)
            for version in versions[:limit]
        ]
    more = len(versions) > limit
    next_token = call.house.pages.token(query, [versions[limit - 1].number]) if more else None
    return {"Parameters": page, "NextToken": next_token}


def _history_shape(version: Version, name: str, value: str, labels: dict[str, int]) -> Shape:
    return {
        **metadata_shape(version, name),
        "Value": value,
        "Labels": [label for label, number in labels.items() if number == version.number],
        "Policies": policies_shape(version.policies),
    }


def metadata_shape(version: Version, name: str) -> Shape:
    """What ParameterMetadata and ParameterHistory have in common; None members are dropped from the answer."""
    return {
        "Name": name,
        "Type": version.kind,
        "KeyId": version.key_ref,
        "LastModifiedDate": from_millis(version.modified_at),
        "LastModifiedUser": version.modified_by,
        "Description": version.description,
        "AllowedPattern": version.allowed_pattern,
        "Version": version.number,
        "Tier": version.tier,
        "DataType": version.data_type,
    }


def policies_shape(policies: tuple[Policy, ...]) -> list[Shape]:
    """A list of ParameterInlinePolicy."""
    return [{"PolicyText": each.text, "PolicyType": each.kind, "PolicyStatus": each.status} for each in policies]
