"""A machine becomes a node, works and goes, all over the wire: boto3 for the users, signed requests for the agent."""

import base64
import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from tests.capabilities.nodes.conftest import FINGERPRINT, spki
from tests.conftest import Server

Answer = tuple[int, dict[str, Any]]


class _SignedWithKey(SigV4Auth):
    """The header layout of SigV4 with an RSA signature in the place of the HMAC."""

    def __init__(self, node_id: str, key: RSAPrivateKey) -> None:
        super().__init__(Credentials(node_id, "unused"), "ssm", "eu-west-1")
        self._key = key

    def signature(self, string_to_sign: str, request: AWSRequest) -> str:
        padding = PSS(mgf=MGF1(SHA256()), salt_length=32)
        return base64.b64encode(self._key.sign(string_to_sign.encode(), padding, SHA256())).decode()


class Machine:
    """An agent as far as this capability sees it."""

    def __init__(self, server: Server, key: RSAPrivateKey) -> None:
        self._server = server
        self.key = key
        self.node_id = ""
        self.credentials: dict[str, Any] = {}

    def ask(self, name: str, *, sign: SigV4Auth | None = None, **body: Any) -> Answer:
        request = AWSRequest(
            "POST",
            "https://pilothouse.test/",
            headers={"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": f"AmazonSSM.{name}"},
            data=json.dumps(body).encode(),
        )
        if sign is not None:
            sign.add_auth(request)
        response = self._server.answer(request.prepare())
        return response.status_code, json.loads(response.content)

    def register(self, activation: dict[str, Any]) -> Answer:
        status, answer = self.ask(
            "RegisterManagedInstance",
            ActivationId=activation["ActivationId"],
            ActivationCode=activation["ActivationCode"],
            Fingerprint=FINGERPRINT,
            PublicKey=spki(self.key),
            PublicKeyType="Rsa",
        )
        self.node_id = answer.get("InstanceId", "")
        return status, answer

    def ask_with_key(self, name: str, key: RSAPrivateKey | None = None, **body: Any) -> Answer:
        return self.ask(name, sign=_SignedWithKey(self.node_id, key or self.key), **body)

    def fetch_token(self, fingerprint: str = FINGERPRINT) -> Answer:
        status, answer = self.ask_with_key("RequestManagedInstanceRoleToken", Fingerprint=fingerprint)
        if status == 200:
            self.credentials = answer
        return status, answer

    def ask_as_node(self, name: str, **body: Any) -> Answer:
        held = Credentials(
            self.credentials["AccessKeyId"], self.credentials["SecretAccessKey"], self.credentials["SessionToken"]
        )
        return self.ask(name, sign=SigV4Auth(held, "ssm", "eu-west-1"), **body)

    def ping(self) -> Answer:
        return self.ask_as_node(
            "UpdateInstanceInformation",
            InstanceId=self.node_id,
            AgentName="amazon-ssm-agent",
            AgentVersion="3.3.0.0",
            PlatformType="Linux",
        )


@pytest.fixture(autouse=True)
def signers_share_the_clock(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests are signed by the house's clock, so that they stay fresh when it is moved."""

    def now(remove_tzinfo: bool = True) -> datetime:
        return server.clock.now().replace(tzinfo=None) if remove_tzinfo else server.clock.now()

    monkeypatch.setattr("botocore.auth.get_current_datetime", now)


@pytest.fixture
def machine(server: Server, keys: tuple[RSAPrivateKey, RSAPrivateKey]) -> Machine:
    return Machine(server, keys[0])


@pytest.fixture
def node(aws: Callable[..., Any], machine: Machine) -> Machine:
    """A machine that has registered, holds credentials and has pinged."""
    activation = aws("ssm").create_activation(
        IamRole="NodeRole", DefaultInstanceName="web", Tags=[{"Key": "Env", "Value": "Prod"}]
    )
    assert machine.register(activation)[0] == 200
    assert machine.fetch_token()[0] == 200
    assert machine.ping() == (200, {})
    return machine


def code(answer: Answer) -> str:
    status, body = answer
    assert status == 400
    return str(body["__type"])


def test_a_registered_machine_is_online_with_its_name_and_tags(aws: Callable[..., Any], node: Machine) -> None:
    ssm = aws("ssm")
    (found,) = ssm.describe_instance_information(Filters=[{"Key": "tag:Env", "Values": ["Prod"]}])[
        "InstanceInformationList"
    ]
    assert (found["InstanceId"], found["PingStatus"], found["Name"]) == (node.node_id, "Online", "web")
    assert ssm.list_tags_for_resource(ResourceType="ManagedInstance", ResourceId=node.node_id)["TagList"] == [
        {"Key": "Env", "Value": "Prod"}
    ]
    assert ssm.get_connection_status(Target=node.node_id)["Status"] == "notconnected"
    assert ssm.describe_activations()["ActivationList"][0]["RegistrationsCount"] == 1


def test_a_node_that_falls_silent_is_lost_after_five_and_a_half_minutes(
    server: Server, aws: Callable[..., Any], node: Machine
) -> None:
    lost = [{"Key": "PingStatus", "Values": ["ConnectionLost"]}]
    server.advance(seconds=300)
    assert aws("ssm").describe_instance_information(Filters=lost)["InstanceInformationList"] == []
    server.advance(seconds=31)
    (found,) = aws("ssm").describe_instance_information(Filters=lost)["InstanceInformationList"]
    assert found["InstanceId"] == node.node_id


def test_answers_have_what_agents_read_without_looking(node: Machine) -> None:
    assert set(node.credentials) == {
        "AccessKeyId",
        "SecretAccessKey",
        "SessionToken",
        "TokenExpirationDate",
        "UpdateKeyPair",
    }
    assert isinstance(node.credentials["TokenExpirationDate"], int | float)
    assert node.credentials["UpdateKeyPair"] is False
    assert node.ask_as_node("ListInstanceAssociations", InstanceId=node.node_id, MaxResults=20) == (
        200,
        {"Associations": []},
    )
    assert (
        code(node.ask_as_node("GetManifest", PackageName="p", PackageVersion="latest")) == "ResourceNotFoundException"
    )


def test_a_node_speaks_for_itself_only(node: Machine) -> None:
    other = "mi-" + "0" * 17
    assert code(node.ask_as_node("UpdateInstanceInformation", InstanceId=other)) == "AccessDeniedException"
    assert code(node.ask_as_node("ListInstanceAssociations", InstanceId=other)) == "AccessDeniedException"
    assert code(node.ask_as_node("DescribeInstanceInformation")) == "AccessDeniedException"
    assert code(node.ask_as_node("CreateActivation", IamRole="NodeRole")) == "AccessDeniedException"
    assert code(node.ask("UpdateInstanceInformation", InstanceId=node.node_id)) == "MissingAuthenticationTokenException"


def test_the_key_rotates_in_one_step(node: Machine, keys: tuple[RSAPrivateKey, RSAPrivateKey]) -> None:
    old, new = keys
    rotate = {"NewPublicKey": spki(new), "NewPublicKeyType": "Rsa"}
    assert node.ask_with_key("UpdateManagedInstancePublicKey", old, **rotate) == (200, {})
    node.key = old
    assert code(node.fetch_token()) == "InvalidSignatureException"
    node.key = new
    assert node.fetch_token()[0] == 200


def test_another_fingerprint_or_key_is_refused(node: Machine, keys: tuple[RSAPrivateKey, RSAPrivateKey]) -> None:
    assert code(node.fetch_token("another-machine")) == "MachineFingerprintDoesNotMatch"
    node.key = keys[1]
    assert code(node.fetch_token()) == "InvalidSignatureException"


def test_old_credentials_end_by_themselves(server: Server, node: Machine) -> None:
    server.advance(minutes=59)
    assert node.ping() == (200, {})
    server.advance(minutes=2)
    assert code(node.ping()) == "ExpiredTokenException"


def test_a_deregistered_node_is_refused_at_once_and_for_good(aws: Callable[..., Any], node: Machine) -> None:
    ssm = aws("ssm")
    ssm.deregister_managed_instance(InstanceId=node.node_id)
    assert ssm.describe_instance_information()["InstanceInformationList"] == []
    assert code(node.ping()) == "AccessDeniedException"
    assert code(node.fetch_token()) == "AccessDeniedException"
    with pytest.raises(ClientError, match="InvalidInstanceId"):
        ssm.deregister_managed_instance(InstanceId=node.node_id)
    with pytest.raises(ClientError, match="InvalidResourceId"):
        ssm.list_tags_for_resource(ResourceType="ManagedInstance", ResourceId=node.node_id)


def test_the_limit_and_the_code_are_checked(aws: Callable[..., Any], machine: Machine) -> None:
    activation = aws("ssm").create_activation(IamRole="NodeRole")
    assert code(machine.register(activation | {"ActivationCode": "x" * 20})) == "InvalidActivation"
    assert machine.register(activation)[0] == 200
    assert code(machine.register(activation)) == "RegistrationLimitExceeded"


def test_pages_are_at_most_fifty(aws: Callable[..., Any]) -> None:
    ssm = aws("ssm")
    with pytest.raises(ClientError, match="ValidationException"):
        ssm.describe_instance_information(MaxResults=51)
    assert ssm.describe_instance_information(MaxResults=5)["InstanceInformationList"] == []


def test_a_node_has_one_home_whatever_region_it_signs_with(aws: Callable[..., Any], node: Machine) -> None:
    """Agents sign with the regions of their configuration; a node sees the parameters of the region it is in."""
    aws("ssm").put_parameter(Name="/home", Value="here", Type="String")
    held = Credentials(
        node.credentials["AccessKeyId"], node.credentials["SecretAccessKey"], node.credentials["SessionToken"]
    )
    status, answer = node.ask("GetParameter", sign=SigV4Auth(held, "ssm", "us-west-2"), Name="/home")
    assert (status, answer["Parameter"]["Value"]) == (200, "here")


def test_a_node_is_denied_what_is_not_among_its_verbs(node: Machine) -> None:
    for name, members in {
        "StartSession": {"Target": node.node_id},
        "ListCommands": {},
        "DeregisterManagedInstance": {"InstanceId": node.node_id},
        "PutParameter": {"Name": "/a", "Value": "v", "Type": "String"},
    }.items():
        assert code(node.ask_as_node(name, **members)) == "AccessDeniedException", name
