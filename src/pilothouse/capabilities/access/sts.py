"""STS: who one is, and temporary credentials of a role, for whom its trust policy and their own policies let."""

from datetime import UTC, datetime
from typing import Final

from pilothouse.call import Call, Caller, Shape, operation
from pilothouse.capabilities import tags
from pilothouse.capabilities.access.model import Role
from pilothouse.capabilities.access.pages import checked_policy
from pilothouse.capabilities.access.role_store import RoleStore
from pilothouse.errors import AccessDeniedException, ValidationException
from pilothouse.identity.authorise import context_of
from pilothouse.identity.credentials import Session
from pilothouse.identity.policy import Ask, Verdict, parse
from pilothouse.identity.session_tokens import mint_for_role
from pilothouse.storage import Transaction

_SESSION_CHARACTERS: Final = 2048
_HOUR: Final = 3600
_NOT_YET: Final = ("PolicyArns", "TransitiveTagKeys", "SourceIdentity", "ProvidedContexts", "SerialNumber", "TokenCode")


@operation("sts", "GetCallerIdentity", callers=Caller.ACCOUNT | Caller.NODE, free=True)
async def get_caller_identity(call: Call, request: Shape) -> Shape:
    """Who the credentials belong to. Needs no permission."""
    return {"UserId": call.principal.user_id, "Account": call.account_id, "Arn": call.principal.arn}


@operation("sts", "AssumeRole", asks_itself=True)
async def assume_role(call: Call, request: Shape) -> Shape:
    """Credentials of a session of the role.

    Who may not take it on hears the same whether the role is there or not. Raises AccessDeniedException,
    ValidationException, MalformedPolicyDocumentException.
    """
    for member in _NOT_YET:
        if request.get(member):
            raise ValidationException(f"{member} is not available in this version of Pilothouse.")
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
    expires_at = (call.clock.millis() // 1000 + seconds) * 1000
    minted = mint_for_role(
        call.house,
        account_id=role.account_id,
        arn=arn,
        user_id=f"{role.role_id}:{name}",
        session=Session(role_id=role.role_id, policy=policy, tags=given),
        expires_at=expires_at,
    )
    answer: Shape = {
        "Credentials": {
            "AccessKeyId": minted.access_key_id,
            "SecretAccessKey": minted.secret,
            "SessionToken": minted.token,
            "Expiration": datetime.fromtimestamp(expires_at / 1000, UTC),
        },
        "AssumedRoleUser": {"AssumedRoleId": f"{role.role_id}:{name}", "Arn": arn},
    }
    if policy:
        answer["PackedPolicySize"] = max(1, len(policy) * 100 // _SESSION_CHARACTERS)
    return answer


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
