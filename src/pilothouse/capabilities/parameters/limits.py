"""How many parameters an account may have, and what else of a put rests on more than the parameter itself."""

from typing import Final

from pilothouse.call import Call
from pilothouse.capabilities.parameters import settings
from pilothouse.capabilities.parameters.model import ParameterLimitExceeded, Version
from pilothouse.capabilities.parameters.puts import Put, Terms, next_version, tier_asked
from pilothouse.capabilities.parameters.store import ParameterStore
from pilothouse.capabilities.parameters.values import ADVANCED_BYTES

_NEAR: Final = 256
"""So close to a limit, puts that make parameters go one after another: before, none can overstep it."""


async def next_of(
    call: Call, store: ParameterStore, put: Put, *, at: int, by: str, default_tier: str | None = None
) -> tuple[Version, Version | None]:
    """The version that a put makes and the one before it. The parameter must be locked.

    `default_tier` is the account's setting where it is known already.
    Raises as `next_version`, and ParameterLimitExceeded.
    """
    previous = await store.newest(put.name.path)
    terms = await _terms(call, store, put, previous, default_tier)
    version = next_version(put, previous, at=at, by=by, terms=terms)
    if previous is not None and previous.tier == version.tier:
        return version, previous
    if version.tier == "Standard" and await is_full(call, store, "Standard"):
        if tier_asked(put, previous, terms) != "Intelligent-Tiering":
            raise _exceeded("Standard", call.house.settings.parameters.standard_limit)
        version = next_version(put, previous, at=at, by=by, terms=terms, full=True)
    if version.tier == "Advanced" and await is_full(call, store, "Advanced"):
        raise _exceeded("Advanced", call.house.settings.parameters.advanced_limit)
    return version, previous


async def is_full(call: Call, store: ParameterStore, tier: str) -> bool:
    """Whether there is no room for one more parameter of the tier."""
    limits = call.house.settings.parameters
    limit = limits.standard_limit if tier == "Standard" else limits.advanced_limit
    if limit <= 0 or await store.count(tier) < limit - _NEAR:
        return False
    await store.lock_count(tier)
    return await store.count(tier) >= limit


async def _terms(
    call: Call, store: ParameterStore, put: Put, previous: Version | None, default_tier: str | None
) -> Terms:
    tier, most = default_tier or "Standard", ADVANCED_BYTES
    if default_tier is None and put.tier is None and (previous is None or previous.tier != "Advanced"):
        tier = await settings.text(store.tx, call.account_id, call.region, settings.DEFAULT_TIER)
    if len(put.value) > ADVANCED_BYTES or len(put.value.encode()) > ADVANCED_BYTES:
        most = await settings.number(store.tx, call.account_id, call.region, settings.MAX_VALUE_BYTES)
    return Terms(tier=tier, most=most)


def _exceeded(tier: str, limit: int) -> ParameterLimitExceeded:
    way_out = " or upgrade to the advanced-parameter tier (charges apply)" if tier == "Standard" else ""
    return ParameterLimitExceeded(
        f"You have reached the maximum number of {tier.lower()} parameters for this AWS account and Region ({limit}). "
        f"To add more parameters, {'either ' if way_out else ''}delete existing parameters{way_out}."
    )
