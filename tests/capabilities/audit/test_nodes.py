"""A node's life in the trail: registered, refused, given credentials, its key changed, deregistered."""

from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from prometheus_client import REGISTRY

from pilothouse.capabilities.nodes.model import WrongCodes
from tests.capabilities.audit.test_records import events
from tests.capabilities.nodes.conftest import FINGERPRINT, spki
from tests.capabilities.nodes.test_life_of_a_node import Machine
from tests.conftest import Aws, Server


@pytest.fixture(scope="module")
def keys() -> tuple[RSAPrivateKey, RSAPrivateKey]:
    return generate_private_key(65537, 2048), generate_private_key(65537, 2048)


def outcome(event: dict[str, Any]) -> tuple[str, str | None]:
    return event["eventName"], event.get("errorCode")


def test_what_a_node_does_with_its_identity_is_recorded(
    aws: Aws, server: Server, keys: tuple[RSAPrivateKey, RSAPrivateKey]
) -> None:
    activation = aws("ssm").create_activation(IamRole="NodeRole")
    machine = Machine(server, keys[0])
    assert machine.register(activation)[0] == 200
    assert machine.fetch_token()[0] == 200
    assert machine.fetch_token(fingerprint="another machine, 12345")[0] == 400
    assert (
        machine.ask_with_key("UpdateManagedInstancePublicKey", NewPublicKey=spki(keys[1]), NewPublicKeyType="Rsa")[0]
        == 200
    )
    aws("ssm").deregister_managed_instance(InstanceId=machine.node_id)
    found = events(aws)
    assert [outcome(each) for each in found] == [
        ("CreateActivation", None),
        ("RegisterManagedInstance", None),
        ("RequestManagedInstanceRoleToken", None),
        ("RequestManagedInstanceRoleToken", "MachineFingerprintDoesNotMatch"),
        ("UpdateManagedInstancePublicKey", None),
        ("DeregisterManagedInstance", None),
    ]
    registered, token = found[1], found[2]
    assert registered["userIdentity"] == {"type": "Unknown"}
    assert registered["requestParameters"]["activationId"] == activation["ActivationId"]
    assert registered["responseElements"] == {"instanceId": machine.node_id}
    assert token["userIdentity"]["arn"].endswith(f"/{machine.node_id}")
    assert [outcome(each) for each in events(aws, Username=machine.node_id)] == [outcome(each) for each in found[2:5]]
    for secret in (activation["ActivationCode"], machine.credentials["SecretAccessKey"], FINGERPRINT):
        assert secret not in str(found)


def counted(reason: str) -> float:
    return REGISTRY.get_sample_value("pilothouse_registration_refusals_total", {"reason": reason}) or 0.0


def test_refused_registrations_are_in_the_trail_of_the_activation_s_account_so_many_an_hour(
    aws: Aws, server: Server, keys: tuple[RSAPrivateKey, RSAPrivateKey]
) -> None:
    once = aws("ssm").create_activation(IamRole="NodeRole", RegistrationLimit=1)
    short = aws("ssm").create_activation(
        IamRole="NodeRole", ExpirationDate=server.clock.now() + timedelta(minutes=3)
    )  # fmt: skip
    machine = Machine(server, keys[0])
    assert machine.register(once)[0] == 200
    before = counted("InvalidActivation")
    assert machine.register(once)[0] == 400
    assert machine.register(once | {"ActivationCode": "x" * 20})[0] == 400
    assert (
        machine.register({"ActivationId": "00000000-0000-4000-8000-000000000000", "ActivationCode": "x" * 20})[0] == 400
    )  # nobody's
    server.advance(minutes=4)
    assert machine.register(short)[0] == 400
    refused = [each for each in events(aws, EventName="RegisterManagedInstance") if "errorCode" in each]
    assert [(each["errorCode"], each["requestParameters"]["activationId"]) for each in refused] == [
        ("RegistrationLimitExceeded", once["ActivationId"]),
        ("InvalidActivation", once["ActivationId"]),
        ("ActivationExpired", short["ActivationId"]),
    ]
    assert counted("InvalidActivation") == before + 2
    for _ in range(WrongCodes.LIMIT + 20):
        machine.register(short)
    refused = [each for each in events(aws, EventName="RegisterManagedInstance") if "errorCode" in each]
    assert len([each for each in refused if each["errorCode"] == "ActivationExpired"]) == WrongCodes.LIMIT
