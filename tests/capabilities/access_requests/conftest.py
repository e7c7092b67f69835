"""The world of sessions, with people who ask and people who decide."""

import json
from typing import Any

import pytest

from tests.capabilities.sessions.conftest import World, shared, world

__all__ = ["shared", "world"]

SIGNING = {"Effect": "Allow", "Action": ["ssm:StartAccessRequest", "ssm:GetAccessToken"], "Resource": "*"}
DECIDING = {
    "Effect": "Allow",
    "Action": ["pilothouse:ListAccessRequests", "pilothouse:DecideAccessRequest"],
    "Resource": "*",
}


class People:
    """Users of the account; each has an `ssm` and an own client."""

    def __init__(self, world: World) -> None:
        self.world = world

    def user(self, name: str, *, groups: tuple[str, ...] = (), tags: dict[str, str] | None = None) -> tuple[Any, Any]:
        iam, undo = self.world.aws("iam"), self.world.undo
        iam.create_user(UserName=name, Tags=[{"Key": key, "Value": value} for key, value in (tags or {}).items()])
        undo.append(lambda: iam.delete_user(UserName=name))
        document = json.dumps({"Version": "2012-10-17", "Statement": [SIGNING, DECIDING]})
        iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=document)
        undo.append(lambda: iam.delete_user_policy(UserName=name, PolicyName="p"))
        key = iam.create_access_key(UserName=name)["AccessKey"]
        undo.append(lambda: iam.delete_access_key(UserName=name, AccessKeyId=key["AccessKeyId"]))
        for group in groups:
            iam.create_group(GroupName=group)
            undo.append(lambda group=group: iam.delete_group(GroupName=group))
            iam.add_user_to_group(GroupName=group, UserName=name)
            undo.append(lambda group=group: iam.remove_user_from_group(GroupName=group, UserName=name))
        who = {"access_key": key["AccessKeyId"], "secret": key["SecretAccessKey"]}
        return self.world.aws("ssm", **who), self.world.aws("pilothouse", **who)

    def policy(self, name: str, content: Any, kind: str = "ManualApprovalPolicy") -> None:
        text = content if isinstance(content, str) else json.dumps(content)
        format_ = "TEXT" if isinstance(content, str) else "JSON"
        ssm = self.world.ssm
        ssm.create_document(Name=name, DocumentType=kind, DocumentFormat=format_, Content=text)
        self.world.undo.append(lambda: ssm.delete_document(Name=name))

    def with_token(self, ssm: Any, request_id: str) -> Any:
        """An ssm client with the request's credentials."""
        given = ssm.get_access_token(AccessRequestId=request_id)["Credentials"]
        return self.world.aws(
            "ssm", access_key=given["AccessKeyId"], secret=given["SecretAccessKey"], token=given["SessionToken"]
        )


@pytest.fixture
def people(world: World) -> People:
    return People(world)


def manual(*levels: list[str], hours: int = 2, targets: Any = None, **more: Any) -> dict[str, Any]:
    """A policy; approvers as `user/alice`."""
    made = [{"approvers": [dict(zip(("type", "name"), each.split("/"), strict=True)) for each in level]}
            for level in levels]  # fmt: skip
    everything = [{"Key": "InstanceIds", "Values": ["*"]}]
    return {"schemaVersion": "1.0", "accessDurationHours": hours, "targets": targets or everything, "levels": made,
            **more}  # fmt: skip


def ask(ssm: Any, node_id: str, reason: str = "ticket 42") -> str:
    answer = ssm.start_access_request(Reason=reason, Targets=[{"Key": "InstanceIds", "Values": [node_id]}])
    return str(answer["AccessRequestId"])
