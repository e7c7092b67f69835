"""Agents ask for associations although none can be made yet."""

import pytest

from pilothouse.call import Caller
from pilothouse.capabilities import associations
from pilothouse.capabilities.associations.agent import (
    AssociationDoesNotExist,
    list_instance_associations,
    update_instance_association_status,
)

NODE = "mi-0123456789abcdef0"


async def test_the_list_is_there_and_empty() -> None:
    assert await list_instance_associations(None, {"InstanceId": NODE, "MaxResults": 20}) == {"Associations": []}  # type: ignore[arg-type]


async def test_a_report_is_about_nothing() -> None:
    asked = {"InstanceId": NODE, "AssociationId": "11111111-1111-1111-1111-111111111111", "ExecutionResult": {}}
    with pytest.raises(AssociationDoesNotExist, match="11111111"):
        await update_instance_association_status(None, asked)  # type: ignore[arg-type]


def test_only_the_node_itself_may_ask() -> None:
    assert {each.name for each in associations.CAPABILITY.operations} == {
        "ListInstanceAssociations",
        "UpdateInstanceAssociationStatus",
    }
    for each in associations.CAPABILITY.operations:
        assert (each.callers, each.node_member) == (Caller.NODE, "InstanceId")
