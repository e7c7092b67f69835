"""The connections of one process: so many together, and so many of an address that have not shown who they are.

A connection has its place from its accept on to its end. One that carried a call with a good signature, or became a
node's channel, has shown who it is: it counts no more for its address, and stays whatever comes. A fleet of any size
may stand behind one address.
"""

from collections.abc import Callable

from pilothouse.runtime.metrics import CONNECTIONS_DROPPED, CONNECTIONS_REFUSED, OPEN_CONNECTIONS
from pilothouse.runtime.peers import Proxies, site_of


class Place:
    """What one connection holds."""

    __slots__ = ("_places", "address", "end", "is_free", "is_proven")

    def __init__(self, places: "Places", address: str) -> None:
        self._places = places
        self.address = address
        """The site that it counts for."""
        self.end: Callable[[], object] | None = None
        """Ends the connection at once, in whatever state it is."""
        self.is_proven = False
        self.is_free = False

    def shown(self) -> None:
        """The connection has shown who it is."""
        if not self.is_proven and not self.is_free:
            self._places.prove(self)

    def free(self) -> None:
        """The connection has ended."""
        if not self.is_free:
            self._places.free(self)


class Places:
    """Of one process, for all its listeners together."""

    def __init__(self, most: int = 0, per_address: int = 0, proxies: Proxies | None = None) -> None:
        """`most` together, `per_address` of those that have shown nothing; 0: as many as come.

        Connections of `proxies` carry other people's calls and are none of those that have shown nothing.
        """
        self._most = most
        self._per_address = per_address
        self._proxies = proxies or Proxies()
        self._taken = 0
        self._unproven: dict[str, dict[Place, None]] = {}
        """By address, the newest last."""
        self._by_size: dict[int, dict[str, None]] = {}
        """The addresses that have so many of them."""
        self._largest = 0

    def take(self, peer: str) -> Place | None:
        """A place for a connection of the address; None if there is none.

        When all are taken, the newest connection of the address that has most of those that have shown nothing makes
        room, if that address has more than the newcomer's.
        """
        trusted = peer in self._proxies
        address = site_of(peer)
        own = 0 if trusted else len(self._unproven.get(address, ()))
        if self._per_address and own >= self._per_address:
            CONNECTIONS_REFUSED.labels("address").inc()
            return None
        if self._most and self._taken >= self._most and not self._made_room(own + 1):
            CONNECTIONS_REFUSED.labels("total").inc()
            return None
        self._taken += 1
        OPEN_CONNECTIONS.inc()
        place = Place(self, address)
        if trusted:
            place.is_proven = True
        else:
            self._unproven.setdefault(address, {})[place] = None
            self._resized(address, own, own + 1)
        return place

    def prove(self, place: Place) -> None:
        """See `Place.shown`."""
        place.is_proven = True
        held = self._unproven[place.address]
        del held[place]
        self._resized(place.address, len(held) + 1, len(held))
        if not held:
            del self._unproven[place.address]

    def free(self, place: Place) -> None:
        """See `Place.free`."""
        if not place.is_proven:
            self.prove(place)
        place.is_free = True
        self._taken -= 1
        OPEN_CONNECTIONS.dec()

    def _made_room(self, own: int) -> bool:
        if self._largest <= own:
            return False
        greediest = next(iter(self._by_size[self._largest]))
        newest = next(reversed(self._unproven[greediest]))
        newest.free()
        CONNECTIONS_DROPPED.labels("crowded").inc()
        if newest.end is not None:
            newest.end()
        return True

    def _resized(self, address: str, before: int, after: int) -> None:
        if before:
            bucket = self._by_size[before]
            del bucket[address]
            if not bucket:
                del self._by_size[before]
        if after:
            self._by_size.setdefault(after, {})[address] = None
        if after > self._largest or (before == self._largest and before not in self._by_size):
            self._largest = after
