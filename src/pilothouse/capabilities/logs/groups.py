"""CreateLogGroup, DeleteLogGroup, DescribeLogGroups, and what groups are set to: retention, deletion protection."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pilothouse.call import Call, Caller, Shape, operation
from pilothouse.capabilities import tags
from pilothouse.capabilities.logs.model import (
    RETENTIONS,
    Group,
    ResourceAlreadyExistsException,
    group_arn,
    no_group,
)
from pilothouse.capabilities.logs.naming import (
    found_group,
    identifier,
    name_of,
    of_group,
    of_no_group,
    tags_of_request,
)
from pilothouse.capabilities.logs.sealing import with_kms_key, with_own_key
from pilothouse.capabilities.logs.store import LogStore
from pilothouse.errors import InvalidParameterException, ValidationException
from pilothouse.identity.authorise import ask_each
from pilothouse.storage.pages import InvalidPageToken

TAGGED: Final = "LogGroup"
"""The type of the resource that tags hang on."""
_PAGE: Final = 50
_SCANNED: Final = 2000
"""Groups that one answer looks at for a pattern or a class; the next page goes on."""
_RESERVED: Final = "aws/"


@operation(
    "logs", "CreateLogGroup", writes=True, callers=Caller.ACCOUNT | Caller.NODE, resources=of_group,
    conditions=tags_of_request,
)  # fmt: skip
async def create_log_group(call: Call, request: Shape) -> Shape:
    """Make a group; with tags if the caller may tag it."""
    name, tagged = request["logGroupName"], request.get("tags") or {}
    if name.startswith(_RESERVED):
        raise InvalidParameterException(f"Log group names can't start with {_RESERVED}")
    group = Group(
        group_id=new_id(call.ids.uuid()), account_id=call.account_id, region=call.region, name=name,
        kind=request.get("logGroupClass", "STANDARD"), created_at=call.clock.millis(),
        protected=request.get("deletionProtectionEnabled", False), kms_key=request.get("kmsKeyId", ""),
    )  # fmt: skip
    async with call.transaction() as tx:
        if tagged:
            arn = group_arn(call.account_id, call.region, name)
            await ask_each(call, tx, "logs:TagResource", [arn], tags_of_request(call, request))
        group = await with_kms_key(call, tx, group) if group.kms_key else with_own_key(call.house, group)
        if not await LogStore(tx, call.account_id, call.region).add_group(group):
            raise ResourceAlreadyExistsException("The specified log group already exists")
        await tags.put(tx, call.account_id, call.region, TAGGED, name, tagged)
    return {}


def new_id(uuid: str) -> str:
    """A short id of a group or a stream."""
    return uuid.replace("-", "")[:20]


@operation("logs", "DeleteLogGroup", writes=True, resources=of_group)
async def delete_log_group(call: Call, request: Shape) -> Shape:
    """Remove a group with all that is in it."""
    async with call.transaction() as tx:
        group = await found_group(call, tx, request["logGroupName"])
        if group.protected:
            raise ValidationException(
                f"The log group {group.name} cannot be deleted while deletion protection is enabled."
            )
        if not await LogStore(tx, call.account_id, call.region).remove_group(group):
            raise no_group()
        await tags.remove_all(tx, call.account_id, call.region, TAGGED, group.name)
    return {}


@operation("logs", "DescribeLogGroups", callers=Caller.ACCOUNT | Caller.NODE, resources=of_no_group)
async def describe_log_groups(call: Call, request: Shape) -> Shape:
    """Groups by name: all, those of a prefix, those with a text in their name, or some that are named."""
    prefix, pattern = request.get("logGroupNamePrefix"), request.get("logGroupNamePattern")
    if prefix is not None and pattern is not None:
        raise InvalidParameterException(
            "LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters."
        )
    kinds = _kinds(request.get("logGroupClass"))
    if "logGroupIdentifiers" in request:
        return {"logGroups": await _named(call, request["logGroupIdentifiers"], prefix, pattern)}
    most = request.get("limit", _PAGE)
    query = ["DescribeLogGroups", call.account_id, call.region, prefix or "", pattern or "", kinds]
    after = _position(call, query, request)
    filtered = bool(pattern) or bool(kinds)
    async with call.reading() as tx:
        store = LogStore(tx, call.account_id, call.region)
        found = await store.groups(after, prefix or "", _SCANNED if filtered else most + 1)
    fitting = [each for each in found if (pattern or "") in each.name and (not kinds or each.kind in kinds)]
    shown = fitting[:most]
    answer: Shape = {"logGroups": [_told(each, brief=bool(pattern)) for each in shown]}
    last = shown[-1] if len(fitting) > most else found[-1] if len(found) == _SCANNED and filtered else None
    if last is not None:
        answer["nextToken"] = call.house.pages.token(query, [last.name])
    return answer


def _kinds(asked: str | None) -> list[str]:
    if asked in ("INFREQUENT_ACCESS", "ESSENTIALS"):
        return ["INFREQUENT_ACCESS", "ESSENTIALS"]
    return [asked] if asked else []


async def _named(call: Call, identifiers: Sequence[str], prefix: str | None, pattern: str | None) -> list[Shape]:
    if prefix is not None or pattern is not None:
        raise InvalidParameterException("logGroupIdentifiers cannot be combined with a prefix or a pattern.")
    async with call.reading() as tx:
        store = LogStore(tx, call.account_id, call.region)
        found = [await store.group(name) for name in sorted({name_of(call, each) for each in identifiers})]
    return [_told(each) for each in found if each is not None]


def _position(call: Call, query: list[Any], request: Shape) -> str:
    if "nextToken" not in request:
        return ""
    try:
        (after,) = call.house.pages.position(query, request["nextToken"])
    except (InvalidPageToken, ValueError) as error:
        raise bad_token() from error
    return str(after)


def bad_token() -> InvalidParameterException:
    """In the words of the service."""
    return InvalidParameterException("The specified nextToken is invalid.")


def _told(group: Group, *, brief: bool = False) -> Shape:
    """`brief`: as the service tells groups that were found by a pattern."""
    arn = group_arn(group.account_id, group.region, group.name)
    told: dict[str, Any] = {
        "logGroupName": group.name,
        "creationTime": group.created_at,
        "retentionInDays": group.retention_days or None,
        "metricFilterCount": 0,
        "arn": f"{arn}:*",
        "logGroupClass": group.kind,
        "logGroupArn": arn,
    }
    if not brief:
        told |= {"storedBytes": group.stored, "kmsKeyId": group.kms_key or None}
        told["deletionProtectionEnabled"] = group.protected
    return told


@operation("logs", "PutRetentionPolicy", writes=True, resources=of_group)
async def put_retention_policy(call: Call, request: Shape) -> Shape:
    """Keep the events of a group for so many days."""
    days = request["retentionInDays"]
    if days not in RETENTIONS:
        allowed = ", ".join(str(each) for each in RETENTIONS)
        raise InvalidParameterException(
            f"1 validation error detected: Value '{days}' at 'retentionInDays' failed to satisfy constraint: "
            f"Member must satisfy enum value set: [{allowed}]"
        )
    return await _changed(call, request, {"retention_days": days})


@operation("logs", "DeleteRetentionPolicy", writes=True, resources=of_group)
async def delete_retention_policy(call: Call, request: Shape) -> Shape:
    """Keep the events of a group for ever."""
    return await _changed(call, request, {"retention_days": 0})


@operation("logs", "PutLogGroupDeletionProtection", writes=True, resources=of_group)
async def put_log_group_deletion_protection(call: Call, request: Shape) -> Shape:
    """Let a group be deleted, or not."""
    return await _changed(call, request, {"protected": int(request["deletionProtectionEnabled"])})


async def _changed(call: Call, request: Shape, columns: Mapping[str, Any]) -> Shape:
    name = name_of(call, identifier(request))
    async with call.transaction() as tx:
        if not await LogStore(tx, call.account_id, call.region).change_group(name, **columns):
            raise no_group()
    return {}
