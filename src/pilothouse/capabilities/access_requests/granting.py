"""What an access allows: the policy of its credentials."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pilothouse.capabilities.access_requests.model import AccessRequest


def allowed(request: AccessRequest, node_arn: str, sessions_of: Mapping[str, Sequence[str]]) -> str:
    """The policy of the credentials: sessions on the node, and what belongs to them.

    `sessions_of`: by the ARN of a key the sessions that are encrypted with it, whose client asks for the data key.
    """
    region, account = request.region, request.account_id
    own = [
        f"arn:aws:ssm:{region}:{account}:session/{request.requester_id}-*",
        f"arn:aws:ssm:{region}:{account}:session/{request.requester_name}-*",
    ]
    documents = [f"arn:aws:ssm:{region}:{account}:document/*", f"arn:aws:ssm:{region}::document/*"]
    statements: list[dict[str, Any]] = [
        {"Effect": "Allow", "Action": ["ssm:StartSession", "ssm:GetConnectionStatus"], "Resource": node_arn},
        {"Effect": "Allow", "Action": "ssm:StartSession", "Resource": documents},
        {
            "Effect": "Allow",
            "Action": ["ssm:ResumeSession", "ssm:TerminateSession", "ssmmessages:OpenDataChannel"],
            "Resource": own,
        },
    ]
    for key_arn, session_ids in sessions_of.items():
        about = {"StringEquals": {"kms:EncryptionContext:aws:ssm:SessionId": list(session_ids)}}
        statements.append(
            {"Effect": "Allow", "Action": "kms:GenerateDataKey", "Resource": key_arn, "Condition": about}
        )  # fmt: skip
    return json.dumps({"Version": "2012-10-17", "Statement": statements})
