"""What a record says of a call, in the form of CloudTrail's events."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from pilothouse.call import Act
from pilothouse.capabilities.audit.model import Record, names_of
from pilothouse.capabilities.audit.redaction import HIDDEN, quotes, shown
from pilothouse.identity.principals import Principal

EVENT_VERSION: Final = "1.11"
_MOST_BYTES: Final = 64 << 10
"""Of requestParameters and responseElements; larger ones are left out, as CloudTrail does above a limit."""
_MOST_TEXT: Final = 1000
_NO_TYPE: Final = "AWS::Pilothouse::Resource"
_TYPES: Final = {
    ("ssm", "parameter"): "AWS::SSM::Parameter",
    ("ssm", "document"): "AWS::SSM::Document",
    ("ssm", "managed-instance"): "AWS::SSM::ManagedInstance",
    ("ssm", "association"): "AWS::SSM::Association",
    ("ec2", "instance"): "AWS::EC2::Instance",
    ("secretsmanager", "secret"): "AWS::SecretsManager::Secret",
    ("kms", "key"): "AWS::KMS::Key",
    ("kms", "alias"): "AWS::KMS::Alias",
    ("iam", "user"): "AWS::IAM::User",
    ("iam", "group"): "AWS::IAM::Group",
    ("iam", "role"): "AWS::IAM::Role",
    ("iam", "policy"): "AWS::IAM::ManagedPolicy",
    ("iam", "instance-profile"): "AWS::IAM::InstanceProfile",
}
RESOURCE_TYPES: Final = frozenset(_TYPES.values()) | {_NO_TYPE}


def record_of(act: Act, event_id: str) -> Record:
    """The record of a call that was answered or refused, not yet sealed."""
    call, operation = act.call, act.operation
    hidden: set[str] = set()
    source = f"{operation.service}.amazonaws.com"
    event: dict[str, Any] = {
        "eventVersion": EVENT_VERSION,
        "userIdentity": identity_of(call.principal),
        "eventTime": _time(act.at),
        "eventSource": source,
        "eventName": operation.name,
        "awsRegion": call.region,
        "sourceIPAddress": call.source_ip,
        "userAgent": call.user_agent[:_MOST_TEXT],
        "requestParameters": None if act.request is None else _fitting(shown(act.request, hidden)),
        "responseElements": None,
    }
    if operation.writes and act.answer:
        event["responseElements"] = _fitting(shown(act.answer, set()))
    if act.error is not None:
        event["errorCode"] = act.error.code
        event["errorMessage"] = _message(act, hidden)
    event |= {
        "requestID": call.request_id,
        "eventID": event_id,
        "readOnly": not operation.writes,
        "resources": [_resource(arn, call.account_id) for arn in act.resources],
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "recipientAccountId": call.account_id,
        "eventCategory": "Management",
    }
    if call.secure and call.headers.get("host"):
        event["tlsDetails"] = {"clientProvidedHostHeader": call.headers["host"][:_MOST_TEXT]}
    return Record(
        event_id=event_id,
        account_id=call.account_id,
        region=call.region,
        at=act.at,
        event_source=source,
        event_name=operation.name,
        username=username_of(call.principal),
        access_key_id=call.principal.access_key_id,
        read_only=int(not operation.writes),
        names=_text(names_of(act.resources)),
        body=_text(event),
    )


def record_of_operator(
    at: int, event_id: str, operator: str, account_id: str, region: str, name: str, said: Any
) -> Record:
    """The record of a command that was given on the server's machine. `said` holds no secret."""
    event = {
        "eventVersion": EVENT_VERSION,
        "userIdentity": {"type": "Operator", "userName": operator},
        "eventTime": _time(at),
        "eventSource": "pilothouse",
        "eventName": name,
        "awsRegion": region,
        "requestParameters": said,
        "responseElements": None,
        "eventID": event_id,
        "readOnly": False,
        "eventType": "PilothouseCommand",
        "managementEvent": True,
        "recipientAccountId": account_id,
        "eventCategory": "Management",
    }
    return Record(
        event_id=event_id,
        account_id=account_id,
        region=region,
        at=at,
        event_source="pilothouse",
        event_name=name,
        username=operator,
        access_key_id="",
        read_only=0,
        names="[]",
        body=_text(event),
    )


def identity_of(principal: Principal) -> dict[str, Any]:
    """`userIdentity` of a record."""
    if principal.kind == "anonymous":
        return {"type": "Unknown"}
    said: dict[str, Any] = {
        "type": {"root": "Root", "user": "IAMUser"}.get(principal.kind, "AssumedRole"),
        "principalId": principal.user_id,
        "arn": principal.arn,
        "accountId": principal.account_id,
        "accessKeyId": principal.access_key_id,
    }
    if principal.kind == "user":
        said["userName"] = principal.name
    elif principal.role_arn:
        said["sessionContext"] = {
            "sessionIssuer": {
                "type": "Role",
                "principalId": principal.user_id.partition(":")[0],
                "arn": principal.role_arn,
                "accountId": principal.role_arn.split(":")[4],
                "userName": principal.role_arn.rpartition("/")[2],
            }
        }
    return said


def username_of(principal: Principal) -> str:
    """By what name a principal is looked up: a user's, a session's, a node's id, `root`."""
    if principal.kind == "root":
        return "root"
    return principal.name or principal.node_id or principal.arn.rpartition("/")[2]


def _message(act: Act, hidden: set[str]) -> str:
    assert act.error is not None
    message = act.error.message
    if act.request is None:  # it may quote what was not understood
        return message if act.error.code == "AccessDeniedException" else HIDDEN
    return HIDDEN if quotes(message, hidden) else message[:_MOST_TEXT]


def _resource(arn: str, account_id: str) -> dict[str, str]:
    parts = arn.split(":", 5)
    if len(parts) < 6:
        return {"ARN": arn, "accountId": account_id, "type": _NO_TYPE}
    kind = parts[5].partition("/")[0].partition(":")[0]
    return {
        "ARN": arn,
        "accountId": parts[4] or account_id,
        "type": _TYPES.get((parts[2], kind), _NO_TYPE),
    }


def _fitting(members: Any) -> Any:
    return members if len(msgspec.json.encode(members)) <= _MOST_BYTES else {"omitted": True}


def _text(value: Mapping[str, Any] | Sequence[str]) -> str:
    return msgspec.json.encode(value).decode()


def _time(millis: int) -> str:
    return datetime.fromtimestamp(millis // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
