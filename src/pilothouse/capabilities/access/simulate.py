"""What policies would say: SimulateCustomPolicy, SimulatePrincipalPolicy, the keys that they ask for, and Explain."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities.access.held import held_by
from pilothouse.capabilities.access.model import InvalidInputException, NoSuchEntityException, Role, User, root_arn
from pilothouse.capabilities.access.owners import OWNERS, Owner
from pilothouse.capabilities.access.pages import paged
from pilothouse.capabilities.access.pages import position as page_position
from pilothouse.capabilities.access.sessions import refuse_not_yet
from pilothouse.capabilities.access.users import UserStore
from pilothouse.errors import ValidationException
from pilothouse.identity.authorise import refusal, tags_of
from pilothouse.identity.explaining import Explanation, StatementFinding, context_keys, explain
from pilothouse.identity.permissions import Source
from pilothouse.identity.policy import Ask, MalformedPolicy, Verdict, parse
from pilothouse.identity.policy_patterns import Value
from pilothouse.identity.principals import Principal
from pilothouse.identity.resources import place_of
from pilothouse.storage import Transaction

_NOT_YET: Final = ("OrderedOrganizationPolicyInputList",)
_DECISIONS: Final = {Verdict.ALLOW: "allowed", Verdict.DENY: "explicitDeny", Verdict.NEUTRAL: "implicitDeny"}
_STRICTEST: Final = (Verdict.DENY, Verdict.NEUTRAL, Verdict.ALLOW)
_PAGE_QUERY: Final = "Simulate"


def _source(call: Call, request: Shape) -> list[str]:
    return [request["PolicySourceArn"]]


@operation("iam", "SimulateCustomPolicy")
async def simulate_custom_policy(call: Call, request: Shape) -> Shape:
    """Whether the given policies allow each action on all of the resources. Raises InvalidInputException."""
    refuse_not_yet(request, _NOT_YET)
    caller = request.get("CallerArn", "")
    return _simulated(call, request, [*_given(request)], caller, {}, {})


@operation("iam", "SimulatePrincipalPolicy", resources=_source)
async def simulate_principal_policy(call: Call, request: Shape) -> Shape:
    """The same for the policies of a user, a group or a role, together with further ones.

    Raises NoSuchEntityException, InvalidInputException.
    """
    refuse_not_yet(request, (*_NOT_YET, "PolicyExclusionList"))
    async with call.reading() as tx:
        owner = await _owner(call, tx, request["PolicySourceArn"])
        sources = await held_by(tx, owner)
        keys = await _keys_of(tx, owner)
        on_resources = {}
        if "ResourcePolicy" not in request:
            on_resources = {arn: await _policies_on(call, tx, arn) for arn in request.get("ResourceArns", ())}
    given = [*_given(request)]
    if any(each.kind == "boundary" for each in given):  # in place of the one that it has
        sources = [each for each in sources if each.kind != "boundary"]
    caller = request.get("CallerArn", owner.arn)
    return _simulated(call, request, [*sources, *given], caller, keys, on_resources)


@operation("iam", "GetContextKeysForCustomPolicy")
async def get_context_keys_for_custom_policy(call: Call, request: Shape) -> Shape:
    """The condition keys that the policies speak of."""
    return {"ContextKeyNames": _all_keys(request["PolicyInputList"])}


@operation("iam", "GetContextKeysForPrincipalPolicy", resources=_source)
async def get_context_keys_for_principal_policy(call: Call, request: Shape) -> Shape:
    """The same for those of a user, a group or a role, and further ones."""
    async with call.reading() as tx:
        sources = await held_by(tx, await _owner(call, tx, request["PolicySourceArn"]))
    return {"ContextKeyNames": _all_keys([*(each.document for each in sources), *request.get("PolicyInputList", ())])}


def _explained(call: Call, request: Shape) -> list[str]:
    return [request.get("PrincipalArn", call.principal.arn)]


@operation("pilothouse", "Explain", resources=_explained)
async def explain_request(call: Call, request: Shape) -> Shape:
    """Why a principal of the account may or may not do something, statement by statement.

    Of a session it is what its role allows: what it was narrowed to is not kept. The policies of a resource of the
    account count, and so do its tags; the grants on a key do not. Raises NoSuchEntityException.
    """
    arn = request.get("PrincipalArn", call.principal.arn)
    action, resource = request["Action"], request.get("Resource", "*")
    if action.count(":") != 1:
        raise ValidationException(f"{action} is not an action; write it as ssm:GetParameter.")
    context = {each["Key"]: _value(each["Values"]) for each in request.get("Context", ())}
    if arn == root_arn(call.account_id):
        return {"PrincipalArn": arn, "Verdict": "allowed", "Reason": "Root may do everything in its account."}
    async with call.reading() as tx:
        owner = await _owner(call, tx, _role_of(call, arn))
        sources = await held_by(tx, owner)
        keys = await _keys_of(tx, owner)
        on = await _policies_on(call, tx, resource)
        place = place_of(resource)
        if place is not None and place.account_id == call.account_id:
            keys |= await tags_of(call.house, tx, place)
    principal = Principal(
        kind="session" if isinstance(owner, Role) else "user",
        account_id=call.account_id,
        arn=arn,
        user_id=owner.unique_id,
        access_key_id="",
        role_arn=owner.arn if isinstance(owner, Role) else "",
    )
    ask = _ask(principal, action, resource, {**keys, **context})
    found = explain(sources, ask, on.sources, needed=on.needed)
    return {
        "PrincipalArn": arn,
        "Verdict": _DECISIONS[found.verdict],
        "Reason": _reason(principal, ask, found),
        "Statements": [_told_statement(each) for each in found.statements],
    }


def _reason(principal: Principal, ask: Ask, found: Explanation) -> str:
    if found.verdict is Verdict.ALLOW:
        by = found.deciding()[0]
        of = f"the policy {by.source.name} of the resource" if by.source.kind == "resource" else by.source.name
        return f"Statement {by.sid or by.number} of {of} allows it."
    return refusal(principal, ask.action, ask.resource, found.verdict, found.layer)


def _told_statement(found: StatementFinding) -> Shape:
    source = found.source
    return {
        "Policy": source.name,
        "PolicyArn": source.arn,
        "Kind": source.kind,
        "Owner": source.owner,
        "Sid": found.sid,
        "Number": found.number,
        "Effect": "Allow" if found.allows else "Deny",
        "Applies": found.applies,
        "ActionFits": found.action,
        "ResourceFits": found.resource,
        "Conditions": [
            {
                "Operator": each.operator,
                "Key": each.key,
                "Wanted": [*each.wanted],
                "Found": [] if each.value is None else [each.value] if isinstance(each.value, str) else [*each.value],
                "Holds": each.holds,
            }
            for each in found.conditions
        ],
    }


class _On(NamedTuple):
    """The policies that a resource has."""

    sources: Sequence[Source] = ()
    needed: bool = False


async def _policies_on(call: Call, tx: Transaction, arn: str) -> _On:
    """Of a resource of the account; those of other accounts are not told."""
    place = place_of(arn)
    on = None if place is None else call.house.policies_on.get(place.kind)
    if place is None or on is None or place.account_id != call.account_id:
        return _On()
    found = await on.of(tx, arn)
    return _On(found, on.needed and bool(found))


def _role_of(call: Call, arn: str) -> str:
    """The ARN to look the policies up by: of a session or a node that of its role, whose path nobody knows."""
    parts = arn.split(":", 5)
    if len(parts) == 6 and parts[2] == "sts" and parts[5].startswith("assumed-role/"):
        return f"arn:aws:iam::{parts[4]}:role/{parts[5].split('/')[1]}"
    return arn


async def _owner(call: Call, tx: Transaction, arn: str) -> Owner:
    """The user, group or role of the account. Raises NoSuchEntityException, InvalidInputException."""
    parts = arn.split(":", 5)
    kind_name, _, path = parts[5].partition("/") if len(parts) == 6 else ("", "", "")
    if parts[:4] != ["arn", "aws", "iam", ""] or kind_name not in OWNERS:
        raise InvalidInputException(f"Invalid Entity Arn: {arn} does not clearly define entity type and name.")
    kind, name = OWNERS[kind_name], path.rpartition("/")[2]
    found = await kind.store(tx, parts[4]).find(name) if parts[4] == call.account_id else None
    if found is None:
        raise NoSuchEntityException(f"{kind.missing} {name} cannot be found.")
    return found


async def _keys_of(tx: Transaction, owner: Owner) -> dict[str, Value]:
    """What a request of the owner has of itself."""
    if isinstance(owner, User):
        tags = await UserStore(tx, owner.account_id).tags(owner)
        return {
            "aws:userid": owner.user_id,
            "aws:username": owner.name,
            **{f"aws:PrincipalTag/{key}": value for key, value in tags.items()},
        }
    return {}


def _given(request: Shape) -> Iterable[Source]:
    """The policies of the request itself. Raises InvalidInputException."""
    for kind, member in (("inline", "PolicyInputList"), ("boundary", "PermissionsBoundaryPolicyInputList")):
        for number, document in enumerate(request.get(member, ()), 1):
            _parsed(document)
            yield Source(
                kind="inline" if kind == "inline" else "boundary", name=f"{member}.{number}", document=document
            )


def _parsed(document: str) -> None:
    try:
        parse(document, kind="identity")
    except MalformedPolicy as error:
        raise InvalidInputException(str(error)) from error


def _all_keys(documents: Iterable[str]) -> list[str]:
    keys: dict[str, str] = {}
    for document in documents:
        try:
            for key in context_keys(document):
                keys.setdefault(key.lower(), key)
        except MalformedPolicy as error:
            raise InvalidInputException(str(error)) from error
    return sorted(keys.values())


def _simulated(
    call: Call,
    request: Shape,
    sources: Sequence[Source],
    caller: str,
    keys: Mapping[str, Value],
    on_resources: Mapping[str, _On],
) -> Shape:
    context = {**keys, **_context(request)}
    principal = _caller(call, caller)
    resource_policy = request.get("ResourcePolicy", "")
    if resource_policy and not caller:
        raise InvalidInputException("A ResourcePolicy needs a CallerArn that it may name.")
    given = _On([Source(kind="resource", name="ResourcePolicy", document=resource_policy)]) if resource_policy else None
    found: list[tuple[str, Shape]] = []
    after = page_position(call, _PAGE_QUERY, request)
    for action in request["ActionNames"]:
        if action.count(":") != 1:
            raise InvalidInputException(f"Invalid action: {action}")
        resources = [
            _on_resource(
                sources,
                given or on_resources.get(resource, _On()),
                _ask(principal, action, resource, context),
                request.get("ResourceOwner", resource),
            )
            for resource in request.get("ResourceArns", ["*"])
        ]
        found.append((f"{len(found):06}", _evaluated(action, resources)))
    return paged(
        call, _PAGE_QUERY, request, "EvaluationResults", [each for each in found if each[0] > after or not after]
    )


def _evaluated(action: str, resources: list[tuple[Verdict, Shape]]) -> Shape:
    """One result for an action: the strictest of its resources, and each of them."""
    verdict = next(each for each in _STRICTEST if any(found is each for found, _ in resources))
    deciding = [told for found, told in resources if found is verdict]
    first = resources[0][1]
    matched = [each for told in deciding for each in told["MatchedStatements"]]
    answer: Shape = {
        "EvalActionName": action,
        "EvalResourceName": first["EvalResourceName"] if len(resources) == 1 else "*",
        "EvalDecision": _DECISIONS[verdict],
        "MatchedStatements": [each for at, each in enumerate(matched) if each not in matched[:at]],
        "MissingContextValues": sorted({key for _, told in resources for key in told["MissingContextValues"]}),
    }
    bounds = [told.get("PermissionsBoundaryDecisionDetail", {}) for _, told in resources]
    if all(bounds):
        allowed = all(each["AllowedByPermissionsBoundary"] for each in bounds)
        answer["PermissionsBoundaryDecisionDetail"] = {"AllowedByPermissionsBoundary": allowed}
    if first["EvalResourceName"] != "*":
        answer["EvalDecisionDetails"] = {}
        answer["ResourceSpecificResults"] = [told for _, told in resources]
    return answer


def _on_resource(sources: Sequence[Source], on: _On, ask: Ask, owner: str) -> tuple[Verdict, Shape]:
    of_account = owner.split(":")[4] if owner.count(":") > 4 else ""
    elsewhere = bool(on.sources) and of_account not in ("", ask.principal_account)
    try:
        found = explain(sources, ask, on.sources, needed=on.needed, elsewhere=elsewhere)
    except MalformedPolicy as error:
        raise InvalidInputException(str(error)) from error
    verdict, statements = found.verdict, found.deciding()
    missing = {each.key for statement in found.statements if statement.action and statement.resource
               for each in statement.conditions if each.value is None}  # fmt: skip
    told: Shape = {
        "EvalResourceName": ask.resource,
        "EvalResourceDecision": _DECISIONS[verdict],
        "MatchedStatements": [
            _matched(each) for each in statements if each.source.kind != "boundary" or not each.allows
        ],
        "MissingContextValues": sorted(missing),
    }
    if bounds := [each for each in sources if each.kind == "boundary"]:
        within = explain([Source(kind="inline", name=each.name, document=each.document) for each in bounds], ask)
        told["PermissionsBoundaryDecisionDetail"] = {"AllowedByPermissionsBoundary": within.verdict is Verdict.ALLOW}
    return verdict, told


def _matched(found: StatementFinding) -> Shape:
    source = found.source
    name = source.name
    if source.kind != "resource" and source.owner and not source.arn:  # one that stands in its user, group or role
        kind, _, path = source.owner.split(":", 5)[5].partition("/")
        name = f"{kind}_{path.rpartition('/')[2]}_{name}"
    return {
        "SourcePolicyId": name,
        "SourcePolicyType": "resource" if source.kind == "resource" else "IAM Policy",
        "StartPosition": {"Line": found.start[0], "Column": found.start[1]},
        "EndPosition": {"Line": found.end[0], "Column": found.end[1]},
    }


def _context(request: Shape) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for each in request.get("ContextEntries", ()):
        if "ContextKeyName" not in each or not each.get("ContextKeyValues"):
            raise InvalidInputException("A context entry needs ContextKeyName and ContextKeyValues.")
        several = each.get("ContextKeyType", "string").endswith("List")
        values = each["ContextKeyValues"]
        if len(values) > 1 and not several:
            raise InvalidInputException(
                f"The context key {each['ContextKeyName']} has several values and is not a list."
            )
        found[each["ContextKeyName"]] = tuple(values) if several else values[0]
    return found


def _value(values: Sequence[str]) -> Value:
    return values[0] if len(values) == 1 else tuple(values)


def _caller(call: Call, arn: str) -> Principal:
    parts = arn.split(":", 5)
    known = len(parts) == 6
    return Principal(
        kind="session" if ":assumed-role/" in arn or ":role/" in arn else "user",
        account_id=parts[4] if known else call.account_id,
        arn=arn or root_arn(call.account_id),
        user_id="",
        access_key_id="",
        role_arn=arn if ":role/" in arn else "",
    )


def _ask(principal: Principal, action: str, resource: str, context: Mapping[str, Value]) -> Ask:
    return Ask(
        principal_arn=principal.arn,
        principal_account=principal.account_id,
        principal_kind=principal.kind,
        action=action,
        resource=resource,
        context=context,
        role_arn=principal.role_arn,
    )
