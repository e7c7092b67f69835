"""A command document on a node, or a runbook, sets and tries the new password. It is named by the words
`ssm-command:DOCUMENT@NODE` or `ssm-automation:DOCUMENT`, and gets the parameters Step, SecretId and ClientRequestToken.

What is asked goes through the operation table, as the role that the service has in every account. Whoever asks for the
rotation must be allowed to start the same, and to pass the role that a runbook acts as, where the rotation has one: the
service may then pass this role on, and no other.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from pilothouse.call import Call, House
from pilothouse.capabilities.secrets.model import InvalidParameterException, Secret
from pilothouse.capabilities.secrets.rotation_model import rotation_of
from pilothouse.capabilities.secrets.rotators.credentials import new_password
from pilothouse.capabilities.secrets.rotators.random_password import renewed
from pilothouse.capabilities.secrets.rotators.rotator import Done, StepFailed, Value, Waiting, Work
from pilothouse.errors import AccessDeniedException, ApiError
from pilothouse.identity.authorise import ask_each, guarded
from pilothouse.identity.permissions import Permissions, Source
from pilothouse.identity.principals import Principal
from pilothouse.storage import Transaction

_ROLE: Final = "AWSServiceRoleForSecretsManager"
_RIGHTS: Final = {
    "Effect": "Allow",
    "Action": [
        "ssm:SendCommand", "ssm:GetCommandInvocation", "ssm:StartAutomationExecution", "ssm:GetAutomationExecution",
        "ssm:DescribeDocument",
    ],
    "Resource": "*",
}  # fmt: skip
_PASSED_TO: Final = {"iam:PassedToService": "ssm.amazonaws.com"}
_ROLE_PARAMETER: Final = "AutomationAssumeRole"
_AGAIN_MS: Final = 2000
_ROLE_ARN: Final = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]{1,512}", re.ASCII)
"""Without the characters that policies take for more than themselves."""
_ENDED_WELL: Final = "Success"
_GOES_ON: Final = frozenset({"Pending", "InProgress", "Delayed", "Waiting", "Cancelling", "Approved", "Scheduled"})


def _passed_role(secret: Secret) -> str:
    """The ARN of the role that may be passed for the rotation; empty for none."""
    rotation = rotation_of(secret)
    return "" if rotation is None else rotation.external_role


def _rights(role: str) -> str:
    statements: list[dict[str, Any]] = [_RIGHTS]
    if role:
        passing = {"Effect": "Allow", "Action": "iam:PassRole", "Resource": role}
        statements.append({**passing, "Condition": {"StringEquals": _PASSED_TO}})
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


async def _actor(house: House, tx: Transaction, secret: Secret) -> Principal:
    account = secret.account_id
    document = _rights(_passed_role(secret))
    rights = Permissions.of([Source(kind="managed", name=_ROLE, document=document)])
    return Principal(
        kind="session",
        account_id=account,
        arn=f"arn:aws:sts::{account}:assumed-role/{_ROLE}/rotation",
        user_id=f"{_ROLE}:rotation",
        access_key_id="",
        role_arn=f"arn:aws:iam::{account}:role/aws-service-role/secretsmanager.amazonaws.com/{_ROLE}",
        permissions=rights,
        guarded=await guarded(house, tx, account),
    )


class _Elsewhere:
    """What commands and runbooks have in common: one is started, then looked after until it has ended."""

    remote = False
    reversible = True
    denied = ""
    """What may be the matter where the service was not allowed to start it."""

    async def create(self, work: Work) -> Value:
        return renewed(work.current, new_password(work.house.ids))

    async def take(self, work: Work) -> Done | Waiting:
        try:
            async with work.house.database.transaction() as tx:
                who = await _actor(work.house, tx, work.secret)
                if not work.outside_id:
                    outside_id = await self._start(work, tx, who)
                    return Waiting(outside_id, _AGAIN_MS, f"started {outside_id}")
                status = await self._status(work, tx, who)
        except ApiError as error:
            why = f"it cannot be asked: {error.code}{self.denied if isinstance(error, AccessDeniedException) else ''}"
            raise StepFailed(why, final=not work.outside_id) from error
        if status in _GOES_ON:
            return Waiting(work.outside_id, _AGAIN_MS)
        if status != _ENDED_WELL:
            raise StepFailed(f"{work.outside_id} ended as {status}; its own output says why")
        return Done(f"{work.outside_id} ended as {status}")

    async def _ask(
        self, work: Work, tx: Transaction, who: Principal, name: str, request: Mapping[str, Any]
    ) -> dict[str, Any]:
        return await work.house.inside.asked(tx, who, work.secret.region, ("ssm", name), dict(request))

    def _parameters(self, work: Work) -> dict[str, list[str]]:
        return {
            "Step": [work.step.value], "SecretId": [work.secret.arn], "ClientRequestToken": [work.version_id],
        }  # fmt: skip

    async def _start(self, work: Work, tx: Transaction, who: Principal) -> str:
        raise NotImplementedError

    async def _status(self, work: Work, tx: Transaction, who: Principal) -> str:
        raise NotImplementedError


class NodeCommand(_Elsewhere):
    """A document of type Command on one node."""

    def __init__(self, document: str, node_id: str) -> None:
        self._document, self._node_id = document, node_id

    async def admit(self, call: Call, tx: Transaction, secret: Secret) -> None:
        place = f"arn:aws:ssm:{call.region}:{call.account_id}"
        document = f"{place}:document/{self._document}"
        if self._document.startswith("AWS-"):
            document = f"arn:aws:ssm:{call.region}::document/{self._document}"
        await ask_each(call, tx, "ssm:SendCommand", [document, f"{place}:managed-instance/{self._node_id}"])

    async def _start(self, work: Work, tx: Transaction, who: Principal) -> str:
        request = {
            "DocumentName": self._document,
            "InstanceIds": [self._node_id],
            "Parameters": self._parameters(work),
            "TimeoutSeconds": 600,
            "Comment": "rotation of a secret",
        }
        return str((await self._ask(work, tx, who, "SendCommand", request))["Command"]["CommandId"])

    async def _status(self, work: Work, tx: Transaction, who: Principal) -> str:
        request = {"CommandId": work.outside_id, "InstanceId": self._node_id}
        return str((await self._ask(work, tx, who, "GetCommandInvocation", request))["Status"])


class Runbook(_Elsewhere):
    """A document of type Automation."""

    denied = "; it may act as no other role than the one that ExternalSecretRotationRoleArn names"

    def __init__(self, document: str) -> None:
        self._document = document

    async def admit(self, call: Call, tx: Transaction, secret: Secret) -> None:
        runbook = f"arn:aws:ssm:{call.region}:{call.account_id}:automation-definition/{self._document}:$DEFAULT"
        await ask_each(call, tx, "ssm:StartAutomationExecution", [runbook])
        if role := _passed_role(secret):
            if not _ROLE_ARN.fullmatch(role) or role.split(":")[4] != secret.account_id:
                raise InvalidParameterException(
                    f"ExternalSecretRotationRoleArn must be the ARN of a role of the account {secret.account_id}."
                )
            await ask_each(call, tx, "iam:PassRole", [role], _PASSED_TO)

    async def _start(self, work: Work, tx: Transaction, who: Principal) -> str:
        parameters = self._parameters(work)
        if role := _passed_role(work.secret):
            described = await self._ask(work, tx, who, "DescribeDocument", {"Name": self._document})
            names = [each["Name"] for each in described["Document"].get("Parameters") or ()]
            parameters |= {_ROLE_PARAMETER: [role]} if _ROLE_PARAMETER in names else {}
        request = {"DocumentName": self._document, "Parameters": parameters}
        return str((await self._ask(work, tx, who, "StartAutomationExecution", request))["AutomationExecutionId"])

    async def _status(self, work: Work, tx: Transaction, who: Principal) -> str:
        request = {"AutomationExecutionId": work.outside_id}
        execution = (await self._ask(work, tx, who, "GetAutomationExecution", request))["AutomationExecution"]
        return str(execution["AutomationExecutionStatus"])
