"""What an account demands of its sessions, by its service settings."""

import json
import re
from dataclasses import dataclass
from typing import Final, Literal

import re2

from pilothouse.capabilities import service_settings
from pilothouse.errors import ValidationException
from pilothouse.storage import Transaction

RECORDING: Final = "/ph/sessions/recording"
REASON: Final = "/ph/sessions/reason-pattern"
RECORD_INPUT: Final = "/ph/sessions/record-input"
MASKED: Final = "/ph/sessions/masked-values"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """Whether sessions are recorded."""

    taping: Literal["no", "wanted", "needed"]
    input_taped: bool
    masks: str
    """Names of those whose values are not shown, as JSON; empty for none."""


async def check_reason(tx: Transaction, account_id: str, region: str, reason: str | None) -> None:
    """Raises ValidationException for a reason that the account does not take, or for none where it wants one."""
    pattern = await service_settings.value(tx, account_id, region, REASON)
    if pattern and re2.fullmatch(pattern, reason or "") is None:
        given = "The reason does not fit" if reason else "A reason is needed that fits"
        raise ValidationException(f"{given} the pattern {pattern}, which this account wants. Give one with --reason.")


_TAPING: Final[dict[str, Literal["no", "wanted", "needed"]]] = {"off": "no", "on": "wanted", "required": "needed"}


async def recording(tx: Transaction, account_id: str, region: str) -> Recording:
    """What the account wants recorded."""
    taping = await service_settings.value(tx, account_id, region, RECORDING)
    typed = await service_settings.value(tx, account_id, region, RECORD_INPUT)
    named = await service_settings.value(tx, account_id, region, MASKED)
    return Recording(
        taping=_TAPING[taping],
        input_taped=typed == "true" and taping != "off",
        masks=json.dumps(re.split(r"[\s,]+", named.strip(" ,"))) if named and taping != "off" else "",
    )
