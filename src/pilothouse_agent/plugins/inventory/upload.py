"""From inputs to items, and PutInventory: content that did not change since the server took it is left out."""

import base64
import hashlib
import json
import sys
import time
from pathlib import Path
from typing import Any

from pilothouse_agent.link.api import ApiError
from pilothouse_agent.plugins import Run
from pilothouse_agent.plugins.inventory import Entry, Gatherer, is_enabled
from pilothouse_agent.plugins.inventory.applications import applications, components
from pilothouse_agent.plugins.inventory.files import BadFilter, custom, files
from pilothouse_agent.plugins.inventory.hardware import detailed_information, network
from pilothouse_agent.plugins.inventory.running import processes
from pilothouse_agent.plugins.inventory.systemd import services
from pilothouse_agent.plugins.server import server_of
from pilothouse_agent.plugins.supervisor import WorkFailed
from pilothouse_agent.state import files as state_files

_LARGE = 1024 * 1024
_MOST_OF_TYPE = 3 * 1024 * 1024
_MOST = 10 * 1024 * 1024
_CHANGED = frozenset({"ItemContentMismatchException", "InvalidItemContentException"})

_GATHERERS: tuple[tuple[str, str, str, Gatherer], ...] = (
    ("applications", "AWS:Application", "1.1", applications),
    ("awsComponents", "AWS:AWSComponent", "1.0", components),
    ("networkConfig", "AWS:Network", "1.0", network),
    ("instanceDetailedInformation", "AWS:InstanceDetailedInformation", "1.0", detailed_information),
    ("services", "AWS:Service", "1.0", services),
    ("processes", "AWS:Process", "1.0", processes),
)
"""Input, type, schema version. Windows' own types and billing information have nothing to say here."""

Item = dict[str, Any]


def items_of(run: Run) -> list[Item]:
    """What the inputs ask for. Raises WorkFailed."""
    captured = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    found = [
        _item(kind, version, gather(), captured)
        for name, kind, version, gather in _GATHERERS
        if is_enabled(run.inputs, name)
    ]
    filters = run.inputs.get("files")
    if filters:
        try:
            found.append(_item("AWS:File", "1.0", files(str(filters)), captured))
        except BadFilter as error:
            raise WorkFailed(f"files: {error}") from error
    if is_enabled(run.inputs, "customInventory"):
        given = run.inputs.get("customInventoryDirectory")
        directory = Path(str(given)) if given else run.node.state / "inventory" / "custom"
        found += [_item(*kind, entries, captured) for kind, entries in custom(directory).items()]
    sizes = {item["TypeName"]: len(json.dumps(item["Content"]).encode()) for item in found}
    for kind, size in sizes.items():
        if size > _MOST_OF_TYPE:
            raise WorkFailed(f"{kind} has {size} bytes of content; {_MOST_OF_TYPE} are allowed")
    if sum(sizes.values()) > _MOST:
        raise WorkFailed(f"the inventory has {sum(sizes.values())} bytes of content; {_MOST} are allowed")
    return found


def _item(kind: str, version: str, content: list[Entry], captured: str) -> Item:
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()
    digest = base64.b64encode(hashlib.md5(text, usedforsecurity=False).digest()).decode()
    return {
        "TypeName": kind, "SchemaVersion": version, "CaptureTime": captured, "ContentHash": digest, "Content": content,
    }  # fmt: skip


def put(run: Run, gathered: list[Item]) -> None:
    """Send the items, large files apart from the rest. Raises ApiError, Unreachable."""
    large = len(json.dumps(gathered).encode()) > _LARGE
    apart = [item for item in gathered if large and item["TypeName"] == "AWS:File"]
    for some in (apart, [item for item in gathered if item not in apart]):
        if some:
            _put(run, some)
    for item in gathered:
        print(f"{item['TypeName']}: {len(item['Content'])} entries")


def _put(run: Run, gathered: list[Item]) -> None:
    path = state_files.make_private(run.node.state / "inventory") / "hashes.json"
    known: dict[str, str] = state_files.read_json(path) or {}
    short = [
        {name: value for name, value in item.items() if name != "Content"}
        if known.get(item["TypeName"]) == item["ContentHash"]
        else item
        for item in gathered
    ]
    server = server_of(run.node)
    try:
        server.call("PutInventory", {"InstanceId": run.node.instance_id, "Items": short})
    except ApiError as error:
        if error.code not in _CHANGED or short == gathered:
            raise
        print(f"the server asks for everything: {error.code}", file=sys.stderr)
        server.call("PutInventory", {"InstanceId": run.node.instance_id, "Items": gathered})
    state_files.write_json(path, {**known, **{item["TypeName"]: item["ContentHash"] for item in gathered}})
