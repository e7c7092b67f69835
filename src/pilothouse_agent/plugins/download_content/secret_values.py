"""`{{ssm-secure:name}}` in source info: the value of a SecureString, read with the node's own rights."""

import re

from pilothouse_agent.link.blocking import Server
from pilothouse_agent.plugins.supervisor import WorkFailed

_REFERENCE = re.compile(r"\{\{\s*ssm-secure:([^\s{}]+)\s*\}\}\Z")


def resolve(server: Server, text: str) -> str:
    """The text, or the value it refers to. Raises WorkFailed, which names the parameter and no value."""
    found = _REFERENCE.match(text.strip())
    if found is None:
        return text
    name = found.group(1)
    answer = server.call("GetParameters", {"Names": [name], "WithDecryption": True})
    parameters = answer.get("Parameters") or []
    if not parameters:
        raise WorkFailed(f"there is no parameter {name}, or this node may not read it")
    if parameters[0].get("Type") != "SecureString":
        raise WorkFailed(f"parameter {name} is no SecureString, which ssm-secure needs")
    return str(parameters[0].get("Value"))
