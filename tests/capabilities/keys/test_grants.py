"""Grants through the front door: what they may say, what who was let make them may make, and who is told of them."""

from typing import Any

import pytest

from pilothouse.capabilities import access
from tests.capabilities.keys.refusals import refused

CONTEXT = {"who": "me"}


class World:
    """The account, another one, and a key of the first."""

    def __init__(self, aws: Any, server: Any) -> None:
        self.kms = aws("kms")
        self.account = server.application.root.account_id
        other = server.run(access.create_account(server.application.house, "other"))
        self.theirs = aws("kms", access_key=other.access_key_id, secret=other.secret)
        self.other = f"arn:aws:iam::{other.account_id}:root"
        self.me = f"arn:aws:iam::{self.account}:root"
        self.key: str = self.kms.create_key()["KeyMetadata"]["Arn"]

    def grant(self, *operations: str, **more: Any) -> dict[str, Any]:
        made: dict[str, Any] = self.kms.create_grant(
            KeyId=self.key, **{"GranteePrincipal": self.other, "Operations": list(operations), **more}
        )
        return made


@pytest.fixture
def world(aws: Any, server: Any) -> World:
    return World(aws, server)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"Operations": ["CreateGrant"]}, "Grants must not contain only the CreateGrant operation."),
        (
            {"Constraints": {"EncryptionContextEquals": CONTEXT, "EncryptionContextSubset": CONTEXT}},
            "More than one constraint supplied",
        ),
        ({"Constraints": {"EncryptionContextEquals": {str(each): "x" for each in range(9)}}}, None),
        ({"Constraints": {"EncryptionContextSubset": {"a": "x" * 385}}}, None),
        ({"GranteeServicePrincipal": "rds.amazonaws.com"}, None),
        (
            {"RetiringPrincipal": "arn:aws:iam::123456789012:root", "RetiringServicePrincipal": "rds.amazonaws.com"},
            None,
        ),
    ],
)
def test_a_grant_that_cannot_be_is_refused(world: World, asked: dict[str, Any], message: str | None) -> None:
    members = {"KeyId": world.key, "GranteePrincipal": world.other, "Operations": ["Decrypt"]} | asked
    code, told = refused(world.kms.create_grant, **members)
    assert code == "ValidationException"
    assert message in (None, told)


def test_a_service_needs_a_source_and_somebody_who_retires_the_grant(world: World) -> None:
    service = {"KeyId": world.key, "GranteeServicePrincipal": "rds.amazonaws.com", "Operations": ["Decrypt"]}
    source = {"SourceArn": f"arn:aws:rds:eu-west-1:{world.account}:db:x"}
    assert refused(world.kms.create_grant, **service)[0] == "ValidationException"
    assert refused(world.kms.create_grant, **service, Constraints=source)[0] == "ValidationException"
    world.kms.create_grant(**service, Constraints=source, RetiringPrincipal=world.me)
    told = world.kms.list_grants(KeyId=world.key)["Grants"][0]
    assert told["GranteeServicePrincipal"] == told["GranteePrincipal"] == "rds.amazonaws.com"
    assert told["Constraints"] == source


def test_keys_without_an_encryption_context_have_grants_without_one(world: World) -> None:
    mac_key = world.kms.create_key(KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")["KeyMetadata"]["KeyId"]
    members = {"KeyId": mac_key, "GranteePrincipal": world.other, "Operations": ["GenerateMac"]}
    constrained = members | {"Constraints": {"EncryptionContextEquals": CONTEXT}}
    assert refused(world.kms.create_grant, **constrained)[0] == "ValidationException"
    world.kms.create_grant(**members)


def test_who_was_let_make_grants_gives_no_more_than_they_have(world: World) -> None:
    world.grant("CreateGrant", "Decrypt", "DescribeKey")
    child = {"KeyId": world.key, "GranteePrincipal": world.other}
    assert refused(world.theirs.create_grant, **child, Operations=["Encrypt"])[0] == "AccessDeniedException"
    assert refused(world.theirs.create_grant, **child, Operations=["Decrypt", "RetireGrant"])[0] == (
        "AccessDeniedException"
    )
    assert refused(world.theirs.encrypt, KeyId=world.key, Plaintext=b"x")[0] == "AccessDeniedException"
    world.theirs.create_grant(**child, Operations=["Decrypt"])
    world.theirs.create_grant(**child, Operations=["CreateGrant", "Decrypt"])


@pytest.mark.parametrize("kind", ["EncryptionContextEquals", "EncryptionContextSubset"])
def test_a_grant_made_under_a_constraint_is_as_strict(world: World, kind: str) -> None:
    world.grant("CreateGrant", "Decrypt", Constraints={kind: CONTEXT})
    child = {"KeyId": world.key, "GranteePrincipal": world.other, "Operations": ["Decrypt"]}
    wider = [{}, {"EncryptionContextSubset": {}}, {"EncryptionContextEquals": {"who": "you"}}]
    if kind == "EncryptionContextEquals":
        wider += [{"EncryptionContextSubset": CONTEXT}, {"EncryptionContextEquals": CONTEXT | {"more": "1"}}]
    for constraints in wider:
        assert refused(world.theirs.create_grant, **child, Constraints=constraints)[0] == "AccessDeniedException"
    world.theirs.create_grant(**child, Constraints={kind: CONTEXT})
    if kind == "EncryptionContextSubset":
        world.theirs.create_grant(**child, Constraints={"EncryptionContextEquals": CONTEXT | {"more": "1"}})


def test_a_grant_for_a_services_resource_lets_nobody_who_asks_for_themselves(world: World) -> None:
    source = {"SourceArn": f"arn:aws:s3:eu-west-1:{world.account}:bucket"}
    world.grant("DescribeKey", "Encrypt", "RetireGrant", Constraints=source)
    assert refused(world.theirs.describe_key, KeyId=world.key)[0] == "AccessDeniedException"
    assert refused(world.theirs.encrypt, KeyId=world.key, Plaintext=b"x")[0] == "AccessDeniedException"


def test_only_the_own_accounts_retirable_grants_are_told(world: World) -> None:
    world.grant("Decrypt", RetiringPrincipal=world.me)
    assert len(world.kms.list_retirable_grants(RetiringPrincipal=world.me)["Grants"]) == 1
    assert refused(world.theirs.list_retirable_grants, RetiringPrincipal=world.me)[0] == "AccessDeniedException"
    world.grant("Decrypt", RetiringPrincipal=world.other)
    assert len(world.theirs.list_retirable_grants(RetiringPrincipal=world.other)["Grants"]) == 1


def test_a_grant_token_must_be_one(world: World) -> None:
    token = world.grant("Encrypt")["GrantToken"]
    asked = {"KeyId": world.key, "Plaintext": b"x"}
    world.theirs.encrypt(**asked, GrantTokens=[token])
    blob = world.kms.encrypt(**asked)["CiphertextBlob"]
    for ask, members in (
        (world.theirs.encrypt, asked),
        (world.kms.describe_key, {"KeyId": world.key}),
        (world.kms.decrypt, {"CiphertextBlob": blob}),
        (world.kms.generate_data_key, {"KeyId": world.key, "KeySpec": "AES_256"}),
    ):
        assert refused(ask, **members, GrantTokens=["bm9uc2Vuc2U="])[0] == "InvalidGrantTokenException"
        assert refused(ask, **members, GrantTokens=["no base64"])[0] == "InvalidGrantTokenException"


@pytest.mark.parametrize("state", ["Disabled", "PendingDeletion"])
def test_grants_end_in_every_state_of_the_key(world: World, state: str) -> None:
    by_id, by_token = world.grant("Decrypt"), world.grant("Encrypt")
    if state == "Disabled":
        world.kms.disable_key(KeyId=world.key)
    else:
        world.kms.schedule_key_deletion(KeyId=world.key)
    members = {"KeyId": world.key, "GranteePrincipal": world.other, "Operations": ["Decrypt"]}
    assert refused(world.kms.create_grant, **members)[0] in ("DisabledException", "KMSInvalidStateException")
    world.kms.revoke_grant(KeyId=world.key, GrantId=by_id["GrantId"])
    world.kms.retire_grant(GrantToken=by_token["GrantToken"])
    assert world.kms.list_grants(KeyId=world.key)["Grants"] == []


def test_grants_are_listed_by_id_by_grantee_and_by_page(world: World) -> None:
    made = [world.grant("Decrypt", Name=f"n{number}")["GrantId"] for number in range(4)]
    mine = world.grant("Encrypt", GranteePrincipal=world.me)["GrantId"]
    listed = [each["GrantId"] for page in world.kms.get_paginator("list_grants").paginate(
        KeyId=world.key, PaginationConfig={"PageSize": 2}) for each in page["Grants"]]  # fmt: skip
    assert listed == sorted([*made, mine])
    theirs = world.kms.list_grants(KeyId=world.key, GranteePrincipal=world.other, Limit=3)
    rest = world.kms.list_grants(KeyId=world.key, GranteePrincipal=world.other, Marker=theirs["NextMarker"])
    assert [each["GrantId"] for each in theirs["Grants"] + rest["Grants"]] == sorted(made)
    assert [each["GrantId"] for each in world.kms.list_grants(KeyId=world.key, GrantId=mine)["Grants"]] == [mine]
    both = {"GrantId": mine, "GranteePrincipal": world.other}
    assert world.kms.list_grants(KeyId=world.key, **both)["Grants"] == []
    assert refused(world.kms.list_grants, KeyId=world.key, GrantId="0" * 64)[0] == "InvalidGrantIdException"


def test_an_account_is_meant_by_its_number_too(world: World) -> None:
    world.grant("Encrypt", GranteePrincipal=world.other.split(":")[4])
    world.theirs.encrypt(KeyId=world.key, Plaintext=b"x")
