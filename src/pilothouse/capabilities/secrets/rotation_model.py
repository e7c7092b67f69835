"""How a secret is rotated: its settings, the windows of its schedule, and the steps of one rotation. No I/O."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final

import msgspec

from pilothouse.capabilities.secrets.model import DAY_MS, InvalidParameterException, Secret
from pilothouse.scheduling.timetables import At, Rate, ScheduleInvalid, Timetable, parse, shortest_gap

HOUR_MS: Final = 3_600_000
_OFTEN_SECONDS: Final = 4 * 3600
_END_MS: Final = 1000
"""The last second of a window is what NextRotationDate says."""
_DAYS: Final = range(1, 1001)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """The settings, as they are kept."""

    enabled: bool = True
    function: str = ""
    """The RotationLambdaARN: who changes the credential."""
    days: int | None = None
    schedule: str | None = None
    duration: str | None = None
    external: list[dict[str, str]] = field(default_factory=list)
    external_role: str = ""
    """The ExternalSecretRotationRoleArn: the role that a runbook acts as, which whoever set this up may pass."""
    master: str = ""
    """The ARN of the secret whose user changes others (`masterarn`), which whoever set this up was allowed to read."""
    since: int = 0
    """The schedule counts from here: the settings were made, or the value changed. Epoch milliseconds."""


class Window:
    """When a secret is to be rotated: not before `start`, and until `end`. Epoch milliseconds."""

    __slots__ = ("end", "start")

    def __init__(self, start: int, end: int) -> None:
        self.start, self.end = start, end


def rotation_of(secret: Secret) -> Rotation | None:
    """A secret's settings; None before a rotation was accepted."""
    return None if secret.rotation is None else _read(secret.rotation)


@lru_cache(maxsize=1024)
def _read(text: str) -> Rotation:
    return msgspec.json.decode(text, type=Rotation)


def with_rotation(secret: Secret, rotation: Rotation) -> Secret:
    """The secret with these settings, and when it is rotated next."""
    window = next_window(rotation) if rotation.enabled else None
    return replace(
        secret,
        rotation=msgspec.json.encode(rotation).decode(),
        rotates_at=None if window is None else window.end - _END_MS,
    )


def asked_rotation(kept: Rotation | None, asked: Mapping[str, Any] | None, now: int) -> Rotation:
    """The settings after a request's RotationRules, of which the API's names are `days`, `schedule` and `duration`.

    Raises InvalidParameterException.
    """
    rotation = replace(kept or Rotation(), enabled=True, since=now)
    if asked is None:
        return rotation
    days, schedule = asked.get("days"), asked.get("schedule")
    check_days(days)
    if days is not None and schedule is not None:
        raise InvalidParameterException(
            "You can't specify both AutomaticallyAfterDays and ScheduleExpression in RotationRules."
        )
    rotation = replace(rotation, days=days, schedule=schedule, duration=asked.get("duration"))
    if rotation.schedule is not None:
        _check_schedule(rotation.schedule)
    if rotation.duration is not None:
        _check_duration(rotation)
    return rotation


def check_days(days: int | None) -> None:
    """Raises InvalidParameterException."""
    if days is not None and days not in _DAYS:
        raise InvalidParameterException("RotationRules.AutomaticallyAfterDays must be within 1-1000.")


def _check_schedule(text: str) -> None:
    try:
        expression = parse(text)
    except ScheduleInvalid as error:
        raise InvalidParameterException(f"Invalid ScheduleExpression: {error}") from error
    gap = shortest_gap(expression)
    if isinstance(expression, At) or gap is None:
        raise InvalidParameterException("Invalid ScheduleExpression: a rotation is scheduled by rate(…) or cron(…).")
    if isinstance(expression, Rate):
        if expression.seconds % 3600:
            raise InvalidParameterException("Invalid ScheduleExpression: the unit of a rate is hours or days.")
    else:
        fields = text.removeprefix("cron(").removesuffix(")").split()
        if len(fields) != 6 or fields[0] != "0":
            raise InvalidParameterException(
                "Invalid ScheduleExpression: a cron expression has six fields, and its minutes are 0."
            )
    if gap < _OFTEN_SECONDS:
        raise InvalidParameterException("Invalid ScheduleExpression: a secret is rotated every 4 hours at most.")


def _check_duration(rotation: Rotation) -> None:
    hours = int((rotation.duration or "").removesuffix("h"))
    if not hours:
        raise InvalidParameterException("Invalid Duration: a window lasts an hour or more.")
    if rotation.schedule is None and rotation.days is None:
        raise InvalidParameterException("Invalid Duration: it needs AutomaticallyAfterDays or ScheduleExpression.")
    window = next_window(rotation)
    if window is None:
        return
    following = next_window(replace(rotation, since=window.start))
    if following is not None and window.end > following.start:
        raise InvalidParameterException("Invalid Duration: the window must not run into the next one.")
    if not _is_hourly(rotation) and window.end > (window.start // DAY_MS + 1) * DAY_MS:
        raise InvalidParameterException("Invalid Duration: the window must not run into the next day (UTC).")


def _is_hourly(rotation: Rotation) -> bool:
    return rotation.schedule is not None and (shortest_gap(parse(rotation.schedule)) or 0) < DAY_MS // 1000


def next_window(rotation: Rotation) -> Window | None:
    """The first window after the moment from which the schedule counts; None without a schedule."""
    given = None if rotation.duration is None else int(rotation.duration.removesuffix("h")) * HOUR_MS
    if rotation.schedule is not None:
        expression = parse(rotation.schedule)
        if isinstance(expression, Rate):
            period = expression.seconds * 1000
            if period % DAY_MS:
                start = (rotation.since + period) // HOUR_MS * HOUR_MS
                return Window(start, start + (given or HOUR_MS))
            return _after_days(rotation.since, period, given)
        start_at = Timetable(expression=expression, since=rotation.since).next_after(rotation.since)
        if start_at is None:
            return None
        if given is None:
            hourly = _is_hourly(rotation)
            return Window(start_at, start_at + HOUR_MS if hourly else (start_at // DAY_MS + 1) * DAY_MS)
        return Window(start_at, start_at + given)
    return None if rotation.days is None else _after_days(rotation.since, rotation.days * DAY_MS, given)


def _after_days(since: int, period: int, duration: int | None) -> Window:
    """On the day that comes after so many; by a window's duration from its first hour on, else when they are over."""
    day = (since + period) // DAY_MS * DAY_MS
    if duration is None:
        return Window(since + period, day + DAY_MS)
    return Window(day, day + duration)


class Step(StrEnum):
    """The four steps, by the names that a rotation function hears."""

    CREATE = "createSecret"
    SET = "setSecret"
    TEST = "testSecret"
    FINISH = "finishSecret"


class State(StrEnum):
    """How a rotation stands."""

    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    CANCELLED = "Cancelled"


MOVES: Final[Mapping[State, frozenset[State]]] = {
    State.RUNNING: frozenset({State.RUNNING, State.SUCCEEDED, State.FAILED, State.CANCELLED}),
    State.FAILED: frozenset({State.RUNNING, State.CANCELLED}),
}  # a state without a row is final

NEXT: Final[Mapping[Step, Step | None]] = {
    Step.CREATE: Step.SET,
    Step.SET: Step.TEST,
    Step.TEST: Step.FINISH,
    Step.FINISH: None,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One rotation. `step` is what is to be done next, or what failed."""

    run_id: str
    account_id: str
    region: str
    name: str
    suffix: str
    version_id: str
    function: str
    test_only: bool
    state: State
    step: Step
    attempts: int
    """Of this step that failed."""
    outside_id: str
    """Of what was asked of somebody else for this step, and has not ended yet."""
    error: str
    started_at: int
    ended_at: int | None
    try_at: int | None
    """When somebody may go on with it; None: it has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """What was seen of a step."""

    at: int
    step: str
    text: str
