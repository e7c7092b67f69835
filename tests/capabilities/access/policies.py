"""What the tests of users and roles have in common."""

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.conftest import Aws


def error(call: Any, **members: Any) -> dict[str, str]:
    with pytest.raises(ClientError) as caught:
        call(**members)
    found: dict[str, str] = caught.value.response["Error"]
    return found


def document(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(action: Any, resource: Any = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


def deny(action: Any, resource: Any = "*", **more: Any) -> dict[str, Any]:
    return allow(action, resource, **more) | {"Effect": "Deny"}


class User:
    """A user with a key, as whom one can call."""

    def __init__(self, aws: Aws, name: str, **more: Any) -> None:
        self._aws, self.name, self.iam = aws, name, aws("iam")
        self.arn: str = self.iam.create_user(UserName=name, **more)["User"]["Arn"]
        self.key = self.iam.create_access_key(UserName=name)["AccessKey"]

    def may(self, *statements: dict[str, Any], policy: str = "p") -> None:
        self.iam.put_user_policy(UserName=self.name, PolicyName=policy, PolicyDocument=document(*statements))

    def __call__(self, service: str) -> Any:
        return self._aws(service, access_key=self.key["AccessKeyId"], secret=self.key["SecretAccessKey"])
