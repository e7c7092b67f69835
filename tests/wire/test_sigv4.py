"""Signatures: what botocore signs is accepted, and no changed byte of it is."""

import random
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest
from botocore.awsrequest import AWSRequest
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pilothouse.errors import (
    ApiError,
    ExpiredTokenException,
    IncompleteSignatureException,
    InvalidSignatureException,
    MissingAuthenticationTokenException,
    UnrecognizedClientException,
)
from pilothouse.runtime.clock import TestClock
from pilothouse.wire.http import Request
from pilothouse.wire.sigv4 import Authenticator, Scope, canonical_query, string_to_sign
from tests.wire.conftest import (
    HOST,
    KEY,
    NODE,
    NODE_ID,
    NODE_KEY,
    NODE_SECRET,
    NODE_TOKEN,
    ROOT,
    SECRET,
    SESSION,
    SESSION_KEY,
    SESSION_SECRET,
    SESSION_TOKEN,
    KeyRing,
    NodeKeys,
    plain,
    sign,
    signed_json,
)


class Edge:
    """An authenticator with its clock and keys."""

    def __init__(self) -> None:
        self.clock = TestClock()
        self.key_ring = KeyRing()
        self.node_keys = NodeKeys()
        self.authenticator = Authenticator(self.key_ring, self.clock, self.node_keys.verify)

    async def who(self, request: Request, service: str = "ssm", **how: Any) -> Any:
        return (await self.authenticator.principal(request, service, **how))[0]


@pytest.fixture(scope="module")
def edge() -> Edge:
    return Edge()


def changed(request: Request, **headers: str | None) -> Request:
    """The request with other headers; None takes one away. `_` stands for `-`."""
    named = dict(request.headers)
    for name, value in headers.items():
        if value is None:
            named.pop(name.replace("_", "-"), None)
        else:
            named[name.replace("_", "-")] = value
    return replace(request, headers=named)


def put(clock: TestClock, **how: Any) -> Request:
    aws = AWSRequest(
        method="POST",
        url=f"http://{HOST}/",
        data=b'{"Name":"/a"}',
        headers={"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "AmazonSSM.GetParameter"},
    )
    return sign(aws, "ssm", clock, **how)


def presigned(clock: TestClock, expires: int = 300, **how: Any) -> Request:
    aws = AWSRequest(method="GET", url=f"http://{HOST}/?Action=GetCallerIdentity&Version=2011-06-15")
    return sign(aws, "sts", clock, expires=expires, **how)


async def test_long_lived_and_temporary_keys_are_told_apart(edge: Edge) -> None:
    session = {"key": SESSION_KEY, "secret": SESSION_SECRET, "token": SESSION_TOKEN}
    node = {"key": NODE_KEY, "secret": NODE_SECRET, "token": NODE_TOKEN}

    assert await edge.authenticator.principal(put(edge.clock), "ssm") == (ROOT, "eu-west-1")
    assert await edge.authenticator.principal(put(edge.clock, **session, region="local-1"), {"ssm", "kms"}) == (
        SESSION,
        "local-1",
    )
    assert await edge.who(put(edge.clock, **node)) == NODE
    assert await edge.who(presigned(edge.clock, **session), "sts") == SESSION


@pytest.mark.parametrize(
    ("method", "url", "service"),
    [
        ("GET", f"http://{HOST}/v1/control-channel/{NODE_ID}?role=subscribe&stream=input", "ssmmessages"),
        ("POST", f"http://{HOST}/v1/control-channel/{NODE_ID}", "ssmmessages"),
        ("GET", f"http://{HOST}:7743/ph/v1/a%20b/c~d?z=1&a=%2F%20x&a=%C3%A9&empty=&b", "ssm"),
        ("PUT", f"http://{HOST}/bucket/key%20with%20blanks?x=1", "s3"),
    ],
)
async def test_paths_and_queries_are_canonical_as_in_botocore(edge: Edge, method: str, url: str, service: str) -> None:
    from botocore.auth import S3SigV4Auth
    from botocore.credentials import Credentials

    aws = AWSRequest(method=method, url=url, data=b"body", headers={"X-Two": "a   b  c"})
    if service == "s3":
        S3SigV4Auth(Credentials(KEY, SECRET), "s3", "eu-west-1").add_auth(aws)
        request = plain(aws)
    else:
        request = sign(aws, service, edge.clock)

    assert await edge.who(replace(request, headers={**request.headers, "host": url.split("/")[2]}), service) == ROOT


async def test_unsigned_requests(edge: Edge) -> None:
    bare = changed(put(edge.clock), authorization=None)

    with pytest.raises(MissingAuthenticationTokenException):
        await edge.who(bare)
    assert (await edge.who(bare, anonymous_ok=True)).kind == "anonymous"


async def test_a_wrong_signature_is_refused_where_anonymous_calls_are_fine(edge: Edge) -> None:
    with pytest.raises(InvalidSignatureException):
        await edge.who(put(edge.clock, secret="wrong"), anonymous_ok=True)


async def test_unknown_keys_tokens_and_expired_sessions(edge: Edge) -> None:
    with pytest.raises(UnrecognizedClientException, match="The security token included in the request is invalid"):
        await edge.who(put(edge.clock, key="AKIANOBODYNOBODYNOBO"))
    with pytest.raises(UnrecognizedClientException):
        await edge.who(put(edge.clock, key=SESSION_KEY, secret=SESSION_SECRET, token="another"))
    with pytest.raises(UnrecognizedClientException):
        await edge.who(put(edge.clock, key=SESSION_KEY, secret=SESSION_SECRET))
    edge.key_ring.expired.add(SESSION_KEY)
    try:
        with pytest.raises(ExpiredTokenException):
            await edge.who(put(edge.clock, key=SESSION_KEY, secret=SESSION_SECRET, token=SESSION_TOKEN))
    finally:
        edge.key_ring.expired.clear()


async def test_the_key_is_looked_up_on_each_call(edge: Edge) -> None:
    request = put(edge.clock)
    before = edge.key_ring.looked_up

    await edge.who(request)
    await edge.who(request)

    assert edge.key_ring.looked_up == before + 2


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer abc",
        "AWS4-HMAC-SHA256",
        "AWS4-HMAC-SHA256 Credential=K, SignedHeaders=host, Signature=00",
        "AWS4-HMAC-SHA256 Credential=K/20260101/r/ssm/aws4_request, SignedHeaders=x-amz-date, Signature=00",
        "AWS4-HMAC-SHA256 Credential=K/20260101/r/ssm/aws4_request, SignedHeaders=x-amz-date;host, Signature=00",
        "AWS4-HMAC-SHA256 Credential=K/20260101/r/ssm/aws4_request, SignedHeaders=host;host, Signature=00",
        "AWS4-HMAC-SHA256 Credential=K/20260101/r/ssm/aws4_request, Signature=00",
        "AWS4-HMAC-SHA256 SignedHeaders=host, Signature=00",
        "AWS4-ECDSA-P256-SHA256 Credential=K/20260101/r/ssm/aws4_request, SignedHeaders=host, Signature=00",
        "AWS4-HMAC-SHA256 Credential=K/20260101/r/ssm/aws4_request, SignedHeaders=host",
    ],
)
async def test_malformed_headers_are_incomplete_signatures(edge: Edge, authorization: str) -> None:
    with pytest.raises(IncompleteSignatureException):
        await edge.who(changed(put(edge.clock), authorization=authorization))


async def test_a_scope_for_another_service_is_refused(edge: Edge) -> None:
    with pytest.raises(InvalidSignatureException, match="scoped to correct service: 'kms'"):
        await edge.who(put(edge.clock), "kms")


async def test_header_and_query_credentials_together_are_refused(edge: Edge) -> None:
    request = presigned(edge.clock)

    with pytest.raises(IncompleteSignatureException, match="not in both"):
        await edge.who(changed(request, authorization=put(edge.clock).headers["authorization"]), "sts")


async def test_amz_headers_must_be_signed_but_for_those_that_sdks_leave_out(edge: Edge) -> None:
    request = put(edge.clock)
    free = {"amz_sdk_invocation_id": "1", "amz_sdk_request": "attempt=1", "x_amzn_trace_id": "Root=1"}
    content_hash = sha256(request.body).hexdigest()

    assert await edge.who(changed(request, x_amz_user_agent="sdk", x_amz_content_sha256=content_hash, **free)) == ROOT
    with pytest.raises(IncompleteSignatureException, match="'x-amz-meta'"):
        await edge.who(changed(request, x_amz_meta="1"))
    with pytest.raises(IncompleteSignatureException, match="'x-amz-security-token'"):
        await edge.who(changed(request, x_amz_security_token=SESSION_TOKEN))


@pytest.mark.parametrize(
    "mode",
    [
        "UNSIGNED-PAYLOAD",
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        "anything",
        "",
        "0" * 64,
        "E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855",
    ],
)
async def test_only_the_real_hash_of_the_body_is_a_payload_mode(edge: Edge, mode: str) -> None:
    aws = AWSRequest(
        method="POST",
        url=f"http://{HOST}/",
        data=b"{}",
        headers={"X-Amz-Content-Sha256": mode, "X-Amz-Target": "AmazonSSM.GetParameter"},
    )
    with pytest.raises(InvalidSignatureException):
        await edge.who(sign(aws, "ssm", edge.clock))


async def test_dates_within_five_minutes_are_accepted_and_the_texts_beyond_are_those_of_aws(edge: Edge) -> None:
    signer = TestClock()

    def moved(**by: float) -> TestClock:
        signer._offset_ms = 0
        signer.advance(**by)
        return signer

    assert await edge.who(put(moved(seconds=-290))) == ROOT
    assert await edge.who(put(moved(seconds=290))) == ROOT
    with pytest.raises(
        InvalidSignatureException, match=r"^Signature expired: \d{8}T\d{6}Z is now earlier than .* 5 min"
    ):
        await edge.who(put(moved(seconds=-310)))
    with pytest.raises(InvalidSignatureException, match=r"^Signature not yet current: .* is still later than .* 5 min"):
        await edge.who(put(moved(seconds=310)))
    node = {"key": NODE_KEY, "secret": NODE_SECRET, "token": NODE_TOKEN}
    assert await edge.who(put(moved(seconds=-880), **node)) == NODE
    with pytest.raises(InvalidSignatureException, match="15 min"):
        await edge.who(put(moved(seconds=-920), **node))


async def test_the_date_of_the_scope_is_the_date_of_the_request(edge: Edge) -> None:
    request = put(edge.clock)
    today = request.headers["x-amz-date"][:8]
    other = changed(request, authorization=request.headers["authorization"].replace(f"/{today}/", "/20200101/"))

    with pytest.raises(InvalidSignatureException, match="Date in Credential scope does not match"):
        await edge.who(other)
    with pytest.raises(IncompleteSignatureException, match="ISO-8601"):
        await edge.who(changed(request, x_amz_date="yesterday"))
    with pytest.raises(IncompleteSignatureException, match="X-Amz-Date"):
        await edge.who(changed(request, x_amz_date=None))


async def test_presigned_requests_live_as_long_as_they_say(edge: Edge) -> None:
    early = TestClock()
    early.advance(seconds=-1_000)

    assert await edge.who(presigned(early, expires=1_100), "sts") == ROOT
    with pytest.raises(InvalidSignatureException, match="Signature expired"):
        await edge.who(presigned(early, expires=900), "sts")
    for expires in (0, 604_801):
        with pytest.raises(IncompleteSignatureException, match="X-Amz-Expires"):
            await edge.who(presigned(edge.clock, expires=expires), "sts")
    late = TestClock()
    late.advance(seconds=400)
    with pytest.raises(InvalidSignatureException, match="not yet current"):
        await edge.who(presigned(late), "sts")


async def test_a_presigned_query_must_be_whole(edge: Edge) -> None:
    request = presigned(edge.clock)
    for part in request.query.split("&"):
        if part.startswith("X-Amz-"):
            kept = "&".join(other for other in request.query.split("&") if other != part)
            with pytest.raises((IncompleteSignatureException, InvalidSignatureException)):
                await edge.who(replace(request, query=kept), "sts")
    with pytest.raises(ApiError):
        await edge.who(replace(request, query=request.query + "&X-Amz-Expires=300"), "sts")


def by_node_key(
    edge: Edge, target: str = "AmazonSSM.RequestManagedInstanceRoleToken", salt: int = 32, host: str = HOST
) -> Request:
    """As the official agent asks for its role token: a SigV4 header whose signature is RSASSA-PSS."""
    body = b'{"Fingerprint":"f8fda139-417f-43e1-886d-bd79daff37ac"}'
    date = edge.clock.now().strftime("%Y%m%dT%H%M%SZ")
    signed = ("content-type", "host", "x-amz-date", "x-amz-target")
    scope = Scope(NODE_ID, date[:8], "eu-west-1", "ssm", signed)
    request = Request(
        method="POST",
        path="/",
        query="",
        headers={
            "host": host,
            "content-type": "application/x-amz-json-1.1",
            "transfer-encoding": "chunked",
            "x-amz-date": date,
            "x-amz-target": target,
            "x-amz-content-sha256": sha256(body).hexdigest(),
        },
        body=body,
        peer="192.0.2.7",
        secure=True,
    )
    to_sign = string_to_sign(request, scope, date, sha256(body).hexdigest())
    signature = edge.node_keys.private.sign(
        to_sign, padding.PSS(mgf=padding.MGF1(SHA256()), salt_length=salt), SHA256()
    )
    return changed(
        request,
        authorization=(
            f"AWS4-HMAC-SHA256 Credential={NODE_ID}/{scope.text}, SignedHeaders={';'.join(signed)}, "
            f"Signature={b64encode(signature).decode()}"
        ),
    )


async def test_a_node_signs_for_its_role_token_with_its_own_key(edge: Edge) -> None:
    request = by_node_key(edge)
    last = "A" if request.headers["authorization"][-4] != "A" else "B"
    forged = request.headers["authorization"][:-4] + last + request.headers["authorization"][-3:]

    assert await edge.who(request) == NODE
    with pytest.raises(InvalidSignatureException):
        await edge.who(replace(request, body=request.body + b" "))
    with pytest.raises(InvalidSignatureException):
        await edge.who(changed(request, authorization=forged))
    with pytest.raises(IncompleteSignatureException):
        await edge.who(changed(request, authorization=request.headers["authorization"] + "*"))


@pytest.mark.parametrize(
    ("signed", "sent", "secure", "fits"),
    [
        ("pilot.example:443", "pilot.example", True, True),
        ("pilot.example:80", "pilot.example", False, True),
        ("[2001:db8::1]:443", "[2001:db8::1]", True, True),
        ("pilot.example:443", "pilot.example", False, False),
        ("pilot.example:80", "pilot.example", True, False),
        ("pilot.example:7743", "pilot.example", True, False),
        ("pilot.example", "pilot.example:443", True, False),
        ("pilot.example:443", "other.example", True, False),
    ],
)
async def test_the_official_agent_signs_a_port_that_its_host_leaves_out(
    edge: Edge, signed: str, sent: str, secure: bool, fits: bool
) -> None:
    request = replace(changed(by_node_key(edge, host=signed), host=sent), secure=secure)

    if fits:
        assert await edge.who(request) == NODE
    else:
        with pytest.raises(InvalidSignatureException):
            await edge.who(request)


async def test_the_node_key_opens_nothing_but_its_own_two_operations(edge: Edge) -> None:
    asked = edge.node_keys.asked

    with pytest.raises(InvalidSignatureException):
        await edge.who(by_node_key(edge, target="AmazonSSM.GetParameter"))

    assert edge.node_keys.asked == asked
    assert await edge.who(by_node_key(edge, target="AmazonSSM.UpdateManagedInstancePublicKey")) == NODE


def test_a_query_is_sorted_by_its_encoded_pairs() -> None:
    assert canonical_query("b=2&a=%7e&a=+&A=x/y&X-Amz-Signature=1") == "A=x%2Fy&a=%2B&a=~&b=2"


def mutations(request: Request, source: random.Random) -> Request:
    """The request with one byte of what the signature covers changed to another one."""
    signed = request.headers["authorization"].split("SignedHeaders=")[1].split(",")[0].split(";")
    part = source.choice(["body", "method", "path", "authorization", *signed])
    if part == "body":
        place = source.randrange(len(request.body))
        other = (request.body[place] + source.randrange(1, 256)) % 256
        return replace(request, body=request.body[:place] + bytes([other]) + request.body[place + 1 :])
    if part == "method":
        return replace(request, method=source.choice(["GET", "PUT", "post", "POSU"]))
    if part == "path":
        return replace(request, path=source.choice(["//", "/a", "/%2F", "/.", ""]))
    text = request.headers[part]
    place = source.randrange(len(text))
    other = chr((ord(text[place]) + source.randrange(1, 256)) % 256)
    if text[place] == "," and other == " ":
        other = "_"
    return changed(request, **{part: text[:place] + other + text[place + 1 :]})


@given(st.randoms(use_true_random=False))
@settings(max_examples=1_500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_no_changed_byte_is_accepted(edge: Edge, source: random.Random) -> None:
    request = put(edge.clock, key=SESSION_KEY, secret=SESSION_SECRET, token=SESSION_TOKEN)

    with pytest.raises(ApiError) as refused:
        await edge.who(mutations(request, source))

    assert refused.value.code in {
        "IncompleteSignatureException",
        "InvalidSignatureException",
        "UnrecognizedClientException",
    }


async def test_each_byte_of_a_presigned_query_counts(edge: Edge) -> None:
    request = presigned(edge.clock)
    for place, character in enumerate(request.query):
        other = "0" if character != "0" else "1"
        with pytest.raises(ApiError):
            await edge.who(replace(request, query=request.query[:place] + other + request.query[place + 1 :]), "sts")


async def test_a_signature_of_another_request_does_not_fit(edge: Edge) -> None:
    mine = put(edge.clock)
    other = signed_json("ssm", "DeleteParameter", mine.body, edge.clock)

    with pytest.raises(InvalidSignatureException):
        await edge.who(changed(other, authorization=mine.headers["authorization"]))
