"""AssumeRoleWithWebIdentity: a role is taken on with the token of an identity provider that the role's account has."""

from pilothouse.call import Call, Caller, Shape, operation
from pilothouse.capabilities.access.identity_tokens import Identity, identity_of, read_header, verified
from pilothouse.capabilities.access.issuer_keys import keys_of
from pilothouse.capabilities.access.model import InvalidIdentityTokenException, OidcProvider, Role
from pilothouse.capabilities.access.oidc_store import OidcStore
from pilothouse.capabilities.access.sessions import (
    REGION_OF_UNSIGNED,
    Narrowing,
    begin,
    check_arns,
    narrowing_of,
    refuse_not_yet,
    role_by_arn,
)
from pilothouse.errors import AccessDeniedException
from pilothouse.identity.authorise import context_of
from pilothouse.identity.credentials import Session
from pilothouse.identity.policy import Ask, Statement, Verdict, parse
from pilothouse.identity.policy_patterns import Value


@operation("sts", "AssumeRoleWithWebIdentity", callers=Caller.ACCOUNT | Caller.ANYONE, free=True, audited=True)
async def assume_role_with_web_identity(call: Call, request: Shape) -> Shape:
    """Credentials of a session of the role. The token proves who asks: the request need not be signed.

    The role is looked for once the token has proved good, so that strangers learn nothing about roles.
    """
    refuse_not_yet(request, ("ProviderId", "MinimumSessionTokenSize"))
    narrowing = narrowing_of(request)
    token = request["WebIdentityToken"]
    header = read_header(token)
    account_id = [*request["RoleArn"].split(":"), "", "", "", "", ""][4]
    async with call.reading() as tx:
        provider = await OidcStore(tx, account_id).find(header.issuer.removeprefix("https://"))
    if provider is None or not header.issuer.startswith("https://"):
        raise InvalidIdentityTokenException(f"No OpenIDConnect provider found in your account for {header.issuer}")
    claims = verified(token, header, await keys_of(call.house, header.issuer, header.key_id))
    identity = identity_of(claims, provider, call.clock.millis())
    if not call.account_id:  # unsigned: from here on it is a matter of the account, and recorded there
        call.account_id, call.region = provider.account_id, REGION_OF_UNSIGNED
    async with call.reading() as tx:
        role = await role_by_arn(tx, request["RoleArn"])
        check_trust(call, request["RoleSessionName"], role, provider, identity)
        assert role is not None
        await check_arns(tx, role, narrowing)
    session = session_of(role, provider, identity, narrowing)
    told = {
        "SubjectFromWebIdentityToken": identity.subject,
        "Provider": provider.arn,
        "Audience": identity.audience,
    }
    return begin(call, request, role, session, narrowing) | told


def session_of(role: Role, provider: OidcProvider, identity: Identity, narrowing: Narrowing) -> Session:
    """What the session of somebody with a token is made with."""
    return Session(
        role_id=role.role_id,
        policy=narrowing.policy,
        policy_arns=narrowing.arns,
        tags=identity.tags,
        transitive=identity.transitive,
        source_identity=identity.source_identity,
        provider=provider.arn,
    )


def check_trust(call: Call, session_name: str, role: Role | None, provider: OidcProvider, identity: Identity) -> None:
    """Ask the role's trust policy. Raises AccessDeniedException."""
    actions = ["sts:AssumeRoleWithWebIdentity"]
    actions += ["sts:TagSession"] if identity.tags else []
    actions += ["sts:SetSourceIdentity"] if identity.source_identity else []
    context = _context(call, session_name, provider, identity)
    for action in actions:
        if role is None or not _trusts(role, provider, action, context):
            raise AccessDeniedException(f"Not authorized to perform {action}")


def _trusts(role: Role, provider: OidcProvider, action: str, context: dict[str, Value]) -> bool:
    ask = Ask(
        principal_arn=provider.arn,
        principal_account=provider.account_id,
        principal_kind="federated",
        action=action,
        resource=role.arn,
        context=context,
    )
    policy = parse(role.trust, kind="trust")
    return policy.verdict(ask) is Verdict.ALLOW and any(
        each.allows and each.speaks_of(action.lower()) and _names(each, provider) and each.applies(ask)
        for each in policy.statements
    )


def _names(statement: Statement, provider: OidcProvider) -> bool:
    """Whether it is about the provider itself. Everybody, or everybody but some, are not those with a token."""
    if statement.principals is None or statement.not_principals:
        return False
    return provider.arn in statement.principals.federated


def _context(call: Call, session_name: str, provider: OidcProvider, identity: Identity) -> dict[str, Value]:
    context = context_of(call, {})
    context.pop("aws:userid", None)
    context |= {
        "sts:RoleSessionName": session_name,
        "aws:FederatedProvider": provider.arn,
        f"{provider.url}:sub": identity.subject,
        f"{provider.url}:aud": identity.audience,
        f"{provider.url}:oaud": identity.audiences,
    }
    if identity.email:
        context[f"{provider.url}:email"] = identity.email
    if identity.groups:
        context[f"{provider.url}:groups"] = identity.groups
    if identity.methods:
        context[f"{provider.url}:amr"] = identity.methods
    if identity.source_identity:
        context["sts:SourceIdentity"] = identity.source_identity
    if identity.tags:
        context |= {f"aws:RequestTag/{key}": value for key, value in identity.tags.items()}
        context["aws:TagKeys"] = tuple(identity.tags)
    if identity.transitive:
        context["sts:TransitiveTagKeys"] = tuple(sorted(identity.transitive))
    return context
