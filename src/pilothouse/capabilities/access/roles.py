"""IAM roles, and STS AssumeRole: temporary credentials of one, for whom its trust policy and their own policies let."""

from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities import tags
from pilothouse.capabilities.access.model import (
    DeleteConflictException,
    EntityAlreadyExistsException,
    LimitExceededException,
    NoSuchEntityException,
    Role,
    role_arn,
)
from pilothouse.capabilities.access.pages import checked_policy, page, position
from pilothouse.capabilities.access.role_store import RoleStore
from pilothouse.capabilities.access.users import UserStore
from pilothouse.errors import AccessDeniedException, ValidationException
from pilothouse.identity.authorise import context_of
from pilothouse.identity.credentials import Session
from pilothouse.identity.policy import Ask, Verdict, parse, size
from pilothouse.identity.session_tokens import mint_for_role
from pilothouse.runtime.clock import from_millis
from pilothouse.storage import Transaction

_PAGE: Final = 100
_MOST_ROLES: Final = 1000
_TRUST_CHARACTERS: Final = 2048
_POLICY_CHARACTERS: Final = 10_240
"""Of all inline policies of a role together, without white space."""
_SESSION_CHARACTERS: Final = 2048
_HOUR: Final = 3600
_NOT_YET: Final = ("PolicyArns", "TransitiveTagKeys", "SourceIdentity", "ProvidedContexts", "SerialNumber", "TokenCode")


async def _role(call: Call, request: Shape) -> list[str]:
    """The ARN that policies are asked about; a role that is not there has it without a path."""
    async with call.reading() as tx:
        found = await RoleStore(tx, call.account_id).find(request["RoleName"])
    return [found.arn if found is not None else role_arn(call.account_id, "/", request["RoleName"])]


def _new_role(call: Call, request: Shape) -> list[str]:
    return [role_arn(call.account_id, request.get("Path", "/"), request["RoleName"])]


def _roles_below(call: Call, request: Shape) -> list[str]:
    return [f"arn:aws:iam::{call.account_id}:role{request.get('PathPrefix', '/')}"]


@operation("iam", "CreateRole", writes=True, resources=_new_role)
async def create_role(call: Call, request: Shape) -> Shape:
    """A role that may do nothing yet, and who may take it on."""
    boundary = request.get("PermissionsBoundary")
    if boundary is not None:
        raise NoSuchEntityException(f"Policy {boundary} does not exist or is not attachable.")
    trust = _checked_trust(request["AssumeRolePolicyDocument"])
    given = tags.by_key(request.get("Tags") or [])
    async with call.transaction() as tx:
        await tx.lock("iam roles", call.account_id)
        store = RoleStore(tx, call.account_id)
        if await store.find(request["RoleName"]) is not None:
            raise EntityAlreadyExistsException(f"Role with name {request['RoleName']} already exists.")
        if await store.count() >= _MOST_ROLES:
            raise LimitExceededException(f"Cannot exceed quota for RolesPerAccount: {_MOST_ROLES}")
        made = Role(
            account_id=call.account_id,
            name=request["RoleName"],
            path=request.get("Path", "/"),
            role_id=call.ids.unique_id("AROA"),
            description=request.get("Description", ""),
            trust=trust,
            max_session=request.get("MaxSessionDuration", _HOUR),
            created_at=call.clock.millis(),
        )
        await store.add(made, given)
    return {"Role": _told(made, given)}


@operation("iam", "GetRole", resources=_role)
async def get_role(call: Call, request: Shape) -> Shape:
    """A role with its trust policy, percent-encoded as IAM does."""
    async with call.reading() as tx:
        store = RoleStore(tx, call.account_id)
        role = await _found(store, request["RoleName"])
        return {"Role": _told(role, await store.tags(role))}


@operation("iam", "ListRoles", resources=_roles_below)
async def list_roles(call: Call, request: Shape) -> Shape:
    """Roles by name."""
    path = request.get("PathPrefix", "/")
    most = request.get("MaxItems", _PAGE)
    after = position(call, f"ListRoles {path}", request)
    async with call.reading() as tx:
        found = await RoleStore(tx, call.account_id).after(after, path, most + 1)
    shown = found[:most]
    last = shown[-1].name.lower() if shown else ""
    return page(call, f"ListRoles {path}", {"Roles": [_told(each, {}) for each in shown]}, last, len(found) > most)


@operation("iam", "DeleteRole", writes=True, resources=_role)
async def delete_role(call: Call, request: Shape) -> Shape:
    """The role goes once nothing hangs on it; its sessions are refused from the next request on."""
    async with call.transaction() as tx:
        store = RoleStore(tx, call.account_id)
        role = await _locked(store, request["RoleName"])
        if await UserStore(tx, call.account_id).policies(role.role_id, most=1):
            raise DeleteConflictException("Cannot delete entity, must delete policies first.")
        await store.remove(role)
    return {}


@operation("iam", "UpdateAssumeRolePolicy", writes=True, resources=_role)
async def update_assume_role_policy(call: Call, request: Shape) -> Shape:
    """Who may take the role on from now on; sessions that are there stay."""
    trust = _checked_trust(request["PolicyDocument"])
    async with call.transaction() as tx:
        store = RoleStore(tx, call.account_id)
        await store.set_trust(await _locked(store, request["RoleName"]), trust)
    return {}


@operation("iam", "PutRolePolicy", writes=True, resources=_role)
async def put_role_policy(call: Call, request: Shape) -> Shape:
    """A policy that stands in the role; one of the same name is replaced."""
    document = checked_policy(request["PolicyDocument"], "identity")
    async with call.transaction() as tx:
        role = await _locked(RoleStore(tx, call.account_id), request["RoleName"])
        store = UserStore(tx, call.account_id)
        others = [text for name, text in await store.policies(role.role_id) if name != request["PolicyName"]]
        if sum(map(size, [*others, document])) > _POLICY_CHARACTERS:
            raise LimitExceededException(
                f"Maximum policy size of {_POLICY_CHARACTERS} bytes exceeded for role {role.name}"
            )
        await store.put_policy(role.role_id, request["PolicyName"], document)
    return {}


@operation("iam", "GetRolePolicy", resources=_role)
async def get_role_policy(call: Call, request: Shape) -> Shape:
    """The document as it was put, percent-encoded as IAM does."""
    async with call.reading() as tx:
        role = await _found(RoleStore(tx, call.account_id), request["RoleName"])
        documents = dict(await UserStore(tx, call.account_id).policies(role.role_id))
    document = documents.get(request["PolicyName"])
    if document is None:
        raise _no_policy(request)
    return {"RoleName": role.name, "PolicyName": request["PolicyName"], "PolicyDocument": quote(document, safe="")}


@operation("iam", "ListRolePolicies", resources=_role)
async def list_role_policies(call: Call, request: Shape) -> Shape:
    """Names of the inline policies."""
    query = f"ListRolePolicies {request['RoleName'].lower()}"
    most = request.get("MaxItems", _PAGE)
    after = position(call, query, request)
    async with call.reading() as tx:
        role = await _found(RoleStore(tx, call.account_id), request["RoleName"])
        found = [name for name, _ in await UserStore(tx, call.account_id).policies(role.role_id, after, most + 1)]
    shown = found[:most]
    return page(call, query, {"PolicyNames": shown}, shown[-1] if shown else "", len(found) > most)


@operation("iam", "DeleteRolePolicy", writes=True, resources=_role)
async def delete_role_policy(call: Call, request: Shape) -> Shape:
    """What it allowed or denied counts no more from the next request on, for sessions that are there too."""
    async with call.transaction() as tx:
        role = await _locked(RoleStore(tx, call.account_id), request["RoleName"])
        if not await UserStore(tx, call.account_id).remove_policy(role.role_id, request["PolicyName"]):
            raise _no_policy(request)
    return {}


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


def _checked_trust(document: str) -> str:
    if size(document) > _TRUST_CHARACTERS:
        raise LimitExceededException(f"Cannot exceed quota for ACLSizePerRole: {_TRUST_CHARACTERS}")
    return checked_policy(document, "trust")


async def _found(store: RoleStore, name: str) -> Role:
    role = await store.find(name)
    if role is None:
        raise NoSuchEntityException(f"The role with name {name} cannot be found.")
    return role


async def _locked(store: RoleStore, name: str) -> Role:
    await store.lock(name)
    return await _found(store, name)


def _told(role: Role, given: dict[str, str]) -> Shape:
    told: dict[str, Any] = {
        "Path": role.path,
        "RoleName": role.name,
        "RoleId": role.role_id,
        "Arn": role.arn,
        "CreateDate": from_millis(role.created_at),
        "AssumeRolePolicyDocument": quote(role.trust, safe=""),
        "MaxSessionDuration": role.max_session,
    }
    if role.description:
        told["Description"] = role.description
    if given:
        told["Tags"] = [{"Key": key, "Value": value} for key, value in given.items()]
    return told


def _no_policy(request: Shape) -> NoSuchEntityException:
    return NoSuchEntityException(f"The role policy with name {request['PolicyName']} cannot be found.")
