"""What commands say to nodes and hear from them: the payloads, and the senders behind the outbox's two topics.

Replies come in any order and more than once; a final status is never left, results of steps still fill in.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime
from typing import Any, TypeVar

import msgspec
import structlog

from pilothouse.call import House
from pilothouse.capabilities.commands.model import (
    RESULT_OF,
    STEP_RESULT,
    Command,
    Details,
    Invocation,
    StepResult,
    StepStatus,
)
from pilothouse.capabilities.commands.output_store import OutputStore
from pilothouse.capabilities.commands.progress import settle, withdraw
from pilothouse.capabilities.commands.store import CommandStore
from pilothouse.capabilities.commands.telling import invocations_changed
from pilothouse.gateway.outbox import Message, Refusal, Reply
from pilothouse.runtime.clock import to_millis
from pilothouse.storage import Transaction

log = structlog.get_logger()

OUTPUT_MOST = 2_500
STREAM_MOST = 24_000
TRACE_MOST = 2_500
_BEFORE_REBOOT = frozenset({"SuccessAndReboot", "PassedAndReboot"})


class SendCommandContent(msgspec.Struct, kw_only=True):
    """The content of a command's message. `cloudwatch_enabled` is text: agents cannot read a boolean there."""

    command_id: str = msgspec.field(name="CommandId")
    document_name: str = msgspec.field(name="DocumentName")
    parameters: dict[str, Any] = msgspec.field(name="Parameters")
    document: Any = msgspec.field(name="DocumentContent")
    bucket: str = msgspec.field(name="OutputS3BucketName")
    prefix: str = msgspec.field(name="OutputS3KeyPrefix")
    log_group: str = msgspec.field(name="CloudWatchLogGroupName")
    cloudwatch_enabled: str = msgspec.field(name="CloudWatchOutputEnabled")


class CancelContent(msgspec.Struct):
    """The content of a cancel: which message to stop."""

    message_id: str = msgspec.field(name="CancelMessageId")


class StepReport(msgspec.Struct):
    """One entry of `runtimeStatus`."""

    status: str
    code: int = 0
    output: str = ""
    started: str = msgspec.field(name="startDateTime", default="")
    finished: str = msgspec.field(name="endDateTime", default="")
    standard_output: str = msgspec.field(name="standardOutput", default="")
    standard_error: str = msgspec.field(name="standardError", default="")


class Report(msgspec.Struct):
    """The content of a reply."""

    document_status: str = msgspec.field(name="documentStatus")
    trace: str = msgspec.field(name="documentTraceOutput", default="")
    steps: dict[str, StepReport] | None = msgspec.field(name="runtimeStatus", default=None)


_read_report = msgspec.json.Decoder(Report).decode

Item = TypeVar("Item")


class CommandSender:
    """Behind `aws.ssm.sendCommand`: rate control on the way out, statuses and results on the way back."""

    async def transmitting(self, house: House, tx: Transaction, messages: Sequence[Message]) -> Collection[str]:
        """Those for which there is a slot, or that have one already; none once too many errors came."""
        admitted: set[str] = set()
        for work in await _works(house, tx, messages, _message):
            for message in work.items:
                invocation = work.invocation(message)
                if invocation is None or invocation.final or invocation.details is Details.CANCELLING:
                    continue
                known = invocation.slot and (invocation.on_node or not work.command.too_many_errors)
                if known or work.command.room > 0:
                    admitted.add(message.message_id)
                    work.move(invocation, Details.IN_PROGRESS, on_node=True)
            await work.done()
        return admitted

    async def delivered(self, house: House, tx: Transaction, messages: Sequence[Message]) -> None:
        """In progress, if silence had made it Delayed."""
        if not await _some_delayed(tx, messages):
            return
        for work in await _works(house, tx, messages, _message):
            for message in work.items:
                invocation = work.invocation(message)
                if invocation is not None and invocation.details is Details.DELAYED:
                    work.move(invocation, Details.IN_PROGRESS, on_node=True)
            await work.done()

    async def refused(self, house: House, tx: Transaction, refusals: Sequence[Refusal]) -> None:
        """The node does not have it: what was asked of a waiting invocation meanwhile takes effect now."""
        for work in await _works(house, tx, refusals, lambda refusal: refusal.message):
            for refusal in work.items:
                invocation = work.invocation(refusal.message)
                if invocation is None or invocation.final:
                    continue
                if refusal.undeliverable:
                    work.move(invocation, Details.UNDELIVERABLE, trace=refusal.text)
                elif invocation.details is Details.CANCELLING:
                    work.move(invocation, Details.CANCELLED)
                elif refusal.final:
                    work.move(invocation, Details.FAILED, trace=_why(refusal))
                else:
                    work.move(invocation, Details.DELAYED, on_node=False)
            await work.done()

    async def replied(self, house: House, tx: Transaction, replies: Sequence[Reply]) -> None:
        """Statuses move, results of steps are kept."""
        for work in await _works(house, tx, replies, lambda reply: reply.message):
            for reply in work.items:
                invocation = work.invocation(reply.message)
                if invocation is None:
                    continue
                try:
                    report = _read_report(reply.content)
                except (ValueError, RecursionError) as error:
                    log.warning("command.report_unreadable", node_id=invocation.node_id, reason=type(error).__name__)
                    continue
                work.hear(invocation, report)
            await work.done()

    async def unanswered(self, house: House, tx: Transaction, messages: Sequence[Message]) -> None:
        """Delayed, until it goes out again."""
        for work in await _works(house, tx, messages, _message):
            for message in work.items:
                invocation = work.invocation(message)
                if invocation is not None and invocation.details is Details.IN_PROGRESS:
                    work.move(invocation, Details.DELAYED)
            await work.done()

    async def gave_up(self, house: House, tx: Transaction, messages: Sequence[Message]) -> None:
        """Whether the node has it will not be known."""
        for work in await _works(house, tx, messages, _message):
            for message in work.items:
                invocation = work.invocation(message)
                if invocation is not None:
                    work.move(invocation, Details.DELIVERY_TIMED_OUT)
            await work.done()


class CancelSender:
    """Behind `aws.ssm.cancelCommand`. Cancels always go, and what nodes say to them proves nothing."""

    async def transmitting(self, house: House, tx: Transaction, messages: Sequence[Message]) -> Collection[str]:
        """All: those of ended invocations were withdrawn."""
        return [message.message_id for message in messages]

    async def delivered(self, house: House, tx: Transaction, messages: Sequence[Message]) -> None:
        """Tells nothing."""

    async def refused(self, house: House, tx: Transaction, refusals: Sequence[Refusal]) -> None:
        """The next one comes in its time."""

    async def replied(self, house: House, tx: Transaction, replies: Sequence[Reply]) -> None:
        """Tells nothing: the command's own reply does."""

    async def unanswered(self, house: House, tx: Transaction, messages: Sequence[Message]) -> None:
        """It goes out again when the node returns."""

    async def gave_up(self, house: House, tx: Transaction, messages: Sequence[Message]) -> None:
        """Cancels repeat until the command's expiry, which ends the invocation."""


class _Work:
    """One command and what a batch of messages changes of it."""

    def __init__(self, house: House, tx: Transaction, command: Command, items: list[Any]) -> None:
        self.command = command
        self.items = items
        self._house = house
        self._tx = tx
        self._at = house.clock.millis()
        self._invocations: dict[str, Invocation] = {}
        self._changed: dict[str, Invocation] = {}
        self._before: dict[str, str] = {}
        """The status that each changed invocation had."""
        self._ended: list[str] = []
        self._rebooted: set[tuple[str, str]] = set()
        self._steps: dict[tuple[str, str], tuple[Invocation, StepResult]] = {}
        self._planned = {step.name for step in command.steps}
        self._slots = command.counts.slots

    async def load(self, node_ids: Iterable[str]) -> None:
        self._invocations = await CommandStore(self._tx).invocations(self.command.command_id, node_ids)

    def invocation(self, message: Message) -> Invocation | None:
        """As it stands within this batch."""
        return self._invocations.get(message.node_id)

    def move(self, invocation: Invocation, to: Details, *, on_node: bool | None = None, trace: str = "") -> None:
        """Move an invocation if that is legal."""
        counts = self.command.counts
        after = invocation.moved(to, counts, at=self._at, on_node=on_node, trace=_stored(trace, TRACE_MOST))
        if after == invocation:
            return
        self._before.setdefault(after.node_id, invocation.status)
        self._invocations[after.node_id] = self._changed[after.node_id] = after
        if after.final and invocation.details is not Details.PENDING:
            self._ended.append(after.node_id)

    def hear(self, invocation: Invocation, report: Report) -> None:
        """A reply: the steps it tells of, and where the invocation stands by it."""
        for name, step in (report.steps or {}).items():
            if step.status in _BEFORE_REBOOT:
                self._rebooted.add((invocation.node_id, name))
            known = self._steps.get((invocation.node_id, name))
            if name in self._planned and (known is None or known[1].status is StepStatus.IN_PROGRESS):
                self._steps[invocation.node_id, name] = invocation, _result(name, step)
        if invocation.final:
            return
        result = RESULT_OF.get(report.document_status)
        if result is not None:
            self.move(invocation, result, trace=report.trace)
        elif invocation.details in (Details.PENDING, Details.DELAYED):
            self.move(invocation, Details.IN_PROGRESS, on_node=True)

    async def done(self) -> None:
        """Write what has changed."""
        store = CommandStore(self._tx)
        if self._steps:
            await store.save_steps(list(self._steps.values()))
        for node_id, name in sorted(self._rebooted):
            await OutputStore(self._tx, self._house.vault).begins_anew(self.command.command_id, node_id, name)
        if not self._changed:
            return
        await store.save_invocations(self._changed.values())
        ends = [(each.node_id, self._before[each.node_id], each.details) for each in self._changed.values()]
        await invocations_changed(self._house, self._tx, self.command, ends)
        if self._ended:
            asked = [node_id for node_id in self._ended if self._before[node_id] == "Cancelling"]
            await withdraw(self._tx, self.command.command_id, self._ended, cancelled=asked)
        await settle(self._house, self._tx, self.command, freed=self._slots - self.command.counts.slots)


async def _some_delayed(tx: Transaction, messages: Sequence[Message]) -> bool:
    nodes: dict[str, list[str]] = {}
    for message in messages:
        nodes.setdefault(message.gate, []).append(message.node_id)
    return any([await CommandStore(tx).delayed(command_id, nodes[command_id]) for command_id in sorted(nodes)])


async def _works(
    house: House, tx: Transaction, items: Sequence[Item], message_of: Callable[[Item], Message]
) -> list[_Work]:  # fmt: skip
    """The items by command, in the order of the commands' ids."""
    by_command: dict[str, list[Item]] = {}
    for item in items:
        by_command.setdefault(message_of(item).gate, []).append(item)
    commands = await CommandStore(tx).commands(by_command)
    works = []
    for command_id in sorted(commands):
        work = _Work(house, tx, commands[command_id], by_command[command_id])
        await work.load({message_of(item).node_id for item in work.items})
        works.append(work)
    return works


def _message(message: Message) -> Message:
    return message


def _why(refusal: Refusal) -> str:
    if refusal.code == "51408":
        return "The node could not parse the document."
    return refusal.text or f"The node refused the command with code {refusal.code}."


def _result(name: str, step: StepReport) -> StepResult:
    status, details = STEP_RESULT.get(step.status, (StepStatus.IN_PROGRESS, "InProgress"))
    return StepResult(
        name=name,
        status=status,
        details=details,
        code=max(-(2**31), min(2**31 - 1, step.code)) if status is not StepStatus.IN_PROGRESS else -1,
        started_at=_moment(step.started),
        finished_at=_moment(step.finished) if status is not StepStatus.IN_PROGRESS else None,
        output=_stored(step.output, OUTPUT_MOST),
        standard_output=_stored(step.standard_output, STREAM_MOST),
        standard_error=_stored(step.standard_error, STREAM_MOST),
    )


def _moment(text: str) -> int | None:
    try:
        moment = datetime.fromisoformat(text)
        return to_millis(moment) if moment.tzinfo is not None and moment.year > 1970 else None
    except ValueError:
        return None


def _stored(text: str, most: int) -> str:
    """At most so many characters; NUL, which no text column takes on every engine, becomes a visible mark."""
    return text[:most].replace("\0", "\ufffd")
