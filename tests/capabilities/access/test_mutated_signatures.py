"""30,000 signed requests with something about them changed: none is accepted, none is a fault of the server.

Of every kind of caller (root, user, session of a role, node) and in every form (JSON, form, presigned query), to the
whole server. What stands for the same signed request (a blank more after a comma, `%2f` for `%2F`) is no change.
"""

import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from hashlib import sha256
from random import Random
from typing import Any
from urllib.parse import parse_qsl

import botocore.auth
import pytest
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from pilothouse.runtime.clock import TestClock
from pilothouse.wire.http import Request
from tests.capabilities.access.policies import User, allow, document
from tests.capabilities.commands.conftest import Fleet
from tests.conftest import Aws, Server

OF_EACH_ENGINE = 15_000
REFUSALS = {
    "IncompleteSignatureException", "InvalidSignatureException", "MissingAuthenticationTokenException",
    "UnrecognizedClientException", "ExpiredTokenException", "UnknownOperationException", "SerializationException",
    "IncompleteSignature", "SignatureDoesNotMatch", "MissingAuthenticationToken", "InvalidClientTokenId",
    "ExpiredToken", "InvalidAction", "MalformedInput",
}  # fmt: skip
"""The last of each: what names no operation, or is of no known form, is refused before anybody looks who asks."""
ODD = "abcXYZ0189;=/,.%&-_~\x00\x7f\xe9\xb2\xff"
JSON = "application/x-amz-json-1.1"
FORM = "application/x-www-form-urlencoded; charset=utf-8"


@pytest.fixture(autouse=True)
def _signatures_follow_the_clock(clock: TestClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *_: clock.now().replace(tzinfo=None))


def _signed(who: Credentials, service: str, headers: dict[str, str], body: bytes) -> Request:
    made = AWSRequest("POST", "http://pilothouse.test/", data=body, headers=headers)
    SigV4Auth(who, service, "eu-west-1").add_auth(made)
    names = {name.lower(): value for name, value in made.headers.items()} | {"host": "pilothouse.test"}
    return Request("POST", "/", "", names, body, "127.0.0.1", False)


def _json(who: Credentials, target: str, service: str, **members: Any) -> Request:
    return _signed(who, service, {"X-Amz-Target": target, "Content-Type": JSON}, json.dumps(members).encode())


def _form(who: Credentials) -> Request:
    return _signed(who, "sts", {"Content-Type": FORM}, b"Action=GetCallerIdentity&Version=2011-06-15")


def _presigned(who: Credentials) -> Request:
    made = AWSRequest("GET", "http://pilothouse.test/?Action=GetCallerIdentity&Version=2011-06-15")
    SigV4QueryAuth(who, "sts", "eu-west-1", expires=300).add_auth(made)
    query = made.prepare().url.partition("?")[2]
    return Request("GET", "/", query, {"host": "pilothouse.test"}, b"", "127.0.0.1", False)


def _edited(text: str, source: Random) -> str:
    """One place of the text is another one now, is gone, or has something more."""
    place = source.randrange(len(text))
    while text[place] == " ":
        place = source.randrange(len(text))
    kind = source.randrange(4)
    if kind == 0:
        return text[:place] + text[place + 1 :]
    if kind == 1:
        return text[:place] + source.choice(ODD) + text[place:]
    if kind == 2 and place + 1 < len(text) and text[place + 1] != " ":
        return text[:place] + text[place + 1] + text[place] + text[place + 2 :]
    return text[:place] + chr((ord(text[place]) + source.randrange(1, 256)) % 256) + text[place + 1 :]


def _with(request: Request, **headers: str | None) -> Request:
    changed = {**request.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return replace(request, headers={name: value for name, value in changed.items() if value is not None})


def _names(request: Request) -> list[str]:
    return request.headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")


def _a_header(request: Request, source: Random, others: list[Request]) -> Request:
    name = source.choice([*_names(request), "authorization", "authorization"])
    return replace(request, headers={**request.headers, name: _edited(request.headers[name], source)})


def _a_header_gone(request: Request, source: Random, others: list[Request]) -> Request:
    gone = source.choice([*_names(request), "authorization"])
    return replace(request, headers={name: value for name, value in request.headers.items() if name != gone})


def _the_body(request: Request, source: Random, others: list[Request]) -> Request:
    return replace(request, body=_edited(request.body.decode(), source).encode("latin-1"))


def _the_line(request: Request, source: Random, others: list[Request]) -> Request:
    return source.choice([
        replace(request, method=source.choice(["GET", "PUT", "post", "HEAD"])),
        replace(request, query=source.choice(["a", "a=b", "X-Amz-Expires=9", "Action=x", request.body.decode()])),
        replace(request, query="X-Amz-Signature=" + request.headers["authorization"][-64:]),
    ])  # fmt: skip


def _the_names(request: Request, source: Random, others: list[Request]) -> Request:
    names = _names(request)
    made = source.choice([
        names[1:], names[:-1], [*names, names[-1]], names[::-1], [name.upper() for name in names],
        [*names, "x-amz-zzz"], ["accept", *names], [name for name in names if name != "host"], [""],
    ])  # fmt: skip
    whole = request.headers["authorization"].replace(";".join(names), ";".join(made))
    return _with(request, authorization=whole)


def _the_scope(request: Request, source: Random, others: list[Request]) -> Request:
    head, _, tail = request.headers["authorization"].partition("Credential=")
    scope, _, rest = tail.partition(",")
    parts = scope.split("/")
    at = source.randrange(5)
    parts[at] = source.choice(
        [parts[at].upper() + "x", "", "ssm", "kms", "us-east-1", "20200101", "*", "mi-" + "0" * 17]
    )
    return _with(request, authorization=f"{head}Credential={'/'.join(parts)},{rest}")


def _the_date(request: Request, source: Random, others: list[Request]) -> Request:
    date = request.headers["x-amz-date"]
    away = timedelta(seconds=source.choice([-1, 1]) * source.randrange(1, 10**6))
    moved = datetime.strptime(date + "+0000", "%Y%m%dT%H%M%SZ%z") + away
    text = moved.strftime("%Y%m%dT%H%M%SZ")
    return _with(request, x_amz_date=text, authorization=request.headers["authorization"].replace(date[:8], text[:8]))


def _the_mode(request: Request, source: Random, others: list[Request]) -> Request:
    return _with(request, x_amz_content_sha256=source.choice([
        "UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "", sha256(b"x").hexdigest(),
    ]))  # fmt: skip


def _a_header_more(request: Request, source: Random, others: list[Request]) -> Request:
    name = source.choice(["x-amz-zzz", "x-amz-security-token", "x-amz-meta-a", "x-amz-expires"])
    return replace(request, headers={**request.headers, name: request.headers.get(name, "") + "a"})


def _the_algorithm(request: Request, source: Random, others: list[Request]) -> Request:
    other = source.choice(
        ["AWS4-HMAC-SHA1", "AWS4-HMAC-SHA256-PAYLOAD", "AWS4-ECDSA-P256-SHA256", "AWS", "Basic", "aws4-hmac-sha256"]
    )
    return _with(request, authorization=request.headers["authorization"].replace("AWS4-HMAC-SHA256", other))


def _another_s(request: Request, source: Random, others: list[Request]) -> Request:
    """The signature, the whole header or the token of another request."""
    other = source.choice([each for each in others if each != request and "authorization" in each.headers])
    mine, its = request.headers["authorization"], other.headers["authorization"]
    token = other.headers.get("x-amz-security-token")
    choices = [
        _with(request, authorization=mine[:-64] + its[-64:]),
        _with(request, authorization=re.sub("Credential=[^/]*", re.findall("Credential=[^/]*", its)[0], mine)),
        _with(request, authorization=mine[:-64] + source.choice([mine[-64:].upper() + "A", "0" * 64, "", mine[-63:]])),
    ]
    if token is not None and token != request.headers.get("x-amz-security-token"):
        choices.append(_with(request, x_amz_security_token=token))
    return source.choice(choices)


def _the_query(request: Request, source: Random, others: list[Request]) -> Request:
    return replace(request, query=_edited(request.query, source))


def _both(request: Request, source: Random, others: list[Request]) -> Request:
    other = source.choice([each for each in others if "authorization" in each.headers])
    return _with(request, authorization=other.headers["authorization"], x_amz_date=other.headers["x-amz-date"])


Mutation = Callable[[Request, Random, list[Request]], Request]
OF_HEADERS: list[Mutation] = [
    _a_header, _a_header, _a_header, _a_header_gone, _the_body, _the_line, _the_names, _the_scope, _the_date, _the_mode,
    _a_header_more, _the_algorithm, _another_s,
]  # fmt: skip
OF_QUERIES: list[Mutation] = [_the_query, _the_query, _the_query, _both]


def _means(request: Request) -> object:
    """What is signed and the signature itself; equal for two requests that are the same one."""
    headers = {name: " ".join(value.split(" ")).strip(" ") for name, value in request.headers.items()}
    if "authorization" in headers:
        headers["authorization"] = re.sub(r", *", ", ", headers["authorization"])
    query = sorted(parse_qsl(request.query, keep_blank_values=True, encoding="latin-1", separator="&"))
    return request.method, request.path, query, headers, request.body


def _code(body: bytes) -> str:
    found = re.search(rb'"__type": ?"(?:[^"#]*#)?([^"]+)"|<Code>([^<]+)</Code>', body)
    return (found[1] or found[2]).decode() if found else ""


def _requests(aws: Aws, server: Server) -> list[Request]:
    """Of each kind of caller in each form; every one of them is accepted as it is."""
    aws("ssm").put_parameter(Name="/a", Value="v", Type="String")
    root = server.application.root
    user = User(aws, "ann")
    user.may(allow(["ssm:GetParameter", "sts:AssumeRole"]))
    iam = aws("iam")
    role = iam.create_role(
        RoleName="r", AssumeRolePolicyDocument=document(
            {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": root.account_id}}
        ),
    )["Role"]  # fmt: skip
    iam.attach_role_policy(RoleName="r", PolicyArn="arn:aws:iam::aws:policy/AmazonSSMReadOnlyAccess")
    given = aws("sts").assume_role(RoleArn=role["Arn"], RoleSessionName="work")["Credentials"]
    node = Fleet(server, aws).node(online=False)
    callers = [
        Credentials(root.access_key_id, root.secret),
        Credentials(user.key["AccessKeyId"], user.key["SecretAccessKey"]),
        Credentials(given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"]),
    ]
    made = [
        form
        for who in callers
        for form in (_json(who, "AmazonSSM.GetParameter", "ssm", Name="/a"), _form(who), _presigned(who))
    ]
    who = Credentials(node.who.access_key_id, node.who.secret, node.who.token)
    told = {"InstanceId": node.id, "AgentVersion": "3.3.0.0", "PlatformType": "Linux", "AgentName": "amazon-ssm-agent"}
    return [*made, _json(who, "AmazonSSM.UpdateInstanceInformation", "ssm", **told)]


def test_no_mutated_signature_is_accepted(aws: Aws, server: Server) -> None:
    requests = _requests(aws, server)
    respond = server.application.front.respond
    source, codes = Random(20_261_124), Counter[str]()

    async def some(count: int) -> int:
        tried = 0
        for _ in range(count):
            request = source.choice(requests)
            mutations = OF_QUERIES if request.query else OF_HEADERS
            mutated = source.choice(mutations)(request, source, requests)
            if _means(mutated) == _means(request):
                continue
            answer = await respond(mutated)
            code = _code(answer.body)
            assert 400 <= answer.status < 500, (answer.status, mutated)
            assert code in REFUSALS or (answer.status == 404 and not code), (code, mutated)
            codes[code] += 1
            tried += 1
        return tried

    async def as_they_are() -> list[int]:
        return [(await respond(request)).status for request in requests]

    assert server.run(as_they_are()) == [200] * len(requests)
    tried = 0
    while tried < OF_EACH_ENGINE:
        tried += server.run(some(500))
    assert server.run(as_they_are()) == [200] * len(requests)
    assert min(codes[code] for code in ("InvalidSignatureException", "SignatureDoesNotMatch")) > 1000, codes
