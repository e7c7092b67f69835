"""What was read from the database, kept in memory for exactly as long as nothing is committed by anybody."""

from typing import Generic, TypeVar

from pilothouse.storage import Stamp

Key = TypeVar("Key")
Value = TypeVar("Value")


class Remembered(Generic[Key, Value]):
    """Values by key under one stamp (`Transaction.stamp`), taken before what they are made of was read.

    Another stamp forgets them all; under None nothing is kept.
    """

    def __init__(self, most: int) -> None:
        """`most`: how many values are kept at once."""
        self._most = most
        self._stamp: Stamp | None = None
        self._values: dict[Key, Value] = {}

    def get(self, stamp: Stamp | None, key: Key) -> Value | None:
        """The value, if it was put under this very stamp."""
        return self._values.get(key) if stamp is not None and stamp == self._stamp else None

    def put(self, stamp: Stamp | None, key: Key, value: Value) -> None:
        """Keep a value that was read under the stamp."""
        if stamp is None:
            return
        if stamp != self._stamp:
            self._values, self._stamp = {}, stamp
        elif len(self._values) >= self._most:
            self._values.clear()
        self._values[key] = value
