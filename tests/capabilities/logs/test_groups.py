"""Groups and streams: making, listing and removing them, what they are set to, and their tags."""

import sqlite3
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.capabilities.logs.conftest import GROUP, STREAM, Putting
from tests.conftest import Aws, Server


def refused(call: Any, **members: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as error:
        call(**members)
    told = error.value.response["Error"]
    return told["Code"], told["Message"]


def names(groups: list[dict[str, Any]]) -> list[str]:
    return [each["logGroupName"] for each in groups]


def test_what_is_there_and_what_is_not(logs: Any) -> None:
    gone = ("ResourceNotFoundException", "The specified log group does not exist.")
    assert refused(logs.create_log_group, logGroupName=GROUP) == (
        "ResourceAlreadyExistsException", "The specified log group already exists",
    )  # fmt: skip
    assert refused(logs.create_log_stream, logGroupName=GROUP, logStreamName=STREAM) == (
        "ResourceAlreadyExistsException", "The specified log stream already exists",
    )  # fmt: skip
    assert refused(logs.create_log_stream, logGroupName="no", logStreamName="s") == gone
    assert refused(logs.get_log_events, logGroupName=GROUP, logStreamName="no") == (
        "ResourceNotFoundException", "The specified log stream does not exist.",
    )  # fmt: skip
    assert refused(logs.create_log_group, logGroupName="x" * 513)[0] == "InvalidParameterException"
    assert refused(logs.get_log_events, logGroupName=GROUP, logStreamName=STREAM, limit=10_001) == (
        "InvalidParameterException",
        "1 validation error detected: Value '10001' at 'limit' failed to satisfy constraint: "
        "Member must have value less than or equal to 10000",
    )
    logs.delete_log_group(logGroupName=GROUP)
    assert refused(logs.delete_log_group, logGroupName=GROUP) == gone
    assert logs.describe_log_groups()["logGroups"] == []


def test_groups_are_listed_by_name_prefix_pattern_and_identifier(aws: Aws, server: Server) -> None:
    logs, account = aws("logs"), server.application.root.account_id
    for name in ("/b/one", "/a/two", "/a/one", "C"):
        logs.create_log_group(logGroupName=name)
    assert names(logs.describe_log_groups()["logGroups"]) == ["/a/one", "/a/two", "/b/one", "C"]
    pages = list(logs.get_paginator("describe_log_groups").paginate(PaginationConfig={"PageSize": 1}))
    assert [names(page["logGroups"]) for page in pages] == [["/a/one"], ["/a/two"], ["/b/one"], ["C"]]
    assert names(logs.describe_log_groups(logGroupNamePrefix="/a/")["logGroups"]) == ["/a/one", "/a/two"]
    found = logs.describe_log_groups(logGroupNamePattern="one")["logGroups"]
    assert names(found) == ["/a/one", "/b/one"]
    assert "storedBytes" not in found[0]
    arn = f"arn:aws:logs:eu-west-1:{account}:log-group:/a/two"
    one = logs.describe_log_groups(logGroupIdentifiers=[arn, "no"])["logGroups"]
    assert [(each["arn"], each["logGroupArn"]) for each in one] == [(f"{arn}:*", arn)]
    assert refused(logs.describe_log_groups, logGroupNamePrefix="a", logGroupNamePattern="b") == (
        "InvalidParameterException",
        "LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters.",
    )
    assert refused(logs.describe_log_groups, nextToken="no")[1] == "The specified nextToken is invalid."


def test_streams_are_listed_by_name_and_by_time(logs: Any, put: Putting, server: Server) -> None:
    for name in ("b", "a", "silent"):
        logs.create_log_stream(logGroupName=GROUP, logStreamName=name)
    put((-5000, "x"), stream="b")
    put((-3000, "x"), stream="a")

    def listed(**members: Any) -> list[list[str]]:
        pages = logs.get_paginator("describe_log_streams").paginate(
            logGroupName=GROUP, PaginationConfig={"PageSize": 2}, **members
        )
        return [[each["logStreamName"] for each in page["logStreams"]] for page in pages]

    assert listed() == [["a", "b"], [STREAM, "silent"]]
    assert listed(descending=True) == [["silent", STREAM], ["b", "a"]]
    assert listed(orderBy="LastEventTime", descending=True) == [["a", "b"], ["silent", STREAM]]
    assert listed(logStreamNamePrefix="s") == [["silent"]]
    assert refused(logs.describe_log_streams, logGroupName=GROUP, orderBy="LastEventTime", logStreamNamePrefix="s") == (
        "InvalidParameterException", "Cannot order by LastEventTime with a logStreamNamePrefix.",
    )  # fmt: skip
    arn = logs.describe_log_groups()["logGroups"][0]["logGroupArn"]
    assert len(logs.describe_log_streams(logGroupIdentifier=arn)["logStreams"]) == 4
    assert refused(logs.describe_log_streams, logGroupIdentifier=f"{arn}:*") == (
        "InvalidParameterException",
        "1 validation error detected: Value at 'logGroupIdentifier' failed to satisfy constraint: "
        "Member must satisfy regular expression pattern: [\\w#+=/:,.@-]*",
    )
    assert refused(logs.describe_log_streams, logGroupName=GROUP, logGroupIdentifier=arn) == (
        "ValidationException", "LogGroup name and LogGroup ARN are mutually exclusive parameters.",
    )  # fmt: skip


def test_a_removed_stream_is_gone_with_its_events_and_bytes(logs: Any, put: Putting, server: Server) -> None:
    logs.create_log_stream(logGroupName=GROUP, logStreamName="other")
    put("kept", stream="other")
    put("gone")
    logs.delete_log_stream(logGroupName=GROUP, logStreamName=STREAM)
    assert logs.describe_log_groups()["logGroups"][0]["storedBytes"] == 30
    assert [each["message"] for each in logs.filter_log_events(logGroupName=GROUP)["events"]] == ["kept"]
    logs.create_log_stream(logGroupName=GROUP, logStreamName=STREAM)
    assert logs.get_log_events(logGroupName=GROUP, logStreamName=STREAM)["events"] == []


def test_a_protected_group_stays(aws: Aws) -> None:
    logs = aws("logs")
    logs.create_log_group(logGroupName="p", deletionProtectionEnabled=True)
    assert refused(logs.delete_log_group, logGroupName="p")[0] == "ValidationException"
    logs.put_log_group_deletion_protection(logGroupIdentifier="p", deletionProtectionEnabled=False)
    logs.delete_log_group(logGroupName="p")


def test_tags_by_name_and_by_arn_are_the_same(logs: Any, server: Server) -> None:
    arn = logs.describe_log_groups()["logGroups"][0]["logGroupArn"]
    logs.tag_resource(resourceArn=arn, tags={"a": "1", "b": "2"})
    logs.tag_log_group(logGroupName=GROUP, tags={"c": "3", "a": "0"})
    assert logs.list_tags_for_resource(resourceArn=arn)["tags"] == {"a": "0", "b": "2", "c": "3"}
    logs.untag_resource(resourceArn=arn, tagKeys=["a"])
    logs.untag_log_group(logGroupName=GROUP, tags=["b", "none"])
    assert logs.list_tags_log_group(logGroupName=GROUP)["tags"] == {"c": "3"}
    many = {str(number): "x" for number in range(50)}
    assert refused(logs.tag_resource, resourceArn=arn, tags=many)[0] == "TooManyTagsException"
    logs.delete_log_group(logGroupName=GROUP)
    logs.create_log_group(logGroupName=GROUP, tags={"new": "1"})
    assert logs.list_tags_log_group(logGroupName=GROUP)["tags"] == {"new": "1"}


def test_a_key_of_the_account_opens_the_events(aws: Aws, server: Server) -> None:
    logs, kms = aws("logs"), aws("kms")
    key = kms.create_key()["KeyMetadata"]["Arn"]
    logs.create_log_group(logGroupName="k", kmsKeyId=key)
    assert logs.describe_log_groups()["logGroups"][0]["kmsKeyId"] == key
    logs.create_log_stream(logGroupName="k", logStreamName="s")
    events = [{"timestamp": server.clock.millis(), "message": "secret"}]
    logs.put_log_events(logGroupName="k", logStreamName="s", logEvents=events)
    assert logs.get_log_events(logGroupName="k", logStreamName="s")["events"][0]["message"] == "secret"
    kms.disable_key(KeyId=key)
    of = {"logGroupName": "k", "logStreamName": "s"}
    assert refused(logs.get_log_events, **of)[0] == "InvalidParameterException"
    assert refused(logs.put_log_events, **of, logEvents=events)[0] == "InvalidParameterException"
    assert refused(logs.create_log_group, logGroupName="l", kmsKeyId=key)[0] == "InvalidParameterException"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_events_lie_sealed_in_their_place(logs: Any, put: Putting, server: Server) -> None:
    logs.create_log_stream(logGroupName=GROUP, logStreamName="other")
    put("canary-in-the-log", stream="other")
    put("second")
    file = server.settings.database.removeprefix("sqlite:///")
    with sqlite3.connect(file) as database:
        stored = b"".join(row[0] for row in database.execute("select body from log_chunk"))
        assert b"canary" not in stored
        database.execute(
            "update log_chunk set stream_id = (select stream_id from log_stream where name = ?)", (STREAM,)
        )
    assert refused(logs.get_log_events, logGroupName=GROUP, logStreamName=STREAM)[0] == "InternalServerError"
