"""Roles taken on with tokens of an identity provider, through boto3 and with an issuer that answers over HTTPS."""

import base64
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.capabilities.access.issuer import EC_KEY, RSA_KEY, Issuer, ec_jwk, rsa_jwk
from tests.capabilities.access.policies import allow, document, error
from tests.capabilities.access.test_session_tokens import as_session
from tests.capabilities.access.trusting import issuer, server
from tests.conftest import Aws, Server

__all__ = ["issuer", "server"]
STRANGER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
SHORT = rsa.generate_private_key(public_exponent=65537, key_size=1024)
WIDE = ec.generate_private_key(ec.SECP384R1())


def _trust(provider: str, actions: Any = "sts:AssumeRoleWithWebIdentity", **equals: Any) -> str:
    host = provider.partition("/")[2]
    condition = {"StringEquals": {f"{host}:{key}": value for key, value in equals.items()}}
    statement = {"Effect": "Allow", "Action": actions, "Principal": {"Federated": provider}}
    return document(statement | ({"Condition": condition} if equals else {}))


class Setup:
    """A provider with a role that trusts it."""

    def __init__(self, aws: Aws, issuer: Issuer) -> None:
        self.aws, self.iam, self.sts = aws, aws("iam"), aws("sts")
        self.provider: str = self.iam.create_open_id_connect_provider(Url=issuer.url, ClientIDList=["ours"])[
            "OpenIDConnectProviderArn"
        ]
        made = self.iam.create_role(
            RoleName="build", AssumeRolePolicyDocument=_trust(self.provider, sub="build:main", aud="ours")
        )
        self.role: str = made["Role"]["Arn"]
        self.iam.put_role_policy(RoleName="build", PolicyName="p", PolicyDocument=document(allow("ssm:*")))

    def assume(self, token: str, **more: Any) -> Any:
        return self.sts.assume_role_with_web_identity(**self.members(token, **more))

    def refused(self, token: str, **more: Any) -> tuple[str, str]:
        found = error(self.sts.assume_role_with_web_identity, **self.members(token, **more))
        return found["Code"], found["Message"]

    def members(self, token: str, **more: Any) -> dict[str, Any]:
        return {"RoleArn": self.role, "RoleSessionName": "s1", "WebIdentityToken": token} | more


@pytest.fixture
def setup(aws: Aws, issuer: Issuer) -> Setup:
    return Setup(aws, issuer)


def test_a_token_takes_the_role_on(aws: Aws, server: Server, setup: Setup, issuer: Issuer) -> None:
    account = server.application.root.account_id
    made = setup.assume(issuer.token(), DurationSeconds=900)
    assert made["SubjectFromWebIdentityToken"] == "build:main"
    assert (made["Provider"], made["Audience"]) == (setup.provider, "ours")
    told = as_session(aws, "sts", made).get_caller_identity()
    assert told["Arn"] == f"arn:aws:sts::{account}:assumed-role/build/s1" == made["AssumedRoleUser"]["Arn"]
    as_session(aws, "ssm", made).describe_parameters()
    assert error(as_session(aws, "iam", made).list_users)["Code"] == "AccessDenied"
    for key, algorithm, key_id in ((EC_KEY, "ES256", "e1"), (RSA_KEY, "RS256", None)):
        setup.assume(issuer.token(key, algorithm, key_id))
    assert issuer.asked == 1
    narrow = document(allow("ssm:GetParameter"))
    narrowed = as_session(aws, "ssm", setup.assume(issuer.token(), Policy=narrow))
    assert error(narrowed.describe_parameters)["Code"] == "AccessDeniedException"
    only = {"StringEquals": {"aws:FederatedProvider": setup.provider}}
    setup.iam.put_role_policy(
        RoleName="build", PolicyName="p", PolicyDocument=document(allow("ssm:*", Condition=only))
    )  # fmt: skip
    as_session(aws, "ssm", made).describe_parameters()


def test_a_token_that_is_good_is_recorded_and_never_shown(aws: Aws, setup: Setup, issuer: Issuer) -> None:
    good, other = issuer.token(), issuer.token(sub="build:other")
    setup.assume(good)
    setup.refused(other)
    setup.refused("not.a.token")
    setup.refused(issuer.token(STRANGER))
    name = {"AttributeKey": "EventName", "AttributeValue": "AssumeRoleWithWebIdentity"}
    trail = aws("cloudtrail", region="us-east-1")
    found = [each["CloudTrailEvent"] for each in trail.lookup_events(LookupAttributes=[name])["Events"]]
    told = [json.loads(each) for each in found]
    assert sorted(each.get("errorCode", "") for each in told) == ["", "AccessDenied"]
    assert {each["requestParameters"]["roleArn"] for each in told} == {setup.role}
    assert not any(token in each for token in (good, other) for each in found)


def test_the_trust_policy_says_whose_tokens_count(setup: Setup, issuer: Issuer) -> None:
    refusal = ("AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity")
    assert setup.refused(issuer.token(sub="build:other")) == refusal
    assert setup.refused(issuer.token(), RoleArn=setup.role.replace("build", "none")) == refusal
    account = setup.role.split(":")[4]
    for trust in (
        document({"Effect": "Allow", "Action": "sts:*", "Principal": {"AWS": f"arn:aws:iam::{account}:root"}}),
        document({"Effect": "Allow", "Action": "sts:*", "Principal": "*"}),
        document({"Effect": "Allow", "Action": "sts:*", "NotPrincipal": {"AWS": account}}),
        _trust(setup.provider + "2"),
        _trust(setup.provider, "sts:AssumeRole"),
        _trust(setup.provider, amr="mfa"),
    ):
        setup.iam.update_assume_role_policy(RoleName="build", PolicyDocument=trust)
        assert setup.refused(issuer.token()) == refusal
    setup.assume(issuer.token(amr=["pwd", "mfa"]))


def test_tokens_that_are_not_good_are_refused(setup: Setup, issuer: Issuer) -> None:
    now = issuer.clock.millis() // 1000
    signature = "The signature of the token cannot be verified."
    for token, message in (
        ("not.a.token", "not a valid JWT"),
        (issuer.token(STRANGER), signature),
        (issuer.token(iss="https://other.example"), "No OpenIDConnect provider found in your account for https://othe"),
        (issuer.token(iss=issuer.url.replace("https://", "http://")), "No OpenIDConnect provider found"),
        (issuer.token(iss=issuer.url + "/"), "No OpenIDConnect provider found"),
        (issuer.token(aud="theirs"), "Incorrect token audience"),
        (issuer.token(aud=["theirs", "other"]), "Incorrect token audience"),
        (issuer.token(azp="theirs"), "Incorrect token audience"),
        (issuer.token(sub=None), "sub"),
        (issuer.token(aud=None), "aud"),
        (issuer.token(exp=None), "exp"),
        (issuer.token(iat=None), "iat"),
        (issuer.token(iat=now + 400), "not valid yet"),
        (issuer.token(nbf=now + 400), "not valid yet"),
        (issuer.token(RSA_KEY, "RS384"), "verification key"),
        (issuer.token(EC_KEY, "ES256", "r1"), "verification key"),
        (issuer.token("x" * 64, "HS256"), "signed with one of"),
        (issuer.token(None, "none"), "signed with one of"),
    ):
        code, said = setup.refused(token)
        assert code == "InvalidIdentityToken"
        assert message in said
    expired = setup.refused(issuer.token(iat=now - 700, exp=now - 1))
    assert expired[0] == "ExpiredTokenException"
    assert expired[1].startswith("Token expired: current date/time")
    good = issuer.token()
    head, body, signed = good.split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    other = base64.urlsafe_b64encode(json.dumps(claims | {"sub": "root"}).encode()).decode().rstrip("=")
    assert setup.refused(f"{head}.{other}.{signed}") == ("InvalidIdentityToken", signature)
    public = jwt.PyJWK(rsa_jwk(RSA_KEY, "r1")).key
    assert public.key_size == 2048
    setup.assume(issuer.token(aud=["theirs", "ours"]))
    setup.assume(issuer.token(aud="theirs", azp="ours"))


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
def test_keys_that_cannot_be_trusted_verify_nothing(setup: Setup, issuer: Issuer) -> None:
    issuer.keys = [
        rsa_jwk(SHORT, "short"), ec_jwk(WIDE, "wide"), rsa_jwk(RSA_KEY, "enc") | {"use": "enc"},
        {"kty": "oct", "kid": "oct", "k": "eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHg"}, {"kty": "RSA", "kid": "half"},
    ]  # fmt: skip
    for token in (
        issuer.token(SHORT, "RS256", "short"), issuer.token(RSA_KEY, "RS256", "enc"),
        issuer.token(RSA_KEY, "RS256", "half"), issuer.token(RSA_KEY, "RS256", None),
    ):  # fmt: skip
        assert setup.refused(token)[0] == "InvalidIdentityToken"
    setup.assume(issuer.token(WIDE, "ES384", "wide"))


def test_keys_are_kept_and_asked_again_for_a_new_one(setup: Setup, server: Server, issuer: Issuer) -> None:
    for _ in range(3):
        setup.assume(issuer.token())
    for _ in range(3):
        assert "verification key" in setup.refused(issuer.token(STRANGER, "RS256", "r2"))[1]
    assert issuer.asked == 1
    issuer.keys.append(rsa_jwk(STRANGER, "r2"))
    server.advance(seconds=61)
    setup.assume(issuer.token(STRANGER, "RS256", "r2"))
    assert issuer.asked == 2
    issuer.keys = issuer.keys[1:]
    server.advance(hours=1)
    assert "verification key" in setup.refused(issuer.token())[1]  # a key that was withdrawn
    issuer.status = 503
    server.advance(hours=2)
    setup.assume(issuer.token(STRANGER, "RS256", "r2"))  # the keys of before still count
    server.advance(hours=24)
    assert setup.refused(issuer.token(STRANGER, "RS256", "r2"))[0] == "IDPCommunicationError"
    issuer.status = 200
    assert setup.refused(issuer.token(STRANGER, "RS256", "r2"))[0] == "IDPCommunicationError"
    server.advance(seconds=61)
    setup.assume(issuer.token(STRANGER, "RS256", "r2"))


def test_an_issuer_that_says_other_things_is_not_believed(setup: Setup, issuer: Issuer) -> None:
    issuer.named = "https://other.example"
    code, message = setup.refused(issuer.token())
    assert (code, "names another issuer" in message) == ("InvalidIdentityToken", True)
    assert setup.refused(issuer.token()) == (code, message)  # told again without asking


def test_keys_come_over_https_and_not_from_private_addresses(
    setup: Setup, server: Server, issuer: Issuer
) -> None:  # fmt: skip
    issuer.jwks_uri = "http://127.0.0.1/keys"
    assert setup.refused(issuer.token())[0] == "InvalidIdentityToken"
    issuer.jwks_uri = "https://10.0.0.1/keys"
    server.advance(seconds=61)
    code, message = setup.refused(issuer.token())
    assert (code, "not a public address" in message) == ("IDPCommunicationError", True)
    issuer.jwks_uri = ""
    server.advance(seconds=61)
    setup.assume(issuer.token())


def test_tags_and_a_source_identity_come_with_the_token(aws: Aws, setup: Setup, issuer: Issuer) -> None:
    claims: dict[str, Any] = {
        "https://aws.amazon.com/tags": {"principal_tags": {"team": ["a"]}, "transitive_tag_keys": ["team"]},
        "https://aws.amazon.com/source_identity": "ann",
    }
    assert setup.refused(issuer.token(**claims)) == ("AccessDenied", "Not authorized to perform sts:TagSession")
    trust = _trust(setup.provider, ["sts:AssumeRoleWithWebIdentity", "sts:TagSession", "sts:SetSourceIdentity"])
    setup.iam.update_assume_role_policy(RoleName="build", PolicyDocument=trust)
    made = setup.assume(issuer.token(**claims))
    assert made["SourceIdentity"] == "ann"
    both = {"StringEquals": {"aws:PrincipalTag/team": "a", "aws:SourceIdentity": "ann"}}
    setup.iam.put_role_policy(
        RoleName="build", PolicyName="p", PolicyDocument=document(allow("ssm:*", Condition=both))
    )  # fmt: skip
    as_session(aws, "ssm", made).describe_parameters()
    plain = as_session(aws, "ssm", setup.assume(issuer.token()))
    assert error(plain.describe_parameters)["Code"] == "AccessDeniedException"
    bad = issuer.token(**{"https://aws.amazon.com/tags": {"principal_tags": {"team": ["a", "b"]}}})
    assert setup.refused(bad)[0] == "IDPRejectedClaim"


def test_what_is_not_heeded_is_refused_and_lengths_hold(setup: Setup, issuer: Issuer) -> None:
    assert setup.refused(issuer.token(), ProviderId="www.example.com")[0] == "ValidationError"
    assert setup.refused(issuer.token(), DurationSeconds=3601)[1].endswith("MaxSessionDuration set for this role.")
    setup.iam.delete_open_id_connect_provider(OpenIDConnectProviderArn=setup.provider)
    assert "No OpenIDConnect provider found" in setup.refused(issuer.token())[1]


def test_providers_are_kept(aws: Aws, setup: Setup, issuer: Issuer) -> None:
    iam, named = setup.iam, {"OpenIDConnectProviderArn": setup.provider}
    assert setup.provider.endswith(f":oidc-provider/{issuer.host}/realm")
    iam.add_client_id_to_open_id_connect_provider(**named, ClientID="second")
    iam.add_client_id_to_open_id_connect_provider(**named, ClientID="second")
    iam.update_open_id_connect_provider_thumbprint(**named, ThumbprintList=["A" * 40])
    iam.tag_open_id_connect_provider(**named, Tags=[{"Key": "k", "Value": "v"}])
    told = iam.get_open_id_connect_provider(**named)
    assert told["Url"] == f"{issuer.host}/realm"
    assert (told["ClientIDList"], told["ThumbprintList"]) == (["ours", "second"], ["a" * 40])
    assert told["Tags"] == iam.list_open_id_connect_provider_tags(**named)["Tags"] == [{"Key": "k", "Value": "v"}]
    iam.untag_open_id_connect_provider(**named, TagKeys=["k"])
    iam.remove_client_id_from_open_id_connect_provider(**named, ClientID="ours")
    assert setup.refused(issuer.token())[1] == "Incorrect token audience"
    assert iam.list_open_id_connect_providers()["OpenIDConnectProviderList"] == [{"Arn": setup.provider}]
    assert iam.get_account_summary()["SummaryMap"]["Providers"] == 1
    taken = error(iam.create_open_id_connect_provider, Url=issuer.url)
    assert (taken["Code"], taken["Message"]) == (
        "EntityAlreadyExists", f"Provider with url {issuer.url} already exists.",
    )  # fmt: skip
    for url in ("http://a.example", "https://a.example?x=1", "https://10.0.0.1/", "https://A.example", "x"):
        assert error(iam.create_open_id_connect_provider, Url=url)["Code"] == "ValidationError"
    for members in ({"ThumbprintList": ["a" * 40] * 6}, {"ThumbprintList": ["x" * 40]}):
        refused = error(iam.create_open_id_connect_provider, Url="https://a.example", **members)
        assert refused["Code"] == "InvalidInput"
    many = [str(number) for number in range(101)]
    refused = error(iam.create_open_id_connect_provider, Url="https://a.example", ClientIDList=many)
    assert refused["Code"] == "LimitExceeded"
    iam.delete_open_id_connect_provider(**named)
    iam.delete_open_id_connect_provider(**named)
    missing = error(iam.get_open_id_connect_provider, **named)
    assert missing["Message"] == f"OpenIDConnect Provider not found for arn {setup.provider}"
