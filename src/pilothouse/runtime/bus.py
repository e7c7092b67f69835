"""Wake-up bus: says that something changed, never what. No fact lives only here."""

from collections import defaultdict
from collections.abc import Callable

Listener = Callable[[str], None]


class Bus:
    """In-process wake-ups by topic and key. Listeners return at once (they set an event or queue the key)."""

    def __init__(self) -> None:
        self._listeners: dict[str, list[Listener]] = defaultdict(list)

    def listen(self, topic: str, listener: Listener) -> None:
        """Call `listener(key)` on each wake-up of the topic."""
        self._listeners[topic].append(listener)

    def wake(self, topic: str, key: str) -> None:
        """Tell the listeners of the topic that `key` is worth a look. Use `tx.after_commit` to call it."""
        for listener in self._listeners[topic]:
            listener(key)
