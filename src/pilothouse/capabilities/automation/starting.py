"""StartAutomationExecution: from a request to an execution, and from an execution with targets to its children."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec

from pilothouse.call import Call, House, Shape
from pilothouse.capabilities import access, documents, tags
from pilothouse.capabilities.automation import locating, queueing, targeting, telling
from pilothouse.capabilities.automation.acting import SERVICE
from pilothouse.capabilities.automation.given import check_given, checked_values, typed_defaults
from pilothouse.capabilities.automation.model import (
    AutomationDefinitionNotFoundException,
    AutomationDefinitionVersionNotFoundException,
    IdempotentParameterMismatch,
    InvalidAutomationExecutionParametersException,
    InvalidTarget,
    Status,
)
from pilothouse.capabilities.automation.references import REFERENCE
from pilothouse.capabilities.automation.runbooks import Runbook, read
from pilothouse.capabilities.automation.runs import LOCATIONS, RUNBOOK, TARGETS, Contents, Execution
from pilothouse.capabilities.automation.store import AutomationStore
from pilothouse.errors import ValidationException
from pilothouse.identity.authorise import ask_each
from pilothouse.storage import Transaction

TAGGED_AS: Final = "Automation"
_KINDS: Final = frozenset({"Automation", "Automation.ChangeTemplate"})
_TERMS: Final = (
    "TargetParameterName", "Targets", "TargetMaps", "MaxConcurrency", "MaxErrors", "TargetLocations",
    "AlarmConfiguration",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Definition:
    """The runbook that a request names."""

    document: documents.Document
    text: str
    """Its content as JSON."""
    runbook: Runbook

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


async def find_definition(tx: Transaction, account_id: str, region: str, request: Shape) -> Definition:
    """Raises AutomationDefinition(Version)NotFoundException, InvalidAutomationExecutionParametersException."""
    name = request["DocumentName"]
    try:
        document = await documents.find(tx, account_id, region, name, request.get("DocumentVersion"))
    except documents.InvalidDocument as error:
        raise AutomationDefinitionNotFoundException(f"There is no runbook {name}.") from error
    except documents.InvalidDocumentVersion as error:
        version = request.get("DocumentVersion")
        raise AutomationDefinitionVersionNotFoundException(f"The runbook {name} has no version {version}.") from error
    if document.kind not in _KINDS:
        raise InvalidAutomationExecutionParametersException(
            f"The document {name} is of type {document.kind}; a runbook is of type Automation."
        )
    text = msgspec.json.encode(document.content).decode()
    return Definition(document, text, read(text))


async def start(call: Call, tx: Transaction, request: Shape) -> Execution:
    """A new execution, which goes on by itself once the transaction has ended. Raises the operation's errors."""
    store = AutomationStore(tx, call.house.vault)
    token, digest = request.get("ClientToken"), _digest(call, request)
    if token:
        await tx.lock("automation token", call.account_id, call.region, token)
        known = await store.token(call.account_id, call.region, token)
        if known is not None and known[0] != digest:
            raise IdempotentParameterMismatch("The client token was used for another request.")
        found = None if known is None else await store.execution(known[1])
        if found is not None:
            return found
    rated = any(request.get(each) for each in ("Targets", "TargetMaps", "TargetLocations"))
    at_once = await queueing.check_room(call.house, tx, call.account_id, call.region, rated=rated)
    execution, definition = await prepared(call, tx, request)
    now = call.clock.millis()
    await store.keep_runbook(execution.digest, definition.text, now)
    await store.add(execution)
    given = tags.by_key(request.get("Tags") or [])
    await tags.put(tx, call.account_id, call.region, TAGGED_AS, execution.execution_id, given)
    if token:
        await store.keep_token(call.account_id, call.region, token, digest, execution.execution_id, now)
    await telling.execution_moved(call.house, tx, execution)
    await queueing.begin(
        call.house, tx, execution.execution_id, call.account_id, call.region, now=at_once
    )  # fmt: skip
    return execution


def _digest(call: Call, request: Shape) -> str:
    asked = {name: value for name, value in request.items() if name != "ClientToken"}
    return hashlib.sha256(msgspec.json.encode([call.principal.arn, asked], order="deterministic")).hexdigest()


async def prepared(call: Call, tx: Transaction, request: Shape) -> tuple[Execution, Definition]:
    """The execution that a request asks for, checked as a whole, which is no row yet."""
    definition = await find_definition(tx, call.account_id, call.region, request)
    runbook, document = definition.runbook, definition.document
    specs, kind = await _specs(call, tx, request, definition)
    given = {name: list(values) for name, values in (request.get("Parameters") or {}).items()}
    first = _first(request, specs)
    parameters = await checked_values(call, tx, document, {**given, **first})
    for each in specs[1:]:
        if "parameters" in each:
            check_given(document, {**given, **each["parameters"]})
    role = await _role(call, tx, runbook, parameters)
    shown = {name: values for name, values in parameters.items() if name in given or name not in first}
    contents = Contents(
        who=access.kept_caller(call.principal),
        role=role,
        parameters=shown,
        variables=typed_defaults(runbook),
        terms={name: request[name] for name in _TERMS if request.get(name)},
        children=specs,
    )
    execution = Execution(
        execution_id=call.ids.uuid(),
        account_id=call.account_id,
        region=call.region,
        kind=kind,
        started_at=call.clock.millis(),
        document_name=document.called(call.account_id, request["DocumentName"]),
        document_version=document.version,
        digest=definition.digest,
        mode=request.get("Mode") or "Auto",
        cross_account=kind == LOCATIONS,
        resource_group=targeting.group_of(request.get("Targets") or ()),
        contents=contents,
    )
    return execution, definition


async def _specs(
    call: Call, tx: Transaction, request: Shape, definition: Definition
) -> tuple[list[Mapping[str, Any]], str]:
    """What is to be started for it, and its kind. Raises InvalidTarget and the like."""
    targets, maps = request.get("Targets") or [], request.get("TargetMaps") or []
    name = request.get("TargetParameterName")
    runbook = definition.runbook
    if targets and maps:
        raise InvalidTarget("Targets and TargetMaps cannot be given together.")
    if targets and not name:
        raise InvalidAutomationExecutionParametersException("Targets need a TargetParameterName.")
    if name and not (targets or request.get("TargetLocations")):
        raise InvalidAutomationExecutionParametersException("A TargetParameterName needs Targets.")
    for each in (name, *(key for one in maps for key in one)):
        if each is not None and each not in runbook.parameters:
            raise InvalidAutomationExecutionParametersException(
                f"The document {definition.document.name} has no parameter named {each}."
            )
    if request.get("TargetLocationsURL"):
        raise ValidationException("TargetLocationsURL is not available here: give TargetLocations.")
    if request.get("TargetLocations"):
        return locating.specs(call.account_id, call.region, request), LOCATIONS
    if maps:
        return list(targeting.specs_of_maps(maps)), TARGETS
    if targets:
        kind = definition.document.target_type or ""
        values = await targeting.resolved(call.house, tx, call.principal, call.region, targets, kind)
        return list(targeting.specs_of_values(str(name), values)), TARGETS
    return [], RUNBOOK


def _first(request: Shape, specs: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """The parameters that the first child will have: those of a request may leave them out."""
    if specs and "parameters" in specs[0]:
        return dict(specs[0]["parameters"])
    name = request.get("TargetParameterName")
    if not name or name in (request.get("Parameters") or {}):
        return {}
    values = [value for each in request.get("Targets") or () for value in each.get("Values") or ()]
    return {name: values[:1] or ["target"]}


async def _role(call: Call, tx: Transaction, runbook: Runbook, parameters: Mapping[str, list[str]]) -> str:
    """The ARN of the role that the steps act as; empty where they act as the caller."""

    def value(name: str) -> str:
        return (parameters.get(name) or [""])[0]

    role = REFERENCE.sub(lambda found: value(found[1]), runbook.assume_role).strip()
    if not role:
        return ""
    await ask_each(call, tx, "iam:PassRole", [role], {"iam:PassedToService": SERVICE})
    rights = await access.rights_of_role(call.house, tx, call.account_id, role)
    if rights.role_arn != role:
        raise InvalidAutomationExecutionParametersException(
            f"The defined assume role is unable to be assumed: there is no role {role} that {SERVICE} may assume."
        )
    return role


async def child_of(house: House, tx: Transaction, parent: Execution, number: int, *, failure: str = "") -> Execution:
    """The execution that the parent starts for its target of this number; one that has failed if it cannot be.

    Raises the ApiError that stands in the way.
    """
    spec = parent.contents.children[number]
    now = house.clock.millis()
    shared = parent.contents
    child = Execution(
        execution_id=house.ids.uuid(),
        account_id=spec.get("account") or parent.account_id,
        region=spec.get("region") or parent.region,
        parent_id=parent.execution_id,
        position=number,
        started_at=now,
        document_name=parent.document_name,
        document_version=parent.document_version,
        digest=parent.digest,
        mode=parent.mode,
        cross_account=parent.cross_account,
        association_id=parent.association_id,
        contents=Contents(
            who=shared.who,
            role=shared.role,
            parameters={**shared.parameters, **spec.get("parameters", {})},
            variables=dict(shared.variables),
            target=str(spec["target"]),
        ),
    )
    if failure:
        child.contents.failure = failure
        child.move(Status.FAILED, now)
    elif "account" in spec:
        child.contents = replace(child.contents, **await _in_place(house, tx, parent, child, spec))
        child.kind = TARGETS if child.contents.children else RUNBOOK
    return child


async def _in_place(
    house: House, tx: Transaction, parent: Execution, child: Execution, spec: Mapping[str, Any]
) -> dict[str, Any]:
    """As whom a child acts in another account or region, and what it starts there in turn."""
    who = await locating.actor_there(house, tx, parent, child, str(spec.get("role") or ""))
    found: dict[str, Any] = {}
    if who is not None:
        found |= {"who": access.kept_caller(who), "role": ""}
    terms = dict(spec.get("terms") or {})
    if terms:
        found["terms"] = terms
    name = terms.get("TargetParameterName")
    if name and terms.get("Targets"):
        if who is None:
            who = await access.caller_of(house, tx, parent.contents.who)
        if who is None:
            raise InvalidTarget("Whoever started the execution is not there any more.")
        definition = await documents.find(tx, parent.account_id, parent.region, parent.document_name)
        values = await targeting.resolved(
            house, tx, who, child.region, terms["Targets"], definition.target_type or ""
        )  # fmt: skip
        found["children"] = targeting.specs_of_values(str(name), values)
    return found
