"""What a record says of a call, in the form of CloudTrail's events."""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

import msgspec

from pilothouse.call import Act
from pilothouse.capabilities.audit.model import Record, names_of
from pilothouse.capabilities.audit.redaction import HIDDEN, quotes, shown
from pilothouse.identity.principals import Principal

EVENT_VERSION: Final = "1.11"
INVOKED_BY: Final = "pilothouse command line"
OWN_SOURCE: Final = "pilothouse"
CHANNELS_SOURCE: Final = "ssmmessages.amazonaws.com"
LOSS: Final = "RecordMissing"
_MOST_BYTES: Final = 64 << 10
"""Of requestParameters and responseElements; larger ones are left out, as CloudTrail does above a limit."""
_MOST_TEXT: Final = 1000
NO_TYPE: Final = "AWS::Pilothouse::Resource"
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
    ("logs", "log-group"): "AWS::Logs::LogGroup",
    ("iam", "instance-profile"): "AWS::IAM::InstanceProfile",
    ("sns", ""): "AWS::SNS::Topic",
    ("resource-groups", "group"): "AWS::ResourceGroups::Group",
}
_QUERY_SERVICES: Final = frozenset({"iam", "sns", "sts"})
_ACCOUNT: Final = re.compile(r"\d{12}")
_json: Final = msgspec.json.Encoder().encode
_BUCKET, _OBJECT = "AWS::S3::Bucket", "AWS::S3::Object"
RESOURCE_TYPES: Final = frozenset(_TYPES.values()) | {NO_TYPE, _BUCKET, _OBJECT}


def record_of(act: Act, event_id: str, *, owner: str = "", shared: str = "") -> Record:
    """The record of a call that was answered or refused, not yet sealed.

    `owner`: the record is for another account, which owns something that the call was about. It sees what is its own,
    and of the caller the account. `shared` is the id that the records of all accounts have in common.
    """
    call, operation = act.call, act.operation
    who = call.principal
    changes = operation.writes or operation.appends
    host = call.headers.get("host", "") if call.secure else ""
    begins, goes_on, ends, read_only = _frame(
        operation.service, operation.name, changes, call.region, call.source_ip, call.user_agent[:_MOST_TEXT],
        host[:_MOST_TEXT], owner or call.account_id, who.kind, who.account_id, who.arn, who.user_id, who.access_key_id,
        who.name, who.role_arn, operation.service == "s3" and any("/" in arn for arn in act.resources),
    )  # fmt: skip
    arns = tuple(act.resources)
    told = True
    if owner:
        arns, told = _of_owner(arns, owner), bool(act.asked) and all(_owner(arn) == owner for arn in act.asked)
    resources, names = _resources(arns, call.account_id)
    hidden: set[str] = set()
    parameters = answer = b"null"
    if act.request is not None and told:
        parameters = _fitting(shown(act.request, hidden))
    if act.answer and told and (operation.writes or operation.service == "sts"):  # which credentials were given
        answer = _fitting(shown(act.answer, set()))
    error = b""
    if act.error is not None:
        error = b',"errorCode":%s,"errorMessage":%s' % (_json(_code(act)), _json(_message(act, hidden)))
    body = b"".join(
        (begins, _time(act.at // 1000), goes_on, parameters, b',"responseElements":', answer, error, b',"requestID":"',
         call.request_id.encode(), b'","eventID":"', event_id.encode(), read_only, resources,
         b',"sharedEventID":"%s"' % shared.encode() if shared else b"", ends)
    )  # fmt: skip
    return Record(
        event_id=event_id,
        account_id=owner or call.account_id,
        region=call.region,
        at=act.at,
        event_source=f"{operation.service}.amazonaws.com",
        event_name=operation.name,
        username="" if owner else username_of(who),
        access_key_id="" if owner else who.access_key_id,
        read_only=int(not changes),
        names=names,
        body=body.decode(),
    )


def owners_of(act: Act) -> list[str]:
    """The other accounts that own something that the call was about."""
    own = act.call.account_id
    for arn in act.resources:
        if own not in arn:
            break
    else:
        return []  # as nearly always
    used = act.resources
    if len(act.asked) > 1:  # who names many things may have got none of another account's
        got = set(_arns_in(act.answer))
        used = [arn for arn in act.resources if arn not in act.asked or arn in got]
    owners = dict.fromkeys(_owner(arn) for arn in used)
    return [each for each in owners if each != own and _ACCOUNT.fullmatch(each)]


def _arns_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        if value.startswith("arn:"):
            yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _arns_in(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _arns_in(part)


@lru_cache(maxsize=2048)
def _frame(
    service: str, name: str, writes: bool, region: str, source_ip: str, user_agent: str, host: str, recipient: str,
    kind: str, account_id: str, arn: str, user_id: str, access_key_id: str, user_name: str, role_arn: str,
    data: bool,
) -> tuple[bytes, bytes, bytes, bytes]:  # fmt: skip
    """What the records of a caller's calls have in common: up to the time, up to requestParameters, behind the
    resources; and what stands between the event's id and the resources. `data`: of what is in a bucket."""
    if kind == "anonymous":
        identity: dict[str, Any] = {"type": "Unknown"}
    elif recipient != account_id:
        identity = {"type": "AWSAccount", "principalId": user_id, "accountId": account_id}
    else:
        identity = _identity(kind, account_id, arn, user_id, access_key_id, user_name, role_arn)
    head = _json({"eventVersion": EVENT_VERSION, "userIdentity": identity})
    told = {
        "eventSource": f"{service}.amazonaws.com",
        "eventName": name,
        "awsRegion": region,
        "sourceIPAddress": source_ip,
        "userAgent": user_agent,
    }
    tail: dict[str, Any] = {
        "eventType": "AwsApiCall",
        "managementEvent": not data,
        "recipientAccountId": recipient,
        "eventCategory": "Data" if data else "Management",
    }
    if host:
        tail["tlsDetails"] = {"clientProvidedHostHeader": host}
    return (
        head[:-1] + b',"eventTime":"',
        b'",' + _json(told)[1:-1] + b',"requestParameters":',
        b"," + _json(tail)[1:],
        b'","readOnly":%s,"resources":' % (b"false" if writes else b"true"),
    )


def record_of_operator(
    at: int, event_id: str, operator: str, account_id: str, region: str, name: str, said: Any, *, reads: bool = False
) -> Record:
    """The record of a command that was given on the server's machine, where nobody's policies are asked.

    `operator`: the user's name on that machine. `said` holds no secret.
    """
    identity = {
        "type": "Root",
        "principalId": account_id,
        "arn": f"arn:aws:iam::{account_id}:root",
        "accountId": account_id,
        "userName": operator,
        "invokedBy": INVOKED_BY,
    }
    return _of_the_house(
        at, event_id, identity, operator, account_id, region, name, said, kind="PilothouseCommand", reads=reads
    )


def record_of_loss(at: int, event_id: str, account_id: str, region: str, lost: str) -> Record:
    """That a record which this server committed was gone before it was linked."""
    identity = {"type": "AWSService", "invokedBy": OWN_SOURCE}
    return _of_the_house(
        at, event_id, identity, "", account_id, region, LOSS, {"eventID": lost}, kind="AwsServiceEvent", reads=False
    )


def record_of_channel(at: int, event_id: str, facts: Mapping[str, Any]) -> Record:
    """That a channel was opened, closed or refused. `facts`: see `channels.told`."""
    arn, principal_id = facts["by"]
    kind = "Root" if arn.endswith(":root") else "IAMUser" if ":user/" in arn else "AssumedRole"
    identity: dict[str, Any] = {
        "type": kind, "principalId": principal_id, "arn": arn, "accountId": facts["account_id"],
        **({"accessKeyId": facts["access_key_id"]} if facts["access_key_id"] else {}),
    }  # fmt: skip
    code, text = facts.get("error") or ("", "")
    resources, names = _resources(tuple(facts["resources"]), facts["account_id"])
    event = {
        "eventVersion": EVENT_VERSION,
        "userIdentity": identity,
        "eventTime": _time(at // 1000).decode(),
        "eventSource": CHANNELS_SOURCE,
        "eventName": facts["name"],
        "awsRegion": facts["region"],
        "requestParameters": facts["said"],
        "responseElements": None,
        **({"errorCode": code, "errorMessage": text} if code else {}),
        "eventID": event_id,
        "readOnly": False,
        "resources": msgspec.Raw(resources),
        "eventType": "AwsServiceEvent",
        "managementEvent": True,
        "recipientAccountId": facts["account_id"],
        "eventCategory": "Management",
    }
    return Record(
        event_id=event_id,
        account_id=facts["account_id"],
        region=facts["region"],
        at=at,
        event_source=CHANNELS_SOURCE,
        event_name=facts["name"],
        username=facts["username"],
        access_key_id=facts["access_key_id"],
        read_only=0,
        names=names,
        body=_json(event).decode(),
    )


def _of_the_house(
    at: int, event_id: str, identity: Any, username: str, account_id: str, region: str, name: str, said: Any, *,
    kind: str, reads: bool,
) -> Record:  # fmt: skip
    event = {
        "eventVersion": EVENT_VERSION,
        "userIdentity": identity,
        "eventTime": _time(at // 1000).decode(),
        "eventSource": OWN_SOURCE,
        "eventName": name,
        "awsRegion": region,
        "requestParameters": said,
        "responseElements": None,
        "eventID": event_id,
        "readOnly": reads,
        "eventType": kind,
        "managementEvent": True,
        "recipientAccountId": account_id,
        "eventCategory": "Management",
    }
    return Record(
        event_id=event_id,
        account_id=account_id,
        region=region,
        at=at,
        event_source=OWN_SOURCE,
        event_name=name,
        username=username,
        access_key_id="",
        read_only=int(reads),
        names="[]",
        body=_json(event).decode(),
    )


def _identity(
    kind: str, account_id: str, arn: str, user_id: str, access_key_id: str, name: str, role_arn: str
) -> dict[str, Any]:
    """`userIdentity` of a record."""
    said: dict[str, Any] = {
        "type": {"root": "Root", "user": "IAMUser"}.get(kind, "AssumedRole"),
        "principalId": user_id,
        "arn": arn,
        "accountId": account_id,
        "accessKeyId": access_key_id,
    }
    if kind == "user":
        said["userName"] = name
    elif role_arn:
        said["sessionContext"] = {
            "sessionIssuer": {
                "type": "Role",
                "principalId": user_id.partition(":")[0],
                "arn": role_arn,
                "accountId": role_arn.split(":")[4],
                "userName": role_arn.rpartition("/")[2],
            }
        }
    return said


def username_of(principal: Principal) -> str:
    """By what name a principal is looked up: a user's, a session's, a node's id, `root`."""
    if principal.kind == "root":
        return "root"
    return principal.name or principal.node_id or principal.arn.rpartition("/")[2]


def _code(act: Act) -> str:
    """As the wire says it, which in the query protocol has names of its own."""
    assert act.error is not None
    queries = act.operation.service in _QUERY_SERVICES
    return (act.error.query_code if queries else None) or act.error.code


def _message(act: Act, hidden: set[str]) -> str:
    assert act.error is not None
    message = act.error.message
    if act.request is None:  # it may quote what was not understood
        return message if act.error.code == "AccessDeniedException" else HIDDEN
    return HIDDEN if quotes(message, hidden) else message[:_MOST_TEXT]


@lru_cache(maxsize=4096)
def _resources(arns: tuple[str, ...], account_id: str) -> tuple[bytes, str]:
    """`resources` of a record, and what it is looked up by: a JSON list of names, and of types behind a slash."""
    found = [_resource(arn, account_id) for arn in arns]
    types = dict.fromkeys(f"/{each['type']}" for each in found)
    return _json(found), _json([*names_of(arns), *types]).decode()


def _of_owner(arns: Sequence[str], owner: str) -> tuple[str, ...]:
    return tuple(arn for arn in arns if _owner(arn) == owner)


def _owner(arn: str) -> str:
    """The account in an ARN; empty where there is none."""
    parts = arn.split(":", 5)
    return parts[4] if len(parts) == 6 else ""


def _resource(arn: str, account_id: str) -> dict[str, str]:
    parts = arn.split(":", 5)
    if len(parts) < 6:
        return {"ARN": arn, "accountId": account_id, "type": NO_TYPE}
    if parts[2] == "s3":
        return {"ARN": arn, "accountId": account_id, "type": _OBJECT if "/" in parts[5] else _BUCKET}
    kind = parts[5].partition("/")[0].partition(":")[0]
    return {
        "ARN": arn,
        "accountId": parts[4] or account_id,
        "type": _TYPES.get((parts[2], "" if parts[2] == "sns" else kind), NO_TYPE),
    }


def _fitting(members: Any) -> bytes:
    text = _json(members)
    return text if len(text) <= _MOST_BYTES else b'{"omitted":true}'


@lru_cache(maxsize=64)
def _time(seconds: int) -> bytes:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ").encode()
