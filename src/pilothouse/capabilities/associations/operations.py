"""Associations as users make, change, start and remove them."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities import nodes, tags
from pilothouse.capabilities.associations import shapes
from pilothouse.capabilities.associations.checking import check_document, check_members, document_and_nodes, is_runbook
from pilothouse.capabilities.associations.executions import Occasion, begin, begin_by_terms, plan_next
from pilothouse.capabilities.associations.ledger import WATCH, Ledger
from pilothouse.capabilities.associations.membership import add_first, pairs, refresh
from pilothouse.capabilities.associations.model import (
    Association,
    AssociationAlreadyExists,
    AssociationDoesNotExist,
    AssociationLimitExceeded,
    AssociationVersionLimitExceeded,
    InvalidAssociation,
    InvalidAssociationVersion,
    Reason,
    StatusUnchanged,
)
from pilothouse.capabilities.associations.run_store import RunStore
from pilothouse.capabilities.associations.store import AssociationStore
from pilothouse.errors import ApiError, ValidationException
from pilothouse.identity.authorise import ask_each
from pilothouse.runtime.clock import to_millis
from pilothouse.scheduling import due
from pilothouse.storage import Transaction

TAGGED_AS = "Association"


def arn(call: Call, association_id: str) -> str:
    return f"arn:aws:ssm:{call.region}:{call.account_id}:association/{association_id}"


def _named(call: Call, request: Shape) -> list[str]:
    return [arn(call, request["AssociationId"])]


def _each(call: Call, request: Shape) -> list[str]:
    return [arn(call, each) for each in request["AssociationIds"]]


def _association_and_more(call: Call, request: Shape) -> list[str]:
    """Of those that name an association by its id, or an old one by its document and node."""
    if request.get("AssociationId"):
        return [arn(call, request["AssociationId"]), *document_and_nodes(call, request)]
    return document_and_nodes(call, request) or ["*"]


def _of_entries(call: Call, request: Shape) -> list[str]:
    return [each for entry in request["Entries"] for each in document_and_nodes(call, entry)]


@operation("ssm", "CreateAssociation", writes=True, resources=document_and_nodes)
async def create_association(call: Call, request: Shape) -> Shape:
    """Bind a document to targets; it runs at once unless ApplyOnlyAtCronInterval is given."""
    async with call.transaction() as tx:
        association = await _create(call, tx, request)
    return {"AssociationDescription": shapes.description(association)}


@operation("ssm", "CreateAssociationBatch", writes=True, resources=_of_entries)
async def create_association_batch(call: Call, request: Shape) -> Shape:
    """Make several; what is wrong with one of them does not keep the others from being made."""
    entries = request["Entries"]
    ids = [entry["InstanceId"] for entry in entries if entry.get("InstanceId")]
    if len(set(ids)) < len(ids):
        raise nodes.DuplicateInstanceId("A node is named more than once.")
    role = {name: request[name] for name in ("AssociationDispatchAssumeRole",) if request.get(name)}
    made, failed = [], []
    async with call.transaction() as tx:
        for entry in entries:
            try:
                made.append(await _create(call, tx, entry | role))
            except ApiError as error:
                failed.append({"Entry": entry, "Message": error.message, "Fault": "Client"})
    return {"Successful": [shapes.description(each) for each in made], "Failed": failed}


async def _create(call: Call, tx: Transaction, request: Shape) -> Association:
    terms = shapes.terms_of(request)
    instance_id = request.get("InstanceId") or ""
    if instance_id and terms.targets:
        raise ValidationException("InstanceId and Targets cannot be given together.")
    check_members(request, terms)
    store = AssociationStore(tx)
    await tx.lock("associations", call.account_id, call.region)
    document = await check_document(call, tx, terms, instance_id)
    terms = replace(terms, runbook=is_runbook(document))
    if instance_id and await store.legacy(call.account_id, call.region, terms.document, instance_id) is not None:
        raise AssociationAlreadyExists
    limit = call.house.settings.associations.most
    if await store.count(call.account_id, call.region) >= limit:
        raise AssociationLimitExceeded(f"There can be at most {limit} associations.")
    now = call.clock.millis()
    association = Association(
        association_id=call.ids.uuid(), account_id=call.account_id, region=call.region, version=1,
        instance_id=instance_id, terms=terms, created_at=now, updated_at=now,
    )  # fmt: skip
    given = tags.by_key(request.get("Tags") or [])
    await store.lock(association.association_id)
    await store.add(association)
    await store.set_targets(association, pairs(association))
    await tags.put(tx, call.account_id, call.region, TAGGED_AS, association.association_id, given)
    ledger = Ledger(call.house, tx, association)
    await add_first(ledger)
    await begin_by_terms(ledger, Reason.CREATED)
    await plan_next(ledger)
    ledger.tell_node(await ledger.runs.members(association.association_id))
    await ledger.close()
    return ledger.association


@operation("ssm", "UpdateAssociation", writes=True, resources=_association_and_more)
async def update_association(call: Call, request: Shape) -> Shape:
    """Make the next version. What the request leaves out is not set in it, whatever the last one said."""
    association_id = request["AssociationId"]
    async with call.transaction() as tx:
        ledger = await _opened(call, tx, association_id)
        await ask_each(call, tx, "ssm:DescribeAssociation", [arn(call, association_id)])
        before = ledger.association
        if request.get("AssociationVersion") not in (None, "$LATEST", str(before.version)):
            raise InvalidAssociationVersion
        terms = shapes.terms_of({"Name": before.terms.document, **request})
        if before.instance_id and terms.targets:
            raise ValidationException("An association that was made with an InstanceId has no Targets.")
        check_members(request, terms)
        terms = replace(terms, runbook=is_runbook(await check_document(call, tx, terms, before.instance_id)))
        limit = call.house.settings.associations.most_versions
        if before.version >= limit:
            raise AssociationVersionLimitExceeded(f"An association can have at most {limit} versions.")
        ledger.association = replace(
            before, version=before.version + 1, terms=terms, updated_at=ledger.now, last_due_at=None
        )
        store = AssociationStore(tx)
        await store.add_version(ledger.association)
        await store.set_targets(ledger.association, pairs(ledger.association))
        await refresh(ledger, Reason.CHANGED)
        await begin_by_terms(ledger, Reason.CHANGED)
        await plan_next(ledger)
        ledger.tell_node(await ledger.runs.members(association_id))
        await ledger.close()
    return {"AssociationDescription": shapes.description(ledger.association)}


@operation("ssm", "UpdateAssociationStatus", writes=True, resources=document_and_nodes)
async def update_association_status(call: Call, request: Shape) -> Shape:
    """What is shown as Status of an association that was made with a node's id. Nothing follows from it."""
    given = request["AssociationStatus"]
    status = {name: given[name] for name in ("Name", "Message", "AdditionalInfo") if given.get(name) is not None}
    async with call.transaction() as tx:
        found = await _found_old(call, tx, request)
        ledger = await Ledger.opened(call.house, tx, found.association_id)
        assert ledger is not None
        known = ledger.association.legacy_status
        if known is not None and {name: value for name, value in known.items() if name != "Date"} == status:
            raise StatusUnchanged("The updated status is the same as the current status.")
        status["Date"] = to_millis(given["Date"])
        ledger.association = replace(ledger.association, legacy_status=status)
        await ledger.close()
    return {"AssociationDescription": shapes.description(ledger.association)}


@operation("ssm", "DeleteAssociation", writes=True, resources=_association_and_more)
async def delete_association(call: Call, request: Shape) -> Shape:
    """Nodes keep to it no more; what it has done stays."""
    async with call.transaction() as tx:
        found = await _found(call, tx, request)
        await remove(call, tx, found)
    return {}


async def remove(call: Call, tx: Transaction, association: Association) -> None:
    """The association with its history, and what is due of it."""
    ledger = await Ledger.opened(call.house, tx, association.association_id)
    if ledger is None:
        return
    runs = RunStore(tx)
    members = await runs.members(association.association_id)
    for execution_id in await runs.of_association(association.association_id):
        await due.remove(tx, WATCH, execution_id)
    await due.remove(tx, "association", association.association_id)
    await ledger.leave(members.values())
    ledger.tell_node(members)
    await ledger.close()
    await runs.remove(association.association_id)
    await AssociationStore(tx).remove(association.association_id)
    await tags.remove_all(tx, call.account_id, call.region, TAGGED_AS, association.association_id)


@operation("ssm", "DescribeAssociation", resources=_association_and_more)
async def describe_association(call: Call, request: Shape) -> Shape:
    """The latest version, or another one."""
    number = request.get("AssociationVersion")
    async with call.reading() as tx:
        association = await _found(call, tx, request)
        if number in (None, "$LATEST"):
            return {"AssociationDescription": shapes.description(association)}
        version = await AssociationStore(tx).version(association.association_id, int(number))
    if version is None:
        raise InvalidAssociationVersion
    return {"AssociationDescription": shapes.description(association, version)}


@operation("ssm", "StartAssociationsOnce", writes=True, resources=_each)
async def start_associations_once(call: Call, request: Shape) -> Shape:
    """Run associations now, on all their nodes."""
    async with call.transaction() as tx:
        for association_id in sorted(set(request["AssociationIds"])):
            ledger = await _opened(call, tx, association_id)
            if ledger.association.paused_at is not None:
                raise InvalidAssociation(f"The association {association_id} is paused; resume it first.")
            await begin(ledger, Occasion(Reason.ASKED))
            await ledger.close()
    return {}


async def _opened(call: Call, tx: Transaction, association_id: str) -> Ledger:
    ledger = await Ledger.opened(call.house, tx, association_id)
    if ledger is None or (ledger.association.account_id, ledger.association.region) != (call.account_id, call.region):
        raise AssociationDoesNotExist
    return ledger


async def _found(call: Call, tx: Transaction, request: Mapping[str, Any]) -> Association:
    """By its id, or an old one by its document and node. Raises AssociationDoesNotExist."""
    if request.get("AssociationId"):
        found = await AssociationStore(tx).find(call.account_id, call.region, request["AssociationId"])
        if found is None:
            raise AssociationDoesNotExist
        return found
    if not request.get("Name") or not request.get("InstanceId"):
        raise ValidationException("Give either AssociationId, or Name and InstanceId.")
    return await _found_old(call, tx, request)


async def _found_old(call: Call, tx: Transaction, request: Mapping[str, Any]) -> Association:
    found = await AssociationStore(tx).legacy(
        call.account_id, call.region, request["Name"], request["InstanceId"]
    )  # fmt: skip
    if found is None:
        raise AssociationDoesNotExist
    return found


@operation("pilothouse", "PauseAssociation", writes=True, resources=_named)
async def pause_association(call: Call, request: Shape) -> Shape:
    """Nothing runs by the association until it is resumed: nodes do not see it, and no time of its schedule counts."""
    async with call.transaction() as tx:
        ledger = await _opened(call, tx, request["AssociationId"])
        if ledger.association.paused_at is None:
            ledger.association = replace(ledger.association, paused_at=ledger.now, paused_by=call.principal.arn)
            await plan_next(ledger)
            ledger.tell_node(await ledger.runs.members(ledger.association.association_id))
            await ledger.close()
    return {}


@operation("pilothouse", "ResumeAssociation", writes=True, resources=_named)
async def resume_association(call: Call, request: Shape) -> Shape:
    """It goes on with the next time of its schedule; times that were passed over are not made up for."""
    async with call.transaction() as tx:
        ledger = await _opened(call, tx, request["AssociationId"])
        table = ledger.association.timetable
        if ledger.association.paused_at is not None:
            ledger.association = replace(ledger.association, paused_at=None, paused_by="")
            if table is not None:
                passed = latest_due(ledger.association, ledger.now)
                ledger.association = replace(ledger.association, last_due_at=passed)
            await plan_next(ledger)
            ledger.tell_node(await ledger.runs.members(ledger.association.association_id))
            await ledger.close()
    return {}


def latest_due(association: Association, now: int) -> int | None:
    """The latest time of its schedule that has passed; as it was if none has since then."""
    found, table = association.last_due_at, association.timetable
    for each in table.moments(found if found is not None else association.updated_at) if table is not None else ():
        if each > now:
            break
        found = each
    return found
