"""CreateLogStream, DeleteLogStream, DescribeLogStreams."""

from typing import Any, Final

from pilothouse.call import Call, Caller, Shape, operation
from pilothouse.capabilities.logs.groups import bad_token, new_id
from pilothouse.capabilities.logs.model import (
    Group,
    ResourceAlreadyExistsException,
    Stream,
    group_arn,
    no_stream,
)
from pilothouse.capabilities.logs.naming import found_group, found_stream, identifier, of_group, of_stream
from pilothouse.capabilities.logs.store import LogStore
from pilothouse.capabilities.logs.writing import sequence_token
from pilothouse.errors import InvalidParameterException
from pilothouse.storage.pages import InvalidPageToken

_PAGE: Final = 50


@operation("logs", "CreateLogStream", writes=True, callers=Caller.ACCOUNT | Caller.NODE, resources=of_stream)
async def create_log_stream(call: Call, request: Shape) -> Shape:
    """Make a stream."""
    async with call.transaction() as tx:
        group = await found_group(call, tx, request["logGroupName"])
        stream = Stream(
            stream_id=new_id(call.ids.uuid()), account_id=call.account_id, region=call.region,
            group_id=group.group_id, name=request["logStreamName"], created_at=call.clock.millis(),
        )  # fmt: skip
        if not await LogStore(tx, call.account_id, call.region).add_stream(stream):
            raise ResourceAlreadyExistsException("The specified log stream already exists")
    return {}


@operation("logs", "DeleteLogStream", writes=True, resources=of_stream)
async def delete_log_stream(call: Call, request: Shape) -> Shape:
    """Remove a stream with its events."""
    async with call.transaction() as tx:
        group = await found_group(call, tx, request["logGroupName"])
        stream = await found_stream(call, tx, group, request["logStreamName"])
        if not await LogStore(tx, call.account_id, call.region).remove_stream(stream):
            raise no_stream()
    return {}


@operation("logs", "DescribeLogStreams", callers=Caller.ACCOUNT | Caller.NODE, resources=of_group)
async def describe_log_streams(call: Call, request: Shape) -> Shape:
    """The streams of a group, by name or by the time of their last events."""
    prefix, descending = request.get("logStreamNamePrefix"), request.get("descending", False)
    by_time = request.get("orderBy") == "LastEventTime"
    if by_time and prefix is not None:
        raise InvalidParameterException("Cannot order by LastEventTime with a logStreamNamePrefix.")
    most = request.get("limit", _PAGE)
    async with call.reading() as tx:
        group = await found_group(call, tx, identifier(request))
        query = ["DescribeLogStreams", group.group_id, prefix or "", by_time, descending]
        store = LogStore(tx, call.account_id, call.region)
        after = _position(call, query, request)
        if by_time:
            found = await store.streams_by_time(group.group_id, after, most + 1, descending=descending)
        else:
            name = None if after is None else after[1]
            found = await store.streams(group.group_id, prefix or "", name, most + 1, descending=descending)
    shown = found[:most]
    answer: Shape = {"logStreams": [_told(group, each) for each in shown]}
    if len(found) > most:
        answer["nextToken"] = call.house.pages.token(query, [shown[-1].last_at, shown[-1].name])
    return answer


def _position(call: Call, query: list[Any], request: Shape) -> tuple[int, str] | None:
    if "nextToken" not in request:
        return None
    try:
        last_at, name = call.house.pages.position(query, request["nextToken"])
    except (InvalidPageToken, ValueError) as error:
        raise bad_token() from error
    return last_at, name


def _told(group: Group, stream: Stream) -> Shape:
    arn = f"{group_arn(group.account_id, group.region, group.name)}:log-stream:{stream.name}"
    told: Shape = {"logStreamName": stream.name, "creationTime": stream.created_at, "arn": arn, "storedBytes": 0}
    if stream.ingested_at:
        told |= {
            "firstEventTimestamp": stream.first_at,
            "lastEventTimestamp": stream.last_at,
            "lastIngestionTime": stream.ingested_at,
            "uploadSequenceToken": sequence_token(stream.ingested_at),
        }
    return told
