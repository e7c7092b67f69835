"""Managed policies and permission boundaries, through boto3."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilothouse.capabilities.access.provided import all_provided, provided
from pilothouse.identity.permissions import Permissions, Source
from pilothouse.identity.policy import Ask, Verdict, parse
from tests.capabilities.access.policies import User, allow, deny, document, error
from tests.conftest import Aws, Server

READ = allow("ssm:GetParameter")


def _made(iam: Any, name: str = "reading", *statements: dict[str, Any], **more: Any) -> str:
    arn: str = iam.create_policy(
        PolicyName=name, PolicyDocument=document(*(statements or (READ,))), **more
    )["Policy"]["Arn"]  # fmt: skip
    return arn


def _may_read(user: User) -> bool:
    return error(user("ssm").get_parameter, Name="/a")["Code"] == "ParameterNotFound"


def test_a_policy_is_told_as_it_was_made(aws: Aws, server: Server) -> None:
    iam = aws("iam")
    made = iam.create_policy(
        PolicyName="Reading", Path="/team/", Description="d", PolicyDocument=document(READ),
        Tags=[{"Key": "k", "Value": "v"}],
    )["Policy"]  # fmt: skip
    account_id = server.application.root.account_id
    assert made["Arn"] == f"arn:aws:iam::{account_id}:policy/team/Reading"
    assert made["PolicyId"].startswith("ANPA")
    assert "Description" not in made
    told = iam.get_policy(PolicyArn=made["Arn"])["Policy"]
    assert told["Description"] == "d"
    assert told["Tags"] == [{"Key": "k", "Value": "v"}]
    for member, value in {
        "DefaultVersionId": "v1", "AttachmentCount": 0, "PermissionsBoundaryUsageCount": 0, "IsAttachable": True,
    }.items():  # fmt: skip
        assert told[member] == made[member] == value
    refused = error(iam.create_policy, PolicyName="reading", PolicyDocument=document(READ))
    assert refused["Code"] == "EntityAlreadyExists"
    assert refused["Message"] == "A policy called reading already exists. Duplicate names are not allowed."
    assert error(iam.get_policy, PolicyArn=made["Arn"] + "x") == {
        "Type": "Sender", "Code": "NoSuchEntity", "Message": f"Policy {made['Arn']}x was not found.",
    }  # fmt: skip
    assert error(iam.create_policy, PolicyName="bad", PolicyDocument="{}")["Code"] == "MalformedPolicyDocument"
    long = document(*(allow(f"ssm:{'x' * 60}{number}") for number in range(80)))
    assert error(iam.create_policy, PolicyName="long", PolicyDocument=long)["Code"] == "LimitExceeded"


def test_an_attached_policy_counts_until_it_is_detached(aws: Aws) -> None:
    iam, user = aws("iam"), User(aws, "ann")
    arn = _made(iam)
    assert not _may_read(user)
    iam.attach_user_policy(UserName="ann", PolicyArn=arn)
    iam.attach_user_policy(UserName="ann", PolicyArn=arn)
    assert _may_read(user)
    assert iam.list_attached_user_policies(UserName="ann")["AttachedPolicies"] == [
        {"PolicyName": "reading", "PolicyArn": arn}
    ]
    assert iam.get_policy(PolicyArn=arn)["Policy"]["AttachmentCount"] == 1
    assert error(iam.delete_policy, PolicyArn=arn)["Message"] == "Cannot delete a policy attached to entities."
    for key in iam.list_access_keys(UserName="ann")["AccessKeyMetadata"]:
        iam.delete_access_key(UserName="ann", AccessKeyId=key["AccessKeyId"])
    refused = error(iam.delete_user, UserName="ann")
    assert refused["Code"] == "DeleteConflict"
    assert refused["Message"] == "Cannot delete entity, must detach all policies first."
    iam.detach_user_policy(UserName="ann", PolicyArn=arn)
    assert error(iam.detach_user_policy, UserName="ann", PolicyArn=arn)["Code"] == "NoSuchEntity"
    iam.delete_user(UserName="ann")
    iam.delete_policy(PolicyArn=arn)
    assert error(iam.get_policy, PolicyArn=arn)["Code"] == "NoSuchEntity"


def test_a_detached_policy_allows_nothing_more(aws: Aws) -> None:
    iam, user = aws("iam"), User(aws, "ann")
    arn = _made(iam)
    iam.attach_user_policy(UserName="ann", PolicyArn=arn)
    assert _may_read(user)
    iam.detach_user_policy(UserName="ann", PolicyArn=arn)
    assert not _may_read(user)


def test_the_default_version_is_the_one_that_counts(aws: Aws) -> None:
    iam, user = aws("iam"), User(aws, "ann")
    arn = _made(iam)
    iam.attach_user_policy(UserName="ann", PolicyArn=arn)
    second = iam.create_policy_version(PolicyArn=arn, PolicyDocument=document(deny("*")))["PolicyVersion"]
    assert (second["VersionId"], second["IsDefaultVersion"]) == ("v2", False)
    assert _may_read(user)
    iam.set_default_policy_version(PolicyArn=arn, VersionId="v2")
    assert not _may_read(user)
    refused = error(iam.delete_policy_version, PolicyArn=arn, VersionId="v2")
    assert refused["Message"] == "Cannot delete the default version of a policy."
    iam.delete_policy_version(PolicyArn=arn, VersionId="v1")
    third = iam.create_policy_version(PolicyArn=arn, PolicyDocument=document(READ), SetAsDefault=True)
    assert third["PolicyVersion"]["VersionId"] == "v3"
    assert _may_read(user)
    assert iam.get_policy_version(PolicyArn=arn, VersionId="v2")["PolicyVersion"]["Document"] == json.loads(
        document(deny("*"))
    )
    assert [each["VersionId"] for each in iam.list_policy_versions(PolicyArn=arn)["Versions"]] == ["v3", "v2"]
    for _ in range(3):
        iam.create_policy_version(PolicyArn=arn, PolicyDocument=document(READ))
    assert error(iam.create_policy_version, PolicyArn=arn, PolicyDocument=document(READ))["Code"] == "LimitExceeded"
    assert error(iam.get_policy_version, PolicyArn=arn, VersionId="v9")["Code"] == "NoSuchEntity"
    iam.detach_user_policy(UserName="ann", PolicyArn=arn)
    assert "more than one version" in error(iam.delete_policy, PolicyArn=arn)["Message"]


def test_sessions_of_a_role_follow_its_attached_policies(aws: Aws, server: Server) -> None:
    iam = aws("iam")
    account_id = server.application.root.account_id
    trust = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": f"arn:aws:iam::{account_id}:root"}}
    role = iam.create_role(RoleName="reader", AssumeRolePolicyDocument=document(trust))["Role"]
    given = aws("sts").assume_role(RoleArn=role["Arn"], RoleSessionName="work")["Credentials"]
    ssm = aws(
        "ssm", access_key=given["AccessKeyId"], secret=given["SecretAccessKey"],
        token=given["SessionToken"],
    )  # fmt: skip
    assert error(ssm.describe_parameters)["Code"] == "AccessDeniedException"
    arn = "arn:aws:iam::aws:policy/AmazonSSMReadOnlyAccess"
    iam.attach_role_policy(RoleName="reader", PolicyArn=arn)
    assert ssm.describe_parameters()["Parameters"] == []
    assert error(ssm.put_parameter, Name="/a", Value="v", Type="String")["Code"] == "AccessDeniedException"
    assert iam.list_attached_role_policies(RoleName="reader")["AttachedPolicies"] == [
        {"PolicyName": "AmazonSSMReadOnlyAccess", "PolicyArn": arn}
    ]
    assert error(iam.delete_role, RoleName="reader")["Code"] == "DeleteConflict"
    iam.put_role_permissions_boundary(
        RoleName="reader", PermissionsBoundary=_made(iam, "edge", allow("ssm:GetParameter"))
    )
    assert error(ssm.describe_parameters)["Code"] == "AccessDeniedException"
    iam.delete_role_permissions_boundary(RoleName="reader")
    assert ssm.describe_parameters()["Parameters"] == []
    iam.detach_role_policy(RoleName="reader", PolicyArn=arn)
    iam.delete_role(RoleName="reader")


def test_a_boundary_narrows_and_gives_nothing(aws: Aws) -> None:
    iam = aws("iam")
    edge = _made(iam, "edge", allow(["ssm:GetParameter", "ssm:DeleteParameter"]))
    user = User(aws, "ann", PermissionsBoundary=edge)
    assert iam.get_user(UserName="ann")["User"]["PermissionsBoundary"] == {
        "PermissionsBoundaryType": "Policy", "PermissionsBoundaryArn": edge,
    }  # fmt: skip
    assert not _may_read(user)
    user.may(allow("ssm:*"))
    assert _may_read(user)
    refused = error(user("ssm").describe_parameters)
    assert refused["Code"] == "AccessDeniedException"
    assert refused["Message"].endswith("because no permissions boundary allows the ssm:DescribeParameters action")
    assert iam.get_policy(PolicyArn=edge)["Policy"]["PermissionsBoundaryUsageCount"] == 1
    assert error(iam.delete_policy, PolicyArn=edge)["Code"] == "DeleteConflict"
    iam.delete_user_permissions_boundary(UserName="ann")
    assert user("ssm").describe_parameters()["Parameters"] == []
    iam.put_user_permissions_boundary(UserName="ann", PermissionsBoundary=_made(iam, "none", deny("ssm:*")))
    refused = error(user("ssm").get_parameter, Name="/a")
    assert refused["Message"].endswith("with an explicit deny in a permissions boundary")
    missing = edge + "x"
    refused = error(iam.put_user_permissions_boundary, UserName="ann", PermissionsBoundary=missing)
    assert refused["Message"] == f"Policy {missing} does not exist or is not attachable."
    assert error(iam.create_user, UserName="bob", PermissionsBoundary=missing)["Code"] == "NoSuchEntity"
    assert error(iam.get_user, UserName="bob")["Code"] == "NoSuchEntity"


def test_a_user_may_be_let_make_users_within_a_boundary_only(aws: Aws) -> None:
    iam = aws("iam")
    edge = _made(iam, "edge")
    user = User(aws, "lead")
    user.may(allow("iam:CreateUser", Condition={"StringEquals": {"iam:PermissionsBoundary": edge}}))
    assert error(user("iam").create_user, UserName="x")["Code"] == "AccessDenied"
    user("iam").create_user(UserName="x", PermissionsBoundary=edge)


def test_policies_that_everybody_has_are_nobody_s_to_change(aws: Aws) -> None:
    iam = aws("iam")
    arn = "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"
    told = iam.get_policy(PolicyArn=arn)["Policy"]
    core = iam.get_policy_version(PolicyArn=arn, VersionId=told["DefaultVersionId"])["PolicyVersion"]["Document"]
    actions = {action for statement in core["Statement"] for action in statement["Action"]}
    assert {"ssm:UpdateInstanceInformation", "ssmmessages:OpenControlChannel", "ec2messages:SendReply"} <= actions
    for call, more in (
        (iam.delete_policy, {}), (iam.set_default_policy_version, {"VersionId": "v1"}),
        (iam.create_policy_version, {"PolicyDocument": document(READ)}),
    ):  # fmt: skip
        assert error(call, PolicyArn=arn, **more)["Code"] == "AccessDenied"


def test_lists_come_in_pages_that_miss_and_repeat_nothing(aws: Aws) -> None:
    iam = aws("iam")
    for number in range(7):
        _made(iam, f"p{number}", Path="/even/" if number % 2 == 0 else "/odd/")
    User(aws, "ann")
    for number in range(3):
        account = iam.list_policies(Scope="Local", PathPrefix="/even/")["Policies"][0]["Arn"].rpartition(":")[0]
        iam.attach_user_policy(UserName="ann", PolicyArn=f"{account}:policy/even/p{2 * number}")

    def names(**members: Any) -> list[str]:
        pages = iam.get_paginator("list_policies").paginate(**members, PaginationConfig={"PageSize": 2})
        return [policy["PolicyName"] for page in pages for policy in page["Policies"]]

    own = [f"p{number}" for number in range(7)]
    assert names(Scope="Local") == own
    assert names(Scope="Local", PathPrefix="/odd/") == ["p1", "p3", "p5"]
    assert names(OnlyAttached=True) == ["p0", "p2", "p4"]
    assert names(Scope="AWS") == [policy.name for policy in all_provided()]
    assert sorted(names()) == sorted([*own, *(policy.name for policy in all_provided())])
    pages = iam.get_paginator("list_attached_user_policies").paginate(UserName="ann", PaginationConfig={"PageSize": 2})
    assert [each["PolicyName"] for page in pages for each in page["AttachedPolicies"]] == ["p0", "p2", "p4"]
    assert error(iam.list_policies, Marker="bad")["Code"] == "ValidationError"


def test_who_holds_a_policy(aws: Aws, server: Server) -> None:
    iam = aws("iam")
    arn = _made(iam)
    for name in ("ann", "bob", "eve"):
        User(aws, name)
        iam.attach_user_policy(UserName=name, PolicyArn=arn)
    trust = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "ssm.amazonaws.com"}}
    iam.create_role(RoleName="r", AssumeRolePolicyDocument=document(trust), PermissionsBoundary=arn)
    pages = list(
        iam.get_paginator("list_entities_for_policy").paginate(PolicyArn=arn, PaginationConfig={"PageSize": 1})
    )
    assert len(pages) == 4
    assert sorted(each["UserName"] for page in pages for each in page["PolicyUsers"]) == ["ann", "bob", "eve"]
    assert [each["RoleName"] for page in pages for each in page["PolicyRoles"]] == ["r"]
    only = iam.list_entities_for_policy(PolicyArn=arn, PolicyUsageFilter="PermissionsBoundary")
    assert (only["PolicyUsers"], [each["RoleName"] for each in only["PolicyRoles"]]) == ([], ["r"])
    assert iam.list_entities_for_policy(PolicyArn=arn, EntityFilter="User")["PolicyRoles"] == []


def test_another_account_s_policy_is_not_there(aws: Aws, server: Server) -> None:
    iam = aws("iam")
    arn = _made(iam)
    foreign = arn.replace(server.application.root.account_id, "999999999999")
    User(aws, "ann")
    assert error(iam.attach_user_policy, UserName="ann", PolicyArn=foreign)["Code"] == "NoSuchEntity"
    assert error(iam.get_policy, PolicyArn=foreign)["Code"] == "NoSuchEntity"


def test_at_most_ten_are_attached(aws: Aws) -> None:
    iam = aws("iam")
    User(aws, "ann")
    made = [_made(iam, f"p{number}") for number in range(11)]
    for arn in made[:10]:
        iam.attach_user_policy(UserName="ann", PolicyArn=arn)
    refused = error(iam.attach_user_policy, UserName="ann", PolicyArn=made[10])
    assert refused["Code"] == "LimitExceeded"
    assert refused["Message"] == "Cannot exceed quota for PoliciesPerUser: 10"
    iam.attach_user_policy(UserName="ann", PolicyArn=made[0])


@pytest.mark.parametrize("arn", [policy.arn for policy in all_provided()])
def test_what_is_provided_is_a_policy(arn: str) -> None:
    found = provided(arn)
    assert found is not None
    parse(found[1], kind="identity")


_STATEMENTS = st.builds(
    lambda effect, action: {"Effect": effect, "Action": f"ssm:{action}", "Resource": "*"},
    st.sampled_from(["Allow", "Deny"]),
    st.sampled_from(["A", "B", "*"]),
)
_DOCUMENTS = st.lists(st.lists(_STATEMENTS, min_size=1, max_size=3).map(lambda some: document(*some)), max_size=2)


@settings(max_examples=300)
@given(held=_DOCUMENTS, edges=_DOCUMENTS, narrowing=_DOCUMENTS, action=st.sampled_from(["ssm:A", "ssm:B"]))
def test_nothing_is_allowed_that_one_layer_does_not_allow(
    held: list[str], edges: list[str], narrowing: list[str], action: str
) -> None:
    kinds = {"managed": held, "boundary": edges, "session": narrowing}
    sources = [
        Source(kind=kind, name="p", document=text)  # type: ignore[arg-type]
        for kind, texts in kinds.items()
        for text in texts
    ]
    ask = Ask(
        principal_arn="arn:aws:iam::1:user/a", principal_account="1", principal_kind="user", action=action,
        resource="*",
    )  # fmt: skip

    def says(texts: list[str], effect: str) -> bool:
        statements = [each for text in texts for each in json.loads(text)["Statement"]]
        return any(each["Effect"] == effect and each["Action"] in ("ssm:*", action) for each in statements)

    layers = [held, *([edges] if edges else []), *([narrowing] if narrowing else [])]
    denied = any(says(texts, "Deny") for texts in layers)
    allowed = not denied and all(says(texts, "Allow") for texts in layers)
    verdict = Permissions.of(sources).verdict(ask)
    assert (verdict is Verdict.ALLOW) == allowed
    assert (verdict is Verdict.DENY) == denied or (verdict is Verdict.NEUTRAL and not denied)
