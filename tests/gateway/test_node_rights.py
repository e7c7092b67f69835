"""What a node may do is what its role allows, on itself; and channels end with the right to hold them."""

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.capabilities.commands.conftest import REGION, Fleet, Node, Until
from tests.conftest import Aws, Server
from tests.gateway.scripted_agent import InProcess, Refused

from pilothouse.app import operations_of_the_house
from pilothouse.call import Caller
from pilothouse.capabilities.access.provided import provided
from pilothouse.identity.policy import Ask, Verdict, parse

CORE = "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"
ROLE = "NodeRole"


def trust(service: str) -> str:
    statement = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def document(effect: str, action: str, resource: str = "*", **condition: Any) -> str:
    statement: dict[str, Any] = {"Effect": effect, "Action": action, "Resource": resource}
    return json.dumps(
        {"Version": "2012-10-17", "Statement": statement | ({"Condition": condition} if condition else {})}
    )


def its(aws: Aws, node: Node, service: str) -> Any:
    who = node.who
    return aws(service, region=REGION, access_key=who.access_key_id, secret=who.secret, token=who.token)


def refused(call: Any) -> str:
    with pytest.raises(ClientError) as error:
        call()
    return f"{error.value.response['Error']['Code']}: {error.value.response['Error']['Message']}"


def test_a_role_that_is_not_there_is_made_with_what_a_node_needs(aws: Aws, fleet: Fleet) -> None:
    node = fleet.node()
    iam = aws("iam")
    role = iam.get_role(RoleName=ROLE)["Role"]
    assert role["AssumeRolePolicyDocument"] == json.loads(trust("ssm.amazonaws.com"))
    attached = iam.list_attached_role_policies(RoleName=ROLE)["AttachedPolicies"]
    assert [each["PolicyArn"] for each in attached] == [CORE]
    who = its(aws, node, "sts").get_caller_identity()
    assert who["UserId"] == f"{role['RoleId']}:{node.id}"
    assert who["Arn"].endswith(f":assumed-role/{ROLE}/{node.id}")


def test_the_policies_of_the_role_count_at_the_next_call(aws: Aws, fleet: Fleet) -> None:
    node = fleet.node(online=False)
    aws("ssm", region=REGION).put_parameter(Name="/app/x", Value="1", Type="String")
    aws("secretsmanager", region=REGION).create_secret(Name="deep", SecretString="s")
    ssm, secrets, iam = its(aws, node, "ssm"), its(aws, node, "secretsmanager"), aws("iam")
    assert ssm.get_parameter(Name="/app/x")["Parameter"]["Value"] == "1"
    assert "ssm:GetParametersByPath" in refused(lambda: ssm.get_parameters_by_path(Path="/app"))
    assert "secretsmanager:GetSecretValue" in refused(lambda: secrets.get_secret_value(SecretId="deep"))
    iam.put_role_policy(
        RoleName=ROLE, PolicyName="more", PolicyDocument=document("Allow", "secretsmanager:GetSecretValue")
    )
    assert secrets.get_secret_value(SecretId="deep")["SecretString"] == "s"
    iam.put_role_policy(RoleName=ROLE, PolicyName="path", PolicyDocument=document("Allow", "ssm:GetParametersByPath"))
    assert len(ssm.get_parameters_by_path(Path="/app")["Parameters"]) == 1
    iam.put_role_policy(
        RoleName=ROLE,
        PolicyName="less",
        PolicyDocument=document("Deny", "ssm:GetParameter", "arn:aws:ssm:*:*:parameter/app/*"),
    )
    told = refused(lambda: ssm.get_parameter(Name="/app/x"))
    assert told.startswith("AccessDeniedException: User: arn:aws:sts::")
    assert "with an explicit deny in an identity-based policy" in told
    only = {"StringEquals": {"aws:userid": f"{iam.get_role(RoleName=ROLE)['Role']['RoleId']}:{node.id}"}}
    iam.put_role_policy(RoleName=ROLE, PolicyName="less", PolicyDocument=document("Deny", "secretsmanager:*", **only))
    assert "explicit deny" in refused(lambda: secrets.get_secret_value(SecretId="deep"))


def test_without_its_role_a_node_may_nothing_but_say_who_it_is(aws: Aws, fleet: Fleet) -> None:
    node = fleet.node(online=False)
    ssm, iam = its(aws, node, "ssm"), aws("iam")
    iam.detach_role_policy(RoleName=ROLE, PolicyArn=CORE)
    assert "AccessDeniedException" in refused(lambda: ssm.get_parameters(Names=["/x"]))
    iam.attach_role_policy(RoleName=ROLE, PolicyArn=CORE)
    assert ssm.get_parameters(Names=["/x"])["InvalidParameters"] == ["/x"]
    iam.update_assume_role_policy(RoleName=ROLE, PolicyDocument=trust("ec2.amazonaws.com"))
    assert "AccessDeniedException" in refused(lambda: ssm.get_parameters(Names=["/x"]))
    iam.detach_role_policy(RoleName=ROLE, PolicyArn=CORE)
    iam.delete_role(RoleName=ROLE)
    assert "AccessDeniedException" in refused(lambda: ssm.get_parameters(Names=["/x"]))
    assert node.id in its(aws, node, "sts").get_caller_identity()["Arn"]


def test_what_the_role_allows_beyond_the_verbs_of_nodes_stays_refused(aws: Aws, fleet: Fleet) -> None:
    node = fleet.node(online=False)
    aws("iam").put_role_policy(RoleName=ROLE, PolicyName="all", PolicyDocument=document("Allow", "*"))
    ssm = its(aws, node, "ssm")
    assert "AccessDeniedException" in refused(lambda: ssm.put_parameter(Name="/x", Value="1", Type="String"))
    assert "AccessDeniedException" in refused(lambda: ssm.describe_instance_information())
    assert "AccessDenied" in refused(lambda: its(aws, node, "iam").list_users())
    assert ssm.get_parameters(Names=["/x"])["InvalidParameters"] == ["/x"]


def test_every_verb_of_nodes_is_in_the_policy_that_nodes_get(server: Server) -> None:
    found = provided(CORE)
    assert found is not None
    core = parse(found[1], kind="identity")
    beyond = {"ssm:GetParametersByPath", "secretsmanager:GetSecretValue", "secretsmanager:DescribeSecret",
              "kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey"}  # fmt: skip
    beyond |= {f"logs:{name}" for name in ("CreateLogGroup", "CreateLogStream", "DescribeLogGroups",
                                           "DescribeLogStreams", "PutLogEvents")}  # fmt: skip
    beyond |= {f"s3:{name}" for name in ("AbortMultipartUpload", "GetBucketLocation", "GetEncryptionConfiguration",
                                         "GetObject", "ListBucket", "ListMultipartUploadParts", "PutObject",
                                         "PutObjectAcl")}  # fmt: skip
    missing = set()
    for operation in operations_of_the_house(*server.application.edge.operations).values():
        if Caller.NODE in operation.callers and not operation.free:
            ask = Ask(
                principal_arn="", principal_account="", principal_kind="node", action=operation.action, resource="*"
            )
            if core.verdict(ask) is not Verdict.ALLOW:
                missing.add(operation.action)
    assert missing == beyond


def test_a_role_that_is_not_for_nodes_is_refused(aws: Aws, fleet: Fleet) -> None:
    iam, ssm = aws("iam"), aws("ssm")
    iam.create_role(RoleName="other", AssumeRolePolicyDocument=trust("ec2.amazonaws.com"))
    text = "ValidationException: Nonexistent role or missing ssm service principal in trust policy: arn:aws:iam::"
    assert refused(lambda: ssm.create_activation(IamRole="other")).startswith(text)
    node = fleet.node(online=False)
    change = {"InstanceId": node.id, "IamRole": "other"}
    assert refused(lambda: aws("ssm", region=REGION).update_managed_instance_role(**change)).startswith(text)
    iam.update_assume_role_policy(RoleName="other", PolicyDocument=trust("ssm.amazonaws.com"))
    aws("ssm", region=REGION).update_managed_instance_role(**change)
    assert "AccessDeniedException" in refused(lambda: its(aws, node, "ssm").get_parameters(Names=["/x"]))


def test_who_makes_an_activation_must_be_let_pass_its_role(aws: Aws) -> None:
    iam = aws("iam")
    iam.create_user(UserName="ada")
    key = iam.create_access_key(UserName="ada")["AccessKey"]
    ssm = aws("ssm", access_key=key["AccessKeyId"], secret=key["SecretAccessKey"])
    put = lambda action, **more: iam.put_user_policy(  # noqa: E731
        UserName="ada", PolicyName=action.replace(":", "-"), PolicyDocument=document("Allow", action, **more)
    )
    put("ssm:CreateActivation")
    assert "iam:PassRole" in refused(lambda: ssm.create_activation(IamRole="Fleet"))
    put("iam:PassRole", StringEquals={"iam:PassedToService": "ec2.amazonaws.com"})
    assert "iam:PassRole" in refused(lambda: ssm.create_activation(IamRole="Fleet"))
    put("iam:PassRole", StringEquals={"iam:PassedToService": "ssm.amazonaws.com"})
    assert "iam:CreateRole" in refused(lambda: ssm.create_activation(IamRole="Fleet"))
    put("iam:CreateRole")
    assert "iam:AttachRolePolicy" in refused(lambda: ssm.create_activation(IamRole="Fleet"))
    put("iam:AttachRolePolicy")
    assert ssm.create_activation(IamRole="Fleet")["ActivationId"]
    assert iam.get_role(RoleName="Fleet")["Role"]["Path"] == "/"


def connected(aws: Aws, node: Node) -> bool:
    return bool(aws("ssm", region=REGION).get_connection_status(Target=node.id)["Status"] == "connected")


@pytest.mark.parametrize("how", ["policy", "trust", "role"])
def test_an_open_channel_ends_with_the_right_to_hold_it(
    server: Server, aws: Aws, fleet: Fleet, until: Until, how: str
) -> None:
    node = fleet.node()
    until(lambda: connected(aws, node))
    iam = aws("iam")
    server.advance(seconds=31)
    assert connected(aws, node)
    if how != "trust":
        iam.detach_role_policy(RoleName=ROLE, PolicyArn=CORE)
    else:
        iam.update_assume_role_policy(RoleName=ROLE, PolicyDocument=trust("ec2.amazonaws.com"))
    if how == "role":
        iam.delete_role(RoleName=ROLE)

    def is_closed() -> bool:
        server.advance(seconds=31)  # a look that is under way now is not the one that counts
        return server.application.edge.channels.get(node.id) is None

    until(is_closed)
    with pytest.raises(Refused):
        server.run(InProcess.create(server.application.edge, node.who))


def test_a_channel_whose_wake_up_was_lost_ends_within_seconds(
    server: Server, aws: Aws, fleet: Fleet, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if another process had deregistered the node."""
    node = fleet.node()
    until(lambda: connected(aws, node))
    monkeypatch.setattr(server.application.house.bus, "wake", lambda topic, key: None)
    aws("ssm", region=REGION).deregister_managed_instance(InstanceId=node.id)
    assert server.application.edge.channels.get(node.id) is not None

    def is_closed() -> bool:
        server.advance(seconds=4)
        return server.application.edge.channels.get(node.id) is None

    until(is_closed)
