"""Keys of another account: used as far as they let be used, and not even told to be there otherwise."""

import json
from typing import Any

import pytest

from pilothouse.capabilities import access
from tests.capabilities.keys.refusals import refused

NOBODY = "00000000-0000-0000-0000-000000000000"


class World:
    """A key, and a client of another account."""

    def __init__(self, aws: Any, server: Any) -> None:
        self.kms = aws("kms")
        self.account = server.application.root.account_id
        other = server.run(access.create_account(server.application.house, "other"))
        self.theirs = aws("kms", access_key=other.access_key_id, secret=other.secret)
        self.their_ssm = aws("ssm", access_key=other.access_key_id, secret=other.secret)
        self.other = f"arn:aws:iam::{other.account_id}:root"
        self.key: str = self.kms.create_key()["KeyMetadata"]["Arn"]
        self.key_id = self.key.rpartition("/")[2]

    def refusal(self, action: str) -> tuple[str, str]:
        return "AccessDeniedException", (
            f"User: {self.other} is not authorized to perform: kms:{action} on this resource because the resource does "
            "not exist in this Region, no resource-based policies allow access, or a resource-based policy explicitly "
            "denies access"
        )

    def let(self, *actions: str) -> None:
        statements = [
            {"Effect": "Allow", "Principal": {"AWS": who}, "Action": list(what), "Resource": "*"}
            for who, what in ((self.account, ("kms:*",)), (self.other, actions))
        ]
        self.kms.put_key_policy(KeyId=self.key, Policy=json.dumps({"Version": "2012-10-17", "Statement": statements}))


@pytest.fixture
def world(aws: Any, server: Any) -> World:
    return World(aws, server)


def test_a_key_that_is_missing_and_one_that_is_closed_sound_the_same(world: World) -> None:
    missing = world.key.replace(world.key_id, NOBODY)
    alias = world.key.replace(f"key/{world.key_id}", "alias/none")
    for key in (world.key, missing):
        assert refused(world.theirs.disable_key, KeyId=key) == world.refusal("DisableKey")
        assert refused(world.theirs.list_aliases, KeyId=key) == world.refusal("ListAliases")
        assert refused(world.theirs.create_alias, AliasName="alias/x", TargetKeyId=key) == world.refusal("CreateAlias")
    for key in (world.key, missing, alias):
        assert refused(world.theirs.describe_key, KeyId=key) == world.refusal("DescribeKey")
        assert refused(world.theirs.encrypt, KeyId=key, Plaintext=b"x") == world.refusal("Encrypt")
    for key in (world.key, missing):
        code, told = refused(world.their_ssm.put_parameter, Name="a", Value="v", Type="SecureString", KeyId=key)
        assert (code, told) == ("InvalidKeyId", world.refusal("Encrypt")[1])


def test_a_ciphertext_of_a_closed_key_is_refused_as_one_of_no_key(world: World) -> None:
    blob = world.kms.encrypt(KeyId=world.key, Plaintext=b"x")["CiphertextBlob"]
    assert refused(world.theirs.decrypt, CiphertextBlob=blob) == (
        "AccessDeniedException",
        "The ciphertext refers to a customer master key that does not exist, does not exist in this region, "
        "or you are not allowed to access.",
    )
    assert refused(world.theirs.decrypt, CiphertextBlob=blob, KeyId=world.key) == world.refusal("Decrypt")


def test_who_may_not_use_a_key_hears_nothing_of_its_state(world: World, aws: Any) -> None:
    blob = world.kms.encrypt(KeyId=world.key, Plaintext=b"x")["CiphertextBlob"]
    closed = refused(world.theirs.decrypt, CiphertextBlob=blob)
    world.kms.disable_key(KeyId=world.key)
    assert refused(world.theirs.decrypt, CiphertextBlob=blob) == closed
    assert refused(world.theirs.encrypt, KeyId=world.key, Plaintext=b"x") == world.refusal("Encrypt")
    world.kms.enable_key(KeyId=world.key)
    world.let("kms:Encrypt", "kms:Decrypt")
    world.their_ssm.put_parameter(Name="a", Value="v", Type="SecureString", KeyId=world.key)
    world.let("kms:DescribeKey")
    assert refused(world.their_ssm.get_parameter, Name="a", WithDecryption=True) == closed
    world.kms.disable_key(KeyId=world.key)
    assert refused(world.their_ssm.get_parameter, Name="a", WithDecryption=True) == closed


def test_a_grant_that_is_missing_and_one_that_is_closed_sound_the_same(world: World) -> None:
    grant = world.kms.create_grant(KeyId=world.key, GranteePrincipal=world.other, Operations=["Decrypt"])["GrantId"]
    missing = world.key.replace(world.key_id, NOBODY)
    for key, grant_id in ((world.key, grant), (world.key, "0" * 64), (missing, grant)):
        assert refused(world.theirs.retire_grant, KeyId=key, GrantId=grant_id) == world.refusal("RetireGrant")


def test_what_a_key_lets_be_done_from_outside_is_done_and_no_more(world: World) -> None:
    world.let("kms:*")
    blob = world.theirs.encrypt(KeyId=world.key, Plaintext=b"x")["CiphertextBlob"]
    for key in (world.key, world.key_id):  # the id is enough: the ciphertext tells whose it is
        assert world.theirs.decrypt(CiphertextBlob=blob, KeyId=key)["Plaintext"] == b"x"
    again = world.theirs.re_encrypt(CiphertextBlob=blob, SourceKeyId=world.key_id, DestinationKeyId=world.key)
    assert again["SourceKeyId"] == world.key
    assert world.theirs.get_key_rotation_status(KeyId=world.key)["KeyRotationEnabled"] is False
    for name, members in (
        ("disable_key", {}),
        ("get_key_policy", {}),
        ("schedule_key_deletion", {}),
        ("rotate_key_on_demand", {}),
        ("list_resource_tags", {}),
        ("tag_resource", {"Tags": [{"TagKey": "a", "TagValue": "b"}]}),
    ):
        action = "".join(each.capitalize() for each in name.split("_"))
        assert refused(getattr(world.theirs, name), KeyId=world.key, **members) == world.refusal(action)
