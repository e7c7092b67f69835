"""A node with another node's ids, for every operation: nothing but refusals, and nothing changes.

Its role allows everything here, so that what holds is the closed list of verbs, that a node is itself alone, and what
the policy of a key says.
"""

import json
from typing import Any

from botocore.exceptions import ClientError
from tests.capabilities.commands.conftest import REGION, Fleet, Node
from tests.conftest import Aws, Server
from tests.gateway.test_node_rights import ROLE, document, its
from tests.identity.strangers import filled

from pilothouse.app import operations_of_the_house
from pilothouse.call import Caller
from pilothouse.wire.http import Request
from pilothouse.wire.models import TARGETS

MARK = "of-the-other-node"
UNMODELLED = {"GetManifest", "ListInstanceAssociations", "PutConfigurePackageResult", "RegisterManagedInstance",
              "RequestManagedInstanceRoleToken", "UpdateInstanceAssociationStatus", "UpdateInstanceInformation",
              "UpdateManagedInstancePublicKey"}  # fmt: skip
"""What only agents have a model of; tried below as they send it."""


NAMING_A_NODE = {
    ("pilothouse", "GetPatchSnapshotByTag"), ("pilothouse", "PutAvailablePatches"), ("ssm", "PutComplianceItems"),
    ("ssm", "GetDeployablePatchSnapshotForInstance"), ("ssm", "PutInventory"),
}  # fmt: skip
"""Refused for the other's id where the request has the right form; tried below so that it has."""


async def _rows(server: Server) -> dict[str, list[str]]:
    """What there is of nodes and commands, but for when somebody was heard of."""
    found = {}
    tables = ("node", "command", "command_invocation", "activation", "resource_tag", "outbox_message", "kms_key")
    async with server.application.house.database.reading() as tx:
        for table in tables:
            rows = [dict(row) for row in await tx.rows(f"select * from {table}")]
            found[table] = sorted(
                repr({name: value for name, value in row.items() if not name.endswith(("_at", "_ping"))})
                for row in rows
            )
    return found


def _furnished(aws: Aws, fleet: Fleet) -> tuple[Node, Node, dict[str, Any]]:
    mine = fleet.node(online=False)
    other = fleet.node(online=False, tags={"mark": MARK})
    aws("iam").put_role_policy(RoleName=ROLE, PolicyName="all", PolicyDocument=document("Allow", "*"))
    command = aws("ssm", region=REGION).send_command(
        InstanceIds=[other.id], DocumentName="AWS-RunShellScript", Parameters={"commands": [f"echo {MARK}"]}
    )["Command"]
    kms = aws("kms", region=REGION)
    key = kms.create_key()["KeyMetadata"]["Arn"]
    of_root = json.loads(kms.get_key_policy(KeyId=key)["Policy"])["Statement"]
    no_session = {"StringLike": {"aws:PrincipalArn": "*:role/*"}}
    deny = {"Effect": "Deny", "Principal": "*", "Action": "kms:*", "Resource": "*", "Condition": no_session}
    kms.put_key_policy(KeyId=key, Policy=json.dumps({"Version": "2012-10-17", "Statement": [*of_root, deny]}))
    ids = {
        "KeyId": key, "CiphertextBlob": kms.encrypt(KeyId=key, Plaintext=MARK.encode())["CiphertextBlob"],
        "InstanceId": other.id, "InstanceIds": [other.id], "ResourceId": other.id, "ResourceType": "ManagedInstance",
        "CommandId": command["CommandId"], "DocumentName": "AWS-RunShellScript", "Target": other.id,
        "TagKeys": ["mark"], "Tags": [{"Key": "mark", "Value": "new"}], "IamRole": ROLE, "Name": other.id,
        "Names": [other.id], "SecretId": other.id, "Path": f"/{other.id}",
    }  # fmt: skip
    return mine, other, ids


def test_no_operation_lets_a_node_at_another(server: Server, aws: Aws, fleet: Fleet) -> None:
    mine, _, ids = _furnished(aws, fleet)
    before = server.run(_rows(server))
    assert MARK in str(before)
    denied = set()
    for (service, name), operation in sorted(operations_of_the_house().items()):
        if name in UNMODELLED or Caller.ANYONE in operation.callers:
            continue
        client = its(aws, mine, service)
        more: dict[str, Any] = {}
        if service == "kms":
            more = {"Tags": [{"TagKey": "mark", "TagValue": "new"}], "NumberOfBytes": 32}
        elif service == "resource-groups":
            more = {"Tags": {"mark": "new"}}
        members = filled(client.meta.service_model.operation_model(name).input_shape, ids | more)
        try:
            shown = json.dumps(client._make_api_call(name, members), default=str)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code.startswith("AccessDenied"):
                denied.add((service, name))
            shown = ""
        else:
            assert Caller.NODE in operation.callers, (service, name)
        assert MARK not in shown, (service, name)
    assert server.run(_rows(server)) == before
    assert len(denied) > 150
    verbs = {each for each in denied if Caller.NODE in operations_of_the_house()[each].callers}
    keys = {("kms", name) for name in ("Decrypt", "DescribeKey", "Encrypt", "GenerateDataKey")}
    assert keys <= verbs <= keys | NAMING_A_NODE, verbs


def asked(server: Server, node: Node, service: str, name: str, body: dict[str, Any]) -> tuple[int, str]:
    text = json.dumps(body).encode()
    prefix = next(each for each, known in TARGETS.items() if known == service)
    headers = node.who.signed(
        "POST", f"http://{service}.pilothouse.test/", text, service,
        content_type="application/x-amz-json-1.1", x_amz_target=f"{prefix}.{name}",
    )  # fmt: skip
    request = Request("POST", "/", "", headers, text, "127.0.0.1", True)
    response = server.run(server.application.front.respond(request))
    return response.status, response.body.decode()


def test_no_verb_of_agents_takes_another_nodes_id(server: Server, aws: Aws, fleet: Fleet) -> None:
    mine, other, _ = _furnished(aws, fleet)
    before = server.run(_rows(server))
    members = {
        "AgentName": "amazon-ssm-agent", "AgentVersion": "3.3.0.0", "AgentStatus": "Active", "MessageId": "m-1",
        "MessagesRequestId": "1f1f1f1f-0000-0000-0000-000000000000", "VisibilityTimeoutInSeconds": 10, "ReplyId": "r",
        "Payload": "{}", "FailureType": "InternalHandlerException",
        "AssociationId": "0123abcd-0123-0123-0123-0123456789ab", "ExecutionDate": 1,
        "ExecutionSummary": "x", "AssociationStatus": {"Date": 1, "Name": "Success", "Message": "m"},
        "ExecutionResult": {"Status": "Success", "ExecutionDate": 1, "ExecutionSummary": "x", "ErrorCode": "0"},
    }  # fmt: skip
    snapshot = {"SnapshotId": "1f1f1f1f-0000-0000-0000-000000000000", "TagKey": "a", "TagValues": ["b"]}
    item = {"TypeName": "Custom:Mine", "SchemaVersion": "1.0", "CaptureTime": "2026-11-30T00:00:00Z", "Content": []}
    own = {
        "PutComplianceItems": {
            "ResourceType": "ManagedInstance", "ComplianceType": "Custom:Mine", "Items": [],
            "ExecutionSummary": {"ExecutionTime": 1},
        },
        "PutInventory": {"Items": [item]}, "PutAvailablePatches": {"Patches": []},
        "GetDeployablePatchSnapshotForInstance": snapshot, "GetPatchSnapshotByTag": snapshot,
    }  # fmt: skip
    tried = []
    for (service, name), operation in operations_of_the_house(*server.application.edge.operations).items():
        if operation.node_member is None:
            continue
        said = own.get(name, members) | {operation.node_member: other.id}
        status, answer = asked(server, mine, service, name, said)
        assert status in (400, 403), (service, name, answer)
        assert "AccessDenied" in answer, (service, name, answer)
        tried.append(name)
    assert sorted(tried) == [
        "GetDeployablePatchSnapshotForInstance", "GetMessages", "GetPatchSnapshotByTag", "ListInstanceAssociations",
        "PutAvailablePatches", "PutComplianceItems", "PutInventory", "UpdateInstanceAssociationStatus",
        "UpdateInstanceInformation",
    ]  # fmt: skip
    assert server.run(_rows(server)) == before
