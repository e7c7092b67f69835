"""Connections that have not shown yet who they are: so many for each address, so that a flood fills nothing.

A connection that carried a call with a good signature, or became a node's channel, counts no more: a fleet of any size
may stand behind one address.
"""

from pilothouse.runtime.metrics import CONNECTIONS_REFUSED


class Places:
    """Of one process, for all its listeners together."""

    def __init__(self, most: int) -> None:
        """`most` for each address; 0: as many as come."""
        self._most = most
        self._taken: dict[str, int] = {}

    def take(self, address: str) -> bool:
        """Count one more of the address; False if it has enough."""
        taken = self._taken.get(address, 0)
        if self._most and taken >= self._most:
            CONNECTIONS_REFUSED.inc()
            return False
        self._taken[address] = taken + 1
        return True

    def free(self, address: str) -> None:
        """One has shown who it is, or has ended."""
        left = self._taken[address] - 1
        if left:
            self._taken[address] = left
        else:
            del self._taken[address]
