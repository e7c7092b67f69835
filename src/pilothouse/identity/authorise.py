"""May they: the one authoriser, default deny.

Root may do everything in its account, and users and sessions of roles what their policies allow. A node may use the
closed list of verbs that operations declare with `Caller.NODE`, on itself only, as far as its role allows them.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from inspect import isawaitable

from pilothouse.call import Call, Caller, House, Operation, Shape
from pilothouse.errors import AccessDeniedException, UnrecognizedClientException
from pilothouse.identity.permissions import Layer, Permissions, Source, decide, said, speaks_of_tags
from pilothouse.identity.policy import Ask, Decision, Verdict, parse
from pilothouse.identity.policy_patterns import Value
from pilothouse.identity.principals import Principal
from pilothouse.identity.resources import Place, place_of
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
                await _node_by_role(call, operation, request)
            return
        NODE_REFUSALS.inc()
    resources = await _resources(call, operation, request)
    if principal.kind in ("user", "session") and Caller.ACCOUNT in operation.callers:
        if not operation.free and not operation.asks_itself:
            await _ask(call, operation.action, resources, await _context(call, operation, request))
        return
    raise AccessDeniedException(refusal(principal, operation.action, resources[0], Verdict.NEUTRAL))


async def _node_by_role(call: Call, operation: Operation, request: Shape) -> None:
    """A node that its own key signed for has no role yet, and no policy lets it do anything."""
    if operation.asks_itself and call.principal.permissions is not None:
        return
    resources = await _resources(call, operation, request)
    await _ask(call, operation.action, resources, await _context(call, operation, request))


async def ask_each(
    call: Call,
    tx: Transaction,
    action: str,
    resources: Sequence[str],
    context: Mapping[str, Value] | None = None,
) -> None:
    """Ask the policies of the caller, and those of the resources, about what the call does besides its own action.

    Also for things that only the handler finds. `context`: further condition keys. Raises AccessDeniedException.
    """
    if call.principal.permissions is not None:
        whole = {**context_of(call, {}), **(context or {})}
        for resource in resources:
            await _ask_of(call, tx, action, resource, whole)


async def ask_any(call: Call, tx: Transaction, action: str, names: Sequence[str]) -> None:
    """Ask the policies of the caller about one thing that has several names: one allow is enough, and no deny is said.

    Raises AccessDeniedException.
    """
    permissions = call.principal.permissions
    if permissions is None:
        return
    context = context_of(call, {})
    asked = []
    for name in names:
        place = place_of(name)
        tags = await tags_of(call.house, tx, place) if permissions.speak_of_tags and place is not None else {}
        context.update(tags)  # they are those of the one thing, under whichever name it was found
        asked.append(_ask_for(call, action, name, context))
    found = [decide(permissions, ask) for ask in asked]
    denied = next((each for each in found if each.verdict is Verdict.DENY), None)
    if denied is None and any(each.verdict is Verdict.ALLOW for each in found):
        return
    outcome = denied or found[0]
    raise AccessDeniedException(refusal(call.principal, action, names[0], outcome.verdict, outcome.layer))


async def allowed_of(
    call: Call,
    tx: Transaction,
    action: str,
    resources: Sequence[str],
    context: Mapping[str, Value] | None = None,
) -> list[str]:
    """Those that the policies allow. `context`: further condition keys."""
    if call.principal.permissions is None:
        return list(resources)
    found = []
    context = {**context_of(call, {}), **(context or {})}
    for resource in resources:
        try:
            await _ask_of(call, tx, action, resource, context)
        except AccessDeniedException:
            continue
        found.append(resource)
    return found


def may_node(principal: Principal, action: str) -> bool:
    """Whether the role of a node allows what is not a call: to open a channel."""
    return may(principal, action, "*")


def may(principal: Principal, action: str, resource: str) -> bool:
    """Whether the policies of a node or session allow what is not a call to this server."""
    ask = Ask(
        principal_arn=principal.arn,
        principal_account=principal.account_id,
        principal_kind=principal.kind,
        action=action,
        resource=resource,
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
    if principal.node_id:
        instance = f"arn:aws:ssm:{principal.region}:{principal.account_id}:managed-instance/{principal.node_id}"
        found["ssm:SourceInstanceARN"] = instance
    return found


def context_of(call: Call, request: Shape) -> dict[str, Value]:
    """The values of the condition keys that every request has."""
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
    given = request.get("Tags") or ()
    if isinstance(given, Mapping):
        tags = dict(given)
    else:
        tags = {tag["Key"]: tag["Value"] for tag in given if "Key" in tag and "Value" in tag}
    context |= {f"aws:RequestTag/{key}": value for key, value in tags.items()}
    keys = (*tags, *(request.get("TagKeys") or ()))
    if keys:
        context["aws:TagKeys"] = keys
    return context


def _ask_for(call: Call, action: str, resource: str, context: Mapping[str, Value]) -> Ask:
    principal = call.principal
    return Ask(
        principal_arn=principal.arn,
        principal_account=principal.account_id,
        principal_kind=principal.kind,
        action=action,
        resource=resource,
        context=context,
        role_arn=principal.role_arn,
    )


async def _ask(call: Call, action: str, resources: Sequence[str], context: dict[str, Value]) -> None:
    """May the caller do the action on all of the resources. Nothing is read where no policy makes it necessary."""
    permissions = call.principal.permissions
    if permissions is None:
        raise AccessDeniedException(refusal(call.principal, action, resources[0], Verdict.NEUTRAL))
    if permissions.speak_of_tags or any(_guarded(call, each) for each in resources):
        async with call.reading() as tx:
            for resource in resources:
                await _ask_of(call, tx, action, resource, context)
        return
    for resource in resources:
        _check(call, permissions, _ask_for(call, action, resource, context), None)


async def _ask_of(call: Call, tx: Transaction, action: str, resource: str, context: Mapping[str, Value]) -> None:
    """May the caller do the action on the resource, by its own policies and those of the resource."""
    permissions = call.principal.permissions
    assert permissions is not None
    place = place_of(resource)
    own = place is not None and place.account_id == call.principal.account_id
    sources: Sequence[Source] = ()
    if place is not None and own and _guarded(call, resource):
        on = call.house.policies_on.get(place.kind)
        sources = await on.of(tx, resource) if on is not None else ()
    if place is not None and own and (permissions.speak_of_tags or any(speaks_of_tags(s.document) for s in sources)):
        context = {**context, **await tags_of(call.house, tx, place)}
    ask = _ask_for(call, action, resource, context)
    on_resource = said((parse(each.document, kind="resource") for each in sources), ask) if sources else None
    _check(call, permissions, ask, on_resource)


def _guarded(call: Call, resource: str) -> bool:
    return call.principal.guarded is None or resource in call.principal.guarded


def _check(call: Call, permissions: Permissions, ask: Ask, on_resource: Decision | None) -> None:
    """Raises AccessDeniedException."""
    if on_resource is None and permissions.verdict(ask) is Verdict.ALLOW:
        return
    found = decide(permissions, ask, on_resource)
    if found.verdict is not Verdict.ALLOW:
        raise AccessDeniedException(refusal(call.principal, ask.action, ask.resource, found.verdict, found.layer))


async def tags_of(house: House, tx: Transaction, place: Place) -> dict[str, Value]:
    """The condition keys of a resource's tags."""
    find = house.tags_of.get(place.kind)
    if find is None:
        return {}
    found: dict[str, Value] = {}
    for key, value in (await find(tx, place.account_id, place.region, place.tail)).items():
        found[f"aws:ResourceTag/{key}"] = found[f"{place.service}:resourceTag/{key}"] = value
    return found


async def guarded(house: House, tx: Transaction, account_id: str) -> Collection[str] | None:
    """What a principal of the account is told of resources with policies (`Principal.guarded`)."""
    found: set[str] = set()
    for on in {id(each): each for each in house.policies_on.values()}.values():
        arns = await on.guarded(tx, account_id)
        if arns is None:
            return None
        found.update(arns)
    return frozenset(found)


async def _resources(call: Call, operation: Operation, request: Shape) -> list[str]:
    if operation.resources is None:
        return ["*"]
    found = operation.resources(call, request)
    return list(await found if isawaitable(found) else found) or ["*"]


async def _context(call: Call, operation: Operation, request: Shape) -> dict[str, Value]:
    context = context_of(call, request)
    if operation.conditions is not None:
        found = operation.conditions(call, request)
        context |= await found if isawaitable(found) else found
    return context


def _is_itself(call: Call, operation: Operation, request: Shape) -> bool:
    return operation.node_member is None or request.get(operation.node_member) == call.principal.node_id
