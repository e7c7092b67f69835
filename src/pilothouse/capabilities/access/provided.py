"""Managed policies that every account has, by the names that users of the cloud service know; the content is ours."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pilothouse.capabilities.access.model import ManagedPolicy

OWNER: Final = "aws"
"""Stands where the account is in their ARNs."""
_MADE_AT: Final = 1_767_225_600_000


def _allow(actions: str | Sequence[str], resource: str | Sequence[str] = "*", **condition: Any) -> dict[str, Any]:
    statement: dict[str, Any] = {"Effect": "Allow", "Action": actions, "Resource": resource}
    return statement | ({"Condition": condition} if condition else {})


def _passes(service: str) -> dict[str, Any]:
    return _allow("iam:PassRole", StringEquals={"iam:PassedToService": service})


_NODE_CHANNELS: Final = _allow(
    [f"ssmmessages:{name}" for name in
     ("CreateControlChannel", "CreateDataChannel", "OpenControlChannel", "OpenDataChannel")]
)  # fmt: skip
_NODE_MESSAGES: Final = _allow(
    [f"ec2messages:{name}" for name in
     ("AcknowledgeMessage", "DeleteMessage", "FailMessage", "GetEndpoint", "GetMessages", "SendReply")]
)  # fmt: skip
_PATCHES: Final = _allow([
    "ssm:DescribePatchBaselines", "ssm:GetPatchBaseline", "ssm:GetDefaultPatchBaseline",
    "ssm:GetPatchBaselineForPatchGroup", "ssm:DescribeEffectivePatchesForPatchBaseline",
    "ssm:GetDeployablePatchSnapshotForInstance", "ssm:DescribeInstancePatches", "ssm:DescribeInstancePatchStates",
])  # fmt: skip
_POLICIES: Final[Mapping[str, tuple[str, str, list[dict[str, Any]]]]] = {
    "AdministratorAccess": ("/", "Everything in the account.", [_allow("*")]),
    "IAMFullAccess": ("/", "Users, roles and policies.", [_allow("iam:*")]),
    "IAMReadOnlyAccess": (
        "/", "Looking at users, roles and policies.", [_allow(["iam:Get*", "iam:List*", "iam:Simulate*"])],
    ),
    "ReadOnlyAccess": (
        "/", "Looking at everything but the values of secrets.",
        [_allow(["ssm:Describe*", "ssm:Get*", "ssm:List*", "secretsmanager:Describe*", "secretsmanager:List*",
                 "secretsmanager:GetResourcePolicy", "kms:Describe*", "kms:List*", "kms:GetKeyPolicy",
                 "kms:GetKeyRotationStatus", "iam:Get*", "iam:List*", "cloudtrail:LookupEvents", "logs:Describe*",
                 "logs:Get*", "logs:List*", "logs:FilterLogEvents", "logs:StartLiveTail", "sns:Get*", "sns:List*"])],
    ),
    "AmazonSSMFullAccess": (
        "/", "Everything of Systems Manager, with its channels.",
        [_allow(["ssm:*", "ssmmessages:*", "ec2messages:*"]), _passes("ssm.amazonaws.com")],
    ),
    "AmazonSSMReadOnlyAccess": (
        "/", "Looking at everything of Systems Manager.", [_allow(["ssm:Describe*", "ssm:Get*", "ssm:List*"])],
    ),
    "AmazonSSMManagedInstanceCore": (
        "/", "What a managed node needs.",
        [_allow([f"ssm:{name}" for name in (
            "DescribeAssociation", "GetDeployablePatchSnapshotForInstance", "GetDocument", "DescribeDocument",
            "GetManifest", "GetParameter", "GetParameters", "ListAssociations", "ListInstanceAssociations",
            "PutInventory", "PutComplianceItems", "PutConfigurePackageResult", "UpdateAssociationStatus",
            "UpdateInstanceAssociationStatus", "UpdateInstanceInformation")]),
         _NODE_CHANNELS, _NODE_MESSAGES],
    ),
    "CloudWatchAgentServerPolicy": (
        "/", "What a node needs besides, to send its logs and the output of commands.",
        [_allow([f"logs:{name}" for name in (
            "PutLogEvents", "PutRetentionPolicy", "DescribeLogStreams", "DescribeLogGroups", "CreateLogStream",
            "CreateLogGroup")]),
         _allow("ssm:GetParameter", "arn:aws:ssm:*:*:parameter/AmazonCloudWatch-*")],
    ),
    "CloudWatchLogsFullAccess": ("/", "Everything of logs.", [_allow("logs:*")]),
    "CloudWatchLogsReadOnlyAccess": (
        "/", "Looking at logs.",
        [_allow(["logs:Describe*", "logs:Get*", "logs:List*", "logs:FilterLogEvents", "logs:StartLiveTail"])],
    ),
    "AmazonS3FullAccess": ("/", "Everything of buckets and objects.", [_allow("s3:*")]),
    "AmazonS3ReadOnlyAccess": ("/", "Looking at buckets, and reading objects.", [_allow(["s3:Get*", "s3:List*"])]),
    "AmazonSNSFullAccess": ("/", "Everything of topics.", [_allow("sns:*")]),
    "AmazonSNSReadOnlyAccess": ("/", "Looking at topics.", [_allow(["sns:Get*", "sns:List*"])]),
    "AmazonSSMPatchAssociation": ("/", "What a node needs besides, to be patched.", [_PATCHES]),
    "AmazonSSMAutomationRole": (
        "/service-role/", "What runbooks commonly do.",
        [_allow("ssm:*"), _passes("ssm.amazonaws.com")],
    ),
    "AmazonSSMMaintenanceWindowRole": (
        "/service-role/", "What tasks of maintenance windows commonly do.",
        [_allow(["ssm:CancelCommand", "ssm:GetAutomationExecution", "ssm:GetCommandInvocation", "ssm:GetParameters",
                 "ssm:ListCommandInvocations", "ssm:ListCommands", "ssm:SendCommand",
                 "ssm:StartAutomationExecution", "ssm:ListTagsForResource"])],
    ),
    "SecretsManagerReadWrite": (
        "/", "Everything of Secrets Manager, with the keys that it uses.",
        [_allow(["secretsmanager:*", "kms:DescribeKey", "kms:ListAliases", "kms:ListKeys"])],
    ),
}  # fmt: skip


def _made(name: str) -> tuple[ManagedPolicy, str]:
    path, description, statements = _POLICIES[name]
    policy = ManagedPolicy(
        account_id=OWNER, name=name, path=path, policy_id=f"ANPA{name.upper()[:17]:A<17}", description=description,
        default_version=1, last_version=1, created_at=_MADE_AT, updated_at=_MADE_AT,
    )  # fmt: skip
    return policy, json.dumps({"Version": "2012-10-17", "Statement": statements}, indent=2)


_ALL: Final = {policy.arn: (policy, document) for policy, document in map(_made, sorted(_POLICIES))}


def provided(arn: str) -> tuple[ManagedPolicy, str] | None:
    """A provided policy and its document, or None."""
    return _ALL.get(arn)


def all_provided() -> list[ManagedPolicy]:
    """By name."""
    return [policy for policy, _ in _ALL.values()]
