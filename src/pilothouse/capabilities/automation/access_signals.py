"""Signals to the execution of an access request: whoever approves there decides about the request.

Such an execution is no row here: its id is that of the request, written as a UUID. What the signal means is
DecideAccessRequest of the same caller, by the table of operations: allowed, refused and recorded as that.
"""

import re
from collections.abc import Mapping
from typing import Final

from pilothouse.call import Call
from pilothouse.capabilities.automation.model import (
    AutomationExecutionNotFoundException,
    InvalidAutomationSignalException,
)
from pilothouse.errors import ApiError, ValidationException
from pilothouse.inside import Origin
from pilothouse.storage import Transaction

_DECIDE: Final = ("pilothouse", "DecideAccessRequest")
_BEGINS: Final = "61636365-7373-8000-8000-"
"""Of version 8, whose form is everybody's own; executions have random ids, of version 4."""
_OF_REQUEST: Final = re.compile(_BEGINS + "([0-9a-f]{12})")
_COMMENT: Final = 1024


def execution_of_request(request_id: str) -> str:
    """The id by which SendAutomationSignal knows an access request."""
    return _BEGINS + request_id.removeprefix("oi-")


def request_of_execution(execution_id: str) -> str | None:
    """The access request that an execution's id means; None if it is another's."""
    found = _OF_REQUEST.fullmatch(execution_id.lower())
    return None if found is None else f"oi-{found[1]}"


async def decide(call: Call, tx: Transaction, request_id: str, kind: str, payload: Mapping[str, str]) -> None:
    """What the signal says about the request. Raises the operation's errors, and AccessDeniedException."""
    if kind not in ("Approve", "Reject", "Revoke"):
        raise InvalidAutomationSignalException(
            f"The access request {request_id} has no steps: send it Approve, Reject or Revoke."
        )
    comment = payload.get("Comment", "")[:_COMMENT]
    request = {"AccessRequestId": request_id, "Decision": kind} | ({"Comment": comment} if comment else {})
    origin = Origin(source_ip=call.source_ip, user_agent=call.user_agent, secure=call.secure)
    try:
        await call.house.inside.asked(tx, call.principal, call.region, _DECIDE, request, origin)
    except ValidationException as error:
        raise InvalidAutomationSignalException(str(error)) from error
    except ApiError as error:
        if error.code != "ResourceNotFoundException":
            raise
        raise AutomationExecutionNotFoundException(str(error)) from error
