"""Reading parameters over the plain ssm API, so from the cloud's service as well, in the form of an export."""

import json
from collections.abc import Callable
from typing import Any

from pilothouse.cli.parameter_files import WITHHELD

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
    ssm: Any, names: list[str], *, decrypt: bool, history: bool = False, step: Callable[[], None] = lambda: None
) -> list[dict[str, Any]]:
    """The parameters in the members of an export, in the order of the names."""
    found = []
    for name in names:
        versions = _versions(ssm, name, decrypt=decrypt)
        shape = {"name": name, **_shape(versions[-1], decrypt=decrypt)}
        tags = ssm.list_tags_for_resource(ResourceType="Parameter", ResourceId=name)["TagList"]
        if tags:
            shape["tags"] = {tag["Key"]: tag["Value"] for tag in sorted(tags, key=lambda tag: str(tag["Key"]))}
        if history:
            shape["history"] = [
                {"version": each["Version"], "last_modified": each["LastModifiedDate"].isoformat()}
                | _shape(each, decrypt=decrypt)
                for each in versions
            ]
        found.append(shape)
        step()
    return found


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
