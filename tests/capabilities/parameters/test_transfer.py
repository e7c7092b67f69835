"""Imports, moves, restores and the trash, through botocore clients."""

import asyncio
import json
from datetime import timedelta

import pytest
from botocore.exceptions import ClientError

from pilothouse.capabilities.parameters import trash
from pilothouse.capabilities.parameters.trash.store import TrashStore


def code(raised: pytest.ExceptionInfo[ClientError]) -> str:
    return raised.value.response["Error"]["Code"]


def message(raised: pytest.ExceptionInfo[ClientError]) -> str:
    return raised.value.response["Error"]["Message"]


@pytest.fixture
def ssm(aws):
    return aws("ssm")


@pytest.fixture
def own(aws):
    return aws("pilothouse")


def secret(ssm, name: str) -> str:
    return ssm.get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"]


def put(ssm, name: str, value: str, **more) -> int:
    return ssm.put_parameter(Name=name, Value=value, **{"Type": "String", **more})["Version"]


def names(ssm) -> list[str]:
    return sorted(
        each["Name"] for page in ssm.get_paginator("describe_parameters").paginate() for each in page["Parameters"]
    )


def test_import_adds_changes_and_leaves(ssm, own):
    put(ssm, "/i/same", "1")
    put(ssm, "/i/other", "1")
    entries = [
        {"Name": "/i/same", "Type": "String", "Value": "1"},
        {"Name": "/i/other", "Type": "String", "Value": "2", "Tags": [{"Key": "k", "Value": "v"}]},
        {"Name": "/i/new", "Type": "SecureString", "Value": "s3cret", "Labels": ["prod"], "Description": "d"},
    ]
    dry = own.import_parameters(Entries=entries, DryRun=True)["Changes"]
    assert [each["Change"] for each in dry] == ["Unchanged", "Conflict", "Added"]
    assert names(ssm) == ["/i/other", "/i/same"]
    with pytest.raises(ClientError) as raised:
        own.import_parameters(Entries=entries)
    assert code(raised) == "ParameterAlreadyExists"
    assert message(raised).startswith("Entry 2 (/i/other): ")
    assert names(ssm) == ["/i/other", "/i/same"]
    done = own.import_parameters(Entries=entries, OnExisting="overwrite")["Changes"]
    assert [(each["Change"], each["Version"]) for each in done] == [("Unchanged", 1), ("Changed", 2), ("Added", 1)]
    assert done[1]["Members"] == ["Value", "Tags"]
    assert secret(ssm, "/i/new:prod") == "s3cret"
    tagged = ssm.list_tags_for_resource(ResourceType="Parameter", ResourceId="/i/other")["TagList"]
    assert tagged == [{"Key": "k", "Value": "v"}]
    again = own.import_parameters(Entries=entries, OnExisting="skip")["Changes"]
    assert {each["Change"] for each in again} == {"Unchanged"}


@pytest.mark.parametrize(
    ("bad", "expected", "text"),
    [
        ({"Name": "/i/b c", "Type": "String", "Value": "1"}, "ValidationException", "sub-paths"),
        ({"Name": "/i/b", "Value": "1"}, "ValidationException", "A parameter type is required"),
        ({"Name": "/i/b", "Type": "String", "Value": "x" * 4097}, "ValidationException", "4096"),
        ({"Name": "/i/a", "Type": "String", "Value": "1"}, "ValidationException", "entry 1"),
        ({"Name": "/i/b", "Type": "String", "Value": "1", "Labels": ["1a"]}, "ValidationException", "1a"),
        ({"Name": "/i/b", "Type": "SecureString", "Value": "x", "KeyId": "alias/none"}, "InvalidKeyId", "alias/none"),
    ],
)
def test_one_bad_entry_changes_nothing(ssm, own, bad, expected, text):
    with pytest.raises(ClientError) as raised:
        own.import_parameters(Entries=[{"Name": "/i/a", "Type": "String", "Value": "1"}, bad])
    assert code(raised) == expected
    assert message(raised).startswith(f"Entry 2 ({bad['Name']}): ")
    assert text in message(raised)
    assert names(ssm) == []


def test_move_takes_everything_along(ssm, own):
    put(ssm, "/m/a", "one", Type="SecureString", Tags=[{"Key": "k", "Value": "v"}])
    ssm.put_parameter(Name="/m/a", Value="two", Overwrite=True)
    ssm.label_parameter_version(Name="/m/a", ParameterVersion=1, Labels=["first"])
    put(ssm, "/m/b/c", "x")
    put(ssm, "/mm", "outside")
    moved = own.move_parameters(Source="/m", Destination="/n/m", Recursive=True)["Moves"]
    assert moved == [
        {"Source": "/m/a", "Destination": "/n/m/a"},
        {"Source": "/m/b/c", "Destination": "/n/m/b/c"},
    ]
    assert names(ssm) == ["/mm", "/n/m/a", "/n/m/b/c"]
    assert secret(ssm, "/n/m/a") == "two"
    assert secret(ssm, "/n/m/a:first") == "one"
    tagged = ssm.list_tags_for_resource(ResourceType="Parameter", ResourceId="/n/m/a")["TagList"]
    assert tagged == [{"Key": "k", "Value": "v"}]
    assert [each["Name"] for each in ssm.get_parameters_by_path(Path="/n/m")["Parameters"]] == ["/n/m/a"]
    with pytest.raises(ClientError) as raised:
        ssm.get_parameter(Name="/m/a")
    assert code(raised) == "ParameterNotFound"


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("/m", "/m/inside", "ValidationException"),
        ("/m", "/m", "ValidationException"),
        ("/m", "/taken", "ParameterAlreadyExists"),
        ("/none", "/n", "ParameterNotFound"),
        ("/m", "/aws/n", "AccessDeniedException"),
        ("/m", "/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15", "HierarchyLevelLimitExceededException"),
    ],
)
def test_a_move_that_cannot_be_moves_nothing(ssm, own, source, target, expected):
    for name in ("/m/a", "/m/z", "/taken/z"):
        put(ssm, name, "1")
    with pytest.raises(ClientError) as raised:
        own.move_parameters(Source=source, Destination=target, Recursive=True)
    assert code(raised) == expected
    assert names(ssm) == ["/m/a", "/m/z", "/taken/z"]


def test_a_dry_move_moves_nothing(ssm, own):
    put(ssm, "/m/a", "1")
    assert own.move_parameters(Source="/m/a", Destination="/n", DryRun=True)["Moves"]
    assert names(ssm) == ["/m/a"]


def test_restore_as_of(ssm, own, server):
    put(ssm, "/r/changed", "old", Type="SecureString")
    put(ssm, "/r/deleted", "was", Type="SecureString", Tags=[{"Key": "k", "Value": "v"}])
    ssm.put_parameter(Name="/r/deleted", Value="there", Overwrite=True)
    ssm.label_parameter_version(Name="/r/deleted", ParameterVersion=1, Labels=["first"])
    put(ssm, "/r/same", "1")
    server.advance(minutes=1)
    moment = server.clock.now()
    server.advance(minutes=1)
    ssm.put_parameter(Name="/r/changed", Value="new", Overwrite=True)
    ssm.delete_parameter(Name="/r/deleted")
    put(ssm, "/r/newer", "1")
    dry = own.restore_parameters(Path="/r", AsOf=moment, DryRun=True, DeleteNewer=True)["Changes"]
    found = {each["Name"]: each["Change"] for each in dry}
    assert found == {"/r/changed": "Restored", "/r/deleted": "Recreated", "/r/newer": "Deleted", "/r/same": "Unchanged"}
    assert names(ssm) == ["/r/changed", "/r/newer", "/r/same"]
    kept = own.restore_parameters(Path="/r", AsOf=moment)["Changes"]
    assert {each["Change"] for each in kept} == {"Restored", "Recreated", "Newer", "Unchanged"}
    assert secret(ssm, "/r/changed") == "old"
    assert ssm.get_parameter(Name="/r/changed")["Parameter"]["Version"] == 3
    assert secret(ssm, "/r/deleted") == "there"
    assert secret(ssm, "/r/deleted:first") == "was"
    tagged = ssm.list_tags_for_resource(ResourceType="Parameter", ResourceId="/r/deleted")["TagList"]
    assert tagged == [{"Key": "k", "Value": "v"}]
    own.restore_parameters(Path="/r", AsOf=moment, DeleteNewer=True)
    assert names(ssm) == ["/r/changed", "/r/deleted", "/r/same"]


def test_what_is_no_longer_kept_is_told(ssm, own, server):
    moment = server.clock.now() + timedelta(seconds=1)
    put(ssm, "/r/x", "0")
    server.advance(minutes=1)
    for number in range(100):
        ssm.put_parameter(Name="/r/x", Value=f"{number + 1}", Overwrite=True)
    (change,) = own.restore_parameters(Path="/r", AsOf=moment)["Changes"]
    assert change["Change"] == "Impossible"
    assert "no longer kept" in change["Reason"]
    assert secret(ssm, "/r/x") == "100"


def test_the_future_cannot_be_restored(own, server):
    with pytest.raises(ClientError) as raised:
        own.restore_parameters(Path="/r", AsOf=server.clock.now() + timedelta(hours=1))
    assert code(raised) == "ValidationException"


def test_trash_lists_and_gives_back(ssm, own, server):
    for life in ("one", "two"):
        put(ssm, "/t/x", life, Type="SecureString")
        ssm.delete_parameter(Name="/t/x")
    page = own.list_trashed_parameters(Path="/t", MaxResults=1)
    rest = own.list_trashed_parameters(Path="/t", NextToken=page["NextToken"])
    assert [each["Name"] for each in page["Parameters"] + rest["Parameters"]] == ["/t/x", "/t/x"]
    assert "NextToken" not in rest
    assert own.restore_trashed_parameter(Name="/t/x")["Version"] == 1
    assert secret(ssm, "/t/x") == "two"
    with pytest.raises(ClientError) as raised:
        own.restore_trashed_parameter(Name="/t/x")
    assert code(raised) == "ParameterAlreadyExists"


def test_the_trash_is_emptied_after_its_time(ssm, server):
    put(ssm, "/t/x", "1")
    ssm.delete_parameter(Name="/t/x")
    house = server.application.house

    async def lies_there() -> bool:
        await trash.empty_trash.run(house)
        async with house.database.reading() as tx:
            account_id = server.application.root.account_id
            return await TrashStore(tx, account_id, "eu-west-1").newest("t/x") is not None

    server.advance(days=29)
    assert server.run(lies_there())
    server.advance(days=2)
    assert not server.run(lies_there())


def history(ssm, name: str) -> list[tuple[int, str, list[str]]]:
    found = ssm.get_parameter_history(Name=name, WithDecryption=True)["Parameters"]
    return [(each["Version"], each["Value"], each["Labels"]) for each in found]


def test_an_import_brings_history_and_labels(ssm, own):
    entry = {
        "Name": "/h/x", "Type": "SecureString", "Value": "three", "Labels": ["now"], "Description": "d",
        "Tags": [{"Key": "k", "Value": "v"}],
        "History": [{"Value": "one", "Labels": ["a", "b"], "AllowedPattern": "o.*"}, {"Value": "two"}],
    }  # fmt: skip
    assert own.import_parameters(Entries=[entry])["Changes"] == [{"Name": "/h/x", "Change": "Added", "Version": 3}]
    assert history(ssm, "/h/x") == [(1, "one", ["a", "b"]), (2, "two", []), (3, "three", ["now"])]
    found = ssm.get_parameter_history(Name="/h/x")["Parameters"]
    assert [(each.get("AllowedPattern"), each.get("Description")) for each in found] == [
        ("o.*", None), (None, None), (None, "d"),
    ]  # fmt: skip
    tagged = ssm.list_tags_for_resource(ResourceType="Parameter", ResourceId="/h/x")["TagList"]
    assert tagged == entry["Tags"]
    assert own.import_parameters(Entries=[entry])["Changes"][0]["Change"] == "Unchanged"
    (change,) = own.import_parameters(Entries=[entry | {"Value": "four"}], OnExisting="overwrite")["Changes"]
    assert change["Version"] == 4
    assert "history" in change["Reason"]


def test_a_bad_version_of_a_history_changes_nothing(ssm, own):
    good = {"Name": "/h/a", "Type": "String", "Value": "1"}
    bad = {"Name": "/h/b", "Type": "String", "Value": "1", "History": [{"Value": "1"}, {"Value": "x" * 4097}]}
    with pytest.raises(ClientError) as raised:
        own.import_parameters(Entries=[good, bad])
    assert message(raised).startswith("Entry 2 (/h/b): Version 2 of its history: ")
    assert names(ssm) == []


def test_an_expiration_that_is_past_does_not_keep_a_history_from_coming(ssm, own, server):
    past = (server.clock.now() - timedelta(days=1)).isoformat()
    policies = json.dumps([{"Type": "Expiration", "Version": "1.0", "Attributes": {"Timestamp": past}}])
    entry = {"Name": "/h/x", "Type": "String", "Value": "2", "Tier": "Advanced"}
    earlier = {"Value": "1", "Tier": "Advanced", "Policies": policies}
    own.import_parameters(Entries=[entry | {"History": [earlier]}])
    assert [each["Policies"] for each in ssm.get_parameter_history(Name="/h/x")["Parameters"]] == [[], []]
    with pytest.raises(ClientError) as raised:
        own.import_parameters(Entries=[entry | {"Name": "/h/y", "History": [earlier | {"Policies": "["}]}])
    assert code(raised) == "InvalidPolicyAttributeException"


def test_a_shared_parameter_moves_only_when_the_sharing_may_end(ssm, own, server):
    put(ssm, "/m/a", "1")
    put(ssm, "/m/shared", "1", Tier="Advanced")
    arn = ssm.get_parameter(Name="/m/shared")["Parameter"]["ARN"]
    statement = {"Effect": "Allow", "Principal": {"AWS": "111122223333"}, "Action": "ssm:GetParameter", "Resource": arn}
    ssm.put_resource_policy(ResourceArn=arn, Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
    for dry in (True, False):
        with pytest.raises(ClientError) as raised:
            own.move_parameters(Source="/m", Destination="/n", Recursive=True, DryRun=dry)
        assert code(raised) == "ValidationException"
        assert message(raised).startswith("/m/shared can't be moved, so nothing was: ")
        assert "--drop-sharing" in message(raised)
    assert names(ssm) == ["/m/a", "/m/shared"]
    assert len(ssm.get_resource_policies(ResourceArn=arn)["Policies"]) == 1
    own.move_parameters(Source="/m", Destination="/n", Recursive=True, DropSharing=True)
    assert names(ssm) == ["/n/a", "/n/shared"]
    assert ssm.get_resource_policies(ResourceArn=arn.replace("/m/", "/n/"))["Policies"] == []
    put(ssm, "/m/shared", "another", Tier="Advanced")
    assert ssm.get_resource_policies(ResourceArn=arn)["Policies"] == []


@pytest.fixture
def told(server):
    """What was told as committed, in order: (operation, name)."""
    heard = []

    async def listen(house, tx, facts) -> None:
        assert "s3cret" not in str(facts)
        tx.after_commit(lambda: heard.append((facts["detail"]["operation"], facts["detail"]["name"])))

    server.application.house.listeners.setdefault("event", []).append(listen)
    return heard


def since(told: list[tuple[str, str]]) -> list[tuple[str, str]]:
    found = list(told)
    told.clear()
    return found


def test_every_change_is_told(ssm, own, server, told):
    entries = [
        {"Name": "/e/a", "Type": "SecureString", "Value": "s3cret"},
        {"Name": "/e/b", "Type": "String", "Value": "2", "Labels": ["l"], "History": [{"Value": "1"}]},
    ]
    own.import_parameters(Entries=entries)
    assert since(told) == [
        ("Create", "/e/a"), ("Create", "/e/b"), ("Update", "/e/b"), ("LabelParameterVersion", "/e/b"),
    ]  # fmt: skip
    server.advance(minutes=1)
    moment = server.clock.now()
    server.advance(minutes=1)
    own.import_parameters(Entries=[entries[0] | {"Value": "new-s3cret"}], OnExisting="overwrite")
    assert since(told) == [("Update", "/e/a")]
    own.restore_parameters(Path="/e", AsOf=moment)
    assert since(told) == [("Update", "/e/a")]
    own.move_parameters(Source="/e", Destination="/f", Recursive=True)
    assert since(told) == [("Delete", "/e/a"), ("Create", "/f/a"), ("Delete", "/e/b"), ("Create", "/f/b")]
    ssm.delete_parameter(Name="/f/a")
    since(told)
    own.restore_trashed_parameter(Name="/f/a")
    assert since(told) == [("Create", "/f/a")]
    own.restore_parameters(Path="/f", AsOf=moment - timedelta(days=1), DeleteNewer=True)
    assert sorted(since(told)) == [("Delete", "/f/a"), ("Delete", "/f/b")]


def test_a_dry_run_and_a_failure_tell_nothing(ssm, own, server):
    put(ssm, "/e/a", "1")
    count = "select count(*) from event"

    async def events() -> int:
        async with server.application.house.database.reading() as tx:
            return await tx.value(count)

    before = server.run(events())
    own.import_parameters(Entries=[{"Name": "/e/b", "Type": "String", "Value": "1"}], DryRun=True)
    own.move_parameters(Source="/e", Destination="/f", Recursive=True, DryRun=True)
    with pytest.raises(ClientError):
        own.import_parameters(
            Entries=[{"Name": "/e/b", "Type": "String", "Value": "1"}, {"Name": "/e/c", "Value": "1"}]
        )
    assert server.run(events()) == before


def test_reads_are_answered_while_an_import_runs(own, server):
    """On the server's one event loop a reader gets its turns between the entries."""
    house = server.application.house
    done = 0
    seen = []

    async def read_on() -> None:
        nonlocal done
        while True:
            async with house.database.reading() as tx:
                await tx.value("select count(*) from parameter")
            done += 1
            await asyncio.sleep(0)

    async def listen(house, tx, facts) -> None:
        seen.append(done)

    house.listeners["event"].append(listen)
    reading = asyncio.run_coroutine_threadsafe(read_on(), server._loop)
    own.import_parameters(Entries=[{"Name": f"/r/{n:03}", "Type": "String", "Value": "x"} for n in range(100)])
    reading.cancel()
    assert len(seen) == 100
    assert seen[-1] - seen[0] > 10
