"""As whom Systems Manager acts for who is not there: a role of the account, or the one that it has by itself."""

import json
from typing import Final

from pilothouse.call import House
from pilothouse.capabilities.access.node_roles import NodeRights, rights_of_role
from pilothouse.identity.authorise import guarded
from pilothouse.identity.permissions import Permissions, Source
from pilothouse.identity.principals import Principal
from pilothouse.storage import Transaction

_LINKED: Final = "AWSServiceRoleForAmazonSSM"
_LINKED_POLICY: Final = "AmazonSSMServiceRolePolicy"
_ALLOWED: Final = (
    "ssm:SendCommand", "ssm:CancelCommand", "ssm:ListCommands", "ssm:ListCommandInvocations",
    "ssm:GetCommandInvocation", "ssm:GetParameter", "ssm:GetParameters", "ssm:StartAutomationExecution",
    "ssm:StopAutomationExecution", "ssm:GetAutomationExecution", "lambda:InvokeFunction", "states:StartExecution",
    "resource-groups:ListGroupResources", "resource-groups:GetGroupQuery", "tag:GetResources",
)  # fmt: skip
_LINKED_RIGHTS: Final = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": _ALLOWED, "Resource": "*"},
            {
                "Effect": "Allow",
                "Action": "iam:PassRole",
                "Resource": "*",
                "Condition": {"StringEquals": {"iam:PassedToService": "ssm.amazonaws.com"}},
            },
        ],
    }
)


def linked_role(account_id: str) -> str:
    """The ARN of the role that Systems Manager has by itself in every account."""
    return f"arn:aws:iam::{account_id}:role/aws-service-role/ssm.amazonaws.com/{_LINKED}"


async def service_actor(
    house: House, tx: Transaction, account_id: str, role_arn: str, session_name: str
) -> Principal | None:
    """A session that Systems Manager has begun of the role; None where it may not, or there is no such role."""
    if role_arn == linked_role(account_id):
        linked = Source(kind="managed", name=_LINKED_POLICY, document=_LINKED_RIGHTS)
        rights = NodeRights(
            role_arn, _LINKED, Permissions.of([linked]), {}, await guarded(house, tx, account_id)
        )  # fmt: skip
    else:
        rights = await rights_of_role(house, tx, account_id, role_arn)
        if rights.role_arn != role_arn:
            return None
    name = role_arn.rpartition("/")[2]
    return Principal(
        kind="session",
        account_id=account_id,
        arn=f"arn:aws:sts::{account_id}:assumed-role/{name}/{session_name}",
        user_id=f"{rights.role_id}:{session_name}",
        access_key_id="",
        role_arn=rights.role_arn,
        permissions=rights.permissions,
        guarded=rights.guarded,
        tags=rights.tags,
    )
