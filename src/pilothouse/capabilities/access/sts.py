"""STS: who one is, and temporary credentials of a role, for whom its trust policy and their own policies let."""

from collections.abc import Iterable
from typing import Final

from pilothouse.call import Call, Caller, Shape, operation
from pilothouse.capabilities import tags
from pilothouse.capabilities.access.model import InvalidAuthorizationMessageException, Role
from pilothouse.capabilities.access.pages import checked_policy
from pilothouse.capabilities.access.role_store import RoleStore
from pilothouse.capabilities.access.store import AccessStore
from pilothouse.errors import AccessDeniedException, ValidationException
from pilothouse.identity.authorise import context_of
from pilothouse.identity.credentials import Session
from pilothouse.identity.policy import Ask, Verdict, parse
from pilothouse.identity.session_tokens import TemporaryCredentials, mint_for_key, mint_for_role
from pilothouse.runtime.clock import from_millis
from pilothouse.storage import Transaction

_SESSION_CHARACTERS: Final = 2048
_HOUR: Final = 3600
_TWELVE_HOURS: Final = 43_200
_NOT_YET: Final = (
    "PolicyArns",
    "TransitiveTagKeys",
    "SourceIdentity",
    "ProvidedContexts",
    "SerialNumber",
    "TokenCode",
    "MinimumSessionTokenSize",
)


@operation("sts", "GetCallerIdentity", callers=Caller.ACCOUNT | Caller.NODE, free=True)
async def get_caller_identity(call: Call, request: Shape) -> Shape:
    """Who the credentials belong to. Needs no permission."""
    return {"UserId": call.principal.user_id, "Account": call.account_id, "Arn": call.principal.arn}


@operation("sts", "GetSessionToken", free=True)
async def get_session_token(call: Call, request: Shape) -> Shape:
    """Credentials that end by themselves, and with the key that they were made by. Root's last an hour at most."""
    refuse_not_yet(request, ("SerialNumber", "TokenCode", "MinimumSessionTokenSize"))
    if call.principal.kind == "session":
        raise AccessDeniedException("Cannot call GetSessionToken with session credentials")
    seconds = request.get("DurationSeconds", _TWELVE_HOURS)
    if call.principal.kind == "root":
        seconds = min(seconds, _HOUR)
    expires_at = ends_at(call, seconds)
    return {
        "Credentials": told_credentials(mint_for_key(call.house, call.principal, expires_at=expires_at), expires_at)
    }


@operation("sts", "GetAccessKeyInfo")
async def get_access_key_info(call: Call, request: Shape) -> Shape:
    """The account of a key, whosever it is; of temporary ones only that of the caller is known."""
    asked = request["AccessKeyId"]
    if asked == call.principal.access_key_id:
        return {"Account": call.account_id}
    async with call.reading() as tx:
        row = await AccessStore(tx).key(asked)
    if row is None:
        raise ValidationException(f"The access key {asked} is not known.")
    return {"Account": row["account_id"]}


@operation("sts", "DecodeAuthorizationMessage")
async def decode_authorization_message(call: Call, request: Shape) -> Shape:
    """No refusal of this server is encoded, so no message is one of ours."""
    raise InvalidAuthorizationMessageException("The message is not one that this server encoded.")


@operation("sts", "AssumeRole", asks_itself=True)
async def assume_role(call: Call, request: Shape) -> Shape:
    """Credentials of a session of the role.

    Who may not take it on hears the same whether the role is there or not. Raises AccessDeniedException,
    ValidationException, MalformedPolicyDocumentException.
    """
    refuse_not_yet(request, _NOT_YET)
    policy = request.get("Policy", "")
    if policy:
        checked_policy(policy, "identity")
        if len(policy) > _SESSION_CHARACTERS:
            raise ValidationException(f"A session policy has at most {_SESSION_CHARACTERS} characters.")
    given = tags.by_key(request.get("Tags") or [])
    async with call.reading() as tx:
        role = await _by_arn(tx, request["RoleArn"])
    actions = ["sts:AssumeRole", "sts:TagSession"] if given else ["sts:AssumeRole"]
    for action in actions:
        if role is None or not _trusts(call, request, role, action):
            raise AccessDeniedException(
                f"User: {call.principal.arn} is not authorized to perform: {action} on resource: {request['RoleArn']}"
            )
    assert role is not None
    seconds = request.get("DurationSeconds", min(_HOUR, role.max_session))
    if seconds > role.max_session:
        raise ValidationException("The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
    if call.principal.kind == "session" and seconds > _HOUR:
        raise ValidationException(
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining."
        )
    name = request["RoleSessionName"]
    arn = f"arn:aws:sts::{role.account_id}:assumed-role/{role.name}/{name}"
    expires_at = ends_at(call, seconds)
    minted = mint_for_role(
        call.house,
        account_id=role.account_id,
        arn=arn,
        user_id=f"{role.role_id}:{name}",
        session=Session(role_id=role.role_id, policy=policy, tags=given),
        expires_at=expires_at,
    )
    answer: Shape = {
        "Credentials": told_credentials(minted, expires_at),
        "AssumedRoleUser": {"AssumedRoleId": f"{role.role_id}:{name}", "Arn": arn},
    }
    if policy:
        answer["PackedPolicySize"] = max(1, len(policy) * 100 // _SESSION_CHARACTERS)
    return answer


def refuse_not_yet(request: Shape, members: Iterable[str]) -> None:
    """Raises ValidationException for a member that nothing here heeds."""
    for member in members:
        if request.get(member):
            raise ValidationException(f"{member} is not available in this version of Pilothouse.")


def ends_at(call: Call, seconds: int) -> int:
    """The end of a session made now, in epoch milliseconds, on a whole second."""
    return (call.clock.millis() // 1000 + seconds) * 1000


def told_credentials(minted: TemporaryCredentials, expires_at: int) -> Shape:
    """The member of an answer that holds them."""
    return {
        "AccessKeyId": minted.access_key_id,
        "SecretAccessKey": minted.secret,
        "SessionToken": minted.token,
        "Expiration": from_millis(expires_at),
    }


def _trusts(call: Call, request: Shape, role: Role, action: str) -> bool:
    """Whether the role's trust policy and the caller's own policies let it be.

    A trust policy of the caller's account that names the caller is enough, as one that names its account is not.
    """
    who = call.principal
    context = {**context_of(call, request), "sts:RoleSessionName": request["RoleSessionName"]}
    if "ExternalId" in request:
        context["sts:ExternalId"] = request["ExternalId"]
    ask = Ask(
        principal_arn=who.arn,
        principal_account=who.account_id,
        principal_kind=who.kind,
        action=action,
        resource=role.arn,
        context=context,
        role_arn=who.role_arn,
    )
    trust = parse(role.trust, kind="trust").decide(ask)
    own = Verdict.ALLOW if who.permissions is None else who.permissions.verdict(ask)
    if trust.verdict is not Verdict.ALLOW or own is Verdict.DENY:
        return False
    return own is Verdict.ALLOW or (trust.named and who.account_id == role.account_id)


async def _by_arn(tx: Transaction, arn: str) -> Role | None:
    """The role of any account."""
    parts = arn.split(":", 5)
    if len(parts) < 6 or parts[:4] != ["arn", "aws", "iam", ""] or not parts[5].startswith("role/"):
        return None
    found = await RoleStore(tx, parts[4]).find(arn.rpartition("/")[2])
    return found if found is not None and found.arn == arn else None
