"""TargetLocations: executions in other accounts and regions of this installation, as a role that each account has."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pilothouse.call import House, Shape
from pilothouse.capabilities import access
from pilothouse.capabilities.automation.acting import actor_of
from pilothouse.capabilities.automation.actions.interface import StepFailed
from pilothouse.capabilities.automation.model import InvalidTarget
from pilothouse.capabilities.automation.runs import Execution
from pilothouse.errors import AccessDeniedException
from pilothouse.identity.principals import Principal
from pilothouse.storage import Transaction

ROLE: Final = "AWS-SystemsManager-AutomationExecutionRole"


def specs(account_id: str, region: str, request: Shape) -> list[Mapping[str, Any]]:
    """One execution for each account and region, in the order in which they are named. Raises InvalidTarget."""
    found: list[Mapping[str, Any]] = []
    seen: set[tuple[str, str]] = set()
    for number, location in enumerate(request["TargetLocations"]):
        excluded = set(location.get("ExcludeAccounts") or ())
        for account in location.get("Accounts") or [account_id]:
            if not (account.isdigit() and len(account) == 12):
                raise InvalidTarget(f"{account} is not an account: organizational units are not known here.")
            for where in location.get("Regions") or [region]:
                if account in excluded or (account, where) in seen:
                    continue
                seen.add((account, where))
                found.append({
                    "target": f"{account}:{where}", "account": account, "region": where, "group": number,
                    "role": location.get("ExecutionRoleName") or "", "terms": _terms(request, location),
                })  # fmt: skip
    if not found:
        raise InvalidTarget("TargetLocations names no account and region.")
    return found


def _terms(request: Shape, location: Mapping[str, Any]) -> dict[str, Any]:
    """What the execution in one place does with targets there."""
    targets: Sequence[Any] = location.get("Targets") or request.get("Targets") or ()
    if not targets:
        return {}
    return {
        "Targets": list(targets),
        "TargetParameterName": request.get("TargetParameterName"),
        "MaxConcurrency": location.get("TargetsMaxConcurrency") or request.get("MaxConcurrency") or "10",
        "MaxErrors": location.get("TargetsMaxErrors") or request.get("MaxErrors") or "0",
    }


async def actor_there(
    house: House, tx: Transaction, parent: Execution, child: Execution, role_name: str
) -> Principal | None:
    """As whom a child acts; None: as its parent does, in the same account if it has no such role.

    Raises AccessDeniedException where the role is not there, or may not be taken on by whoever acts for the parent.
    """
    role_arn = f"arn:aws:iam::{child.account_id}:role/{role_name or ROLE}"
    try:
        who = await actor_of(house, tx, parent)
    except StepFailed as error:
        raise AccessDeniedException(error.message) from error
    name = f"Automation-{child.execution_id}"
    there = await access.session_of(house, tx, role_arn, name)
    if there is None and child.account_id == parent.account_id and not role_name:
        return None
    asked = {"RoleArn": role_arn, "RoleSessionName": name}
    await house.inside.asked(tx, who, child.region, ("sts", "AssumeRole"), asked)
    return there
