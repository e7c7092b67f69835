"""Calls of functions and state machines by the cloud's own API, at the endpoint that the operator named.

Signed (version 4) with the credentials in the file that the operator named, else with those of a session of the task's
role, made for the one call. Neither is stored with the call.
"""

import configparser
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import msgspec

from pilothouse.call import House
from pilothouse.capabilities import access
from pilothouse.capabilities.maintenance_windows.model import LAMBDA
from pilothouse.capabilities.maintenance_windows.run_model import Invocation
from pilothouse.runtime.outbound import OutboundAnswer

_SESSION_SECONDS: Final = 900
_MOST_TEXT: Final = 150
_FUNCTION_ERROR: Final = "x-amz-function-error"


class NoCredentials(Exception):
    """There is nothing to sign with; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Keys:
    """What a call is signed with."""

    access_key_id: str
    secret: str = field(repr=False)
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Said:
    """What the service answered: `error` is empty where it did what was asked; `id` names what it began."""

    id: str = ""
    error: str = ""


async def keys_for(house: House, invocation: Invocation, role_arn: str) -> Keys:
    """Raises NoCredentials."""
    named = house.settings.maintenance_windows.credentials_file
    if named:
        return _in_file(Path(named))
    async with house.database.reading() as tx:
        minted = await access.service_session(
            house, tx, invocation.account_id, role_arn, invocation.window_id, _SESSION_SECONDS
        )
    if minted is None:
        raise NoCredentials(
            "There are no credentials for the call: give the task a ServiceRoleArn that ssm.amazonaws.com may assume,"
            " or set credentials_file of [maintenance_windows]."
        )
    return Keys(minted.access_key_id, minted.secret, minted.token)


def _in_file(path: Path) -> Keys:
    """Of the section `default`, as the AWS settings have it. Raises NoCredentials."""
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(path.read_text("utf-8"))
        section = parser["default"]
        return Keys(
            section["aws_access_key_id"], section["aws_secret_access_key"], section.get("aws_session_token") or None
        )
    except (OSError, KeyError, configparser.Error, UnicodeDecodeError) as error:
        raise NoCredentials(
            "credentials_file of [maintenance_windows] cannot be used; it needs [default] with aws_access_key_id and"
            f" aws_secret_access_key ({type(error).__name__})."
        ) from None


def request(kind: str, endpoint: str, body: Mapping[str, Any]) -> tuple[str, dict[str, str], bytes]:
    """URL, headers and content of the call that a prepared invocation stands for."""
    base = endpoint.rstrip("/")
    if kind == LAMBDA:
        url = f"{base}/2015-03-31/functions/{quote(body['taskArn'], safe='')}/invocations"
        if body.get("qualifier"):
            url += f"?Qualifier={quote(body['qualifier'], safe='')}"
        headers = {"content-type": "application/json", "x-amz-invocation-type": "RequestResponse"}
        if body.get("clientContext"):
            headers["x-amz-client-context"] = body["clientContext"]
        return url, headers, (body.get("payload") or "").encode()
    said = {
        "stateMachineArn": body["taskArn"],
        "name": body.get("name") or body["invocationId"],
        "input": body.get("input") or "{}",
    }
    headers = {"content-type": "application/x-amz-json-1.0", "x-amz-target": "AWSStepFunctions.StartExecution"}
    return f"{base}/", headers, msgspec.json.encode(said)


def signed(kind: str, region: str, keys: Keys, url: str, headers: dict[str, str], content: bytes) -> dict[str, str]:
    """The headers with the signature."""
    from botocore.auth import SigV4Auth  # servers that call no endpoint do without
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    made = AWSRequest(method="POST", url=url, data=content, headers=headers)
    known = Credentials(keys.access_key_id, keys.secret, keys.token)
    SigV4Auth(known, "lambda" if kind == LAMBDA else "states", region).add_auth(made)
    return dict(made.headers.items())


def read(kind: str, answer: OutboundAnswer) -> Said:
    """What an answer means. Of what a function returned nothing is shown but the name of its error."""
    if not 200 <= answer.status < 300:
        return Said(error=f"The endpoint answered {answer.status}: {_fault(answer)}")
    if kind == LAMBDA:
        if _FUNCTION_ERROR in answer.headers:
            name = str(_members(answer.body).get("errorType") or answer.headers[_FUNCTION_ERROR])
            return Said(error=f"The function ended with an error: {name[:_MOST_TEXT]}")
        return Said(id=answer.headers.get("x-amzn-requestid", ""))
    execution = _members(answer.body).get("executionArn")
    if not isinstance(execution, str):
        return Said(error="The endpoint's answer has no executionArn: it is none of Step Functions.")
    return Said(id=execution)


def _fault(answer: OutboundAnswer) -> str:
    members = _members(answer.body)
    code = str(members.get("__type") or members.get("Code") or answer.headers.get("x-amzn-errortype") or "")
    text = str(members.get("message") or members.get("Message") or "")
    said = f"{code.rpartition('#')[2].partition(':')[0]} {text[:_MOST_TEXT]}".strip()
    return said or "it gives no reason"


def _members(body: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return {}
    return found if isinstance(found, dict) else {}
