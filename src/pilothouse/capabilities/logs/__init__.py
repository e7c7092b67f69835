"""Logs: CloudWatch Logs as far as nodes, commands, sessions and those who read their output need it.

Owns the tables log_group, log_stream, log_chunk and log_removed. Events are kept in chunks, sealed; a message may hold
what a command printed, and that may be a secret. Other capabilities put events with `append`.
"""

from pilothouse.call import Capability
from pilothouse.capabilities import tags
from pilothouse.capabilities.logs import groups, jobs, reading, streams, tagging, tailing, writing
from pilothouse.capabilities.logs.appending import append, has_group
from pilothouse.capabilities.logs.model import Event
from pilothouse.capabilities.logs.sealing import SEALED
from pilothouse.capabilities.logs.store import LogStore
from pilothouse.storage import Transaction

__all__ = ["CAPABILITY", "Event", "append", "has_group"]


async def _tags(tx: Transaction, account_id: str, region: str, rest: str) -> dict[str, str]:
    """Of the group that an ARN of it or of one of its streams names."""
    return await tags.of(tx, account_id, region, groups.TAGGED, rest.partition(":")[0])


async def _find(tx: Transaction, account_id: str, region: str, name: str) -> str | None:
    """The group that an ARN ends with; it may have an asterisk behind."""
    name = name.removesuffix(":*")
    return name if await LogStore(tx, account_id, region).group(name) else None


CAPABILITY = Capability.of(
    "logs",
    groups,
    streams,
    writing,
    reading,
    tailing,
    tagging,
    jobs,
    sealed=(SEALED,),
    tags_of={"logs:log-group": _tags},
    groupable={"AWS::Logs::LogGroup": tags.Tagged(groups.TAGGED, "logs", "log-group:", _find)},
)
