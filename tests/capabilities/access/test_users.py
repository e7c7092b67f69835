"""Users, their keys and what their policies let them do, through boto3."""

import json

from pilothouse.capabilities import access
from tests.capabilities.access.policies import User, allow, deny, document, error
from tests.conftest import Aws, Server


def _parameter(name: str) -> str:
    return f"arn:aws:ssm:*:*:parameter{name}"


def test_a_user_is_told_who_it_is_and_may_do_nothing_else(aws: Aws, server: Server) -> None:
    user = User(aws, "ann", Path="/team/", Tags=[{"Key": "Team", "Value": "a"}])
    account_id = server.application.root.account_id
    told = user("sts").get_caller_identity()
    assert told["Arn"] == user.arn == f"arn:aws:iam::{account_id}:user/team/ann"
    made = aws("iam").get_user(UserName="ANN")["User"]
    assert told["UserId"] == made["UserId"]
    assert made["UserId"].startswith("AIDA")
    assert made["Tags"] == [{"Key": "Team", "Value": "a"}]
    refused = error(user("ssm").get_parameter, Name="/a")
    assert refused["Code"] == "AccessDeniedException"
    assert refused["Message"].startswith(f"User: {user.arn} is not authorized to perform: ssm:GetParameter on resource")
    assert refused["Message"].endswith("because no identity-based policy allows the ssm:GetParameter action")
    assert error(user("iam").create_user, UserName="bob")["Code"] == "AccessDenied"
    assert (
        error(user("iam").put_user_policy, UserName="ann", PolicyName="p", PolicyDocument=document(allow("*")))["Code"]
        == "AccessDenied"
    )


def test_an_account_with_no_word_of_its_users_stays_closed_for_every_operation(aws: Aws, server: Server) -> None:
    user = User(aws, "nobody")
    for service, call, members in (
        ("kms", "list_keys", {}), ("kms", "create_key", {}), ("kms", "generate_random", {"NumberOfBytes": 1}),
        ("ssm", "describe_parameters", {}), ("ssm", "describe_instance_information", {}),
        ("ssm", "list_commands", {}), ("iam", "list_users", {}), ("iam", "get_user", {}),
        ("secretsmanager", "create_secret", {"Name": "s", "SecretString": "v"}),
        ("ssm", "send_command", {"DocumentName": "AWS-RunShellScript", "InstanceIds": ["mi-0123456789abcdef0"]}),
    ):  # fmt: skip
        code = error(getattr(user(service), call), **members)["Code"]
        assert code in ("AccessDenied", "AccessDeniedException"), (service, call, code)


def test_policies_reach_as_far_as_they_say_and_denies_win(aws: Aws) -> None:
    ssm = aws("ssm")
    for name in ("/dev/x", "/prod/x"):
        ssm.put_parameter(Name=name, Value="v", Type="String")
    user = User(aws, "ann")
    user.may(allow(["ssm:GetParameter", "ssm:GetParameters"], _parameter("/dev/*")))
    assert user("ssm").get_parameter(Name="/dev/x")["Parameter"]["Value"] == "v"
    refused = error(user("ssm").get_parameter, Name="/prod/x")
    assert refused["Code"] == "AccessDeniedException"
    assert ":parameter/prod/x because" in refused["Message"]
    assert error(user("ssm").get_parameters, Names=["/dev/x", "/prod/x"])["Code"] == "AccessDeniedException"
    user.may(deny("ssm:*", _parameter("/dev/x")), policy="q")
    refused = error(user("ssm").get_parameter, Name="/dev/x")
    assert refused["Message"].endswith("with an explicit deny in an identity-based policy")
    aws("iam").delete_user_policy(UserName="ann", PolicyName="q")
    user("ssm").get_parameter(Name="/dev/x")


def test_conditions_of_the_request(aws: Aws) -> None:
    user = User(aws, "ann", Tags=[{"Key": "team", "Value": "a"}])
    overwrite = {"Condition": {"StringEquals": {"ssm:Overwrite": "true"}}}
    user.may(allow("ssm:*", _parameter("/${aws:PrincipalTag/team}/${aws:username}/*")), deny("ssm:Put*", **overwrite))
    ssm = user("ssm")
    ssm.put_parameter(Name="/a/ann/x", Value="v", Type="String")
    refused = error(ssm.put_parameter, Name="/a/ann/x", Value="w", Type="String", Overwrite=True)
    assert refused["Code"] == "AccessDeniedException"
    assert error(ssm.put_parameter, Name="/b/ann/x", Value="v", Type="String")["Code"] == "AccessDeniedException"
    recursive = {"Condition": {"StringEquals": {"ssm:Recursive": "false"}}}
    user.may(allow("ssm:GetParametersByPath", _parameter("/a*"), **recursive))
    assert ssm.get_parameters_by_path(Path="/a/ann")["Parameters"]
    assert error(ssm.get_parameters_by_path, Path="/a", Recursive=True)["Code"] == "AccessDeniedException"
    user.may(allow("ssm:*", Condition={"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}))
    assert error(ssm.describe_parameters)["Code"] == "AccessDeniedException"


def test_keys_want_their_own_permission(aws: Aws) -> None:
    kms, ssm = aws("kms"), aws("ssm")
    key = kms.create_key()["KeyMetadata"]
    ssm.put_parameter(Name="/own", Value="v", Type="SecureString", KeyId=key["KeyId"])
    ssm.put_parameter(Name="/default", Value="v", Type="SecureString")
    user = User(aws, "ann")
    user.may(allow("ssm:*"))
    assert user("ssm").get_parameter(Name="/own")["Parameter"]["Value"] != "v"
    assert error(user("ssm").get_parameter, Name="/own", WithDecryption=True)["Code"] == "AccessDeniedException"
    assert user("ssm").get_parameter(Name="/default", WithDecryption=True)["Parameter"]["Value"] == "v"
    assert error(user("ssm").put_parameter, Name="/o2", Value="v", Type="SecureString", KeyId=key["KeyId"])
    blob = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x")["CiphertextBlob"]
    default = kms.encrypt(KeyId="alias/aws/ssm", Plaintext=b"x")["CiphertextBlob"]
    for each in (blob, default):
        assert error(user("kms").decrypt, CiphertextBlob=each)["Code"] == "AccessDeniedException"
    for call, members in (
        ("encrypt", {"Plaintext": b"x"}), ("generate_data_key", {"KeySpec": "AES_256"}), ("describe_key", {}),
        ("generate_data_key_without_plaintext", {"KeySpec": "AES_256"}), ("disable_key", {}),
    ):  # fmt: skip
        refused = error(getattr(user("kms"), call), KeyId=key["KeyId"], **members)
        assert refused["Code"] == "AccessDeniedException", call
    user.may(allow("ssm:*"), allow("kms:Decrypt", key["Arn"]))
    assert user("ssm").get_parameter(Name="/own", WithDecryption=True)["Parameter"]["Value"] == "v"
    assert user("kms").decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"
    user.may(allow("*"), deny("kms:Decrypt", key["Arn"]))
    refused = error(user("kms").decrypt, CiphertextBlob=blob)
    assert refused["Message"].endswith("with an explicit deny in an identity-based policy")


def test_a_key_policy_that_names_the_user_is_enough(aws: Aws) -> None:
    user = User(aws, "ann")
    kms = aws("kms")
    root = aws("sts").get_caller_identity()["Arn"]
    policy = document(
        allow("kms:*", Principal={"AWS": root}),
        allow("kms:Encrypt", Principal={"AWS": user.arn}),
    )
    key_id = kms.create_key(Policy=policy)["KeyMetadata"]["KeyId"]
    blob = user("kms").encrypt(KeyId=key_id, Plaintext=b"x")["CiphertextBlob"]
    assert error(user("kms").decrypt, CiphertextBlob=blob)["Code"] == "AccessDeniedException"
    kms.create_grant(KeyId=key_id, GranteePrincipal=user.arn, Operations=["Decrypt"])
    assert user("kms").decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"
    user.may(deny("kms:*"))
    assert error(user("kms").decrypt, CiphertextBlob=blob)["Code"] == "AccessDeniedException"
    assert error(user("kms").encrypt, KeyId=key_id, Plaintext=b"x")["Code"] == "AccessDeniedException"


def test_secrets_are_known_by_their_whole_arn_however_they_are_named(aws: Aws) -> None:
    made = aws("secretsmanager").create_secret(Name="app/db", SecretString="v")["ARN"]
    user = User(aws, "ann")
    user.may(allow("*"), deny("secretsmanager:GetSecretValue", made))
    for name in ("app/db", made, made.rpartition("-")[0]):
        assert error(user("secretsmanager").get_secret_value, SecretId=name)["Code"] == "AccessDeniedException"
    by_reference = {"Name": "/aws/reference/secretsmanager/app/db", "WithDecryption": True}
    assert error(user("ssm").get_parameter, **by_reference)["Code"] == "AccessDeniedException"
    user.may(allow("secretsmanager:GetSecretValue", made.rpartition("-")[0] + "-??????"))
    assert user("secretsmanager").get_secret_value(SecretId="app/db")["SecretString"] == "v"


def test_commands_to_targets_want_every_node(aws: Aws) -> None:
    user = User(aws, "ann")
    node = "arn:aws:ssm:*:*:managed-instance/mi-0123456789abcdef0"
    user.may(allow("ssm:SendCommand", [node, "arn:aws:ssm:*:*:document/*"]))
    members = {"DocumentName": "AWS-RunShellScript", "Parameters": {"commands": ["true"]}}
    by_id = error(user("ssm").send_command, InstanceIds=["mi-0123456789abcdef0"], **members)
    assert by_id["Code"] == "InvalidInstanceId"
    other = error(user("ssm").send_command, InstanceIds=["mi-0123456789abcdef1"], **members)
    by_tag = error(user("ssm").send_command, Targets=[{"Key": "tag:a", "Values": ["b"]}], **members)
    assert other["Code"] == by_tag["Code"] == "AccessDeniedException"


def test_keys_of_users(aws: Aws) -> None:
    user = User(aws, "ann")
    iam = aws("iam")
    second = iam.create_access_key(UserName="ann")["AccessKey"]
    refused = error(iam.create_access_key, UserName="ann")
    assert (refused["Code"], refused["Message"]) == ("LimitExceeded", "Cannot exceed quota for AccessKeysPerUser: 2")
    listed = iam.list_access_keys(UserName="ann")["AccessKeyMetadata"]
    assert {each["AccessKeyId"] for each in listed} == {user.key["AccessKeyId"], second["AccessKeyId"]}
    assert all("SecretAccessKey" not in each and each["UserName"] == "ann" for each in listed)
    iam.update_access_key(UserName="ann", AccessKeyId=user.key["AccessKeyId"], Status="Inactive")
    assert error(user("sts").get_caller_identity)["Code"] == "InvalidClientTokenId"
    iam.update_access_key(UserName="ann", AccessKeyId=user.key["AccessKeyId"], Status="Active")
    user("sts").get_caller_identity()
    assert error(iam.delete_user, UserName="ann")["Code"] == "DeleteConflict"
    for key in (user.key, second):
        iam.delete_access_key(UserName="ann", AccessKeyId=key["AccessKeyId"])
    assert error(user("sts").get_caller_identity)["Code"] == "InvalidClientTokenId"
    assert error(iam.delete_access_key, UserName="ann", AccessKeyId=second["AccessKeyId"])["Code"] == "NoSuchEntity"
    iam.delete_user(UserName="ann")
    missing = error(iam.get_user, UserName="ann")
    assert (missing["Code"], missing["Message"]) == ("NoSuchEntity", "The user with name ann cannot be found.")


def test_a_user_of_the_same_name_is_another_one(aws: Aws) -> None:
    user = User(aws, "ann", Tags=[{"Key": "k", "Value": "v"}])
    user.may(allow("*"))
    iam = aws("iam")
    assert error(iam.create_user, UserName="Ann")["Code"] == "EntityAlreadyExists"
    iam.delete_access_key(UserName="ann", AccessKeyId=user.key["AccessKeyId"])
    assert error(iam.delete_user, UserName="ann")["Message"] == "Cannot delete entity, must delete policies first."
    iam.delete_user_policy(UserName="ann", PolicyName="p")
    iam.delete_user(UserName="ann")
    again = User(aws, "ann")
    assert error(again("ssm").describe_parameters)["Code"] == "AccessDeniedException"
    assert "Tags" not in iam.get_user(UserName="ann")["User"]


def test_root_keys_can_be_changed(aws: Aws, server: Server) -> None:
    iam, root = aws("iam"), server.application.root
    made = iam.create_access_key()["AccessKey"]
    assert "UserName" not in made
    newer = aws("iam", access_key=made["AccessKeyId"], secret=made["SecretAccessKey"])
    newer.delete_access_key(AccessKeyId=root.access_key_id)
    assert error(iam.list_users)["Code"] == "InvalidClientTokenId"
    assert [each["AccessKeyId"] for each in newer.list_access_keys()["AccessKeyMetadata"]] == [made["AccessKeyId"]]


def test_policies_of_users_are_kept_and_bad_ones_refused(aws: Aws) -> None:
    iam = aws("iam")
    iam.create_user(UserName="ann")
    text = document(allow("ssm:*", "arn:aws:ssm:*:*:parameter/a b"))
    for name in ("b", "a"):
        iam.put_user_policy(UserName="ann", PolicyName=name, PolicyDocument=text)
    assert iam.get_user_policy(UserName="ann", PolicyName="a")["PolicyDocument"] == json.loads(text)
    names = [page["PolicyNames"] for page in iam.get_paginator("list_user_policies").paginate(
        UserName="ann", PaginationConfig={"PageSize": 1})]  # fmt: skip
    assert names == [["a"], ["b"]]
    for bad in ("{", document({"Effect": "Maybe", "Action": "*", "Resource": "*"}), document({"Effect": "Allow"})):
        refused = error(iam.put_user_policy, UserName="ann", PolicyName="c", PolicyDocument=bad)
        assert refused["Code"] == "MalformedPolicyDocument"
        assert refused["Message"]
    long = document(allow([f"ssm:Get{number:04}" for number in range(200)]))
    assert error(iam.put_user_policy, UserName="ann", PolicyName="c", PolicyDocument=long)["Code"] == "LimitExceeded"
    assert error(iam.get_user_policy, UserName="ann", PolicyName="c")["Code"] == "NoSuchEntity"
    assert error(iam.list_user_policies, UserName="bob")["Code"] == "NoSuchEntity"


def test_users_are_listed_by_page_and_path_and_never_across_accounts(aws: Aws, server: Server) -> None:
    other = server.run(access.create_account(server.application.house, "other"))
    theirs = aws("iam", access_key=other.access_key_id, secret=other.secret)
    iam = aws("iam")
    for name in ("c", "a", "B"):
        iam.create_user(UserName=name, Path="/x/" if name != "a" else "/")
    theirs.create_user(UserName="a")
    pages = iam.get_paginator("list_users").paginate(PaginationConfig={"PageSize": 2})
    assert [[user["UserName"] for user in page["Users"]] for page in pages] == [["a", "B"], ["c"]]
    assert [user["UserName"] for user in iam.list_users(PathPrefix="/x/")["Users"]] == ["B", "c"]
    assert [user["UserName"] for user in theirs.list_users()["Users"]] == ["a"]
    key = iam.create_access_key(UserName="a")["AccessKey"]["AccessKeyId"]
    assert error(theirs.delete_access_key, UserName="a", AccessKeyId=key)["Code"] == "NoSuchEntity"
    assert error(iam.list_users, Marker="made-up")["Code"] == "ValidationError"
