"""Commands: a document sent to many nodes once, with rate control, and what came of it.

Owns the tables command, command_invocation, command_step, command_output and command_output_piece, and every status
change in them. Does not talk to nodes:
it puts messages in the gateway's outbox (a command is the gate of its messages) and hears answers as their sender.
An invocation never leaves a final status, also when a late reply arrives. `command.finished` tells of ended commands.
"""

from pilothouse.call import Capability
from pilothouse.capabilities.commands import jobs, listing, operations, output_reading, planning
from pilothouse.capabilities.commands.agent import CancelSender, CommandSender
from pilothouse.capabilities.commands.leaving import node_deregistered
from pilothouse.capabilities.commands.output_store import SEALED
from pilothouse.capabilities.commands.outputs import EXTENSION
from pilothouse.capabilities.commands.progress import CANCEL_TOPIC, COMMAND_TOPIC

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
    listeners={"node.deregistered": node_deregistered},
)

__all__ = ["CAPABILITY"]
