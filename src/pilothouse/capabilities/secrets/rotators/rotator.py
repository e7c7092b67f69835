"""What a rotator is: whoever makes a new credential, sets it where it counts, and tries it.

A rotator keeps nothing and may be asked for the same step again at any time: after a failure, after a kill. Texts that
it gives end in logs that many may read, so they never hold a value.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from pilothouse.call import Call, House
from pilothouse.capabilities.secrets.model import Secret
from pilothouse.capabilities.secrets.rotation_model import Step
from pilothouse.storage import Transaction


class StepFailed(Exception):
    """A step did not succeed; the text says why, and holds no value. `final`: trying again will not help."""

    def __init__(self, text: str, *, final: bool = False) -> None:
        super().__init__(text)
        self.final = final


@dataclass(frozen=True, slots=True)
class Value:
    """The value of a version."""

    data: bytes = field(repr=False)
    is_binary: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One step of one rotation."""

    house: House
    secret: Secret
    run_id: str
    step: Step
    version_id: str
    outside_id: str
    current: Value | None = field(repr=False)
    pending: Value | None = field(repr=False)
    previous: Value | None = field(repr=False)
    master: Value | None = field(repr=False)
    """Of the secret that the current value names as its `masterarn`."""
    quiet: Callable[[], Awaitable[None]]
    """Hold readers of the current value back, and wait until those who have it have used it: to be called before the
    current credential stops working."""


@dataclass(frozen=True, slots=True)
class Done:
    """The step is over."""

    text: str
    """What was done, for the log."""
    tried: str = ""
    """What was seen of the new credential, where setting it has tried it too: testSecret has nothing left to do."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Somebody else works on it; ask again later."""

    outside_id: str
    again_ms: int
    text: str = ""


class Rotator(Protocol):
    """One kind of them; a name of RotationLambdaARN gives one."""

    remote: bool
    """It puts the new value and moves the labels by itself, through the API, as a Lambda function does."""
    reversible: bool
    """The current credential stays good until the labels have moved, so that a rotation may be given up anywhere.

    Where it does not, the labels move as soon as the new one was tried.
    """

    async def admit(self, call: Call, tx: Transaction, secret: Secret) -> None:
        """Ask whether the caller may have the secret rotated so, by the settings that it would have.

        Raises AccessDeniedException.
        """

    async def create(self, work: Work) -> Value:
        """A new value. Not asked of remote ones. Raises StepFailed."""

    async def take(self, work: Work) -> Done | Waiting:
        """Do a step: set or test, and all four if remote. Raises StepFailed."""
