"""Every operation of the public models takes its smallest valid request and refuses every broken one, by the model."""

import json
import re
from typing import Any
from urllib.parse import urlencode

import pytest
from botocore.model import ListShape, MapShape, Shape, StructureShape

from pilothouse.call import Call
from pilothouse.call import Shape as Members
from pilothouse.wire.http import Response
from pilothouse.wire.models import PUBLIC, service_model
from tests.wire.conftest import World, signed_form, signed_json
from tests.wire.violations import Violation, minimal_request, violations
from tests.wire.violations import service_model as violating_model

JSON_SERVICES = ("ssm", "secretsmanager", "kms", "cloudtrail", "logs")
CODES = {"logs": "InvalidParameterException"}
"""What services answer instead of ValidationException."""
OTHER_WORDS = {
    "CreateLogGroup logGroupName too long": "Invalid LogGroup or LogStream, both must have length less than or equal to"
}
"""Violations that are known with a text of their own."""
LEFT_TO_OPERATIONS = {
    "CreateSecret addReplicaRegions.1.member.region pattern",
    "ReplicateSecretToRegions addReplicaRegions.1.member.region pattern",
    "RemoveRegionsFromReplication removeReplicaRegions element pattern",
}
"""Violations that the operations refuse, beside those of shapes that no other service has."""
QUERY_SERVICES = {"sts": "2011-06-15", "iam": "2010-05-08"}


def flat(shape: Shape | None, value: Any, name: str) -> list[tuple[str, str]]:
    """JSON members as form fields; maps are told from structures by the model."""
    prefix = f"{name}." if name else ""
    if value in ({}, []) and not isinstance(value, bool):
        return [(name, "")] if name else []
    if isinstance(shape, StructureShape):
        return [field for key, part in value.items() for field in flat(shape.members[key], part, prefix + key)]
    if isinstance(shape, ListShape):
        parts = enumerate(value, 1)
        return [field for number, part in parts for field in flat(shape.member, part, f"{prefix}member.{number}")]
    if isinstance(shape, MapShape):
        fields = []
        for number, (key, part) in enumerate(value.items(), 1):
            fields.append((f"{prefix}entry.{number}.key", key))
            fields.extend(flat(shape.value, part, f"{prefix}entry.{number}.value"))
        return fields
    if isinstance(value, bool):
        return [(name, "true" if value else "false")]
    return [] if value is None else [(name, str(value))]


async def ask(world: World, service: str, operation: str, body: dict[str, object]) -> Response:
    if service in JSON_SERVICES:
        request = signed_json(service, operation, json.dumps(body).encode(), world.clock)
    else:
        shape = violating_model(service).operation_model(operation).input_shape
        fields = [("Action", operation), ("Version", QUERY_SERVICES[service]), *flat(shape, body, "")]
        request = signed_form(service, urlencode(fields), world.clock)
    return await world.front.respond(request)


def code_and_text(service: str, response: Response) -> tuple[str, str]:
    if service in JSON_SERVICES:
        told = json.loads(response.body)
        return told["__type"], told.get("message", told.get("Message", ""))
    found = re.search(r"<Code>(.*?)</Code><Message>(.*?)</Message>", response.body.decode(), re.DOTALL)
    assert found is not None
    text = found[2].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    return found[1], text


def holds(text: str, wanted: str) -> bool:
    if wanted.startswith("re:"):
        return re.search(wanted[3:], text, re.DOTALL) is not None
    return wanted in text


def echo_everything(world: World) -> None:
    async def answer(call: Call, request: Members) -> Members:
        return {}

    for service in PUBLIC:
        for name in sorted(service_model(service).public):
            world.answers(service, name)(answer)


@pytest.mark.parametrize("service", [*JSON_SERVICES, *QUERY_SERVICES])
async def test_the_smallest_valid_request_of_each_operation_is_answered(world: World, service: str) -> None:
    echo_everything(world)
    refused = {}

    for operation in sorted(service_model(service).public):
        response = await ask(world, service, operation, minimal_request(service, operation))
        if response.status != 200:
            refused[operation] = response.body

    assert refused == {}


@pytest.mark.parametrize("service", JSON_SERVICES)
async def test_each_violation_is_refused_in_the_words_of_aws(world: World, service: str) -> None:
    echo_everything(world)
    wrong: list[tuple[str, str, str]] = []
    tried = 0

    for operation in sorted(service_model(service).public):
        for violation in violations(service, operation):
            if str(violation) in LEFT_TO_OPERATIONS:
                continue
            tried += 1
            response = await ask(world, service, operation, violation.body)
            code, text = ("OK", "") if response.status == 200 else code_and_text(service, response)
            known = CODES.get(service, violation.code) if violation.code == "ValidationException" else violation.code
            words = OTHER_WORDS.get(str(violation), violation.text)
            if response.status != 400 or code != known or not holds(text, words):
                wrong.append((str(violation), f"{response.status} {code}: {text[:300]}", violation.text))

    assert wrong == []
    assert tried > 100


def in_a_form(violation: Violation) -> bool:
    """Whether the violation can be said in a form: it has no nulls, and types only as far as text has them."""
    return not violation.kind.startswith("type") and "null" not in violation.kind


@pytest.mark.parametrize("service", QUERY_SERVICES)
async def test_each_violation_in_a_form_is_refused(world: World, service: str) -> None:
    echo_everything(world)
    wrong: list[tuple[str, str, str]] = []

    for operation in sorted(service_model(service).public):
        for violation in filter(in_a_form, violations(service, operation)):
            response = await ask(world, service, operation, violation.body)
            code, text = ("OK", "") if response.status == 200 else code_and_text(service, response)
            if response.status != 400 or code != "ValidationError" or not holds(text, violation.text):
                wrong.append((str(violation), f"{response.status} {code}: {text[:300]}", violation.text))

    assert wrong == []
