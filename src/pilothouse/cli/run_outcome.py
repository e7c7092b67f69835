"""What came of a command: every invocation with its steps and their output, and which nodes said the same."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

_AT_ONCE: Final = 8
_QUIET: Final = frozenset({"Pending", "Cancelled", "TimedOut", "InProgress"})
_SHORTEST_NAME: Final = 4
"""Of a step that can be asked for by itself; the output of others is what the list has of it."""

Outcome = dict[str, Any]
"""`CommandId`, `Status`, `StatusDetails`, and `Nodes`, each with its `Steps`."""


def gathered(ssm: Any, command: Mapping[str, Any]) -> Outcome:
    """The command with all its invocations, by name of the node."""
    found = list(invocations(ssm, command["CommandId"]))
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        nodes = list(pool.map(lambda each: _node(ssm, each), found))
    nodes.sort(key=lambda each: (each["InstanceName"] or each["InstanceId"], each["InstanceId"]))
    return {
        "CommandId": command["CommandId"],
        "Status": command["Status"],
        "StatusDetails": command["StatusDetails"],
        "Nodes": nodes,
    }


def alike(nodes: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """The nodes in groups with the same status and the same output, the largest group of failures first."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for node in nodes:
        said = [(step["Status"], step["ResponseCode"], step["Output"], step["Error"]) for step in node["Steps"]]
        groups.setdefault(repr((node["StatusDetails"], said)), []).append(node)
    return sorted(groups.values(), key=lambda group: (group[0]["Status"] == "Success", -len(group)))


def invocations(ssm: Any, command_id: str) -> Iterator[dict[str, Any]]:
    """Every invocation with its steps."""
    token: dict[str, str] = {}
    while True:
        page = ssm.list_command_invocations(CommandId=command_id, Details=True, MaxResults=50, **token)
        yield from page["CommandInvocations"]
        if not page.get("NextToken"):
            return
        token = {"NextToken": page["NextToken"]}


def _node(ssm: Any, invocation: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "InstanceId": invocation["InstanceId"],
        "InstanceName": invocation["InstanceName"],
        "Status": invocation["Status"],
        "StatusDetails": invocation["StatusDetails"],
        "Trace": invocation["TraceOutput"],
        "Steps": [_step(ssm, invocation, plugin) for plugin in invocation["CommandPlugins"]],
    }


def _step(ssm: Any, invocation: Mapping[str, Any], plugin: Mapping[str, Any]) -> dict[str, Any]:
    output, error = plugin["Output"], ""
    if output and plugin["Status"] not in _QUIET and len(plugin["Name"]) >= _SHORTEST_NAME:
        whole = ssm.get_command_invocation(
            CommandId=invocation["CommandId"], InstanceId=invocation["InstanceId"], PluginName=plugin["Name"]
        )
        output, error = whole["StandardOutputContent"], whole["StandardErrorContent"]
    return {
        "Name": plugin["Name"],
        "Status": plugin["StatusDetails"],
        "ResponseCode": plugin["ResponseCode"],
        "Output": output,
        "Error": error,
    }
