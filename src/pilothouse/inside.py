"""Calls that the server makes itself, as a role that was passed to it: checked and recorded as those from outside."""

from typing import Protocol

from pilothouse.call import Shape
from pilothouse.identity.principals import Principal
from pilothouse.storage import Transaction


class Inside(Protocol):
    """Answers them by the operation table."""

    async def asked(
        self, tx: Transaction, who: Principal, region: str, named: tuple[str, str], request: Shape
    ) -> Shape:
        """The answer to a call of (service, name), within a transaction; raises what the operation would answer.

        After an error nothing of the call was written but its record.
        """

    def answers(self, service: str, name: str) -> bool:
        """Whether the table has the operation."""

    def named(self, service: str, name: str) -> str | None:
        """The operation's own name, which may be written otherwise, as `get_parameter`; None if there is none.

        Operations that are part of no transaction, or whose content is a stream, are not to be asked from inside.
        """
