"""ListNodes and ListNodesSummary through boto3: what they show, filters, pages, counts."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.capabilities.commands.conftest import Fleet, refused
from tests.conftest import Aws, Server

TOLD = [  # platform, its name and version, the agent's version
    ("Linux", "Debian GNU/Linux", "12", "3.3.1.0"),
    ("Linux", "Debian GNU/Linux", "11", "3.3.1.0"),
    ("Linux", "Rocky Linux", "9.4", "3.2.0.0"),
    ("Windows", "Microsoft Windows Server 2022", "10.0.20348", "3.3.1.0"),
]


@pytest.fixture
def ssm(aws: Aws) -> Any:
    return aws("ssm")


@pytest.fixture
def fleet(server: Server, aws: Aws) -> list[str]:
    """Ids of a node for each of TOLD, and of one that never said a word."""
    fleet = Fleet(server, aws)
    made = []
    for platform, name, version, agent in TOLD:
        node = fleet.node(online=False)
        fleet.tell(node, PlatformType=platform, PlatformName=name, PlatformVersion=version, AgentVersion=agent,
                   AgentStatus="Active", ComputerName=f"host-{version}", IPAddress="192.0.2.7")  # fmt: skip
        made.append(node.id)
    return [*made, fleet.node(online=False).id]


def listed(ssm: Any, *filters: dict[str, Any]) -> list[str]:
    pages = ssm.get_paginator("list_nodes").paginate(
        **({"Filters": list(filters)} if filters else {}), PaginationConfig={"PageSize": 2}
    )
    return [node["Id"] for page in pages for node in page["Nodes"]]


def where(key: str, *values: str, how: str = "Equal") -> dict[str, Any]:
    return {"Key": key, "Values": list(values), "Type": how}


def test_a_node_is_shown_as_it_last_described_itself(aws: Aws, ssm: Any, fleet: list[str]) -> None:
    account = aws("sts").get_caller_identity()["Account"]
    (node,) = ssm.list_nodes(Filters=[where("InstanceId", fleet[0])])["Nodes"]
    assert node["Region"] == "eu-west-1"
    assert node["Owner"] == {"AccountId": account}
    assert node["NodeType"]["Instance"] == {
        "AgentType": "amazon-ssm-agent", "AgentVersion": "3.3.1.0", "ComputerName": "host-12",
        "InstanceStatus": "Active", "IpAddress": "192.0.2.7", "ManagedStatus": "Managed", "PlatformType": "Linux",
        "PlatformName": "Debian GNU/Linux", "PlatformVersion": "12", "ResourceType": "ManagedInstance",
        "SourceType": "AWS::SSM::ManagedInstance", "SourceId": fleet[0],
    }  # fmt: skip


def test_pages_and_filters(ssm: Any, fleet: list[str]) -> None:
    debian, old, rocky, windows, silent = fleet
    assert listed(ssm) == sorted(fleet)
    assert listed(ssm, where("PlatformType", "Linux")) == sorted([debian, old, rocky])
    assert listed(ssm, where("PlatformName", "Debian", how="BeginWith"), where("PlatformVersion", "12")) == [debian]
    assert listed(ssm, where("AgentVersion", "3.3.1.0", how="NotEqual")) == sorted([rocky, silent])
    assert listed(ssm, where("ManagedStatus", "All")) == sorted(fleet)
    assert listed(ssm, where("ManagedStatus", "Unmanaged")) == []
    assert listed(ssm, where("Region", "eu-", how="BeginWith"), where("PlatformType", "Windows")) == [windows]
    assert listed(ssm, where("AccountId", "999988887777")) == []
    assert listed(ssm, where("OrganizationalUnitId", "ou-1")) == []
    assert listed(ssm, where("ResourceType", "EC2Instance", how="NotEqual")) == sorted(fleet)


def test_what_cannot_be_asked_for_is_refused(ssm: Any, fleet: list[str]) -> None:
    assert refused(lambda: ssm.list_nodes(Filters=[where("ManagedStatus", "Perhaps")])) == "InvalidFilter"
    assert refused(lambda: ssm.list_nodes(SyncName="all")) == "ResourceDataSyncNotFoundException"
    token = ssm.list_nodes(MaxResults=1)["NextToken"]
    other = [where("PlatformType", "Linux")]
    assert refused(lambda: ssm.list_nodes(MaxResults=1, NextToken=token, Filters=other)) == "InvalidNextToken"
    deep = aggregator("PlatformType", aggregator("PlatformName", aggregator("PlatformVersion")))
    assert refused(lambda: ssm.list_nodes_summary(Aggregators=[deep])) == "InvalidAggregatorException"


def aggregator(name: str, *inner: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {"AggregatorType": "Count", "TypeName": "Instance", "AttributeName": name}
    return made | ({"Aggregators": list(inner)} if inner else {})


def test_counts_by_an_attribute_and_by_two(ssm: Any, fleet: list[str]) -> None:
    assert ssm.list_nodes_summary(Aggregators=[aggregator("PlatformType")])["Summary"] == [
        {"PlatformType": "Unknown", "Count": "1"},
        {"PlatformType": "Linux", "Count": "3"},
        {"PlatformType": "Windows", "Count": "1"},
    ]
    nested = aggregator("Region", aggregator("PlatformName"))
    linux = [where("PlatformType", "Linux")]
    assert ssm.list_nodes_summary(Aggregators=[nested], Filters=linux)["Summary"] == [
        {"Region": "eu-west-1", "PlatformName": "Debian GNU/Linux", "Count": "2"},
        {"Region": "eu-west-1", "PlatformName": "Rocky Linux", "Count": "1"},
    ]
    first = ssm.list_nodes_summary(Aggregators=[nested], Filters=linux, MaxResults=1)
    rest = ssm.list_nodes_summary(Aggregators=[nested], Filters=linux, MaxResults=1, NextToken=first["NextToken"])
    assert [each["Count"] for each in first["Summary"] + rest["Summary"]] == ["2", "1"]
    assert not rest.get("NextToken")
    everything = [where("PlatformType", "Solaris")]
    assert ssm.list_nodes_summary(Aggregators=[aggregator("Region")], Filters=everything)["Summary"] == []


_COLUMN = {"PlatformType": 0, "PlatformName": 1, "PlatformVersion": 2, "AgentVersion": 3}
_FITS = {
    "Equal": lambda told, values: told in values,
    "NotEqual": lambda told, values: told not in values,
    "BeginWith": lambda told, values: told is not None and told.startswith(tuple(values)),
}
_filters = st.lists(
    st.tuples(
        st.sampled_from(sorted(_COLUMN)),
        st.lists(st.sampled_from(["Linux", "Win", "Debian", "1", "12", "3.3.1.0", "3.", "Rocky Linux", "_"]),
                 min_size=1, max_size=3, unique=True),
        st.sampled_from(sorted(_FITS)),
    ),
    max_size=3,
)  # fmt: skip


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(filters=_filters)
def test_lists_and_counts_agree_with_looking_at_each_node(ssm: Any, fleet: list[str], filters: Any) -> None:
    asked = [where(key, *values, how=how) for key, values, how in filters]
    told = [*TOLD, (None, None, None, None)]
    fitting = [
        index
        for index, each in enumerate(told)
        if all(_FITS[how](each[_COLUMN[key]], values) for key, values, how in filters)
    ]
    assert listed(ssm, *asked) == sorted(fleet[index] for index in fitting)
    given_filters = {"Filters": asked} if asked else {}
    summary = ssm.list_nodes_summary(Aggregators=[aggregator("AgentVersion")], **given_filters)["Summary"]
    expected = Counter(told[index][3] or "Unknown" for index in fitting)
    assert {each["AgentVersion"]: int(each["Count"]) for each in summary} == expected
