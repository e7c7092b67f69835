"""What of a request or an answer stands in its audit record: what the lists here name, and nothing else.

Numbers, truth values and times are always shown. Texts are shown under the names listed; whatever else a member is
called, also one that does not exist yet, its value is replaced: a new member that holds a secret stays out by itself.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from types import NoneType
from typing import Any, Final

_PLAIN: Final = (bool, int, float, NoneType)
HIDDEN: Final = "HIDDEN_DUE_TO_SECURITY_REASONS"

SHOWN: Final = frozenset(
    [
        "ACL",
        "ARN",
        "AWSAccountId",
        "AccessKeyId",
        "AccessRequestId",
        "AccessRequestStatus",
        "AccountAlias",
        "AccountId",
        "Action",
        "ActivationId",
        "AgentName",
        "AgentStatus",
        "AgentVersion",
        "AliasArn",
        "AliasName",
        "Algorithm",
        "AllowedPattern",
        "Arn",
        "AssociationId",
        "AssumeRolePolicyDocument",
        "AssumedRoleId",
        "AttributeName",
        "AutomationExecutionId",
        "AvailabilityZone",
        "AvailabilityZoneId",
        "Bucket",
        "ChecksumAlgorithm",
        "ClientIDList",
        "ClientID",
        "ClientRequestToken",
        "CloudHsmClusterId",
        "CloudWatchLogGroupName",
        "CommandId",
        "Comment",
        "ComputerName",
        "ContentType",
        "CopySource",
        "CurrentKeyMaterialId",
        "CustomKeyStoreId",
        "CustomKeyStoreName",
        "CustomerMasterKeySpec",
        "DataType",
        "Decision",
        "DefaultInstanceName",
        "DefaultVersionId",
        "DeletionMode",
        "Delimiter",
        "Description",
        "DestinationEncryptionAlgorithm",
        "DestinationKeyId",
        "Document",
        "DocumentFormat",
        "DocumentHash",
        "DocumentHashType",
        "DocumentName",
        "DocumentVersion",
        "ETag",
        "EncryptionAlgorithm",
        "EncryptionAlgorithms",
        "EntityFilter",
        "ErrorCode",
        "ExpirationModel",
        "ExternalId",
        "FilterKey",
        "FilterValues",
        "GrantId",
        "GranteePrincipal",
        "GranteeServicePrincipal",
        "Group",
        "GroupArn",
        "GroupId",
        "GroupName",
        "IPAddress",
        "IamRole",
        "Id",
        "ImportType",
        "InstanceId",
        "InstanceIds",
        "InstanceProfileId",
        "InstanceProfileName",
        "Key",
        "Keys",
        "KeyAgreementAlgorithm",
        "KeyId",
        "KeyManager",
        "KeyMaterialDescription",
        "KeyMaterialId",
        "KeyPairSpec",
        "KeySpec",
        "KeyState",
        "KeyUsage",
        "KmsKeyId",
        "Labels",
        "LastModifiedUser",
        "LocationConstraint",
        "MacAlgorithm",
        "MaxConcurrency",
        "MaxErrors",
        "MessageId",
        "MessageStructure",
        "MessageType",
        "MoveToVersionId",
        "MultiRegionKeyType",
        "Name",
        "Names",
        "NewGroupName",
        "NewPath",
        "NewPublicKeyType",
        "NewUserName",
        "NotificationArn",
        "NotificationEvents",
        "NotificationType",
        "Operation",
        "Operations",
        "OpenIDConnectProviderArn",
        "Origin",
        "OutputS3BucketName",
        "OutputS3KeyPrefix",
        "OutputS3Region",
        "PackageName",
        "PackageVersion",
        "Path",
        "PathPrefix",
        "PermissionsBoundary",
        "PermissionsBoundaryArn",
        "PermissionsBoundaryType",
        "PlatformName",
        "PlatformType",
        "PlatformVersion",
        "Policies",
        "Policy",
        "PolicyArn",
        "PolicyArns",
        "PolicyDocument",
        "PolicyHash",
        "PolicyId",
        "PolicyName",
        "Prefix",
        "PrimaryRegion",
        "Principal",
        "PrincipalArn",
        "ProviderArn",
        "ProviderId",
        "PublicKeyType",
        "Query",
        "Reason",
        "Region",
        "RemoveFromVersionId",
        "RemovedLabels",
        "ReplicaPolicy",
        "ReplicaRegion",
        "ResourceArn",
        "ResourceArns",
        "ResourceId",
        "ResourceType",
        "RetiringPrincipal",
        "RetiringServicePrincipal",
        "RoleArn",
        "RotationLambdaARN",
        "RoleId",
        "RoleName",
        "RoleSessionName",
        "SSMConnectionChannel",
        "Scope",
        "SecretId",
        "SerialNumber",
        "ServiceRole",
        "ServiceRoleArn",
        "SettingId",
        "SettingValue",
        "SignalType",
        "SigningAlgorithm",
        "SourceArn",
        "SourceEncryptionAlgorithm",
        "SourceIdentity",
        "SourceKeyId",
        "StartTime",
        "SessionId",
        "State",
        "Status",
        "StatusDetails",
        "TargetId",
        "TargetKeyId",
        "Tier",
        "TransitiveTagKeys",
        "Type",
        "UploadId",
        "UserId",
        "UserName",
        "VersionId",
        "VersionName",
        "VersionStage",
        "VersionStages",
        "WebhookId",
        "WrappingAlgorithm",
        "WrappingKeySpec",
        "Severity",
        "Category",
        "Target",
        "SubjectFromWebIdentityToken",
        "Audience",
        "Protocol",
        "Provider",
        "SubscriptionArn",
        "Succeeded",
        "TargetArn",
        "TopicArn",
        "arn",
        "AccountName",
        "AccountIdsToAdd",
        "AccountIdsToRemove",
        "ApprovedVersion",
        "Author",
        "DefaultVersion",
        "DefaultVersionName",
        "DisplayName",
        "DocumentType",
        "Hash",
        "HashType",
        "LatestVersion",
        "Owner",
        "PendingReviewVersion",
        "PermissionType",
        "PlatformTypes",
        "RequireType",
        "ReviewStatus",
        "Reviewer",
        "SchemaVersion",
        "SharedDocumentVersion",
        "TargetType",
        "Version",
        "kmsKeyId",
        "logGroupClass",
        "logGroupIdentifier",
        "logGroupIdentifiers",
        "logGroupName",
        "logStreamName",
        "logStreamNames",
        "logStreamNamePrefixes",
        "resourceArn",
        "CutoffBehavior",
        "EndDate",
        "Schedule",
        "ScheduleTimezone",
        "StartDate",
        "TaskArn",
        "TaskType",
        "WindowExecutionId",
        "WindowId",
        "WindowTargetId",
        "WindowTaskId",
    ]
)
"""Members whose texts, and lists of texts, are shown."""

WHOLE: Final = frozenset(
    [
        "Tags",
        "TagKeys",
        "tags",
        "tagKeys",
        "Targets",
        "EncryptionContext",
        "SourceEncryptionContext",
        "DestinationEncryptionContext",
        "Constraints",
    ]
)
"""Members that are shown with all that is in them."""


def shown(value: Any, hidden: set[str], *, name: str = "", whole: bool = False) -> Any:
    """The value as it may stand in a record, with member names as CloudTrail writes them. `hidden` takes the texts that
    were replaced."""
    if isinstance(value, str):
        if whole or name in SHOWN:
            return value
        hidden.add(value)
        return HIDDEN
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds").replace("+00:00", "Z")
    if isinstance(value, Mapping):
        if whole:
            return {key: shown(part, hidden, name=key, whole=True) for key, part in value.items()}
        if name and not all(key[:1].isupper() or key == "arn" for key in value):  # a map, not a structure
            return _replaced(value, hidden)
        return {_lower(key): shown(part, hidden, name=key, whole=key in WHOLE) for key, part in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [shown(part, hidden, name=name, whole=whole) for part in value]
    return _replaced(value, hidden)


def quotes(message: str, hidden: set[str]) -> bool:
    """Whether an error's text holds a piece of a value that was replaced."""
    for text in hidden:
        width = min(8, len(text))
        if width and any(message[start : start + width] in text for start in range(len(message) - width + 1)):
            return True
    return False


def _replaced(value: Any, hidden: set[str]) -> str:
    if isinstance(value, str):
        hidden.add(value)
    elif isinstance(value, Mapping):
        for part in value.values():
            _replaced(part, hidden)
    elif isinstance(value, Sequence) and not isinstance(value, bytes):
        for part in value:
            _replaced(part, hidden)
    return HIDDEN


@lru_cache(maxsize=4096)
def _lower(name: str) -> str:
    return name[:1].lower() + name[1:]
