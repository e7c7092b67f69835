"""`aws:sleep`: go on after some time, or at a time."""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

from pilothouse.capabilities.automation.actions.interface import (
    Action,
    Done,
    Input,
    Outcome,
    Step,
    StepFailed,
    Values,
    WaitUntil,
    literal,
)
from pilothouse.runtime.clock import to_millis

_DURATION: Final = re.compile(
    r"P(?:([0-9]{1,6})D)?(?:T(?:([0-9]{1,6})H)?(?:([0-9]{1,6})M)?(?:([0-9]{1,6})(?:\.[0-9]{1,3})?S)?)?"
)
LONGEST: Final = 604_799
"""Seconds."""


def seconds_of(duration: str) -> int | None:
    """The seconds of an ISO 8601 duration such as PT10M; None if it is none."""
    found = _DURATION.fullmatch(duration)
    if found is None or not any(found.groups()):
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def _moment(timestamp: str) -> int | None:
    try:
        moment = datetime.fromisoformat(timestamp)
    except ValueError:
        return None
    return to_millis(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


class Sleep(Action):
    """Waits, and nothing else."""

    name = "aws:sleep"
    inputs: Mapping[str, Input] = {"Duration": Input(), "Timestamp": Input()}
    timeout_seconds = None
    mutating = False

    def check(self, inputs: Values) -> Iterator[tuple[str, str]]:
        if ("Duration" in inputs) == ("Timestamp" in inputs):
            yield "", "it needs either Duration or Timestamp"
            return
        name = "Duration" if "Duration" in inputs else "Timestamp"
        if literal(inputs[name]):
            problem = _wrong(name, str(inputs[name]))
            if problem:
                yield name, problem

    async def begin(self, step: Step) -> Outcome:
        name = "Duration" if step.inputs.get("Duration") else "Timestamp"
        said = step.inputs.get(name) or ""
        if problem := _wrong(name, said):
            raise StepFailed(f"{name} {said!r}: {problem}.", stage="InputValidation")
        if name == "Duration":
            return WaitUntil(at=step.now + (seconds_of(said) or 0) * 1000)
        return WaitUntil(at=max(step.now, _moment(said) or 0))

    async def resume(self, step: Step, state: Values) -> Outcome:
        return Done()


def _wrong(name: str, said: str) -> str | None:
    if name == "Timestamp":
        return None if _moment(said) is not None else "it must be a time such as 2026-07-07T15:55:00Z"
    seconds = seconds_of(said)
    if seconds is None:
        return "it must be a duration of ISO 8601 such as PT10M"
    return None if seconds <= LONGEST else f"it may be {LONGEST} seconds at most"
