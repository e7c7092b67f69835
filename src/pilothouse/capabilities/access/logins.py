"""IAM: passwords of users, as administrators set them and as users change their own."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from pilothouse.call import Call, House, Shape, operation
from pilothouse.capabilities.access.account_store import AccountStore
from pilothouse.capabilities.access.attempts import Attempt, begin_attempt
from pilothouse.capabilities.access.login_model import (
    InvalidUserTypeException,
    LoginProfile,
    PasswordPolicyViolationException,
    former_context,
    password_context,
)
from pilothouse.capabilities.access.login_store import LoginStore
from pilothouse.capabilities.access.model import EntityAlreadyExistsException, NoSuchEntityException, User
from pilothouse.capabilities.access.owners import USER, found, locked, user_resource
from pilothouse.capabilities.access.passwords import check_rules, hashed, matches
from pilothouse.capabilities.access.users import UserStore
from pilothouse.errors import AccessDeniedException, ApiError, ValidationException
from pilothouse.identity.authorise import context_of, refusal
from pilothouse.identity.policy import Ask, Verdict
from pilothouse.runtime.clock import from_millis
from pilothouse.storage import Transaction

_DAY_MS: Final = 24 * 3_600_000
_MOST_FORMER: Final = 24

Rules = Mapping[str, Any]
"""As UpdateAccountPasswordPolicy has them."""


async def rules_of(tx: Transaction, account_id: str) -> Rules | None:
    """The account's rules for passwords; None: none were set."""
    kept = await AccountStore(tx, account_id).password_rules()
    return None if kept is None else json.loads(kept)


def expires_at(profile: LoginProfile, rules: Rules | None) -> int:
    """Epoch milliseconds; 0: never."""
    days = (rules or {}).get("MaxPasswordAge", 0)
    return profile.changed_at + days * _DAY_MS if days else 0


async def kept_hash(house: House, profile: LoginProfile) -> str:
    """The hash of the user's password."""
    context = password_context(profile.account_id, profile.user_id)
    return (await house.vault.opened(profile.password_sealed, context)).decode()


async def was_used(house: House, profile: LoginProfile, former: Mapping[int, bytes], password: str, count: int) -> bool:
    """Whether it is one of the last so many passwords, the present one among them."""
    hashes = [await kept_hash(house, profile)]
    for number, sealed in list(former.items())[: count - 1]:
        context = former_context(profile.account_id, profile.user_id, number)
        hashes.append((await house.vault.opened(sealed, context)).decode())
    for each in hashes[:count]:
        if await matches(each, password):
            return True
    return False


async def renew(
    tx: Transaction, house: House, profile: LoginProfile, password_hash: str, *, reset: bool
) -> LoginProfile:
    """Another password in the place of the user's. What was signed in with the former one ends."""
    store = LoginStore(tx, profile.account_id)
    number = max(await store.former(profile.user_id), default=0) + 1
    former = (await kept_hash(house, profile)).encode()
    sealed = house.vault.seal(former, former_context(profile.account_id, profile.user_id, number))
    await store.add_former(profile.user_id, number, sealed, _MOST_FORMER)
    renewed = replace(
        profile,
        password_sealed=house.vault.seal(password_hash.encode(), password_context(profile.account_id, profile.user_id)),
        session_key=house.ids.uuid(),
        reset_required=reset,
        changed_at=house.clock.millis(),
    )
    await store.put(renewed)
    return renewed


async def _new_hash(call: Call, request: Shape) -> str | None:
    return await hashed(request["Password"]) if "Password" in request else None


@operation("iam", "CreateLoginProfile", writes=True, resources=user_resource, prepare=_new_hash)
async def create_login_profile(call: Call, request: Shape) -> Shape:
    """The user can sign in from now on."""
    if call.prepared is None:
        raise ValidationException("A login profile needs a Password.")
    now = call.clock.millis()
    async with call.transaction() as tx:
        user = await locked(tx, USER, call.account_id, _name(call, request))
        store = LoginStore(tx, call.account_id)
        if await store.find(user.user_id) is not None:
            raise EntityAlreadyExistsException(f"Login Profile for user {user.name} already exists.")
        check_rules(request["Password"], user.name, await rules_of(tx, call.account_id))
        made = LoginProfile(
            account_id=call.account_id,
            user_id=user.user_id,
            password_sealed=call.house.vault.seal(
                call.prepared.encode(), password_context(call.account_id, user.user_id)
            ),
            session_key=call.ids.uuid(),
            reset_required=request.get("PasswordResetRequired", False),
            created_at=now,
            changed_at=now,
            used_at=0,
        )
        await store.put(made)
    return {"LoginProfile": _told(user, made)}


@operation("iam", "GetLoginProfile", resources=user_resource)
async def get_login_profile(call: Call, request: Shape) -> Shape:
    """Whether the user has a password, and since when."""
    async with call.reading() as tx:
        user = await found(tx, USER, call.account_id, _name(call, request))
        return {"LoginProfile": _told(user, await _profile(tx, user))}


@operation("iam", "UpdateLoginProfile", writes=True, resources=user_resource, prepare=_new_hash)
async def update_login_profile(call: Call, request: Shape) -> Shape:
    """Another password, or that the user must choose one. What is not named stays."""
    async with call.transaction() as tx:
        user = await locked(tx, USER, call.account_id, request["UserName"])
        store = LoginStore(tx, call.account_id)
        await store.lock(user.user_id)
        profile = await _profile(tx, user)
        reset = request.get("PasswordResetRequired", profile.reset_required)
        if call.prepared is None:
            await store.put(replace(profile, reset_required=reset))
        else:
            check_rules(request["Password"], user.name, await rules_of(tx, call.account_id))
            await renew(tx, call.house, profile, call.prepared, reset=reset)
    return {}


@operation("iam", "DeleteLoginProfile", writes=True, resources=user_resource)
async def delete_login_profile(call: Call, request: Shape) -> Shape:
    """The user can no longer sign in, and what was signed in ends with the next request."""
    async with call.transaction() as tx:
        user = await locked(tx, USER, call.account_id, _name(call, request))
        store = LoginStore(tx, call.account_id)
        await store.lock(user.user_id)
        if not await store.remove(user.user_id):
            raise _no_profile(user)
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Change:
    """What was worked out before the transaction. A retry of a change that was made must not be refused there."""

    refused: ApiError | None = None
    attempt: Attempt | None = None
    sealed: bytes = b""
    """As the password was then."""
    right: bool = False
    used: bool = False
    new_hash: str = ""


async def _change(call: Call, request: Shape) -> _Change:
    who = call.principal
    if who.kind != "user":
        return _Change(refused=InvalidUserTypeException("Only IAM users have a password that they can change."))
    async with call.reading() as tx:
        rules = await rules_of(tx, call.account_id)
        profile = await LoginStore(tx, call.account_id).find(who.user_id)
        former = await LoginStore(tx, call.account_id).former(who.user_id)
    if refused := _refusal(call, rules):
        return _Change(refused=refused)
    try:
        attempt = await begin_attempt(call.house, f"{call.account_id} {who.name.lower()}", call.source_ip)
    except ApiError as error:
        return _Change(refused=error)
    if profile is None:
        return _Change(refused=NoSuchEntityException(f"Login Profile for User {who.name} cannot be found."))
    if not await matches(await kept_hash(call.house, profile), request["OldPassword"]):
        return _Change(sealed=profile.password_sealed)
    await attempt.good()
    count = (rules or {}).get("PasswordReusePrevention", 1)
    return _Change(
        sealed=profile.password_sealed,
        right=True,
        used=await was_used(call.house, profile, former, request["NewPassword"], count),
        new_hash=await hashed(request["NewPassword"]),
    )


def _refusal(call: Call, rules: Rules | None) -> ApiError | None:
    """The account lets its users, or their policies do; a deny counts always."""
    who, action = call.principal, "iam:ChangePassword"
    ask = Ask(
        principal_arn=who.arn,
        principal_account=who.account_id,
        principal_kind=who.kind,
        action=action,
        resource=who.arn,
        context=context_of(call, {}),
    )
    verdict = Verdict.NEUTRAL if who.permissions is None else who.permissions.verdict(ask)
    lets = bool(rules and rules["AllowUsersToChangePassword"])
    if verdict is Verdict.ALLOW or (lets and verdict is Verdict.NEUTRAL):
        return None
    return AccessDeniedException(refusal(who, action, who.arn, verdict))


@operation("iam", "ChangePassword", writes=True, asks_itself=True, prepare=_change)
async def change_password(call: Call, request: Shape) -> Shape:
    """The caller's own. Sign-ins with the former password end, this one among them."""
    change: _Change = call.prepared
    if change.refused is not None:
        raise change.refused
    async with call.transaction() as tx:
        user = await UserStore(tx, call.account_id).by_id(call.principal.user_id)
        if user is None:
            raise NoSuchEntityException(f"The user with name {call.principal.name} cannot be found.")
        await LoginStore(tx, call.account_id).lock(user.user_id)
        profile = await _profile(tx, user)
        if not change.right or profile.password_sealed != change.sealed:
            raise AccessDeniedException("The old password was incorrect.")
        check_rules(request["NewPassword"], user.name, await rules_of(tx, call.account_id))
        if change.used:
            raise PasswordPolicyViolationException(
                "Password does not conform to the account password policy. It was used before."
            )
        await renew(tx, call.house, profile, change.new_hash, reset=False)
    return {}


async def _profile(tx: Transaction, user: User) -> LoginProfile:
    profile = await LoginStore(tx, user.account_id).find(user.user_id)
    if profile is None:
        raise _no_profile(user)
    return profile


def _no_profile(user: User) -> NoSuchEntityException:
    return NoSuchEntityException(f"Login Profile for User {user.name} cannot be found.")


def _name(call: Call, request: Shape) -> str:
    """Without one it is the caller."""
    name: str = request.get("UserName") or call.principal.name
    if not name:
        raise ValidationException("Must specify userName when calling with non-User credentials")
    return name


def _told(user: User, profile: LoginProfile) -> Shape:
    return {
        "UserName": user.name,
        "CreateDate": from_millis(profile.created_at),
        "PasswordResetRequired": profile.reset_required,
    }
