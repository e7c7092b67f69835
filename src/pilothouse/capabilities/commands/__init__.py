"""Commands: a document sent to many nodes once, with rate control, and what came of it.

Owns the tables command, command_invocation, command_step, command_output and command_output_piece, and every status
change in them. Does not talk to nodes:
it puts messages in the gateway's outbox (a command is the gate of its messages) and hears answers as their sender.
An invocation never leaves a final status, also when a late reply arrives. `command.finished` tells of ended commands.
"""

from pilothouse.call import Capability
from pilothouse.capabilities.commands import jobs, listing, operations, output_reading, planning, uploads
from pilothouse.capabilities.commands.agent import CancelSender, CommandSender
from pilothouse.capabilities.commands.leaving import node_deregistered
from pilothouse.capabilities.commands.model import CommandStatus, concurrency_limit, error_limit
from pilothouse.capabilities.commands.output_store import SEALED
from pilothouse.capabilities.commands.outputs import EXTENSION
from pilothouse.capabilities.commands.progress import CANCEL_TOPIC, COMMAND_TOPIC
from pilothouse.capabilities.commands.references import check_references
from pilothouse.capabilities.commands.store import CommandStore
from pilothouse.storage import Transaction

CAPABILITY = Capability.of(
    "commands",
    operations,
    listing,
    planning,
    output_reading,
    jobs,
    topics={COMMAND_TOPIC: CommandSender(), CANCEL_TOPIC: CancelSender()},
    extensions={"output": EXTENSION},
    sealed=(SEALED,),
    streams=(output_reading.stream_command_output,),
    listeners={"node.deregistered": node_deregistered, "inbox.entered": uploads.entering},
)


async def status_of(tx: Transaction, account_id: str, region: str, command_id: str) -> CommandStatus | None:
    """How a command stands; None if it is not there (any more)."""
    command = await CommandStore(tx).command(account_id, region, command_id)
    return None if command is None else CommandStatus(command.status, command.details)


__all__ = ["CAPABILITY", "check_references", "concurrency_limit", "error_limit", "status_of"]
