"""Wake-up bus: says that something changed, never what. No fact lives only here."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Listener = Callable[[str], None]


class Woken:
    """The keys of the wake-ups since the last look; `event` is set while there are some."""

    def __init__(self) -> None:
        self.event = asyncio.Event()
        self._keys: set[str] = set()

    def add(self, key: str) -> None:
        """A wake-up of the key."""
        self._keys.add(key)
        self.event.set()

    def take(self) -> set[str]:
        """The keys; from here on anew. Take before the look, or what comes during it is missed."""
        keys, self._keys = self._keys, set()
        self.event.clear()
        return keys


class Bus:
    """In-process wake-ups by topic and key. Listeners return at once (they set an event or queue the key)."""

    def __init__(self) -> None:
        self._listeners: dict[str, list[Listener]] = defaultdict(list)

    def listen(self, topic: str, listener: Listener) -> None:
        """Call `listener(key)` on each wake-up of the topic."""
        self._listeners[topic].append(listener)

    @contextmanager
    def waiting(self, topic: str, key: str | None = None) -> Iterator[Woken]:
        """Gather the wake-ups of the topic, or of one key of it, while the block lasts."""
        woken = Woken()

        def listener(each: str) -> None:
            if key is None or each == key:
                woken.add(each)

        self._listeners[topic].append(listener)
        try:
            yield woken
        finally:
            self._listeners[topic].remove(listener)

    def is_heard(self, topic: str) -> bool:
        """Whether anybody listens to the topic in this process."""
        return bool(self._listeners[topic])

    def wake(self, topic: str, key: str) -> None:
        """Tell the listeners of the topic that `key` is worth a look. Use `tx.after_commit` to call it."""
        for listener in tuple(self._listeners[topic]):
            listener(key)
