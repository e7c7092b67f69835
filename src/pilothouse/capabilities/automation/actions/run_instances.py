"""`aws:runInstances`: new machines from an image, once they run."""

import base64
from collections.abc import Mapping
from typing import Any, Final

from pilothouse.capabilities.automation.actions.change_instance_state import failure_of, instances, state_of
from pilothouse.capabilities.automation.actions.interface import Done, Failed, Input, Kind, Outcome
from pilothouse.capabilities.automation.actions.on_ec2 import OnEc2, Turn

_LEGACY: Final = "m1.small"
"""The type of machines where a runbook names none, as it always was."""
_AS_THEY_ARE: Final[Mapping[str, Kind]] = {
    "ImageId": Kind.TEXT, "InstanceType": Kind.TEXT, "KeyName": Kind.TEXT, "SecurityGroupIds": Kind.TEXTS,
    "SecurityGroups": Kind.TEXTS, "SubnetId": Kind.TEXT, "TagSpecifications": Kind.MAPS,
    "BlockDeviceMappings": Kind.MAPS, "ClientToken": Kind.TEXT, "DisableApiTermination": Kind.TRUTH,
    "EbsOptimized": Kind.TRUTH, "InstanceInitiatedShutdownBehavior": Kind.TEXT, "KernelId": Kind.TEXT,
    "Monitoring": Kind.MAP, "NetworkInterfaces": Kind.MAPS, "Placement": Kind.MAP, "PrivateIpAddress": Kind.TEXT,
    "RamdiskId": Kind.TEXT, "MetadataOptions": Kind.MAP, "AdditionalInfo": Kind.TEXT,
}  # fmt: skip


class RunInstances(OnEc2):
    """The client token is that of the attempt, so no machine is made twice."""

    name = "aws:runInstances"
    inputs: Mapping[str, Input] = {
        **{name: Input(kind, required=name == "ImageId") for name, kind in _AS_THEY_ARE.items()},
        "MinInstanceCount": Input(Kind.NUMBER),
        "MaxInstanceCount": Input(Kind.NUMBER),
        "IamInstanceProfileName": Input(),
        "IamInstanceProfileArn": Input(),
        "UserData": Input(),
    }

    async def go(self, turn: Turn) -> Outcome:
        if not turn.state:
            answer = await turn.ask("RunInstances", _request(turn))
            return turn.later(ids=[each["InstanceId"] for each in answer["Instances"]])
        ids = list(turn.state["ids"])
        found = await instances(turn, ids)
        states = [state_of(each) for each in found]
        outputs: dict[str, Any] = {"InstanceIds": ids, "InstanceStates": states}
        for each in found:
            if state_of(each) in ("terminated", "shutting-down", "stopped"):
                why = failure_of(each) or f"it is {state_of(each)}"
                return Failed(message=f"The instance {each['InstanceId']} does not run: {why}.", outputs=outputs)
        if len(states) == len(ids) and all(each == "running" for each in states):
            return Done(outputs=outputs)
        return turn.later()


def _request(turn: Turn) -> dict[str, Any]:
    request = turn.members(**{name: name for name in _AS_THEY_ARE})
    most = turn.inputs.get("MaxInstanceCount") or turn.inputs.get("MinInstanceCount") or 1
    request |= {"MinCount": turn.inputs.get("MinInstanceCount") or 1, "MaxCount": most}
    request.setdefault("InstanceType", _LEGACY)
    request.setdefault("ClientToken", turn.token)
    profile = turn.members(Name="IamInstanceProfileName", Arn="IamInstanceProfileArn")
    if profile:
        request["IamInstanceProfile"] = profile
    if turn.inputs.get("UserData"):
        text = str(turn.inputs["UserData"])
        request["UserData"] = _plain_user_data(text)
    return request


def _plain_user_data(text: str) -> str:
    """A runbook may give it as base64, as the API has it; clients encode it again."""
    try:
        return base64.b64decode(text, validate=True).decode()
    except ValueError:
        return text
