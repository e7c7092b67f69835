"""Sessions that are encrypted with a key of the server."""

import json

from tests.acceptance.installation import Installation

SEALED = "Sealed"


def make_sealed(house: Installation) -> None:
    """The document SEALED, whose one command is encrypted with a new key; nodes may use that key."""
    key = house.boto("kms").create_key()["KeyMetadata"]
    allowed = {"Effect": "Allow", "Action": "kms:Decrypt", "Resource": key["Arn"]}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    house.boto("iam").put_role_policy(RoleName="node-role", PolicyName="sessions", PolicyDocument=policy)
    content = {
        "schemaVersion": "1.0", "sessionType": "NonInteractiveCommands", "inputs": {"kmsKeyId": key["KeyId"]},
        "parameters": {"command": {"type": "String"}}, "properties": {"linux": {"commands": "{{ command }}"}},
    }  # fmt: skip
    house.boto("ssm").create_document(Name=SEALED, DocumentType="Session", Content=json.dumps(content))
