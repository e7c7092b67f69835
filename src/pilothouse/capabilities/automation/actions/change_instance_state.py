"""`aws:changeInstanceState`: machines that are to run, to be stopped, or to be no more."""

from collections.abc import Mapping
from typing import Any, Final

from pilothouse.capabilities.automation.actions.interface import Done, Failed, Input, Kind, Outcome
from pilothouse.capabilities.automation.actions.on_ec2 import OnEc2, Turn

_ASKED: Final = {"running": "StartInstances", "stopped": "StopInstances", "terminated": "TerminateInstances"}
_DEAD_ENDS: Final = {"running": ("terminated", "shutting-down"), "stopped": ("terminated", "shutting-down")}


async def instances(turn: Turn, ids: list[str]) -> list[Mapping[str, Any]]:
    """What is told of machines."""
    answer = await turn.ask("DescribeInstances", {"InstanceIds": ids})
    return [each for reservation in answer.get("Reservations") or () for each in reservation.get("Instances") or ()]


def state_of(instance: Mapping[str, Any]) -> str:
    """Such as `running`."""
    return str((instance.get("State") or {}).get("Name") or "")


def failure_of(instance: Mapping[str, Any]) -> str:
    """Why what was asked was not done; empty where nothing says so."""
    reason = instance.get("StateReason") or {}
    return str(reason.get("Message") or "") if str(reason.get("Code") or "").startswith("Server.") else ""


async def all_ok(turn: Turn, ids: list[str]) -> bool:
    """Whether the status checks of running machines are passed."""
    answer = await turn.ask("DescribeInstanceStatus", {"InstanceIds": ids})
    told = answer.get("InstanceStatuses") or ()
    return len(told) >= len(set(ids)) and all(
        (each.get(kind) or {}).get("Status") == "ok" for each in told for kind in ("InstanceStatus", "SystemStatus")
    )


class ChangeInstanceState(OnEc2):
    """Asks, and looks until it is so. For `running` the status checks must be passed, too."""

    name = "aws:changeInstanceState"
    inputs: Mapping[str, Input] = {
        "InstanceIds": Input(Kind.TEXTS, required=True),
        "DesiredState": Input(required=True, choices=tuple(_ASKED)),
        "CheckStateOnly": Input(Kind.TRUTH),
        "Force": Input(Kind.TRUTH),
        "AdditionalInfo": Input(),
    }

    async def go(self, turn: Turn) -> Outcome:
        ids, wanted = list(turn.inputs["InstanceIds"]), str(turn.inputs["DesiredState"])
        if not turn.state.get("asked"):
            if not turn.inputs.get("CheckStateOnly"):
                request: dict[str, Any] = {"InstanceIds": ids}
                if wanted == "stopped" and turn.inputs.get("Force"):
                    request["Force"] = True
                if wanted == "running" and turn.inputs.get("AdditionalInfo"):
                    request["AdditionalInfo"] = turn.inputs["AdditionalInfo"]
                await turn.ask(_ASKED[wanted], request)
            return turn.later(asked=True)
        found = await instances(turn, ids)
        for each in found:
            failure = failure_of(each)
            if state_of(each) in _DEAD_ENDS.get(wanted, ()) or (state_of(each) != wanted and failure):
                why = failure or f"it is {state_of(each)}"
                return Failed(message=f"The instance {each['InstanceId']} does not become {wanted}: {why}.")
        states = [state_of(each) for each in found]
        if any(each != wanted for each in states) or (wanted == "running" and not await all_ok(turn, ids)):
            return turn.later()
        return Done(outputs={"InstanceStates": states})
