"""What happens to parameters by themselves and by many at once: policies, events, limits, lines of updates."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from pilothouse.call import House
from pilothouse.capabilities.parameters import changes, jobs, settings, store
from pilothouse.capabilities.parameters.store import ParameterStore
from pilothouse.runtime.clock import TestClock
from pilothouse.runtime.settings import ParameterSettings, Settings
from pilothouse.storage import Transaction, postgresql
from tests.conftest import Server

Aws = Callable[..., Any]


@pytest.fixture
def server(database_url: str, tmp_path: Path, clock: TestClock) -> Iterator[Server]:
    """As everywhere, but clients' clocks may stay behind while days pass."""
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    opened = Server(Settings(data=data, database=database_url, skew_seconds=100 * 86_400), clock)
    try:
        yield opened
    finally:
        opened.close()


@pytest.fixture
def ssm(aws: Aws) -> Any:
    return aws("ssm")


@pytest.fixture
def told(server: Any) -> list[dict[str, Any]]:
    """Every event that was told, in order."""
    heard: list[dict[str, Any]] = []

    async def listen(house: House, tx: Transaction, facts: Mapping[str, Any]) -> None:
        heard.append(dict(facts))

    server.application.house.listeners.setdefault("event", []).append(listen)
    return heard


def policy(kind: str, **attributes: str) -> dict[str, Any]:
    return {"Type": kind, "Version": "1.0", "Attributes": attributes}


def instant(clock: TestClock, **ahead: float) -> str:
    return (clock.now() + timedelta(**ahead)).isoformat(timespec="milliseconds")


def put(ssm: Any, name: str, *policies: dict[str, Any], **more: Any) -> Any:
    if policies:
        more = {"Tier": "Advanced", "Policies": json.dumps(policies), **more}
    return ssm.put_parameter(Name=name, **{"Value": "v", "Type": "String", **more})


def pass_time(server: Any, **by: float) -> None:
    """Let time pass and the job of the policies run once more than it would by itself."""
    server.advance(**by)
    server.run(jobs.act_on_policies.run(server.application.house))


def statuses(ssm: Any, name: str) -> dict[str, str]:
    (found,) = ssm.describe_parameters(ParameterFilters=[{"Key": "Name", "Values": [name]}])["Parameters"]
    return {each["PolicyType"]: each["PolicyStatus"] for each in found.get("Policies", [])}


def actions(told: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [
        (each["detail"]["policy-type"], each["detail"]["action-status"])
        for each in told
        if each["detail_type"] == "Parameter Store Policy Action"
    ]


def code_of(call: Callable[..., Any], **request: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**request)
    code: str = caught.value.response["Error"]["Code"]
    return code


def test_an_expired_parameter_is_gone_and_it_is_told(
    ssm: Any, server: Any, clock: TestClock, told: list[dict[str, Any]]
) -> None:
    put(ssm, "/a/x", policy("Expiration", Timestamp=instant(clock, minutes=1)), Description="words")
    ssm.add_tags_to_resource(ResourceType="Parameter", ResourceId="/a/x", Tags=[{"Key": "k", "Value": "v"}])
    pass_time(server, seconds=50)
    assert ssm.get_parameter(Name="/a/x")["Parameter"]["Value"] == "v"
    pass_time(server, seconds=20)
    assert code_of(ssm.get_parameter, Name="/a/x") == "ParameterNotFound"
    assert actions(told) == [("Expiration", "Success")]
    arn = told[0]["resources"][0]
    assert arn.endswith(":parameter/a/x")
    kinds = [(each["detail_type"], each["detail"].get("operation"), each["resources"]) for each in told]
    assert kinds == [
        ("Parameter Store Change", "Create", [arn]),
        ("Parameter Store Policy Action", None, [arn]),
        ("Parameter Store Change", "Delete", [arn]),
    ]
    assert told[2]["detail"] == {"operation": "Delete", "name": "/a/x", "type": "String", "description": "words"}
    put(ssm, "/a/x")
    pass_time(server, hours=2)
    assert ssm.get_parameter(Name="/a/x")["Parameter"]["Version"] == 1


def test_a_new_value_does_not_move_the_expiration_and_an_empty_list_takes_it_away(
    ssm: Any, server: Any, clock: TestClock
) -> None:
    expires = policy("Expiration", Timestamp=instant(clock, minutes=10))
    put(ssm, "moved", expires)
    put(ssm, "kept", expires)
    pass_time(server, minutes=9)
    ssm.put_parameter(Name="moved", Value="w", Overwrite=True)
    ssm.put_parameter(Name="kept", Value="w", Overwrite=True, Policies="[{}]")
    pass_time(server, minutes=2)
    assert code_of(ssm.get_parameter, Name="moved") == "ParameterNotFound"
    assert ssm.get_parameter(Name="kept")["Parameter"]["Value"] == "w"


def test_notifications_are_told_once(ssm: Any, server: Any, clock: TestClock, told: list[dict[str, Any]]) -> None:
    put(
        ssm,
        "x",
        policy("Expiration", Timestamp=instant(clock, days=10)),
        policy("ExpirationNotification", Before="2", Unit="Days"),
        policy("ExpirationNotification", Before="5", Unit="Hours"),
    )
    pass_time(server, days=7)
    assert actions(told) == []
    pass_time(server, days=1, seconds=1)
    assert actions(told) == [("ExpirationNotification", "Success")]
    pass_time(server, hours=1)
    assert len(actions(told)) == 1
    pass_time(server, hours=43)
    assert actions(told) == [("ExpirationNotification", "Success")] * 2
    assert json.loads(told[-1]["detail"]["policy-content"])["Attributes"] == {"Before": "5", "Unit": "Hours"}
    assert statuses(ssm, "x") == {"Expiration": "Pending", "ExpirationNotification": "Finished"}


def test_no_change_begins_anew_with_each_change(
    ssm: Any, server: Any, clock: TestClock, told: list[dict[str, Any]]
) -> None:
    put(ssm, "x", policy("NoChangeNotification", After="3", Unit="Hours"))
    pass_time(server, hours=2)
    ssm.put_parameter(Name="x", Value="w", Overwrite=True)
    pass_time(server, hours=2)
    assert actions(told) == []
    pass_time(server, hours=1, seconds=1)
    assert actions(told) == [("NoChangeNotification", "Success")]
    assert statuses(ssm, "x") == {"NoChangeNotification": "Finished"}
    ssm.put_parameter(Name="x", Value="w", Overwrite=True)
    assert statuses(ssm, "x") == {"NoChangeNotification": "Pending"}
    pass_time(server, hours=3, seconds=1)
    assert len(actions(told)) == 2


def test_a_policy_that_cannot_be_carried_out_fails_and_is_told_as_that(
    ssm: Any, server: Any, clock: TestClock, told: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(ssm, "x", policy("Expiration", Timestamp=instant(clock, minutes=1)))

    async def broken(*_: Any) -> None:
        raise RuntimeError("nothing can be removed")

    monkeypatch.setattr(changes, "remove", broken)
    pass_time(server, minutes=2)
    pass_time(server, minutes=2)
    assert actions(told)[-1:] == [("Expiration", "Failed")]
    assert statuses(ssm, "x") == {"Expiration": "Failed"}
    assert ssm.get_parameter(Name="x")["Parameter"]["Value"] == "v"


def test_rounds_at_once_and_after_a_death_act_once(
    ssm: Any, server: Any, clock: TestClock, told: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(30):
        put(ssm, f"/p/{number}", policy("Expiration", Timestamp=instant(clock, minutes=1)))
    house = server.application.house

    class Killed(BaseException):
        pass

    async def killed(*_: Any) -> None:
        raise Killed

    async def dies() -> None:
        with pytest.raises(Killed):
            await jobs.act_on_policies.run(house)

    async def at_once() -> None:
        await asyncio.gather(*(jobs.act_on_policies.run(house) for _ in range(3)))

    with monkeypatch.context() as patched:
        patched.setattr(clock, "_offset_ms", 120_000)
        patched.setattr(jobs, "_carried_out", killed)
        server.run(dies())
    clock._offset_ms = 120_000
    server.run(at_once())
    assert ssm.describe_parameters()["Parameters"] == []
    assert actions(told) == [("Expiration", "Success")] * 30


def test_every_change_is_told_without_the_value(ssm: Any, told: list[dict[str, Any]]) -> None:
    ssm.put_parameter(Name="/x", Value="canary-1", Type="SecureString")
    ssm.put_parameter(Name="/x", Value="canary-2", Overwrite=True, Description="words")
    ssm.label_parameter_version(Name="/x", Labels=["l"])
    ssm.label_parameter_version(Name="/x", Labels=["1"])  # no label: nothing happens
    ssm.unlabel_parameter_version(Name="/x", ParameterVersion=2, Labels=["l"])
    ssm.delete_parameters(Names=["/x"])
    assert [each["detail"]["operation"] for each in told] == [
        "Create",
        "Update",
        "LabelParameterVersion",
        "LabelParameterVersion",
        "Delete",
    ]
    assert {each["source"] for each in told} == {"aws.ssm"}
    assert told[0]["detail"] == {"operation": "Create", "name": "/x", "type": "SecureString"}
    assert {each["detail"]["description"] for each in told[1:]} == {"words"}
    assert "canary" not in repr(told)


def limit(server: Any, monkeypatch: pytest.MonkeyPatch, **to: int) -> None:
    house = server.application.house
    monkeypatch.setattr(house, "settings", replace(house.settings, parameters=ParameterSettings(**to)))


def test_each_tier_has_its_limit(ssm: Any, server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    limit(server, monkeypatch, standard_limit=3, advanced_limit=2)
    for number in range(3):
        put(ssm, f"/s/{number}")
    with pytest.raises(ClientError) as refused:
        put(ssm, "/s/3")
    assert refused.value.response["Error"]["Code"] == "ParameterLimitExceeded"
    assert refused.value.response["Error"]["Message"] == (
        "You have reached the maximum number of standard parameters for this AWS account and Region (3). To add more "
        "parameters, either delete existing parameters or upgrade to the advanced-parameter tier (charges apply)."
    )
    assert put(ssm, "/s/0", Overwrite=True)["Version"] == 2
    assert put(ssm, "/i/0", Tier="Intelligent-Tiering")["Tier"] == "Advanced"
    assert put(ssm, "/s/1", Overwrite=True, Tier="Advanced")["Tier"] == "Advanced"
    assert code_of(put, ssm=ssm, name="/a/0", Tier="Advanced") == "ParameterLimitExceeded"
    put(ssm, "/s/3")
    assert code_of(put, ssm=ssm, name="/s/4") == "ParameterLimitExceeded"
    ssm.delete_parameters(Names=["/s/0", "/s/1", "/s/2", "/s/3", "/i/0"])
    assert put(ssm, "/a/0", Tier="Advanced")["Tier"] == "Advanced"
    limit(server, monkeypatch, standard_limit=0)
    for number in range(5):
        put(ssm, f"/n/{number}")


def test_creations_at_once_do_not_overstep_the_limit(ssm: Any, server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    limit(server, monkeypatch, standard_limit=10)

    def create(number: int) -> str:
        try:
            put(ssm, f"/x/{number}")
        except ClientError as error:
            code: str = error.response["Error"]["Code"]
            return code
        return "made"

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(create, range(24)))
    assert sorted(answers) == ["ParameterLimitExceeded"] * 14 + ["made"] * 10


def test_the_account_s_tier_holds_for_puts_that_name_none(ssm: Any) -> None:
    def let_it_be(tier: str) -> None:
        ssm.update_service_setting(SettingId=settings.DEFAULT_TIER, SettingValue=tier)

    assert code_of(put, ssm=ssm, name="big", Value="x" * 5000) == "ValidationException"
    let_it_be("Intelligent-Tiering")
    assert put(ssm, "big", Value="x" * 5000)["Tier"] == "Advanced"
    assert put(ssm, "small")["Tier"] == "Standard"
    assert put(ssm, "small", Overwrite=True, Value="x" * 5000)["Tier"] == "Advanced"
    let_it_be("Advanced")
    assert put(ssm, "other")["Tier"] == "Advanced"
    assert put(ssm, "third", Tier="Standard")["Tier"] == "Standard"


def test_sixty_four_updates_at_once_leave_no_gap_and_lose_nothing(ssm: Any) -> None:
    put(ssm, "x", Value="first")

    def update(number: int) -> tuple[int, str]:
        try:
            answer = ssm.put_parameter(Name="x", Value=f"value {number}", Overwrite=True)
        except ClientError as error:
            return 0, error.response["Error"]["Code"]
        return answer["Version"], f"value {number}"

    with ThreadPoolExecutor(64) as threads:
        answers = list(threads.map(update, range(64)))
    refused = [text for number, text in answers if not number]
    made = dict(answer for answer in answers if answer[0])
    assert set(refused) <= {"TooManyUpdates"}
    assert sorted(made) == list(range(2, 2 + len(made)))
    assert made
    pages = ssm.get_paginator("get_parameter_history").paginate(Name="x")
    history = {each["Version"]: each["Value"] for page in pages for each in page["Parameters"]}
    assert history == {1: "first", **made}


def test_a_full_line_answers_at_once_and_only_for_its_name(ssm: Any, server: Any) -> None:
    house = server.application.house
    put(ssm, "/x")
    go = asyncio.Event()

    async def block() -> None:
        async with house.database.transaction() as tx:
            await ParameterStore(tx, server.application.root.account_id, "eu-west-1").lock("x")
            await go.wait()

    blocking = asyncio.run_coroutine_threadsafe(block(), server._loop)
    with ThreadPoolExecutor(9) as threads:
        waiting = [threads.submit(ssm.put_parameter, Name="/x", Value="w", Overwrite=True) for _ in range(9)]
        done = next(iter(as_completed(waiting, timeout=30)))
        with pytest.raises(ClientError, match="TooManyUpdates"):
            done.result()
        server._loop.call_soon_threadsafe(go.set)
        blocking.result(30)
        others = [each.result()["Version"] for each in waiting if each is not done]
    assert sorted(others) == list(range(2, 10))


def test_an_update_that_waits_too_long_for_another_process_is_told_so(
    ssm: Any, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On SQLite writers of all names wait for one another, and a wait ends with the other's turn."""
    monkeypatch.setattr(postgresql, "_LOCK_SECONDS", 0.2)
    put(ssm, "/x")
    held, go = threading.Event(), asyncio.Event()

    async def block() -> None:
        async with server.application.house.database.transaction() as tx:
            await ParameterStore(tx, server.application.root.account_id, "eu-west-1").lock("x")
            held.set()
            await go.wait()

    blocking = asyncio.run_coroutine_threadsafe(block(), server._loop)
    assert held.wait(30)
    if server.application.house.database.engine == "postgresql":
        for call, request in (
            (ssm.put_parameter, {"Value": "w", "Overwrite": True}),
            (ssm.label_parameter_version, {"Labels": ["l"]}),
            (ssm.unlabel_parameter_version, {"Labels": ["l"], "ParameterVersion": 1}),
        ):
            assert code_of(call, Name="/x", **request) == "TooManyUpdates"
        put(ssm, "/of/another/name")
    server._loop.call_soon_threadsafe(go.set)
    blocking.result(30)
    assert put(ssm, "/x", Overwrite=True)["Version"] == 2


def test_deletes_of_mixed_tiers_never_wait_in_a_circle(
    ssm: Any, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """All count in one slot, of two tiers: one call comes to the tiers in the one order, the other in the other."""
    monkeypatch.setattr(store, "SLOTS", 1)
    names = [f"p{number}" for number in range(8)]
    tiers = ["Standard", "Advanced"]
    with ThreadPoolExecutor(8) as threads:
        for _ in range(12):
            made = [(name, tiers[(at + at // 4) % 2]) for at, name in enumerate(names)]
            list(threads.map(lambda one: put(ssm, one[0], Tier=one[1]), made))
            deletes = [threads.submit(ssm.delete_parameters, Names=some) for some in (names[:4], names[4:])]
            gone = [each.result()["DeletedParameters"] for each in deletes]
            assert gone == [names[:4], names[4:]]

    async def counted() -> list[int]:
        async with server.application.house.database.reading() as tx:
            store = ParameterStore(tx, server.application.root.account_id, "eu-west-1")
            return [await store.count(tier) for tier in tiers]

    assert server.run(counted()) == [0, 0]
