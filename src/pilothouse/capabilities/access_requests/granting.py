"""What an access allows: the policy of its credentials."""

import json

from pilothouse.capabilities.access_requests.model import AccessRequest


def allowed(request: AccessRequest, node_arn: str) -> str:
    """The policy of the credentials: sessions on the node, and what belongs to them."""
    region, account = request.region, request.account_id
    own = [
        f"arn:aws:ssm:{region}:{account}:session/{request.requester_id}-*",
        f"arn:aws:ssm:{region}:{account}:session/{request.requester_name}-*",
    ]
    documents = [f"arn:aws:ssm:{region}:{account}:document/*", f"arn:aws:ssm:{region}::document/*"]
    statements = [
        {"Effect": "Allow", "Action": ["ssm:StartSession", "ssm:GetConnectionStatus"], "Resource": node_arn},
        {"Effect": "Allow", "Action": "ssm:StartSession", "Resource": documents},
        {
            "Effect": "Allow",
            "Action": ["ssm:ResumeSession", "ssm:TerminateSession", "ssmmessages:OpenDataChannel"],
            "Resource": own,
        },
    ]
    return json.dumps({"Version": "2012-10-17", "Statement": statements})
