"""Which nodes a user means: by id, by name, by target."""

from collections.abc import Sequence
from typing import Any

from pilothouse.cli.shared import Failed


def target(text: str) -> dict[str, Any]:
    """KEY=VALUE, or as the aws CLI writes it: Key=KEY,Values=VALUE,VALUE. Raises Failed."""
    if text.startswith("Key=") and ",Values=" in text:
        key, _, values = text.removeprefix("Key=").partition(",Values=")
    else:
        key, equals, values = text.partition("=")
        if not equals:
            raise Failed(f"--target {text}: write KEY=VALUE, such as tag:Env=Prod")
    return {"Key": key, "Values": values.split(",")}


def ids_of(ssm: Any, name: str) -> list[str]:
    """The id itself, or that of the one node of this name: tag, else host, else activation's. Raises Failed."""
    if name.startswith(("mi-", "i-")):
        return [name]
    tagged = ssm.describe_instance_information(Filters=[{"Key": "tag:Name", "Values": [name]}])
    ids = [each["InstanceId"] for each in tagged["InstanceInformationList"]]
    if not ids:
        filters = [{"Key": "ComputerName", "Values": [name], "Type": "Equal"}]
        ids = [each["Id"] for each in ssm.list_nodes(Filters=filters)["Nodes"]]
    if not ids:
        ids = [node_id for node_id, called in fitting(ssm, []).items() if called == name]
    if not ids:
        raise Failed(f"no node is named {name}; aws ssm describe-instance-information lists them")
    if len(ids) > 1:
        raise Failed(f"{name} is the name of {', '.join(ids)}; name one by its id, or all: --target tag:Name={name}")
    return ids


def one(ssm: Any, name: str) -> str:
    """The id of the node. Raises Failed."""
    return ids_of(ssm, name)[0]


def fitting(ssm: Any, targets: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Names by id of the nodes that fit all targets; without targets of all nodes."""
    asked = {"Filters": list(targets)} if targets else {}
    found: dict[str, str] = {}
    for page in ssm.get_paginator("describe_instance_information").paginate(**asked):
        for node in page["InstanceInformationList"]:
            found[node["InstanceId"]] = node.get("Name") or node.get("ComputerName") or node["InstanceId"]
    return found
