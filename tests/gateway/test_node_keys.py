"""What scripts on a node do with its credentials beyond an agent's work: only what its role and the key allow."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.capabilities.commands.conftest import REGION, Fleet, Node, Until
from tests.conftest import Aws, Server
from tests.gateway.test_node_rights import ROLE, connected, document, its

from pilothouse.app import operations_of_the_house
from pilothouse.call import Caller
from pilothouse.capabilities import access

VERBS = {
    ("ec2messages", "AcknowledgeMessage"), ("ec2messages", "DeleteMessage"), ("ec2messages", "FailMessage"),
    ("ec2messages", "GetEndpoint"), ("ec2messages", "GetMessages"), ("ec2messages", "SendReply"),
    ("kms", "Decrypt"), ("kms", "DescribeKey"), ("kms", "Encrypt"), ("kms", "GenerateDataKey"),
    ("logs", "CreateLogGroup"), ("logs", "CreateLogStream"), ("logs", "DescribeLogGroups"),
    ("logs", "DescribeLogStreams"), ("logs", "PutLogEvents"),
    ("pilothouse", "GetPatchSnapshotByTag"), ("pilothouse", "PutAvailablePatches"),
    ("s3", "AbortMultipartUpload"), ("s3", "CompleteMultipartUpload"), ("s3", "CreateMultipartUpload"),
    ("s3", "GetBucketEncryption"), ("s3", "GetBucketLocation"), ("s3", "GetObject"), ("s3", "HeadBucket"),
    ("s3", "HeadObject"), ("s3", "ListObjects"), ("s3", "ListObjectsV2"), ("s3", "ListParts"), ("s3", "PutObject"),
    ("s3", "PutObjectAcl"), ("s3", "UploadPart"),
    ("secretsmanager", "DescribeSecret"), ("secretsmanager", "GetSecretValue"),
    ("ssm", "DescribeDocument"), ("ssm", "GetDeployablePatchSnapshotForInstance"), ("ssm", "GetDocument"),
    ("ssm", "GetManifest"), ("ssm", "GetParameter"), ("ssm", "GetParameters"), ("ssm", "GetParametersByPath"),
    ("ssm", "ListInstanceAssociations"), ("ssm", "PutComplianceItems"), ("ssm", "PutConfigurePackageResult"),
    ("ssm", "PutInventory"), ("ssm", "RequestManagedInstanceRoleToken"), ("ssm", "UpdateInstanceAssociationStatus"),
    ("ssm", "UpdateInstanceInformation"), ("ssm", "UpdateManagedInstancePublicKey"), ("sts", "GetCallerIdentity"),
}  # fmt: skip


def test_the_verbs_of_nodes_are_these(server: Server) -> None:
    """Whoever adds one has to say so here, in docs/reference/nodes.md, and try it as another node."""
    table = operations_of_the_house(*server.application.edge.operations)
    assert {name for name, operation in table.items() if Caller.NODE in operation.callers} == VERBS


def tries(kms: Any, key: str, blob: bytes) -> dict[str, Callable[[], Any]]:
    return {
        "DescribeKey": lambda: kms.describe_key(KeyId=key),
        "Encrypt": lambda: kms.encrypt(KeyId=key, Plaintext=b"x"),
        "Decrypt": lambda: kms.decrypt(CiphertextBlob=blob, KeyId=key),
        "GenerateDataKey": lambda: kms.generate_data_key(KeyId=key, NumberOfBytes=32),
    }


def outcome(call: Callable[[], Any]) -> str:
    """Empty, or why it was refused; any other error is raised."""
    try:
        call()
    except ClientError as error:
        if error.response["Error"]["Code"] != "AccessDeniedException":
            raise
        return str(error.response["Error"]["Message"])
    return ""


def allow(iam: Any, action: str, resource: str = "*", **condition: Any) -> None:
    iam.put_role_policy(
        RoleName=ROLE, PolicyName="one", PolicyDocument=document("Allow", action, resource, **condition)
    )


@pytest.fixture
def key(aws: Aws) -> tuple[str, bytes]:
    """A key of the account with the default policy, and a ciphertext under it."""
    kms = aws("kms", region=REGION)
    arn = kms.create_key(Tags=[{"TagKey": "env", "TagValue": "dev"}])["KeyMetadata"]["Arn"]
    return arn, kms.encrypt(KeyId=arn, Plaintext=b"x")["CiphertextBlob"]


def test_a_node_uses_keys_as_its_role_allows(aws: Aws, fleet: Fleet, key: tuple[str, bytes]) -> None:
    calls = tries(its(aws, fleet.node(online=False), "kms"), *key)
    for name, call in calls.items():
        assert f"because no identity-based policy allows the kms:{name} action" in outcome(call)
    iam = aws("iam")
    for name in calls:
        allow(iam, f"kms:{name}", key[0])
        assert [other for other, call in calls.items() if not outcome(call)] == [name]
    allow(iam, "kms:*", key[0].replace(":key/", ":key/0"))
    assert all(outcome(call) for call in calls.values())
    allow(iam, "kms:*", StringEquals={"aws:ResourceTag/env": "prod"})
    assert all(outcome(call) for call in calls.values())
    allow(iam, "kms:*", StringEquals={"aws:ResourceTag/env": "dev"})
    assert not any(outcome(call) for call in calls.values())
    context = {"aws:ssm:SessionId": "s-1"}
    kms = its(aws, fleet.node(online=False), "kms")
    made = kms.generate_data_key(KeyId=key[0], NumberOfBytes=64, EncryptionContext=context)
    opened = kms.decrypt(CiphertextBlob=made["CiphertextBlob"], EncryptionContext=context)
    assert opened["Plaintext"] == made["Plaintext"]


def test_key_policies_and_grants_are_asked_for_nodes_too(aws: Aws, fleet: Fleet, key: tuple[str, bytes]) -> None:
    node = fleet.node(online=False)
    calls = tries(its(aws, node, "kms"), *key)
    iam, kms = aws("iam"), aws("kms", region=REGION)
    role = iam.get_role(RoleName=ROLE)["Role"]["Arn"]
    default = json.loads(kms.get_key_policy(KeyId=key[0])["Policy"])["Statement"]

    def put(*statements: dict[str, Any]) -> None:
        text = json.dumps({"Version": "2012-10-17", "Statement": [*default, *statements]})
        kms.put_key_policy(KeyId=key[0], Policy=text)

    statement = {"Effect": "Allow", "Principal": {"AWS": role}, "Action": "kms:Decrypt", "Resource": "*"}
    put(statement)
    assert [name for name, call in calls.items() if not outcome(call)] == ["Decrypt"]
    put(statement | {"Effect": "Deny"})
    allow(iam, "kms:*")
    assert "explicit deny in a resource-based policy" in outcome(calls["Decrypt"])
    assert not outcome(calls["Encrypt"])
    iam.delete_role_policy(RoleName=ROLE, PolicyName="one")
    put()
    kms.create_grant(KeyId=key[0], GranteePrincipal=role, Operations=["Encrypt"])
    assert [name for name, call in calls.items() if not outcome(call)] == ["Encrypt"]


def test_the_rest_of_the_keys_stays_closed(aws: Aws, fleet: Fleet, key: tuple[str, bytes]) -> None:
    kms = its(aws, fleet.node(online=False), "kms")
    allow(aws("iam"), "*")
    for call in (
        lambda: kms.create_key(),
        lambda: kms.list_keys(),
        lambda: kms.re_encrypt(CiphertextBlob=key[1], DestinationKeyId=key[0]),
        lambda: kms.generate_data_key_without_plaintext(KeyId=key[0], NumberOfBytes=32),
        lambda: kms.get_key_policy(KeyId=key[0]),
        lambda: kms.put_key_policy(KeyId=key[0], Policy="{}"),
        lambda: kms.create_grant(KeyId=key[0], GranteePrincipal="arn:aws:iam::111122223333:root", Operations=["Sign"]),
        lambda: kms.schedule_key_deletion(KeyId=key[0]),
    ):
        assert outcome(call).startswith("User: arn:aws:sts::")


def test_a_node_of_another_account_needs_both_sides(
    server: Server, aws: Aws, fleet: Fleet, key: tuple[str, bytes]
) -> None:
    other = server.run(access.create_account(server.application.house, "other"))

    def theirs(service: str, **more: Any) -> Any:
        return aws(service, region=REGION, **{"access_key": other.access_key_id, "secret": other.secret} | more)

    node = Fleet(server, theirs).node(online=False)
    calls = tries(its(aws, node, "kms"), *key)
    allow(theirs("iam"), "*")
    for call in calls.values():
        assert "because the resource does not exist in this Region" in outcome(call)
    kms = aws("kms", region=REGION)
    default = json.loads(kms.get_key_policy(KeyId=key[0])["Policy"])["Statement"]
    shared = {"Effect": "Allow", "Principal": {"AWS": other.account_id}, "Action": "kms:Decrypt", "Resource": "*"}
    kms.put_key_policy(KeyId=key[0], Policy=json.dumps({"Version": "2012-10-17", "Statement": [*default, shared]}))
    assert [name for name, call in calls.items() if not outcome(call)] == ["Decrypt"]
    theirs("iam").delete_role_policy(RoleName=ROLE, PolicyName="one")
    assert outcome(calls["Decrypt"])


def test_policies_may_ask_which_node_it_is(server: Server, aws: Aws, fleet: Fleet, until: Until) -> None:
    one, other = fleet.node(), fleet.node()
    aws("secretsmanager", region=REGION).create_secret(Name="s", SecretString="s")
    account = server.application.root.account_id
    arn = f"arn:aws:ssm:{REGION}:{account}:managed-instance/{one.id}"
    allow(aws("iam"), "secretsmanager:GetSecretValue", ArnEquals={"ssm:SourceInstanceARN": arn})
    assert its(aws, one, "secretsmanager").get_secret_value(SecretId="s")["SecretString"] == "s"
    assert "no identity-based policy allows" in outcome(
        lambda: its(aws, other, "secretsmanager").get_secret_value(SecretId="s")
    )
    until(lambda: connected(aws, one) and connected(aws, other))
    aws("iam").put_role_policy(
        RoleName=ROLE, PolicyName="no",
        PolicyDocument=document("Deny", "ssmmessages:*", ArnEquals={"ssm:SourceInstanceARN": arn}),
    )  # fmt: skip

    def only_the_other() -> bool:
        server.advance(seconds=4)
        return server.application.edge.channels.get(one.id) is None

    until(only_the_other)
    assert connected(aws, other)


def nodes_own(aws: Aws, node: Node) -> str:
    return str(its(aws, node, "sts").get_caller_identity()["Arn"])


def test_every_node_may_say_who_it_is(aws: Aws, fleet: Fleet) -> None:
    node = fleet.node(online=False)
    aws("iam").put_role_policy(RoleName=ROLE, PolicyName="no", PolicyDocument=document("Deny", "*"))
    assert nodes_own(aws, node).endswith(f"/{node.id}")
