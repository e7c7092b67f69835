"""`aws:createImage`, `aws:copyImage`, `aws:deleteImage`."""

from collections.abc import Mapping
from typing import Any, Final

from pilothouse.capabilities.automation.actions.interface import (
    Done,
    Failed,
    Input,
    Kind,
    Outcome,
    StepFailed,
)
from pilothouse.capabilities.automation.actions.on_ec2 import OnEc2, Turn
from pilothouse.errors import ApiError

_BAD: Final = frozenset({"failed", "error", "invalid", "deregistered"})
_GONE: Final = ("InvalidSnapshot.NotFound", "InvalidAMIID.NotFound", "InvalidAMIID.Unavailable")


async def _described(turn: Turn, image_id: str) -> Mapping[str, Any] | None:
    answer = await turn.ask("DescribeImages", {"ImageIds": [image_id]})
    return next(iter(answer.get("Images") or ()), None)


async def _until_available(turn: Turn) -> Outcome:
    image_id = str(turn.state["image_id"])
    image = await _described(turn, image_id)
    state = str((image or {}).get("State") or "")
    outputs = {"ImageId": image_id, "ImageState": state}
    if state == "available":
        return Done(outputs=outputs)
    if state in _BAD:
        reason = ((image or {}).get("StateReason") or {}).get("Message") or "no reason is told"
        return Failed(message=f"The image {image_id} is {state}: {reason}.", outputs=outputs)
    return turn.later()


class CreateImage(OnEc2):
    """An image of a machine, once it is whole."""

    name = "aws:createImage"
    inputs: Mapping[str, Input] = {
        "InstanceId": Input(required=True),
        "ImageName": Input(required=True),
        "ImageDescription": Input(),
        "NoReboot": Input(Kind.TRUTH),
        "BlockDeviceMappings": Input(Kind.MAPS),
    }
    asks_once = True

    async def go(self, turn: Turn) -> Outcome:
        if turn.state:
            return await _until_available(turn)
        request = turn.members(
            InstanceId="InstanceId", Name="ImageName", Description="ImageDescription", NoReboot="NoReboot",
            BlockDeviceMappings="BlockDeviceMappings",
        )  # fmt: skip
        answer = await turn.ask("CreateImage", request)
        return turn.later(image_id=answer["ImageId"])


class CopyImage(OnEc2):
    """A copy of an image of another region in this one, once it is whole."""

    name = "aws:copyImage"
    inputs: Mapping[str, Input] = {
        "SourceRegion": Input(required=True),
        "SourceImageId": Input(required=True),
        "ImageName": Input(required=True),
        "ImageDescription": Input(),
        "Encrypted": Input(Kind.TRUTH),
        "KmsKeyId": Input(),
        "ClientToken": Input(),
    }

    async def go(self, turn: Turn) -> Outcome:
        if turn.state:
            return await _until_available(turn)
        request = turn.members(
            SourceRegion="SourceRegion", SourceImageId="SourceImageId", Name="ImageName",
            Description="ImageDescription", Encrypted="Encrypted", KmsKeyId="KmsKeyId", ClientToken="ClientToken",
        )  # fmt: skip
        request.setdefault("ClientToken", turn.token)
        answer = await turn.ask("CopyImage", request)
        return turn.later(image_id=answer["ImageId"])


class DeleteImage(OnEc2):
    """The image is no more, and neither are the snapshots that it stood on."""

    name = "aws:deleteImage"
    inputs: Mapping[str, Input] = {"ImageId": Input(required=True)}

    async def go(self, turn: Turn) -> Outcome:
        image_id = str(turn.inputs["ImageId"])
        if "snapshots" not in turn.state:
            image = await _described(turn, image_id)
            if image is None:
                return Failed(message=f"The image {image_id} does not exist.")
            disks = [each.get("Ebs") or {} for each in image.get("BlockDeviceMappings") or ()]
            return turn.later(snapshots=[each["SnapshotId"] for each in disks if each.get("SnapshotId")])
        await _unless_gone(turn, "DeregisterImage", {"ImageId": image_id})
        for each in turn.state["snapshots"]:
            await _unless_gone(turn, "DeleteSnapshot", {"SnapshotId": each})
        return Done()


async def _unless_gone(turn: Turn, name: str, request: Mapping[str, Any]) -> None:
    """It may have been done by an attempt that nobody knows of; then it is not there any more."""
    try:
        await turn.ask(name, request)
    except ApiError as error:
        if error.code not in _GONE:
            raise
    except StepFailed as failed:
        if not failed.message.startswith(_GONE):
            raise
