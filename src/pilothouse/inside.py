"""Calls that the server makes itself, as a role that was passed to it: checked and recorded as those from outside."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from pilothouse.errors import ApiError
from pilothouse.identity.principals import Principal
from pilothouse.storage import Transaction

if TYPE_CHECKING:
    from pilothouse.call import Shape

_ITSELF: Final = "ssm.amazonaws.com"
"""Where calls of the server itself come from, as the cloud's trails say it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a call comes from: what policies and the trail know of it besides the caller."""

    source_ip: str = _ITSELF
    user_agent: str = _ITSELF
    secure: bool = True


ITSELF: Final = Origin()


class Inside(Protocol):
    """Answers them by the operation table."""

    async def asked(
        self, tx: Transaction, who: Principal, region: str, named: tuple[str, str], request: "Shape",
        origin: Origin = ITSELF,
    ) -> "Shape":  # fmt: skip
        """The answer to a call of (service, name), within a transaction; raises what the operation would answer.

        After an error nothing of the call was written but its record.
        """

    async def refused(
        self, tx: Transaction, who: Principal, region: str, named: tuple[str, str], request: "Shape", error: ApiError,
        origin: Origin,
    ) -> None:  # fmt: skip
        """Record that a call was refused before it could be asked."""

    def answers(self, service: str, name: str) -> bool:
        """Whether the table has the operation."""

    def named(self, service: str, name: str) -> str | None:
        """The operation's own name, which may be written otherwise, as `get_parameter`; None if there is none.

        Operations that are part of no transaction, or whose content is a stream, are not to be asked from inside.
        """
