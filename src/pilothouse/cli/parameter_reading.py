"""Reading parameters in the form of an export, from any Parameter Store; from a server of ours many at a time."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError

from pilothouse.cli.connections import Clients
from pilothouse.cli.parameter_files import WITHHELD

_GATHERED: Final = 100
"""Names in one question to a server of ours."""
_AT_ONCE: Final = 8
"""Questions to another server that are under way at once."""

_MEMBERS = {
    "Type": "type", "Tier": "tier", "DataType": "data_type", "KeyId": "key_id", "Description": "description",
    "AllowedPattern": "allowed_pattern",
}  # fmt: skip


def names_at(ssm: Any, path: str, *, recursive: bool = True) -> list[str]:
    """The names of the parameter of a path and of all below it, sorted; a path of `/` is everything."""
    if not path.strip("/"):
        return sorted(_described(ssm, []))
    itself = [{"Key": "Name", "Option": "Equals", "Values": [path if path.startswith("/") else path.rstrip("/")]}]
    found = set(_described(ssm, itself))
    if recursive:
        below = [{"Key": "Path", "Option": "Recursive", "Values": [f"/{path.strip('/')}"]}]
        found |= set(_described(ssm, below))
    return sorted(found)


def _described(ssm: Any, filters: list[dict[str, Any]]) -> list[str]:
    pages = ssm.get_paginator("describe_parameters").paginate(ParameterFilters=filters, MaxResults=50)
    return [each["Name"] for page in pages for each in page["Parameters"]]


def read(
    clients: Clients, names: list[str], *, decrypt: bool, history: bool = False, step: Callable[[], None] = lambda: None
) -> list[dict[str, Any]]:
    """The parameters in the members of an export, in the order of the names.

    A server of ours gives many of them in one answer; of the cloud's each is asked for by itself, several at a time.
    """
    ssm, own = clients.service("ssm"), clients.service("pilothouse")
    found: dict[str, dict[str, Any]] = {}
    if own.meta.endpoint_url == ssm.meta.endpoint_url:  # of its own it would be a host that nobody has
        for each in _gathered(own, names, decrypt=decrypt, history=history):
            found[each["Name"]] = _whole(each["Versions"], each["Tags"], decrypt=decrypt, history=history)
            step()

    def one(name: str) -> dict[str, Any]:
        tags = ssm.list_tags_for_resource(ResourceType="Parameter", ResourceId=name)["TagList"]
        return _whole(_versions(ssm, name, decrypt=decrypt), tags, decrypt=decrypt, history=history)

    rest = [name for name in names if name not in found]
    with ThreadPoolExecutor(_AT_ONCE) as several:
        for name, shape in zip(rest, several.map(one, rest), strict=True):
            found[name] = shape
            step()
    return [found[name] for name in names]


def _gathered(own: Any, names: list[str], *, decrypt: bool, history: bool) -> Iterator[dict[str, Any]]:
    """Parameters with their versions and tags; not all of them, and none from a server that has no such operation."""
    waiting = names
    while waiting:
        asked, waiting = waiting[:_GATHERED], waiting[_GATHERED:]
        try:
            answer = own.read_parameters(Names=asked, WithDecryption=decrypt, WithHistory=history)
        except (ClientError, ResponseParserError):
            return  # what is wrong, if anything is, the plain operations tell
        yield from answer["Parameters"]
        unread = answer["UnreadNames"]
        if not answer["Parameters"]:
            unread = unread[1:]  # its history needs more than one answer
        waiting = unread + waiting


def _whole(
    versions: list[dict[str, Any]], tags: list[dict[str, str]], *, decrypt: bool, history: bool
) -> dict[str, Any]:
    shape = {"name": versions[-1]["Name"], **_shape(versions[-1], decrypt=decrypt)}
    if tags:
        shape["tags"] = {tag["Key"]: tag["Value"] for tag in sorted(tags, key=lambda tag: str(tag["Key"]))}
    if history:
        shape["history"] = [
            {"version": each["Version"], "last_modified": each["LastModifiedDate"].isoformat()}
            | _shape(each, decrypt=decrypt)
            for each in versions
        ]
    return shape


def _versions(ssm: Any, name: str, *, decrypt: bool) -> list[dict[str, Any]]:
    pages = ssm.get_paginator("get_parameter_history").paginate(Name=name, WithDecryption=decrypt)
    return [each for page in pages for each in page["Parameters"]]


def _shape(version: dict[str, Any], *, decrypt: bool) -> dict[str, Any]:
    shape: dict[str, Any] = {"type": version["Type"]}
    if version["Type"] == "SecureString" and not decrypt:
        shape[WITHHELD] = "true"
    else:
        shape["value"] = version["Value"]
    for member, name in _MEMBERS.items():
        if version.get(member):
            shape[name] = version[member]
    if version.get("Policies"):
        shape["policies"] = [json.loads(each["PolicyText"]) for each in version["Policies"]]
    if version.get("Labels"):
        shape["labels"] = sorted(version["Labels"])
    return shape
