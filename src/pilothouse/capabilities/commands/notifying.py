"""Whom SendCommand shall have told: the topic must be there, and the role that is passed must let it be told."""

from pilothouse.call import Call, Shape
from pilothouse.capabilities import access, topics
from pilothouse.capabilities.commands.model import InvalidNotificationConfig, InvalidRole
from pilothouse.identity.authorise import ask_each
from pilothouse.identity.permissions import decide, said
from pilothouse.identity.policy import Ask, Verdict, parse
from pilothouse.storage import Transaction

_SERVICE = "ssm.amazonaws.com"


async def check_notification(call: Call, tx: Transaction, request: Shape) -> None:
    """Raises InvalidRole, InvalidNotificationConfig, and AccessDeniedException for who may not pass the role."""
    role_arn = request.get("ServiceRoleArn")
    if not role_arn:
        return
    await ask_each(call, tx, "iam:PassRole", [role_arn], {"iam:PassedToService": _SERVICE})
    role = await access.rights_of_role(call.house, tx, call.account_id, role_arn)
    if role.role_arn != role_arn:
        raise InvalidRole(f"There is no role {role_arn} in this account that {_SERVICE} may assume.")
    named = (request.get("NotificationConfig") or {}).get("NotificationArn")
    if not named:
        return
    topic_arn = await topics.arn_of(tx, call.account_id, call.region, named)
    if topic_arn is None:
        raise InvalidNotificationConfig(f"There is no topic {named} in this account and region.")
    if not await _may_publish(call, tx, role, topic_arn):
        raise InvalidRole(f"The role {role_arn} does not allow sns:Publish on {topic_arn}.")


async def _may_publish(call: Call, tx: Transaction, role: access.NodeRights, topic_arn: str) -> bool:
    ask = Ask(
        principal_arn=f"arn:aws:sts::{call.account_id}:assumed-role/{role.role_arn.rpartition('/')[2]}/ssm",
        principal_account=call.account_id,
        principal_kind="session",
        action="sns:Publish",
        resource=topic_arn,
        role_arn=role.role_arn,
    )
    policies = await call.house.policies_on["sns:topic"].of(tx, topic_arn)
    on_topic = said((parse(each.document, kind="resource") for each in policies), ask) if policies else None
    return decide(role.permissions, ask, on_topic).verdict is Verdict.ALLOW
