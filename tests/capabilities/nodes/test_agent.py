"""The agent's side: registering, credentials, key rotation, what it tells about itself."""

import asyncio
import base64
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_ec
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tests.capabilities.nodes.conftest import ACCOUNT, FINGERPRINT, REGION, Fleet, spki

from pilothouse.capabilities import nodes, tags
from pilothouse.capabilities.nodes.model import (
    InvalidActivation,
    InvalidInstanceInformationValue,
    InvalidPublicKey,
    MachineFingerprintDoesNotMatch,
    PublicKeyAlreadyRegistered,
    RegistrationLimitExceeded,
    ResourceNotFoundException,
    WrongCodes,
)
from pilothouse.errors import AccessDeniedException, InvalidSignatureException, UnrecognizedClientException
from pilothouse.identity.session_tokens import credential_of


def signed(key: RSAPrivateKey, text: str, *, salt: int = 32) -> bytes:
    return key.sign(text.encode(), PSS(mgf=MGF1(SHA256()), salt_length=salt), SHA256())


async def count_of(fleet: Fleet, activation_id: str) -> int:
    filters = [{"FilterKey": "ActivationIds", "FilterValues": [activation_id]}]
    (found,) = (await fleet.ask("DescribeActivations", Filters=filters))["ActivationList"]
    return int(found["RegistrationsCount"])


async def token(fleet: Fleet, node_id: str, fingerprint: str = FINGERPRINT) -> dict[str, object]:
    by = await fleet.principal(node_id, own_key=True)
    return await fleet.ask("RequestManagedInstanceRoleToken", by=by, Fingerprint=fingerprint)


async def test_a_node_takes_account_region_role_name_and_tags_from_its_activation(fleet: Fleet) -> None:
    node_id = await fleet.register(DefaultInstanceName="web-1", Tags=[{"Key": "env", "Value": "dev"}])
    assert len(node_id) == 20
    assert node_id.startswith("mi-")
    found = await fleet.shown(node_id)
    assert (found["Name"], found["IamRole"], found["PingStatus"]) == ("web-1", "NodeRole", "ConnectionLost")
    assert found["LastPingDateTime"] == found["RegistrationDate"]
    async with fleet.house.database.reading() as tx:
        assert await tags.of(tx, ACCOUNT, REGION, "ManagedInstance", node_id) == {"env": "dev"}
    assert await fleet.listed(("tag:env", ["dev"])) == [node_id]


async def test_a_hundred_machines_at_once_do_not_break_a_limit_of_seven(fleet: Fleet) -> None:
    activation = await fleet.activate(RegistrationLimit=7)
    outcomes = await asyncio.gather(*(fleet.register_with(activation) for _ in range(100)), return_exceptions=True)
    registered = [outcome for outcome in outcomes if isinstance(outcome, str)]
    assert len(set(registered)) == len(registered) == 7
    assert all(isinstance(outcome, str | RegistrationLimitExceeded) for outcome in outcomes), set(map(type, outcomes))
    assert await count_of(fleet, activation["ActivationId"]) == 7
    assert len(await fleet.listed()) == 7


async def test_the_same_machine_again_is_another_node(fleet: Fleet) -> None:
    activation = await fleet.activate()
    first, second = await fleet.register_with(activation), await fleet.register_with(activation)
    assert first != second
    assert await fleet.listed() == sorted([first, second])


@pytest.mark.parametrize("members", [{"ActivationCode": "x" * 20}, {"ActivationId": "0" * 36}])
async def test_a_code_that_does_not_fit_registers_nothing(fleet: Fleet, members: dict[str, str]) -> None:
    activation = await fleet.activate()
    with pytest.raises(InvalidActivation):
        await fleet.register_with(activation, **members)
    assert await count_of(fleet, activation["ActivationId"]) == 0


async def test_a_registration_without_activation_is_refused(fleet: Fleet) -> None:
    with pytest.raises(InvalidActivation):
        await fleet.register_with({"ActivationId": None, "ActivationCode": None})


async def test_guessing_is_ended_for_an_hour(fleet: Fleet) -> None:
    activation = await fleet.activate(RegistrationLimit=2)
    bystander = await fleet.activate()
    for _ in range(WrongCodes.LIMIT):
        with pytest.raises(InvalidActivation):
            await fleet.register_with(activation, ActivationCode="x" * 20)
    with pytest.raises(InvalidActivation):
        await fleet.register_with(activation)
    assert await fleet.register_with(bystander)
    fleet.house.clock.advance(hours=1, seconds=1)  # type: ignore[attr-defined]
    assert await fleet.register_with(activation)


async def test_ninety_nine_wrong_codes_do_not_lock_the_owner_out(fleet: Fleet) -> None:
    activation = await fleet.activate()
    for _ in range(WrongCodes.LIMIT - 1):
        with pytest.raises(InvalidActivation):
            await fleet.register_with(activation, ActivationCode="x" * 20)
    assert await fleet.register_with(activation)


def small_key() -> str:
    return spki(generate_private_key(65537, 1024))


def elliptic_key() -> str:
    public = generate_ec(SECP256R1()).public_key()
    return base64.b64encode(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()


@pytest.mark.parametrize("key", ["not base64!", "AAAA", base64.b64encode(bytes(294)).decode(), small_key, elliptic_key])
async def test_only_rsa_keys_of_a_fit_size_are_taken(fleet: Fleet, key: object) -> None:
    activation = await fleet.activate()
    with pytest.raises(InvalidPublicKey):
        await fleet.register_with(activation, PublicKey=key() if callable(key) else key)
    assert await count_of(fleet, activation["ActivationId"]) == 0


async def test_role_credentials_have_all_members_and_are_the_nodes(fleet: Fleet) -> None:
    node_id = await fleet.register()
    answer = await token(fleet, node_id)
    assert set(answer) == {"AccessKeyId", "SecretAccessKey", "SessionToken", "TokenExpirationDate", "UpdateKeyPair"}
    assert None not in answer.values()
    assert answer["UpdateKeyPair"] is False
    left = answer["TokenExpirationDate"] - fleet.house.clock.now()  # type: ignore[operator]
    assert timedelta(seconds=3590) < left <= timedelta(hours=1)
    found = credential_of(
        fleet.house.vault, str(answer["AccessKeyId"]), str(answer["SessionToken"]), fleet.house.clock.millis()
    )
    assert found.principal.node_id == node_id
    assert found.principal.account_id == ACCOUNT
    assert found.principal.arn == f"arn:aws:sts::{ACCOUNT}:assumed-role/NodeRole/{node_id}"
    role, _, name = found.principal.user_id.partition(":")
    assert (role[:4], len(role), name) == ("AROA", 21, node_id)


async def test_a_copied_disk_gets_no_credentials(fleet: Fleet) -> None:
    node_id = await fleet.register()
    with pytest.raises(MachineFingerprintDoesNotMatch):
        await token(fleet, node_id, fingerprint="another-machine")
    assert await token(fleet, node_id)


async def test_role_credentials_do_not_renew_themselves_or_change_the_key(fleet: Fleet) -> None:
    node_id = await fleet.register()
    by = await fleet.principal(node_id)
    with pytest.raises(AccessDeniedException):
        await fleet.ask("RequestManagedInstanceRoleToken", by=by, Fingerprint=FINGERPRINT)
    with pytest.raises(AccessDeniedException):
        await fleet.ask(
            "UpdateManagedInstancePublicKey", by=by, NewPublicKey=spki(fleet.other_key), NewPublicKeyType="Rsa"
        )


async def test_the_next_credentials_carry_a_new_role(fleet: Fleet) -> None:
    node_id = await fleet.register()
    await fleet.ask("UpdateManagedInstanceRole", InstanceId=node_id, IamRole="/path/Other")
    assert (await fleet.shown(node_id))["IamRole"] == "/path/Other"
    answer = await token(fleet, node_id)
    found = credential_of(
        fleet.house.vault, str(answer["AccessKeyId"]), str(answer["SessionToken"]), fleet.house.clock.millis()
    )
    assert found.principal.arn.endswith(f":assumed-role/Other/{node_id}")


async def test_only_the_nodes_own_key_signs_for_it(fleet: Fleet) -> None:
    node_id = await fleet.register()
    principal = await nodes.signed_by(fleet.house, node_id, b"to sign", signed(fleet.key, "to sign"))
    assert (principal.kind, principal.node_id, principal.access_key_id) == ("node", node_id, node_id)
    for wrong in (
        signed(fleet.key, "other text"),
        signed(fleet.other_key, "to sign"),
        signed(fleet.key, "to sign", salt=20),
        b"",
        bytes(256),
    ):
        with pytest.raises(InvalidSignatureException):
            await nodes.signed_by(fleet.house, node_id, b"to sign", wrong)


async def test_rotation_switches_to_the_new_key_at_once(fleet: Fleet) -> None:
    node_id = await fleet.register()
    by = await fleet.principal(node_id, own_key=True)
    answer = await fleet.ask(
        "UpdateManagedInstancePublicKey", by=by, NewPublicKey=spki(fleet.other_key), NewPublicKeyType="Rsa"
    )
    assert answer == {}
    assert await nodes.signed_by(fleet.house, node_id, b"text", signed(fleet.other_key, "text"))
    with pytest.raises(InvalidSignatureException):
        await nodes.signed_by(fleet.house, node_id, b"text", signed(fleet.key, "text"))


async def test_a_key_of_another_node_is_not_taken_over(fleet: Fleet) -> None:
    node_id = await fleet.register()
    await fleet.register_with(await fleet.activate(), PublicKey=spki(fleet.other_key))
    by = await fleet.principal(node_id, own_key=True)
    with pytest.raises(PublicKeyAlreadyRegistered):
        await fleet.ask(
            "UpdateManagedInstancePublicKey", by=by, NewPublicKey=spki(fleet.other_key), NewPublicKeyType="Rsa"
        )
    assert await nodes.signed_by(fleet.house, node_id, b"text", signed(fleet.key, "text"))


async def test_its_own_key_again_is_fine(fleet: Fleet) -> None:
    node_id = await fleet.register()
    by = await fleet.principal(node_id, own_key=True)
    await fleet.ask("UpdateManagedInstancePublicKey", by=by, NewPublicKey=spki(fleet.key), NewPublicKeyType="Rsa")
    assert await nodes.signed_by(fleet.house, node_id, b"text", signed(fleet.key, "text"))


FULL = {
    "AgentStatus": "Active",
    "AvailabilityZone": "",
    "AvailabilityZoneId": "",
    "ComputerName": "n1",
    "IPAddress": "192.0.2.2",
    "PlatformName": "Debian GNU/Linux",
    "PlatformVersion": "12",
    "SSMConnectionChannel": "ssmmessages",
}


async def test_the_short_ping_keeps_what_the_full_one_told(fleet: Fleet) -> None:
    node_id = await fleet.register()
    assert await fleet.ping(node_id) == {}
    assert (await fleet.shown(node_id))["PingStatus"] == "Online"
    await fleet.ping(node_id, **FULL)
    before = await fleet.shown(node_id)
    fleet.house.clock.advance(seconds=60)  # type: ignore[attr-defined]
    await fleet.ping(node_id, AgentVersion="3.3.1.0")
    await fleet.ping(node_id, **dict.fromkeys(FULL, ""), AgentVersion="3.3.1.0")
    after = await fleet.shown(node_id)
    assert after.pop("LastPingDateTime") >= before.pop("LastPingDateTime") + timedelta(seconds=60)
    assert after == before | {"AgentVersion": "3.3.1.0"}
    assert (after["ComputerName"], after["IPAddress"], after["PlatformVersion"]) == ("n1", "192.0.2.2", "12")


@pytest.mark.parametrize(
    "members",
    [{"PlatformType": "Plan9"}, {"ComputerName": "x" * 256}, {"IPAddress": "1" * 47}, {"PlatformName": "a\x1b[2J"}],
)
async def test_impossible_information_changes_nothing(fleet: Fleet, members: dict[str, str]) -> None:
    node_id = await fleet.register()
    await fleet.ping(node_id, **FULL)
    before = await fleet.shown(node_id)
    with pytest.raises(InvalidInstanceInformationValue):
        await fleet.ping(node_id, **{"PlatformVersion": "13"} | members)
    assert await fleet.shown(node_id) == before


async def test_a_deregistered_agent_is_refused_and_an_unknown_one_is_not_recognised(fleet: Fleet) -> None:
    node_id = await fleet.register()
    by, own = await fleet.principal(node_id), await fleet.principal(node_id, own_key=True)
    await fleet.ask("DeregisterManagedInstance", InstanceId=node_id)
    with pytest.raises(AccessDeniedException):
        await fleet.ask("UpdateInstanceInformation", by=by, InstanceId=node_id, AgentVersion="3.3.0.0")
    with pytest.raises(AccessDeniedException):
        await fleet.ask("RequestManagedInstanceRoleToken", by=own, Fingerprint=FINGERPRINT)
    with pytest.raises(AccessDeniedException):
        await nodes.signed_by(fleet.house, node_id, b"text", signed(fleet.key, "text"))
    with pytest.raises(AccessDeniedException):
        await nodes.Rights(fleet.house).of(node_id)
    with pytest.raises(AccessDeniedException):
        await nodes.public_key(fleet.house, node_id)
    unknown = "mi-" + "0" * 17
    with pytest.raises(UnrecognizedClientException):
        await nodes.Rights(fleet.house).of(unknown)
    with pytest.raises(UnrecognizedClientException):
        await nodes.signed_by(fleet.house, unknown, b"text", signed(fleet.key, "text"))


async def test_packages_are_documents(fleet: Fleet) -> None:
    by = await fleet.principal(await fleet.register())
    with pytest.raises(ResourceNotFoundException):
        await fleet.ask("GetManifest", by=by, PackageName="MyPkg", PackageVersion="latest")
    result = {"PackageName": "MyPkg", "PackageVersion": "1.0.0", "Operation": "Install", "OverallTiming": 12}
    assert await fleet.ask("PutConfigurePackageResult", by=by, **result, Result=0) == {}
