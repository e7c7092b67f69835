"""By which policy a request is decided: documents of the types AutoApprovalPolicy and ManualApprovalPolicy.

First those that approve by themselves are asked, and what any of them forbids none approves. Then the one that names
approvers: that which is about the node by its tags before that which is about all nodes.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import cedarpy
import structlog

from pilothouse.capabilities import documents
from pilothouse.capabilities.access_requests.model import AUTOMATIC_HOURS, Approver, levels_of
from pilothouse.capabilities.documents import Document
from pilothouse.errors import ValidationException
from pilothouse.identity.principals import Principal
from pilothouse.storage import Transaction

log = structlog.get_logger()

_ACTION: Final = 'AWS::SSM::Action::"getTokenForInstanceAccess"'
_MOST: Final = 50


class Way(NamedTuple):
    """How a request is decided."""

    policy: str
    hours: int
    levels: Sequence[Sequence[Approver]] = ()
    """None: it is approved."""
    topic_arn: str = ""


async def way_of(
    tx: Transaction, who: Principal, groups: Sequence[str], region: str, node_id: str, tags: Mapping[str, str]
) -> Way:
    """Raises ValidationException where no policy, or more than one, says who decides."""
    automatic = await documents.of_kind(tx, who.account_id, region, "AutoApprovalPolicy", _MOST)
    approving = _approving(automatic, who, groups, node_id, tags)
    if approving is not None:
        return Way(approving, AUTOMATIC_HOURS)
    manual = await documents.of_kind(tx, who.account_id, region, "ManualApprovalPolicy", _MOST)
    about_tags = [each for each in manual if _is_about(each.content["targets"], tags)]
    fitting = about_tags or [each for each in manual if _is_about_all(each.content["targets"])]
    if not fitting:
        raise ValidationException(
            f"No approval policy applies to the node {node_id}, so access to it cannot be requested."
        )
    if len(fitting) > 1:
        names = ", ".join(each.name for each in fitting)
        raise ValidationException(f"More than one approval policy applies to the node {node_id}: {names}.")
    content = fitting[0].content
    levels = levels_of([level["approvers"] for level in content["levels"]])
    return Way(fitting[0].name, int(content["accessDurationHours"]), levels, content.get("notificationArn") or "")


def _approving(
    policies: Sequence[Document], who: Principal, groups: Sequence[str], node_id: str, tags: Mapping[str, str]
) -> str | None:
    """The policy that approves by itself, if none forbids it."""
    user = {"type": "AWS::IdentityStore::User", "id": who.user_id}
    node = {"type": "AWS::EC2::Instance" if node_id.startswith("i-") else "AWS::SSM::ManagedInstance", "id": node_id}
    attributes = {"userName": who.name, "arn": who.arn, **who.tags}
    entities: list[dict[str, Any]] = [
        {"uid": user, "attrs": attributes, "tags": dict(who.tags),
         "parents": [{"type": "AWS::IdentityStore::Group", "id": each} for each in groups]},
        {"uid": node, "attrs": {}, "tags": dict(tags), "parents": []},
    ]  # fmt: skip
    asked = {"principal": _entity(user), "action": _ACTION, "resource": _entity(node), "context": {}}
    found = None
    for policy in policies:
        result = cedarpy.is_authorized(asked, policy.text, entities)
        if result.diagnostics.errors:
            log.warning("access_request.policy_failed", policy=policy.name, errors=len(result.diagnostics.errors))
        if result.decision is cedarpy.Decision.Allow:
            found = found or policy.name
        elif result.diagnostics.reasons or result.decision is not cedarpy.Decision.Deny:
            return None  # forbidden by a statement, or not to be evaluated
    return found


def _entity(uid: Mapping[str, str]) -> str:
    written = uid["id"].replace("\\", "\\\\").replace('"', '\\"')
    return f'{uid["type"]}::"{written}"'


def _is_about(targets: Sequence[Mapping[str, Any]], tags: Mapping[str, str]) -> bool:
    """Whether the node has one of the tags."""
    return any(
        each["Key"].startswith("tag:") and tags.get(each["Key"][4:]) in each["Values"] for each in targets
    )  # fmt: skip


def _is_about_all(targets: Sequence[Mapping[str, Any]]) -> bool:
    return any(each["Key"] == "InstanceIds" and each["Values"] == ["*"] for each in targets)
