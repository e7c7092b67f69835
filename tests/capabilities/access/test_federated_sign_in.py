"""Sign-in with an identity provider, whose part an issuer of the tests' own plays over HTTPS."""

import base64
from typing import Any

import pytest

from tests.capabilities.access.issuer import Issuer
from tests.capabilities.access.people import post, signed
from tests.capabilities.access.policies import allow, document, error
from tests.capabilities.access.trusting import issuer, server
from tests.conftest import Aws, Server

__all__ = ["issuer", "server"]
LOOPBACK = "http://127.0.0.1:43117/callback"


class House:
    """A provider with two roles: one for a group, one for a person."""

    def __init__(self, aws: Aws, server: Server, issuer: Issuer) -> None:
        self.aws, self.server, self.issuer = aws, server, issuer
        iam = aws("iam")
        self.provider = iam.create_open_id_connect_provider(Url=issuer.url, ClientIDList=["console"])[
            "OpenIDConnectProviderArn"
        ]
        host = self.provider.partition("/")[2]
        conditions = {
            "admins": {"ForAnyValue:StringEquals": {f"{host}:groups": "admins"}},
            "readers": {"StringLike": {f"{host}:email": "*@example.org"}},
        }
        self.roles = {}
        for name, condition in conditions.items():
            trust = {
                "Effect": "Allow", "Action": "sts:AssumeRoleWithWebIdentity", "Principal": {"Federated": self.provider},
                "Condition": condition,
            }  # fmt: skip
            made = iam.create_role(RoleName=name, AssumeRolePolicyDocument=document(trust))["Role"]["Arn"]
            self.roles[name] = made
        iam.put_role_policy(RoleName="readers", PolicyName="p", PolicyDocument=document(allow("ssm:Describe*")))
        self.own = aws("pilothouse")
        self.put()

    def put(self, **more: Any) -> None:
        whole = {
            "Name": "work", "OpenIDConnectProviderArn": self.provider, "ClientId": "console",
            "RoleArns": list(self.roles.values()), "RedirectUris": ["https://pilothouse.example/console/back"],
        }  # fmt: skip
        self.own.put_sign_in_provider(**(whole | more))

    def begin(self, **more: Any) -> dict[str, Any]:
        status, answer = post(self.server, "sign-in/begin", **({"Provider": "work", "RedirectUri": LOOPBACK} | more))
        assert status == 200, answer
        return answer

    def complete(self, begun: dict[str, Any], back: dict[str, str], **more: Any) -> tuple[int, dict[str, Any]]:
        return post(self.server, "sign-in/complete", Pending=begun["Pending"], **(back | more))

    def refused(self, begun: dict[str, Any], back: dict[str, str], **more: Any) -> str:
        status, answer = self.complete(begun, back, **more)
        assert status == 400, answer
        return str(answer["__type"].rpartition("#")[2])


@pytest.fixture
def house(aws: Aws, server: Server, issuer: Issuer) -> House:
    return House(aws, server, issuer)


WHO = {"aud": "console", "sub": "u-17", "email": "ada@example.org", "email_verified": True}


def test_who_comes_back_from_the_provider_gets_a_role_that_trusts_them(aws: Aws, house: House, issuer: Issuer) -> None:
    begun = house.begin()
    status, answer = house.complete(begun, issuer.sent(begun["AuthorizationUrl"], **WHO), DurationSeconds=900)
    assert status == 200, answer
    assert (answer["RoleArn"], answer["RoleArns"]) == (house.roles["readers"], [house.roles["readers"]])
    assert answer["Subject"] == "u-17"
    told = signed(aws, "sts", answer).get_caller_identity()["Arn"]
    assert told == answer["Arn"]
    assert told.endswith("assumed-role/readers/ada@example.org")
    signed(aws, "ssm", answer).describe_parameters()
    assert error(signed(aws, "ssm", answer).put_parameter, Name="/a", Value="b", Type="String")["Code"] == (
        "AccessDeniedException"
    )
    begun = house.begin()
    both = WHO | {"groups": ["people", "admins"]}
    _, answer = house.complete(begun, issuer.sent(begun["AuthorizationUrl"], **both))
    assert (answer["RoleArn"], answer["RoleArns"]) == (house.roles["admins"], list(house.roles.values()))
    begun = house.begin()
    _, answer = house.complete(begun, issuer.sent(begun["AuthorizationUrl"], **both), RoleArn=house.roles["readers"])
    assert answer["RoleArn"] == house.roles["readers"]
    assert house.server.run(_begun_without_secret(issuer))


async def _begun_without_secret(issuer: Issuer) -> bool:
    return all(form["client_id"] == "console" and "client_secret" not in form for form in issuer.forms)


@pytest.mark.parametrize("proof", ["basic", "post"])
def test_a_client_with_a_secret_shows_it_to_the_provider_alone(house: House, issuer: Issuer, proof: str) -> None:
    issuer.secret, issuer.proof = "a:secret/of the client", proof
    house.put(ClientSecret=issuer.secret if proof == "post" else "a:secret/of the client")
    if proof == "basic":  # the pair is percent-encoded, as RFC 6749 has it
        issuer.secret = "a%3Asecret%2Fof%20the%20client"
    begun = house.begin()
    status, answer = house.complete(begun, issuer.sent(begun["AuthorizationUrl"], **WHO))
    assert status == 200, answer
    listed = house.own.list_sign_in_providers()["Providers"]
    assert [(each["Name"], each["HasClientSecret"]) for each in listed] == [("work", True)]
    assert "secret/of" not in str(listed)
    house.put(ClientSecret="another")
    begun = house.begin()
    assert house.refused(begun, issuer.sent(begun["AuthorizationUrl"], **WHO)) == "IDPCommunicationErrorException"


def test_a_code_is_of_no_use_to_who_did_not_begin(house: House, issuer: Issuer, server: Server) -> None:
    mine, theirs = house.begin(), house.begin()
    back = issuer.sent(theirs["AuthorizationUrl"], **WHO)
    assert house.refused(mine, back) == "SignInRefusedException"
    assert house.refused(mine, back | {"State": mine["State"]}) == "IDPCommunicationErrorException"
    mine = house.begin()
    back = issuer.sent(mine["AuthorizationUrl"], **WHO)
    assert house.complete(mine, back)[0] == 200
    assert house.refused(mine, back) == "IDPCommunicationErrorException"
    late = house.begin()
    back = issuer.sent(late["AuthorizationUrl"], **WHO)
    server.advance(minutes=11)
    assert house.refused(late, back) == "SignInRefusedException"
    broken = bytearray(base64.b64decode(late["Pending"]))
    broken[-1] ^= 1
    for pending in ("", "AAAA", "not base64!", base64.b64encode(bytes(broken)).decode()):
        status, answer = post(server, "sign-in/complete", **back, Pending=pending or "A")
        assert status == 400, answer


@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": "another"}, {"nonce": None}, {"nonce": 5}, {"aud": "other"}, {"aud": ["console", "x"], "azp": "x"},
        {"iss": "https://elsewhere.example"}, {"exp": 5}, {"sub": ""},
    ],
)  # fmt: skip
def test_tokens_that_were_not_made_for_this_sign_in_are_refused(
    house: House, issuer: Issuer, claims: dict[str, Any]
) -> None:
    begun = house.begin()
    back = issuer.sent(begun["AuthorizationUrl"], **(WHO | claims))
    assert house.refused(begun, back) in ("InvalidIdentityTokenException", "ExpiredTokenException")


@pytest.mark.parametrize(
    "claims",
    [{"email": "ada@elsewhere.org"}, {"email_verified": False}, {"email_verified": "true"}, {"groups": "people"}],
)
def test_whom_no_role_trusts_is_refused(house: House, issuer: Issuer, claims: dict[str, Any]) -> None:
    begun = house.begin()
    whole = WHO | ({"email": None} if "groups" in claims else {}) | claims
    assert house.refused(begun, issuer.sent(begun["AuthorizationUrl"], **whole)) == "SignInRefusedException"


def test_people_are_sent_back_to_where_they_may_be_alone(house: House, server: Server) -> None:
    house.begin(RedirectUri="https://pilothouse.example/console/back")
    house.begin(RedirectUri="http://[::1]:9000/back")
    for uri in (
        "https://pilothouse.example/console/back2", "https://evil.example/", "http://127.0.0.1/callback",
        "http://localhost:9000/", "http://127.0.0.1.evil.example:90/", "http://u@127.0.0.1:90/", "javascript:alert(1)",
        "http://127.0.0.1:99999/", "http://127.0.0.1:90/#x",
    ):  # fmt: skip
        status, answer = post(server, "sign-in/begin", Provider="work", RedirectUri=uri)
        assert (status, answer["__type"].rpartition("#")[2]) == (400, "InvalidInputException"), uri


def test_what_is_not_there_is_said_alike(house: House, server: Server) -> None:
    for more in ({"Provider": "other"}, {"Account": "nowhere"}, {"Account": "999999999999"}):
        whole = {"Provider": "work", "RedirectUri": LOOPBACK} | more
        status, answer = post(server, "sign-in/begin", **whole)
        assert (status, answer["__type"].rpartition("#")[2]) == (400, "SignInRefusedException")
    assert post(server, "sign-in/options") == (200, {"Providers": [{"Name": "work"}]})
    assert post(server, "sign-in/options", Account="nowhere") == (200, {"Providers": []})
    assert error(house.own.delete_sign_in_provider, Name="other")["Code"] == "NoSuchEntityException"
    house.own.delete_sign_in_provider(Name="work")
    assert post(server, "sign-in/options") == (200, {"Providers": []})


def test_a_provider_is_checked_when_it_is_put(house: House) -> None:
    for more, code in (
        ({"OpenIDConnectProviderArn": house.provider + "x"}, "NoSuchEntityException"),
        ({"ClientId": "other"}, "InvalidInputException"),
        ({"RedirectUris": ["http://pilothouse.example/"]}, "InvalidInputException"),
        ({"RedirectUris": ["https://pilothouse.example/#x"]}, "InvalidInputException"),
    ):
        with pytest.raises(Exception, match=code):
            house.put(**more)
    for number in range(19):
        house.put(Name=f"p{number}")
    with pytest.raises(Exception, match="LimitExceededException"):
        house.put(Name="one-too-many")
    house.put()


def test_a_provider_that_does_not_answer_is_said_to_be_the_cause(house: House, issuer: Issuer, server: Server) -> None:
    begun = house.begin()
    back = issuer.sent(begun["AuthorizationUrl"], **WHO)
    issuer.status = 500
    assert house.refused(begun, back) == "IDPCommunicationErrorException"
    status, answer = post(server, "sign-in/begin", Provider="work", RedirectUri=LOOPBACK)
    assert (status, answer["__type"].rpartition("#")[2]) == (400, "IDPCommunicationErrorException")
