"""Whole outputs as objects. Runs in a child of the agent: hashing and sending may take their time."""

from pathlib import Path

from pilothouse_agent.plugins import Node
from pilothouse_agent.plugins.server import server_of
from pilothouse_agent.sending.targets import STREAMS, Content, Target

_KIND = "text/plain"


def upload(node: Node, target: Target, limit: int) -> None:
    """Both streams, those that are not empty, with the agent's notes. Raises ApiError, Unreachable, OSError."""
    server = server_of(node)
    for name, note in zip(STREAMS, target.notes or ("", ""), strict=True):
        path = Path(target.directory) / name
        content = Content(path, limit, note)
        if content.length:
            key = f"{target.key}/{name}"
            server.put_object(target.bucket, key, path, content.of_file, content.ending, _KIND)
