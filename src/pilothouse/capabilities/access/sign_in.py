"""Sign-in of people: a name and a password, and where the user has one a second factor, for short-lived credentials.

Whatever is wrong, the answer and the work behind it are the same, so that nobody learns which names there are.
"""

import re
from dataclasses import dataclass
from typing import Final

from pilothouse.call import Call, Caller, Shape, operation
from pilothouse.capabilities.access.account_store import account_of_alias
from pilothouse.capabilities.access.attempts import begin_attempt
from pilothouse.capabilities.access.login_model import (
    REFUSAL,
    LoginProfile,
    MfaDevice,
    MfaRequiredException,
    PasswordChangeRequiredException,
    PasswordPolicyViolationException,
    SignInRefusedException,
)
from pilothouse.capabilities.access.login_store import LoginStore, MfaStore
from pilothouse.capabilities.access.logins import Rules, expires_at, kept_hash, renew, rules_of, was_used
from pilothouse.capabilities.access.model import NoSuchEntityException, User
from pilothouse.capabilities.access.passwords import check_rules, hashed, matches
from pilothouse.capabilities.access.second_factor import code_counts
from pilothouse.capabilities.access.sessions import HOUR, REGION_OF_UNSIGNED, ends_at, told_credentials
from pilothouse.capabilities.access.store import AccessStore
from pilothouse.capabilities.access.users import UserStore
from pilothouse.identity.principals import Principal
from pilothouse.identity.session_tokens import mint_for_login
from pilothouse.runtime.clock import from_millis
from pilothouse.storage import Transaction

_ACCOUNT: Final = re.compile(r"[0-9]{12}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Person:
    user: User
    profile: LoginProfile
    devices: list[MfaDevice]
    rules: Rules | None


@operation("pilothouse", "SignIn", callers=Caller.ACCOUNT | Caller.ANYONE, free=True, audited=True)
async def sign_in(call: Call, request: Shape) -> Shape:
    """Credentials of the user, which end by themselves, with the password, and with SignOutEverywhere.

    Raises SignInRefusedException; once the password is right MfaRequired-, PasswordChangeRequired- and
    PasswordPolicyViolationException; TooManyAttemptsException.
    """
    name, house = request["UserName"], call.house
    async with call.reading() as tx:
        account_id = await account_of(tx, request.get("Account", ""))
        person = await _person(tx, account_id, name)
    attempt = await begin_attempt(house, f"{account_id} {name.lower()}", call.source_ip)
    right = await matches(None if person is None else await kept_hash(house, person.profile), request["Password"])
    if person is not None:  # a stranger's name stays out of the trail: people type passwords there
        call.account_id, call.region = person.user.account_id, REGION_OF_UNSIGNED
        call.principal = _principal(person.user)
    if person is None or not right:
        raise SignInRefusedException(REFUSAL)
    if person.devices:
        if "TokenCode" not in request:
            await attempt.undecided()
            raise MfaRequiredException("A code of the second factor is needed.")
        if not await code_counts(house, person.devices, request["TokenCode"]):
            raise SignInRefusedException(REFUSAL)
    try:
        profile = await _with_new_password(call, request, person)
    except (PasswordChangeRequiredException, PasswordPolicyViolationException):
        await attempt.undecided()
        raise
    await attempt.good()
    now = call.clock.millis()
    async with house.database.transaction() as tx:
        await LoginStore(tx, profile.account_id).use(profile.user_id, now)
    ends = ends_at(call, request.get("DurationSeconds", HOUR))
    minted = mint_for_login(
        house, call.principal, profile.session_key, mfa_at=now if person.devices else 0, expires_at=ends
    )
    answer: Shape = {
        "Credentials": told_credentials(minted, ends),
        "Arn": person.user.arn,
        "AccountId": person.user.account_id,
    }
    if expiry := expires_at(profile, person.rules):
        answer["PasswordExpires"] = from_millis(expiry)
    return answer


async def account_of(tx: Transaction, asked: str) -> str:
    """The id of the account of that id, alias or name, of the first one where none is asked for; empty: none."""
    if _ACCOUNT.fullmatch(asked):
        return asked
    store = AccessStore(tx)
    if not asked:
        return await store.first_account() or ""
    return await account_of_alias(tx, asked) or await store.account(asked) or ""


async def _person(tx: Transaction, account_id: str, name: str) -> _Person | None:
    user = await UserStore(tx, account_id).find(name)
    profile = None if user is None else await LoginStore(tx, account_id).find(user.user_id)
    if user is None or profile is None:
        return None
    devices = await MfaStore(tx, account_id).of_user(user.user_id)
    return _Person(user=user, profile=profile, devices=devices, rules=await rules_of(tx, account_id))


def _principal(user: User) -> Principal:
    return Principal(
        kind="user",
        account_id=user.account_id,
        arn=user.arn,
        user_id=user.user_id,
        access_key_id="",
        name=user.name,
    )


async def _with_new_password(call: Call, request: Shape, person: _Person) -> LoginProfile:
    """The profile to sign in with: changed if it must be. Raises PasswordChangeRequired-, PolicyViolationException."""
    profile, rules, house = person.profile, person.rules, call.house
    expiry = expires_at(profile, rules)
    expired = bool(expiry) and expiry <= call.clock.millis()
    if expired and (rules or {}).get("HardExpiry"):
        raise PasswordChangeRequiredException("The password has expired; an administrator must set another one.")
    if not expired and not profile.reset_required:
        return profile
    if "NewPassword" not in request:
        raise PasswordChangeRequiredException("A new password is needed: send it as NewPassword with the present one.")
    new = request["NewPassword"]
    check_rules(new, person.user.name, rules)
    async with call.reading() as tx:
        former = await LoginStore(tx, profile.account_id).former(profile.user_id)
    if await was_used(house, profile, former, new, (rules or {}).get("PasswordReusePrevention", 1)):
        raise PasswordPolicyViolationException(
            "Password does not conform to the account password policy. It was used before."
        )
    new_hash = await hashed(new)
    async with house.database.transaction() as tx:
        store = LoginStore(tx, profile.account_id)
        await store.lock(profile.user_id)
        present = await store.find(profile.user_id)
        if present is None or present.password_sealed != profile.password_sealed:
            raise SignInRefusedException(REFUSAL)  # somebody changed it meanwhile
        return await renew(tx, house, present, new_hash, reset=False)


@operation("pilothouse", "SignOutEverywhere", writes=True, free=True)
async def sign_out_everywhere(call: Call, request: Shape) -> Shape:
    """All credentials of the caller's sign-ins end with the next request. Access keys stay."""
    async with call.transaction() as tx:
        store = LoginStore(tx, call.account_id)
        await store.lock(call.principal.user_id)
        profile = await store.find(call.principal.user_id)
        if profile is None:
            raise NoSuchEntityException("The caller has no password, so there is nothing to sign out of.")
        await store.end_sessions(profile.user_id, call.ids.uuid())
    return {}
