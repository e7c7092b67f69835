"""A Lambda function, invoked at the endpoint that the operator set, with the event that the cloud sends."""

import re
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

import msgspec
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from pilothouse.call import Call, House
from pilothouse.capabilities.secrets.model import Secret
from pilothouse.capabilities.secrets.rotators.hook import event_of
from pilothouse.capabilities.secrets.rotators.rotator import Done, StepFailed, Value, Waiting, Work
from pilothouse.identity.authorise import ask_each
from pilothouse.runtime.outbound import OutboundAnswer, OutboundFailed
from pilothouse.storage import Transaction

SECONDS: Final = 120.0
_PASSING: Final = frozenset({408, 409, 425, 429})
"""409: the function is being made or changed (the API reference of Lambda, Invoke)."""
_NAME: Final = re.compile(r"[A-Za-z_][\w.]{0,99}", re.ASCII)


class Function:
    """Puts values and moves labels by itself, through the API."""

    remote = True
    reversible = True

    def __init__(self, house: House, arn: str) -> None:
        self._endpoint = house.settings.secrets.lambda_endpoint
        self._arn = arn

    async def admit(self, call: Call, tx: Transaction, secret: Secret) -> None:
        await ask_each(call, tx, "lambda:InvokeFunction", [self._arn])

    async def create(self, work: Work) -> Value:
        raise NotImplementedError

    async def take(self, work: Work) -> Done | Waiting:
        path = f"/2015-03-31/functions/{quote(self._arn, safe='')}/invocations"
        body = event_of(work)
        headers = {"content-type": "application/json", "x-amz-invocation-type": "RequestResponse"}
        url = f"{self._endpoint}{path}"
        try:
            headers = self._signed(work.house, url, headers, body)
            answer = await work.house.outbound.send("POST", url, headers=headers, body=body, seconds=SECONDS)
        except OutboundFailed as error:
            raise StepFailed(f"the function was not reached: {error}") from error
        except (OSError, ValueError) as error:
            text = f"the credentials of [secrets] lambda_credentials_file cannot be used: {type(error).__name__}"
            raise StepFailed(text) from error
        if not 200 <= answer.status < 300:
            final = answer.status < 500 and answer.status not in _PASSING
            name = _name(answer.headers.get("x-amzn-errortype", "").partition(":")[0])
            raise StepFailed(f"the function's endpoint answered {answer.status}{name and f' {name}'}", final=final)
        if "x-amz-function-error" in answer.headers:
            name = _name(_error_type(answer))
            raise StepFailed(f"the function failed{name and f' by {name}'}; its own log says why")
        return Done("the function returned")

    def _signed(self, house: House, url: str, headers: dict[str, str], body: bytes) -> dict[str, str]:
        """Raises OSError, ValueError where there are no credentials."""
        file = house.settings.secrets.lambda_credentials_file
        if not file:
            return headers
        access_key, secret = Path(file).read_text("ascii").split()
        request = AWSRequest(method="POST", url=url, data=body, headers={**headers, "host": urlsplit(url).netloc})
        SigV4Auth(Credentials(access_key, secret), "lambda", self._arn.split(":")[3]).add_auth(request)
        return dict(request.headers.items())


def _error_type(answer: OutboundAnswer) -> Any:
    try:
        told = msgspec.json.decode(answer.body)
    except (msgspec.DecodeError, RecursionError):
        return None
    return told.get("errorType") if isinstance(told, dict) else None


def _name(told: Any) -> str:
    """The name of an error, if it is one: all else that is told of it may hold a value."""
    return told if isinstance(told, str) and _NAME.fullmatch(told) else ""
