"""Lists of nodes: whether they answer, filters, pages."""

import operator
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.capabilities.nodes.conftest import ACCOUNT, REGION, Fleet

from pilothouse.capabilities.nodes.model import (
    InvalidActivationId,
    InvalidFilterKey,
    InvalidInstanceId,
    InvalidInstanceInformationFilterValue,
    InvalidInstancePropertyFilterValue,
    InvalidNextToken,
)
from pilothouse.errors import ValidationException


async def ping_status(fleet: Fleet, node_id: str) -> str:
    return str((await fleet.shown(node_id))["PingStatus"])


async def connection(fleet: Fleet, node_id: str, **where: str) -> str:
    answer = await fleet.ask("GetConnectionStatus", Target=node_id, **where)
    assert answer["Target"] == node_id
    return str(answer["Status"])


async def test_a_silent_node_turns_connection_lost_by_itself(fleet: Fleet) -> None:
    clock: Any = fleet.house.clock
    node_id = await fleet.register()
    assert await ping_status(fleet, node_id) == "ConnectionLost"
    await fleet.ping(node_id)
    clock.advance(seconds=320)
    assert await ping_status(fleet, node_id) == "Online"
    clock.advance(seconds=11)
    assert await ping_status(fleet, node_id) == "ConnectionLost"
    await fleet.ping(node_id)
    assert await ping_status(fleet, node_id) == "Online"


async def test_an_open_channel_is_online_and_connected_and_nothing_else_is_connected(fleet: Fleet) -> None:
    node_id = await fleet.register()
    await fleet.ping(node_id)
    assert (await ping_status(fleet, node_id), await connection(fleet, node_id)) == ("Online", "notconnected")
    await fleet.open_channel(node_id)
    assert await connection(fleet, node_id) == "connected"
    assert await connection(fleet, node_id, account="999988887777") == "notconnected"
    await fleet.close_channel(node_id)
    assert (await ping_status(fleet, node_id), await connection(fleet, node_id)) == ("Online", "notconnected")
    assert await connection(fleet, "mi-" + "0" * 17) == "notconnected"


async def test_a_channel_alone_keeps_a_node_online(fleet: Fleet) -> None:
    clock: Any = fleet.house.clock
    node_id = await fleet.register()
    await fleet.ping(node_id)
    clock.advance(hours=1)
    await fleet.open_channel(node_id)
    found = await fleet.shown(node_id)
    assert found["PingStatus"] == "Online"
    assert (clock.now() - found["LastPingDateTime"]).total_seconds() < 60


async def test_an_unknown_id_is_an_empty_list_and_an_impossible_one_an_error(fleet: Fleet) -> None:
    assert await fleet.listed(("InstanceIds", ["mi-" + "0" * 17])) == []
    with pytest.raises(InvalidInstanceId):
        await fleet.listed(("InstanceIds", ["web-1"]))


@pytest.mark.parametrize("key", ["Foo", "tag:", "instanceids", "Name", "tag"])
async def test_a_key_that_is_not_known_is_refused(fleet: Fleet, key: str) -> None:
    with pytest.raises(InvalidFilterKey):
        await fleet.listed((key, ["x"]))


@pytest.mark.parametrize("key", ["PingStatus", "PlatformTypes", "ResourceType"])
async def test_a_value_that_the_key_cannot_have_is_refused(fleet: Fleet, key: str) -> None:
    with pytest.raises(InvalidInstanceInformationFilterValue):
        await fleet.listed((key, ["Sideways"]))


async def test_both_filter_lists_together_are_refused_and_each_alone_works(fleet: Fleet) -> None:
    node_id = await fleet.register()
    new = [{"Key": "IamRole", "Values": ["NodeRole"]}]
    legacy = [{"key": "IamRole", "valueSet": ["NodeRole"]}]
    with pytest.raises(ValidationException):
        await fleet.ask("DescribeInstanceInformation", Filters=new, InstanceInformationFilterList=legacy)
    answer = await fleet.ask("DescribeInstanceInformation", InstanceInformationFilterList=legacy)
    assert [each["InstanceId"] for each in answer["InstanceInformationList"]] == [node_id]


async def test_the_name_tag_beats_the_name_of_the_activation(fleet: Fleet) -> None:
    plain, named = await fleet.register(DefaultInstanceName="given"), await fleet.register(DefaultInstanceName="given")
    nameless = await fleet.register()
    await fleet.tag(named, Name="chosen", env="dev")
    answer = await fleet.ask("DescribeInstanceInformation")
    names = {each["InstanceId"]: each["Name"] for each in answer["InstanceInformationList"]}
    assert names == {plain: "given", named: "chosen", nameless: None}


async def test_ten_nodes_are_a_page_unless_asked_otherwise(fleet: Fleet) -> None:
    activation = await fleet.activate(RegistrationLimit=12)
    ids = sorted([await fleet.register_with(activation) for _ in range(12)])
    first = await fleet.ask("DescribeInstanceInformation")
    assert [each["InstanceId"] for each in first["InstanceInformationList"]] == ids[:10]
    second = await fleet.ask("DescribeInstanceInformation", NextToken=first["NextToken"])
    assert [each["InstanceId"] for each in second["InstanceInformationList"]] == ids[10:]
    assert second["NextToken"] is None
    ping = [{"Key": "PingStatus", "Values": ["ConnectionLost"]}]
    for other in ({"Filters": ping}, {"region": "us-east-1"}, {"account": "999988887777"}):
        with pytest.raises(InvalidNextToken):
            await fleet.ask("DescribeInstanceInformation", NextToken=first["NextToken"], **other)
    with pytest.raises(InvalidNextToken):
        await fleet.ask("DescribeInstanceProperties", NextToken=first["NextToken"])


async def test_accounts_and_regions_do_not_see_each_others_nodes(fleet: Fleet) -> None:
    await fleet.register()
    assert (await fleet.ask("DescribeInstanceInformation", region="us-east-1"))["InstanceInformationList"] == []
    assert (await fleet.ask("DescribeInstanceInformation", account="999988887777"))["InstanceInformationList"] == []


async def test_properties_compare_versions_by_their_numbers(fleet: Fleet) -> None:
    versions = {}
    for version in ("3.3.9.0", "3.3.10.0", "3.2.582.0"):
        node_id = await fleet.register()
        await fleet.ping(node_id, AgentVersion=version)
        versions[node_id] = version
    silent = await fleet.register()

    async def fitting(how: str, *values: str) -> set[str | None]:
        given = [{"Key": "AgentVersion", "Values": list(values), "Operator": how}]
        answer = await fleet.ask("DescribeInstanceProperties", FiltersWithOperator=given)
        return {versions.get(each["InstanceId"]) for each in answer["InstanceProperties"]}

    assert await fitting("Equal", "3.3.9.0") == {"3.3.9.0"}
    assert await fitting("NotEqual", "3.3.9.0") == {"3.3.10.0", "3.2.582.0", None}
    assert await fitting("BeginWith", "3.3.") == {"3.3.9.0", "3.3.10.0"}
    assert await fitting("GreaterThan", "3.3.9.0") == {"3.3.10.0"}
    assert await fitting("LessThan", "3.3.9.0") == {"3.2.582.0"}
    legacy = [{"key": "InstanceIds", "valueSet": [silent]}]
    answer = await fleet.ask("DescribeInstanceProperties", InstancePropertyFilterList=legacy)
    assert [each["InstanceId"] for each in answer["InstanceProperties"]] == [silent]


@pytest.mark.parametrize(
    ("key", "how", "error"),
    [
        ("Nonsense", "Equal", InvalidFilterKey),
        ("tag:env", "BeginWith", InvalidFilterKey),
        ("ActivationIds", "Equal", InvalidActivationId),
        ("PingStatus", "Equal", InvalidInstancePropertyFilterValue),
        ("InstanceIds", "Equal", InvalidInstanceId),
    ],
)
async def test_property_filters_that_make_no_sense_are_refused(
    fleet: Fleet, key: str, how: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await fleet.ask(
            "DescribeInstanceProperties", FiltersWithOperator=[{"Key": key, "Values": ["x"], "Operator": how}]
        )


async def test_every_node_is_its_own_source(fleet: Fleet) -> None:
    node_id, _ = await fleet.register(), await fleet.register()
    found = await fleet.shown(node_id)
    assert (found["SourceId"], found["SourceType"]) == (node_id, "AWS::SSM::ManagedInstance")
    assert await fleet.listed(("SourceIds", [node_id]), ("SourceTypes", ["AWS::SSM::ManagedInstance"])) == [node_id]
    assert await fleet.listed(("SourceTypes", ["AWS::EC2::Instance"])) == []
    assert await fleet.listed(("ResourceType", ["EC2Instance"])) == []


async def test_no_node_has_run_an_association(fleet: Fleet) -> None:
    await fleet.register()
    assert await fleet.listed(("AssociationStatus", ["Success"])) == []
    for key in ("DocumentName", "AssociationStatus"):
        given = [{"Key": key, "Values": ["x"], "Operator": "Equal"}]
        assert (await fleet.ask("DescribeInstanceProperties", FiltersWithOperator=given))["InstanceProperties"] == []


ROLES, VERSIONS, ENVS = ["A", "B"], ["3.1.0.0", "3.2.0.0", None], ["dev", "prod", None]
Made = dict[str, Any]
FITS: dict[str, Callable[[Made, list[str]], bool]] = {
    "IamRole": lambda node, values: node["role"] in values,
    "AgentVersion": lambda node, values: node["version"] in values,
    "PingStatus": lambda node, values: ("Online" if node["version"] else "ConnectionLost") in values,
    "PlatformTypes": lambda node, values: bool(node["version"]) and "Linux" in values,
    "ResourceType": lambda node, values: "ManagedInstance" in values,
    "tag:env": lambda node, values: node["env"] in values,
    "tag-key": lambda node, values: "env" in values and node["env"] is not None,
}
VALUES = {
    "IamRole": ["A", "B", "C"],
    "AgentVersion": ["3.1.0.0", "3.2.0.0", "9.9"],
    "PingStatus": ["Online", "ConnectionLost", "Inactive"],
    "PlatformTypes": ["Linux", "Windows", "MacOS"],
    "ResourceType": ["ManagedInstance", "EC2Instance"],
    "tag:env": ["dev", "prod", "DEV"],
    "tag-key": ["env", "Env"],
}
one_filter = st.sampled_from(sorted(VALUES)).flatmap(
    lambda key: st.tuples(st.just(key), st.lists(st.sampled_from(VALUES[key]), min_size=1, max_size=3, unique=True))
)


async def mixed_fleet(fleet: Fleet) -> list[Made]:
    """Every mixture of role, version (none: never seen) and tag, twice."""
    made: list[Made] = []
    for role in ROLES:
        activation = await fleet.activate(IamRole=role, RegistrationLimit=100)
        for version in VERSIONS * 2:
            for env in ENVS:
                node_id = await fleet.register_with(activation)
                if version is not None:
                    await fleet.ping(node_id, AgentVersion=version)
                if env is not None:
                    await fleet.tag(node_id, env=env)
                made.append({"id": node_id, "role": role, "version": version, "env": env})
    return sorted(made, key=operator.itemgetter("id"))


async def test_any_filters_on_pages_of_any_size_give_exactly_the_nodes_that_fit(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches of four, so that pages, batches and the filter that is not in SQL cut across each other."""
    monkeypatch.setattr("pilothouse.capabilities.nodes.listing._BATCH", 4)
    made = await mixed_fleet(fleet)
    cases: list[tuple[list[tuple[str, list[str]]], int]] = []

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(filters=st.lists(one_filter, max_size=3), page=st.integers(5, 50))
    def collect(filters: list[tuple[str, list[str]]], page: int) -> None:
        cases.append((filters, page))

    collect()
    for filters, page in cases:
        fitting = [node["id"] for node in made if all(FITS[key](node, values) for key, values in filters)]
        assert await fleet.listed(*filters, page=page) == fitting, (filters, page)


async def test_two_thousand_nodes_are_one_list(fleet: Fleet) -> None:
    """More ids than one statement takes: a tag on all of them, and pages through the whole."""
    pattern = await fleet.register()
    async with fleet.house.database.transaction() as tx:
        await tx.many(
            "insert into node (node_id, account_id, region, activation_id, iam_role, public_key, public_key_hash,"
            " fingerprint, registered_at) select :id, account_id, region, activation_id, iam_role, public_key,"
            " public_key_hash, fingerprint, registered_at from node where node_id = :pattern",
            [{"id": f"mi-{number:017x}", "pattern": pattern} for number in range(2_000)],
        )
        await tx.many(
            "insert into resource_tag (account_id, region, resource_type, resource_id, tag_key, tag_value)"
            " values (:account_id, :region, 'ManagedInstance', :id, 'env', 'prod')",
            [{"account_id": ACCOUNT, "region": REGION, "id": f"mi-{number:017x}"} for number in range(2_000)],
        )
    assert await fleet.listed(("tag:env", ["prod"])) == [f"mi-{number:017x}" for number in range(2_000)]
    assert len(await fleet.listed(("PingStatus", ["ConnectionLost"]))) == 2_001
    assert await fleet.listed(("PingStatus", ["Online"])) == []
