"""Two accounts with the same names everywhere: for every operation, nothing of one is shown to or changed by the other.

The requests are made from the service models, so an operation that comes later is tried by itself. What is asked for
is the first account's: its ids, ARNs, keys and page tokens.
"""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError, ParamValidationError

from pilothouse.app import operations_of_the_house
from pilothouse.call import Caller
from pilothouse.capabilities import access
from pilothouse.capabilities.topics.tokens import token_of
from tests.capabilities.access.people import Device
from tests.capabilities.access.policies import allow, document
from tests.capabilities.commands.conftest import Fleet, _signatures_follow_the_clock
from tests.conftest import Aws, Server
from tests.gateway.test_node_rights import its
from tests.identity.strangers import filled

__all__ = ["_signatures_follow_the_clock"]

MINE, THEIRS = "belongs-to-first", "belongs-to-second"
TELLS_THE_ACCOUNT = {
    ("sts", "GetAccessKeyInfo"): "says whose a key is, to anybody who knows the key, as the cloud service does",
}
NOT_FOR_ACCOUNTS = {"GetManifest", "ListInstanceAssociations", "PutConfigurePackageResult", "RegisterManagedInstance",
                    "RequestManagedInstanceRoleToken", "UpdateInstanceAssociationStatus", "UpdateInstanceInformation",
                    "UpdateManagedInstancePublicKey"}  # fmt: skip
"""Operations of nodes, which are tried as another node elsewhere; clients of accounts have no model of some of them."""
TIER = "/ssm/parameter-store/default-parameter-tier"
NEW_TAGS = [{"Key": "same", "Value": "new"}]


BUCKETS = {MINE: "bucket-one", THEIRS: "bucket-two"}
HERE = {"LocationConstraint": "eu-west-1"}
AZURE = {"AzureConfiguration": dict.fromkeys(("TenantId", "ApplicationId"), "11111111-2222-3333-4444-555555555555")}
BY_TAG = {"Type": "TAG_FILTERS_1_0", "Query": json.dumps({"TagFilters": [{"Key": "same"}]})}
BY_HAND = [{"Type": "AWS::ResourceGroups::Generic"}]
PLAIN = {"Name": "/same/plain"}
DOCUMENT = {"Name": "Same-Document", "DocumentVersion": None, "VersionName": None}
STEPS = [{"action": "aws:runShellScript", "name": "run", "inputs": {"runCommand": ["true"]}}]
CONTENT = {"Content": json.dumps({"schemaVersion": "2.2", "mainSteps": STEPS}), "DocumentFormat": "JSON"}
KEPT = {
    "Name": "AWS-RunShellScript", "Parameters": {"commands": ["true"]}, "InstanceId": None,
    "Targets": [{"Key": "tag:none", "Values": ["x"]}],
}  # fmt: skip
CODES = {"AuthenticationCode1": "123456", "AuthenticationCode2": "654321"}
WINDOW = {
    "Name": "other", "Schedule": "rate(1 day)", "Duration": 3, "Cutoff": 1, "AllowUnassociatedTargets": False,
}  # fmt: skip
TARGET = {"ResourceType": "INSTANCE", "Targets": [{"Key": "tag:none", "Values": ["x"]}], "Name": "other"}
TASK = {
    "Name": "other", "TaskType": "RUN_COMMAND", "TaskArn": "AWS-RunShellScript", "MaxConcurrency": "1",
    "MaxErrors": "1", "TaskInvocationParameters": {"RunCommand": {"Parameters": {"commands": ["true"]}}},
}  # fmt: skip
NODE, ACCESS, RUN = "mi-0123456789abcdef0", "oi-0123456789ab", "1f1f1f1f-0000-0000-0000-000000000000"
ITEM = {"TypeName": "Custom:Other", "SchemaVersion": "1.0", "CaptureTime": "2026-11-30T00:00:00Z", "Content": []}
BETTER: dict[tuple[str, str], dict[str, Any]] = {
    ("iam", "CreateLoginProfile"): {"Password": "Some good 1"},
    ("iam", "CreateOpenIDConnectProvider"): {"Url": "https://other.example"},
    ("iam", "EnableMFADevice"): CODES,
    ("iam", "ResyncMFADevice"): CODES,
    ("kms", "GenerateDataKey"): {"NumberOfBytes": 32},
    ("kms", "GenerateDataKeyWithoutPlaintext"): {"NumberOfBytes": 32},
    ("kms", "GenerateRandom"): {"NumberOfBytes": 32},
    ("kms", "ReplicateKey"): {"ReplicaRegion": "us-west-2"},
    ("kms", "RetireGrant"): {"GrantToken": None},
    ("kms", "UpdatePrimaryRegion"): {"PrimaryRegion": "us-west-2"},
    ("logs", "DescribeLogStreams"): {"logGroupName": None},
    ("logs", "FilterLogEvents"): {"logGroupName": None},
    ("logs", "GetLogEvents"): {"logGroupName": None},
    ("logs", "UntagLogGroup"): {"tags": ["same"]},
    ("pilothouse", "ImportParameters"): {
        "Entries": [PLAIN | {"Type": "String", "Value": "x"}], "OnExisting": "overwrite",
    },
    ("pilothouse", "DecideAccessRequest"): {"AccessRequestId": ACCESS},
    ("pilothouse", "GetPatchSnapshotByTag"): {"InstanceId": NODE, "SnapshotId": RUN},
    ("pilothouse", "ListNodeStandings"): {"NodeIds": [NODE]},
    ("pilothouse", "PutAvailablePatches"): {"InstanceId": NODE},
    ("pilothouse", "ListTrashedParameters"): {"Path": "/same"},
    ("pilothouse", "MoveParameters"): {"Source": "/same", "Destination": "/other", "Recursive": True},
    ("pilothouse", "PlanCommand"): {
        "Targets": None, "InstanceIds": ["mi-0123456789abcdef0"], "DocumentName": "AWS-RunShellScript",
        "Parameters": {"commands": ["true"]},
    },
    ("pilothouse", "ReadParameters"): {"Names": ["/same/plain", "/same/secret"]},
    ("pilothouse", "RestoreParameters"): {"Path": "/same", "AsOf": datetime(2026, 1, 1, tzinfo=UTC)},
    ("pilothouse", "SignIn"): {"Password": f"A1!{THEIRS}"},
    ("s3", "CopyObject"): {"Bucket": BUCKETS[THEIRS]},
    ("s3", "CreateBucket"): {"CreateBucketConfiguration": HERE},
    ("s3", "PutBucketPolicy"): {"Policy": document(allow("s3:*", "arn:aws:s3:::bucket-one", Principal="*"))},
    ("secretsmanager", "CreateSecret"): {"Name": "other"},
    ("secretsmanager", "RemoveRegionsFromReplication"): {"RemoveReplicaRegions": ["us-west-2"]},
    ("sns", "CreateTopic"): {"Name": "other"},
    ("sns", "SetSubscriptionAttributes"): {"AttributeName": "RawMessageDelivery", "AttributeValue": "true"},
    ("ssm", "CreatePatchBaseline"): {"Name": "other", "OperatingSystem": "SUSE"},
    ("ssm", "DeleteInventory"): {"TypeName": "Custom:Other"},
    ("ssm", "DescribeInstancePatchStates"): {"InstanceIds": [NODE]},
    ("ssm", "GetAccessToken"): {"AccessRequestId": ACCESS},
    ("ssm", "GetDeployablePatchSnapshotForInstance"): {"SnapshotId": RUN},
    ("ssm", "GetExecutionPreview"): {"ExecutionPreviewId": RUN},
    ("ssm", "ListInventoryEntries"): {"TypeName": "Custom:Other"},
    ("ssm", "PutComplianceItems"): {
        "ResourceId": NODE, "ResourceType": "ManagedInstance", "ComplianceType": "Custom:Other", "Items": [],
    },
    ("ssm", "PutInventory"): {"Items": [ITEM]},
    ("ssm", "StartAccessRequest"): {"Targets": [{"Key": "InstanceIds", "Values": [NODE]}]},
    ("ssm", "UpdatePatchBaseline"): {"BaselineId": "pb-0123456789abcdef0", "Name": "other"},
    ("ssm", "CreateAssociation"): KEPT | {"Tags": None},
    ("ssm", "CreateAssociationBatch"): {"Entries": [{k: v for k, v in KEPT.items() if v is not None}]},
    ("ssm", "UpdateAssociation"): KEPT,
    ("ssm", "CreateMaintenanceWindow"): WINDOW,
    ("ssm", "UpdateMaintenanceWindow"): {"Name": "other"},
    ("ssm", "UpdateMaintenanceWindowTarget"): {"Name": "other"},
    ("ssm", "UpdateMaintenanceWindowTask"): {"Name": "other"},
    ("ssm", "RegisterTargetWithMaintenanceWindow"): TARGET,
    ("ssm", "RegisterTaskWithMaintenanceWindow"): TASK,
    ("ssm", "DescribeMaintenanceWindowSchedule"): {"ResourceType": "INSTANCE"},
    ("ssm", "DescribeMaintenanceWindowsForTarget"): {name: TARGET[name] for name in ("ResourceType", "Targets")},
    ("ssm", "DeleteAssociation"): {"Name": None, "InstanceId": None},
    ("ssm", "DescribeAssociation"): {"Name": None, "InstanceId": None},
    ("ssm", "UpdateAssociationStatus"): {
        "Name": "AWS-RunShellScript",
        "AssociationStatus": {"Date": datetime(2026, 1, 1, tzinfo=UTC), "Name": "Success", "Message": "x"},
    },
    ("ssm", "CreateActivation"): {"IamRole": "SameNodes"},
    ("ssm", "CreateDocument"): DOCUMENT | CONTENT | {"Tags": None},
    ("ssm", "DeleteDocument"): DOCUMENT,
    ("ssm", "DescribeDocumentPermission"): DOCUMENT,
    ("ssm", "DeleteParameter"): PLAIN,
    ("ssm", "LabelParameterVersion"): PLAIN,
    ("ssm", "ListDocumentMetadataHistory"): DOCUMENT,
    ("ssm", "ModifyDocumentPermission"): DOCUMENT | {"AccountIdsToAdd": ["123456789012"]},
    ("ssm", "PutParameter"): PLAIN | {"Tags": None, "Type": "String"},
    ("ssm", "SendCommand"): {
        "Targets": None, "InstanceIds": ["mi-0123456789abcdef0"], "Parameters": {"commands": ["true"]},
    },
    ("ssm", "UnlabelParameterVersion"): PLAIN,
    ("ssm", "UpdateDocument"): DOCUMENT | CONTENT,
    ("ssm", "UpdateDocumentDefaultVersion"): DOCUMENT | {"DocumentVersion": "1"},
    ("ssm", "UpdateDocumentMetadata"): DOCUMENT | {"DocumentReviews": {"Action": "SendForReview"}},
    ("ssm", "UpdateManagedInstanceRole"): {"IamRole": "SameNodes"},
}  # fmt: skip
"""What the model's words alone do not make a good request of."""


class Side:
    """One account, and what is in it."""

    def __init__(self, aws: Aws, key: access.AccountKey, mark: str) -> None:
        self.account, self._aws, self._key, self.mark = key.account_id, aws, key, mark
        self.ids: dict[str, dict[str, Any]] = {}
        self.better: dict[tuple[str, str], dict[str, Any]] = {}

    def __call__(self, service: str) -> Any:
        return self._aws(service, access_key=self._key.access_key_id, secret=self._key.secret)

    def furnish(self, server: Server) -> None:
        """The same names as everybody; what they hold bears the mark."""
        mark, tags = self.mark, [{"Key": "same", "Value": self.mark}]
        ssm, kms, secrets, iam, own, sns = (
            self(each) for each in ("ssm", "kms", "secretsmanager", "iam", "pilothouse", "sns")
        )  # fmt: skip
        key = kms.create_key(Description=mark, Tags=[{"TagKey": "same", "TagValue": mark}])["KeyMetadata"]
        kms.create_alias(AliasName="alias/same", TargetKeyId=key["KeyId"])
        cipher = kms.encrypt(KeyId=key["KeyId"], Plaintext=mark.encode())["CiphertextBlob"]
        ssm.put_parameter(Name="/same/plain", Value=mark, Type="String", Tier="Advanced", Description=mark)
        ssm.put_parameter(Name="/same/secret", Value=mark, Type="SecureString", KeyId=key["KeyId"])
        ssm.put_parameter(Name="/same/gone", Value=mark, Type="String")
        ssm.delete_parameter(Name="/same/gone")
        ssm.label_parameter_version(Name="/same/plain", Labels=["same"])
        ssm.add_tags_to_resource(ResourceType="Parameter", ResourceId="/same/plain", Tags=tags)
        user = iam.create_user(UserName="same", Tags=tags)["User"]
        access_key = iam.create_access_key(UserName="same")["AccessKey"]
        iam.create_login_profile(UserName="same", Password=f"A1!{mark}")
        iam.create_group(GroupName="same")
        iam.add_user_to_group(GroupName="same", UserName="same")
        policy = iam.create_policy(PolicyName="same", PolicyDocument=document(allow(f"ssm:{mark.replace('-', '')}")))
        trust = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": user["Arn"]}}
        role = iam.create_role(RoleName="same", AssumeRolePolicyDocument=document(trust), Description=mark)["Role"]
        for put, name in ((iam.put_user_policy, "UserName"), (iam.put_role_policy, "RoleName"),
                          (iam.put_group_policy, "GroupName")):  # fmt: skip
            put(**{name: "same"}, PolicyName="same", PolicyDocument=document(allow("ssm:*", Sid=mark.replace("-", ""))))
        iam.attach_user_policy(UserName="same", PolicyArn=policy["Policy"]["Arn"])
        iam.create_instance_profile(InstanceProfileName="same", Tags=tags)
        iam.add_role_to_instance_profile(InstanceProfileName="same", RoleName="same")
        provider = iam.create_open_id_connect_provider(Url="https://same.example", ClientIDList=[mark])
        device = Device(self._caller(), server, "same")
        iam.create_account_alias(AccountAlias=mark)
        iam.update_account_password_policy(MinimumPasswordLength=9)
        secret = secrets.create_secret(Name="same", SecretString=mark, Description=mark, Tags=tags)
        ssm.create_document(
            Name="Same-Document", Tags=tags, DisplayName=mark,
            Content=json.dumps({"schemaVersion": "2.2", "description": mark, "mainSteps": STEPS}),
        )  # fmt: skip
        activation = ssm.create_activation(IamRole="SameNodes", Description=mark, RegistrationLimit=5)
        command = ssm.send_command(
            DocumentName="AWS-RunShellScript", Parameters={"commands": [f"echo {mark}"]}, Comment=mark,
            Targets=[{"Key": "tag:none", "Values": ["x"]}],
        )["Command"]  # fmt: skip
        association = ssm.create_association(
            Name="AWS-RunShellScript", Parameters={"commands": [f"echo {mark}"]}, AssociationName=mark,
            Targets=[{"Key": "tag:none", "Values": ["x"]}], ScheduleExpression="rate(1 day)",
        )["AssociationDescription"]["AssociationId"]  # fmt: skip
        ssm.start_associations_once(AssociationIds=[association])
        window = self._window(mark)
        execution = ssm.describe_association_executions(AssociationId=association)["AssociationExecutions"][0]
        grant = kms.create_grant(KeyId=key["KeyId"], GranteePrincipal=user["Arn"], Operations=["Decrypt"])
        connector = ssm.create_cloud_connector(
            DisplayName="same", RoleArn=role["Arn"], Configuration=AZURE, Description=mark
        )  # fmt: skip
        topic = sns.create_topic(Name="same", Attributes={"DisplayName": mark}, Tags=tags)["TopicArn"]
        endpoint = "https://same.example/topic"
        subscribed = sns.subscribe(
            TopicArn=topic, Protocol="https", Endpoint=f"{endpoint}/{mark}", ReturnSubscriptionArn=True
        )["SubscriptionArn"]  # fmt: skip
        token = token_of(server.application.house, subscribed.rpartition(":")[2], 1 << 44)
        sns.confirm_subscription(TopicArn=topic, Token=token)  # so nothing is on its way to it
        hook = own.create_webhook(Url="https://same.example/hook")
        logs = self("logs")
        logs.create_log_group(logGroupName="same", tags={"same": mark})
        logs.create_log_stream(logGroupName="same", logStreamName="same")
        event = {"timestamp": int(datetime.now(UTC).timestamp() * 1000), "message": mark}
        logs.put_log_events(logGroupName="same", logStreamName="same", logEvents=[event])
        own.put_sign_in_provider(
            Name="same", OpenIDConnectProviderArn=provider["OpenIDConnectProviderArn"], ClientId=mark,
            RoleArns=[role["Arn"]],
        )  # fmt: skip
        group = f"arn:aws:logs:eu-west-1:{self.account}:log-group:same"
        groups = self("resource-groups")
        saved = groups.create_group(Name="same", Description=mark, ResourceQuery=BY_TAG, Tags={"same": mark})["Group"]
        groups.create_group(Name="hand", Description=mark, Configuration=BY_HAND)
        s3, bucket = self("s3"), BUCKETS[mark]  # names of buckets are everybody's
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration=HERE)
        s3.put_object(Bucket=bucket, Key="same", Body=mark.encode(), Metadata={"same": mark}, Tagging=f"same={mark}")
        s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": [{"Key": "same", "Value": mark}]})
        upload = s3.create_multipart_upload(Bucket=bucket, Key="same")["UploadId"]
        s3.upload_part(Bucket=bucket, Key="same", UploadId=upload, PartNumber=1, Body=mark.encode())
        parameter = f"arn:aws:ssm:eu-west-1:{self.account}:parameter/same/plain"
        hand = f"arn:aws:resource-groups:eu-west-1:{self.account}:group/hand"
        groups.group_resources(Group=hand, ResourceArns=[parameter])
        shared = {"Name": f"arn:aws:ssm:eu-west-1:{self.account}:document/Same-Document"}
        self.better = {
            ("ssm", name): shared for name in ("DescribeDocument", "GetDocument", "ListDocumentVersions")
        }  # fmt: skip
        self.better |= {
            ("resource-groups", name): {"Group": hand}
            for name in ("GetGroupConfiguration", "GroupResources", "PutGroupConfiguration", "UngroupResources")
        }
        named = {"UserName": "same", "GroupName": "same", "RoleName": "same", "InstanceProfileName": "same"}
        self.ids = {
            "ssm": {
                "Name": parameter, "Names": [parameter], "ResourceArn": parameter, "ResourceId": parameter,
                "ActivationId": activation["ActivationId"], "CommandId": command["CommandId"],
                "InstanceId": "mi-0123456789abcdef0", "ResourceType": "Parameter", "Path": "/same",
                "DocumentName": "AWS-RunShellScript", "Tags": NEW_TAGS, "TagKeys": ["same"], "Value": "x",
                "Overwrite": True, "WithDecryption": True, "Labels": ["same"], "ParameterVersion": 1,
                "SettingId": f"arn:aws:ssm:eu-west-1:{self.account}:servicesetting{TIER}",
                "SettingValue": "Advanced", "CloudConnectorId": connector["CloudConnectorId"], "Configuration": AZURE,
                "RoleArn": role["Arn"], "DisplayName": "same", "AssociationId": association,
                "AssociationIds": [association], "ExecutionId": execution["ExecutionId"], **window,
            },
            "secretsmanager": {
                "SecretId": secret["ARN"], "VersionId": secret["VersionId"], "RemoveFromVersionId": secret["VersionId"],
                "VersionStage": "AWSCURRENT", "SecretString": "x", "Name": secret["ARN"], "Tags": NEW_TAGS,
                "TagKeys": ["same"],
            },
            "kms": {
                "KeyId": key["Arn"], "TargetKeyId": key["Arn"], "SourceKeyId": key["Arn"],
                "DestinationKeyId": key["Arn"], "GrantId": grant["GrantId"], "GrantToken": grant["GrantToken"],
                "CiphertextBlob": cipher, "AliasName": "alias/same", "PolicyName": "default", "Policy": "{}",
                "GranteePrincipal": user["Arn"], "RetiringPrincipal": user["Arn"], "TagKeys": ["same"],
                "PendingWindowInDays": 7, "KeySpec": None,
            },
            "iam": {
                **named, "AccessKeyId": access_key["AccessKeyId"], "PolicyArn": policy["Policy"]["Arn"],
                "SerialNumber": device.serial, "PolicySourceArn": user["Arn"], "PolicyName": "same",
                "OpenIDConnectProviderArn": provider["OpenIDConnectProviderArn"], "AccountAlias": mark,
                "PermissionsBoundary": policy["Policy"]["Arn"], "VersionId": "v1", "Tags": NEW_TAGS,
                "TagKeys": ["same"],
                "PolicyDocument": document(allow("ssm:*")), "AssumeRolePolicyDocument": document(trust),
                "ActionNames": ["ssm:GetParameter"], "PolicyInputList": [document(allow("ssm:*"))],
            },
            "sts": {"RoleArn": role["Arn"], "RoleSessionName": "same", "AccessKeyId": access_key["AccessKeyId"]},
            "cloudtrail": {},
            "logs": {
                "logGroupName": "same", "logStreamName": "same", "logGroupIdentifier": group,
                "logGroupIdentifiers": [group], "resourceArn": group, "tags": {"same": "new"}, "tagKeys": ["same"],
                "retentionInDays": 1, "deletionProtectionEnabled": True,
            },
            "resource-groups": {
                "Group": saved["GroupArn"], "Arn": saved["GroupArn"], "Name": "other", "ResourceQuery": BY_TAG,
                "Tags": {"same": "new"}, "Keys": ["same"], "ResourceArns": [parameter], "Description": "x",
            },
            "ec2": {
                "InstanceIds": ["i-0123456789abcdef0"], "InstanceId": "i-0123456789abcdef0",
                "ImageId": "ami-0123456789abcdef0",
                "SnapshotId": "snap-0123456789abcdef0", "VolumeId": "vol-0123456789abcdef0", "Name": "same-image",
                "Resources": ["i-0123456789abcdef0"], "Tags": NEW_TAGS, "SourceImageId": "ami-0123456789abcdef0",
                "SourceRegion": "eu-west-1", "MinCount": 1, "MaxCount": 1,
            },
            "s3": {
                "Bucket": bucket, "Key": "same", "UploadId": upload, "PartNumber": 1, "CopySource": f"{bucket}/same",
                "Body": b"x", "ObjectAttributes": ["ETag"],
                "MultipartUpload": {"Parts": [{"PartNumber": 1, "ETag": "x"}]},
            },
            "sns": {
                "TopicArn": topic, "SubscriptionArn": subscribed, "ResourceArn": topic, "Endpoint": endpoint,
                "Protocol": "https", "Name": "same", "Message": "x", "Tags": NEW_TAGS, "TagKeys": ["same"],
                "AttributeName": "DisplayName", "AttributeValue": "x",
                "Token": token,
            },
            "pilothouse": {
                "WebhookId": hook["WebhookId"], "PrincipalArn": user["Arn"], "Account": self.account,
                "UserName": "same",
                "Action": "ssm:GetParameter", "Provider": "same", "RedirectUri": "http://127.0.0.1:9/x",
                "OpenIDConnectProviderArn": provider["OpenIDConnectProviderArn"], "RoleArns": [role["Arn"]],
                "Names": [parameter], "Name": "same",
                "CommandId": command["CommandId"], "InstanceId": "mi-0123456789abcdef0", "AssociationId": association,
                "WindowId": window["WindowId"],
            },
        }  # fmt: skip

    def _window(self, mark: str) -> dict[str, str]:
        """A maintenance window with an execution; what requests name of it."""
        ssm, own = self("ssm"), self("pilothouse")
        window = {"WindowId": ssm.create_maintenance_window(**WINDOW | {"Name": mark, "Description": mark})["WindowId"]}
        target = ssm.register_target_with_maintenance_window(**window, **TARGET, OwnerInformation=mark)
        target_id = target["WindowTargetId"]
        task = ssm.register_task_with_maintenance_window(
            **window, **TASK | {"Targets": [{"Key": "WindowTargetIds", "Values": [target_id]}], "Description": mark}
        )
        execution = {"WindowExecutionId": own.run_maintenance_window(**window)["WindowExecutionId"]}
        task_id = ssm.get_maintenance_window_execution(**execution)["TaskIds"][0]
        (invocation,) = ssm.describe_maintenance_window_execution_task_invocations(**execution, TaskId=task_id)[
            "WindowExecutionTaskInvocationIdentities"
        ]
        return {
            **window, **execution, "WindowTargetId": target_id, "WindowTaskId": task["WindowTaskId"],
            "TaskId": task_id, "InvocationId": invocation["InvocationId"],
        }  # fmt: skip

    def _caller(self) -> Any:
        return lambda service: self(service)


async def _rows(server: Server, account: str) -> dict[str, list[str]]:
    """Everything that the account has, table by table; when keys were used is written late, and left out."""
    found = {}
    async with server.application.house.database.reading() as tx:
        listed = "select name from sqlite_master where type = 'table'"
        if server.application.house.database.engine != "sqlite":
            listed = "select tablename as name from pg_tables where schemaname = current_schema()"
        tables = [row["name"] for row in await tx.rows(listed)]
        for table in sorted(tables):
            rows = [dict(row) for row in await tx.rows(f"select * from {table}")]
            own = [
                {name: value for name, value in row.items() if not name.startswith("used_")}
                for row in rows
                if row.get("account_id") == account
            ]
            if not table.startswith("audit") and table != "kms_key_use":
                found[table] = sorted(repr(row) for row in own)
    return found


@pytest.fixture
def sides(aws: Aws, server: Server) -> tuple[Side, Side]:
    first = Side(aws, server.application.root, MINE)
    second = Side(aws, server.run(access.create_account(server.application.house, "second")), THEIRS)
    first.furnish(server)
    second.furnish(server)
    return first, second


def _operations() -> list[tuple[str, str]]:
    return sorted(each for each in operations_of_the_house() if each[1] not in NOT_FOR_ACCOUNTS)


def _call(client: Any, name: str, members: dict[str, Any]) -> Any:
    return client._make_api_call(name, members)


def _token_of(side: Side, service: str, name: str) -> dict[str, str]:
    """A page token that the side got for the operation, where its list has more than one page."""
    client = side(service)
    shape = client.meta.service_model.operation_model(name).input_shape
    names = set(shape.members) if shape is not None else set()
    limit = names & {"MaxResults", "MaxItems", "Limit"}
    token = names & {"NextToken", "Marker"}
    if not limit or not token:
        return {}
    members = filled(shape, side.ids[service]) | {limit.pop(): 1}
    try:
        answer = _call(client, name, members)
    except (ClientError, ParamValidationError):
        return {}
    found = answer.get("NextToken") or answer.get("NextMarker") or answer.get("Marker")
    return {token.pop(): found} if found else {}


class Tried:
    """What came of the calls so far."""

    def __init__(self) -> None:
        self.answered, self.refused = 0, 0
        self.malformed: list[tuple[str, str, str]] = []

    def ask(self, client: Any, service: str, name: str, members: dict[str, Any]) -> Any:
        """The answer, or the error as it is told; none if no request could be made of it."""
        try:
            answer = _call(client, name, members)
        except ParamValidationError as error:
            self.malformed.append((service, name, str(error)))
            return None
        except ClientError as error:
            self.refused += 1
            answer = error.response
        else:
            self.answered += 1
        found = answer.get("Error", {})
        codes = ("ValidationException", "ValidationError", "SerializationException")
        if found.get("Code") in codes and not {"NextToken", "Marker"} & set(members):
            self.malformed.append((service, name, found["Message"]))
        return answer


def _text(value: Any) -> str:
    return json.dumps(value, default=lambda each: each.decode("latin-1") if isinstance(each, bytes) else str(each))


def test_nothing_crosses_for_any_operation(server: Server, sides: tuple[Side, Side]) -> None:
    first, second = sides
    before = server.run(_rows(server, first.account))
    assert sum(map(len, before.values())) > 40
    tried = Tried()
    for service, name in _operations():
        client = second(service)
        members = filled(client.meta.service_model.operation_model(name).input_shape, first.ids[service])
        members |= BETTER.get((service, name), {}) | first.better.get((service, name), {})
        members = {key: value for key, value in members.items() if value is not None}
        token = _token_of(first, service, name)
        for asked in [members, members | token] if token else [members]:
            answer = tried.ask(client, service, name, asked)
            if answer is None:
                continue
            assert answer["ResponseMetadata"]["HTTPStatusCode"] < 500, (service, name, answer)
            shown, said = _text(answer), _text(asked)
            assert MINE in said or MINE not in shown, (service, name, shown)
            told = (service, name) in TELLS_THE_ACCOUNT or first.account in said
            assert told or first.account not in shown, (service, name, shown)
        if not name.startswith(("Get", "List", "Describe")):
            after = server.run(_rows(server, first.account))
            assert {table: rows for table, rows in after.items() if rows != before[table]} == {}, (service, name)
    assert tried.answered > 60
    assert tried.refused > 90
    assert not tried.malformed, "; ".join(map(str, tried.malformed))


def test_nothing_crosses_for_any_verb_of_a_node(server: Server, aws: Aws, sides: tuple[Side, Side]) -> None:
    """The same for a node of the second account, whose role lets it do everything."""
    first, second = sides
    before = server.run(_rows(server, first.account))
    node = Fleet(server, lambda service, **_: second(service)).node(online=False)
    second("iam").put_role_policy(RoleName="NodeRole", PolicyName="all", PolicyDocument=document(allow("*")))
    tried = Tried()
    verbs = [name for name, operation in operations_of_the_house().items() if Caller.NODE in operation.callers]
    asked_of = {"ssm", "kms", "s3", "secretsmanager", "sts", "pilothouse"}
    for service, name in sorted(verbs):
        if name in NOT_FOR_ACCOUNTS or service not in asked_of:
            continue
        client = its(aws, node, service)
        members = filled(client.meta.service_model.operation_model(name).input_shape, first.ids[service])
        members |= BETTER.get((service, name), {})
        members = {key: value for key, value in members.items() if value is not None}
        answer = tried.ask(client, service, name, members)
        shown = _text(answer)
        assert MINE in _text(members) or MINE not in shown, (service, name, shown)
        assert first.account in _text(members) or first.account not in shown, (service, name, shown)
    assert server.run(_rows(server, first.account)) == before
    assert (tried.answered, tried.refused) == (2, 29)  # who it is, and what its own account has below the path
    assert not tried.malformed, "; ".join(map(str, tried.malformed))
