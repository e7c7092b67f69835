"""`pilothouse serve` with machines of a host that is a file: `python -m tests.acceptance.dying_host FILE serve …`.

The file outlives the server, as a host does. It says at which moments the server is killed, each once, and which
changes the host refuses; it keeps what was really changed.
"""

import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pilothouse.capabilities.machines import places
from pilothouse.capabilities.machines.driver import CannotDo, NotThere, Seen, SeenDisk
from pilothouse.cli.main import main

State = dict[str, Any]
FIRST: State = {
    "machines": {"web": {"running": True, "run": 1, "disks": {"vda": "web"}}},
    "volumes": {"web": "as it was"}, "changes": [], "deaths": [], "refused": [],
}  # fmt: skip


def read(file: Path) -> State:
    state: State = json.loads(file.read_text())
    return state


def write(file: Path, state: State) -> None:
    written = file.with_suffix(".new")
    written.write_text(json.dumps(state))
    written.replace(file)


class FileHost:
    """A driver."""

    file: Path
    _lock = threading.Lock()

    def __init__(self, uri: str) -> None:
        """The URI is of no consequence."""

    def _dies(self, moment: str) -> None:
        state = read(self.file)
        if moment in state["deaths"]:
            state["deaths"].remove(moment)
            write(self.file, state)
            os.kill(os.getpid(), signal.SIGKILL)

    def _change(self, what: str, change: Callable[[State], bool], *about: str) -> None:
        """`change` says whether there was anything to change."""
        with self._lock:
            self._dies(f"before {what}")
            state = read(self.file)
            if what in state["refused"]:
                raise CannotDo(f"the host refuses to {what}")
            if change(state):
                state["changes"].append(" ".join((what, *about)))
                write(self.file, state)
            self._dies(f"after {what}")

    def look(self) -> list[Seen]:
        return [self._seen(name, each) for name, each in read(self.file)["machines"].items()]

    def find(self, native: str) -> Seen | None:
        found = read(self.file)["machines"].get(native)
        return None if found is None else self._seen(native, found)

    @staticmethod
    def _seen(name: str, machine: State) -> Seen:
        disks = tuple(SeenDisk(device=key, volume=value, size_bytes=1 << 30) for key, value in machine["disks"].items())
        return Seen(
            native=name, name=name, running=machine["running"], run=machine["run"] if machine["running"] else None,
            vcpus=1, memory_mib=512, architecture="x86_64", disks=disks, addresses=(), lasting=True,
        )  # fmt: skip

    def start(self, native: str) -> None:
        def change(state: State) -> bool:
            machine = state["machines"][native]
            was = machine["running"]
            machine.update(running=True, run=machine["run"] + (not was))
            return not was

        self._change("start", change)

    def ask_to_stop(self, native: str) -> None:
        def change(state: State) -> bool:
            was: bool = state["machines"][native]["running"]
            state["machines"][native]["running"] = False
            return was

        self._change("stop", change)

    cut = ask_to_stop

    def exchange(self, native: str, device: str, volume: str) -> None:
        def change(state: State) -> bool:
            machine = state["machines"][native]
            assert not machine["running"]
            was = machine["disks"][device]
            machine["disks"][device] = volume
            return bool(was != volume)

        self._change("exchange", change)

    def copy(self, volume: str, name: str, *, running: str | None = None) -> str:
        def half(state: State) -> bool:
            if volume not in state["volumes"]:
                raise NotThere(f"there is no volume {volume}")
            assert name not in state["volumes"]
            state["volumes"][name] = "half of it"
            return True

        def whole(state: State) -> bool:
            state["volumes"][name] = state["volumes"][volume]
            return True

        self._change("copy", half)
        self._change("end of the copy", whole)
        return name

    def clear(self, beside: str, prefix: str, keep: str) -> None:
        def change(state: State) -> bool:
            gone = [each for each in state["volumes"] if each.startswith(prefix) and each != keep]
            for each in gone:
                del state["volumes"][each]
            return bool(gone)

        self._change("clear", change)

    def delete(self, volume: str) -> None:
        self._change("delete", lambda state: state["volumes"].pop(volume, None) is not None, volume)

    def close(self) -> None:
        """Nothing is open."""


if __name__ == "__main__":
    FileHost.file = Path(sys.argv.pop(1))
    places.DRIVERS["file"] = FileHost  # type: ignore[assignment]  # it makes no machines and carries none away
    main()
