"""Which targets are found: nodes by tags and all of them, those of a resource group, and machines of this server."""

import json
from collections.abc import Callable
from typing import Any

from tests.capabilities.automation.conftest import Runbooks
from tests.capabilities.automation.test_machines import binding, ec2, machine, server
from tests.capabilities.automation.test_steps import VARIABLES, good
from tests.capabilities.commands.conftest import Node
from tests.conftest import Aws

__all__ = ["binding", "ec2", "machine", "server"]

HOST = {"host": {"type": "String"}}


def found(runbooks: Runbooks, name: str, key: str, *values: str) -> set[str]:
    """The targets of which each had an execution."""
    got = runbooks.run(
        name, TargetParameterName="host", Targets=[{"Key": key, "Values": list(values)}], MaxConcurrency="50"
    )
    assert got["AutomationExecutionStatus"] == "Success", got
    children = runbooks.ssm.describe_automation_executions(
        Filters=[{"Key": "ParentExecutionId", "Values": [got["AutomationExecutionId"]]}]
    )["AutomationExecutionMetadataList"]
    assert got["TargetsSummary"]["TotalCount"] == len(children)
    return {each["Target"] for each in children}


def test_nodes_and_machines_are_found(
    runbooks: Runbooks, nodes: Callable[..., Node], machine: Any, ec2: Any, aws: Aws
) -> None:
    first, second = nodes(tags={"env": "prod"}), nodes(tags={"env": "test"})
    web, jobs = (machine(name)["InstanceId"] for name in ("web-1", "jobs"))
    name = runbooks.make(good("one"), parameters=HOST, **VARIABLES)
    assert found(runbooks, name, "tag:env", "prod", "test") == {first.id, second.id}
    assert found(runbooks, name, "tag:env", "prod") == {first.id}
    assert found(runbooks, name, "tag-key", "env") == {first.id, second.id}
    assert found(runbooks, name, "tag:env", "none") == set()
    assert found(runbooks, name, "InstanceIds", first.id) == {first.id}
    assert found(runbooks, name, "InstanceIds", "*") == {first.id, second.id, web, jobs}

    tags = [{"Key": "env", "Value": "prod"}, {"Key": "pilothouse:node", "Value": first.id}]
    ec2.create_tags(Resources=[web], Tags=tags)
    assert found(runbooks, name, "tag:env", "prod") == {web}  # the machine stands for its node
    assert found(runbooks, name, "AWS::EC2::Instance", "*") == {web, jobs, second.id}

    query = {"ResourceTypeFilters": ["AWS::AllSupported"], "TagFilters": [{"Key": "env", "Values": ["prod", "test"]}]}
    aws("resource-groups").create_group(
        Name="all-of-them", ResourceQuery={"Type": "TAG_FILTERS_1_0", "Query": json.dumps(query)}
    )
    assert found(runbooks, name, "ResourceGroup", "all-of-them") == {web, second.id}
    ec2.delete_tags(Resources=[web], Tags=[{"Key": "env"}, {"Key": "pilothouse:node"}])


def test_a_document_for_nodes_gets_nodes_only(
    runbooks: Runbooks, nodes: Callable[..., Node], machine: Any, ec2: Any
) -> None:
    node = nodes(tags={"kind": "both"})
    web = machine("web-1")["InstanceId"]
    ec2.create_tags(Resources=[web], Tags=[{"Key": "kind", "Value": "both"}])
    content = {"schemaVersion": "0.3", "mainSteps": [good("one")], "parameters": HOST, **VARIABLES}
    runbooks.ssm.create_document(
        Name="nodes-only", Content=json.dumps(content), DocumentType="Automation",
        TargetType="/AWS::SSM::ManagedInstance",
    )  # fmt: skip
    assert found(runbooks, "nodes-only", "tag:kind", "both") == {node.id}
    either = runbooks.make(good("one"), parameters=HOST, **VARIABLES)
    assert found(runbooks, either, "tag:kind", "both") == {node.id, web}
    ec2.delete_tags(Resources=[web], Tags=[{"Key": "kind"}])
