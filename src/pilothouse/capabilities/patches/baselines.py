"""Baselines as users make, change, look at and remove them, and which is the default of an operating system."""

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities import tags
from pilothouse.capabilities.patches.asking import (
    DEFAULT_SYSTEM,
    default_id,
    filters,
    find_baseline,
    id_here,
    named_baseline,
    own_baseline,
    position,
    query_of,
    shown_id,
)
from pilothouse.capabilities.patches.model import (
    TAGGED_AS,
    Baseline,
    IdempotentParameterMismatch,
    ResourceInUseException,
    ResourceLimitExceededException,
    check,
    terms_of,
    told,
)
from pilothouse.capabilities.patches.provided import default_for, provided
from pilothouse.capabilities.patches.store import BaselineStore, Named, RegistrationStore
from pilothouse.errors import ValidationException
from pilothouse.runtime.clock import from_millis

_PAGE = 100
_OWNERS = ("AWS", "All", "Self")


def _digest(request: Mapping[str, Any]) -> str:
    said = {name: value for name, value in request.items() if name != "ClientToken"}
    return hashlib.sha256(msgspec.json.encode(said, order="deterministic")).hexdigest()


@operation("ssm", "CreatePatchBaseline", writes=True)
async def create_patch_baseline(call: Call, request: Shape) -> Shape:
    """Make a baseline. With a token that made one before, its id."""
    given = tags.by_key(request.get("Tags") or [])
    token, digest = request.get("ClientToken") or "", _digest(request)
    system, terms = request.get("OperatingSystem") or DEFAULT_SYSTEM, terms_of(request)
    check(system, terms)
    async with call.transaction() as tx:
        store = BaselineStore(tx, call.house, call.account_id, call.region)
        await store.lock()
        known = await store.by_token(token) if token else None
        if known is not None:
            if known[1] != digest:
                raise IdempotentParameterMismatch("The client token was used for another baseline.")
            return {"BaselineId": known[0]}
        limit = call.house.settings.patches.most
        if await store.count() >= limit:
            raise ResourceLimitExceededException(f"There can be at most {limit} patch baselines.")
        now = call.clock.millis()
        baseline = Baseline(
            baseline_id=f"pb-{call.ids.uuid().replace('-', '')[:17]}", account_id=call.account_id, region=call.region,
            operating_system=system, terms=terms, created_at=now, modified_at=now, client_token=token, digest=digest,
        )  # fmt: skip
        await store.add(baseline)
        await tags.put(tx, call.account_id, call.region, TAGGED_AS, baseline.baseline_id, given)
    return {"BaselineId": baseline.baseline_id}


@operation("ssm", "UpdatePatchBaseline", writes=True, resources=named_baseline)
async def update_patch_baseline(call: Call, request: Shape) -> Shape:
    """Change what the request says; with Replace, it says all, and what it leaves out is as in a new one."""
    replaces = bool(request.get("Replace"))
    if replaces and request.get("Name") is None:
        raise ValidationException("With Replace the request must say all that a new baseline needs: Name.")
    async with call.transaction() as tx:
        store = BaselineStore(tx, call.house, call.account_id, call.region)
        await store.lock()
        before = await own_baseline(call, tx, request["BaselineId"])
        terms = terms_of(request, None if replaces else before.terms)
        check(before.operating_system, terms)
        baseline = msgspec.structs.replace(before, terms=terms, modified_at=call.clock.millis())
        await store.save(baseline)
    return _shape(call, baseline)


@operation("ssm", "DeletePatchBaseline", writes=True, resources=named_baseline)
async def delete_patch_baseline(call: Call, request: Shape) -> Shape:
    """Remove a baseline that nobody uses. One that is not there is no error."""
    baseline_id = id_here(call, request["BaselineId"])
    async with call.transaction() as tx:
        store = BaselineStore(tx, call.house, call.account_id, call.region)
        await store.lock()
        if baseline_id in provided():
            await own_baseline(call, tx, baseline_id)
        registrations = RegistrationStore(tx, call.account_id, call.region)
        if baseline_id in (await registrations.defaults()).values():
            raise ResourceInUseException(
                "The patch baseline is a default. Make another one the default of its operating system first."
            )
        if groups := await registrations.groups_of(baseline_id):
            raise ResourceInUseException(
                f"The patch baseline is registered for the patch group {groups[0]}. Deregister it first."
            )
        await store.remove(baseline_id)
        await tags.remove_all(tx, call.account_id, call.region, TAGGED_AS, baseline_id)
    return {"BaselineId": request["BaselineId"]}


@operation("ssm", "GetPatchBaseline", resources=named_baseline)
async def get_patch_baseline(call: Call, request: Shape) -> Shape:
    """A baseline, and the patch groups that it is registered for."""
    async with call.reading() as tx:
        baseline = await find_baseline(call, tx, request["BaselineId"])
        groups = await RegistrationStore(tx, call.account_id, call.region).groups_of(baseline.baseline_id)
    return {**_shape(call, baseline), "PatchGroups": groups}


def _shape(call: Call, baseline: Baseline) -> Shape:
    return {
        "BaselineId": shown_id(call, baseline.baseline_id),
        "OperatingSystem": baseline.operating_system,
        "CreatedDate": from_millis(baseline.created_at),
        "ModifiedDate": from_millis(baseline.modified_at),
        **told(baseline.terms),
    }


@operation("ssm", "DescribePatchBaselines")
async def describe_patch_baselines(call: Call, request: Shape) -> Shape:
    """Those that come with the installation by name, then the account's by id."""
    wanted = filters(request, {"NAME_PREFIX": True, "OWNER": False, "OPERATING_SYSTEM": True})
    owner = wanted.get("OWNER", ["All"])[0]
    if owner not in _OWNERS:
        raise ValidationException(f"The filter OWNER has the values {', '.join(_OWNERS)}.")
    query = query_of(call, request, "DescribePatchBaselines")
    skipped, after = position(call, query, request, ValidationException) or (0, "")
    limit = request.get("MaxResults") or _PAGE
    given = [_named(each) for each in provided().values()] if owner != "Self" else []
    found = [(number, each) for number, each in enumerate(given, 1) if number > skipped and _fits(each, wanted)]
    shown: list[tuple[int, Named]] = found[: limit + 1]
    async with call.reading() as tx:
        store = BaselineStore(tx, call.house, call.account_id, call.region)
        while owner != "AWS" and len(shown) <= limit:
            page = await store.page(after, _PAGE)
            shown += [(len(given), each) for each in page if _fits(each, wanted)]
            if len(page) < _PAGE:
                break
            after = page[-1].baseline_id
        defaults = await RegistrationStore(tx, call.account_id, call.region).defaults()
    token = None
    if shown[limit:]:
        number, last = shown[limit - 1]
        own = "" if last.baseline_id in provided() else last.baseline_id
        token = call.house.pages.token(query, [number, own])
    return {"BaselineIdentities": [identity(call, each, defaults) for _, each in shown[:limit]], "NextToken": token}


def _named(baseline: Baseline) -> Named:
    return Named(
        baseline_id=baseline.baseline_id,
        name=baseline.terms.name,
        operating_system=baseline.operating_system,
        description=baseline.terms.description,
    )


def _fits(named: Named, wanted: Mapping[str, list[str]]) -> bool:
    prefixes, systems = wanted.get("NAME_PREFIX"), wanted.get("OPERATING_SYSTEM")
    if prefixes is not None and not named.name.startswith(tuple(prefixes)):
        return False
    return systems is None or named.operating_system in systems


def identity(call: Call, named: Named, defaults: Mapping[str, str]) -> Shape:
    """A PatchBaselineIdentity; `defaults` are those that users made."""
    default = defaults.get(named.operating_system) or default_for(named.operating_system).baseline_id
    return {
        "BaselineId": shown_id(call, named.baseline_id),
        "BaselineName": named.name,
        "OperatingSystem": named.operating_system,
        "BaselineDescription": named.description,
        "DefaultBaseline": named.baseline_id == default,
    }


def identity_of(call: Call, baseline: Baseline, defaults: Mapping[str, str]) -> Shape:
    """The same of a whole one."""
    return identity(call, _named(baseline), defaults)


@operation("ssm", "RegisterDefaultPatchBaseline", writes=True, resources=named_baseline)
async def register_default_patch_baseline(call: Call, request: Shape) -> Shape:
    """Make a baseline the default of its operating system."""
    async with call.transaction() as tx:
        await BaselineStore(tx, call.house, call.account_id, call.region).lock()
        baseline = await find_baseline(call, tx, request["BaselineId"])
        await RegistrationStore(tx, call.account_id, call.region).make_default(
            baseline.operating_system, baseline.baseline_id
        )
    return {"BaselineId": shown_id(call, baseline.baseline_id)}


@operation("ssm", "GetDefaultPatchBaseline")
async def get_default_patch_baseline(call: Call, request: Shape) -> Shape:
    """The default of an operating system."""
    system = request.get("OperatingSystem") or DEFAULT_SYSTEM
    async with call.reading() as tx:
        found = await default_id(call, tx, system)
    return {"BaselineId": shown_id(call, found), "OperatingSystem": system}
