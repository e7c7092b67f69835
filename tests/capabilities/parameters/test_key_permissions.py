"""SecureStrings and secrets under keys whose policies are asked: for the caller, also when the caller is root."""

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from pilothouse.capabilities import access
from pilothouse.storage.postgresql import PostgresqlDatabase

Aws = Callable[..., Any]
VIA = "ssm.eu-west-1.amazonaws.com"


class World:
    """Clients of the account, of another one, and keys with policies."""

    def __init__(self, aws: Aws, server: Any) -> None:
        self.ssm, self.kms, self.secrets = aws("ssm"), aws("kms"), aws("secretsmanager")
        self.account_id = server.application.root.account_id
        self.other = server.run(access.create_account(server.application.house, "other"))
        self.other_kms = aws("kms", access_key=self.other.access_key_id, secret=self.other.secret)

    def key(self, kms: Any, account_id: str, *statements: dict[str, Any]) -> str:
        arn: str = kms.create_key(Policy=policy(account_id, *statements))["KeyMetadata"]["Arn"]
        return arn

    def change(self, key: str, *statements: dict[str, Any]) -> None:
        self.kms.put_key_policy(KeyId=key, PolicyName="default", Policy=policy(self.account_id, *statements))


def policy(account_id: str, *statements: dict[str, Any]) -> str:
    """Everything for the account, and what is added."""
    root = {"AWS": f"arn:aws:iam::{account_id}:root"}
    own = {"Effect": "Allow", "Principal": root, "Action": "kms:*", "Resource": "*"}
    return json.dumps({"Version": "2012-10-17", "Statement": [own, *statements]})


def deny(*actions: str, **condition: Any) -> dict[str, Any]:
    statement = {"Effect": "Deny", "Principal": "*", "Action": list(actions), "Resource": "*"}
    return statement | ({"Condition": condition} if condition else {})


@pytest.fixture
def world(aws: Aws, server: Any) -> World:
    return World(aws, server)


def refused(call: Callable[..., Any], **request: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        call(**request)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


@pytest.mark.parametrize(("tier", "action"), [("Standard", "kms:Encrypt"), ("Advanced", "kms:GenerateDataKey")])
def test_a_deny_of_the_key_policy_holds_for_root(world: World, tier: str, action: str) -> None:
    key = world.key(world.kms, world.account_id)
    secure = {"Type": "SecureString", "KeyId": key, "Tier": tier}
    world.ssm.put_parameter(Name="/a", Value="kept", **secure)
    world.change(key, deny(action))
    code, message = refused(world.ssm.put_parameter, Name="/a", Value="new", Overwrite=True)
    assert code == "InvalidKeyId"
    assert f"is not authorized to perform: {action} on resource: {key} with an explicit deny" in message
    assert refused(world.ssm.put_parameter, Name="/b", Value="new", **secure)[0] == "InvalidKeyId"
    assert world.ssm.get_parameter(Name="/a", WithDecryption=True)["Parameter"]["Value"] == "kept"
    world.change(key, deny("kms:Decrypt"))
    for call, request in (
        (world.ssm.get_parameter, {"Name": "/a"}),
        (world.ssm.get_parameters, {"Names": ["/a"]}),
        (world.ssm.get_parameters_by_path, {"Path": "/"}),
        (world.ssm.get_parameter_history, {"Name": "/a"}),
    ):
        code, message = refused(call, WithDecryption=True, **request)
        assert code == "AccessDeniedException"
        assert f"is not authorized to perform: kms:Decrypt on resource: {key} with an explicit deny" in message
        assert call(**request)
    world.change(key)
    assert world.ssm.get_parameter(Name="/a", WithDecryption=True)["Parameter"]["Value"] == "kept"


def test_the_policy_sees_the_service_the_context_and_the_alias(world: World) -> None:
    key = world.key(world.kms, world.account_id)
    world.kms.create_alias(AliasName="alias/app", TargetKeyId=key)
    arn = f"arn:aws:ssm:eu-west-1:{world.account_id}:parameter"
    for name in ("/a", "/b"):
        world.ssm.put_parameter(Name=name, Value=name, Type="SecureString", KeyId="alias/app")
    world.change(key, deny("kms:Decrypt", StringEquals={"kms:EncryptionContext:PARAMETER_ARN": f"{arn}/b"}))
    assert world.ssm.get_parameter(Name="/a", WithDecryption=True)["Parameter"]["Value"] == "/a"
    assert refused(world.ssm.get_parameter, Name="/b", WithDecryption=True)[0] == "AccessDeniedException"
    world.change(key, deny("kms:Encrypt", "kms:Decrypt", StringEquals={"kms:ViaService": VIA}))
    assert refused(world.ssm.get_parameter, Name="/a", WithDecryption=True)[0] == "AccessDeniedException"
    assert refused(world.ssm.put_parameter, Name="/a", Value="v", Overwrite=True)[0] == "InvalidKeyId"
    assert world.kms.encrypt(KeyId=key, Plaintext=b"directly")["CiphertextBlob"]
    world.change(key, deny("kms:Encrypt", StringEquals={"kms:RequestAlias": "alias/app"}))
    assert refused(world.ssm.put_parameter, Name="/a", Value="v", Overwrite=True)[0] == "InvalidKeyId"
    assert world.ssm.put_parameter(Name="/a", Value="v", Overwrite=True, KeyId=key)["Version"] == 2


def test_another_account_s_key_by_its_arn_as_far_as_its_policy_goes(world: World) -> None:
    guest = {"AWS": world.account_id}
    uses = ["kms:Encrypt", "kms:GenerateDataKey"]
    secure = {"Type": "SecureString", "Value": "v"}
    closed = world.key(world.other_kms, world.other.account_id)
    code, message = refused(world.ssm.put_parameter, Name="/no", KeyId=closed, **secure)
    assert (code, "no resource-based policies allow access" in message) == ("InvalidKeyId", True)
    written = {"Effect": "Allow", "Principal": guest, "Action": uses, "Resource": "*"}
    half = world.key(world.other_kms, world.other.account_id, written)
    for name, tier in (("/standard", "Standard"), ("/advanced", "Advanced")):
        world.ssm.put_parameter(Name=name, KeyId=half, Tier=tier, **secure)
        assert refused(world.ssm.get_parameter, Name=name, WithDecryption=True)[0] == "AccessDeniedException"
    grant = world.other_kms.create_grant(
        KeyId=half, GranteePrincipal=f"arn:aws:iam::{world.account_id}:root", Operations=["Decrypt"]
    )
    for name in ("/standard", "/advanced"):
        assert world.ssm.get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"] == "v"
    world.other_kms.revoke_grant(KeyId=half, GrantId=grant["GrantId"])
    assert refused(world.ssm.get_parameter, Name="/advanced", WithDecryption=True)[0] == "AccessDeniedException"


def test_secrets_are_read_and_written_for_the_caller(world: World) -> None:
    key = world.key(world.kms, world.account_id)
    made = world.secrets.create_secret(Name="s", SecretString="kept", KmsKeyId=key)
    reference = {"Name": "/aws/reference/secretsmanager/s", "WithDecryption": True}
    assert world.ssm.get_parameter(**reference)["Parameter"]["Value"] == "kept"
    denied = ("AccessDeniedException", "Access to KMS is not allowed")
    world.change(key, deny("kms:GenerateDataKey"))
    assert refused(world.secrets.put_secret_value, SecretId="s", SecretString="new") == denied
    assert refused(world.secrets.create_secret, Name="t", SecretString="new", KmsKeyId=key) == denied
    assert world.secrets.get_secret_value(SecretId="s")["VersionId"] == made["VersionId"]
    via = {"StringEquals": {"kms:ViaService": "secretsmanager.eu-west-1.amazonaws.com"}}
    world.change(key, deny("kms:Decrypt", **via))
    assert refused(world.secrets.get_secret_value, SecretId="s") == denied
    assert refused(world.ssm.get_parameter, **reference) == denied
    context = {"StringEquals": {"kms:EncryptionContext:SecretARN": made["ARN"]}}
    world.change(key, deny("kms:Decrypt", **context))
    assert refused(world.secrets.get_secret_value, SecretId="s") == denied


def test_what_a_key_policy_lets_is_asked_of_the_database_no_oftener_than_an_open_key(
    world: World, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_key = world.kms.create_key()["KeyMetadata"]["Arn"]
    own_policy = world.key(world.kms, world.account_id, deny("kms:CreateGrant"))
    for name, key in (("/default", "alias/aws/ssm"), ("/open", open_key), ("/policy", own_policy)):
        world.ssm.put_parameter(Name=name, Value="v", Type="SecureString", KeyId=key)
    asked = _questions(server, monkeypatch)

    def questions(name: str) -> list[str]:
        """The fewest of some calls: what the server does beside them asks as well."""
        counted = []
        for _ in range(4):  # the first remembers what can be remembered
            asked.clear()
            world.ssm.get_parameter(Name=name, WithDecryption=True)
            counted.append(list(asked))
        return min(counted, key=len)

    found = [questions(name) for name in ("/default", "/open", "/policy")]
    assert all(found)
    assert not [sql for each in found for sql in each if "kms_grant" in sql]
    if server.application.house.database.engine == "sqlite":  # PostgreSQL's stamp moves with every database beside it
        assert found[0] == found[1] == found[2]


def _questions(server: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements of reads, from now on."""
    asked: list[str] = []
    database = server.application.house.database
    if isinstance(database, PostgresqlDatabase):
        look = database._looks.find

        async def find(sql: str, *rest: Any) -> Any:
            asked.append(sql)
            return await look(sql, *rest)

        monkeypatch.setattr(database._looks, "find", find)
        return asked
    row = database._look.row

    async def noted(sql: str, /, **values: Any) -> Any:
        asked.append(sql)
        return await row(sql, **values)

    monkeypatch.setattr(database._look, "row", noted)
    return asked


def test_what_was_changed_of_a_key_counts_for_the_next_put(world: World) -> None:
    """Keys are looked up ahead of puts and remembered; never longer than they are so."""

    ssm, kms = world.ssm, world.kms

    def put(value: str) -> None:
        ssm.put_parameter(Name="a", Value=value, Type="SecureString", KeyId="alias/mine", Overwrite=True)

    def key_of_value() -> str:
        blob = base64.b64decode(ssm.get_parameter(Name="a")["Parameter"]["Value"])
        return str(
            kms.decrypt(
                CiphertextBlob=blob,
                EncryptionContext={"PARAMETER_ARN": f"arn:aws:ssm:eu-west-1:{world.account_id}:parameter/a"},
            )["KeyId"]
        )

    first, second = (kms.create_key()["KeyMetadata"] for _ in range(2))
    kms.create_alias(AliasName="alias/mine", TargetKeyId=first["KeyId"])
    put("1")
    put("2")
    kms.disable_key(KeyId=first["KeyId"])
    with pytest.raises(ssm.exceptions.InvalidKeyId):
        put("3")
    kms.enable_key(KeyId=first["KeyId"])
    put("4")
    assert key_of_value() == first["Arn"]
    kms.update_alias(AliasName="alias/mine", TargetKeyId=second["KeyId"])
    put("5")
    assert key_of_value() == second["Arn"]
    kms.rotate_key_on_demand(KeyId=second["KeyId"])
    put("6")
    assert ssm.get_parameter(Name="a", WithDecryption=True)["Parameter"]["Value"] == "6"
    kms.schedule_key_deletion(KeyId=second["KeyId"])
    with pytest.raises(ssm.exceptions.InvalidKeyId):
        put("7")
    kms.delete_alias(AliasName="alias/mine")
    with pytest.raises(ssm.exceptions.InvalidKeyId):
        put("8")
    assert ssm.get_parameter(Name="a")["Parameter"]["Version"] == 5
