"""A receiver of ours: each step is a signed POST. What it does it does through the API, as a Lambda function does."""

from pathlib import Path
from typing import Final

import msgspec

from pilothouse.call import Call, House
from pilothouse.capabilities import events
from pilothouse.capabilities.secrets.model import Secret
from pilothouse.capabilities.secrets.rotators.rotator import Done, StepFailed, Value, Waiting, Work
from pilothouse.runtime.outbound import OutboundFailed, check_url
from pilothouse.storage import Transaction

SECONDS: Final = 60.0
_PASSING: Final = frozenset({408, 425, 429})


def event_of(work: Work) -> bytes:
    """What a rotation function is told of a step. RotationToken is for its PutSecretValue, where it acts as a role."""
    return msgspec.json.encode(
        {
            "Step": work.step.value,
            "SecretId": work.secret.arn,
            "ClientRequestToken": work.version_id,
            "RotationToken": work.run_id,
        }
    )


class Hook:
    """Called at an URL, with the signature that webhooks have. The id of a step is the same when it is tried again."""

    remote = True
    reversible = True

    def __init__(self, house: House, url: str) -> None:
        """Raises OutboundFailed."""
        check_url(url, house.outbound.allowed)
        self._url = url

    async def admit(self, call: Call, tx: Transaction, secret: Secret) -> None:
        """No more than the event goes there."""

    async def create(self, work: Work) -> Value:
        raise NotImplementedError

    async def take(self, work: Work) -> Done | Waiting:
        house, body = work.house, event_of(work)
        message_id = f"{work.run_id}-{work.step.value}"
        try:
            secrets = [events.secret_bytes(_text_of(house.settings.secrets.hook_secret_file))]
        except (OSError, ValueError) as error:
            text = f"the secret of [secrets] hook_secret_file cannot be used: {type(error).__name__}"
            raise StepFailed(text) from error
        headers = {
            "content-type": "application/json",
            "user-agent": "pilothouse",
            **events.signed_headers(message_id, house.clock.millis() // 1000, body, secrets),
        }
        try:
            answer = await house.outbound.send("POST", self._url, headers=headers, body=body, seconds=SECONDS)
        except OutboundFailed as error:
            raise StepFailed(f"the receiver was not reached: {error}") from error
        if not 200 <= answer.status < 300:
            final = answer.status < 500 and answer.status not in _PASSING
            raise StepFailed(f"the receiver answered {answer.status}", final=final)
        return Done(f"the receiver answered {answer.status}")


def _text_of(file: str) -> str:
    return Path(file).read_text("ascii").strip()
