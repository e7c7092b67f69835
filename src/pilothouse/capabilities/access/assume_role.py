"""AssumeRole: a role is taken on by whom its trust policy and their own policies let."""

from typing import Final

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities import tags
from pilothouse.capabilities.access.model import Role, is_arn
from pilothouse.capabilities.access.second_factor import prove
from pilothouse.capabilities.access.sessions import begin, check_arns, narrowing_of, refuse_not_yet, role_by_arn
from pilothouse.errors import AccessDeniedException, InvalidParameterValue, ValidationException
from pilothouse.identity.authorise import context_of, tags_of
from pilothouse.identity.credentials import Session
from pilothouse.identity.permissions import decide
from pilothouse.identity.policy import Ask, Verdict, parse
from pilothouse.identity.policy_patterns import Value
from pilothouse.identity.resources import place_of
from pilothouse.storage import Transaction

_NOT_YET: Final = ("ProvidedContexts", "MinimumSessionTokenSize")
_MOST_TAGS: Final = 50


def _named(call: Call, request: Shape) -> list[str]:
    return [request["RoleArn"]]


@operation("sts", "AssumeRole", resources=_named, asks_itself=True, audited=True)
async def assume_role(call: Call, request: Shape) -> Shape:
    """Credentials of a session of the role.

    Who may not take it on hears the same whether the role is there or not. Raises AccessDeniedException,
    ValidationException, MalformedPolicyDocumentException.
    """
    refuse_not_yet(request, _NOT_YET)
    if not is_arn(request["RoleArn"]):
        raise ValidationException(f"{request['RoleArn']} is invalid")
    narrowing = narrowing_of(request)
    given, transitive = _tags(call, request)
    source_identity = _source_identity(call, request)
    await prove(call, request)
    async with call.reading() as tx:
        role = await role_by_arn(tx, request["RoleArn"])
        of_role = await _of_role(call, tx, role)
    actions = ["sts:AssumeRole"]
    actions += ["sts:TagSession"] if given else []
    actions += ["sts:SetSourceIdentity"] if source_identity else []
    context = _context(call, request, source_identity) | of_role
    for action in actions:
        if role is None or not _trusts(call, role, action, context):
            raise _refusal(call, request, action)
    assert role is not None
    async with call.reading() as tx:
        await check_arns(tx, role, narrowing)
    session = Session(
        role_id=role.role_id,
        policy=narrowing.policy,
        policy_arns=narrowing.arns,
        tags=given,
        transitive=transitive,
        source_identity=source_identity,
        mfa_at=call.principal.mfa_at if call.principal.kind == "user" else 0,
    )
    return begin(call, request, role, session, narrowing)


def _tags(call: Call, request: Shape) -> tuple[dict[str, str], frozenset[str]]:
    """The tags of the session, and the keys of those that go on from it; those of the caller's session came first."""
    given = tags.by_key(request.get("Tags") or [])
    if len({key.lower() for key in given}) < len(given):
        raise InvalidParameterValue("Duplicate tag keys found. Please note that Tag keys are case insensitive.")
    inherited = {key: call.principal.tags[key] for key in call.principal.transitive if key in call.principal.tags}
    keys = {key.lower(): key for key in given}
    if keys.keys() & {key.lower() for key in inherited}:
        raise InvalidParameterValue(
            "One of the specified transitive tag keys can't be set because it conflicts with a transitive tag key from"
            " the calling session."
        )
    asked = request.get("TransitiveTagKeys") or []
    if not {key.lower() for key in asked} <= keys.keys():
        raise InvalidParameterValue("The specified transitive tag key must be included in the requested tags.")
    together = inherited | given
    if len(together) > _MOST_TAGS:
        raise ValidationException(f"A session has at most {_MOST_TAGS} tags.")
    return together, frozenset([*inherited, *(keys[key.lower()] for key in asked)])


def _source_identity(call: Call, request: Shape) -> str:
    """Said once, it stays through a chain of roles. Raises ValidationException."""
    known, asked = call.principal.source_identity, request.get("SourceIdentity", "")
    if known and asked and known != asked:
        raise ValidationException("The source identity is already set for this assume role session")
    if asked.lower().startswith("aws:"):
        raise ValidationException("A source identity cannot begin with aws:.")
    return known or asked


def _refusal(call: Call, request: Shape, action: str) -> AccessDeniedException:
    return AccessDeniedException(
        f"User: {call.principal.arn} is not authorized to perform: {action} on resource: {request['RoleArn']}"
    )


async def _of_role(call: Call, tx: Transaction, role: Role | None) -> dict[str, Value]:
    """The condition keys of the role's tags, for trust policies and those of the caller."""
    place = None if role is None else place_of(role.arn)
    return {} if place is None else await tags_of(call.house, tx, place)


def _context(call: Call, request: Shape, source_identity: str) -> dict[str, Value]:
    context = {**context_of(call, request), "sts:RoleSessionName": request["RoleSessionName"]}
    if "ExternalId" in request:
        context["sts:ExternalId"] = request["ExternalId"]
    if source_identity:
        context["sts:SourceIdentity"] = source_identity
    if request.get("TransitiveTagKeys"):
        context["sts:TransitiveTagKeys"] = tuple(request["TransitiveTagKeys"])
    return context


def _trusts(call: Call, role: Role, action: str, context: dict[str, Value]) -> bool:
    """Whether the role's trust policy and the caller's own policies let it be.

    A trust policy of the caller's account that names the caller is enough, as one that names its account is not.
    """
    who = call.principal
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
    if trust.verdict is not Verdict.ALLOW or who.permissions is None:
        return trust.verdict is Verdict.ALLOW
    elsewhere = who.account_id != role.account_id
    return decide(who.permissions, ask, trust, needed=True, elsewhere=elsewhere).verdict is Verdict.ALLOW
