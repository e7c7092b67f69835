"""For whom the invocations of a task are: registered targets, nodes, resources."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from pilothouse.call import House
from pilothouse.capabilities import nodes
from pilothouse.capabilities.maintenance_windows.acting import actor
from pilothouse.capabilities.maintenance_windows.model import (
    BY_NODE,
    BY_TARGET,
    GROUP_NAME,
    GROUP_TYPES,
    INSTANCE,
    RESOURCE_GROUP,
    RUN_COMMAND,
    TaskTerms,
    WindowTarget,
)
from pilothouse.capabilities.maintenance_windows.run_model import Batch, TaskRun
from pilothouse.storage import Transaction

_NODE_TYPES: Final = frozenset({"AWS::EC2::Instance", "AWS::SSM::ManagedInstance"})


def batches_of(task: TaskTerms, targets: Mapping[str, WindowTarget]) -> list[Batch]:
    """One for each registered target, and one for the nodes that are named. What is registered no more is left out."""
    if not task.targets:
        return [Batch()]
    found = []
    for window_target_id in dict.fromkeys(task.values_of(BY_TARGET)):
        target = targets.get(window_target_id)
        if target is not None:
            found.append(
                Batch(
                    window_target_id=window_target_id,
                    resource_type=target.terms.resource_type,
                    owner=target.terms.owner or "",
                    targets=target.terms.targets,
                )
            )
    if named := list(dict.fromkeys(task.values_of(BY_NODE))):
        found.append(Batch(targets=[(BY_NODE, named)]))
    return found


async def expanded(house: House, tx: Transaction, run: TaskRun) -> list[Batch]:
    """The batches of a task's invocations: of commands as they are, of other tasks each resource by itself.

    Raises what the role may not look at.
    """
    if run.task.kind == RUN_COMMAND or not run.task.targets:
        return run.batches
    found: list[Batch] = []
    for batch in run.batches:
        if batch.resource_type == RESOURCE_GROUP:
            found += await _in_group(house, tx, run, batch)
        else:
            targets = wire_targets(batch)
            for node in await nodes.resolve_targets(tx, run.account_id, run.region, [], targets):
                found.append(replace(batch, target_id=node.node_id, resource_id=node.node_id))
    return found


async def _in_group(house: House, tx: Transaction, run: TaskRun, batch: Batch) -> list[Batch]:
    targets = dict(batch.targets)
    request = {"Group": targets[GROUP_NAME][0], "MaxResults": 50}
    if types := targets.get(GROUP_TYPES):
        request["Filters"] = [{"Name": "resource-type", "Values": types}]
    who = await actor(house, tx, run)
    found = []
    while True:
        answer = await house.inside.asked(tx, who, run.region, ("resource-groups", "ListGroupResources"), request)
        for each in answer["ResourceIdentifiers"]:
            arn = each["ResourceArn"]
            short = arn.rpartition("/")[2] if "/" in arn else arn.rpartition(":")[2]
            found.append(replace(batch, target_id=arn, resource_id=short))
        if not answer.get("NextToken"):
            return found
        request["NextToken"] = answer["NextToken"]


def wire_targets(batch: Batch) -> list[dict[str, object]]:
    """The Targets of a command for the batch; empty where a group's filter leaves out all nodes."""
    if batch.resource_type != INSTANCE and not _for_nodes(batch.targets):
        return []
    return [{"Key": key, "Values": list(values)} for key, values in batch.targets if key != GROUP_TYPES]


def _for_nodes(targets: Sequence[tuple[str, list[str]]]) -> bool:
    return all(_NODE_TYPES & set(values) for key, values in targets if key == GROUP_TYPES)
