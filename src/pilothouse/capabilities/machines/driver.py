"""What a driver can do: the machines of one place, such as a host of libvirt. All of it blocks; `places` calls it
in threads of its own, with a limit.

Whatever is asked may be asked again after a kill, so every function that changes something says what is to be, and does
nothing where it is so already.
"""

from dataclasses import dataclass
from typing import Protocol


class DriverFailed(Exception):
    """The place did not do it, or cannot be reached; the text is a sentence for the operator and for users."""


class NotThere(DriverFailed):
    """There is no machine, or no volume, of that name."""


class CannotDo(DriverFailed):
    """The driver has no way to do that, now or ever; trying again is of no use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenDisk:
    """A disk of a machine."""

    device: str
    """Such as `vda`."""
    volume: str
    """What the driver calls its content, such as a path."""
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A machine as the driver sees it."""

    native: str
    """Its own id, which it keeps."""
    name: str
    running: bool
    run: int | None
    """The number of its present run: after a stop and a start it is another one. None while it does not run."""
    vcpus: int
    memory_mib: int
    architecture: str
    disks: tuple[SeenDisk, ...]
    addresses: tuple[str, ...]
    lasting: bool
    """It is there also while it does not run."""


class Driver(Protocol):
    """The machines of one place. Raises DriverFailed."""

    def look(self) -> list[Seen]:
        """All of them."""

    def find(self, native: str) -> Seen | None:
        """One of them."""

    def start(self, native: str) -> None:
        """Let it run."""

    def ask_to_stop(self, native: str) -> None:
        """Ask its system to shut down; returns at once."""

    def cut(self, native: str) -> None:
        """Take its power away."""

    def remove(self, native: str) -> None:
        """It is no more. Its volumes stay."""

    def template(self, native: str) -> str:
        """What a machine of the same form is made from."""

    def define(
        self, template: str, native: str, name: str, disks: dict[str, str], vcpus: int | None, memory_mib: int | None
    ) -> None:
        """A machine of that form that does not run yet, with these volumes by device. None: as the template says."""

    def exchange(self, native: str, device: str, volume: str) -> None:
        """A machine that does not run has this volume as that disk from now on. The volume that it had stays."""

    def copy(self, volume: str, name: str, *, running: str | None = None) -> str:
        """A whole copy of a volume beside it, under a name that nothing had before; what the driver calls it.

        `running`: the machine that runs on the volume, which goes on running. May take long.
        """

    def clear(self, beside: str, prefix: str, keep: str) -> None:
        """Remove the volumes beside that one whose names begin so, but for the one named `keep`."""

    def delete(self, volume: str) -> None:
        """Remove a volume."""

    def fetch(self, volume: str, path: str) -> int:
        """Write the content of a volume to a new file of the server; its size in the place it came from."""

    def bring(self, path: str, name: str, size_bytes: int, prefix: str) -> str:
        """A new volume with the content of a file of the server, in place of others whose names begin with the prefix;
        what the driver calls it."""

    def close(self) -> None:
        """Let go of the place."""
