"""Targets: from ids and tags to nodes; and nodes that go."""

import pytest
from tests.capabilities.nodes.conftest import ACCOUNT, REGION, Fleet

from pilothouse.call import House, Shape
from pilothouse.capabilities import nodes, tags
from pilothouse.capabilities.nodes import DuplicateInstanceId, InvalidInstanceId, Node
from pilothouse.errors import ValidationException
from pilothouse.storage import Transaction


async def resolved(fleet: Fleet, *targets: tuple[str, list[str]], ids: tuple[str, ...] = ()) -> list[Node]:
    given = [{"Key": key, "Values": values} for key, values in targets]
    async with fleet.house.database.reading() as tx:
        return await nodes.resolve_targets(tx, ACCOUNT, REGION, ids, given)


async def chosen(fleet: Fleet, *targets: tuple[str, list[str]], ids: tuple[str, ...] = ()) -> set[str]:
    found = [node.node_id for node in await resolved(fleet, *targets, ids=ids)]
    assert len(found) == len(set(found))
    return set(found)


async def test_entries_are_anded_and_values_ored(fleet: Fleet) -> None:
    web, db, bare = [await fleet.register() for _ in range(3)]
    await fleet.tag(web, env="prod", role="web")
    await fleet.tag(db, env="dev", role="db")
    assert await chosen(fleet, ("tag:env", ["prod", "dev"])) == {web, db}
    assert await chosen(fleet, ("tag:env", ["prod", "dev"]), ("tag:role", ["db"])) == {db}
    assert await chosen(fleet, ("tag:env", ["Prod"])) == set()
    assert await chosen(fleet, ("tag:env", [])) == set()
    assert await chosen(fleet, ("tag-key", ["env"])) == {web, db}
    assert await chosen(fleet, ("InstanceIds", [web, bare, web])) == {web, bare}
    assert await chosen(fleet, ("InstanceIds", [web, bare]), ("tag-key", ["role"])) == {web}
    assert await chosen(fleet, ("resource-groups:Name", ["web"])) == set()
    assert await chosen(fleet) == set()


@pytest.mark.parametrize("key", ["Foo", "tag:", "WindowTargetIds", "instanceids"])
async def test_a_key_that_is_not_known_is_refused(fleet: Fleet, key: str) -> None:
    with pytest.raises(ValidationException):
        await chosen(fleet, (key, ["x"]))


async def test_ids_keep_their_order_and_names(fleet: Fleet) -> None:
    first, second = await fleet.register(DefaultInstanceName="one"), await fleet.register(DefaultInstanceName="two")
    await fleet.tag(second, Name="tagged")
    for ids in ((first, second), (second, first)):
        found = await resolved(fleet, ids=ids)
        assert tuple(node.node_id for node in found) == ids
        assert {node.node_id: node.name for node in found} == {first: "one", second: "tagged"}


async def test_the_error_names_each_node_and_why(fleet: Fleet) -> None:
    good, gone = await fleet.register(), await fleet.register()
    await fleet.ask("DeregisterManagedInstance", InstanceId=gone)
    unknown = "mi-" + "0" * 17
    with pytest.raises(InvalidInstanceId) as raised:
        await resolved(fleet, ids=(good, gone, unknown, "web-1"))
    text = raised.value.message
    assert f"Instances [[{gone}, {unknown}, web-1]] not in a valid state for account {ACCOUNT}" in text
    assert f"{gone} is deregistered" in text
    assert f"{unknown} is not registered" in text
    assert good not in text
    with pytest.raises(DuplicateInstanceId, match=good):
        await resolved(fleet, ids=(good, good))
    with pytest.raises(ValidationException):
        await resolved(fleet, ("InstanceIds", [good]), ids=(good,))


async def test_a_target_needs_a_key(fleet: Fleet) -> None:
    async with fleet.house.database.reading() as tx:
        for target in ({}, {"Values": ["x"]}):
            with pytest.raises(ValidationException, match="needs a Key"):
                await nodes.resolve_targets(tx, ACCOUNT, REGION, (), [target])


async def test_nodes_of_other_accounts_and_regions_are_no_targets(fleet: Fleet) -> None:
    elsewhere = await fleet.register_with(await fleet.activate(region="us-east-1"))
    stranger = await fleet.register_with(await fleet.activate(account="999988887777"))
    assert await chosen(fleet, ("InstanceIds", [elsewhere, stranger])) == set()
    for node_id in (elsewhere, stranger):
        with pytest.raises(InvalidInstanceId):
            await resolved(fleet, ids=(node_id,))


async def test_many_nodes_resolve_by_tag(fleet: Fleet) -> None:
    pattern = await fleet.register(DefaultInstanceName="default")
    ids = [f"mi-{number:017x}" for number in range(1_234)]
    async with fleet.house.database.transaction() as tx:
        await tx.many(
            "insert into node (node_id, account_id, region, activation_id, iam_role, default_instance_name, public_key,"
            " public_key_hash, fingerprint, registered_at) select :id, account_id, region, activation_id, iam_role,"
            " default_instance_name, public_key, public_key_hash, fingerprint, registered_at"
            " from node where node_id = :pattern",
            [{"id": node_id, "pattern": pattern} for node_id in ids],
        )
        for node_id in ids:
            await tags.put(tx, ACCOUNT, REGION, "ManagedInstance", node_id, {"env": "prod"})
        await tags.put(tx, ACCOUNT, REGION, "ManagedInstance", ids[700], {"Name": "chosen"})
    found = await resolved(fleet, ("tag:env", ["prod"]))
    assert [node.node_id for node in found] == ids
    assert {node.name for node in found if node.node_id != ids[700]} == {"default"}
    assert found[700].name == "chosen"


async def test_a_deregistered_node_is_gone_from_everything_at_once(fleet: Fleet) -> None:
    heard: list[Shape] = []
    woken: list[str] = []

    async def listener(house: House, tx: Transaction, facts: Shape) -> None:
        heard.append(dict(facts))

    fleet.house.listeners["node.deregistered"] = [listener]  # type: ignore[list-item]
    fleet.house.bus.listen("node.gone", woken.append)
    node_id, other = await fleet.register(), await fleet.register()
    await fleet.tag(node_id, env="prod")
    assert await fleet.ask("DeregisterManagedInstance", InstanceId=node_id) == {}
    assert heard == [{"account_id": ACCOUNT, "region": REGION, "node_id": node_id}]
    assert woken == [node_id]
    assert await fleet.listed() == [other]
    assert await chosen(fleet, ("tag:env", ["prod"])) == set()
    async with fleet.house.database.reading() as tx:
        assert await nodes.find(tx, ACCOUNT, REGION, node_id) is None
        assert await tags.of(tx, ACCOUNT, REGION, "ManagedInstance", node_id) == {}
        assert await nodes.CAPABILITY.taggable["ManagedInstance"](tx, ACCOUNT, REGION, node_id) is None
        assert await nodes.CAPABILITY.taggable["ManagedInstance"](tx, ACCOUNT, REGION, other) == other


async def test_only_the_owner_deregisters_or_changes_a_node(fleet: Fleet) -> None:
    node_id = await fleet.register()
    for name, more in (("DeregisterManagedInstance", {}), ("UpdateManagedInstanceRole", {"IamRole": "Other"})):
        for where in ({"account": "999988887777"}, {"region": "us-east-1"}):
            with pytest.raises(InvalidInstanceId):
                await fleet.ask(name, InstanceId=node_id, **more, **where)
    assert (await fleet.shown(node_id))["IamRole"] == "NodeRole"


async def test_an_id_is_never_used_again(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    gone, taken = await fleet.register(), await fleet.register()
    await fleet.ask("DeregisterManagedInstance", InstanceId=gone)
    drawn = iter([gone, taken, "mi-" + "a" * 17])
    monkeypatch.setattr(fleet.house.ids, "node_id", lambda: next(drawn))
    assert await fleet.register() == "mi-" + "a" * 17


async def test_contacts_are_written_once_a_minute_and_never_back_in_time(fleet: Fleet) -> None:
    node_id = await fleet.register()
    start = fleet.house.clock.millis()
    seen: list[int | None] = []
    for at in (start, start + 59_999, start + 60_000, start + 1):
        async with fleet.house.database.transaction() as tx:
            await nodes.touched(fleet.house, tx, node_id, at)
        async with fleet.house.database.reading() as tx:
            node = await nodes.find(tx, ACCOUNT, REGION, node_id)
        assert node is not None
        seen.append(node.last_contact_at)
    assert seen == [start, start, start + 60_000, start + 60_000]
    assert (await fleet.shown(node_id))["PingStatus"] == "Online"
