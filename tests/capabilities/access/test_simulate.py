"""Why, and what if: Explain and the simulations of IAM say what the evaluator says."""

import json
import random
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from pilothouse.identity.explaining import explain
from pilothouse.identity.permissions import Permissions, Source
from pilothouse.identity.policy import Ask, Verdict
from pilothouse.wire.http import Request
from tests.conftest import Aws, Server


def document(*statements: dict[str, Any], indent: int | None = None) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)}, indent=indent)


def statement(effect: str, action: str, resource: str = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": effect, "Action": action, "Resource": resource, **more}


DEV = "arn:aws:ssm:eu-west-1:111122223333:parameter/dev/*"


def simulate(aws: Aws, policies: list[str], actions: list[str], **more: Any) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = aws("iam").simulate_custom_policy(
        PolicyInputList=policies, ActionNames=actions, **more
    )["EvaluationResults"]
    return results


def decisions(results: list[dict[str, Any]]) -> list[str]:
    return [each["EvalDecision"] for each in results]


def test_a_custom_policy_allows_denies_or_says_nothing(aws: Aws) -> None:
    policy = document(statement("Allow", "ssm:Get*", DEV), statement("Deny", "ssm:GetParameterHistory"))
    actions = ["ssm:GetParameter", "ssm:GetParameterHistory", "ssm:PutParameter"]
    found = simulate(aws, [policy], actions, ResourceArns=[DEV.replace("*", "x")])
    assert [each["EvalActionName"] for each in found] == actions
    assert decisions(found) == ["allowed", "explicitDeny", "implicitDeny"]
    (allowing,) = found[0]["MatchedStatements"]
    assert (allowing["SourcePolicyId"], allowing["SourcePolicyType"]) == ("PolicyInputList.1", "IAM Policy")
    assert found[2]["MatchedStatements"] == []


def test_matched_statements_say_where_they_stand(aws: Aws) -> None:
    policy = document(statement("Allow", "kms:*"), statement("Allow", "ssm:*"), indent=2)
    first, second = (
        found["MatchedStatements"][0] for found in simulate(aws, [policy], ["kms:Decrypt", "ssm:GetParameter"])
    )
    lines = policy.split("\n")
    start, end = first["StartPosition"], first["EndPosition"]
    assert lines[start["Line"] - 1][start["Column"] - 2] == "["
    assert lines[end["Line"] - 1][end["Column"] - 2] == "}"
    assert '"kms:*"' in "\n".join(lines[start["Line"] - 1 : end["Line"]])
    assert second["StartPosition"] == end
    alone = json.dumps({"Version": "2012-10-17", "Statement": statement("Allow", "ssm:*")})  # as a recording has it
    (matched,) = simulate(aws, [alone], ["ssm:GetParameter"])[0]["MatchedStatements"]
    assert (matched["StartPosition"], matched["EndPosition"]) == (
        {"Line": 1, "Column": 41}, {"Line": 1, "Column": len(alone)},
    )  # fmt: skip


def test_the_strictest_of_several_resources_counts_and_each_is_told(aws: Aws) -> None:
    policy = document(statement("Allow", "ssm:GetParameter", DEV))
    resources = [DEV.replace("*", "x"), DEV.replace("dev/*", "prod")]
    (found,) = simulate(aws, [policy], ["ssm:GetParameter"], ResourceArns=resources)
    assert (found["EvalDecision"], found["EvalResourceName"]) == ("implicitDeny", "*")
    told = [(each["EvalResourceName"], each["EvalResourceDecision"]) for each in found["ResourceSpecificResults"]]
    assert told == [(resources[0], "allowed"), (resources[1], "implicitDeny")]


def test_context_boundaries_and_resource_policies(aws: Aws) -> None:
    when = {"StringEquals": {"aws:RequestedRegion": "eu-west-1"}}
    policy = document(statement("Allow", "ssm:*", Condition=when))
    (missing,) = simulate(aws, [policy], ["ssm:GetParameter"])
    assert (missing["EvalDecision"], missing["MissingContextValues"]) == ("implicitDeny", ["aws:RequestedRegion"])
    entry = {"ContextKeyName": "aws:RequestedRegion", "ContextKeyValues": ["eu-west-1"], "ContextKeyType": "string"}
    (given,) = simulate(aws, [policy], ["ssm:GetParameter"], ContextEntries=[entry])
    assert (given["EvalDecision"], given["MissingContextValues"]) == ("allowed", [])
    everything = document(statement("Allow", "*"))
    bound = simulate(
        aws, [everything], ["ssm:GetParameter", "kms:Decrypt"],
        PermissionsBoundaryPolicyInputList=[document(statement("Allow", "ssm:*"))],
    )  # fmt: skip
    assert decisions(bound) == ["allowed", "implicitDeny"]
    told = [each["PermissionsBoundaryDecisionDetail"]["AllowedByPermissionsBoundary"] for each in bound]
    assert told == [True, False]
    caller = "arn:aws:iam::111122223333:user/ada"
    shared = json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": {
                "Effect": "Allow", "Principal": {"AWS": caller}, "Action": "ssm:GetParameter", "Resource": DEV,
            },
        }
    )  # fmt: skip
    nothing = document(statement("Allow", "kms:*"))
    one = DEV.replace("*", "x")
    asked = {"ResourceArns": [one], "CallerArn": caller, "ResourcePolicy": shared}
    assert decisions(simulate(aws, [nothing], ["ssm:GetParameter"], **asked)) == ["allowed"]
    far = {**asked, "ResourceArns": [one.replace("111122223333", "444455556666")]}
    far["ResourcePolicy"] = shared.replace(DEV, DEV.replace("111122223333", "444455556666"))
    assert decisions(simulate(aws, [nothing], ["ssm:GetParameter"], **far)) == ["implicitDeny"]
    assert decisions(simulate(aws, [everything], ["ssm:GetParameter"], **far)) == ["allowed"]


def test_the_policies_of_a_user_a_group_and_a_role(aws: Aws) -> None:
    iam = aws("iam")
    user = iam.create_user(UserName="ada")["User"]["Arn"]
    group = iam.create_group(GroupName="ops")["Group"]["Arn"]
    trust = json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": {"Effect": "Allow", "Principal": {"Service": "ssm.amazonaws.com"}, "Action": "sts:AssumeRole"},
        }
    )
    role = iam.create_role(RoleName="nodes", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    iam.add_user_to_group(GroupName="ops", UserName="ada")
    iam.put_group_policy(GroupName="ops", PolicyName="group", PolicyDocument=document(statement("Allow", "ssm:Get*")))
    own = "arn:aws:iam::*:user/${aws:username}"
    iam.put_user_policy(
        UserName="ada", PolicyName="own", PolicyDocument=document(statement("Allow", "iam:GetUser", own))
    )
    iam.attach_role_policy(RoleName="nodes", PolicyArn="arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore")

    def decided(source: str, action: str, **more: Any) -> tuple[str, list[tuple[str, str]]]:
        (found,) = iam.simulate_principal_policy(PolicySourceArn=source, ActionNames=[action], **more)[
            "EvaluationResults"
        ]
        return found["EvalDecision"], [(m["SourcePolicyId"], m["SourcePolicyType"]) for m in found["MatchedStatements"]]

    assert decided(user, "ssm:GetParameter") == ("allowed", [("group_ops_group", "IAM Policy")])
    assert decided(group, "ssm:GetParameter") == ("allowed", [("group_ops_group", "IAM Policy")])
    assert decided(user, "iam:GetUser", ResourceArns=[user]) == ("allowed", [("user_ada_own", "IAM Policy")])
    assert decided(user, "iam:GetUser", ResourceArns=[f"{user}x"]) == ("implicitDeny", [])
    core = ("AmazonSSMManagedInstanceCore", "IAM Policy")
    assert decided(role, "ssm:UpdateInstanceInformation") == ("allowed", [core])
    deny = document(statement("Deny", "ssm:*"))
    assert decided(user, "ssm:GetParameter", PolicyInputList=[deny])[0] == "explicitDeny"
    keys = iam.get_context_keys_for_principal_policy(PolicySourceArn=user)["ContextKeyNames"]
    assert keys == ["aws:username"]
    with pytest.raises(ClientError, match="NoSuchEntity"):
        iam.simulate_principal_policy(PolicySourceArn=f"{user}x", ActionNames=["ssm:GetParameter"])
    with pytest.raises(ClientError, match="InvalidInput"):
        iam.simulate_principal_policy(PolicySourceArn="arn:aws:sts::1:nonsense", ActionNames=["ssm:GetParameter"])
    with pytest.raises(ClientError, match="InvalidInput"):
        iam.simulate_custom_policy(PolicyInputList=["{}"], ActionNames=["ssm:GetParameter"])


def test_pages(aws: Aws) -> None:
    actions = [f"ssm:Do{number}" for number in range(7)]
    pages = (
        aws("iam")
        .get_paginator("simulate_custom_policy")
        .paginate(
            PolicyInputList=[document(statement("Allow", "*"))], ActionNames=actions, PaginationConfig={"PageSize": 3}
        )
    )
    found = [[each["EvalActionName"] for each in page["EvaluationResults"]] for page in pages]
    assert found == [actions[:3], actions[3:6], actions[6:]]


def test_context_keys_of_documents(aws: Aws) -> None:
    policy = document(
        statement("Allow", "ssm:*", "arn:aws:ssm:*:*:parameter/${aws:PrincipalTag/team}/*"),
        statement("Deny", "kms:*", Condition={"Bool": {"aws:SecureTransport": "false"}}),
        statement("Deny", "iam:*", Condition={"Null": {"aws:securetransport": "true"}}),
    )  # fmt: skip
    found = aws("iam").get_context_keys_for_custom_policy(PolicyInputList=[policy])["ContextKeyNames"]
    assert [each.lower() for each in found] == ["aws:principaltag/team", "aws:securetransport"]


def test_explain_says_which_condition_fails(aws: Aws) -> None:
    iam = aws("iam")
    arn = iam.create_user(UserName="ada")["User"]["Arn"]
    office = statement("Allow", "ssm:*", Condition={"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}, Sid="Office")
    iam.put_user_policy(UserName="ada", PolicyName="office", PolicyDocument=document(office))
    asked: dict[str, Any] = {"PrincipalArn": arn, "Action": "ssm:GetParameter", "Resource": DEV.replace("*", "x")}
    context = [{"Key": "aws:SourceIp", "Values": ["192.0.2.1"]}]
    found = aws("pilothouse").explain(**asked, Context=context)
    assert found["Verdict"] == "implicitDeny"
    assert found["Reason"].startswith(f"User: {arn} is not authorized to perform: ssm:GetParameter on resource: ")
    (told,) = found["Statements"]
    assert (told["Policy"], told["Kind"], told["Sid"], told["Effect"]) == ("office", "inline", "Office", "Allow")
    assert (told["ActionFits"], told["ResourceFits"], told["Applies"]) == (True, True, False)
    assert told["Conditions"] == [
        {
            "Operator": "IpAddress",
            "Key": "aws:SourceIp",
            "Wanted": ["10.0.0.0/8"],
            "Found": ["192.0.2.1"],
            "Holds": False,
        }
    ]
    context[0]["Values"] = ["10.1.2.3"]
    assert aws("pilothouse").explain(**asked, Context=context)["Reason"] == "Statement Office of office allows it."


def test_only_those_who_may_know_are_told(aws: Aws) -> None:
    iam = aws("iam")
    arn = iam.create_user(UserName="ada")["User"]["Arn"]
    key = iam.create_access_key(UserName="ada")["AccessKey"]
    hers = aws("pilothouse", access_key=key["AccessKeyId"], secret=key["SecretAccessKey"])
    with pytest.raises(ClientError, match="pilothouse:Explain"):
        hers.explain(Action="ssm:GetParameter")
    iam.put_user_policy(
        UserName="ada", PolicyName="why", PolicyDocument=document(statement("Allow", "pilothouse:Explain", arn))
    )
    assert hers.explain(Action="ssm:GetParameter")["Verdict"] == "implicitDeny"
    with pytest.raises(ClientError, match="pilothouse:Explain"):
        hers.explain(Action="ssm:GetParameter", PrincipalArn=arn.replace("ada", "bob"))
    with pytest.raises(ClientError, match="NoSuchEntity"):
        aws("pilothouse").explain(Action="ssm:GetParameter", PrincipalArn="arn:aws:iam::999999999999:user/ada")


def test_the_path_answers_as_the_operation(aws: Aws, server: Server) -> None:
    root = server.application.root
    asked = AWSRequest("POST", "http://pilothouse.test/ph/v1/explain", data=b'{"Action": "ssm:GetParameter"}',
                       headers={"Content-Type": "application/json"})  # fmt: skip
    SigV4Auth(Credentials(root.access_key_id, root.secret), "pilothouse", "eu-west-1").add_auth(asked)
    headers = {name.lower(): value for name, value in asked.headers.items()} | {"host": "pilothouse.test"}

    def respond(method: str, body: bytes) -> Any:
        request = Request(method=method, path="/ph/v1/explain", query="", headers=headers, body=body, peer="127.0.0.1",
                          secure=False)  # fmt: skip
        return server.run(server.application.front.respond(request))

    answer = respond("POST", b'{"Action": "ssm:GetParameter"}')
    assert (answer.status, json.loads(answer.body)["Verdict"]) == (200, "allowed")
    altered = respond("POST", b'{"Action": "ssm:PutParameter"}')
    assert b"InvalidSignatureException" in altered.body
    assert respond("GET", b"").status == 405


def test_an_explanation_agrees_with_the_evaluator() -> None:
    chance = random.Random(7)
    actions = ["ssm:GetParameter", "ssm:PutParameter", "kms:Decrypt", "*", "ssm:*"]
    resources = ["*", DEV, DEV.replace("dev/*", "prod/x"), "arn:aws:kms:*:*:key/*"]
    conditions = [{}, {"StringEquals": {"aws:username": "ada"}}, {"StringLike": {"aws:username": ["b*", "c?"]}},
                  {"Null": {"aws:username": "true"}}, {"StringNotEqualsIfExists": {"aws:username": "ada"}}]  # fmt: skip
    seen = set()
    for _ in range(2000):
        sources = []
        for number in range(chance.randint(1, 4)):
            parts = [
                statement(chance.choice(["Allow", "Allow", "Deny"]), chance.choice(actions), chance.choice(resources),
                          Condition=chance.choice(conditions))
                for _ in range(chance.randint(1, 3))
            ]  # fmt: skip
            kind = chance.choice(["inline", "inline", "managed", "boundary", "session"])
            sources.append(Source(kind=kind, name=f"p{number}", document=document(*parts)))  # type: ignore[arg-type]
        ask = Ask(
            principal_arn="arn:aws:iam::111122223333:user/ada", principal_account="111122223333", principal_kind="user",
            action=chance.choice(actions[:3]), resource=chance.choice([DEV.replace("*", "x"), "*"]),
            context=chance.choice([{}, {"aws:username": "ada"}, {"aws:username": "bob"}]),
        )  # fmt: skip
        found = explain(sources, ask)
        assert found.verdict is Permissions.of(sources).verdict(ask)
        applying = [each for each in found.statements if each.applies]
        assert (found.verdict is Verdict.DENY) == any(not each.allows for each in applying)
        if found.verdict is Verdict.ALLOW:
            assert all(each.allows for each in found.deciding())
            assert found.deciding()
        seen.add(found.verdict)
    assert seen == set(Verdict)
