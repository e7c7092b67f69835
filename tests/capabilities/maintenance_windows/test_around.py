"""Around windows: who may do what, the trail, events, calls, what is coming, why nothing happened, large numbers."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests.capabilities.commands.conftest import (  # noqa: F401 -- the fixture
    Node,
    Until,
    _signatures_follow_the_clock,
    command_of,
    refused,
)
from tests.capabilities.events.conftest import Receiver
from tests.capabilities.maintenance_windows.conftest import SECRET, Windows
from tests.conftest import Aws, Server
from tests.identity.test_what_is_asked import World, denied, says

from pilothouse.capabilities import access, events
from pilothouse.capabilities.maintenance_windows import store
from pilothouse.capabilities.maintenance_windows.model import Window, WindowTerms
from pilothouse.storage import Transaction

Nodes = Callable[..., Node]
TRUST = json.dumps({
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "ssm.amazonaws.com"}, "Action": "sts:AssumeRole"}],
})  # fmt: skip
FUNCTION = {
    "TaskType": "LAMBDA", "TaskArn": "tidy-up", "Targets": None, "MaxConcurrency": None, "MaxErrors": None,
    "TaskInvocationParameters": {"Lambda": {"Payload": b'{"window": "{{WINDOW_ID}}"}', "Qualifier": "live"}},
}  # fmt: skip


@pytest.fixture
def own(aws: Aws) -> Any:
    return aws("pilothouse")


def _role(aws: Aws, name: str, *statements: dict[str, Any]) -> str:
    iam = aws("iam")
    arn: str = iam.create_role(RoleName=name, AssumeRolePolicyDocument=TRUST)["Role"]["Arn"]
    if statements:
        policy = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
        iam.put_role_policy(RoleName=name, PolicyName="may", PolicyDocument=policy)
    return arn


def test_what_policies_are_asked(aws: Aws, server: Server, windows: Windows, role: str) -> None:
    world = World(aws, server)
    hers = world.hers("ssm")
    window_id = windows.make(Tags=[{"Key": "team", "Value": "db"}])
    target_id = windows.target(window_id)
    arn = world.arn("ssm", f"maintenancewindow/{window_id}")
    mine = {"WindowId": window_id}
    assert denied(hers.get_maintenance_window, **mine) == f"ssm:GetMaintenanceWindow on resource: {arn}"
    world.may(says("Allow", ["ssm:Get*", "ssm:Register*"], StringEquals={"ssm:resourceTag/team": "db"}))
    assert denied(hers.get_maintenance_window, **mine) == ""
    other = windows.make()
    assert denied(hers.get_maintenance_window, WindowId=other).endswith(f"maintenancewindow/{other}")
    acting = _role(aws, f"acts-{role}")
    task = {
        **mine, "TaskType": "RUN_COMMAND", "TaskArn": "AWS-Noop", "MaxConcurrency": "1", "MaxErrors": "1",
        "Targets": [{"Key": "WindowTargetIds", "Values": [target_id]}],
    }  # fmt: skip
    linked = f"arn:aws:iam::{server.application.root.account_id}:role/aws-service-role/ssm.amazonaws.com/"
    assert denied(hers.register_task_with_maintenance_window, **task).startswith(f"iam:PassRole on resource: {linked}")
    refusal = denied(hers.register_task_with_maintenance_window, **task, ServiceRoleArn=acting)
    assert refusal == f"iam:PassRole on resource: {acting}"
    passing = says("Allow", "iam:PassRole", acting, StringEquals={"iam:PassedToService": "ssm.amazonaws.com"})
    world.may(says("Allow", ["ssm:Register*", "ssm:Update*"]), passing)
    task_id = hers.register_task_with_maintenance_window(**task, ServiceRoleArn=acting)["WindowTaskId"]
    world.may(says("Allow", "ssm:Update*"))
    ids = {**mine, "WindowTaskId": task_id}
    assert denied(hers.update_maintenance_window_task, **ids, TaskArn="AWS-RunShellScript") == (
        f"iam:PassRole on resource: {acting}"
    )
    run = denied(world.hers("pilothouse").run_maintenance_window, **mine)
    assert run == f"pilothouse:RunMaintenanceWindow on resource: {arn}"


def test_tasks_act_as_their_role(
    aws: Aws, own: Any, ssm: Any, windows: Windows, nodes: Nodes, role: str, server: Server
) -> None:
    nodes()
    account = server.application.root.account_id
    window_id = windows.make()
    target_id = windows.target(window_id)
    documents = ["arn:aws:ssm:*::document/*", f"arn:aws:ssm:*:{account}:document/*"]
    sends = [
        {"Effect": "Allow", "Action": "ssm:SendCommand", "Resource": each}
        for each in (documents, "arn:aws:ssm:*:*:managed-instance/*")
    ]
    roles = {
        "may": _role(aws, f"may-{role}", *sends),
        "nothing": _role(aws, f"nothing-{role}"),
        "gone": f"arn:aws:iam::{account}:role/gone-{role}",
    }
    for priority, arn in enumerate(roles.values()):
        windows.task(window_id, target_id, ServiceRoleArn=arn, Priority=priority)
    execution = own.run_maintenance_window(WindowId=window_id)
    windows.ended(execution, "FAILED")
    tasks = {each["ServiceRole"]: each for each in windows.tasks(execution).values()}
    assert {name: tasks[arn]["Status"] for name, arn in roles.items()} == {
        "may": "SUCCESS", "nothing": "FAILED", "gone": "FAILED",
    }  # fmt: skip
    assert "AccessDeniedException" in tasks[roles["nothing"]]["StatusDetails"]
    assert f"gone-{role}" in tasks[roles["gone"]]["StatusDetails"]
    sent = [each for each in windows.invocations(execution) if each["Status"] == "SUCCESS"]
    assert command_of(ssm, sent[0]["ExecutionId"])["Status"] == "Success"
    wanted = [{"AttributeKey": "EventName", "AttributeValue": "SendCommand"}]
    found = aws("cloudtrail").lookup_events(LookupAttributes=wanted)["Events"]
    recorded = [json.loads(each["CloudTrailEvent"]) for each in found if window_id in each["CloudTrailEvent"]]
    assert {(each["userIdentity"]["arn"].rpartition(":")[2], each.get("errorCode", "")) for each in recorded} == {
        (f"assumed-role/may-{role}/{window_id}", ""),
        (f"assumed-role/nothing-{role}/{window_id}", "AccessDeniedException"),
    }
    assert {each["sourceIPAddress"] for each in recorded} == {"ssm.amazonaws.com"}


def test_another_account_sees_nothing(server: Server, aws: Aws, windows: Windows, own: Any) -> None:
    key = server.run(access.create_account(server.application.house, f"other-{windows.role}"))
    theirs = aws("ssm", access_key=key.access_key_id, secret=key.secret)
    window_id = windows.make()
    windows.target(window_id)
    execution_id = own.run_maintenance_window(WindowId=window_id)["WindowExecutionId"]
    assert refused(lambda: theirs.get_maintenance_window(WindowId=window_id)) == "DoesNotExistException"
    assert refused(lambda: theirs.update_maintenance_window(WindowId=window_id, Duration=9)) == "DoesNotExistException"
    gone = {"WindowExecutionId": execution_id}
    assert refused(lambda: theirs.get_maintenance_window_execution(**gone)) == "DoesNotExistException"
    assert refused(lambda: theirs.cancel_maintenance_window_execution(**gone)) == "DoesNotExistException"
    assert theirs.describe_maintenance_window_executions(WindowId=window_id)["WindowExecutions"] == []
    theirs.delete_maintenance_window(WindowId=window_id)
    assert windows.ssm.get_maintenance_window(WindowId=window_id)["Duration"] == 3


@contextmanager
def told(server: Server) -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """Events of windows while the block lasts: kind and detail."""
    found: list[tuple[str, dict[str, Any]]] = []

    async def note(house: Any, tx: Transaction, facts: Any) -> None:
        if facts["detail_type"].startswith("Maintenance Window"):
            kind = facts["detail_type"].removeprefix("Maintenance Window ").removesuffix(" Notification")
            found.append((kind, dict(facts["detail"])))

    listeners = server.application.house.listeners.setdefault("event", [])
    listeners.append(note)
    try:
        yield found
    finally:
        listeners.remove(note)


def test_what_happens_is_told(server: Server, windows: Windows, ssm: Any, own: Any, nodes: Nodes) -> None:
    nodes()
    with told(server) as found:
        window_id = windows.make()
        target_id = windows.target(window_id, OwnerInformation="db team")
        task_id = windows.task(window_id, target_id)
        execution = own.run_maintenance_window(WindowId=window_id)
        windows.ended(execution, "SUCCESS")
        ssm.update_maintenance_window(WindowId=window_id, Enabled=False)
        ssm.deregister_task_from_maintenance_window(WindowId=window_id, WindowTaskId=task_id)
    mine = [(kind, detail) for kind, detail in found if detail["window-id"] == window_id]
    assert [(kind, detail["status"]) for kind, detail in mine] == [
        ("Target Registration", "REGISTERED"),
        ("Task Registration", "REGISTERED"),
        ("Execution State-change", "IN_PROGRESS"),
        ("Task Execution State-change", "IN_PROGRESS"),
        ("Task Target Invocation State-change", "IN_PROGRESS"),
        ("Task Target Invocation State-change", "SUCCESS"),
        ("Task Execution State-change", "SUCCESS"),
        ("Execution State-change", "SUCCESS"),
        ("State-change", "DISABLED"),
        ("Task Registration", "DEREGISTERED"),
    ]
    invocation = mine[5][1]
    assert (invocation["window-target-id"], invocation["owner-information"]) == (target_id, "db team")
    assert invocation["window-execution-id"] == execution["WindowExecutionId"]
    assert invocation["start-time"] <= invocation["end-time"]


def test_a_function_is_called_with_a_signature_and_again_where_it_was_away(
    windows: Windows, own: Any, server: Server, receiver: Receiver, until: Until
) -> None:
    window_id = windows.make()
    windows.task(window_id, **FUNCTION)
    asked: list[int] = []
    receiver.status, receiver.during = 503, lambda: asked.append(1)
    try:
        execution = own.run_maintenance_window(WindowId=window_id)
        until(lambda: asked)
        assert windows.status(execution) == "IN_PROGRESS"
        receiver.status = 200
        until(lambda: server.advance(seconds=6) or len(asked) > 1)
        windows.ended(execution, "SUCCESS")
    finally:
        receiver.status, receiver.during = 200, lambda: None
    assert len(asked) == 2
    headers, body = receiver.taken[-1]
    (invocation,) = windows.invocations(execution)
    assert invocation["ExecutionId"] == headers["webhook-id"] == invocation["InvocationId"]
    signed = events.signed_headers(
        headers["webhook-id"], int(headers["webhook-timestamp"]), body, [events.secret_bytes(SECRET)]
    )
    assert headers["webhook-signature"] == signed["webhook-signature"]
    said = json.loads(body)
    account = server.application.root.account_id
    assert said["taskArn"] == f"arn:aws:lambda:eu-west-1:{account}:function:tidy-up"
    assert (said["payload"], said["qualifier"]) == (f'{{"window": "{window_id}"}}', "live")
    receiver.status = 400
    try:
        failed = own.run_maintenance_window(WindowId=window_id)
        windows.ended(failed, "FAILED")
    finally:
        receiver.status = 200
    assert windows.invocations(failed)[0]["StatusDetails"] == "The receiver answered 400."


def test_functions_are_called_for_each_node_within_their_limits(
    windows: Windows, own: Any, receiver: Receiver, nodes: Nodes
) -> None:
    made = {nodes(online=False).id for _ in range(5)}
    window_id = windows.make()
    target_id = windows.target(window_id)
    of = FUNCTION | {
        "Targets": [{"Key": "WindowTargetIds", "Values": [target_id]}], "MaxConcurrency": "2", "MaxErrors": "1",
        "TaskInvocationParameters": {"Lambda": {"Payload": b'"{{TARGET_ID}} {{RESOURCE_ID}} {{TARGET_TYPE}}"'}},
    }  # fmt: skip
    windows.task(window_id, **of)
    before = len(receiver.taken)
    windows.ended(own.run_maintenance_window(WindowId=window_id), "SUCCESS")
    said = [json.loads(body) for _, body in receiver.taken[before:]]
    assert {each["targetId"] for each in said} == made
    assert {each["payload"] for each in said} == {f'"{each} {each} INSTANCE"' for each in made}
    receiver.status = 400
    try:
        execution = own.run_maintenance_window(WindowId=window_id)
        windows.ended(execution, "FAILED")
    finally:
        receiver.status = 200
    statuses = sorted(each["Status"] for each in windows.invocations(execution))
    assert statuses.count("FAILED") in (2, 3)  # the second error stops it, whoever was called beside it
    assert set(statuses) == {"FAILED", "CANCELLED"}


def texts(own: Any, window_id: str) -> str:
    lines = own.explain_maintenance_window(WindowId=window_id)["Lines"]
    return "\n".join(f"{line['About']}: {line['Text']}" for line in lines)


def test_why_it_did_nothing(own: Any, ssm: Any, windows: Windows, server: Server, nodes: Nodes, role: str) -> None:
    window_id = windows.make(Schedule="rate(1 hour)", Duration=1, Cutoff=0)
    said = texts(own, window_id)
    assert "schedule: rate(1 hour): next" in said
    assert "There was none yet." in said
    assert "so an execution has nothing to do" in said
    target_id = windows.target(window_id)
    windows.task(window_id, target_id, TaskArn=f"No-Such-{role}")
    said = texts(own, window_id)
    assert f"The document No-Such-{role} cannot be run" in said
    assert f"target {target_id}: No node fits it now." in said
    nodes(online=False)
    server.advance(hours=3)
    execution = windows.started(window_id)
    windows.ended(execution, "TIMED_OUT")
    said = texts(own, window_id)
    assert "late: no server was there to begin it in time" in said
    assert "The maintenance window ended before it was started." in said
    windows.ended(own.run_maintenance_window(WindowId=window_id), "FAILED")
    said = texts(own, window_id)
    assert "because arn:aws:iam::" in said
    assert "InvalidDocument" in said
    ssm.update_maintenance_window(WindowId=window_id, Enabled=False)
    ssm.deregister_target_from_maintenance_window(WindowId=window_id, WindowTargetId=target_id)
    said = texts(own, window_id)
    assert "window: It is disabled" in said
    assert f"Its target {target_id} is registered no more" in said
    once = windows.make(Schedule="at(2020-01-01T00:00:00)")
    assert "is never due again: its times have passed" in texts(own, once)
    assert refused(lambda: texts(own, "mw-00000000000000000")) == "ResourceNotFoundException"


def test_windows_are_among_what_is_coming(own: Any, windows: Windows) -> None:
    window_id = windows.make(Name="hourly", Schedule="rate(6 hours)")
    disabled = windows.make(Schedule="rate(6 hours)")
    windows.ssm.update_maintenance_window(WindowId=disabled, Enabled=False)
    found = own.list_coming_runs(Days=2, MaxResults=1000)["Runs"]
    mine = [each for each in found if each["Id"] == window_id]
    assert len(mine) == 8
    assert (mine[0]["Kind"], mine[0]["Name"], mine[0]["Minutes"]) == ("maintenance-window", "hourly", 180)
    assert disabled not in {each["Id"] for each in found}


def test_lists_stay_lookups_among_a_thousand(ssm: Any, server: Server, windows: Windows) -> None:
    wanted = windows.make(Name="needle-in-it")
    database = server.application.house.database
    account = server.application.root.account_id

    def hay(number: int) -> Window:
        terms = WindowTerms(name=f"hay-{number:04}", schedule="rate(1 day)", duration=2, cutoff=1, unassociated=False)
        return Window(
            window_id=f"mw-{number:017x}", account_id="999999999999" if number % 2 else account, region="eu-west-1",
            terms=terms, enabled=False, since=0, created_at=0, modified_at=0,
        )  # fmt: skip

    async def fill() -> list[str]:
        how = "explain query plan" if database.engine == "sqlite" else "explain"
        where = "account_id = 'a' and region = 'r'"
        asked = [
            f"select 1 from maintenance_window where {where} and window_id > 'x' order by window_id limit 51",
            f"select 1 from maintenance_window where {where} and window_id > '' and name in ('n') order by window_id",
            "select 1 from maintenance_window_execution where window_id = 'w' order by started_at desc,"
            " execution_id desc limit 51",
            "select 1 from maintenance_window_execution where window_id = 'w' and ended_at is null",
            "select 1 from maintenance_window_execution_task where execution_id = 'e' order by position",
            "select 1 from maintenance_window_invocation where task_execution_id = 'e' order by position",
            "select 1 from maintenance_window_invocation where outside_id = 'o'",
            f"select 1 from maintenance_window_target_value where {where} and target_key = 'k'"
            " and target_value in ('v')",
            "select due_at from scheduled where kind = 'maintenance_window' and key in ('a')",
        ]
        async with database.transaction() as tx:
            for number in range(1000):
                await store.WindowStore(tx).add(hay(number))
            return [str([dict(row) for row in await tx.rows(f"{how} {sql}")]) for sql in asked]

    for found in server.run(fill()):
        assert "index" in found.lower(), found
        assert "SCAN maintenance_window" not in found
        assert "Seq Scan on maintenance_window " not in found
    shown = ssm.describe_maintenance_windows(Filters=[{"Key": "Name", "Values": ["needle-in-it"]}])["WindowIdentities"]
    assert [each["WindowId"] for each in shown] == [wanted]
    assert "NextExecutionTime" in shown[0]
    pages = list(ssm.get_paginator("describe_maintenance_windows").paginate(PaginationConfig={"PageSize": 100}))
    ids = [each["WindowId"] for page in pages for each in page["WindowIdentities"]]
    assert len(ids) == len(set(ids)) >= 501
    assert wanted in ids


def test_a_group_is_a_target_as_far_as_the_role_may_look_into_it(
    aws: Aws, own: Any, windows: Windows, nodes: Nodes, role: str, receiver: Receiver, server: Server
) -> None:
    inside, _ = nodes(), nodes(online=False)
    account = server.application.root.account_id
    arn = f"arn:aws:ssm:eu-west-1:{account}:managed-instance/{inside.id}"
    groups = aws("resource-groups")
    groups.create_group(Name=f"group-{role}", Configuration=[{"Type": "AWS::ResourceGroups::Generic"}])
    assert groups.group_resources(Group=f"group-{role}", ResourceArns=[arn])["Succeeded"] == [arn]
    window_id = windows.make()
    group = {"Key": "resource-groups:Name", "Values": [f"group-{role}"]}
    mixed = {"ResourceType": "INSTANCE", "Targets": [group]}
    assert refused(lambda: windows.target(window_id, **mixed)) == "ValidationException"
    types = {"Key": "resource-groups:ResourceTypeFilters", "Values": ["AWS::SSM::ManagedInstance"]}
    target_id = windows.target(window_id, ResourceType="RESOURCE_GROUP", Targets=[group, types])
    others = types | {"Values": ["AWS::SSM::Parameter"]}
    none = windows.target(window_id, ResourceType="RESOURCE_GROUP", Targets=[group, others])
    windows.task(window_id, target_id, none)
    named = {"Key": "WindowTargetIds", "Values": [target_id]}
    windows.task(window_id, **FUNCTION | {"Targets": [named], "MaxConcurrency": "1", "MaxErrors": "1"})
    before = len(receiver.taken)
    execution = own.run_maintenance_window(WindowId=window_id)
    windows.ended(execution, "SUCCESS")
    assert [job.content["DocumentName"] for job in inside.agent.jobs] == ["AWS-RunShellScript"]
    details = {each.get("WindowTargetId"): each.get("StatusDetails") for each in windows.invocations(execution)}
    assert "no managed nodes" in details[none]
    ((_, body),) = receiver.taken[before:]
    assert json.loads(body)["targetId"] == arn
    found = windows.ssm.describe_maintenance_windows_for_target(Targets=[group], ResourceType="RESOURCE_GROUP")
    assert [each["WindowId"] for each in found["WindowIdentities"]] == [window_id]
