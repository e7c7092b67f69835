"""May they: the one authoriser, default deny.

Root may do everything in its account, and users and sessions of roles what their policies allow. A node may use the
closed list of verbs that operations declare with `Caller.NODE`, on itself only, as far as its role allows them.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from inspect import isawaitable

from pilothouse.call import Call, Caller, Operation, Shape
from pilothouse.errors import AccessDeniedException, UnrecognizedClientException
from pilothouse.identity.permissions import Layer
from pilothouse.identity.policy import Ask, Verdict
from pilothouse.identity.policy_patterns import Value
from pilothouse.identity.principals import Principal
from pilothouse.runtime.metrics import NODE_REFUSALS
from pilothouse.storage import Transaction

_STS_OF_TEMPORARY = frozenset({"AssumeRole", "GetCallerIdentity"})


async def authorise(call: Call, operation: Operation, request: Shape) -> None:
    """Return if the call's principal may do this. Raises AccessDeniedException."""
    principal = call.principal
    if principal.temporary:
        _check_temporary(call, operation)
    if principal.kind == "root" and Caller.ACCOUNT in operation.callers:
        return
    if principal.kind == "anonymous" and Caller.ANYONE in operation.callers:
        return
    if principal.kind == "node":
        if Caller.NODE in operation.callers and _is_itself(call, operation, request):
            if not operation.free:
                resources = await _resources(call, operation, request)
                await _ask_with_tags(call, operation.action, resources, _context(call, operation, request))
            return
        NODE_REFUSALS.inc()
    resources = await _resources(call, operation, request)
    if principal.kind in ("user", "session") and Caller.ACCOUNT in operation.callers:
        if not operation.free and not operation.asks_itself:
            await _ask_with_tags(call, operation.action, resources, _context(call, operation, request))
        return
    raise AccessDeniedException(refusal(principal, operation.action, resources[0], Verdict.NEUTRAL))


def ask_own(call: Call, action: str, resource: str, context: Mapping[str, Value] | None = None) -> None:
    """Ask the policies of a user about something that the call does besides; `context`: further condition keys.

    Raises AccessDeniedException.
    """
    if call.principal.permissions is not None:
        _ask_policies(call, action, [resource], {**context_of(call, {}), **(context or {})})


async def ask_each(
    call: Call,
    tx: Transaction,
    action: str,
    resources: Sequence[str],
    context: Mapping[str, Value] | None = None,
) -> None:
    """Ask the policies of a user about things that only the handler finds; `context`: further condition keys.

    Raises AccessDeniedException.
    """
    if call.principal.permissions is not None:
        whole = {**context_of(call, {}), **(context or {})}
        for resource, its in await _with_tags(call, tx, resources, whole):
            _ask_policies(call, action, [resource], its)


async def allowed_of(call: Call, tx: Transaction, action: str, resources: Sequence[str]) -> list[str]:
    """Those that the caller's policies allow."""
    if call.principal.permissions is None:
        return list(resources)
    found = []
    for resource, context in await _with_tags(call, tx, resources, context_of(call, {})):
        try:
            _ask_policies(call, action, [resource], context)
        except AccessDeniedException:
            continue
        found.append(resource)
    return found


def may_node(principal: Principal, action: str) -> bool:
    """Whether the role of a node allows what is not a call: to open a channel."""
    ask = Ask(
        principal_arn=principal.arn,
        principal_account=principal.account_id,
        principal_kind=principal.kind,
        action=action,
        resource="*",
        context=of_principal(principal),
        role_arn=principal.role_arn,
    )
    return principal.permissions is not None and principal.permissions.verdict(ask) is Verdict.ALLOW


def _check_temporary(call: Call, operation: Operation) -> None:
    """What credentials of GetSessionToken reach. Raises UnrecognizedClient- and AccessDeniedException."""
    if operation.service == "iam" and not call.principal.mfa_at:
        raise UnrecognizedClientException
    if operation.service == "sts" and operation.name not in _STS_OF_TEMPORARY:
        raise AccessDeniedException(f"Cannot call {operation.name} with session credentials")


def refusal(
    principal: Principal, action: str, resource: str, verdict: Verdict, layer: Layer = "identity-based policy"
) -> str:
    """The text of an AccessDeniedException by the policies of the principal; `layer`: those that it failed at."""
    article = "an" if layer == "identity-based policy" else "a"
    why = (
        f"with an explicit deny in {article} {layer}"
        if verdict is Verdict.DENY
        else f"because no {layer} allows the {action} action"
    )
    return f"User: {principal.arn} is not authorized to perform: {action} on resource: {resource} {why}"


def of_principal(principal: Principal) -> dict[str, Value]:
    """The values of the condition keys that follow from who asks."""
    found: dict[str, Value] = {f"aws:PrincipalTag/{key}": value for key, value in principal.tags.items()}
    found["aws:userid"] = principal.user_id
    if principal.issued_at or principal.mfa_at:
        found["aws:MultiFactorAuthPresent"] = "true" if principal.mfa_at else "false"
    if principal.issued_at:
        issued = datetime.fromtimestamp(principal.issued_at // 1000, UTC)
        found["aws:TokenIssueTime"] = issued.isoformat(timespec="seconds")
    if principal.source_identity:
        found["aws:SourceIdentity"] = principal.source_identity
    if principal.provider:
        found["aws:FederatedProvider"] = principal.provider
    if principal.name:
        found["aws:username"] = principal.name
    return found


def context_of(call: Call, request: Shape) -> dict[str, Value]:
    """The values of the condition keys that every request has."""
    return _context(call, None, request)


def _ask_policies(call: Call, action: str, resources: Iterable[str], context: Mapping[str, Value]) -> None:
    principal = call.principal
    for resource in resources:
        ask = Ask(
            principal_arn=principal.arn,
            principal_account=principal.account_id,
            principal_kind=principal.kind,
            action=action,
            resource=resource,
            context=context,
            role_arn=principal.role_arn,
        )
        if principal.permissions is None:
            raise AccessDeniedException(refusal(principal, action, resource, Verdict.NEUTRAL))
        verdict = principal.permissions.verdict(ask)
        if verdict is not Verdict.ALLOW:
            layer = principal.permissions.refused_by(ask)
            raise AccessDeniedException(refusal(principal, action, resource, verdict, layer))


async def _ask_with_tags(call: Call, action: str, resources: list[str], context: dict[str, Value]) -> None:
    """With the tags of each resource, if the principal's policies speak of any."""
    permissions = call.principal.permissions
    if permissions is None or not permissions.speak_of_tags:
        _ask_policies(call, action, resources, context)
        return
    async with call.reading() as tx:
        found = await _with_tags(call, tx, resources, context)
    for resource, its in found:
        _ask_policies(call, action, [resource], its)


async def _with_tags(
    call: Call, tx: Transaction, resources: Sequence[str], context: dict[str, Value]
) -> list[tuple[str, dict[str, Value]]]:
    permissions = call.principal.permissions
    if permissions is None or not permissions.speak_of_tags:
        return [(resource, context) for resource in resources]
    return [(resource, {**context, **await _tags(call, tx, resource)}) for resource in resources]


async def _tags(call: Call, tx: Transaction, resource: str) -> dict[str, Value]:
    """The condition keys of the resource's tags."""
    parts = resource.split(":", 5)
    if len(parts) < 6:
        return {}
    service, region, account_id = parts[2:5]
    kind, _, rest = (
        parts[5].replace(":", "/", 1).partition("/") if service == "secretsmanager" else parts[5].partition("/")
    )
    find = call.house.tags_of.get(kind)
    if find is None or "*" in rest:
        return {}
    found: dict[str, Value] = {}
    for key, value in (await find(tx, account_id, region, rest)).items():
        found[f"aws:ResourceTag/{key}"] = found[f"{service}:resourceTag/{key}"] = value
    return found


async def _resources(call: Call, operation: Operation, request: Shape) -> list[str]:
    if operation.resources is None:
        return ["*"]
    found = operation.resources(call, request)
    return list(await found if isawaitable(found) else found) or ["*"]


def _context(call: Call, operation: Operation | None, request: Shape) -> dict[str, Value]:
    now = call.clock.millis() // 1000
    context: dict[str, Value] = {
        **of_principal(call.principal),
        "aws:SourceIp": call.source_ip,
        "aws:UserAgent": call.user_agent,
        "aws:SecureTransport": "true" if call.secure else "false",
        "aws:RequestedRegion": call.region,
        "aws:CurrentTime": datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds"),
        "aws:EpochTime": str(now),
    }
    if call.principal.mfa_at:
        context["aws:MultiFactorAuthAge"] = str(max(0, now - call.principal.mfa_at // 1000))
    tags = {tag["Key"]: tag["Value"] for tag in request.get("Tags") or () if "Key" in tag and "Value" in tag}
    context |= {f"aws:RequestTag/{key}": value for key, value in tags.items()}
    keys = (*tags, *(request.get("TagKeys") or ()))
    if keys:
        context["aws:TagKeys"] = keys
    if operation is not None and operation.conditions is not None:
        context |= operation.conditions(call, request)
    return context


def _is_itself(call: Call, operation: Operation, request: Shape) -> bool:
    return operation.node_member is None or request.get(operation.node_member) == call.principal.node_id
