"""`aws:createTags`: tags on machines, images and snapshots, and on nodes, maintenance windows and parameters."""

from collections.abc import Mapping
from typing import Any, Final

from pilothouse.capabilities.automation.actions.interface import Done, Input, Kind, Outcome, Step
from pilothouse.capabilities.automation.actions.on_ec2 import OnEc2, Turn

_OF_SSM: Final = ("ManagedInstance", "MaintenanceWindow", "Parameter")


class CreateTags(OnEc2):
    """Those of EC2 are put by EC2's operation, others by that of Systems Manager."""

    name = "aws:createTags"
    inputs: Mapping[str, Input] = {
        "ResourceIds": Input(Kind.TEXTS, required=True),
        "Tags": Input(Kind.MAPS, required=True),
        "ResourceType": Input(choices=("EC2", *_OF_SSM)),
    }

    async def begin(self, step: Step) -> Outcome:
        kind = step.inputs.get("ResourceType") or "EC2"
        if kind not in _OF_SSM:
            return await super().begin(step)
        for each in step.inputs["ResourceIds"]:
            request: dict[str, Any] = {"ResourceType": kind, "ResourceId": each, "Tags": step.inputs["Tags"]}
            await step.ask("ssm", "AddTagsToResource", request)
        return Done()

    async def go(self, turn: Turn) -> Outcome:
        await turn.ask("CreateTags", {"Resources": list(turn.inputs["ResourceIds"]), "Tags": turn.inputs["Tags"]})
        return Done()
