"""Activations: what may be made, what lists show, and what becomes of them."""

from datetime import timedelta

import pytest
from tests.capabilities.nodes.conftest import Fleet

from pilothouse.capabilities.nodes.model import (
    ActivationExpired,
    InvalidActivation,
    InvalidFilter,
    InvalidNextToken,
    InvalidParameters,
)
from pilothouse.capabilities.tags import TooManyTagsError
from pilothouse.errors import ValidationException


async def shown(fleet: Fleet, activation_id: str) -> dict[str, object]:
    filters = [{"FilterKey": "ActivationIds", "FilterValues": [activation_id]}]
    (found,) = (await fleet.ask("DescribeActivations", Filters=filters))["ActivationList"]
    return dict(found)


async def test_defaults_are_one_node_and_one_day(fleet: Fleet) -> None:
    made = await fleet.ask("CreateActivation", IamRole="NodeRole")
    found = await shown(fleet, made["ActivationId"])
    assert len(made["ActivationCode"]) == 20
    assert (found["RegistrationLimit"], found["RegistrationsCount"], found["Expired"]) == (1, 0, False)
    assert found["ExpirationDate"] == found["CreatedDate"] + timedelta(hours=24)  # type: ignore[operator]


async def test_the_code_is_nowhere_but_in_the_first_answer(fleet: Fleet) -> None:
    made = await fleet.activate()
    assert made["ActivationCode"] not in str(await fleet.ask("DescribeActivations"))
    async with fleet.house.database.reading() as tx:
        (row,) = await tx.rows("select * from activation")
    assert made["ActivationCode"].encode() not in repr(dict(row)).encode()


@pytest.mark.parametrize("days", [-1, 0, 30.01, 60])
async def test_dates_in_the_past_or_beyond_thirty_days_are_refused(fleet: Fleet, days: float) -> None:
    with pytest.raises(InvalidParameters):
        await fleet.activate(ExpirationDate=fleet.house.clock.now() + timedelta(days=days))
    assert (await fleet.ask("DescribeActivations"))["ActivationList"] == []


async def test_a_date_thirty_days_ahead_is_taken(fleet: Fleet) -> None:
    at = fleet.house.clock.now() + timedelta(days=30)
    made = await fleet.activate(ExpirationDate=at)
    assert (await shown(fleet, made["ActivationId"]))["ExpirationDate"] == at.replace(
        microsecond=at.microsecond // 1000 * 1000
    )


@pytest.mark.parametrize("role", ["", "no blanks", "service-role/", "a//b", "x" * 65, "rôle"])
async def test_a_name_that_no_role_can_have_is_refused(fleet: Fleet, role: str) -> None:
    with pytest.raises(ValidationException, match="Nonexistent role"):
        await fleet.activate(IamRole=role)


@pytest.mark.parametrize("role", ["NodeRole", "/service-role/NodeRole", "service-role/NodeRole", "a+b=c,d.e@f-g_h"])
async def test_a_role_may_have_a_path(fleet: Fleet, role: str) -> None:
    made = await fleet.activate(IamRole=role)
    assert (await shown(fleet, made["ActivationId"]))["IamRole"] == role


@pytest.mark.parametrize("key", ["aws:owner", "AWS:owner"])
async def test_reserved_tags_are_refused(fleet: Fleet, key: str) -> None:
    with pytest.raises(ValidationException):
        await fleet.activate(Tags=[{"Key": key, "Value": "x"}])


async def test_no_more_tags_than_a_node_may_have(fleet: Fleet) -> None:
    with pytest.raises(TooManyTagsError):
        await fleet.activate(Tags=[{"Key": f"k{number}", "Value": ""} for number in range(51)])


async def test_expired_activations_say_so_and_register_nothing(fleet: Fleet) -> None:
    made = await fleet.activate()
    fleet.house.clock.advance(hours=24, seconds=1)  # type: ignore[attr-defined]
    assert (await shown(fleet, made["ActivationId"]))["Expired"] is True
    with pytest.raises(ActivationExpired):
        await fleet.register_with(made)
    assert (await shown(fleet, made["ActivationId"]))["RegistrationsCount"] == 0


async def test_a_deleted_activation_registers_nothing_and_its_nodes_stay(fleet: Fleet) -> None:
    made = await fleet.activate()
    node_id = await fleet.register_with(made)
    await fleet.ask("DeleteActivation", ActivationId=made["ActivationId"])
    assert (await fleet.ask("DescribeActivations"))["ActivationList"] == []
    with pytest.raises(InvalidActivation):
        await fleet.register_with(made)
    assert (await fleet.shown(node_id))["ActivationId"] == made["ActivationId"]
    with pytest.raises(InvalidActivation):
        await fleet.ask("DeleteActivation", ActivationId=made["ActivationId"])


async def test_accounts_and_regions_do_not_see_each_other(fleet: Fleet) -> None:
    made = await fleet.activate()
    for where in ({"account": "999988887777"}, {"region": "us-east-1"}):
        assert (await fleet.ask("DescribeActivations", **where))["ActivationList"] == []
        with pytest.raises(InvalidActivation):
            await fleet.ask("DeleteActivation", ActivationId=made["ActivationId"], **where)
    assert await shown(fleet, made["ActivationId"])


async def test_filters_are_anded_and_their_values_ored(fleet: Fleet) -> None:
    web = await fleet.activate(DefaultInstanceName="web")
    db = await fleet.activate(DefaultInstanceName="db")
    other = await fleet.activate(DefaultInstanceName="web", IamRole="OtherRole")

    async def ids(*filters: tuple[str, list[str]]) -> list[str]:
        given = [{"FilterKey": key, "FilterValues": values} for key, values in filters]
        answer = await fleet.ask("DescribeActivations", Filters=given)
        return [each["ActivationId"] for each in answer["ActivationList"]]

    names = web["ActivationId"], db["ActivationId"], other["ActivationId"]
    assert sorted(await ids(("DefaultInstanceName", ["web", "db"]))) == sorted(names)
    assert await ids(("DefaultInstanceName", ["web"]), ("IamRole", ["OtherRole"])) == [names[2]]
    assert await ids(("ActivationIds", [names[1]])) == [names[1]]
    assert await ids(("IamRole", ["NoRole"])) == []
    with pytest.raises(InvalidFilter):
        await fleet.ask("DescribeActivations", Filters=[{"FilterValues": ["web"]}])


async def test_pages_show_each_activation_once_and_tokens_fit_their_list_only(fleet: Fleet) -> None:
    made = {(await fleet.activate())["ActivationId"] for _ in range(7)}
    seen: list[str] = []
    token: str | None = None
    while True:
        answer = await fleet.ask("DescribeActivations", MaxResults=3, **({"NextToken": token} if token else {}))
        seen += [each["ActivationId"] for each in answer["ActivationList"]]
        if answer["NextToken"] is None:
            break
        token = answer["NextToken"]
    assert len(seen) == 7
    assert set(seen) == made
    for wrong in ({"NextToken": "nonsense"}, {"NextToken": token, "region": "us-east-1"}):
        with pytest.raises(InvalidNextToken):
            await fleet.ask("DescribeActivations", **wrong)
