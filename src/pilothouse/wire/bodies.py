"""Memory for request bodies that are under way or waiting for their answer: so much together, and of one site."""

from typing import Final

from pilothouse.runtime.peers import site_of

_SHARE: Final = 4
"""One address may have this part of it."""


class Bodies:
    """What one process holds of bodies that did not come in one piece."""

    def __init__(self, most: int) -> None:
        """`most` bytes; 0: as many as come."""
        self._most = most
        self._total = 0
        self._held: dict[str, int] = {}

    def take(self, peer: str, size: int) -> bool:
        """So many bytes more for a client at this address; False if there is no room."""
        site = site_of(peer)
        own = self._held.get(site, 0) + size
        if self._most and (self._total + size > self._most or own > self._most // _SHARE):
            return False
        self._held[site] = own
        self._total += size
        return True

    def free(self, peer: str, size: int) -> None:
        """So many bytes of that are gone."""
        site = site_of(peer)
        own = self._held.get(site, 0) - size
        if own > 0:
            self._held[site] = own
        else:
            self._held.pop(site, None)
        self._total -= size
