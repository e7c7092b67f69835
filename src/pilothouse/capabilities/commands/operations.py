"""SendCommand, CancelCommand, and what became of a command on one node."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities import documents, nodes
from pilothouse.capabilities.commands import sending, shapes, uploads
from pilothouse.capabilities.commands.agent import CancelContent
from pilothouse.capabilities.commands.model import (
    Command,
    CommandStatus,
    Details,
    InvalidCommandId,
    InvalidPluginName,
    Invocation,
    InvocationDoesNotExist,
)
from pilothouse.capabilities.commands.notifying import check_notification
from pilothouse.capabilities.commands.progress import CANCEL_TOPIC, COMMAND_TOPIC, cancel_id, message_id, settle
from pilothouse.capabilities.commands.references import check_references
from pilothouse.capabilities.commands.store import CommandStore
from pilothouse.capabilities.commands.telling import command_changed, invocations_changed
from pilothouse.gateway import outbox
from pilothouse.gateway.outbox import NewMessage
from pilothouse.gateway.payloads import write
from pilothouse.identity.authorise import allowed_of, ask_each
from pilothouse.storage import Transaction

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)


def checked_command_id(command_id: str) -> str:
    """The id in the form in which it is stored. Raises InvalidCommandId."""
    if not _UUID.fullmatch(command_id):
        raise InvalidCommandId("The specified command ID is not valid. Verify the ID and try again.")
    return command_id.lower()


def send_resources(call: Call, request: Shape) -> list[str]:
    document = documents.arn_of(request["DocumentName"], call.account_id, call.region)
    return [document, *_node_arns(call, request.get("InstanceIds") or ())]


def _node_arns(call: Call, ids: Iterable[str]) -> list[str]:
    return [f"arn:aws:ssm:{call.region}:{call.account_id}:managed-instance/{each}" for each in ids]


async def type_condition(call: Call, request: Shape) -> Mapping[str, str]:
    """The condition key that follows from the document, for it and for the nodes."""
    async with call.reading() as tx:
        kind = await documents.kind_of(tx, call.account_id, call.region, request["DocumentName"])
    return {} if kind is None else {"ssm:DocumentType": kind}


@operation("ssm", "SendCommand", writes=True, resources=send_resources, conditions=type_condition)
async def send_command(call: Call, request: Shape) -> Shape:
    """Queue a document for many nodes. Targets are resolved now; nodes that are away get it when they return."""
    sending.check_request(request)
    targets = request.get("Targets") or []
    async with call.transaction() as tx:
        chosen = await nodes.resolve_targets(
            tx, call.account_id, call.region, request.get("InstanceIds") or [], targets
        )
        hidden = bool(targets) and not await nodes.may_read_groups(call, tx, targets)
        if hidden:  # a command that says so, and nothing of what is in the group
            chosen = []
        denied: frozenset[str] = frozenset()
        if targets:  # those that fit now, each by itself; the ids that a request names were asked before
            denied = await denied_among(call, tx, request, [node.node_id for node in chosen])
        document = await documents.for_run(
            tx, call.account_id, call.region, request["DocumentName"], request.get("DocumentVersion"),
            request.get("DocumentHash"), request.get("DocumentHashType"),
        )  # fmt: skip
        documents.check_values(document, request.get("Parameters") or {})
        await check_references(call, tx, documents.references(document, request.get("Parameters") or {}))
        if request.get("InstanceIds"):
            sending.check_platform(document, chosen)
        await check_notification(call, tx, request)
        command = sending.new_command(call, request, document, chosen, denied)
        if hidden:
            command = replace(command, status="Failed", details=Details.ACCESS_DENIED.value)
        contents = await _contents(call, tx, command, document, chosen)
        for content in contents:
            sending.check_size(document, command.parameters, content)
        await _queue(call, tx, command, sending.invocations(command, document, chosen, denied), contents)
    return {"Command": shapes.command(command)}


async def denied_among(call: Call, tx: Transaction, request: Shape, found: Sequence[str]) -> frozenset[str]:
    """Those of the nodes that fit targets on which the caller may not run it: they get an invocation that says so.

    Raises AccessDeniedException where none fits and the caller may not send to all.
    """
    kind = await documents.kind_of(tx, call.account_id, call.region, request["DocumentName"])
    context = {"ssm:DocumentType": kind} if kind else {}
    if not found:
        await ask_each(call, tx, "ssm:SendCommand", _node_arns(call, ["*"]), context)
        return frozenset()
    allowed = set(await allowed_of(call, tx, "ssm:SendCommand", _node_arns(call, found), context))
    return frozenset(each for each, arn in zip(found, _node_arns(call, found), strict=True) if arn not in allowed)


async def _contents(
    call: Call, tx: Transaction, command: Command, document: documents.Document, chosen: Sequence[nodes.Node]
) -> dict[str, frozenset[str]]:
    """What the nodes get, with the nodes that get it: those that upload outputs here are told where."""
    everybody = frozenset(node.node_id for node in chosen)
    uploading = await uploads.who_uploads(tx, command, everybody)
    found = {sending.content(command, document): everybody - uploading}
    if uploading:
        found[sending.content(await uploads.to_inbox(call.house, tx, command), document)] = uploading
    return found


async def _queue(
    call: Call,
    tx: Transaction,
    command: Command,
    invocations: Sequence[Invocation],
    contents: Mapping[str, frozenset[str]],
) -> None:
    await CommandStore(tx).add(command, invocations)
    begun = CommandStatus(command.status, command.details)
    await command_changed(call.house, tx, replace(command, status="Pending"), begun)
    final = [(each.node_id, "Pending", each.details) for each in invocations if each.final]
    await invocations_changed(call.house, tx, command, final)
    for number, (content, node_ids) in enumerate(contents.items()):
        await outbox.push(
            call.house,
            tx,
            account_id=command.account_id,
            region=command.region,
            gate=command.command_id,
            topic=f"{COMMAND_TOPIC}.{command.region}",
            messages=[
                NewMessage(message_id(command.command_id, each.node_id), each.node_id)
                for each in invocations
                if not each.final and each.node_id in node_ids
            ],
            at_ms=command.requested_at,
            start_deadline=command.start_deadline,
            expires_at=command.expires_at,
            content=content,
            variant=f".{number}" if number else "",
            room=command.room if len(contents) == 1 else 0,
        )
    if len(contents) > 1:
        await outbox.release(call.house, tx, command.command_id, command.room)


async def _of_others(call: Call, tx: Transaction, command_id: str, node_id: str) -> Shape:
    """What ran on a node without a command. Raises InvocationDoesNotExist."""
    for find in call.house.invocations:
        found = await find(tx, call.account_id, call.region, command_id, node_id)
        if found is not None:
            return found
    raise InvocationDoesNotExist


@operation("ssm", "CancelCommand", writes=True)
async def cancel_command(call: Call, request: Shape) -> Shape:
    """Stop what was not sent at once, and tell the nodes of the rest; those are cancelled when they say so."""
    command_id = checked_command_id(request["CommandId"])
    wanted: list[str] = request.get("InstanceIds") or []
    if len(set(wanted)) < len(wanted):
        raise nodes.DuplicateInstanceId("A node is named more than once.")
    async with call.transaction() as tx:
        await outbox.hold(tx, [command_id])
        store = CommandStore(tx)
        command = await store.command(call.account_id, call.region, command_id)
        if command is None:
            raise InvalidCommandId("The specified command ID is not valid. Verify the ID and try again.")
        if wanted:
            chosen = list((await store.invocations(command_id, wanted)).values())
            if missing := sorted(set(wanted) - {each.node_id for each in chosen}):
                raise nodes.InvalidInstanceId(f"The command was not sent to: {', '.join(missing)}.")
        else:
            chosen = await store.open_invocations(command_id)
        if command.current().final:
            return {}
        await _cancel(call, tx, command, chosen, whole=not wanted)
    return {}


async def _cancel(
    call: Call, tx: Transaction, command: Command, chosen: Sequence[Invocation], *, whole: bool
) -> None:  # fmt: skip
    now = call.clock.millis()
    slots = command.counts.slots
    changed = []
    for invocation in chosen:
        if not invocation.final and invocation.details is not Details.CANCELLING:
            to = Details.CANCELLING if invocation.on_node else Details.CANCELLED
            changed.append(invocation.moved(to, command.counts, at=now))
    asked = replace(command, cancel_asked=True) if whole else command
    await CommandStore(tx).save_invocations(changed)
    before = {each.node_id: each.status for each in chosen}
    ends = [(each.node_id, before[each.node_id], each.details) for each in changed]
    await invocations_changed(call.house, tx, command, ends)
    stopped = [each.node_id for each in changed if each.final]
    running = [each.node_id for each in changed if not each.final]
    await outbox.withdraw(tx, [message_id(command.command_id, node_id) for node_id in stopped])
    await outbox.send_no_more(tx, [message_id(command.command_id, node_id) for node_id in running])
    await outbox.push(
        call.house,
        tx,
        account_id=command.account_id,
        region=command.region,
        gate=command.command_id,
        topic=f"{CANCEL_TOPIC}.{command.region}",
        messages=[
            NewMessage(
                cancel_id(command.command_id, node_id),
                node_id,
                write(CancelContent(message_id(command.command_id, node_id))).decode(),
                renewed=True,
            )
            for node_id in running
        ],
        at_ms=now,
        start_deadline=None,
        expires_at=command.expires_at,
    )
    await outbox.make_due(call.house, tx, {cancel_id(command.command_id, node_id): node_id for node_id in running})
    await settle(call.house, tx, asked, freed=slots - command.counts.slots)


@operation("ssm", "GetCommandInvocation")
async def get_command_invocation(call: Call, request: Shape) -> Shape:
    """One invocation; with PluginName, or if the document has one step only, that step's output too."""
    command_id = checked_command_id(request["CommandId"])
    node_id = request["InstanceId"]
    async with call.reading() as tx:
        store = CommandStore(tx)
        command = await store.command(call.account_id, call.region, command_id)
        invocation = (await store.invocations(command_id, [node_id])).get(node_id) if command else None
        if command is None or invocation is None:
            return await _of_others(call, tx, command_id, node_id)
        results = await store.steps(command_id, [node_id])
    steps = shapes.steps_of(command, invocation, results)
    name = request.get("PluginName")
    if name is not None and name not in {step.name for step in steps}:
        raise InvalidPluginName(f"The document {command.document_name} has no step named {name}.")
    if name is None and len(steps) == 1:
        return shapes.invocation_result(command, invocation, steps[0], named=False)
    chosen = next((step for step in steps if step.name == name), None)
    return shapes.invocation_result(command, invocation, chosen, named=name is not None)
